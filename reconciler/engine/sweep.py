"""One health sweep: everything measured of many agents at once, and each judged by health.assess.

Reads clusters once for all agents (see seen.py), probes what the agents' checks ask for, and never raises for what it
finds: what cannot be read or reached is missing from the evidence, or a failed sample in it. An agent is judged as soon
as it and what it depends on is measured: one that hangs holds up itself and those that it explains, nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self

import msgspec

from reconciler.engine.observe import bounded
from reconciler.engine.seen import Look, Memory, Seen, look
from reconciler.engine.wellness import Look as Wellness
from reconciler.engine.wellness import Noter, note
from reconciler.engine.world import Stores
from reconciler.health import assess, fails_now, plugin_request, stands
from reconciler.model.agent import Agent, Health
from reconciler.model.health import Assessment, CardProbe, Evidence, ProbeRequest, Sample
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found, Unreadable
from reconciler.model.registry import Record, RegistrySnapshot
from reconciler.placement.wellness import Sight
from reconciler.plan.guard import strangers
from reconciler.ports import Clock, Prober
from reconciler.render.configmap import agent_card


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one sweep found: assessments by agent, clusters that could not be read, with the reason, and what it saw of
    each cluster.

    `assessed` are those that were measured and judged now; what else is in `assessments` is what is known of agents
    that are swept at another time. `out_of_reach` are clusters whose pods' addresses do not lead there from here: they
    were not probed.
    """

    assessments: Mapping[AgentName, Assessment]
    assessed: frozenset[AgentName] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    out_of_reach: frozenset[str] = frozenset()
    sights: Mapping[str, Sight] = field(default_factory=dict)


async def sweep(
    stores: Stores,
    agents: Mapping[AgentName, Agent],
    prober: Prober,
    clock: Clock,
    *,
    previous: Mapping[AgentName, Assessment],
    records: Mapping[AgentName, Record] | None = None,
    memory: Memory | None = None,
    at_once: bool = False,
) -> Sweep:
    """Measure and judge `agents`, all of them. `previous` carries hysteresis from sweep to sweep, `memory` what need
    not be found out anew. `records` say where they may be.

    `at_once` judges by this one sweep alone, as for a person who asks now: one failure counts, one success too.
    """
    begun = await Round.begin(
        stores, agents, prober, clock, previous=previous, records=records, memory=memory, at_once=at_once
    )
    try:
        found = await begun.ended()
    finally:
        begun.stop()
    for fault in begun.faults.values():
        raise fault
    return replace(begun.saw, assessments={name: found[name] for name in sorted(found)}, assessed=frozenset(found))


class Round:
    """Agents that are being measured, each in a task of its own."""

    def __init__(self, saw: Sweep) -> None:
        self.saw = saw
        """What was seen of the clusters, without assessments."""
        self.faults: dict[AgentName, Exception] = {}
        """Agents that could not be judged, by a fault of ours."""
        self._turns: list[_Turn] = []
        self._left = 0
        self._ended = asyncio.Event()

    @classmethod
    async def begin(
        cls,
        stores: Stores,
        agents: Mapping[AgentName, Agent],
        prober: Prober,
        clock: Clock,
        *,
        previous: Mapping[AgentName, Assessment],
        records: Mapping[AgentName, Record] | None = None,
        memory: Memory | None = None,
        at_once: bool = False,
    ) -> Self:
        """Look at the clusters, and begin with all agents. `memory` is that of earlier rounds."""
        seen = await look(stores, agents, memory or Memory(clock=clock), records)
        begun = cls(_saw(stores, seen))
        needed: dict[AgentName, _Turn] = {}
        for name in _dependencies_first(agents):
            agent = agents[name]
            health = _hasty(agent.spec.health) if at_once else agent.spec.health
            depends_on = agent.spec.depends_on
            before = [needed[other] for other in depends_on if other in needed] if depends_on else ()
            turn = _Turn(agent=agent, health=health, seen=seen.seen[name], before=before, previous=previous)
            needed[name] = turn
            turn.task = asyncio.create_task(begun._take(turn, prober, clock))
            begun._turns.append(turn)
        begun._left = len(begun._turns)
        return begun

    @property
    def under_way(self) -> frozenset[AgentName]:
        return frozenset(turn.agent.name for turn in self._turns)

    async def ended(self, within_s: float | None = None) -> dict[AgentName, Assessment]:
        """Assessments of those that end within so many seconds (None: all), each told once."""
        if self._left:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._ended.wait()
        found: dict[AgentName, Assessment] = {}
        left: list[_Turn] = []
        for turn in self._turns:
            if turn.found is not None:
                found[turn.agent.name] = turn.found
            elif turn.fault is not None:
                self.faults[turn.agent.name] = turn.fault
            else:
                left.append(turn)
        self._turns = left
        return found

    def stop(self) -> None:
        """Let go of those that have not ended."""
        for turn in self._turns:
            if turn.task is not None:
                turn.task.cancel()
        self._turns = []

    async def _take(self, turn: _Turn, prober: Prober, clock: Clock) -> None:
        try:
            turn.found = await turn.take(prober, clock)
        except Exception as fault:  # noqa: BLE001 - told of this agent; it must not end the round of the others
            turn.fault = fault
        self._left -= 1
        if not self._left:
            self._ended.set()


