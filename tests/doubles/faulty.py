"""Ports that count every call that crosses them, and go wrong at one chosen call in one chosen way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.audit import AuditVerdict
from reconciler.model.errors import ClusterUnavailable, OutcomeUnknown, RegistryError, SourceError
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    FIELD_MANAGER,
    Absent,
    Capacity,
    ClusterIdentity,
    Found,
    LiveObject,
    LiveSet,
    LogOptions,
    Manifest,
    Observation,
    Precondition,
    Scope,
    Unreadable,
    Usage,
)
from reconciler.model.ownership import OwnedPath
from reconciler.model.query import GroupCount, Page, Query, QueryPlan
from reconciler.model.registry import (
    AgentRevision,
    AuditEntry,
    JournalEntry,
    Lease,
    Record,
    RegistrySnapshot,
    Write,
)
from reconciler.model.series import HealthChange, HealthPoint, Retention
from reconciler.model.source import Blob, Revision
from reconciler.ports import Cluster, Source

T = TypeVar("T")
Answer = Callable[[], T]


class Crash(BaseException):
    """The process is gone. No handler of failures may see it as one."""


class Fault(StrEnum):
    """What happens at the chosen call."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after the effect"
    ERROR = "error"
    TIMEOUT_AFTER = "time-out after the effect"
    STALE = "stale reply"


def _raise(error: Exception) -> Any:
    raise error


class Faults:
    """Numbers calls from 1, and lets `fault` happen at call number `at`. After a crash every call crashes."""

    def __init__(self, at: int = 0, fault: Fault | None = None) -> None:
        self.at, self.fault = at, fault
        self.calls: list[str] = []
        self.dead = False

    async def call(
        self,
        name: str,
        work: Callable[[], Awaitable[T]],
        *,
        error: Answer[T],
        unknown: Answer[T] | None = None,
        stale: Answer[T] | None = None,
    ) -> T:
        """One call: `error` answers or raises without the effect, `unknown` after it; `stale` is an older answer."""
        if self.dead:
            raise Crash(name)
        self.calls.append(name)
        fault = self.fault if len(self.calls) == self.at else None
        match fault:
            case Fault.CRASH_BEFORE:
                self._die(name)
            case Fault.ERROR:
                return error()
            case Fault.STALE if stale is not None:
                await work()
                return stale()
        answer = await work()
        match fault:
            case Fault.CRASH_AFTER:
                self._die(name)
            case Fault.TIMEOUT_AFTER:
                return (unknown or error)()
        return answer

    def _die(self, name: str) -> None:
        self.dead = True
        raise Crash(name)


class Ledger:
    """What really happened to objects: every uid that came to be, and every uid that was deleted."""

    def __init__(self) -> None:
        self.created: dict[tuple[str, ObjectRef], list[str]] = {}
        self.deleted: list[str] = []

    def note_applied(self, cluster: str, live: LiveObject) -> None:
        uids = self.created.setdefault((cluster, live.ref), [])
        if live.uid not in uids:
            uids.append(live.uid)


