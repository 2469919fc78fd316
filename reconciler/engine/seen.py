"""What clusters show of agents: pods and where they listen, what they use, how far they are. Read once for many agents.

What cannot be read or understood is missing from what is seen, and never bad.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.engine.observe import look_at, read
from reconciler.engine.podseen import Asked, Other, PodSaid, Wanted, said_by
from reconciler.engine.world import Patience, Stores
from reconciler.model.agent import Agent
from reconciler.model.health import Endpoint, PodFacts, PodResources
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    Found,
    LiveSet,
    Observation,
    PodUsage,
    Scope,
    Unreadable,
    Usage,
)
from reconciler.model.registry import Record
from reconciler.placement.wellness import Sight
from reconciler.ports import Clock, Cluster
from reconciler.render.metadata import label_value

SWEPT_KINDS = (("apps", "v1", "Deployment"), ("", "v1", "Pod"))
USAGE_S = 15.0
"""How often metrics-server measures unless it is told otherwise."""
PROBLEMS = 3


@dataclass(slots=True, kw_only=True)
class Seen:
    """What clusters show of one agent: its pods, each with what it uses, where that is known.

    `reached` are those whose addresses lead there from here, and not to somebody else; others are not probed.
    """

    wanted: int | None = None
    """By its Deployments; None where there is none of it, and nobody says how many it should be."""
    pods: list[tuple[PodSaid, PodUsage | None]] = field(default_factory=list)
    reached: list[PodSaid] = field(default_factory=list)
    complete: bool = True

    def asked(self, agent: Agent) -> Sequence[Asked]:
        """What the checks of the agent ask of its pods that run, and that can be reached from here."""
        if len(self.reached) == 1:
            return self.reached[0].asked(agent)
        return [one for pod in self.reached for one in pod.asked(agent)]

    def endpoints(self, agent: Agent) -> list[Endpoint]:
        """Where these pods listen."""
        return [found for pod in self.reached if (found := pod.endpoint(agent)) is not None]

    def resources(self) -> tuple[PodResources, ...] | None:
        """What its pods use; None where nobody knows."""
        return tuple([pod.resources(used) for pod, used in self.pods if used is not None]) or None

    def facts(self) -> PodFacts | None:
        """How far its pods are; None where not all of them can be seen, or nothing says how many there should be."""
        if not self.complete or self.wanted is None:
            return None
        ready = restarts = 0
        problems: tuple[str, ...] = ()
        for pod, _used in self.pods:
            restarts += pod.restarts
            if pod.ready:
                ready += 1
            elif pod.trouble and len(problems) < PROBLEMS:
                problems = (*problems, pod.trouble)
        return PodFacts(wanted=self.wanted, ready=ready, restarts=restarts, problems=problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at all clusters: what is seen of each agent, and what could not be read, with the reason."""

    seen: Mapping[AgentName, Seen]
    unreadable: Mapping[str, str]
    sights: Mapping[str, Sight]


@dataclass(slots=True, kw_only=True)
class Memory:
    """What looks remember from one to the next.

    What pods of clusters use, for as long as whoever measures it takes to measure it anew: ticks that sweep a few
    namespaces each would otherwise all list the whole of it. And what objects say, for as long as they are the same
    objects. `namespaces` are those of all looks together.
    """

    clock: Clock
    namespaces: frozenset[str] = frozenset()
    _kept: dict[str, tuple[Cluster, frozenset[str], float, Observation[Usage]]] = field(default_factory=dict)
    _said: dict[tuple[str, str], dict[int, PodSaid | Wanted | Other]] = field(default_factory=dict)
    """By cluster and namespace, and by the id of the object: whoever remembers it keeps it, so that no other has it."""

    async def usage(self, cluster: Cluster, scope: Scope, patience: Patience) -> Observation[Usage]:
        """Usage of at least what is in scope."""
        wanted, now = scope.namespaces or frozenset(), self.clock.monotonic()
        kept = self._kept.get(cluster.name)
        if kept is not None and kept[0] is cluster and wanted <= kept[1] and now - kept[2] < USAGE_S:
            return kept[3]
        names = wanted | self.namespaces
        found = await read(cluster.usage(replace(scope, namespaces=names)), cluster, patience)
        self._kept[cluster.name] = cluster, names, now, found
        return found

    def said(self, cluster: str, live: LiveSet, namespaces: Iterable[str]) -> Iterable[PodSaid | Wanted]:
        """What pods and Deployments of these namespaces say, each taken apart when it is another one than before."""
        before = {one: self._said.get((cluster, one), {}) for one in namespaces}
        now: dict[str, dict[int, PodSaid | Wanted | Other]] = {one: {} for one in before}
        for ref, item in live.objects.items():
            if ref.namespace in now:
                said = before[ref.namespace].get(id(item)) or said_by(item)
                now[ref.namespace][id(item)] = said
                if not isinstance(said, Other):
                    yield said
        for namespace, kept in now.items():
            self._said[cluster, namespace] = kept
        for gone in [key for key in self._said if key[1] not in self.namespaces and key[1] not in before]:
            del self._said[gone]


