"""What clusters show of agents: pods and where they listen, what they use, how far they are. Read once for many agents.

What cannot be read or understood is missing from what is seen, and never bad.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from reconciler.engine.observe import look_at, read
from reconciler.engine.pods import trouble
from reconciler.engine.world import Patience, Stores
from reconciler.model.agent import Agent
from reconciler.model.health import Endpoint, PodFacts, PodResources
from reconciler.model.identity import AgentName
from reconciler.model.objects import (
    AGENT_LABEL,
    PORTS_ANNOTATION,
    Found,
    LiveObject,
    LiveSet,
    Observation,
    PodUsage,
    Scope,
    Unreadable,
    Usage,
)
from reconciler.model.source import JsonObject
from reconciler.model.units import stored_amount
from reconciler.placement.wellness import Sight
from reconciler.ports import Clock, Cluster
from reconciler.render.metadata import label_value

SWEPT_KINDS = (("apps", "v1", "Deployment"), ("", "v1", "Pod"))
USAGE_S = 15.0
"""How often metrics-server measures unless it is told otherwise."""
PROBLEMS = 3
MAX_ANNOTATION = 16_384


@dataclass(slots=True, kw_only=True)
class PodSeen:
    """One pod, taken apart once: what is looked into of it is asked for again and again.

    `reached`: its address leads there from here, and not to somebody else; else it is not probed.
    """

    object: LiveObject
    status: JsonObject
    reached: bool
    usage: PodUsage | None

    @property
    def name(self) -> str:
        return self.object.ref.name

    @property
    def ready(self) -> bool:
        return any(
            isinstance(one, dict) and one.get("type") == "Ready" and one.get("status") == "True"
            for one in self.status.get("conditions") or ()
        )


@dataclass(slots=True, kw_only=True)
class Seen:
    """What clusters show of one agent."""

    wanted: int = 0
    pods: list[PodSeen] = field(default_factory=list)
    complete: bool = True

    def endpoints(self, agent: Agent) -> list[Endpoint]:
        """Where its pods listen that run, and that can be reached from here."""
        return [found for pod in self.pods if pod.reached and (found := _endpoint(agent, pod)) is not None]

    def resources(self) -> tuple[PodResources, ...] | None:
        """What its pods use; None where nobody knows."""
        return tuple(_resources(pod, pod.usage) for pod in self.pods if pod.usage is not None) or None

    def facts(self) -> PodFacts | None:
        """How far its pods are; None where not all of them can be seen."""
        return _facts(self) if self.complete else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at all clusters: what is seen of each agent, and what could not be read, with the reason."""

    seen: Mapping[AgentName, Seen]
    unreadable: Mapping[str, str]
    sights: Mapping[str, Sight]


@dataclass(slots=True, kw_only=True)
class Usages:
    """What pods of clusters use, remembered for as long as whoever measures it takes to measure it anew.

    Ticks that sweep a few namespaces each would otherwise all list the whole of it. `namespaces` are those of all of
    them together.
    """

    clock: Clock
    namespaces: frozenset[str] = frozenset()
    _kept: dict[str, tuple[Cluster, frozenset[str], float, Observation[Usage]]] = field(default_factory=dict)

    async def of(self, cluster: Cluster, scope: Scope, patience: Patience) -> Observation[Usage]:
        """Usage of at least what is in scope."""
        wanted, now = scope.namespaces or frozenset(), self.clock.monotonic()
        kept = self._kept.get(cluster.name)
        if kept is not None and kept[0] is cluster and wanted <= kept[1] and now - kept[2] < USAGE_S:
            return kept[3]
        names = wanted | self.namespaces
        found = await read(cluster.usage(replace(scope, namespaces=names)), cluster, patience)
        self._kept[cluster.name] = cluster, names, now, found
        return found


