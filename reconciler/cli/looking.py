"""What `get`, `describe`, `why` and `logs` know of agents: records of the registry beside what clusters show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.cli.fleets import OpenStores
from reconciler.cli.output import meant
from reconciler.model.errors import RegistryError, UsageError
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    ADDRESS_ANNOTATION,
    AGENT_LABEL,
    PORTS_ANNOTATION,
    Absent,
    Found,
    LiveObject,
    LiveSet,
    Observation,
    Scope,
    Unreadable,
)
from reconciler.model.registry import Record, RegistrySnapshot
from reconciler.ports import Cluster, Registry

_PROCESS = re.compile(r"process://([0-9]{1,10})/")
LOOKED_AT = (("apps", "v1", "Deployment"), ("", "v1", "Pod"))
WITH_SERVICES = (*LOOKED_AT, ("", "v1", "Service"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod as people ask for it. `pid` is None where the platform has none to tell."""

    cluster: str
    ref: ObjectRef
    phase: str
    ready: bool
    restarts: int
    reason: str
    created: str
    pid: int | None
    ports: Mapping[str, str] = field(default_factory=dict)
    """Declared port number -> HOST:PORT, where the platform maps ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a Service can be reached from this machine: `ports` by name and by number -> HOST:PORT."""

    cluster: str
    service: str
    ports: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """An agent on all clusters: ready of wanted replicas, its pods and objects, and what could not be read."""

    ready: int = 0
    wanted: int = 0
    pods: tuple[Pod, ...] = ()
    unreadable: tuple[str, ...] = ()
    deployed: frozenset[str] = frozenset()
    """Clusters that have a Deployment of it."""
    addresses: tuple[Address, ...] = ()
    """Only where Services were looked at."""

    @property
    def text(self) -> str:
        """`2/3`, or `?` where a cluster could not be read."""
        return "?" if self.unreadable else f"{self.ready}/{self.wanted}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """All that clusters show, by agent. `unreadable` maps a cluster to why it could not be read."""

    agents: Mapping[AgentName, Presence]
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def of(self, record: Record) -> Presence:
        """How one agent stands. Where its Deployment is gone, what was placed there is wanted and nothing is ready."""
        blind = tuple(
            f"{cluster}: {why}"
            for cluster, why in self.unreadable.items()
            if any(placed.cluster == cluster for placed in record.placement)
        )
        seen = self.agents.get(record.name, Presence())
        gone = sum(placed.replicas for placed in record.placement if placed.cluster not in seen.deployed)
        return replace(seen, wanted=seen.wanted + gone, unreadable=blind)


async def snapshot(registry: Registry) -> RegistrySnapshot:
    """All live records. Raises RegistryError when they cannot be read."""
    match await registry.snapshot():
        case Found(value=value):
            return value
        case Unreadable(reason=reason):
            raise RegistryError(f"the registry cannot be read: {reason}", hint="`reconciler doctor` looks at it")
        case Absent():
            return RegistrySnapshot(seq=0, fleet=None, records={})


async def record_of(registry: Registry, name: AgentName) -> Record:
    """One record. Raises UsageError, with near names, when there is none."""
    records = (await snapshot(registry)).records
    if name in records:
        return records[name]
    if await registry.revisions(name):
        raise UsageError(f"{name} is gone", hint=f"`reconciler history {name}` tells what became of it")
    hint = meant(str(name), map(str, records), "`reconciler get agents` lists the agents on record")
    raise UsageError(f"{name} is not on record: it was never applied, or is gone", hint=hint)


async def look(
    stores: OpenStores,
    namespaces: frozenset[str] | None = None,
    kinds: tuple[tuple[str, str, str], ...] = LOOKED_AT,
) -> Sight:
    """Observe deployments and pods of agents on every cluster, or what else `kinds` says."""
    import asyncio

    from reconciler.engine.observe import read

    scope = Scope(kinds=kinds, namespaces=namespaces)

    async def observed(cluster: Cluster | Unreadable) -> Observation[LiveSet]:
        if isinstance(cluster, Unreadable):
            return cluster
        return await read(cluster.observe(scope), cluster, stores.both.patience)

    answers = await asyncio.gather(*(observed(cluster) for cluster in stores.clusters.values()))
    unreadable: dict[str, str] = {}
    found: dict[AgentName, list[tuple[str, LiveObject]]] = {}
    for cluster, answer in zip(stores.clusters, answers, strict=True):
        match answer:
            case Found(value=live):
                for live_object in live.objects.values():
                    name = agent_of(live_object)
                    if name is not None:
                        found.setdefault(name, []).append((cluster, live_object))
                if live.unreadable:
                    unreadable[cluster] = "; ".join(sorted(set(live.unreadable.values())))
            case Unreadable(reason=reason):
                unreadable[cluster] = reason
            case Absent():
                pass
    return Sight(agents={name: presence(objects) for name, objects in found.items()}, unreadable=unreadable)


def agent_of(live: LiveObject) -> AgentName | None:
    """The agent that an object is labelled with."""
    label = live.metadata.get("labels", {}).get(AGENT_LABEL)
    return AgentName(namespace=live.ref.namespace, name=label) if label else None


def presence(objects: Iterable[tuple[str, LiveObject]]) -> Presence:
    """How an agent stands, from its live objects and the cluster of each."""
    ready = wanted = 0
    pods = []
    deployed = set()
    addresses = []
    for cluster, live in objects:
        if live.ref.kind == "Pod":
            pods.append(pod_of(cluster, live))
        elif live.ref.kind == "Deployment":
            deployed.add(cluster)
            wanted += int(live.body.get("spec", {}).get("replicas", 1))
            ready += int(live.status.get("readyReplicas", 0))
        elif live.ref.kind == "Service" and (ports := _told_ports(live, ADDRESS_ANNOTATION)):
            told = {key: str(address) for key, address in ports.items()}
            addresses.append(Address(cluster=cluster, service=live.ref.name, ports=told))
    return Presence(
        ready=ready,
        wanted=wanted,
        pods=tuple(sorted(pods, key=lambda pod: (pod.cluster, pod.ref))),
        deployed=frozenset(deployed),
        addresses=tuple(sorted(addresses, key=lambda one: (one.cluster, one.service))),
    )


def _told_ports(live: LiveObject, annotation: str) -> dict[str, Any]:
    """The JSON mapping of an annotation, sorted; empty where there is none that can be read."""
    import json

    try:
        found = json.loads(str((live.metadata.get("annotations") or {}).get(annotation, "")))
    except ValueError:
        return {}
    return dict(sorted(found.items())) if isinstance(found, dict) else {}


def pod_of(cluster: str, live: LiveObject) -> Pod:
    """A pod, read from its status as any Kubernetes would report it."""
    status = live.status
    conditions = {c.get("type"): c for c in status.get("conditions", ()) if isinstance(c, Mapping)}
    containers = [c for c in status.get("containerStatuses", ()) if isinstance(c, Mapping)]
    ready = conditions.get("Ready", {})
    reason = _reason(status, containers, ready)
    return Pod(
        cluster=cluster,
        ref=live.ref,
        phase="Terminating" if live.metadata.get("deletionTimestamp") else str(status.get("phase", "Pending")),
        ready=ready.get("status") == "True",
        restarts=sum(int(container.get("restartCount", 0)) for container in containers),
        reason=reason,
        created=str(live.metadata.get("creationTimestamp", "")),
        pid=_pid(containers),
        ports={
            key: f"{status.get('podIP') or '?'}:{real}" for key, real in _told_ports(live, PORTS_ANNOTATION).items()
        },
    )


def _reason(status: Mapping[str, Any], containers: list[Mapping[str, Any]], ready: Mapping[str, Any]) -> str:
    """Why a pod is not ready, from the nearest cause: its container, then its conditions, then itself."""
    for container in containers:
        state = container.get("state", {})
        for kind in ("waiting", "terminated"):
            if kind in state:
                told = state[kind]
                return ": ".join(str(told[key]) for key in ("reason", "message") if told.get(key))
    if ready.get("status") != "True" and ready.get("reason"):
        return ": ".join(str(ready[key]) for key in ("reason", "message") if ready.get(key))
    return ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key))


def _pid(containers: list[Mapping[str, Any]]) -> int | None:
    """The process of a running pod on the embedded cluster, whose container ids say `process://PID/...`."""
    for container in containers:
        match = _PROCESS.match(str(container.get("containerID", "")))
        if match and "running" in container.get("state", {}):
            return int(match[1])
    return None
