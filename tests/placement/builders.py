"""Agents, records, clusters and capacities for tests, complete with the least that they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from reconciler.model.agent import (
    Agent,
    AgentSpec,
    Autoscaling,
    Backoff,
    ClusterSelector,
    Health,
    Metric,
    MetricType,
    PlacementPolicy,
    PlacementRule,
    Port,
    Probes,
    Recovery,
    Remedy,
    Resources,
    Rollout,
)
from reconciler.model.fleet import ClusterDeclaration, EmbeddedCluster
from reconciler.model.identity import AgentName
from reconciler.model.objects import Capacity, Found, NodeCapacity
from reconciler.model.registry import AgentState, Good, PlacedReplicas, Record, Reservation
from reconciler.model.source import Position
from reconciler.model.units import Duration, Quantity
from reconciler.placement import PlacementRequest, PlacementResult

EVERYWHERE = ClusterSelector(everything=True)


def name(text: str) -> AgentName:
    return AgentName.parse(text)


def resources(requests: Mapping[str, str], limits: Mapping[str, str] | None = None) -> Resources:
    return Resources(
        requests={key: Quantity.parse(value) for key, value in requests.items()},
        limits={key: Quantity.parse(value) for key, value in (limits or {}).items()},
    )


def rule(policy: str = "spread", selector: ClusterSelector = EVERYWHERE, **more: Any) -> PlacementRule:
    return PlacementRule(clusters=selector, policy=PlacementPolicy(policy), **more)


def scaling(least: int, most: int, **more: Any) -> Autoscaling:
    return Autoscaling(min=least, max=most, metrics=(Metric(type=MetricType.CPU, utilization=70),), **more)


PLAIN = AgentSpec(
    description="Does something",
    image="ghcr.io/acme/agent:1.0.0",
    command=("python3", "-m", "agent"),
    args=(),
    env=(),
    replicas=1,
    autoscaling=None,
    resources=resources({"cpu": "100m", "memory": "128Mi"}),
    model_config=None,
    system_message="",
    tools=(),
    skills=(),
    config={},
    ports=(Port(name="http", port=8080),),
    probes=Probes(),
    health=Health(interval=Duration.parse("30s")),
    recovery=Recovery(
        ladder=(Remedy.RESTART,),
        backoff=Backoff(initial=Duration.parse("10s"), factor=2.0, max=Duration.parse("5m")),
        attempts=5,
    ),
    rollout=Rollout(
        max_surge=1,
        max_unavailable=0,
        timeout=Duration.parse("2m"),
        settle=Duration.parse("2s"),
        termination_grace=Duration.parse("30s"),
    ),
    disruption=None,
    placement=rule(),
    depends_on=(),
    wave=0,
    alerts=(),
    suspend=False,
    protect=False,
    adopt=False,
)


def agent(
    text: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Agent:
    """An agent; with `autoscaling` given, replicas are none of its own."""
    if spec.get("autoscaling") is not None:
        spec.setdefault("replicas", None)
    whole = replace(PLAIN, **spec)
    document = {"placement": repr(whole.placement), "spec": repr(whole)}
    return Agent(
        name=name(text),
        labels=labels or {},
        annotations=annotations or {},
        spec=whole,
        document=document,
        spec_hash=sha256(repr((whole, labels)).encode()).hexdigest(),
        layers=(),
        position=Position(path=f"agents/{text}.yaml"),
    )


def record(declared: Agent, where: Mapping[str, int], *, state: AgentState = AgentState.RUNNING, **more: Any) -> Record:
    """The record of an agent that runs as it is declared, `where` by cluster."""
    requests = {key: value.canonical() for key, value in declared.spec.resources.requests.items()}
    fields: dict[str, Any] = {
        "id": str(declared.name),
        "name": declared.name,
        "version": 1,
        "state": state,
        "labels": declared.labels,
        "document": declared.document,
        "spec_hash": declared.spec_hash,
        "lineage": (),
        "source_path": "",
        "commit": "",
        "revision": 1,
        "placement": tuple(PlacedReplicas(cluster=key, replicas=count) for key, count in sorted(where.items())),
        "reservations": tuple(
            Reservation(cluster=key, replicas=count, requests=requests) for key, count in sorted(where.items()) if count
        ),
        "inventory": (),
        "good": Good(number=1, commit="", spec_hash="", document={}, manifests={}),
    }
    return Record(**(fields | more))


def recorded(result: PlacementResult, request: PlacementRequest, version: int = 2) -> dict[AgentName, Record]:
    """The records after everything in `result` was applied."""
    records: dict[AgentName, Record] = {}
    for key, placed in result.placed.items():
        where = {share.cluster: share.replicas for share in placed}
        records[key] = record(request.agents[key], where, version=version, reservations=result.reservations[key])
    return records


def cluster(text: str, *, weight: int = 1, **labels: str) -> ClusterDeclaration:
    return ClusterDeclaration(name=text, backend=EmbeddedCluster(), labels=labels, weight=weight)


def node(text: str = "n1", *, cpu: str = "4", memory: str = "8Gi", **free: str) -> NodeCapacity:
    allocatable = {"cpu": Quantity.parse(cpu), "memory": Quantity.parse(memory)}
    left = allocatable | {key: Quantity.parse(value) for key, value in free.items()}
    return NodeCapacity(name=text, allocatable=allocatable, free=left)


def capacity(*nodes: NodeCapacity) -> Found[Capacity]:
    return Found(Capacity(nodes=nodes or (node(),)))


def request(*agents: Agent, **more: Any) -> PlacementRequest:
    """One cluster `local` with one node of 4 cpu and 8Gi, unless said otherwise."""
    clusters = more.pop("clusters", (cluster("local"),))
    capacities = {each.name: capacity() for each in clusters} | more.pop("capacities", {})
    records = more.pop("records", {})
    if not isinstance(records, dict):
        records = {each.name: each for each in records}
    return PlacementRequest(
        agents={each.name: each for each in agents}, clusters=clusters, capacities=capacities, records=records, **more
    )


def where(result: PlacementResult, text: str) -> dict[str, int] | None:
    """Replicas by cluster, None where the agent is placed nowhere."""
    placed = result.placed.get(name(text))
    return None if placed is None else {share.cluster: share.replicas for share in placed}
