"""ObjectStore: the embedded cluster's API, one SQLite file that several processes read and write at once.

Here live the verbs (get, list, create, apply, update, delete) and their transactions. What a verb means for one object
is decided by pure functions: ownership and merging in `ssa`, shape and rules in `validation`, defaults in
`storage_defaults`. Tables and rows are in `storage_sql`, the collection of dependents in `storage_gc`.
"""

from __future__ import annotations

import builtins
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, assert_never

from reconciler.adapters.embedded import ssa, storage_gc
from reconciler.adapters.embedded.schema_tables import Kind, kind_of
from reconciler.adapters.embedded.storage_addresses import allocate
from reconciler.adapters.embedded.storage_defaults import set_defaults
from reconciler.adapters.embedded.storage_sql import Database, Event, EventType, Expired, Row
from reconciler.adapters.embedded.storage_values import canonical, canonical_status
from reconciler.adapters.embedded.validation import MAX_OBJECT, admit, validate_create, validate_update
from reconciler.model.errors import PreconditionFailed, Rejected
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import AnyState, MustBe, MustBeAbsent, PodUsage, Precondition
from reconciler.model.ownership import OwnedPath, taken

__all__ = ["Delta", "Event", "EventType", "Expired", "ObjectStore"]

Body = dict[str, Any]
_ANY = AnyState()
_SYSTEM = ("default", "kube-system")
_SERVER_SET = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What changed up to `version`: rows that are there now, by kind, and what was deleted (or replaced) meanwhile."""

    version: int
    rows: Mapping[tuple[str, str], builtins.list[Row]]
    deleted: builtins.list[ObjectRef]


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
        if not all(store._db.row(_namespace_ref(name)) for name in _SYSTEM):
            with store._db.write():
                for name in _SYSTEM:
                    store._ensure_namespace(name)
        return store

    def close(self) -> None:
        """Close the file. The store cannot be used any more; closing twice is no error."""
        self._db.close()

    @property
    def uid(self) -> str:
        """What tells this store from any other: the uid of its kube-system namespace."""
        row = self._db.row(_namespace_ref("kube-system"))
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
    ) -> tuple[builtins.list[Body], int]:
        """All objects of a kind by namespace and name, and the resourceVersion at which that was so."""
        with self._db.read():
            version = self._db.version()
            bodies = [row.body() for row in self._db.rows(group, kind, namespace)]
        if labels:
            bodies = [body for body in bodies if _matches(body, labels)]
        return bodies, version

    def rows(self, kinds: Sequence[tuple[str, str]], *, since: int = 0) -> tuple[builtins.list[Row], int]:
        """Undecoded rows of several kinds (group, kind) with a newer resourceVersion than `since`, read at once."""
        with self._db.read():
            version = self._db.version()
            return [row for group, kind in kinds for row in self._db.rows(group, kind, None, since=since)], version

    def delta(self, since: Mapping[tuple[str, str], int]) -> Delta | None:
        """What changed of each kind (group, kind) after its version in `since`, read at once; 0 reads all of it.

        None when the deletions since then are no longer kept: read all again.
        """
        with self._db.read():
            version = self._db.version()
            known = {kind: after for kind, after in since.items() if after}
            try:
                gone = self._db.deleted(known) if known else []
            except Expired:
                return None
            rows = {kind: self._db.rows(*kind, None, since=after) for kind, after in since.items() if after < version}
        return Delta(version=version, rows=rows, deleted=gone)

    def create(self, obj: Body, *, manager: str) -> Body:
        """Create an object; its fields, defaulted ones too, belong to `manager` (operation Update).

        `metadata.generateName` is honoured; `status` is not taken. Raises PreconditionFailed when it exists, Rejected
        when it is invalid.
        """
        obj = _named(obj)
        kind, ref = admit(obj)
        ssa.check_declared(obj, kind, ref)
        body = canonical(obj, kind, ref)
        body.pop("status", None)
        set_defaults(body, kind)
        entries = ssa.update(None, body, [], kind=kind, manager=manager, now=self._now())
        with self._db.write(ref):
            if self._db.row(ref):
                raise PreconditionFailed(f"{ref} already exists", ref=ref)
            return self._insert(kind, ref, body, entries)

    def apply(
        self,
        obj: Body,
        *,
        manager: str,
        force: bool = False,
        expect: Precondition = _ANY,
        take: Sequence[OwnedPath] = (),
    ) -> Body:
        """Server-side apply: create or merge, tracking which fields `manager` owns.

        A configuration that changes nothing writes nothing. `metadata.uid` and `metadata.resourceVersion` in `obj` are
        preconditions beside `expect`. What hand edits own at `take` becomes `manager`'s first. Raises
        PreconditionFailed, FieldConflict (unless `force`), Rejected.
        """
        kind, ref = admit(obj)
        with self._db.write(ref):
            row = self._db.row(ref)
            _check(ref, row, expect)
            _check_metadata(ref, row, obj)
            live = row.body() if row else None
            before = _taken(live, take, manager=manager, kind=kind) if live and take else live
            result = ssa.apply(before, obj, kind=kind, ref=ref, manager=manager, force=force, now=self._now())
            body = set_defaults(canonical(result.body, kind, ref), kind)
            if row is None or live is None:
                return self._insert(kind, ref, body, result.entries)
            return self._replace(kind, row, live, body, result.entries)

    def update(self, obj: Body, *, manager: str, subresource: str = "") -> Body:
        """Replace an object, or with subresource "status" or "scale" only its `status` or its `spec.replicas`.

        A `metadata.resourceVersion` in `obj` must be the live one. Fields that change belong to `manager` afterwards
        (operation Update) and to nobody else. Without a subresource `status` stays as it is. Raises
        PreconditionFailed (also when the object is gone), Rejected.
        """
        kind, ref = admit(obj)
        ssa.check_declared(obj, kind, ref)
        with self._db.write(ref):
            row = self._db.row(ref)
            if row is None:
                raise PreconditionFailed(f"{ref} is not there", ref=ref)
            _check_metadata(ref, row, obj)
            live = row.body()
            body = set_defaults(canonical(_aimed(live, obj, subresource, ref), kind, ref), kind)
            return self._updated(kind, row, live, body, manager=manager, subresource=subresource)

    def patch_status(self, ref: ObjectRef, status: Body, *, manager: str, uid: str = "") -> Body | None:
        """Replace the status (subresource "status"); no change writes nothing.

        None when the object is not there, or is another than `uid`. Raises Rejected.
        """
        with self._db.write(ref):
            row = self._db.row(ref)
            if row is None or (uid and row.uid != uid):
                return None
            live = row.body()
            if live.get("status", {}) == status:
                return live
            kind = kind_of(ref.group, ref.kind, ref)
            ssa.check_declared({"status": status}, kind, ref)
            body = {**live, "metadata": {**live["metadata"]}, "status": canonical_status(status, kind, ref)}
            return self._updated(kind, row, live, body, manager=manager, subresource="status")

    def delete(self, ref: ObjectRef, expect: Precondition = _ANY, *, grace: bool = True) -> None:
        """Delete an object, and with it what only it owns.

        With `grace`, a pod that has a `spec.nodeName` and has not ended stays, with a deletionTimestamp, until
        `remove`; an object with finalizers stays until they are gone. Not there is no error, unless `expect` is
        MustBe. Raises PreconditionFailed.
        """
        with self._db.write(ref):
            row = self._db.row(ref)
            if row is None and not isinstance(expect, MustBe):
                return
            _check(ref, row, expect)
            if row is not None:
                storage_gc.delete(self._db, row, grace=grace, now=self._now())

    def remove(self, ref: ObjectRef, uid: str) -> None:
        """Take away for good a pod that has ended; finalizers still hold it. Another uid or nothing there: no error."""
        with self._db.write(ref):
            row = self._db.row(ref)
            if row is not None and row.uid == uid:
                storage_gc.delete(self._db, row, grace=False, now=self._now())

    def events(self, since: int, limit: int = 1000) -> builtins.list[Event]:
        """Changes after resourceVersion `since`, oldest first, at most `limit`.

        Raises `Expired` when some of them are no longer kept: list again.
        """
        return self._db.events(since, limit)

    def wait(self, since: int, timeout: float) -> bool:
        """Wait until the store is newer than `since`, whoever wrote; False after `timeout` seconds."""
        return self._db.wait(since, timeout)

    def put_usage(self, pod: ObjectRef, cpu: float, memory: int) -> None:
        """Keep a pod's last sample: `cpu` in cores, `memory` in bytes. No change of any object."""
        with self._db.write(pod):
            self._db.put_usage(pod, cpu, memory)

    def usage(self) -> dict[ObjectRef, PodUsage]:
        """The last samples of all pods."""
        return self._db.usage()

    def _now(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))

    def _ensure_namespace(self, name: str) -> None:
        ref = _namespace_ref(name)
        if not self._db.has(ref):
            kind = kind_of("", "Namespace")
            body: Body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            self._insert(kind, ref, set_defaults(body, kind), [])

    def _insert(self, kind: Kind, ref: ObjectRef, body: Body, entries: builtins.list[ssa.Entry]) -> Body:
        if kind.namespaced:
            self._ensure_namespace(ref.namespace)
        metadata = body["metadata"]
        for key in (*_SERVER_SET, "resourceVersion", "managedFields"):
            metadata.pop(key, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self._now()
        if kind.generation:
            metadata["generation"] = 1
        validate_create(body, kind, ref)
        if kind.name == "Service":
            allocate(self._db, body, ref)
        ssa.write_entries(body, entries)
        row = _bounded(self._db.insert(ref, body))
        storage_gc.collect_orphan(self._db, row, body, now=self._now())
        return body

    def _updated(self, kind: Kind, row: Row, live: Body, body: Body, *, manager: str, subresource: str) -> Body:
        entries = ssa.update(
            live, body, ssa.read_entries(live), kind=kind, manager=manager, subresource=subresource, now=self._now()
        )
        return self._replace(kind, row, live, body, entries, only_status=subresource == "status")

    def _replace(
        self,
        kind: Kind,
        row: Row,
        live: Body,
        body: Body,
        entries: builtins.list[ssa.Entry],
        *,
        only_status: bool = False,
    ) -> Body:
        """Write `body` over `live`, unless nothing differs. What the server sets stays as it was."""
        old, new = live["metadata"], body["metadata"]
        for key in (*_SERVER_SET, "resourceVersion"):
            new.pop(key, None)
            if key in old:
                new[key] = old[key]
        if kind.name == "Service":
            allocate(self._db, body, row.ref, live)
        ssa.write_entries(body, entries)
        if body == live:
            return live
        if not only_status:
            validate_update(live, body, kind, row.ref)
            if kind.generation and live.get("spec") != body.get("spec"):
                new["generation"] = old.get("generation", 0) + 1
        if _released(old, new):
            storage_gc.erase(self._db, row, grace=True, now=self._now())
            return body
        _bounded(self._db.replace(row, body))
        return body


def _taken(live: Body, paths: Sequence[OwnedPath], *, manager: str, kind: Kind) -> Body:
    """A body in which `manager` has taken fields over from hand edits."""
    entries = taken(live["metadata"].get("managedFields", ()), paths, manager=manager, api_version=kind.api_version)
    return {**live, "metadata": {**live["metadata"], "managedFields": entries}}


def _namespace_ref(name: str) -> ObjectRef:
    return ObjectRef(group="", kind="Namespace", namespace="", name=name)


def _matches(body: Body, labels: Mapping[str, str]) -> bool:
    have = body["metadata"].get("labels", {})
    return all(have.get(key) == value for key, value in labels.items())


def _named(obj: Body) -> Body:
    """`obj`, with a name made of its generateName when it has none."""
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    if not isinstance(metadata, dict) or metadata.get("name") or not metadata.get("generateName"):
        return obj
    return {**obj, "metadata": {**metadata, "name": f"{str(metadata['generateName'])[:247]}{uuid.uuid4().hex[:5]}"}}


def _check(ref: ObjectRef, row: Row | None, expect: Precondition) -> None:
    match expect:
        case AnyState():
            return
        case MustBeAbsent():
            if row is not None:
                raise PreconditionFailed(f"{ref} already exists", ref=ref)
        case MustBe(uid=uid, resource_version=version):
            _check_live(ref, row, uid, version)
        case _:
            assert_never(expect)


def _check_metadata(ref: ObjectRef, row: Row | None, obj: Body) -> None:
    """The preconditions that an object carries itself."""
    metadata = obj["metadata"]
    uid, version = str(metadata.get("uid") or ""), str(metadata.get("resourceVersion") or "")
    if uid or version:
        _check_live(ref, row, uid, version)


def _check_live(ref: ObjectRef, row: Row | None, uid: str, version: str) -> None:
    if row is None:
        raise PreconditionFailed(f"{ref} is not there (uid mismatch: expected {uid or 'an object'})", ref=ref)
    if uid and row.uid != uid:
        raise PreconditionFailed(f"{ref}: uid mismatch: expected {uid}, found {row.uid}", ref=ref)
    if version and str(row.version) != version:
        raise PreconditionFailed(
            f"{ref}: the object has been modified: expected resourceVersion {version}, found {row.version}", ref=ref
        )


def _aimed(live: Body, obj: Body, subresource: str, ref: ObjectRef) -> Body:
    """What the live object becomes when `obj` is written to a subresource of it."""
    if subresource == "status":
        return {**live, "status": obj.get("status") or {}}
    if subresource == "scale":
        replicas = (obj.get("spec") or {}).get("replicas", 0)
        return {**live, "spec": {**live.get("spec", {}), "replicas": replicas}}
    if subresource:
        raise Rejected(f"{ref}: there is no subresource {subresource!r}", ref=ref)
    return {**obj, "status": live.get("status", {})} if "status" in live else obj


def _released(old: Body, new: Body) -> bool:
    """Whether a deleted object lost its last finalizer, and no kubelet has to end it first."""
    gone = bool(old.get("finalizers")) and not new.get("finalizers")
    return gone and "deletionTimestamp" in old and not old.get("deletionGracePeriodSeconds")


def _bounded(row: Row) -> Row:
    """Raises Rejected, which undoes the transaction, for an object that is too large."""
    if len(row.data) > MAX_OBJECT:
        raise Rejected(f"{row.ref}: Request entity too large: limit is {MAX_OBJECT} bytes", ref=row.ref)
    return row
