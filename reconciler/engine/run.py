"""One run of the engine: what all its parts share, and how they write to the registry.

Every write carries the lock's epoch, so that a run that lost its lock writes nothing; a write whose reply was lost is
repeated under its own operation id, which the registry answers without doing it twice.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.engine.locks import ApplyLock
from reconciler.engine.world import Retry
from reconciler.model.errors import (
    OutcomeUnknown,
    ReconcilerError,
    RegistryConflict,
    RegistryError,
)
from reconciler.model.events import ApplyEvent
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Unreadable
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


class Replan(ReconcilerError):
    """The world is not as the plan saw it: this one agent is planned again. Nothing was done wrongly."""


class Failed(ReconcilerError):
    """An effect that failed for good: trying again without a change cannot help."""


class Unfinished(ReconcilerError):
    """It can neither be said to be done nor to have failed: the journal entry stays open for the next run."""


Replanner = Callable[[AgentName], Awaitable[Change | Hold | None]]
"""Plans one agent again: its change, why it is held, or None when there is nothing to do."""


@dataclass(slots=True, kw_only=True)
class Run:
    """Shared by all changes of one apply. `timeout_s` bounds each rollout instead of what its agent says."""

    registry: Registry
    clusters: Mapping[str, Cluster | Unreadable]
    clock: Clock
    lock: ApplyLock
    retry: Retry
    actor: str
    id: str
    fleet: str
    commit_id: str
    stop: asyncio.Event
    emit: Callable[[ApplyEvent], None]
    replan: Replanner
    timeout_s: float | None = None
    open_entries: dict[AgentName, tuple[JournalEntry, ...]] = field(default_factory=dict)
    sequence: int = 0
    """The registry's change sequence after the last write."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def reach(self, name: str) -> Cluster:
        """A cluster to work on. Raises Unfinished for one that could not be opened or is not declared."""
        found = self.clusters.get(name)
        if found is None:
            raise Unfinished(f"cluster {name} is not declared any more")
        if isinstance(found, Unreadable):
            raise Unfinished(f"cluster {name}: {found.reason}")
        return found

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
            lease=self.lock.lease.name,
            epoch=self.lock.lease.epoch,
        )
        self.sequence = max(self.sequence, await repeat_commit(self.registry, write, self.clock, self.retry))
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


def describe(error: ReconcilerError) -> str:
    """An error in one piece of text for people: the message, and what to do."""
    return f"{error.message}; {error.hint}" if error.hint else error.message
