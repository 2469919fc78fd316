"""A copy of the store in memory, kept up to date by its events: what controllers and kubelet read.

Objects here are shared: nobody changes them; who writes makes a copy first.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from reconciler.adapters.embedded.storage_sql import Expired
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.identity import ObjectRef

Body = dict[str, Any]
KINDS: tuple[tuple[str, str], ...] = (
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("", "Pod"),
    ("", "Service"),
    ("", "ConfigMap"),
    ("", "Secret"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("policy", "PodDisruptionBudget"),
)
_BATCH = 1000


class View:
    """All objects of `KINDS` as of one resourceVersion."""

    def __init__(self) -> None:
        self.version = 0
        self._objects: dict[ObjectRef, Body] = {}
        self._kinds: dict[tuple[str, str], set[ObjectRef]] = {kind: set() for kind in KINDS}
        self._children: defaultdict[str, set[ObjectRef]] = defaultdict(set)

    def get(self, ref: ObjectRef) -> Body | None:
        return self._objects.get(ref)

    def refs(self, group: str, kind: str) -> list[ObjectRef]:
        return sorted(self._kinds[group, kind])

    def all(self, group: str, kind: str, *, namespace: str | None = None) -> list[Body]:
        return [self._objects[ref] for ref in self.refs(group, kind) if namespace in (None, ref.namespace)]

    def children(self, uid: str, kind: str) -> list[Body]:
        """Objects of `kind` whose controller is the object with this uid, by name."""
        return [self._objects[ref] for ref in sorted(self._children.get(uid, ())) if ref.kind == kind]

    def refresh(self, store: ObjectStore) -> set[ObjectRef]:
        """Take in what was written since the last time, and answer what changed (gone objects too)."""
        if not self.version:
            return self._relist(store)
        if store.resource_version() == self.version:
            return set()
        changed: dict[ObjectRef, None] = {}
        version = self.version
        try:
            while events := store.events(version, _BATCH):
                changed |= {event.ref: None for event in events if (event.ref.group, event.ref.kind) in self._kinds}
                version = events[-1].resource_version
                if len(events) < _BATCH:
                    break
        except Expired:
            return self._relist(store)
        bodies = {ref: store.get(ref) for ref in changed}
        for ref, body in bodies.items():
            self._put(ref, body)
        self.version = version  # once all of it could be read: what could not is read again
        return set(changed)

    def _relist(self, store: ObjectStore) -> set[ObjectRef]:
        rows, version = store.rows(list(KINDS))
        found = {row.ref: row for row in rows}
        changed = set(self._objects) | set(found)
        for ref in changed:
            self._put(ref, found[ref].body() if ref in found else None)
        self.version = version
        return changed

    def _put(self, ref: ObjectRef, body: Body | None) -> None:
        before = self._objects.pop(ref, None)
        if before is not None:
            self._kinds[ref.group, ref.kind].discard(ref)
            owner = controller_uid(before)
            self._children[owner].discard(ref)
            if not self._children[owner]:
                del self._children[owner]
        if body is not None:
            self._objects[ref] = body
            self._kinds[ref.group, ref.kind].add(ref)
            self._children[controller_uid(body)].add(ref)


def controller_uid(body: Body) -> str:
    """The uid of the object's controller, "" without one."""
    for owner in body["metadata"].get("ownerReferences", ()):
        if owner.get("controller"):
            uid: str = owner.get("uid", "")
            return uid
    return ""


def ref_of(group: str, kind: str, body: Body) -> ObjectRef:
    metadata = body["metadata"]
    return ObjectRef(group=group, kind=kind, namespace=metadata.get("namespace", ""), name=metadata["name"])
