"""Simulated networks: between one program and each thing that it speaks to, a line that may be slow, lossy or cut.

Answers take simulated time, so that a program can be stopped between an effect and its answer. What clusters were told
to delete, and by whom, is kept in a ledger.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from reconciler.model.audit import AuditVerdict
from reconciler.model.errors import ClusterUnavailable, OutcomeUnknown, RegistryError, SourceError
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    FIELD_MANAGER,
    Capacity,
    ClusterIdentity,
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
from reconciler.ports import Cluster, Registry, Source
from tests.doubles.simulated_time import outside

T = TypeVar("T")


class Line(StrEnum):
    """How a line is, from well to worse."""

    WELL = "well"
    SLOW = "slow"
    """Answers take seconds."""
    LOSSY = "lossy"
    """Of each five calls one is refused, and of one the answer is lost."""
    CUT = "cut"
    """Refused at once."""
    SILENT = "silent"
    """Nothing answers, nothing is refused."""


RANK = {line: rank for rank, line in enumerate(Line)}


@dataclass(slots=True)
class Place:
    """A thing that programs speak to, and how its own end of all lines is."""

    name: str
    line: Line = Line.WELL
    rank: int = 0
    turned: asyncio.Event = field(default_factory=asyncio.Event)

    def turn(self, line: Line) -> None:
        """Let it be so from now on."""
        self.line, self.rank = line, RANK[line]
        self.turned.set()
        self.turned = asyncio.Event()


@dataclass(slots=True)
class Link:
    """One program's line to a place. The worse of both ends counts."""

    place: Place
    own: Place
    chance: random.Random
    dead: bool = False

    @property
    def line(self) -> Line:
        return self.place.line if self.place.rank >= self.own.rank else self.own.line

    async def cross(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        refused: Callable[[], T],
        lost: Callable[[], T],
        sent: bool = False,
    ) -> T:
        """A call: `refused` and `lost` answer or raise for one that never came there, and whose answer never came.

        One that is `sent` is on its way by itself: it arrives also where the program is stopped or killed meanwhile.
        """
        line = self.line
        if line is Line.SILENT:
            while self.line is Line.SILENT:
                await self._turns()
            return refused()
        if line is Line.CUT or (line is Line.LOSSY and self.chance.random() < 0.2):
            await asyncio.sleep(0)
            return refused()
        answers = await (outside(self._arrives(work)) if sent else self._arrives(work))
        if not answers:
            return refused()
        await self._travel()
        line = self.line
        if line in _AWAY or (line is Line.LOSSY and self.chance.random() < 0.2):
            return lost()
        return answers[0]

    async def _arrives(self, work: Callable[[], Awaitable[T]]) -> list[T]:
        """The answer as it is given there; none where the call does not arrive."""
        await self._travel()
        return [] if self.line in _AWAY else [await work()]

    async def _travel(self) -> None:
        if self.line is Line.SLOW:
            await asyncio.sleep(self.chance.uniform(0.1, 3.0))
        elif self.chance.random() < 0.2:
            await asyncio.sleep(self.chance.uniform(0.001, 0.05))

    async def _turns(self) -> None:
        tasks = {asyncio.ensure_future(end.turned.wait()) for end in (self.place, self.own)}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def broken(self) -> None:
        """Wait until the line is cut or silent."""
        while self.line not in _AWAY:
            await self._turns()


_AWAY = (Line.CUT, Line.SILENT)


def _raise(error: Exception) -> Any:
    raise error


