"""Remedies: after each sweep, the next step of every agent that is ill, as health.ladder says and budgets allow.

It hears of sweeps and never holds one up: judging has a task of its own, and each remedy is work of its agent, under
the apply lock and among the changes of plans, so that no agent has two at once. What it remembers itself is only what
is measured again after a restart; how far an agent has come is on its record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler.daemon.acting import LOCK_AGAIN_S, Acting, Beside
from reconciler.daemon.doubting import Doubting, Peers
from reconciler.daemon.measures import Measures
from reconciler.daemon.sweeping import Swept
from reconciler.daemon.telling import Teller
from reconciler.engine.locks import LockHeld
from reconciler.engine.recover import Means, Treated, Treatment, note, treat
from reconciler.engine.run import Run
from reconciler.engine.world import World
from reconciler.health.budgets import Limits, Spent, Want, admit
from reconciler.health.ladder import (
    ACTS,
    Case,
    Decision,
    Leave,
    Note,
    Noted,
    Rest,
    Take,
    Wait,
    decide,
    ill_since_ms,
)
from reconciler.model.agent import Agent, Remedy
from reconciler.model.alert import Alert, Severity
from reconciler.model.errors import ReconcilerError
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action
from reconciler.model.recovery import Ended, RecoveryState
from reconciler.model.registry import AgentState, Record
from reconciler.ports import Prober

Assessments = Mapping[AgentName, Assessment]
UNSETTLED = frozenset({AgentState.REGISTERED, AgentState.DEPLOYING, AgentState.TERMINATING, AgentState.RECOVERING})
"""States in which something else is going on with an agent."""
FIRST_LOOK = -1
"""A sweep that ends after a remedy may have begun before: it says nothing of what the remedy did."""
CHANGING = UNSETTLED - {AgentState.RECOVERING}


@dataclass(slots=True, kw_only=True)
class Recovering:
    """Who takes remedies for one fleet. `chance` gives numbers from 0 to 1, `raise_` takes what people have to know."""

    world: World
    prober: Prober
    tell: Teller
    measures: Measures
    acting: Acting
    raise_: Callable[[Alert], None]
    chance: Callable[[], float]
    limits: Limits = field(default_factory=Limits)
    sweeps: int = 0
    judged: int = 0
    """How many sweeps were heard of, and up to which of them all was judged."""
    _swept: Swept | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _looks: dict[AgentName, int] = field(default_factory=dict)
    """Measurements since the last remedy or change of an agent ended; where this daemon knows of none, all it made of
    that agent.
    """
    _written: dict[AgentName, Record] = field(default_factory=dict)
    """Records as they were written last here: a sweep may have read older ones."""
    _going: dict[AgentName, Spent] = field(default_factory=dict)
    _ill: dict[AgentName, int] = field(default_factory=dict)
    """Since when each unhealthy agent is."""
    _told: dict[AgentName, str] = field(default_factory=dict)
    _left: dict[AgentName, Alert] = field(default_factory=dict)
    """What is told of agents that are left to people."""
    peers: Peers | None = None
    """Who looks after the rest of a fleet in shards."""
    _doubting: Doubting = field(init=False)

    def __post_init__(self) -> None:
        self._doubting = Doubting(
            clock=self.world.clock, tell=self.tell, measures=self.measures, raise_=self.raise_, peers=self.peers
        )

    async def heard(self, swept: Swept) -> None:
        """A sweep has ended."""
        found, looks = swept.found.assessments, self._looks
        for name in swept.found.assessed:
            if (one := found.get(name)) is not None and one.measured:  # what could not be measured shows nothing
                looks[name] = looks.get(name, 0) + 1
        self._swept, self.sweeps = swept, self.sweeps + 1
        self._news.set()

    async def run(self) -> None:
        """Judge sweep after sweep, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._swept is not None and not self._news.is_set():
                number = self.sweeps
                try:
                    await self._step(self._swept)
                    self.judged = number
                    break
                except LockHeld as error:
                    self.tell.waits(error.message)
                    await self.world.clock.sleep(LOCK_AGAIN_S)
                except ReconcilerError as error:  # the next sweep is soon
                    self.tell.say("warning", "no-remedies", reason=error.message, hint=error.hint)
                    self.judged = number
                    break

    async def _step(self, swept: Swept) -> None:
        """All that one sweep gives reason to. Raises LockHeld, RegistryError."""
        self._forget(swept)
        running = _running(swept)
        await asyncio.sleep(0)  # of ten thousand agents each of these takes tens of ms, and others wait
        self._time(swept, running)
        stopped = self._doubting.stopped(_unchanging(swept, running))
        await asyncio.sleep(0)
        self._tell_people(swept)
        await asyncio.sleep(0)
        wanted: dict[AgentName, Take] = {}
        for name, decision in self._decisions(swept, running):
            match decision:
                case Take() | Leave() if stopped:
                    pass  # which is told once, for all of them
                case Note() | Leave():
                    await self._begin(swept, name, partial(self._note, swept, name, decision))
                case Take():
                    wanted[name] = decision
                case Wait(remedy=remedy, text=text):
                    known = self._record(swept, name)
                    level = "info" if known is not None and known.recovery is not None else "debug"
                    self._say(name, text, level=level, remedy=remedy.value if remedy else "")
                case Rest(text=text):
                    self._say(name, text)
        await self._take(swept, wanted)

    def _decisions(self, swept: Swept, running: Assessments) -> Iterator[tuple[AgentName, Decision]]:
        """The next step of everybody who is ill or has been, and whom nobody is working on."""
        busy, now = self.acting.busy, self.world.clock.now_ms()
        for name, found in running.items():
            record, agent = self._record(swept, name), swept.declared.agents.get(name)
            if record is None or agent is None:
                continue
            if record.state in CHANGING or name in busy:
                self._looks[name] = FIRST_LOOK  # what was measured says nothing of what it becomes
                continue
            going = record.recovery.under_way if record.recovery else None
            if not _concerns(found, record) or (record.state is AgentState.RECOVERING and going is None):
                continue
            if not found.is_healthy and (causes := _ill_elsewhere(agent, swept)):
                yield name, Rest(text=f"explained by {', '.join(map(str, causes))}: nothing is done to it for that")
                continue
            blind = [share.cluster for share in record.placement if share.cluster in swept.found.unreadable]
            if not found.is_healthy and blind and len(blind) == len(record.placement):
                yield name, Rest(text=f"{' and '.join(blind)} cannot be read: nothing is done to it")
                continue
            yield name, decide(self._case(agent, record, found, now))

    def _case(self, agent: Agent, record: Record, found: Assessment, now_ms: int) -> Case:
        quarantined = record.quarantine is not None and record.quarantine.spec_hash == agent.spec_hash
        settled = quarantined or record.spec_hash == agent.spec_hash
        return Case(
            recovery=agent.spec.recovery,
            health=agent.spec.health,
            assessment=found,
            state=record.recovery,
            spec_hash=record.spec_hash,
            settled=settled,
            quarantined=quarantined,
            looks=self._looks.get(agent.name, 0),
            now_ms=now_ms,
            clusters=_clusters(record),
            degraded=_is_over(record, settled=settled),
        )

    async def _take(self, swept: Swept, wanted: dict[AgentName, Take]) -> None:
        """Begin the remedies for which there is room. What touches nothing that runs needs none."""
        wants = [self._want(swept, name, take) for name, take in wanted.items() if take.remedy in ACTS]
        admitted: Collection[AgentName] = ()
        if wants:
            spent, now = [*self._spent(swept)], self.world.clock.now_ms()
            admitted, refused = admit(wants, spent, _sizes(swept), self.limits, now_ms=now)
            for name, why in refused.items():
                self._say(name, why, remedy=wanted[name].remedy.value)
        for name in (*admitted, *(name for name, take in wanted.items() if take.remedy not in ACTS)):
            await self._remedy(swept, name, wanted[name].state)

    def _want(self, swept: Swept, name: AgentName, take: Take) -> Want:
        critical = swept.found.assessments[name].critical
        return Want(agent=name, clusters=take.state.taken[-1].clusters, critical=critical, since_ms=take.state.since_ms)

    def _spent(self, swept: Swept) -> Iterator[Spent]:
        """Remedies of late, of this daemon and of those before it, and those that are under way."""
        yield from self._going.values()
        since = self.world.clock.now_ms() - self.limits.window_ms
        for name in swept.records:
            record = self._record(swept, name)
            for item in record.recovery.taken if record is not None and record.recovery is not None else ():
                going = item.ended is Ended.UNDER_WAY  # by another daemon, of the agents of its shard
                if item.remedy in ACTS and item.at_ms > since and not (going and name in self._going):
                    yield Spent(clusters=item.clusters, at_ms=item.at_ms, under_way=going)

    async def _remedy(self, swept: Swept, name: AgentName, state: RecoveryState) -> None:
        """Begin a remedy. It counts from now on: it may wait for its turn, and those of later sweeps with it."""
        taken = state.taken[-1]
        spent = Spent(clusters=taken.clusters, at_ms=taken.at_ms, under_way=True)
        if taken.remedy in ACTS:
            self._going[name] = spent
        begun = False
        try:
            begun = await self._begin(swept, name, partial(self._treat, swept, name, state))
        finally:
            if not begun and self._going.get(name) is spent:
                del self._going[name]

    async def _begin(self, swept: Swept, name: AgentName, work: Beside) -> bool:
        record, fleet = self._record(swept, name), swept.declared.fleet
        if record is None or fleet is None:
            return False
        return await self.acting.beside(swept.stores, fleet.name, name, record.spec_hash, work)

    async def _treat(self, swept: Swept, name: AgentName, state: RecoveryState, run: Run) -> ChangeFinished:
        if run.stop.is_set():  # it waited for its turn, and nothing new is started any more
            self._going.pop(name, None)
            end = _finished(name, Ended.INTERRUPTED, "stopped before it began", 0.0)
            return replace(end, outcome=Outcome.SKIPPED)
        began, record = run.clock.monotonic(), self._record(swept, name)
        fleet = swept.declared.fleet
        assert record is not None  # noqa: S101 - it was decided on
        assert fleet is not None  # noqa: S101 - it was swept
        given = Treatment(agent=swept.declared.agents[name], record=record, state=state)
        means = Means(
            world=self.world, stores=swept.stores, fleet=fleet, prober=self.prober, known=swept.fleet,
            chance=self.chance,
        )  # fmt: skip
        taken = given.taken
        self._told.pop(name, None)
        self._going[name] = Spent(clusters=taken.clusters, at_ms=taken.at_ms, under_way=True)
        self.tell.say(
            "info", "remedy", agent=str(name), remedy=taken.remedy.value, step=given.where, because=taken.because
        )
        try:
            result = await treat(run, means, given)
        finally:
            self._going.pop(name, None)
        took = run.clock.monotonic() - began
        self._ended(given, result, took)
        return _finished(name, result.how, result.text, took)

    def _ended(self, given: Treatment, result: Treated, took_s: float) -> None:
        name, remedy = given.agent.name, given.taken.remedy
        self._looks[name] = FIRST_LOOK
        after = result.record.recovery if result.record is not None else None
        if result.record is not None:
            self._written[name] = result.record
            self.measures.remedied(remedy, result.how)
        level = "info" if result.how in {Ended.DONE, Ended.NOTHING} else "warning"
        self.tell.say(
            level, "remedy-ended", agent=str(name), remedy=remedy.value, outcome=result.how.value, text=result.text,
            duration_ms=round(took_s * 1000),
        )  # fmt: skip
        if after is not None and after.left and result.record is not None:
            self._leave(result.record, given.agent, result.text)

    async def _note(self, swept: Swept, name: AgentName, decision: Note | Leave, run: Run) -> ChangeFinished:
        record, agent = self._record(swept, name), swept.declared.agents[name]
        assert record is not None  # noqa: S101 - it was decided on
        text = self._words(decision)
        runs = isinstance(decision, Note) and decision.runs
        made = await note(run, record, decision.state, text=text, runs=runs)
        if made is not None:
            self._written[name] = made
            if isinstance(decision, Leave):
                self.tell.say("warning", "left-to-people", agent=str(name), reason=decision.text)
                self._leave(made, agent, decision.text)
            elif text:
                self.tell.say("info", decision.what.value, agent=str(name), text=text)
        return _finished(name, Ended.DONE, text, 0.0)

    def _words(self, decision: Note | Leave) -> str:
        """What the audit says of a note; "" where it is no step."""
        state = decision.state
        if isinstance(decision, Leave):
            return decision.text
        match decision.what:
            case Noted.WELL:
                after = (state.well_ms - state.since_ms) / 1000
                return f"healthy again after {after:.0f} s and {state.step} remedies"
            case Noted.MENDED:
                return "healthy again: what failed before is over"
            case Noted.INTERRUPTED:
                return f"{state.taken[-1].remedy}: {state.taken[-1].text}"
            case Noted.RELAPSED:
                return f"unhealthy again, after {state.step} remedies"
            case Noted.FORGOTTEN:
                return ""

    def _say(self, name: AgentName, text: str, *, level: str = "info", **facts: str) -> None:
        """Why nothing is done for an agent that is ill: once, until it changes."""
        if text and self._told.get(name) != text:
            self._told[name] = text
            self.tell.say(level, "no-remedy-now", agent=str(name), reason=text, **facts)

    def _record(self, swept: Swept, name: AgentName) -> Record | None:
        known, written = swept.records.get(name), self._written.get(name)
        newer = known is not None and written is not None and written.id == known.id and written.version > known.version
        return written if newer else known

    def _forget(self, swept: Swept) -> None:
        """What is of no use any more: agents that are gone, records that the sweep has read as we wrote them."""
        for kept in (self._looks, self._ill, self._told):
            for name in [name for name in kept if name not in swept.found.assessments]:
                del kept[name]
        for name in [name for name, record in self._written.items() if self._record(swept, name) is not record]:
            del self._written[name]

    def _time(self, swept: Swept, running: Assessments) -> None:
        """How long each agent takes to be healthy again, with remedies or without."""
        for name, found in running.items():
            if found.is_healthy:
                if (since := self._ill.pop(name, None)) is not None:
                    self.measures.recovered(max(0, found.at_ms - since) / 1000)
                self._told.pop(name, None)
            elif found.state is HealthState.UNHEALTHY and swept.records[name].state not in CHANGING:
                self._ill.setdefault(name, ill_since_ms(found))

    def _tell_people(self, swept: Swept) -> None:
        """Raise and resolve by what is on record, so that nothing is forgotten over a restart."""
        left = [name for name, record in swept.records.items() if name in self._written or _is_left(record)]
        for name in left:
            record = self._record(swept, name)
            if record is not None and _is_left(record) and swept.mine(name):
                self._leave(record, swept.agent(name), record.message)
        for name in list(self._left):
            record = self._record(swept, name)
            if record is not None and not swept.mine(name):
                del self._left[name]  # it goes on, and is another daemon's to tell of
            elif record is None or not _is_left(record):
                self.raise_(replace(self._left.pop(name), resolved=True, at_ms=self.world.clock.now_ms()))

    def _leave(self, record: Record, agent: Agent | None, text: str) -> None:
        """Tell people, once, that an agent is theirs now. None for one whose file is broken since a restart."""
        name = record.name
        if name in self._left:
            return
        held = record.recovery is not None and record.recovery.taken[-1:] and record.recovery.taken[-1].remedy
        kind = "AgentQuarantined" if held is Remedy.QUARANTINE else "RecoveryExhausted"
        self._left[name] = alert = Alert(
            key=f"{kind} {name}", name=kind, severity=Severity.CRITICAL, agent=name,
            labels=dict((agent or record).labels),
            text=f"{name}: {text}", at_ms=self.world.clock.now_ms(), cluster=",".join(_clusters(record)),
            details={"clears": f"`reconciler resume {name}`, or a change of its spec"},
        )  # fmt: skip
        self.raise_(alert)


