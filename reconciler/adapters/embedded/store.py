"""ObjectStore: the embedded cluster's API, one SQLite file that several processes read and write at once.

Here live the verbs (get, list, create, apply, update, delete) and their transactions. What a verb means for one object
is decided by pure functions: ownership and merging in `ssa`, shape and rules in `validation`, defaults in
`storage_defaults`. Tables and rows are in `storage_sql`, the collection of dependents in `storage_gc`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from reconciler.adapters.embedded import ssa, storage_gc
from reconciler.adapters.embedded.schema_tables import Kind, kind_of
from reconciler.adapters.embedded.storage_defaults import set_defaults
from reconciler.adapters.embedded.storage_sql import Database, Event, Row, ref_of
from reconciler.adapters.embedded.storage_values import canonical
from reconciler.adapters.embedded.validation import validate_create, validate_update
from reconciler.model.errors import ClusterError, PreconditionFailed, Rejected
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import AnyState, MustBe, MustBeAbsent, PodUsage, Precondition

__all__ = ["Event", "ObjectStore"]

Body = dict[str, Any]
_STATUS = "status"
_SCALE = "scale"


class ObjectStore:
    """Objects as raw JSON dicts, with the semantics of a Kubernetes API server.

    Every write is one `BEGIN IMMEDIATE` transaction; a dict that was returned is the caller's own. Threads may share a
    store (calls follow one another); processes each open their own. All verbs raise ClusterUnavailable when the file is
    locked beyond the deadline, full or unreadable, and name the object in every error.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._db = database
        self._clock = clock

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Self:
        """Open the store at `path`, making it (0600, WAL) when there is none. Raises ClusterUnavailable."""
        store = cls(Database.open(path), clock=clock)
        with store._db.write():
            for namespace in ("default", "kube-system"):
                store._ensure_namespace(namespace)
        return store

    def close(self) -> None:
        """Close the file. The store cannot be used any more; closing twice is no error."""
        self._db.close()

    @property
    def uid(self) -> str:
        """What tells this store from any other: the uid of its kube-system namespace."""
        row = self._db.row(ObjectRef(group="", kind="Namespace", namespace="", name="kube-system"))
        return row.uid if row else ""

    def resource_version(self) -> int:
        """The version of the last write; equal versions, equal contents."""
        return self._db.version()

    def get(self, ref: ObjectRef) -> Body | None:
        """One object, or None when it is not there."""
        row = self._db.row(ref)
        return row.body() if row else None

    def list(
        self, group: str, kind: str, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[list[Body], int]:
        """All objects of a kind by namespace and name, and the resourceVersion at which that was so."""
        with self._db.read():
            version = self._db.version()
            bodies = [row.body() for row in self._db.rows(group, kind, namespace)]
        if labels:
            bodies = [body for body in bodies if _matches(body, labels)]
        return bodies, version

    def rows(self, kinds: list[tuple[str, str]], *, since: int = 0) -> tuple[list[Row], int]:
        """Undecoded rows of several kinds (group, kind) with a newer resourceVersion than `since`, read at once."""
        with self._db.read():
            version = self._db.version()
            return [row for group, kind in kinds for row in self._db.rows(group, kind, None, since=since)], version

    def create(self, obj: Body, *, manager: str) -> Body:
        """Create an object; its fields, defaulted ones too, belong to `manager` (operation Update).

        `metadata.generateName` is honoured. Raises PreconditionFailed when it exists, Rejected when it is invalid.
        """
        with self._db.write():
            kind, ref = self._admit(obj)
            if self._db.row(ref):
                raise PreconditionFailed(f"{ref} already exists", ref=ref)
            body = set_defaults(canonical(obj, kind, ref), kind)
            body.pop(_STATUS, None)
            entries = ssa.update(None, body, [], kind=kind, manager=manager, now=self._now())
            return self._insert(kind, ref, body, entries)

    def apply(self, obj: Body, *, manager: str, force: bool = False, expect: Precondition = AnyState()) -> Body:
        """Server-side apply: create or merge, tracking which fields `manager` owns.

        A configuration that changes nothing writes nothing. `metadata.uid` and `metadata.resourceVersion` in `obj` are
        preconditions beside `expect`. Raises PreconditionFailed, FieldConflict (unless `force`), Rejected.
        """
        with self._db.write():
            kind, ref = self._admit(obj)
            row = self._db.row(ref)
            _check(ref, row, expect)
            _check_metadata(ref, row, obj)
            live = row.body() if row else None
            result = ssa.apply(live, obj, kind=kind, ref=ref, manager=manager, force=force, now=self._now())
            body = set_defaults(canonical(result.body, kind, ref), kind)
            if row is None or live is None:
                body.pop(_STATUS, None)
                return self._insert(kind, ref, body, result.entries)
            return self._replace(kind, row, live, body, result.entries)

    def update(self, obj: Body, *, manager: str, subresource: str = "") -> Body:
        """Replace an object, or only its `status` or its `spec.replicas` ("scale").

        A `metadata.resourceVersion` in `obj` must be the live one. Fields that change belong to `manager` afterwards
        (operation Update) and to nobody else. Raises PreconditionFailed (also when the object is gone), Rejected.
        """
        with self._db.write():
            kind, ref = self._admit(obj, whole=not subresource)
            row = self._db.row(ref)
            if row is None:
                raise PreconditionFailed(f"{ref} is not there", ref=ref)
            _check_metadata(ref, row, obj)
            live = row.body()
            body = _aim(live, obj, subresource, ref)
            body = set_defaults(canonical(body, kind, ref), kind)
            entries = ssa.update(
                live,
                body,
                ssa.read_entries(live),
                kind=kind,
                manager=manager,
                subresource=subresource,
                now=self._now(),
            )
            return self._replace(kind, row, live, body, entries)

    def patch_status(self, ref: ObjectRef, status: Body, *, manager: str, uid: str = "") -> Body | None:
        """Replace the status (subresource "status"); no change writes nothing.

        None when the object is not there, or is another than `uid`.
        """
        with self._db.write():
            row = self._db.row(ref)
            if row is None or (uid and row.uid != uid):
                return None
            live = row.body()
            if live.get(_STATUS, {}) == status:
                return live
            kind = _known(ref.group, ref.kind, ref)
            body = canonical({**live, _STATUS: status}, kind, ref)
            entries = ssa.update(
                live, body, ssa.read_entries(live), kind=kind, manager=manager, subresource=_STATUS, now=self._now()
            )
            return self._replace(kind, row, live, body, entries)

    def delete(self, ref: ObjectRef, expect: Precondition = AnyState(), *, grace: bool = True) -> None:
        """Delete an object, and with it what only it owns.

        With `grace`, a pod that was given to a node stays, with a deletionTimestamp, until `remove`; an object with
        finalizers stays until they are gone. Not there is no error, unless `expect` is MustBe. Raises
        PreconditionFailed.
        """
        with self._db.write():
            row = self._db.row(ref)
            if row is None and not isinstance(expect, MustBe):
                return
            _check(ref, row, expect)
            if row is not None:
                storage_gc.delete(self._db, row, grace=grace, now=self._now())

    def remove(self, ref: ObjectRef, uid: str) -> None:
        """Take away for good a pod that has ended; finalizers still hold it. Another uid or nothing there: no error."""
        with self._db.write():
            row = self._db.row(ref)
            if row is not None and row.uid == uid:
                storage_gc.delete(self._db, row, grace=False, now=self._now())

    def events(self, since: int, limit: int = 1000) -> list[Event]:
        """Changes after resourceVersion `since`, oldest first, at most `limit`.

        Raises `storage_sql.Expired` when some of them are no longer kept: list again.
        """
        return self._db.events(since, limit)

    def wait(self, since: int, timeout: float) -> bool:
        """Wait until the store is newer than `since`, whoever wrote; False after `timeout` seconds."""
        return self._db.wait(since, timeout)

    def put_usage(self, pod: ObjectRef, cpu: float, memory: int) -> None:
        """Keep a pod's last sample: `cpu` in cores, `memory` in bytes. No change of any object."""
        with self._db.write():
            self._db.put_usage(pod, cpu, memory)

    def usage(self) -> dict[ObjectRef, PodUsage]:
        """The last samples of all pods that are there."""
        return self._db.usage()

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _admit(self, obj: Body, *, whole: bool = True) -> tuple[Kind, ObjectRef]:
        """The kind and the reference of an incoming object. Raises Rejected."""
        kind, ref = kind_of(obj)
        if whole:
            ssa.check_declared(obj, kind, ref)
        return kind, ref

    def _ensure_namespace(self, name: str) -> None:
        ref = ObjectRef(group="", kind="Namespace", namespace="", name=name)
        if self._db.has(ref):
            return
        body: Body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        kind = _known("", "Namespace", ref)
        self._insert(kind, ref, set_defaults(body, kind), [])

    def _insert(self, kind: Kind, ref: ObjectRef, body: Body, entries: list[ssa.Entry]) -> Body:
        if kind.namespaced:
            self._ensure_namespace(ref.namespace)
        metadata = body["metadata"]
        metadata.pop("resourceVersion", None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self._now()
        if kind.generation:
            metadata["generation"] = 1
        storage_gc.allocate(self._db, body, kind)
        validate_create(body, kind, ref)
        ssa.write_entries(body, entries)
        row = self._db.insert(ref, body)
        storage_gc.collect_orphan(self._db, row, now=self._now())
        return row.body()

    def _replace(self, kind: Kind, row: Row, live: Body, body: Body, entries: list[ssa.Entry]) -> Body:
        """Write `body` over `live`, unless nothing but time differs."""
        ref = row.ref
        old, new = live["metadata"], body["metadata"]
        for key in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
            new.pop(key, None)
            if key in old:
                new[key] = old[key]
        new["resourceVersion"] = old["resourceVersion"]
        storage_gc.allocate(self._db, body, kind, live=live)
        ssa.write_entries(body, entries)
        if body == live:
            return live
        validate_update(live, body, kind, ref)
        if kind.generation and not _same_but_status(live, body):
            new["generation"] = old.get("generation", 0) + 1
        if new.get("deletionTimestamp") and old.get("finalizers") and not new.get("finalizers"):
            storage_gc.delete(self._db, row, grace=False, now=self._now(), finalized=True)
            return body
        return self._db.replace(row, body).body()


def _known(group: str, kind: str, ref: ObjectRef) -> Kind:
    from reconciler.adapters.embedded.schema_tables import KINDS

    found = KINDS.get((group, kind))
    if found is None:
        raise Rejected(f"no kind {kind} in group {group!r} is known here", ref=ref)
    return found


def _matches(body: Body, labels: Mapping[str, str]) -> bool:
    have = body["metadata"].get("labels", {})
    return all(have.get(key) == value for key, value in labels.items())
