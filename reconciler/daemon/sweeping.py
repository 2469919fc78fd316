"""The health sweep of a daemon: each agent by its own interval, and a line when an agent's health changes.

Assessments are kept for hysteresis and for whoever shows them. It never waits for the loop, nor the loop for it, and
not for long for agents that hang: they are judged when they end, and nobody else is later for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from reconciler.daemon.measures import Measures
from reconciler.daemon.rota import Rota
from reconciler.daemon.telling import Teller
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.reconcile import PlanningCache
from reconciler.engine.seen import Memory
from reconciler.engine.sweep import Round, Sweep, note_sweep
from reconciler.engine.wellness import Noter
from reconciler.engine.world import Stores, World
from reconciler.model.agent import Agent
from reconciler.model.errors import ReconcilerError
from reconciler.model.fleet import Declaration
from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.registry import AgentState, FleetRecord, Record
from reconciler.ports import Prober

SETTLE_S = 1.5
"""So long a tick waits for its agents; those that take longer come later."""
IDLE_S = 30.0
"""How often clusters are looked at where nobody is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep brought: of what was declared, of what was on record, what is known now, and what was known before.

    Agents are swept each at its own time. `found.assessments` has all that run and were ever measured;
    `found.assessed` are those that were judged now, and only of these it says something new. The others are in both
    `found` and `before` as the same objects. `found.sights` is what was seen of the clusters. For agents that are late
    it is all as of the sweep that began last: who hears of sweeps never goes back.
    """

    declared: Declaration
    stores: Stores
    records: Mapping[AgentName, Record]
    found: Sweep
    before: Mapping[AgentName, Assessment]
    fleet: FleetRecord | None = None
    """As it was on record."""
    mine: Callable[[AgentName], bool] = lambda _name: True
    """Whose agents were looked at; `records` has those of other daemons too."""
    kept: Mapping[AgentName, Agent] = field(default_factory=dict)
    """Agents that were looked at though `declared` has them no more, or not so that they can be used, as they were
    last. They run on until somebody says otherwise.
    """

    def agent(self, name: AgentName) -> Agent | None:
        """An agent as it is declared, or was last."""
        return self.declared.agents.get(name) or self.kept.get(name)


Hears = Callable[[Swept], Awaitable[None]]
"""Is told of every sweep, and has to be quick: the next one waits for it. What it raises is told, and no more."""
Recalls = Callable[[Stores, Collection[AgentName]], Awaitable[Mapping[AgentName, Assessment]]]
"""How agents stood when somebody last looked at them: a sweep that knows nothing of them goes on from there. Must not
raise."""


async def nothing_known(_stores: Stores, _names: Collection[AgentName]) -> Mapping[AgentName, Assessment]:
    """Each agent is new."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What a sweep stands on: the declaration, the stores and the records when it began, and which agents run; of those
    the ones that are `kept` (see Swept).
    """

    declared: Declaration
    stores: Stores
    records: Mapping[AgentName, Record]
    fleet: FleetRecord | None
    agents: Mapping[AgentName, Agent]
    kept: Mapping[AgentName, Agent]


@dataclass(slots=True, kw_only=True)
class Sweeping:
    """Sweeps agents by their intervals, or all every `every_s` seconds; where it `acts` it writes down which clusters
    are unwell. `heard` by many.
    """

    world: World
    prober: Prober
    options: ApplyOptions
    cache: PlanningCache
    tell: Teller
    measures: Measures
    every_s: float | None
    acts: bool
    mine: Callable[[AgentName], bool] = lambda _name: True
    """Which agents are swept here: of a fleet in shards each daemon sweeps its own."""
    heard: tuple[Hears, ...] = ()
    recall: Recalls = nothing_known
    found: Mapping[AgentName, Assessment] = field(default_factory=dict)
    _rota: Rota = field(init=False)
    _memory: Memory = field(init=False)
    _lately: Mapping[AgentName, Agent] = field(default_factory=dict)
    """The agents that ran when it was looked last."""
    _newest: tuple[_Ground, Sweep] | None = None
    """What was known and seen at the start of the sweep that began last."""
    _ticking: bool = False
    _late: dict[asyncio.Task[None], Round] = field(default_factory=dict)
    _passing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._rota = Rota(self.every_s)
        self._memory = Memory(clock=self.world.clock)

    @property
    def under_way(self) -> bool:
        """Whether somebody works with clusters now, or will tell of them."""
        return self._ticking or bool(self._late)

    async def run(self) -> None:
        """Tick after tick, never two at once; agents that are still under way when they are due are left out."""
        clock = self.world.clock
        idle_s = IDLE_S if self.every_s is None else self.every_s
        try:
            while True:
                began = clock.monotonic()
                self._ticking = True
                try:
                    known = await self.once()
                finally:
                    self._ticking = False
                now = clock.monotonic()
                pause = self._rota.pause(now) if known else None
                await clock.sleep(max(0.0, idle_s - (now - began)) if pause is None else min(pause, idle_s))
        finally:
            for task, late in self._late.items():
                late.stop()
                task.cancel()
            await asyncio.gather(*self._late, return_exceptions=True)
            self._late.clear()

    async def once(self) -> bool:
        """Sweep those that are due, of what the last plan found declared. False where nobody knows who should run.

        Raises ReconcilerError for a fleet that cannot be opened.
        """
        ground = await self._ground()
        if ground is None:
            return False
        clock = self.world.clock
        began = clock.monotonic()
        self._rota.keep(ground.agents, began)
        due, missed = self._rota.due(began)
        if not due and ground.agents:
            return True
        busy = {name for late in self._late.values() for name in late.under_way}
        agents = {name: ground.agents[name] for name in due if name not in busy}
        missed += len(due) - len(agents)
        if due and not agents:
            self.measures.missed(missed)
            return True
        self._memory.namespaces = frozenset(name.namespace for name in ground.agents)
        begun = await Round.begin(
            ground.stores,
            agents,
            self.prober,
            clock,
            previous=self.found,
            records=ground.records,
            memory=self._memory,
        )
        self._newest = ground, begun.saw
        try:
            found = await begun.ended(SETTLE_S)
        except BaseException:
            begun.stop()
            raise
        self.measures.swept(clock.monotonic() - began, missed=missed)
        if begun.under_way:
            task = asyncio.create_task(self._later(begun))
            self._late[task] = begun
            task.add_done_callback(self._late.pop)
        if self.acts:
            noter = Noter(actor=self.options.actor, retry=self.options.retry)
            await note_sweep(ground.stores, begun.saw, clock, noter)
        await self._take(begun, found)
        return True

    async def _ground(self) -> _Ground | None:
        declared = self.cache.declaration
        if declared is None or declared.fleet is None:
            return None
        stores = await self.world.stores(declared.fleet)
        records = await stores.registry.snapshot()
        if not isinstance(records, Found):
            return None  # who should run is not known now; the loop tells why
        known = records.value.records
        agents = {
            name: agent
            for name, agent in declared.agents.items()
            if name in known and self.mine(name) and not (agent.spec.suspend or known[name].suspended)
        }
        kept = {
            name: self._lately[name]
            for name in self._lately.keys() - declared.agents.keys()
            if name in known and self.mine(name) and _stays(known[name])
        }
        agents |= kept
        self._lately = agents
        if strangers := agents.keys() - self.found.keys():  # this daemon began, took them over, or they are new
            stood = await self.recall(stores, strangers)
            self.found = {**stood, **self.found}  # which may have grown meanwhile, by one that was late
        return _Ground(
            declared=declared, stores=stores, records=known, fleet=records.value.fleet, agents=agents, kept=kept
        )

    async def _later(self, begun: Round) -> None:
        """Take those that a tick did not wait for."""
        while begun.under_way:
            await self._take(begun, await begun.ended(SETTLE_S))

    async def _take(self, begun: Round, now: Mapping[AgentName, Assessment]) -> None:
        """Keep what was found, and pass it on."""
        for name, fault in begun.faults.items():
            self.tell.say("error", "not-assessed", agent=str(name), reason=f"{type(fault).__name__}: {fault}")
        begun.faults.clear()
        if not now and self._late:
            return
        async with self._passing:
            before = self.found
            if (
                before.keys() == self._rota.names and now.keys() <= before.keys()
            ):  # ticks are many, and sweep a few each
                self.found = {**before, **now}
            else:
                known = {name: now.get(name) or before.get(name) for name in self._rota.names}
                self.found = {name: one for name, one in known.items() if one is not None}
            for name, assessment in now.items():
                self._compare(before.get(name), assessment)
            self.measures.assessed(now.values(), self.found.values())
            assert self._newest is not None  # noqa: S101 - a sweep began before this one could end
            ground, saw = self._newest
            found = replace(saw, assessments=self.found, assessed=frozenset(now))
            swept = Swept(
                declared=ground.declared, stores=ground.stores, records=ground.records, found=found, before=before,
                fleet=ground.fleet, mine=self.mine, kept=ground.kept,
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


def _stays(record: Record) -> bool:
    """Whether an agent that is not declared any more runs on: its file is broken, or its deletion is held back."""
    return not record.suspended and record.state is not AgentState.TERMINATING
