"""A fleet on a real control plane behind a proxy, whose commits are applied with faults and judged by what is there.

A world goes from one state to another and back, again and again: each way is one apply, so that every replay starts
from what the one before has left, and what survives all of them must be the very same objects all along.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.kubernetes.cluster import KubernetesCluster
from reconciler.adapters.kubernetes.connection import Login
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import compute_plan
from reconciler.engine.world import Retry, Stores
from reconciler.model.errors import ReconcilerError
from reconciler.model.events import ApplyEvent
from reconciler.model.plan import Plan, Policy
from reconciler.ports import Registry
from tests.controlplane import kubeconfig
from tests.controlplane.pki import Authority
from tests.controlplane.plane import ControlPlane
from tests.doubles.fault_proxy import Exchange, Fault, FaultProxy
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld, open_registry
from tests.faults.ledger import KINDS, Key, Ledger

ACCOUNT, ACCOUNT_IN = "reconciler", "kube-system"
CLUSTER = "real"
RETRY = Retry(jitter=lambda: 0.5, first_s=0.05)
MOST_PASSES = 3
"""After the apply with a fault: it must be quiet after these."""
RIGHTS: Mapping[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "fault-harness"},
    "rules": [
        {"apiGroups": [""], "resources": ["nodes", "namespaces", "pods"], "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": ["", "apps", "policy", "autoscaling"],
            "resources": [path.rpartition("}")[2] for path in KINDS.values()],
            "verbs": ["get", "list", "watch", "create", "patch", "delete"],
        },
    ],
}


def fleet_yaml(name: str, kubeconfig_path: str) -> str:
    return (
        f"apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {{name: {name}}}\nspec:\n"
        "  deletions: {max: 100, percent: 100}\n"
        f"  clusters: [{{name: {CLUSTER}, kubernetes: {{kubeconfig: {kubeconfig_path}}}}}]\n"
    )


def agent_yaml(namespace: str, name: str, *, tag: str = "1", replicas: int = 1, after: str = "") -> str:
    depends = f"  dependsOn: [{namespace}/{after}]\n" if after else ""
    return (
        "apiVersion: agents.codevald.io/v1\nkind: Agent\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  description: {name}\n  image: acme/{name}:{tag}\n  replicas: {replicas}\n"
        f"  systemMessage: of {tag}\n  ports: [{{name: http, port: 8080}}]\n{depends}"
    )


@dataclass(slots=True)
class Harness:
    """What the worlds of one test share: a plane, an account with its rights there, a ledger of what happens."""

    plane: ControlPlane
    authority: Authority
    ledger: Ledger
    trusting: ssl.SSLContext
    showing: ssl.SSLContext
    token: str
    folder: Path
    made: int = 0

    def proxy(self, *, tls: bool) -> FaultProxy:
        """A proxy to the plane, not started yet."""
        return FaultProxy(self.plane.url, self.trusting, self.showing if tls else None)

    def kubeconfig(self, proxy: FaultProxy | None, user: Mapping[str, str] | None = None) -> Path:
        """A kubeconfig that leads to the plane, through the proxy where there is one."""
        self.made += 1
        url = proxy.url if proxy else self.plane.url
        authority = base64.b64encode(self.plane._layout.authority.read_bytes()).decode()
        authority = self.authority.encoded() if proxy else authority
        content = kubeconfig.document(name=CLUSTER, url=url, authority=authority, user=user or {"token": self.token})
        return kubeconfig.write(self.folder / f"{self.made}.kubeconfig", content)


@asynccontextmanager
async def harness(plane: ControlPlane, folder: Path) -> AsyncIterator[Harness]:
    """Prepare a plane for faults: an account that may do what we need and no more."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority.make(folder / "pki")
    trusting = ssl.create_default_context(cafile=str(plane._layout.authority))
    trusting.load_cert_chain(plane._layout.identity.certificate, plane._layout.identity.key)
    passing_on = ssl.create_default_context(cafile=str(plane._layout.authority))
    shown = authority.issue("proxy", name="proxy", server=True)
    showing = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    showing.load_cert_chain(shown.certificate, shown.key)
    await asyncio.to_thread(_prepare, plane)
    token = await asyncio.to_thread(plane.service_account_token, ACCOUNT_IN, ACCOUNT)
    async with Ledger(plane, trusting) as ledger:
        yield Harness(plane, authority, ledger, passing_on, showing, token, folder)


def _prepare(plane: ControlPlane) -> None:
    from tests.controlplane.api import Refused

    account = {"metadata": {"name": ACCOUNT, "namespace": ACCOUNT_IN}}
    binding = {
        "metadata": {"name": "fault-harness"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fault-harness"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": ACCOUNT_IN}],
    }
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for path, body in (
        (f"/api/v1/namespaces/{ACCOUNT_IN}/serviceaccounts", account),
        (f"{rbac}/clusterroles", RIGHTS),
        (f"{rbac}/clusterrolebindings", binding),
    ):
        with contextlib.suppress(Refused):  # it is there from another test: what it may is seen soon enough
            plane.api.json("POST", path, body)


Files = Mapping[str, str | None]


