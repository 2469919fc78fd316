"""One run of the engine: what all its parts share, and how they write to the registry.

Every write carries the lock's epoch, so that a run that lost its lock writes nothing; a write whose reply was lost is
repeated under its own operation id, which the registry answers without doing it twice.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from reconciler.engine.bells import Bells
from reconciler.engine.locks import Lock
from reconciler.engine.observe import Silent, ask_who, attend
from reconciler.engine.world import Patience, Retry
from reconciler.model.errors import (
    OutcomeUnknown,
    ReconcilerError,
    RegistryConflict,
    RegistryError,
)
from reconciler.model.events import ApplyEvent
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import Absent, Found, LiveObject, LiveSet, Observation, Scope, Unreadable
from reconciler.model.plan import Change, Hold
from reconciler.model.registry import (
    AgentRevision,
    AuditFact,
    FleetRecord,
    JournalEntry,
    Record,
    Write,
)
from reconciler.ports import Clock, Cluster, Registry

KEEP_EACH_S = 5.0
"""How often the lock is looked after while a write lasts."""
LOST_FOR_S = 30.0
"""How long a cluster that went silent is left in peace; a restarted API server is back by then."""

Answer = TypeVar("Answer")


class Replan(ReconcilerError):
    """The world is not as the plan saw it: this one agent is planned again. Nothing was done wrongly."""


class Failed(ReconcilerError):
    """An effect that failed for good: trying again without a change cannot help."""


class Unfinished(ReconcilerError):
    """It can neither be said to be done nor to have failed: the journal entry stays open for the next run."""


class OutOfReach(Unfinished):
    """A cluster does not answer, or is not to be spoken to: nothing more is tried there for a while."""

    def __init__(self, message: str, *, cluster: str) -> None:
        super().__init__(message)
        self.cluster = cluster


Replanner = Callable[[AgentName], Awaitable[Change | Hold | None]]
"""Plans one agent again: its change, why it is held, or None when there is nothing to do."""


@dataclass(slots=True, kw_only=True)
class Run:
    """Shared by all changes of one apply. `timeout_s` bounds each rollout instead of what its agent says."""

    registry: Registry
    clusters: Mapping[str, Cluster | Unreadable]
    clock: Clock
    lock: Lock
    retry: Retry
    actor: str
    id: str
    fleet: str
    commit_id: str
    stop: asyncio.Event
    emit: Callable[[ApplyEvent], None]
    replan: Replanner
    timeout_s: float | None = None
    patience: Patience = field(default_factory=Patience)
    lost: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Clusters that are out of reach: why, and until when (monotonic) nobody asks them again."""
    open_entries: dict[AgentName, tuple[JournalEntry, ...]] = field(default_factory=dict)
    sequence: int = 0
    """The registry's change sequence after the last write."""
    bells: Bells = field(default_factory=Bells)
    wrote: Callable[[int, int], None] = lambda _last, _records: None
    """Hears of every write: the sequence that it ended at, and how many records it had."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def reach(self, name: str) -> Cluster:
        """A cluster to work on. Raises OutOfReach for one that is lost, could not be opened or is not declared."""
        found = self.clusters.get(name)
        if found is None:
            raise OutOfReach(f"cluster {name} is not declared any more", cluster=name)
        if isinstance(found, Unreadable):
            raise OutOfReach(f"cluster {name}: {found.reason}", cluster=name)
        reason, until = self.lost.get(name, ("", 0.0))
        if until > self.clock.monotonic():
            raise OutOfReach(f"cluster {name}: {reason}", cluster=name)
        return found

    def lose(self, name: str, reason: str, *, for_s: float = LOST_FOR_S) -> OutOfReach:
        """Let nobody ask a cluster for a while, so that it costs its deadline once and not once a change."""
        self.lost[name] = (reason, self.clock.monotonic() + for_s)
        return OutOfReach(f"cluster {name}: {reason}", cluster=name)

    async def ask(self, cluster: Cluster, work: Awaitable[Answer]) -> Answer:
        """The answer of one call to a cluster. Raises what it raises, OutcomeUnknown when it takes too long, and
        OutOfReach when the cluster goes silent: then too nothing is known of what came of it.
        """
        try:
            return await attend(work, cluster, self.patience, limit_s=self.patience.call_s)
        except Silent as error:
            if error.gone:
                raise self.lose(cluster.name, error.message) from error
            raise OutcomeUnknown(error.message) from error

    async def write(self, cluster: Cluster, work: Awaitable[Answer]) -> Answer:
        """As `ask`, for a call that changes something: the lock is renewed while it lasts, and it ends with the lock.

        A server that keeps us waiting for longer than the lock lasts would else have our call when somebody else has
        the lock. Raises LockLost as well.
        """
        loop = asyncio.get_running_loop()
        lost: list[ReconcilerError] = []
        keepers: list[asyncio.Task[None]] = []

        async def keep() -> None:
            try:
                while True:
                    await self.lock.keep()
                    await asyncio.sleep(KEEP_EACH_S)
            except ReconcilerError as error:
                lost.append(error)
                deadline.reschedule(loop.time())

        # most answers come before the lock is old: a task of its own for each call would cost more than the call
        later = loop.call_later(KEEP_EACH_S, lambda: keepers.append(loop.create_task(keep())))
        try:
            async with asyncio.timeout(None) as deadline:
                return await self.ask(cluster, work)
        except TimeoutError:
            if lost:
                raise lost[0] from None
            raise
        finally:
            later.cancel()
            for task in keepers:
                task.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def get(self, cluster: Cluster, ref: ObjectRef) -> Observation[LiveObject]:
        """One object. Raises OutOfReach when the cluster goes silent."""
        try:
            return await self.ask(cluster, cluster.get(ref))
        except OutcomeUnknown as error:
            return Unreadable(reason=error.message)

    async def look(self, cluster: Cluster, scope: Scope) -> Observation[LiveSet]:
        """Several objects. Raises OutOfReach when the cluster goes silent."""
        try:
            return await self.ask(cluster, cluster.observe(scope))
        except OutcomeUnknown as error:
            return Unreadable(reason=error.message)

    async def missed(self, cluster: Cluster, attempt: int) -> None:
        """After a call that failed: wait, and from the second on see whether anybody is there at all.

        Raises OutOfReach where nobody is.
        """
        if attempt:
            await self.see(cluster)
        await self.pause(attempt)

    async def see(self, cluster: Cluster) -> None:
        """Raises OutOfReach for a cluster that does not say who it is."""
        who = await ask_who(cluster, self.patience)
        if not isinstance(who, Found):
            raise self.lose(cluster.name, who.reason if isinstance(who, Unreadable) else "it is nobody")

    async def read(self, name: AgentName) -> Record | None:
        """An agent's live record; None when there is none. Raises RegistryError when it cannot be read."""
        reason = ""
        for attempt in range(self.retry.attempts):
            answer = await self.registry.get(name)
            match answer:
                case Found(value=record):
                    return record
                case Absent():
                    return None
                case Unreadable(reason=reason):
                    await self.pause(attempt)
        raise RegistryError(f"the record of {name} cannot be read: {reason}")

    async def commit(
        self,
        *,
        records: Iterable[Record] = (),
        fleet: FleetRecord | None = None,
        journal: Iterable[JournalEntry] = (),
        revisions: Iterable[AgentRevision] = (),
        audit: Iterable[AuditFact] = (),
    ) -> int:
        """One transaction under the lock. Raises RegistryConflict, RegistryError, LockLost, OutcomeUnknown."""
        await self.lock.keep()
        write = Write(
            op_id=f"{self.id}.{next(self._numbers)}",
            at_ms=self.clock.now_ms(),
            records=tuple(records),
            fleet=fleet,
            journal=tuple(journal),
            revisions=tuple(revisions),
            audit=tuple(audit),
            fences=self.lock.fences(),
        )
        done = await repeat_commit(self.registry, write, self.clock, self.retry)
        self.wrote(done, len(write.records))
        self.sequence = max(self.sequence, done)
        return self.sequence

    async def pause(self, attempt: int) -> None:
        """Wait after a failed attempt, and see that the lock is still ours."""
        await self.clock.sleep(self.retry.pause(attempt))
        await self.lock.keep()