def _running(swept: Swept) -> dict[AgentName, Assessment]:
    """Agents that run somewhere, on a cluster that starts processes: of no others anything can be ill."""
    fleet, records = swept.declared.fleet, swept.records
    idle = {cluster.name for cluster in fleet.clusters if cluster.runs_nothing} if fleet is not None else set()
    return {
        name: found
        for name, found in swept.found.assessments.items()
        if name in records and any(one.replicas and one.cluster not in idle for one in records[name].placement)
    }


def _unchanging(swept: Swept, running: Assessments) -> list[Assessment]:
    """Those that are not being changed: whoever is says nothing of who looks, a fleet that comes up least of all."""
    return [found for name, found in running.items() if swept.records[name].state not in CHANGING]


def _concerns(found: Assessment, record: Record) -> bool:
    """Whether there may be anything to do: most agents are healthy, and have been."""
    ill = record.recovery is not None and bool(record.recovery.since_ms)
    return not found.is_healthy or ill or record.state is AgentState.DEGRADED


def _is_over(record: Record, *, settled: bool) -> bool:
    """Whether a record says degraded of what has ended: its last remedy, or a change of what it still is to be.

    What runs although it is quarantined stays people's.
    """
    if record.state is not AgentState.DEGRADED:
        return False
    taken = record.recovery.taken if record.recovery is not None else ()
    held = record.quarantine is not None and record.quarantine.spec_hash == record.spec_hash
    return bool(taken and record.message == taken[-1].text) or (settled and not held)


