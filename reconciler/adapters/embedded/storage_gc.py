"""Deletion: what goes at once, what waits for its kubelet or finalizer, and what goes along.

Background propagation as of the Kubernetes garbage collector, in the transaction of the delete itself.
"""

from __future__ import annotations

from typing import Any

from reconciler.adapters.embedded.storage_sql import Database, Row

_ENDED = frozenset({"Succeeded", "Failed"})


def delete(db: Database, row: Row, *, grace: bool, now: str) -> None:
    """Delete an object and what only it owned; or mark it, when finalizers or its kubelet must come first."""
    body = row.body()
    metadata = body["metadata"]
    waits = _grace_seconds(body) if grace else 0
    if row.ref.kind == "Namespace":
        for inside in db.rows_in(row.ref.name):
            fresh = db.row(inside.ref)
            if fresh is not None and fresh.uid == inside.uid:
                delete(db, fresh, grace=grace, now=now)
    if metadata.get("finalizers") or waits:
        if "deletionTimestamp" not in metadata or metadata.get("deletionGracePeriodSeconds", 0) > waits:
            metadata.setdefault("deletionTimestamp", now)
            metadata["deletionGracePeriodSeconds"] = waits
            if "generation" in metadata:
                metadata["generation"] += 1
            db.replace(row, body)
        return
    erase(db, row, grace=grace, now=now)


def erase(db: Database, row: Row, *, grace: bool, now: str) -> None:
    """Take an object away for good, and collect its dependents."""
    children = db.children(row.uid)
    db.erase(row)
    for listed in children:
        child = db.row(listed.ref)
        if child is None or child.uid != listed.uid:
            continue
        body = child.body()
        references = body["metadata"].get("ownerReferences", [])
        left = [reference for reference in references if db.has_uid(reference.get("uid", ""))]
        if left:
            body["metadata"]["ownerReferences"] = left
            db.replace(child, body)
        else:
            delete(db, child, grace=grace, now=now)


def collect_orphan(db: Database, row: Row, body: dict[str, Any], *, now: str) -> None:
    """Delete a new object at once when none of the owners it names is there (any more)."""
    references = body["metadata"].get("ownerReferences")
    if references and not any(db.has_uid(reference.get("uid", "")) for reference in references):
        delete(db, row, grace=True, now=now)


def _grace_seconds(body: dict[str, Any]) -> int:
    """Seconds to leave a pod that was given to a node and has not ended; everything else goes at once."""
    if body["kind"] != "Pod" or not body["spec"].get("nodeName"):
        return 0
    if body.get("status", {}).get("phase") in _ENDED:
        return 0
    seconds: int = body["spec"].get("terminationGracePeriodSeconds", 30)
    return max(seconds, 1)
