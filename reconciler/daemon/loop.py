"""The loop: wait until somebody says "look again", plan, and have done what the plan says.

One pass is one plan. Changes go on beside the loop, each agent's by itself; a pass never waits for them. What failed is
left in peace for a growing while. Only the leader looks; everybody else waits to become it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from enum import StrEnum

from reconciler.daemon.measures import Measures
from reconciler.daemon.telling import Teller
from reconciler.daemon.wakes import Backlog, Wakes
from reconciler.engine.apply import ApplyOptions, locked, nothing_to_do
from reconciler.engine.continuous import Continuous
from reconciler.engine.locks import LockHeld, LockLost
from reconciler.engine.reconcile import PlanningCache, compute_plan, open_stores, replanner
from reconciler.engine.wellness import Noter
from reconciler.engine.world import Stores, World
from reconciler.model.errors import ReconcilerError
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.identity import AgentName
from reconciler.model.plan import Change, Plan, Policy

WORKED = frozenset({Outcome.APPLIED})
LOCK_AGAIN_S = 2.0
LEAST_REST_S = 0.1


class Mode(StrEnum):
    """What a daemon does about a plan."""

    APPLY = "apply"
    PLAN_ONLY = "plan-only"
    """It tells what it would do, and what has drifted, and writes nothing."""


@dataclass(slots=True, kw_only=True)
class Loop:
    """One fleet's loop, at `ref` ("": what is current).

    `timer(seconds, reason)` wakes it later; `tell` hears of every decision; `seen` is called after each plan.
    """

    world: World
    options: ApplyOptions
    policy: Policy
    mode: Mode
    ref: str
    wakes: Wakes
    backlog: Backlog
    tell: Teller
    timer: Callable[[float, str], None]
    measures: Measures
    seen: Callable[[], None] = lambda: None
    cache: PlanningCache = field(default_factory=PlanningCache)
    plan: Plan | None = None
    """The last plan that was made."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _nothing_under_way: asyncio.Event = field(default_factory=asyncio.Event)
    _worker: Continuous | None = None
    _lock: AsyncExitStack = field(default_factory=AsyncExitStack)
    _changes: dict[AgentName, Change] = field(default_factory=dict)
    _failures: int = 0

    @property
    def busy(self) -> frozenset[AgentName]:
        """Agents with a change under way."""
        return self._worker.busy if self._worker is not None else frozenset()

    @property
    def failing(self) -> bool:
        """Whether the last pass made no plan."""
        return self._failures > 0

    async def run(self, stop: asyncio.Event) -> None:
        """Pass after pass until `stop` is set; then let nothing new begin and wait for what is under way."""
        ends = {asyncio.create_task(stop.wait()), asyncio.create_task(self._nothing_under_way.wait())}
        woken = asyncio.create_task(self.wakes.wait())
        try:
            while not stop.is_set():
                await asyncio.wait({woken, *ends}, return_when=asyncio.FIRST_COMPLETED)
                if self._nothing_under_way.is_set():
                    ends = {task for task in ends if not task.done()}
                    await self._let_go()
                    ends.add(asyncio.create_task(self._nothing_under_way.wait()))
                if not woken.done() or stop.is_set():
                    continue
                began = self.world.clock.monotonic()
                await self.look(woken.result())
                # reasons come thick while much changes: passes take at most a third of the time
                await self.world.clock.sleep(max(LEAST_REST_S, 2 * (self.world.clock.monotonic() - began)))
                woken = asyncio.create_task(self.wakes.wait())
        finally:
            for task in (woken, *ends):
                task.cancel()
            await self.close()

    async def look(self, reasons: tuple[str, ...]) -> None:
        """One pass. Never raises for what the world does: it is told, and tried again after a growing while."""
        began, failures = self.world.clock.monotonic(), self._failures
        try:
            noter = Noter(actor=self.options.actor, retry=self.options.retry) if self._acts else None
            plan = await compute_plan(self.world, policy=self.policy, ref=self.ref, cache=self.cache, noter=noter)
            self.plan = plan
            self.measures.planned(plan)
            self.seen()
            self.tell.planned(plan, reasons, self.busy)
            if self._acts:
                await self._do(plan)
        except LockHeld as error:
            self.tell.waits(error.message)
            self.timer(LOCK_AGAIN_S, "the apply lock may be free")
        except ReconcilerError as error:
            self._failures += 1
            pause = self.backlog.pace.pause(self._failures)
            self.tell.failed(error, pause)
            self.timer(pause, "the last pass failed")
            if isinstance(error, LockLost) and self._worker is not None:
                self._worker.stop()
                self._stop = asyncio.Event()
                await self._worker.ended()
                await self._let_go()
        else:
            self._failures = 0
        self.measures.passed(self.world.clock.monotonic() - began, failed=self._failures > failures)

    async def close(self) -> None:
        """Stop what is under way where it is, and give the lock up."""
        self._stop.set()
        if self._worker is not None:
            self._worker.stop()
            await self._worker.ended()
        await self._let_go()

    @property
    def _acts(self) -> bool:
        return self.mode is Mode.APPLY

    async def _do(self, plan: Plan) -> None:
        now = self.world.clock.monotonic()
        pending = self._worker.pending if self._worker is not None else frozenset()
        waiting: set[AgentName] = set()
        for change in plan.changes:  # each comes after those that it depends on
            upstream = any(name in waiting or name in pending for name in change.after)
            if self.backlog.holds(change, now) or (upstream and change.name not in pending):
                waiting.add(change.name)
        if (due := self.backlog.next_due(plan, now)) is not None:
            self.timer(due, "an agent may be tried again")
        todo = replace(plan, changes=tuple(change for change in plan.changes if change.name not in waiting))
        stores = await open_stores(self.world, plan, self.cache)
        if stores is None:
            return
        if self._worker is None and await nothing_to_do(todo, stores, self.options):
            return
        worker = await self._working(stores, plan)
        self._changes |= {change.name: change for change in todo.changes if change.name not in worker.busy}
        await worker.offer(todo, replanner(self.world, plan, self.cache))

    async def _working(self, stores: Stores, plan: Plan) -> Continuous:
        """Who does changes, under the lock. Raises LockHeld, RegistryError."""
        if self._worker is None:
            run = await self._lock.enter_async_context(
                locked(
                    stores,
                    self.world.clock,
                    fleet=plan.fleet,
                    commit=plan.revision.commit,
                    options=self.options,
                    stop=self._stop,
                    emit=self.tell.event,
                )
            )
            self._worker = Continuous(run=run, options=self.options, on_end=self._ended)
        return self._worker

    def _ended(self, end: ChangeFinished | BaseException | None) -> None:
        if end is None:
            self._nothing_under_way.set()
            return
        if not isinstance(end, ChangeFinished):
            self.tell.broke(end)
            self.wakes.wake("work under the lock broke off")
            return
        self.tell.event(end)
        self.measures.ended(end)
        change = self._changes.pop(end.agent, None)
        if end.outcome in WORKED:
            self.backlog.worked(end.agent)
        elif change is not None and end.outcome is not Outcome.SKIPPED and not self._stop.is_set():
            self.backlog.failed(change, self.world.clock.monotonic())
        self.wakes.wake(f"{end.agent} ended")

    async def _let_go(self) -> None:
        """Give the lock up, so that people can apply by hand while there is nothing to do; unless work began since."""
        self._nothing_under_way.clear()
        if self._worker is not None and not self._worker.idle:
            return
        self._worker = None
        self._changes.clear()
        lock, self._lock = self._lock, AsyncExitStack()
        await lock.aclose()
