"""One health sweep: everything measured of all agents at once, and judged by health.assess.

Reads clusters once for all agents (pods, deployments, usage), probes what the agents' checks ask for, and never raises
for what it finds: what cannot be read or reached is missing from the evidence, or a failed sample in it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.engine.observe import bounded, look_at, read
from reconciler.engine.pods import trouble
from reconciler.engine.status import conditions_by_type
from reconciler.engine.wellness import Look, Noter, note
from reconciler.engine.world import Stores
from reconciler.health import assess, probe_request
from reconciler.model.agent import Agent, Health
from reconciler.model.health import (
    Assessment,
    Endpoint,
    Evidence,
    HealthState,
    PodFacts,
    PodResources,
    ProbeRequest,
    Sample,
)
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    AGENT_LABEL,
    PORTS_ANNOTATION,
    Found,
    LiveObject,
    LiveSet,
    PodUsage,
    Scope,
    Unreadable,
    Usage,
)
from reconciler.model.registry import RegistrySnapshot
from reconciler.model.source import JsonObject
from reconciler.model.units import stored_amount
from reconciler.placement.wellness import Sight
from reconciler.plan.guard import strangers
from reconciler.ports import Clock, Prober
from reconciler.render.configmap import agent_card
from reconciler.render.metadata import label_value

SWEPT_KINDS = (("apps", "v1", "Deployment"), ("", "v1", "Pod"))
PROBLEMS = 3
MAX_ANNOTATION = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one sweep found: assessments by agent, clusters that could not be read, with the reason, and what it saw of
    each cluster.

    `out_of_reach` are clusters whose pods' addresses do not lead there from here: they were not probed.
    """

    assessments: Mapping[AgentName, Assessment]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    out_of_reach: frozenset[str] = frozenset()
    sights: Mapping[str, Sight] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What clusters show of one agent."""

    wanted: int = 0
    pods: list[LiveObject] = field(default_factory=list)
    usage: dict[ObjectRef, PodUsage] = field(default_factory=dict)
    complete: bool = True
    out_of_reach: set[ObjectRef] = field(default_factory=set)
    """Pods whose addresses lead nowhere from here, or to somebody else: they are not probed."""


async def sweep(
    stores: Stores,
    agents: Mapping[AgentName, Agent],
    prober: Prober,
    clock: Clock,
    *,
    previous: Mapping[AgentName, Assessment],
    at_once: bool = False,
) -> Sweep:
    """Measure and judge `agents`. `previous` carries hysteresis from sweep to sweep.

    `at_once` judges by this one sweep alone, as for a person who asks now: one failure counts, one success too.
    """
    seen, unreadable, sights = await _look(stores, agents)
    evidence = dict(
        zip(agents, await asyncio.gather(*(_measure(agents[name], seen[name], prober) for name in agents)), strict=True)
    )
    found: dict[AgentName, Assessment] = {}
    for name in _dependencies_first(agents):
        agent = agents[name]
        given = replace(evidence[name], dependencies=_dependencies(agent, found, previous))
        health = _hasty(agent.spec.health) if at_once else agent.spec.health
        found[name] = assess(name, health, given, previous=previous.get(name), now_ms=clock.now_ms())
    outside = (one.name for one in stores.clusters.values() if not (isinstance(one, Unreadable) or one.reaches_pods))
    return Sweep(
        assessments=dict(sorted(found.items())),
        unreadable=unreadable,
        out_of_reach=frozenset(outside),
        sights=sights,
    )


async def note_sweep(stores: Stores, found: Sweep, clock: Clock, noter: Noter) -> None:
    """Write down how clusters are by a sweep, where that changed. Never fails."""
    answer = await bounded(stores.registry.snapshot(), "the registry", stores.patience.read_s)
    if isinstance(answer, Found):
        known: RegistrySnapshot = answer.value
        identities = {name: sight.identity for name, sight in found.sights.items()}
        others = strangers(identities, known.fleet)
        await note(stores.registry, Look(before=known.clusters, sights=found.sights, strangers=others), clock, noter)


def _hasty(health: Health) -> Health:
    return replace(health, failure_threshold=1, success_threshold=1)


def _dependencies(
    agent: Agent, found: Mapping[AgentName, Assessment], previous: Mapping[AgentName, Assessment]
) -> dict[AgentName, bool | None]:
    answers: dict[AgentName, bool | None] = {}
    for name in sorted(agent.spec.depends_on):
        known = found.get(name) or previous.get(name)
        answers[name] = None if known is None or known.state is HealthState.UNKNOWN else known.is_healthy
    return answers


def _dependencies_first(agents: Mapping[AgentName, Agent]) -> Sequence[AgentName]:
    """Every agent after those that it depends on; a cycle, which no valid fleet has, is broken anywhere."""
    order: dict[AgentName, None] = {}
    for root in sorted(agents):
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


async def _look(
    stores: Stores, agents: Mapping[AgentName, Agent]
) -> tuple[dict[AgentName, _Seen], dict[str, str], dict[str, Sight]]:
    seen = {name: _Seen() for name in agents}
    by_label = {(name.namespace, label_value(name.name)): name for name in agents}
    scope = Scope(kinds=SWEPT_KINDS, namespaces=frozenset(name.namespace for name in agents))
    unreadable: dict[str, str] = {}
    sights: dict[str, Sight] = {}
    names = sorted(stores.clusters)
    answers = await asyncio.gather(*(_cluster(name, stores, scope) for name in names))
    for name, (sight, usage) in zip(names, answers, strict=True):
        sights[name] = sight
        match sight.live:
            case Found(value=found):
                cluster = stores.clusters[name]
                reached = not isinstance(cluster, Unreadable) and cluster.reaches_pods
                _sort_in(found, usage, seen, by_label, reached=reached)
            case other:
                unreadable[name] = other.reason if isinstance(other, Unreadable) else "it shows nothing"
    if unreadable:
        for item in seen.values():
            item.complete = False
    return seen, unreadable, sights


async def _cluster(name: str, stores: Stores, scope: Scope) -> tuple[Sight, Usage | None]:
    cluster = stores.clusters[name]
    sight = await look_at(name, cluster, scope, stores.patience)
    if isinstance(cluster, Unreadable) or not isinstance(sight.live, Found):
        return sight, None
    usage = await read(cluster.usage(scope), cluster, stores.patience)
    return sight, usage.value if isinstance(usage, Found) else None


def _sort_in(
    live: LiveSet,
    usage: Usage | None,
    seen: Mapping[AgentName, _Seen],
    by_label: Mapping[tuple[str, str], AgentName],
    *,
    reached: bool,
) -> None:
    for ref, item in sorted(live.objects.items()):
        label = (item.metadata.get("labels") or {}).get(AGENT_LABEL, "")
        name = by_label.get((ref.namespace, label))
        if name is None:
            continue
        if ref.kind == "Deployment":
            seen[name].wanted += int(item.body.get("spec", {}).get("replicas", 1))
        elif not item.metadata.get("deletionTimestamp"):
            seen[name].pods.append(item)
            if not reached:
                seen[name].out_of_reach.add(ref)
            if usage is not None and ref in usage.pods:
                seen[name].usage[ref] = usage.pods[ref]


async def _measure(agent: Agent, seen: _Seen, prober: Prober) -> Evidence:
    within_reach = [pod for pod in seen.pods if pod.ref not in seen.out_of_reach]
    endpoints = [endpoint for pod in within_reach if (endpoint := _endpoint(agent, pod)) is not None]
    asked = [
        (check, endpoint, request)
        for check in agent.spec.health.checks
        for endpoint in endpoints
        if (request := probe_request(check, agent.spec, endpoint)) is not None
    ]
    answers = await asyncio.gather(*(_probe(prober, endpoint, request) for _check, endpoint, request in asked))
    samples: dict[str, tuple[Sample, ...]] = {}
    for item, sample in zip(asked, answers, strict=True):
        samples[item[0].name] = (*samples.get(item[0].name, ()), sample)
    resources = tuple(_resources(pod, seen.usage[pod.ref]) for pod in seen.pods if pod.ref in seen.usage)
    return Evidence(
        samples=samples,
        resources=resources or None,
        pods=_facts(seen) if seen.complete else None,
        card=agent_card(agent),
    )


async def _probe(prober: Prober, endpoint: Endpoint, request: ProbeRequest) -> Sample:
    return replace(await prober.probe(request), pod=endpoint.pod)


def _facts(seen: _Seen) -> PodFacts:
    ready = sum(_is_ready(pod.body) for pod in seen.pods)
    problems = [f"{found.pod}: {found.text}" for pod in seen.pods if (found := trouble(pod.body)) is not None]
    restarts = sum(
        int(container.get("restartCount") or 0)
        for pod in seen.pods
        for container in pod.status.get("containerStatuses") or ()
    )
    return PodFacts(wanted=seen.wanted, ready=ready, restarts=restarts, problems=tuple(problems[:PROBLEMS]))


def _is_ready(pod: JsonObject) -> bool:
    return bool(conditions_by_type(pod.get("status") or {}).get("Ready", {}).get("status") == "True")


def _endpoint(agent: Agent, pod: LiveObject) -> Endpoint | None:
    """Where a running pod listens: its address, and for each declared port the real one; None when it has none."""
    host = pod.status.get("podIP")
    if not host or pod.status.get("phase") != "Running":
        return None
    real = _mapped(pod)
    ports = {port.name: real.get(str(port.port), port.port) for port in agent.spec.ports}
    return Endpoint(pod=pod.ref.name, host=str(host), ports=ports)


def _mapped(pod: LiveObject) -> Mapping[str, int]:
    """The port mapping that the cluster says on a pod; none where it says none, or nothing that can be read."""
    text = str((pod.metadata.get("annotations") or {}).get(PORTS_ANNOTATION, ""))
    if not text or len(text) > MAX_ANNOTATION:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    items: Iterable[tuple[str, Any]] = value.items() if isinstance(value, dict) else ()
    return {key: port for key, port in items if type(port) is int and 0 < port < 65_536}


def _resources(pod: LiveObject, used: PodUsage) -> PodResources:
    containers: Sequence[Mapping[str, Any]] = pod.body.get("spec", {}).get("containers") or ()
    cpu, memory = (_bound(containers, name) for name in ("cpu", "memory"))
    return PodResources(
        pod=pod.ref.name,
        cpu=used.cpu,
        memory=used.memory,
        cpu_bound=cpu,
        memory_bound=None if memory is None else int(memory),
    )


def _bound(containers: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The limit of a pod, else its request; None where a container has neither: then there is no bound."""
    total = 0.0
    for container in containers:
        given = container.get("resources") or {}
        text = (given.get("limits") or {}).get(name) or (given.get("requests") or {}).get(name)
        if text is None:
            return None
        try:
            total += float(stored_amount(str(text)))
        except ValueError:
            return None
    return total if containers else None