async def look(
    stores: Stores,
    agents: Mapping[AgentName, Agent],
    memory: Memory,
    records: Mapping[AgentName, Record] | None = None,
) -> Look:
    """Read pods, deployments and usage of `agents`, each cluster once.

    `records` say where agents may be: of one that is on record a cluster hides nothing on which it never was.
    """
    seen = {name: Seen() for name in agents}
    by_label = {(name.namespace, label_value(name.name)): one for name, one in seen.items()}
    scope = Scope(kinds=SWEPT_KINDS, namespaces=frozenset(name.namespace for name in agents))
    unreadable: dict[str, str] = {}
    sights: dict[str, Sight] = {}
    blind: dict[str, frozenset[str]] = {}
    """Namespaces of which not all could be read, by cluster."""
    names = sorted(stores.clusters)
    answers = await asyncio.gather(*(_cluster(name, stores, scope, memory) for name in names))
    for name, (sight, usage) in zip(names, answers, strict=True):
        sights[name] = sight
        match sight.live:
            case Found(value=found):
                cluster = stores.clusters[name]
                reached = not isinstance(cluster, Unreadable) and cluster.reaches_pods
                said = memory.said(name, found, scope.namespaces or ())
                _sort_in(said, usage.pods if usage is not None else {}, by_label, reached=reached)
                blind[name] = frozenset(namespace for _kind, namespace in found.unreadable)
            case other:
                unreadable[name] = other.reason if isinstance(other, Unreadable) else "it shows nothing"
                blind[name] = frozenset({""})
    for agent, item in seen.items():
        record = records.get(agent) if records is not None else None
        hidden = (name for name, spaces in blind.items() if not spaces.isdisjoint({"", agent.namespace}))
        item.complete = not any(record is None or name in _places(record) for name in hidden)
        if len(item.pods) > 1:
            item.pods.sort(key=lambda pod: pod[0].name)
            item.reached.sort(key=lambda pod: pod.name)
    return Look(seen=seen, unreadable=unreadable, sights=sights)


def _places(record: Record) -> frozenset[str]:
    """The clusters on which an agent may have something."""
    return frozenset((*(item.cluster for item in record.inventory), *(share.cluster for share in record.placement)))


async def _cluster(name: str, stores: Stores, scope: Scope, memory: Memory) -> tuple[Sight, Usage | None]:
    cluster = stores.clusters[name]
    sight = await look_at(name, cluster, scope, stores.patience)
    if isinstance(cluster, Unreadable) or not isinstance(sight.live, Found):
        return sight, None
    usage = await memory.usage(cluster, scope, stores.patience)
    return sight, usage.value if isinstance(usage, Found) else None


def _sort_in(
    said: Iterable[PodSaid | Wanted],
    used: Mapping[ObjectRef, PodUsage],
    by_label: Mapping[tuple[str, str], Seen],
    *,
    reached: bool,
) -> None:
    for item in said:
        ref = item.object.ref
        one = by_label.get((ref.namespace, item.agent))
        if one is None:
            continue
        if isinstance(item, Wanted):
            one.wanted = (one.wanted or 0) + item.replicas
        elif not item.leaving:
            one.pods.append((item, used.get(ref)))
            if reached:
                one.reached.append(item)
