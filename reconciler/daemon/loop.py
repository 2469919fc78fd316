"""The loop: wait until somebody says "look again", plan, and have done what the plan says.

One pass is one plan. Changes go on beside the loop; a pass never waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.daemon.acting import LOCK_AGAIN_S, Acting
from reconciler.daemon.current import Current
from reconciler.daemon.measures import Measures
from reconciler.daemon.standing import unless
from reconciler.daemon.telling import Teller
from reconciler.daemon.wakes import Pace, Wakes
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.locks import LockHeld
from reconciler.engine.reconcile import PlanningCache, compute_plan
from reconciler.engine.wellness import Noter
from reconciler.engine.world import World
from reconciler.model.errors import ReconcilerError, SourceError
from reconciler.model.identity import AgentName
from reconciler.model.plan import Plan, Policy
from reconciler.model.source import Revision

LEAST_REST_S = 0.1
SILENT_S = 300.0
"""A loop in which no pass has ended for so long hangs, whatever it waits for: it looks every minute anyway."""


class Mode(StrEnum):
    """What a daemon does about a plan."""

    APPLY = "apply"
    PLAN_ONLY = "plan-only"
    """It tells what it would do, and what has drifted, and writes nothing."""


async def _nobody(_plan: Plan) -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Loop:
    """One fleet's loop, at `ref` ("": what is current).

    `acting` has plans done; None where they are only told. `timer(seconds, reason)` wakes it later; `tell` hears of
    every decision; `seen` is called with each plan before it is done.
    """

    world: World
    options: ApplyOptions
    policy: Policy
    ref: str
    wakes: Wakes
    pace: Pace
    acting: Acting | None
    tell: Teller
    timer: Callable[[float, str], None]
    measures: Measures
    seen: Callable[[Plan], Awaitable[None]] = _nobody
    passed: Callable[[str], None] = lambda _problem: None
    """Is told of every pass that ended: why it made no plan, or ""."""
    cache: PlanningCache = field(default_factory=PlanningCache)
    every_s: float = 0.0
    """It is woken so often at least."""
    current: Current | None = None
    """Whether what is here of the source is current enough to be done."""
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _failures: int = 0
    _heard: float | None = None
    """When the last pass ended (monotonic)."""

    @property
    def busy(self) -> frozenset[AgentName]:
        """Agents with a change under way."""
        return self.acting.busy if self.acting is not None else frozenset()

    @property
    def trouble(self) -> str:
        """Why this does not do its work; "" where it does."""
        if self._failures:
            return "the last pass made no plan"
        silent_s = self.world.clock.monotonic() - self._heard if self._heard is not None else 0.0
        return f"no pass has ended for {silent_s:.0f} s" if silent_s > max(SILENT_S, 5 * self.every_s) else ""

    async def run(self, over: asyncio.Event) -> None:
        """Pass after pass until `over` is set; then let nothing new begin and wait for what is under way."""
        self._over, self._heard = over, self.world.clock.monotonic()
        ended = asyncio.create_task(over.wait())
        woken = asyncio.create_task(self.wakes.wait())
        beside: set[asyncio.Task[None]] = set()
        if self.acting is not None:
            beside.add(asyncio.create_task(self.acting.lets_go()))
        try:
            while not over.is_set():
                await asyncio.wait((woken, ended, *beside), return_when=asyncio.FIRST_COMPLETED)
                for task in beside:
                    if task.done():
                        task.result()  # it never ends unless by a fault, and nobody can go on without it
                if not woken.done() or over.is_set():
                    continue
                began = self.world.clock.monotonic()
                await self.look(woken.result())
                self._heard = self.world.clock.monotonic()
                # reasons come thick while much changes: passes take at most a third of the time
                rest = max(LEAST_REST_S, 2 * (self.world.clock.monotonic() - began))
                await asyncio.wait({ended}, timeout=rest)
                woken = asyncio.create_task(self.wakes.wait())
        finally:
            woken.cancel()
            ended.cancel()
            try:
                if self.acting is not None:
                    await self.acting.close()
            finally:  # not before: it may be giving the lock up, and others would wait for its end
                for each in beside:
                    each.cancel()

    async def look(self, reasons: tuple[str, ...]) -> None:
        """One pass. Never raises for what the world does: it is told, and tried again after a growing while."""
        began, failures = self.world.clock.monotonic(), self._failures
        try:
            plan = await unless(self._over, self._planned())  # a cluster may take its time to answer
            if plan is None:
                return
            own = self.acting.own(plan) if self.acting is not None else plan
            self.measures.planned(own)
            await self.seen(plan)
            self.tell.planned(own, reasons, self.busy, alone=self.acting is None)
            if self.acting is not None and not self._over.is_set():
                await self.acting.do(plan)
        except LockHeld as error:
            self._went_through()  # there is a plan, and what keeps it waiting is another who carries one out
            self.tell.waits(error.message)
            self.timer(LOCK_AGAIN_S, "the apply lock may be free")
        except ReconcilerError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the daemon: the next pass may do
            self._failed(ReconcilerError(f"{type(error).__name__}: {error}"))
        else:
            self._went_through()
        self.measures.passed(self.world.clock.monotonic() - began, failed=self._failures > failures)

    def _went_through(self) -> None:
        self._failures = 0
        self.tell.well()
        self.passed("")

    async def _planned(self) -> Plan:
        noter = None
        if self.acting is not None:
            noter = Noter(actor=self.options.actor, retry=self.options.retry)
        try:
            at = await self.world.source.revision(self.ref)
            plan = await self._plan_at(at, noter)
        except SourceError as error:
            known = self.cache.declaration
            if known is None or known.fleet is None:
                raise
            # a repository, branch or folder that is gone changes nothing: what was declared last counts on
            self.tell.without_source(error, known.revision.commit)
            return await self._plan_at(known.revision, noter)
        self.tell.with_source()
        return plan

    async def _plan_at(self, at: Revision, noter: Noter | None) -> Plan:
        plan = await compute_plan(self.world, policy=self.policy, cache=self.cache, noter=noter, at=at)
        if self.acting is None or self.current is None or await self.current.holds(plan):
            return plan
        at = await self.world.source.revision(self.ref)
        return await compute_plan(self.world, policy=self.policy, cache=self.cache, noter=noter, at=at)

    def _failed(self, error: ReconcilerError) -> None:
        self._failures += 1
        self.passed(error.message)
        pause = self.pace.pause(self._failures)
        self.tell.failed(error, pause)
        self.timer(pause, "the last pass failed")