async def repeat_commit(registry: Registry, write: Write, clock: Clock, retry: Retry) -> int:
    """Commit `write`, the same again while its outcome is unknown or the registry cannot be reached; bounded.

    Raises RegistryConflict at once, RegistryError or OutcomeUnknown after the last attempt.
    """
    for attempt in itertools.count():
        try:
            return await registry.commit(write)
        except RegistryConflict:
            raise
        except (RegistryError, OutcomeUnknown):
            if attempt + 1 >= retry.attempts:
                raise
            await clock.sleep(retry.pause(attempt))
    raise AssertionError("unreachable: the count has no end")


async def together(works: Iterable[Awaitable[Answer]]) -> list[Answer]:
    """All answers. When some raise the others are waited for first, and what weighs most is raised: what ends all work,
    then what is wrong, then what is only not done.
    """
    answers = await asyncio.gather(*works, return_exceptions=True)
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    if failures:
        raise max(failures, key=_weight)
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _weight(failure: BaseException) -> int:
    kinds: tuple[type[ReconcilerError], ...] = (OutOfReach, Unfinished, Replan, Failed)
    return next((number for number, kind in enumerate(kinds) if isinstance(failure, kind)), len(kinds))


def describe(error: ReconcilerError) -> str:
    """An error in one piece of text for people: the message, and what to do."""
    return f"{error.message}; {error.hint}" if error.hint else error.message
