"""Agents of any kind settle: a plan straight after an apply, and after each change of an agent, has nothing to do.

A real API server and the embedded cluster are told the same, and own, store and refuse the same. `SETTLE_EXAMPLES`
says how many agents are tried (25 where it does not).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.adapters.kubernetes.cluster import KubernetesCluster
from reconciler.adapters.kubernetes.connection import Login
from reconciler.model.agent import Agent, Resources
from reconciler.model.errors import Rejected
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState, LiveObject, Manifest
from reconciler.model.registry import PlacedReplicas
from reconciler.ports import Cluster
from reconciler.render import render
from tests.controlplane.plane import ControlPlane
from tests.drift.conftest import NAMESPACE
from tests.drift.settling import FLEET, comparable, differences, owned, settled, unlike
from tests.render.charts import any_agents

EXAMPLES = int(os.environ.get("SETTLE_EXAMPLES", "25"))
thorough = settings(
    max_examples=EXAMPLES,
    phases=set(Phase) - {Phase.shrink, Phase.explain},  # making one failure small takes minutes of requests
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)


@st.composite
def valid_agents(draw: st.DrawFn) -> Agent:
    """An agent as validation lets it through: what is requested is below its limit, and devices are whole."""
    agent = draw(any_agents())
    requests, limits = dict(agent.spec.resources.requests), dict(agent.spec.resources.limits)
    for name in requests.keys() & limits.keys():
        requests[name], limits[name] = sorted((requests[name], limits[name]))
    limits = {name: amount for name, amount in limits.items() if "/" not in name or amount.value.denominator == 1}
    return replace(agent, spec=replace(agent.spec, resources=Resources(requests=requests, limits=limits)))


lives = st.tuples(st.lists(valid_agents(), min_size=1, max_size=3), st.lists(st.integers(0, 3), min_size=3, max_size=3))


def manifests_of(agent: Agent, replicas: int) -> tuple[Manifest, ...]:
    placed = (PlacedReplicas(cluster="any", replicas=replicas),)
    return render(agent, placed, fleet=FLEET)["any"]


class Told:
    """What came of one life of an agent on one cluster: each object as it was stored, or that it was refused."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.there: dict[ObjectRef, LiveObject] = {}
        self.refused: list[tuple[int, ObjectRef]] = []

    async def live(self, stages: list[tuple[Manifest, ...]]) -> list[dict[ObjectRef, Any]]:
        """Apply one stage after the other, and take away at the end what is there."""
        found = []
        try:
            for number, manifests in enumerate(stages):
                await self._become(number, manifests)
                found.append({ref: (owned(one), comparable(one)) for ref, one in self.there.items()})
        finally:
            for ref in list(self.there):
                await self._delete(ref)
        return found

    async def _become(self, number: int, manifests: tuple[Manifest, ...]) -> None:
        for ref in self.there.keys() - {manifest.ref for manifest in manifests}:
            await self._delete(ref)
        for manifest in manifests:
            old = self.there.get(manifest.ref)
            if old is not None and _selector(old.body) != _selector(manifest.body):
                await self._delete(manifest.ref)  # a plan replaces it: nobody may change a selector
            try:
                live = await settled(self.cluster, manifest)
            except Rejected:
                self.refused.append((number, manifest.ref))
            else:
                assert list(unlike(manifest.body, live.body)) == []
                self.there[manifest.ref] = live

    async def _delete(self, ref: ObjectRef) -> None:
        await self.cluster.delete(ref, AnyState())
        self.there.pop(ref, None)


def _selector(body: Any) -> Any:
    return (body.get("spec") or {}).get("selector") if body["kind"] != "Service" else None


def staged(life: tuple[list[Agent], list[int]]) -> list[tuple[Manifest, ...]]:
    """One agent as it changes, and in how many replicas."""
    agents, counts = life
    name = AgentName(namespace=NAMESPACE, name=agents[0].name.name)
    return [manifests_of(replace(agent, name=name), count) for agent, count in zip(agents, counts, strict=False)]


def opened(folder: Path) -> EmbeddedCluster:
    return EmbeddedCluster.open("local", folder, run="processes", ensure_supervisor=lambda _: None)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


def test_agents_settle_on_the_embedded_cluster(runner, tmp_path, record_property):
    cluster = opened(tmp_path)

    @thorough
    @given(lives)
    def settle(life: tuple[list[Agent], list[int]]) -> None:
        told = Told(cluster)
        runner.run(told.live(staged(life)))
        record_property("settled", "agents on the embedded cluster")

    try:
        settle()
    finally:
        runner.run(cluster.close())


@pytest.mark.controlplane
def test_agents_settle_alike_on_both_clusters(runner, tmp_path, settling_plane: ControlPlane, record_property):
    here = opened(tmp_path)
    there = KubernetesCluster("real", Login(kubeconfig=str(settling_plane.kubeconfig)), SystemClock())

    @thorough
    @given(lives)
    def settle(life: tuple[list[Agent], list[int]]) -> None:
        real, embedded = Told(there), Told(here)
        stages = staged(life)
        seen, meant = runner.run(real.live(stages)), runner.run(embedded.live(stages))
        event(f"refused: {len(real.refused)}")
        assert embedded.refused == real.refused
        for one, other in zip(seen, meant, strict=True):
            assert list(differences(list(one.items()), list(other.items()))) == []
        record_property("settled", "agents on a real API server")

    try:
        settle()
    finally:
        runner.run(there.close())
        runner.run(here.close())
