"""The history of health that a daemon keeps: changes at once, measurements every five minutes, in the registry.

It hears of every sweep, and writes beside it: a sweep never waits for the registry. A sweep at which no state changed
writes nothing. What cannot be written waits, up to a bound, and is told once. A daemon that starts goes on from what is
on record: whoever was well is not told to have become well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from reconciler.daemon.sweeping import Swept
from reconciler.daemon.telling import Teller
from reconciler.engine.world import Stores
from reconciler.health.changes import change_between, change_to, lapse, recalled
from reconciler.model.agent import Agent
from reconciler.model.errors import ReconcilerError
from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import (
    DAY_MS,
    FINE_MS,
    HOUR_MS,
    UP,
    HealthChange,
    HealthPoint,
    Retention,
    latencies_of,
    start_of,
)
from reconciler.ports import Clock, Registry

LAPSE_MS = 300_000
"""So long without any look at an agent, or three of its intervals, and it is not known how it was meanwhile."""
MOST_CHANGES = 50_000
MOST_POINTS = 30_000
"""What waits to be written at most; the oldest is given up first."""
PRUNE_EVERY_MS = HOUR_MS
PRUNE_ROWS = 1_000
PRUNE_STEPS = 50
AT_ONCE = 500
"""Agents that are seen to before others have their turn."""
CLOSE_S = 5.0
FEW = 20
"""Agents that are read one by one; of more, all are."""
LOOK_BACK_MS = 7 * DAY_MS
"""How far back a daemon that starts looks for when agents were last looked at."""


@dataclass(slots=True)
class _Bucket:
    """What was measured of an agent in the five minutes from `start_ms` on."""

    start_ms: int
    count: int = 0
    up: int = 0
    last_ms: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def point(self, agent: AgentName) -> HealthPoint:
        return HealthPoint(
            agent=agent, start_ms=self.start_ms, span_ms=FINE_MS, count=self.count, up=self.up, last_ms=self.last_ms,
            latencies=latencies_of(self.latencies_ms),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is written at once; it keeps its operation id until it is known to be written."""

    op_id: str
    changes: tuple[HealthChange, ...]
    points: tuple[HealthPoint, ...]


