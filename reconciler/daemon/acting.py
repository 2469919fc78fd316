"""Having done what plans say: under the apply lock while there is something to do, and what failed left in peace.

Takes whole plans from the loop and never waits for changes; they go on beside it, each agent's by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from reconciler.daemon.across import Across
from reconciler.daemon.measures import Measures
from reconciler.daemon.telling import Teller
from reconciler.daemon.wakes import Backlog, Wakes
from reconciler.engine.apply import WORKED, ApplyOptions, locked, nothing_to_do
from reconciler.engine.continuous import Broken, Continuous
from reconciler.engine.locks import LockLost
from reconciler.engine.reconcile import PlanningCache, open_stores, replanner
from reconciler.engine.run import Run
from reconciler.engine.shardlocks import ShardLost, Shards
from reconciler.engine.world import Stores, World
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Change, Plan, ReasonCode

LOCK_AGAIN_S = 2.0
DRIFTED = frozenset({ReasonCode.DRIFT, ReasonCode.OBJECT_MISSING})
"""Why an agent is changed that somebody else has changed before."""

Beside = Callable[[Run], Coroutine[None, None, ChangeFinished]]
"""What is done for one agent beside plans. Its outcome is for those that depend on the agent."""


@dataclass(slots=True, kw_only=True)
class Acting:
    """Who acts for one fleet. `timer(seconds, reason)` has the loop look again later."""

    world: World
    options: ApplyOptions
    cache: PlanningCache
    wakes: Wakes
    backlog: Backlog
    tell: Teller
    timer: Callable[[float, str], None]
    measures: Measures
    wrote: Callable[[int, int], None] = lambda _last, _records: None
    """Hears of what is written: see engine.run.Run."""
    shards: Shards | None = None
    """Which agents are this daemon's; all of them without any."""
    _across: Across | None = None
    heard: Callable[[ChangeFinished], None] = lambda _end: None
    """Is told of every change that ended."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _doing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Nobody gives the lock up while somebody offers work under it."""
    _nothing_under_way: asyncio.Event = field(default_factory=asyncio.Event)
    _worker: Continuous | None = None
    _lock: AsyncExitStack = field(default_factory=AsyncExitStack)
    _changes: dict[AgentName, Change] = field(default_factory=dict)
    _lost: bool = False
    """The lock is somebody else's: nothing is begun until all work under it has ended."""
    _closing: bool = False
    _breaks: tuple[int, float] = (0, 0.0)
    """How often what concerns the whole fleet broke off, and when it did last."""
    _never_begun: int = 0
    _beside: set[AgentName] = field(default_factory=set)
    """Agents for which something is under way that no plan said: who had it done tells of it."""

    @property
    def busy(self) -> frozenset[AgentName]:
        """Agents with a change under way."""
        return self._worker.busy if self._worker is not None else frozenset()

    def own(self, plan: Plan) -> Plan:
        """The part of a plan that is about this daemon's agents."""
        if self.shards is None:
            return plan
        return replace(plan, changes=tuple(change for change in plan.changes if self.shards.mine(change.name)))

    async def hand_over(self) -> None:
        """Stop the work on agents that are not this daemon's any more, and wait until that has ended."""
        worker, shards = self._worker, self.shards
        if worker is not None and shards is not None:
            await worker.leave(lambda name: not shards.mine(name))

    async def do(self, plan: Plan) -> None:
        """Begin what a plan says and nothing speaks against. Raises LockHeld, LockLost, RegistryError."""
        async with self._doing:
            try:
                await self._do(plan)
            except LockLost:
                self._lose()
                raise
            finally:
                if self._worker is not None and self._worker.idle:
                    self._nothing_under_way.set()

    async def beside(self, stores: Stores, fleet: str, name: AgentName, spec_hash: str, work: Beside) -> bool:
        """Begin something that no plan says for one agent, under the lock; whether it was begun.

        It is not where the agent is under way, or nothing may be begun. Raises LockHeld, RegistryError.
        """
        async with self._doing:
            others = self.shards is not None and not self.shards.mine(name)
            if self._lost or self._stop.is_set() or name in self.busy or others:
                return False
            worker = await self._working(stores, fleet, "")
            self._beside.add(name)
            worker.beside(name, spec_hash, work)
            return True

    async def lets_go(self) -> None:
        """Give the lock up whenever nothing is under way, so that people can apply by hand. Until cancelled."""
        while True:
            await self._nothing_under_way.wait()
            async with self._doing:
                await self._let_go()

    async def close(self) -> None:
        """Stop what is under way where it is, and give the lock up. Nothing begins here after that."""
        self._closing = True
        self._stop.set()
        if self._worker is not None:
            self._worker.stop()
        async with self._doing:  # who was waiting for the lock when this began has begun its work by now
            if self._worker is not None:
                await self._worker.ended()
            await self._let_go()
        if self._never_begun:
            self.tell.say("info", "not-begun", agents=self._never_begun)

    async def _do(self, plan: Plan) -> None:
        if self._lost:
            return
        now = self.world.clock.monotonic()
        waiting = self._waiting(plan, now)
        if (due := self.backlog.next_due(now)) is not None:
            self.timer(due, "an agent may be tried again")
        todo = replace(plan, changes=tuple(change for change in plan.changes if change.name not in waiting))
        resting = self.backlog.resting(now) - {change.name for change in todo.changes}
        stores = await open_stores(self.world, plan, self.cache)
        if stores is None:
            return
        spare = waiting | resting
        if self._worker is None and await nothing_to_do(todo, stores, self.options, shards=self.shards, spare=spare):
            return
        worker = await self._working(stores, plan.fleet, plan.revision.commit)
        fresh = {change.name: change for change in todo.changes if change.name not in worker.busy}
        self._changes = {name: one for name, one in self._changes.items() if name in worker.busy} | fresh
        await worker.offer(plan, replanner(self.world, plan, self.cache), spare=spare)

    def _waiting(self, plan: Plan, now: float) -> frozenset[AgentName]:
        """Agents whose changes are not to begin yet: they failed a moment ago, or who they depend on is not done."""
        pending = self._worker.pending if self._worker is not None else frozenset()
        unplanned = self.busy - {change.name for change in plan.changes}  # like one that is on its way back
        waiting: set[AgentName] = set()
        if self.shards is not None:
            self._across = self._across or Across(mine=self.shards.mine)
            waiting |= self._across.waiting(plan.changes, now)
        for change in plan.changes:  # each comes after those that it depends on
            needs = {*change.after, *(change.agent.spec.depends_on if change.agent is not None else ())}
            upstream = not needs.isdisjoint(waiting | pending | unplanned)
            if self.backlog.holds(change, now) or (upstream and change.name not in pending):
                waiting.add(change.name)
        return frozenset(waiting)

    async def _working(self, stores: Stores, fleet: str, commit: str) -> Continuous:
        """Who does changes, under the lock. Raises LockHeld, RegistryError."""
        if self._worker is None:
            run = await self._lock.enter_async_context(
                locked(
                    stores,
                    self.world.clock,
                    fleet=fleet,
                    commit=commit,
                    options=self.options,
                    stop=self._stop,
                    emit=self.tell.event,
                    shards=self.shards,
                )
            )
            self.tell.locks()
            run.wrote = self.wrote
            self._worker = Continuous(run=run, options=self.options, on_end=self._ended, shards=self.shards)
        return self._worker

    def _ended(self, end: ChangeFinished | Broken | None) -> None:
        if end is None:
            self._nothing_under_way.set()
        elif isinstance(end, Broken):
            self._broke(end)
        else:
            self._finished(end)

    def _finished(self, end: ChangeFinished) -> None:
        if end.agent in self._beside:
            self._beside.discard(end.agent)
            self.wakes.wake(f"{end.agent} ended")
            return
        self.measures.ended(end)
        change = self._changes.pop(end.agent, None)
        if self._stop.is_set() and end.outcome is Outcome.SKIPPED:
            self._never_begun += 1
            return
        self.tell.event(end)
        self.heard(end)
        if end.outcome in WORKED:
            self._worked(end.agent, change)
        elif not self._stop.is_set():
            self._failed(end.agent, change, end.outcome)
        self.wakes.wake(f"{end.agent} ended")

    def _worked(self, name: AgentName, change: Change | None) -> None:
        codes = {reason.code for reason in change.reasons} if change is not None else set()
        if change is None or change.action is not Action.RECOVER or codes.isdisjoint(DRIFTED):
            self.backlog.worked(name)
        elif pause := self.backlog.undone(change, self.world.clock.monotonic()):
            by = sorted({item.manager for item in change.drift if item.manager})
            self.tell.say("warning", "drifts-again", agent=str(name), by=by, left_alone_s=round(pause))

    def _failed(self, name: AgentName, change: Change | None, outcome: Outcome) -> None:
        now = self.world.clock.monotonic()
        if change is None:
            if outcome is Outcome.FAILED:  # other ends of a way back are what it was gone for
                self.backlog.failed_back(name, now)
        elif outcome is not Outcome.SKIPPED:
            self.backlog.failed(change, now)

    def _broke(self, end: Broken) -> None:
        """Work ended by what is no outcome: as much a failure as one that is told, but for the lock that was lost."""
        if end.agent is not None:
            self._beside.discard(end.agent)
        if isinstance(end.error, ShardLost) and end.agent is not None:
            self._changes.pop(end.agent, None)
            self.wakes.wake(f"{end.agent} is another daemon's now")
            return
        if isinstance(end.error, LockLost):
            if not self._lost:
                self.tell.broke(end.error)
            self._lose()
            return
        self.tell.broke(end.error)
        if end.agent is not None:
            self._failed(end.agent, self._changes.pop(end.agent, None), Outcome.FAILED)
            self.wakes.wake(f"the work on {end.agent} broke off")
            return
        now, (breaks, at) = self.world.clock.monotonic(), self._breaks
        breaks = 1 if now - at > 2 * self.backlog.pace.most_s else breaks + 1
        self._breaks = breaks, now
        self.timer(self.backlog.pace.pause(breaks), "work under the lock broke off")

    def _lose(self) -> None:
        """The lock is lost: nothing more may be written under it."""
        self._lost = True
        if self._worker is not None:
            self._worker.stop()

    async def _let_go(self) -> None:
        """Give the lock up, unless work began since; what comes next is under a lock of its own."""
        self._nothing_under_way.clear()
        if self._worker is not None and not self._worker.idle:
            return
        self._worker = None
        self._changes.clear()
        lock, self._lock = self._lock, AsyncExitStack()
        await lock.aclose()
        if self._lost and not self._closing:
            self._lost, self._stop = False, asyncio.Event()
            self.timer(LOCK_AGAIN_S, "the apply lock was lost")
