"""One health sweep: everything measured of many agents at once, and each judged by health.assess.

Reads clusters once for all agents (see seen.py), probes what the agents' checks ask for, and never raises for what it
finds: what cannot be read or reached is missing from the evidence, or a failed sample in it. An agent is judged as soon
as it and what it depends on is measured: one that hangs holds up itself and those that it explains, nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from reconciler.engine.observe import bounded
from reconciler.engine.seen import Look, Seen, Usages, look
from reconciler.engine.wellness import Look as Wellness
from reconciler.engine.wellness import Noter, note
from reconciler.engine.world import Stores
from reconciler.health import assess, fails_now, plugin_request, probe_request, stands
from reconciler.model.agent import Agent, Dimension, Health
from reconciler.model.health import Assessment, Evidence, ProbeRequest, Sample
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found, Unreadable
from reconciler.model.registry import RegistrySnapshot
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
    at_once: bool = False,
) -> Sweep:
    """Measure and judge `agents`, all of them. `previous` carries hysteresis from sweep to sweep.

    `at_once` judges by this one sweep alone, as for a person who asks now: one failure counts, one success too.
    """
    begun = await Round.begin(stores, agents, prober, clock, previous=previous, at_once=at_once)
    try:
        found = await begun.ended()
    finally:
        begun.stop()
    for fault in begun.faults.values():
        raise fault
    by_name = sorted(found.items(), key=lambda item: (item[0].namespace, item[0].name))
    return replace(begun.saw, assessments=dict(by_name), assessed=frozenset(found))


class Round:
    """Agents that are being measured, each in a task of its own."""

    def __init__(self, saw: Sweep) -> None:
        self.saw = saw
        """What was seen of the clusters, without assessments."""
        self.faults: dict[AgentName, BaseException] = {}
        """Agents that could not be judged, by a fault of ours."""
        self._tasks: dict[AgentName, asyncio.Task[Assessment]] = {}

    @classmethod
    async def begin(
        cls,
        stores: Stores,
        agents: Mapping[AgentName, Agent],
        prober: Prober,
        clock: Clock,
        *,
        previous: Mapping[AgentName, Assessment],
        usages: Usages | None = None,
        at_once: bool = False,
    ) -> Self:
        """Look at the clusters, and begin with all agents. `usages` are those of earlier rounds."""
        seen = await look(stores, agents, usages or Usages(clock=clock))
        begun = cls(_saw(stores, seen))
        for name in _dependencies_first(agents):
            agent = agents[name]
            health = _hasty(agent.spec.health) if at_once else agent.spec.health
            before = [begun._tasks[other] for other in agent.spec.depends_on if other in begun._tasks]
            turn = _Turn(agent=agent, health=health, seen=seen.seen[name], before=before, previous=previous)
            begun._tasks[name] = asyncio.create_task(turn.take(prober, clock))
        return begun

    @property
    def under_way(self) -> frozenset[AgentName]:
        return frozenset(self._tasks)

    async def ended(self, within_s: float | None = None) -> dict[AgentName, Assessment]:
        """Assessments of those that end within so many seconds (None: all), each told once."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=within_s)
        done = [name for name, task in self._tasks.items() if task.done()]
        found: dict[AgentName, Assessment] = {}
        for name in done:
            task = self._tasks.pop(name)
            fault = task.exception()
            if fault is None:
                found[name] = task.result()
            else:
                self.faults[name] = fault
        return found

    def stop(self) -> None:
        """Let go of those that have not ended."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What one agent is judged with: `before` are those that it depends on and that are judged in this round too."""

    agent: Agent
    health: Health
    seen: Seen
    before: Sequence[asyncio.Task[Assessment]]
    previous: Mapping[AgentName, Assessment]

    async def take(self, prober: Prober, clock: Clock) -> Assessment:
        evidence = await _measure(self.agent, self.seen, prober)
        if self.agent.spec.depends_on:
            evidence = await self._explained(evidence)
        name = self.agent.name
        return assess(name, self.health, evidence, previous=self.previous.get(name), now_ms=clock.now_ms())

    async def _explained(self, evidence: Evidence) -> Evidence:
        """With how those are that it depends on: as judged in this round, else as known before."""
        if self.before:
            await asyncio.wait(self.before)
        now = {one.result().agent: one.result() for one in self.before if not one.cancelled() and not one.exception()}
        known = {name: now.get(name) or self.previous.get(name) for name in sorted(self.agent.spec.depends_on)}
        return replace(
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
    endpoints = seen.endpoints(agent)
    checks = agent.spec.health.checks
    asked: list[tuple[str, str, ProbeRequest]] = [
        (check.name, endpoint.pod, request)
        for endpoint in endpoints
        for check in checks
        if (request := probe_request(check, agent.spec, endpoint)) is not None
    ]
    asked.extend(
        (check.name, "", plugin) for check in checks if (plugin := plugin_request(check, agent, endpoints)) is not None
    )
    if len(asked) == 1:  # the usual case needs no task of its own
        answers = [await _probe(prober, asked[0][1], asked[0][2])]
    else:
        answers = await asyncio.gather(*(_probe(prober, pod, request) for _check, pod, request in asked))
    samples: dict[str, tuple[Sample, ...]] = {}
    for (name, _pod, _request), sample in zip(asked, answers, strict=True):
        samples[name] = (*samples.get(name, ()), sample)
    carded = any(check.dimension is Dimension.CARD for check in checks)
    return Evidence(
        samples=samples,
        resources=seen.resources(),
        pods=seen.facts(),
        card=agent_card(agent) if carded else None,
    )


async def _probe(prober: Prober, pod: str, request: ProbeRequest) -> Sample:
    return replace(await prober.probe(request), pod=pod)