@dataclass(slots=True, kw_only=True)
class History:
    """Hears of sweeps, and keeps what is worth keeping of them for as long as `retention` says."""

    clock: Clock
    tell: Teller
    retention: Retention = field(default_factory=Retention)
    dropped: int = 0
    """What was given up, because it could not be written for too long."""
    _registry: Registry | None = None
    _seen: dict[AgentName, int] = field(default_factory=dict)
    """When each agent was last measured."""
    _buckets: dict[AgentName, _Bucket] = field(default_factory=dict)
    _changes: list[HealthChange] = field(default_factory=list)
    _over: list[tuple[AgentName, _Bucket]] = field(default_factory=list)
    """Buckets whose time is over."""
    _batch: _Batch | None = None
    _writing: asyncio.Task[None] | None = None
    _away: bool = False
    _pruned_ms: int = 0

    async def recall(self, stores: Stores, names: Collection[AgentName]) -> Mapping[AgentName, Assessment]:
        """How agents stood when somebody last looked at them. Nothing of those of which nothing is on record, or where
        it cannot be read.
        """
        if self._registry is not stores.registry:
            self._forget()
        self._registry = stores.registry
        try:
            few = len(names) <= FEW
            found = [await self._last(stores.registry, name) for name in (names if few else (None,))]
        except ReconcilerError as error:
            self.tell.say("warning", "history-not-read", reason=error.message, hint=error.hint)
            return {}
        stood = recalled(change for last, _looked in found for change in last)
        looked = {name: at_ms for _last, times in found for name, at_ms in times.items()}
        for name, one in stood.items():
            self._seen[name] = max(self._seen.get(name, 0), one.at_ms, looked.get(name, 0))
        return {name: stood[name] for name in names if name in stood}

    async def _last(
        self, registry: Registry, name: AgentName | None
    ) -> tuple[tuple[HealthChange, ...], Mapping[AgentName, int]]:
        """The last change of an agent, or of each, and when they were last measured, by the newest points there are:
        they are of one hour, or of two.
        """
        now_ms = self.clock.now_ms()
        last = await registry.health_changes(name, since_ms=now_ms + DAY_MS)
        known = any(change.state is not HealthState.UNKNOWN for change in last)
        until_ms = start_of(now_ms, HOUR_MS) + HOUR_MS
        for _ in range(LOOK_BACK_MS // (2 * HOUR_MS) if known else 0):
            since_ms = until_ms - 2 * HOUR_MS
            points = await registry.health_points(name, since_ms=since_ms, until_ms=until_ms, span_ms=HOUR_MS)
            if points:
                return last, {point.agent: point.last_ms for point in points}  # of each agent the last stands last
            until_ms = since_ms
        return last, {}

    def _forget(self) -> None:
        """Another registry: what waits belongs to the one before, and is of no use here."""
        self._seen.clear()
        self._buckets.clear()
        self._changes.clear()
        self._over.clear()
        self._batch = None

    async def heard(self, swept: Swept) -> None:
        """Keep what a sweep brings; what has to be written is written by somebody else."""
        self._registry = swept.stores.registry
        self._turn(self.clock.now_ms())
        measured = [(name, one) for name, one in swept.found.assessments.items() if name in swept.found.assessed]
        for index, (name, now) in enumerate(measured, 1):
            self._note(swept.before.get(name), now, swept.agent(name))
            if not index % AT_ONCE:
                await asyncio.sleep(0)
        for name in swept.before.keys() - swept.found.assessments.keys():
            if _left(name, swept):
                self._leave(swept.before[name])
        del self._changes[: self._excess(len(self._changes), MOST_CHANGES)]
        del self._over[: self._excess(len(self._over), MOST_POINTS)]
        self._write()

    def _note(self, before: Assessment | None, now: Assessment, agent: Agent | None) -> None:
        seen_ms = self._seen.get(now.agent)
        interval_ms = agent.spec.health.interval.ms if agent is not None else 0
        lapsed = seen_ms is not None and now.at_ms - seen_ms > max(LAPSE_MS, 3 * interval_ms)
        if now.measured and before is not None and seen_ms is not None and lapsed:
            text = "nobody looked, or nothing could be measured"
            self._changes += (
                lapse(now.agent, before.state, at_ms=seen_ms + 1, text=text),
                change_to(now, HealthState.UNKNOWN),
            )
        elif (change := change_between(before, now)) is not None:
            self._changes.append(change)
        if now.measured:
            self._count(now)

    def _count(self, now: Assessment) -> None:
        self._seen[now.agent] = now.at_ms
        start_ms = start_of(now.at_ms, FINE_MS)
        bucket = self._buckets.get(now.agent)
        if bucket is None or bucket.start_ms != start_ms:
            if bucket is not None:
                self._over.append((now.agent, bucket))
            bucket = self._buckets[now.agent] = _Bucket(start_ms)
        bucket.count += 1
        bucket.up += now.state in UP
        bucket.last_ms = now.at_ms
        bucket.latencies_ms += now.latencies_ms

    def _leave(self, before: Assessment) -> None:
        """It is suspended, or gone: nobody looks at it any more."""
        seen_ms = self._seen.pop(before.agent, None)
        if seen_ms is not None and before.state is not HealthState.UNKNOWN:
            text = "it is not looked at any more: suspended, or gone"
            self._changes.append(lapse(before.agent, before.state, at_ms=seen_ms + 1, text=text))

    def _turn(self, now_ms: int) -> None:
        """Put away the buckets of spans that are over: all at once, so that they are written at once."""
        current = start_of(now_ms, FINE_MS)
        over = [name for name, bucket in self._buckets.items() if bucket.start_ms < current]
        self._over += [(name, self._buckets.pop(name)) for name in over]

    def _excess(self, there: int, most: int) -> int:
        given_up = max(0, there - most)
        self.dropped += given_up
        return given_up

    def _write(self) -> None:
        """Let what waits be written, unless that is under way: then it is seen to when that is done."""
        if self._writing is None or self._writing.done():
            if self._batch is None and not self._changes and not self._over:
                return
            self._writing = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while await self._next_batch():
                await self._put()
            if self._away:
                self._away = False
                self.tell.say("info", "history-written-again", given_up=self.dropped or None)
                self.dropped = 0
            await self._prune()
        except ReconcilerError as error:
            self._missed(error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - history that cannot be kept stops no daemon
            self._missed(f"{type(error).__name__}: {error}", "")

    def _missed(self, reason: str, hint: str) -> None:
        """What could not be written stays, and goes first with the next sweep. Told once."""
        if not self._away:
            self._away = True
            self.tell.say("warning", "history-not-written", reason=reason, hint=hint)

    async def _next_batch(self) -> bool:
        """Make a batch of what waits, unless one is there that was not written yet."""
        if self._batch is not None or self._registry is None:
            return self._batch is not None and self._registry is not None
        if not (self._changes or self._over):
            return False
        changes, self._changes = tuple(self._changes), []
        over, self._over = self._over, []
        points: list[HealthPoint] = []
        waiting = iter(over)
        while part := list(islice(waiting, AT_ONCE)):
            points += [bucket.point(name) for name, bucket in part]
            await asyncio.sleep(0)
        self._batch = _Batch(self._registry.new_id(), changes, tuple(points))
        return True

    async def _put(self) -> None:
        batch, registry = self._batch, self._registry
        if batch is not None and registry is not None:
            await registry.record_health(batch.changes, batch.points, op_id=batch.op_id)
            if self._batch is batch:
                self._batch = None

    async def _prune(self) -> None:
        """Now and then take away what is too old, in steps between which others write."""
        now_ms, registry = self.clock.now_ms(), self._registry
        if registry is None or now_ms - self._pruned_ms < PRUNE_EVERY_MS:
            return
        self._pruned_ms = now_ms
        for _ in range(PRUNE_STEPS):
            if await registry.prune_health(self.retention, now_ms=now_ms, most=PRUNE_ROWS) < PRUNE_ROWS:
                return

    async def close(self) -> None:
        """Write what is there, the five minutes that are not over included; give up after a few seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if self._writing is not None:
                    await self._writing
                self._over += self._buckets.items()
                self._buckets.clear()
                self._write()
                if self._writing is not None:
                    await self._writing


def _left(name: AgentName, swept: Swept) -> bool:
    """Whether an agent is not swept any more; one that is only not due yet is."""
    agent, record = swept.agent(name), swept.records.get(name)
    return agent is None or record is None or agent.spec.suspend or record.suspended