async def look(stores: Stores, agents: Mapping[AgentName, Agent], usages: Usages) -> Look:
    """Read pods, deployments and usage of `agents`, each cluster once."""
    seen = {name: Seen() for name in agents}
    by_label = {(name.namespace, label_value(name.name)): name for name in agents}
    scope = Scope(kinds=SWEPT_KINDS, namespaces=frozenset(name.namespace for name in agents))
    unreadable: dict[str, str] = {}
    sights: dict[str, Sight] = {}
    names = sorted(stores.clusters)
    answers = await asyncio.gather(*(_cluster(name, stores, scope, usages) for name in names))
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
    for item in seen.values():
        item.pods.sort(key=lambda pod: pod.name)
    return Look(seen=seen, unreadable=unreadable, sights=sights)


async def _cluster(name: str, stores: Stores, scope: Scope, usages: Usages) -> tuple[Sight, Usage | None]:
    cluster = stores.clusters[name]
    sight = await look_at(name, cluster, scope, stores.patience)
    if isinstance(cluster, Unreadable) or not isinstance(sight.live, Found):
        return sight, None
    usage = await usages.of(cluster, scope, stores.patience)
    return sight, usage.value if isinstance(usage, Found) else None


def _sort_in(
    live: LiveSet,
    usage: Usage | None,
    seen: Mapping[AgentName, Seen],
    by_label: Mapping[tuple[str, str], AgentName],
    *,
    reached: bool,
) -> None:
    pods = usage.pods if usage is not None else {}
    for ref, item in live.objects.items():
        label = (item.metadata.get("labels") or {}).get(AGENT_LABEL, "")
        name = by_label.get((ref.namespace, label))
        if name is None:
            continue
        one = seen[name]
        if ref.kind == "Deployment":
            one.wanted += int(item.body.get("spec", {}).get("replicas", 1))
        elif not item.metadata.get("deletionTimestamp"):
            one.pods.append(PodSeen(object=item, status=item.status, reached=reached, usage=pods.get(ref)))


def _facts(seen: Seen) -> PodFacts:
    unready = [pod for pod in seen.pods if not pod.ready]
    problems = [f"{found.pod}: {found.text}" for pod in unready if (found := trouble(pod.object.body)) is not None]
    restarts = sum(
        int(container.get("restartCount") or 0)
        for pod in seen.pods
        for container in pod.status.get("containerStatuses") or ()
    )
    return PodFacts(
        wanted=seen.wanted,
        ready=len(seen.pods) - len(unready),
        restarts=restarts,
        problems=tuple(problems[:PROBLEMS]),
    )


def _endpoint(agent: Agent, pod: PodSeen) -> Endpoint | None:
    """Where a running pod listens: its address, and for each declared port the real one; None when it has none."""
    host = pod.status.get("podIP")
    if not host or pod.status.get("phase") != "Running":
        return None
    real = _mapped(pod.object)
    ports = {port.name: real.get(str(port.port), port.port) for port in agent.spec.ports}
    return Endpoint(pod=pod.name, host=str(host), ports=ports)


def _mapped(pod: LiveObject) -> Mapping[str, int]:
    """The port mapping that the cluster says on a pod; none where it says none, or nothing that can be read."""
    text = str((pod.metadata.get("annotations") or {}).get(PORTS_ANNOTATION, ""))
    return _mapping(text) if 0 < len(text) <= MAX_ANNOTATION else {}


@lru_cache(maxsize=16_384)
def _mapping(text: str) -> Mapping[str, int]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    items: Iterable[tuple[str, Any]] = value.items() if isinstance(value, dict) else ()
    return {key: port for key, port in items if type(port) is int and 0 < port < 65_536}


def _resources(pod: PodSeen, used: PodUsage) -> PodResources:
    containers: Sequence[Mapping[str, Any]] = pod.object.body.get("spec", {}).get("containers") or ()
    cpu, memory = (_bound(containers, name) for name in ("cpu", "memory"))
    return PodResources(
        pod=pod.name,
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
            total += _amount(str(text))
        except ValueError:
            return None
    return total if containers else None


@lru_cache(maxsize=4096)
def _amount(text: str) -> float:
    return float(stored_amount(text))