def _ill_elsewhere(agent: Agent, swept: Swept) -> list[AgentName]:
    """What an agent depends on that another daemon looks after, and that is ill by its record."""
    others = [name for name in sorted(agent.spec.depends_on) if name not in swept.found.assessments]
    return [name for name in others if (record := swept.records.get(name)) is not None and _is_ill(record)]


def _is_ill(record: Record) -> bool:
    """Whether what runs is ill by its record. Of what runs no more nobody would ever say that it is well again."""
    state = record.present_recovery
    runs = any(share.replicas for share in record.placement)
    return state is not None and bool(state.since_ms) and not state.well_ms and runs


def _is_left(record: Record) -> bool:
    state = record.present_recovery
    return state is not None and state.left and not state.well_ms


def _clusters(record: Record) -> tuple[str, ...]:
    return tuple(sorted(record.running_on))


def _sizes(swept: Swept) -> dict[str, int]:
    """Agents by cluster, and under "" all."""
    sizes = {"": len(swept.records)}
    for record in swept.records.values():
        for cluster in _clusters(record):
            sizes[cluster] = sizes.get(cluster, 0) + 1
    return sizes


def _finished(name: AgentName, how: Ended, text: str, took_s: float) -> ChangeFinished:
    """For those that depend on the agent: they go on, unless it failed."""
    well = how in {Ended.DONE, Ended.NOTHING}
    return ChangeFinished(
        agent=name,
        action=Action.RECOVER,
        outcome=Outcome.APPLIED if well else Outcome.FAILED,
        text=text,
        ready=0,
        wanted=0,
        duration_ms=round(took_s * 1000),
        reason="" if well else text,
    )
