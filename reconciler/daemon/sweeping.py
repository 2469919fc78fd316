"""The health sweep of a daemon: all agents every so often, and a line when an agent's health changes.

Assessments are kept for hysteresis and for whoever shows them. It never waits for the loop, nor the loop for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from reconciler.daemon.measures import Measures
from reconciler.daemon.telling import Teller
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.reconcile import PlanningCache
from reconciler.engine.sweep import Sweep, note_sweep, sweep
from reconciler.engine.wellness import Noter
from reconciler.engine.world import Stores, World
from reconciler.model.errors import ReconcilerError
from reconciler.model.fleet import Declaration
from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.registry import FleetRecord, Record
from reconciler.ports import Prober


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """One sweep that ended: of what was declared, of what was on record, what it found, and what the one before had."""

    declared: Declaration
    stores: Stores
    records: Mapping[AgentName, Record]
    found: Sweep
    before: Mapping[AgentName, Assessment]
    fleet: FleetRecord | None = None
    """As it was on record."""
    mine: Callable[[AgentName], bool] = lambda _name: True
    """Whose agents were looked at; `records` has those of other daemons too."""


Hears = Callable[[Swept], Awaitable[None]]
"""Is told of every sweep, and has to be quick: the next one waits for it. What it raises is told, and no more."""
Recalls = Callable[[Stores, Collection[AgentName]], Awaitable[Mapping[AgentName, Assessment]]]
"""How agents stood when somebody last looked at them: a sweep that knows nothing of them goes on from there. Must not
raise."""


async def nothing_known(_stores: Stores, _names: Collection[AgentName]) -> Mapping[AgentName, Assessment]:
    """Each agent is new."""
    return {}


@dataclass(slots=True, kw_only=True)
class Sweeping:
    """Sweeps every `every_s` seconds; where it `acts` it writes down which clusters are unwell. `heard` by many."""

    world: World
    prober: Prober
    options: ApplyOptions
    cache: PlanningCache
    tell: Teller
    measures: Measures
    every_s: float
    acts: bool
    mine: Callable[[AgentName], bool] = lambda _name: True
    """Which agents are swept here: of a fleet in shards each daemon sweeps its own."""
    heard: tuple[Hears, ...] = ()
    recall: Recalls = nothing_known
    found: Mapping[AgentName, Assessment] = field(default_factory=dict)
    under_way: bool = False

    async def run(self) -> None:
        """Sweep after sweep. One that takes longer than its interval is followed by the next at once, never by two."""
        clock = self.world.clock
        while True:
            began = clock.monotonic()
            self.under_way = True
            try:
                await self.once()
            finally:
                self.under_way = False
            took = clock.monotonic() - began
            self.measures.swept(took, missed=int(took // self.every_s))
            await clock.sleep(max(0.0, self.every_s - took))

    async def once(self) -> None:
        """One sweep of what the last plan found declared. Raises ReconcilerError for a fleet that cannot be opened."""
        declared = self.cache.declaration
        if declared is None or declared.fleet is None:
            return
        stores = await self.world.stores(declared.fleet)
        records = await stores.registry.snapshot()
        if not isinstance(records, Found):
            return  # who should run is not known now; the loop tells why
        known = records.value.records
        agents = {
            name: agent
            for name, agent in declared.agents.items()
            if name in known and self.mine(name) and not (agent.spec.suspend or known[name].suspended)
        }
        if strangers := agents.keys() - self.found.keys():  # this daemon began, took them over, or they are new
            self.found = {**self.found, **await self.recall(stores, strangers)}
        seen = await sweep(stores, agents, self.prober, self.world.clock, previous=self.found)
        for name, now in seen.assessments.items():
            self._compare(self.found.get(name), now)
        before, self.found = self.found, seen.assessments
        self.measures.assessed(seen.assessments.values())
        if self.acts:
            await note_sweep(stores, seen, self.world.clock, Noter(actor=self.options.actor, retry=self.options.retry))
        swept = Swept(
            declared=declared, stores=stores, records=known, found=seen, before=before, fleet=records.value.fleet,
            mine=self.mine,
        )  # fmt: skip
        await self._pass_on(swept)

    async def _pass_on(self, swept: Swept) -> None:
        for hears in self.heard:
            try:
                await hears(swept)
            except ReconcilerError as error:
                self.tell.say("warning", "sweep-not-heard", reason=error.message)
            except Exception as error:  # noqa: BLE001 - a fault in who hears must not end the sweeps
                self.tell.say("error", "sweep-not-heard", reason=f"{type(error).__name__}: {error}")

    def _compare(self, before: Assessment | None, now: Assessment) -> None:
        was = before.state if before is not None else HealthState.UNKNOWN
        if now.state is was:
            return
        ill = [check.text for check in now.checks if check.state in {HealthState.UNHEALTHY, HealthState.DEGRADED}]
        level = "warning" if now.state is HealthState.UNHEALTHY else "info"
        self.tell.say(
            level, "health", agent=str(now.agent), state=now.state.value, was=was.value, reason="; ".join(ill),
            because_of=[str(name) for name in now.upstream],
        )  # fmt: skip