class FaultyCluster:
    """Implements ports.Cluster around another one."""

    def __init__(self, inner: Cluster, faults: Faults, ledger: Ledger) -> None:
        self.inner, self.faults, self.ledger = inner, faults, ledger
        self._old_objects: dict[ObjectRef, Observation[LiveObject]] = {}
        self._old_set: Observation[LiveSet] | None = None

    @property
    def name(self) -> str:
        return self.inner.name

    async def _before_write(self, ref: ObjectRef) -> None:
        self._old_objects[ref] = await self.inner.get(ref)
        self._old_set = await self.inner.observe(Scope())

    @property
    def reaches_pods(self) -> bool:
        return self.inner.reaches_pods

    async def identity(self) -> Observation[ClusterIdentity]:
        return await self.faults.call("cluster.identity", self.inner.identity, error=self._unreadable)

    async def observe(self, scope: Scope) -> Observation[LiveSet]:
        old = self._old_set if scope == Scope() else None
        return await self.faults.call(
            "cluster.observe",
            lambda: self.inner.observe(scope),
            error=self._unreadable,
            stale=(lambda: old) if old is not None else None,
        )

    async def get(self, ref: ObjectRef) -> Observation[LiveObject]:
        old = self._old_objects.get(ref)
        return await self.faults.call(
            f"cluster.get {ref}",
            lambda: self.inner.get(ref),
            error=self._unreadable,
            stale=(lambda: old) if old is not None else None,
        )

    async def apply(
        self,
        manifest: Manifest,
        expect: Precondition,
        *,
        manager: str = FIELD_MANAGER,
        force: bool = False,
        take: Sequence[OwnedPath] = (),
    ) -> LiveObject:
        ref = manifest.ref

        async def work() -> LiveObject:
            await self._before_write(ref)
            live = await self.inner.apply(manifest, expect, manager=manager, force=force, take=take)
            self.ledger.note_applied(self.name, live)
            return live

        def stale() -> LiveObject:
            old = self._old_objects[ref]
            return old.value if isinstance(old, Found) else _raise(OutcomeUnknown(f"{ref}: no reply"))

        return await self.faults.call(
            f"cluster.apply {ref}",
            work,
            error=lambda: _raise(ClusterUnavailable(f"{ref}: refused")),
            unknown=lambda: _raise(OutcomeUnknown(f"{ref}: no reply")),
            stale=stale,
        )

    async def delete(self, ref: ObjectRef, expect: Precondition) -> None:
        async def work() -> None:
            await self._before_write(ref)
            await self.inner.delete(ref, expect)
            old = self._old_objects[ref]
            if isinstance(old, Found):
                self.ledger.deleted.append(old.value.uid)

        await self.faults.call(
            f"cluster.delete {ref}",
            work,
            error=lambda: _raise(ClusterUnavailable(f"{ref}: refused")),
            unknown=lambda: _raise(OutcomeUnknown(f"{ref}: no reply")),
        )

    def changes(self, scope: Scope) -> AsyncGenerator[ObjectRef, None]:
        return self.inner.changes(scope)

    async def capacity(self) -> Observation[Capacity]:
        return await self.faults.call("cluster.capacity", self.inner.capacity, error=self._unreadable)

    async def usage(self, scope: Scope) -> Observation[Usage]:
        return await self.inner.usage(scope)

    def logs(self, pod: ObjectRef, options: LogOptions) -> AsyncIterator[str]:
        return self.inner.logs(pod, options)

    @staticmethod
    def _unreadable() -> Any:
        return Unreadable(reason="the cluster does not answer")