async def note_sweep(stores: Stores, found: Sweep, clock: Clock, noter: Noter) -> None:
    """Write down how clusters are by a sweep, where that changed. Never fails."""
    answer = await bounded(stores.registry.snapshot(), "the registry", stores.patience.read_s)
    if isinstance(answer, Found):
        known: RegistrySnapshot = answer.value
        identities = {name: sight.identity for name, sight in found.sights.items()}
        others = strangers(identities, known.fleet)
        wellness = Wellness(before=known.clusters, sights=found.sights, strangers=others)
        await note(stores.registry, wellness, clock, noter)


def _saw(stores: Stores, seen: Look) -> Sweep:
    outside = (one.name for one in stores.clusters.values() if not (isinstance(one, Unreadable) or one.reaches_pods))
    return Sweep(assessments={}, unreadable=seen.unreadable, out_of_reach=frozenset(outside), sights=seen.sights)


def _hasty(health: Health) -> Health:
    return replace(health, failure_threshold=1, success_threshold=1)


@dataclass(slots=True, kw_only=True, eq=False)
class _Turn:
    """What one agent is judged with, and what comes of it: `before` are those that it depends on and that are judged in
    this round too.
    """

    agent: Agent
    health: Health
    seen: Seen
    before: Sequence[_Turn]
    previous: Mapping[AgentName, Assessment]
    task: asyncio.Task[None] | None = None
    found: Assessment | None = None
    fault: Exception | None = None

    async def take(self, prober: Prober, clock: Clock) -> Assessment:
        evidence = await _measure(self.agent, self.seen, prober)
        if self.agent.spec.depends_on:
            evidence = await self._explained(evidence)
        name = self.agent.name
        return assess(name, self.health, evidence, previous=self.previous.get(name), now_ms=clock.now_ms())

    async def _explained(self, evidence: Evidence) -> Evidence:
        """With how those are that it depends on: as judged in this round, else as known before."""
        under_way = [turn.task for turn in self.before if turn.task is not None and not turn.task.done()]
        if under_way:
            await asyncio.wait(under_way)
        now = {turn.agent.name: turn.found for turn in self.before}
        known = {name: now.get(name) or self.previous.get(name) for name in sorted(self.agent.spec.depends_on)}
        return msgspec.structs.replace(
            evidence,
            dependencies={name: None if one is None else stands(one) for name, one in known.items()},
            in_doubt=frozenset(name for name, one in known.items() if one is not None and fails_now(one)),
        )


def _dependencies_first(agents: Mapping[AgentName, Agent]) -> Sequence[AgentName]:
    """Every agent after those that it depends on; a cycle, which no valid fleet has, is broken anywhere."""
    order: dict[AgentName, None] = {}
    for root, agent in agents.items():
        if not agent.spec.depends_on:
            order[root] = None
            continue
        stack = [(root, False)]
        entered: set[AgentName] = set()
        while stack:
            name, done = stack.pop()
            if done:
                order[name] = None
            elif name in agents and name not in order and name not in entered:
                entered.add(name)
                stack.append((name, True))
                stack.extend((other, False) for other in sorted(agents[name].spec.depends_on, reverse=True))
    return list(order)


async def _measure(agent: Agent, seen: Seen, prober: Prober) -> Evidence:
    asked = seen.asked(agent)
    checks = agent.spec.health.checks
    plugins = [check for check in checks if check.plugin]
    if plugins:
        endpoints = seen.endpoints(agent)
        found = ((check.name, "", plugin_request(check, agent, endpoints)) for check in plugins)
        asked = [*asked, *((check, pod, request) for check, pod, request in found if request is not None)]
    samples: dict[str, tuple[Sample, ...]] = {}
    carded = False
    if len(asked) == 1:  # the usual case needs no task of its own
        answers = [await _probe(prober, asked[0][1], asked[0][2])]
    else:
        answers = await asyncio.gather(*(_probe(prober, pod, request) for _check, pod, request in asked))
    for (name, _pod, request), sample in zip(asked, answers, strict=True):
        samples[name] = (*samples.get(name, ()), sample)
        carded = carded or isinstance(request, CardProbe)
    return Evidence(
        samples=samples,
        resources=seen.resources(),
        pods=seen.facts(),
        card=agent_card(agent) if carded else None,
    )


async def _probe(prober: Prober, pod: str, request: ProbeRequest) -> Sample:
    return msgspec.structs.replace(await prober.probe(request), pod=pod)