class PlaneWorld:
    """One fleet in a namespace of its own; `state` 0 and 1 are commits, and `go` applies the way between."""

    straight: GivenWorld
    """A process that speaks to the server without the proxy, and never fails."""

    def __init__(self, harness: Harness, namespace: str, proxy: FaultProxy, registry: Registry) -> None:
        self.harness, self.namespace, self.proxy, self.registry = harness, namespace, proxy, registry
        self.source = MemorySource()
        self.kubeconfig = harness.kubeconfig(proxy)
        self.files: dict[str, str] = {}
        self.passes = 0

    def commit(self, files: Files) -> None:
        """Commit agents by name."""
        named: dict[str, str | None] = {f"agents/{name}.yaml": text for name, text in files.items()}
        if not self.source.commits:
            named["fleet.yaml"] = fleet_yaml(self.namespace, str(self.kubeconfig))
        self.source.commit(named)

    @asynccontextmanager
    async def process(self, path: Path | None = None) -> AsyncIterator[GivenWorld]:
        """What a new process opens: its own connections, through the proxy unless another kubeconfig is given."""
        clock = SystemClock()
        cluster = KubernetesCluster(CLUSTER, Login(kubeconfig=str(path or self.kubeconfig)), clock)
        try:
            yield GivenWorld(self.source, clock, Stores(registry=self.registry, clusters={CLUSTER: cluster}))
        finally:
            await cluster.close()

    async def applied(self, world: GivenWorld) -> list[ApplyEvent]:
        """One pass."""
        plan = await compute_plan(world, policy=Policy())
        options = ApplyOptions(actor="harness", holder=f"pass {self.passes}", retry=RETRY)
        self.passes += 1
        return [event async for event in apply_plan(world, plan, options=options, stop=asyncio.Event())]

    async def pass_with_faults(self) -> None:
        """One pass that may fail."""
        async with self.process() as world:
            with contextlib.suppress(ReconcilerError):
                await self.applied(world)

    async def passes_until_quiet(self) -> int:
        """Passes without faults until nothing is left to do; how many it took. Fails where it takes too many."""
        for count in range(MOST_PASSES + 1):
            plan = await compute_plan(self.straight, policy=Policy())
            if await self._is_quiet(plan):
                return count
            assert count < MOST_PASSES, f"{self.namespace}: {[str(item) for item in plan.changes]}, {plan.holds}"
            await self.applied(self.straight)
        raise AssertionError("unreachable: the last pass is quiet or fails")

    async def _is_quiet(self, plan: Plan) -> bool:
        on_record = plan.on_record == plan.revision.commit
        return on_record and not plan.changes and not plan.holds and not await self.registry.open_journal()

    async def judge(self) -> None:
        """What holds of every end: the journal is closed, the audit is sound, and nothing came to be twice."""
        assert await self.registry.open_journal() == ()
        verdict = await self.registry.verify_audit()
        assert verdict.reason == "", verdict

    async def objects(self) -> dict[Key, Any]:
        """What is there, as the administrator sees it."""
        return await self.harness.ledger.objects(self.namespace)

    async def replica_sets(self) -> Counter[str]:
        """How many templates each Deployment has had."""
        listed = await self.harness.ledger.read(f"/apis/apps/v1/namespaces/{self.namespace}/replicasets")
        return Counter(one["metadata"]["ownerReferences"][0]["name"] for one in listed["items"])


@asynccontextmanager
async def plane_world(
    harness: Harness, name: str, registry_folder: Path, *, tls: bool = True
) -> AsyncIterator[PlaneWorld]:
    """A world with nothing in it yet, in a namespace that is deleted at the end."""
    plane = harness.plane
    await asyncio.to_thread(plane.create_namespace, name)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(harness.proxy(tls=tls))
        registry = await open_registry(registry_folder, SystemClock())
        stack.push_async_callback(registry.close)
        world = PlaneWorld(harness, name, proxy, registry)
        world.straight = await stack.enter_async_context(world.process(harness.kubeconfig(None)))
        yield world
    await asyncio.to_thread(plane.kubectl, "delete", "namespace", name, "--wait=false")


def shape(objects: Mapping[Key, Any]) -> dict[Key, Any]:
    """Objects without what differs from one to another of the same making."""
    made = {}
    for key, one in objects.items():
        marks = {name: value for name, value in one["metadata"].get("annotations", {}).items() if not _is_count(name)}
        spec = {name: value for name, value in one.get("spec", {}).items() if not name.startswith("clusterIP")}
        made[key] = (one["metadata"].get("labels"), marks, spec, one.get("data"))
    return made


def _is_count(annotation: str) -> bool:
    return annotation == "deployment.kubernetes.io/revision"


Boundary = tuple[str, str, int]
"""Method, path with the namespace left out, and how often it had come before."""


class Boundaries:
    """Names the requests of a run, so that the same one is found in another: order differs, what is asked does not.

    `roles` are the names of agents that stand for one another in different runs, and what to call them.
    """

    def __init__(self, namespace: str, roles: Mapping[str, str]) -> None:
        self._namespace = namespace
        self._roles = roles
        self._count: Counter[tuple[str, str]] = Counter()

    def name(self, exchange: Exchange) -> Boundary:
        path, _, last = exchange.path.replace(f"/{self._namespace}/", "/NAMESPACE/").rpartition("/")
        watch = "?watch" if exchange.watches else ""
        what = exchange.method, f"{path}/{self._roles.get(last, last)}{watch}"
        self._count[what] += 1
        return *what, self._count[what] - 1


class At:
    """A script that plays one fault at one boundary, `times` in a row where it is asked again."""

    def __init__(self, boundaries: Boundaries, boundary: Boundary, fault: Fault, *, times: int = 1) -> None:
        self._boundaries, self._at, self._fault, self._times = boundaries, boundary, fault, times
        self.played = 0

    def __call__(self, exchange: Exchange) -> Fault | None:
        method, path, count = self._boundaries.name(exchange)
        if (method, path) == self._at[:2] and self._at[2] <= count < self._at[2] + self._times:
            self.played += 1
            return self._fault
        return None