class LinkedSource:
    """Implements ports.Source: only fetching goes over the line."""

    def __init__(self, inner: Source, link: Link) -> None:
        self.inner, self.link = inner, link

    async def fetch(self) -> None:
        def failed() -> Any:
            raise SourceError("the repository cannot be reached")

        await self.link.cross(self.inner.fetch, refused=failed, lost=failed)

    async def revision(self, ref: str) -> Revision:
        return await self.inner.revision(ref)

    async def blobs(self, revision: Revision) -> Mapping[str, Blob]:
        return await self.inner.blobs(revision)

    async def changed(self, old: Revision, new: Revision) -> frozenset[str]:
        return await self.inner.changed(old, new)

    def changed_here(self) -> AsyncGenerator[None, None]:
        return self.inner.changed_here()

    async def is_ancestor(self, old: Revision, new: Revision) -> bool:
        return await self.inner.is_ancestor(old, new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A cluster was told to do something to an object, and will do it."""

    at: float
    by: str
    verb: str
    cluster: str
    ref: ObjectRef
    manager: str = ""
    image: str = ""


class LinkedCluster:
    """Implements ports.Cluster over a line. `told` hears of each write just before it is done."""

    reaches_pods = True

    def __init__(self, inner: Cluster, link: Link, by: str, told: Callable[[Told], None]) -> None:
        self.inner, self.link, self.by, self.told = inner, link, by, told

    @property
    def name(self) -> str:
        return self.inner.name

    async def _read(self, work: Callable[[], Awaitable[Observation[Any]]]) -> Observation[Any]:
        def failed() -> Any:
            return Unreadable(reason=f"cluster {self.name} cannot be reached")

        return await self.link.cross(work, refused=failed, lost=failed)

    async def _write(self, told: Told, work: Callable[[], Awaitable[T]]) -> T:
        async def done() -> T:
            self.told(told)
            return await work()

        about = f"{told.ref} on {self.name}"
        return await self.link.cross(
            done,
            refused=lambda: _raise(ClusterUnavailable(f"{about}: cannot be reached", ref=told.ref, cluster=self.name)),
            lost=lambda: _raise(OutcomeUnknown(f"{about}: no answer")),
            sent=True,
        )

    def _telling(self, verb: str, ref: ObjectRef, manager: str = "", image: str = "") -> Told:
        now = asyncio.get_running_loop().time()
        return Told(at=now, by=self.by, verb=verb, cluster=self.name, ref=ref, manager=manager, image=image)

    async def identity(self) -> Observation[ClusterIdentity]:
        return await self._read(self.inner.identity)

    async def observe(self, scope: Scope) -> Observation[LiveSet]:
        return await self._read(lambda: self.inner.observe(scope))

    async def get(self, ref: ObjectRef) -> Observation[LiveObject]:
        return await self._read(lambda: self.inner.get(ref))

    async def apply(
        self,
        manifest: Manifest,
        expect: Precondition,
        *,
        manager: str = FIELD_MANAGER,
        force: bool = False,
        take: Sequence[OwnedPath] = (),
    ) -> LiveObject:
        image = ""
        with suppress(KeyError):
            image = manifest.body["spec"]["template"]["spec"]["containers"][0]["image"]
        return await self._write(
            self._telling("apply", manifest.ref, manager, image),
            lambda: self.inner.apply(manifest, expect, manager=manager, force=force, take=take),
        )

    async def delete(self, ref: ObjectRef, expect: Precondition) -> None:
        await self._write(self._telling("delete", ref), lambda: self.inner.delete(ref, expect))

    async def changes(self, scope: Scope) -> AsyncGenerator[ObjectRef, None]:
        """Ends with ClusterUnavailable when the line breaks."""
        watched = self.inner.changes(scope)
        broken = asyncio.ensure_future(self.link.broken())
        try:
            while True:
                following = asyncio.ensure_future(anext(watched))
                try:
                    await asyncio.wait({following, broken}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    following.cancel()
                    await asyncio.wait({following})  # what is closed below must not be in the middle of something
                if broken.done():
                    with suppress(asyncio.CancelledError):
                        following.exception()  # nobody else asks for it
                    raise ClusterUnavailable(f"the watch of {self.name} broke off", cluster=self.name)
                yield following.result()
        finally:
            broken.cancel()
            await watched.aclose()

    async def capacity(self) -> Observation[Capacity]:
        return await self._read(self.inner.capacity)

    async def usage(self, scope: Scope) -> Observation[Usage]:
        return await self._read(lambda: self.inner.usage(scope))

    def logs(self, pod: ObjectRef, options: LogOptions) -> AsyncIterator[str]:
        return _no_lines()


async def _no_lines() -> AsyncIterator[str]:
    return
    yield ""


class LinkedRegistry:
    """Implements ports.Registry over a line."""

    def __init__(self, inner: Registry, link: Link) -> None:
        self.inner, self.link = inner, link

    async def _cross(self, work: Callable[[], Awaitable[T]]) -> T:
        return await self.link.cross(
            work,
            refused=lambda: _raise(RegistryError("the registry cannot be reached")),
            lost=lambda: _raise(OutcomeUnknown("the registry: no answer")),
        )

    async def _read(self, work: Callable[[], Awaitable[Observation[Any]]]) -> Observation[Any]:
        def failed() -> Any:
            return Unreadable(reason="the registry cannot be reached")

        return await self.link.cross(work, refused=failed, lost=failed)

    async def _ask(self, work: Callable[[], Awaitable[T]]) -> T:
        def failed() -> Any:
            raise RegistryError("the registry cannot be reached")

        return await self.link.cross(work, refused=failed, lost=failed)

    def new_id(self) -> str:
        return self.inner.new_id()

    async def snapshot(self) -> Observation[RegistrySnapshot]:
        return await self._read(self.inner.snapshot)

    async def get(self, name: AgentName) -> Observation[Record]:
        return await self._read(lambda: self.inner.get(name))

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page:
        return await self._ask(lambda: self.inner.find(query, limit=limit, after=after))

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
        return await self._ask(lambda: self.inner.count(query, by=by))

    async def explain(self, query: Query, *, limit: int, after: str = "") -> QueryPlan:
        return await self._ask(lambda: self.inner.explain(query, limit=limit, after=after))

    async def commit(self, write: Write) -> int:
        return await self._cross(lambda: self.inner.commit(write))

    async def open_journal(self) -> tuple[JournalEntry, ...]:
        return await self._ask(self.inner.open_journal)

    async def revisions(self, name: AgentName) -> tuple[AgentRevision, ...]:
        return await self._ask(lambda: self.inner.revisions(name))

    async def record_health(
        self, changes: Sequence[HealthChange], points: Sequence[HealthPoint], *, op_id: str
    ) -> None:
        await self._cross(lambda: self.inner.record_health(changes, points, op_id=op_id))

    async def health_changes(self, name: AgentName | None, *, since_ms: int) -> tuple[HealthChange, ...]:
        return await self._ask(lambda: self.inner.health_changes(name, since_ms=since_ms))

    async def health_points(
        self, name: AgentName | None, *, since_ms: int, until_ms: int, span_ms: int
    ) -> tuple[HealthPoint, ...]:
        return await self._ask(
            lambda: self.inner.health_points(name, since_ms=since_ms, until_ms=until_ms, span_ms=span_ms)
        )

    async def prune_health(self, retention: Retention, *, now_ms: int, most: int) -> int:
        return await self._ask(lambda: self.inner.prune_health(retention, now_ms=now_ms, most=most))

    def audit(self, *, name: AgentName | None = None, since: int = 0) -> AsyncIterator[AuditEntry]:
        return self.inner.audit(name=name, since=since)

    async def verify_audit(self) -> AuditVerdict:
        return await self._ask(self.inner.verify_audit)

    async def changes(self, since: int) -> AsyncIterator[tuple[int, AgentName]]:
        async def listed() -> list[tuple[int, AgentName]]:
            return [item async for item in self.inner.changes(since)]

        for item in await self._ask(listed):
            yield item

    async def acquire(self, lease: str, *, holder: str, ttl_ms: int, now_ms: int, says: str = "") -> Lease:
        return await self._cross(
            lambda: self.inner.acquire(lease, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms, says=says)
        )

    async def leases(self, prefix: str) -> tuple[Lease, ...]:
        return await self._ask(lambda: self.inner.leases(prefix))

    async def release(self, lease: Lease) -> None:
        await self._cross(lambda: self.inner.release(lease))

    async def close(self) -> None:
        await self.inner.close()