class FaultyRegistry:
    """Implements ports.Registry around another one."""

    def __init__(self, inner: SqliteRegistry, faults: Faults) -> None:
        self.inner, self.faults = inner, faults
        self._old: Observation[RegistrySnapshot] = Absent()
        self._old_journal: tuple[JournalEntry, ...] | None = None

    def new_id(self) -> str:
        return self.inner.new_id()

    async def snapshot(self) -> Observation[RegistrySnapshot]:
        old = self._old
        return await self.faults.call(
            "registry.snapshot",
            self.inner.snapshot,
            error=self._unreadable,
            stale=(lambda: old) if isinstance(old, Found) else None,
        )

    async def get(self, name: AgentName) -> Observation[Record]:
        old = self._old

        def stale() -> Observation[Record]:
            record = old.value.records.get(name) if isinstance(old, Found) else None
            return Absent() if record is None else Found(record)

        return await self.faults.call(
            f"registry.get {name}",
            lambda: self.inner.get(name),
            error=self._unreadable,
            stale=stale if isinstance(old, Found) else None,
        )

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page:
        return await self.inner.find(query, limit=limit, after=after)

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
        return await self.inner.count(query, by=by)

    async def explain(self, query: Query, *, limit: int, after: str = "") -> QueryPlan:
        return await self.inner.explain(query, limit=limit, after=after)

    async def commit(self, write: Write) -> int:
        async def work() -> int:
            self._old = await self.inner.snapshot()
            self._old_journal = await self.inner.open_journal()
            return await self.inner.commit(write)

        return await self.faults.call(
            f"registry.commit {'; '.join(f'{r.name} {r.state}' for r in write.records)}",
            work,
            error=self._refused,
            unknown=lambda: _raise(OutcomeUnknown("the registry: no reply")),
            stale=lambda: 0,
        )

    async def open_journal(self) -> tuple[JournalEntry, ...]:
        old = self._old_journal
        return await self.faults.call(
            "registry.open_journal",
            self.inner.open_journal,
            error=self._refused,
            stale=(lambda: old) if old is not None else None,
        )

    async def revisions(self, name: AgentName) -> tuple[AgentRevision, ...]:
        return await self.inner.revisions(name)

    def audit(self, *, name: AgentName | None = None, since: int = 0) -> AsyncIterator[AuditEntry]:
        return self.inner.audit(name=name, since=since)

    async def verify_audit(self) -> AuditVerdict:
        return await self.inner.verify_audit()

    def changes(self, since: int) -> AsyncIterator[tuple[int, AgentName]]:
        return self.inner.changes(since)

    async def acquire(self, lease: str, *, holder: str, ttl_ms: int, now_ms: int, says: str = "") -> Lease:
        return await self.faults.call(
            "registry.acquire",
            lambda: self.inner.acquire(lease, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms, says=says),
            error=self._refused,
            unknown=lambda: _raise(OutcomeUnknown("the registry: no reply")),
        )

    async def leases(self, prefix: str) -> tuple[Lease, ...]:
        return await self.inner.leases(prefix)

    async def release(self, lease: Lease) -> None:
        await self.faults.call(
            "registry.release",
            lambda: self.inner.release(lease),
            error=self._refused,
            unknown=lambda: _raise(OutcomeUnknown("the registry: no reply")),
        )

    async def record_health(
        self, changes: Sequence[HealthChange], points: Sequence[HealthPoint], *, op_id: str
    ) -> None:
        await self.inner.record_health(changes, points, op_id=op_id)

    async def health_changes(self, name: AgentName | None, *, since_ms: int) -> tuple[HealthChange, ...]:
        return await self.inner.health_changes(name, since_ms=since_ms)

    async def health_points(
        self, name: AgentName | None, *, since_ms: int, until_ms: int, span_ms: int
    ) -> tuple[HealthPoint, ...]:
        return await self.inner.health_points(name, since_ms=since_ms, until_ms=until_ms, span_ms=span_ms)

    async def prune_health(self, retention: Retention, *, now_ms: int, most: int) -> int:
        return await self.inner.prune_health(retention, now_ms=now_ms, most=most)

    async def close(self) -> None:
        await self.inner.close()

    @staticmethod
    def _unreadable() -> Any:
        return Unreadable(reason="the registry does not answer")

    @staticmethod
    def _refused() -> Any:
        raise RegistryError("the registry does not answer")


class FaultySource:
    """Implements ports.Source around another one. `old` is the revision before the one that is checked out."""

    def __init__(self, inner: Source, faults: Faults, old: Revision) -> None:
        self.inner, self.faults, self.old = inner, faults, old

    async def fetch(self) -> None:
        await self.inner.fetch()

    async def revision(self, ref: str) -> Revision:
        return await self.faults.call(
            "source.revision",
            lambda: self.inner.revision(ref),
            error=self._unreadable,
            stale=(lambda: self.old) if not ref else None,
        )

    async def blobs(self, revision: Revision) -> Mapping[str, Blob]:
        return await self.faults.call("source.blobs", lambda: self.inner.blobs(revision), error=self._unreadable)

    async def changed(self, old: Revision, new: Revision) -> frozenset[str]:
        return await self.inner.changed(old, new)

    def changed_here(self) -> AsyncGenerator[None, None]:
        return self.inner.changed_here()

    async def is_ancestor(self, old: Revision, new: Revision) -> bool:
        return await self.faults.call(
            "source.is_ancestor", lambda: self.inner.is_ancestor(old, new), error=self._unreadable
        )

    @staticmethod
    def _unreadable() -> Any:
        raise SourceError("the repository does not answer")
