"""One fleet on two real API servers: what people do to it, what happens to the servers, and what is there then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from reconciler.bootstrap import Session
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import compute_plan
from reconciler.engine.wellness import Noter
from reconciler.engine.world import Patience, Retry, Stores
from reconciler.model.events import ApplyEvent
from reconciler.model.fleet import FleetSpec
from reconciler.model.objects import OPTIONAL_KINDS, ClusterIdentity, Found, Observation, Unreadable
from reconciler.model.plan import Plan, Policy
from reconciler.model.registry import Record
from reconciler.ports import Clock, Cluster, Source
from tests.controlplane.api import Refused
from tests.controlplane.plane import ControlPlane
from tests.doubles.clock import ShiftedClock
from tests.engine.fleets import OPTIONS, FleetRepo, agent, record
from tests.kubernetes.fleets import fleet_on

EXPORTS = OPTIONAL_KINDS
SERVICE_EXPORTS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "serviceexports.multicluster.x-k8s.io", "annotations": {"api-approved.kubernetes.io": "test"}},
    "spec": {
        "group": "multicluster.x-k8s.io",
        "scope": "Namespaced",
        "names": {"plural": "serviceexports", "singular": "serviceexport", "kind": "ServiceExport"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                },
            }
        ],
    },
}
"""As much of the definition as its writers depend on."""
NOTER = Noter(actor="tester", retry=Retry(jitter=lambda: 0.0))


class Exporting:
    """A cluster of which is known that it serves ServiceExports; all else is as it is."""

    def __init__(self, inner: Cluster) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def identity(self) -> Observation[ClusterIdentity]:
        match await self._inner.identity():
            case Found(value=found):
                return Found(replace(found, apis=frozenset({f"{group}/{version}" for group, version, _ in EXPORTS})))
            case other:
                return other


class Impatient:
    """A session that waits for nobody for long. Clusters that are `exporting` are known to serve ServiceExports."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.exporting: set[str] = set()

    @property
    def source(self) -> Source:
        return self._session.source

    @property
    def clock(self) -> Clock:
        return self._session.clock

    async def stores(self, fleet: FleetSpec) -> Stores:
        stores = await self._session.stores(fleet)
        clusters = {
            name: cast("Cluster", Exporting(cluster))
            if name in self.exporting and not isinstance(cluster, Unreadable)
            else cluster
            for name, cluster in stores.clusters.items()
        }
        return replace(stores, clusters=clusters, patience=Patience(connect_s=3.0))


class TwoPlanes:
    """A fleet whose clusters are two control planes; its agents live in one namespace of both."""

    def __init__(self, repo: FleetRepo, world: Impatient, clock: ShiftedClock, planes: list[ControlPlane]) -> None:
        self.repo, self.world, self.clock, self.planes = repo, world, clock, planes
        self.first, self.second = planes
        self.namespace = ""

    def declare(self, name: str, placement: str, *, replicas: int = 4, image: str = "acme/agent:1") -> None:
        """Commit one agent."""
        body = f"  replicas: {replicas}\n  ports: [{{name: http, port: 8080}}]\n  placement: {{{placement}}}\n"
        self.repo.commit({f"agents/{name}.yaml": agent(name, body, namespace=self.namespace, image=image)})

    async def plan(self, policy: Policy | None = None) -> Plan:
        return await compute_plan(self.world, policy=policy or Policy())

    async def apply(self, policy: Policy | None = None) -> list[ApplyEvent]:
        """As `reconciler apply` does it. Nothing is ever planned where nothing can be read."""
        plan = await compute_plan(self.world, policy=policy or Policy(), noter=NOTER)
        dark = {item.source for item in plan.completeness if item.problem}
        assert not [item for change in plan.changes for item in change.objects if item.cluster in dark]
        return [event async for event in self.events(plan)]

    def events(self, plan: Plan) -> AsyncIterator[ApplyEvent]:
        return apply_plan(self.world, plan, options=OPTIONS, stop=asyncio.Event())

    async def record(self, name: str) -> Record:
        return await record(self.world, f"{self.namespace}/{name}")

    def ready(self, plane: ControlPlane, name: str) -> int:
        """Ready replicas of an agent as the API server has them; 0 where there is no Deployment."""
        items = plane.get("deployments", "-n", self.namespace)["items"]
        return sum(int(item["status"].get("readyReplicas", 0)) for item in items if item["metadata"]["name"] == name)

    def image(self, plane: ControlPlane, name: str) -> str:
        live = plane.get("deployment", name, "-n", self.namespace)
        return str(live["spec"]["template"]["spec"]["containers"][0]["image"])

    def serve_exports(self, *planes: ControlPlane) -> None:
        """Install the API for ServiceExports."""
        for plane in planes:
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            with contextlib.suppress(Refused):  # it is there from a test before
                plane.api.json("POST", path, SERVICE_EXPORTS)
            name = SERVICE_EXPORTS["metadata"]["name"]
            plane.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
            self.world.exporting.add(plane.name)

    def exports(self, plane: ControlPlane) -> set[str]:
        items = plane.get("serviceexports.multicluster.x-k8s.io", "-n", self.namespace)["items"]
        return {item["metadata"]["name"] for item in items}

    def is_empty(self, plane: ControlPlane) -> bool:
        """Whether nothing of the fleet is left on a plane, pods included."""
        kinds = "deployments,services,poddisruptionbudgets,pods"
        return not plane.get(kinds, "-n", self.namespace, "-l", "agents.codevald.io/agent")["items"]


@contextmanager
def gone(plane: ControlPlane, how: str) -> Iterator[None]:
    """Kill an API server, or stop it in its tracks, and bring it back at the end."""
    if how == "killed":
        plane.kill_api_server()
        try:
            yield
        finally:
            plane.start_api_server()
    else:
        plane.pause()
        try:
            yield
        finally:
            plane.resume()


@asynccontextmanager
async def two_planes(root: Path, planes: list[ControlPlane], namespace: str) -> AsyncIterator[TwoPlanes]:
    """A fleet in a namespace of its own; what it left behind is cleared away."""
    for plane in planes:
        plane.create_namespace(namespace)
    repo, clock = FleetRepo(root, fleet_on(*planes, name=namespace)), ShiftedClock()
    try:
        async with await repo.session(clock) as session:
            fleet = TwoPlanes(repo, Impatient(session), clock, planes)
            fleet.namespace = namespace
            yield fleet
    finally:
        for plane in planes:
            with contextlib.suppress(Exception):
                plane.kubectl("delete", "namespace", namespace, "--wait=false")


@contextmanager
def gone_when_told(plane: ControlPlane, how: str) -> Iterator[Callable[[], None]]:
    """Answers what makes an API server go, once; it is brought back at the end."""
    with contextlib.ExitStack() as stack:
        struck: list[str] = []

        def strike() -> None:
            if not struck:
                struck.append(how)
                stack.enter_context(gone(plane, how))

        yield strike
