"""The shipped rights on a real control plane: a fleet lives its whole life with them, and needs every one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.adapters.kubernetes import transport as transports
from reconciler.engine.observe import observe
from reconciler.engine.sweep import sweep
from reconciler.model.errors import ReconcilerError
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import OPTIONAL_KINDS, Found, LogOptions, Scope
from reconciler.model.plan import Policy
from tests.controlplane.plane import ControlPlane, KubectlFailed
from tests.deploy.shipped import BASE, One, kustomized, only, rules_of, singly
from tests.doubles.metrics_api import MetricsApi
from tests.doubles.prober import TableProber
from tests.engine.fleets import FleetRepo, _fleet, agent, applied, finished, plan_of

pytestmark = pytest.mark.controlplane

OPTIONAL = {group for group, _, _ in OPTIONAL_KINDS}
NEEDED = [one for one in singly() if one.group not in OPTIONAL]
"""Where no optional API is installed, its rights are not used."""
ACCOUNT = "reconciler"


class AccountFleet(FleetRepo):
    """A fleet whose one cluster is reached as a service account; its agents live in one namespace."""

    def __init__(self, root: Path, plane: ControlPlane, namespace: str, kubeconfig: Path) -> None:
        clusters = f"    - {{name: {plane.name}, kubernetes: {{kubeconfig: {kubeconfig}, context: {plane.name}}}}}\n"
        super().__init__(
            root,
            f"apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {{name: {namespace}}}\nspec:\n"
            f"  deletions: {{max: 100, percent: 100}}\n  clusters:\n{clusters}",
        )
        self.plane, self.namespace = plane, namespace

    def declare(self, names: list[str], *, image: str, replicas: int) -> None:
        """Commit these agents, one of them autoscaled."""
        files = {}
        for name in names:
            body = (
                "  systemMessage: Be brief.\n"
                "  ports: [{name: http, port: 8080}]\n"
                "  resources: {requests: {cpu: 100m, memory: 32Mi}}\n"
                "  rollout: {timeout: 90s}\n"
            )
            scaled = "  autoscaling: {min: 2, max: 4, metrics: [{cpu: 50%}]}\n"
            body += scaled if name == "auto" else f"  replicas: {replicas}\n"
            files[f"agents/{name}.yaml"] = agent(name, body, namespace=self.namespace, image=image)
        self.commit(files)


async def life(fleet: AccountFleet, names: list[str]) -> dict[str, Any]:
    """Create agents, update and scale them, look at them, read a log, delete them all; what was seen at each step."""
    seen: dict[str, Any] = {}
    fleet.declare(names, image="acme/agent:1", replicas=2)
    async with await fleet.session() as session:
        declared = (await _fleet(session)).fleet
        assert declared is not None
        stores = await session.stores(declared)
        sight = (await observe(stores, Scope())).clusters[fleet.plane.name]
        seen["identity"] = isinstance(sight.identity, Found)
        seen["capacity"] = isinstance(sight.capacity, Found)
        seen["unreadable"] = sorted(sight.live.value.unreadable) if isinstance(sight.live, Found) else "all"
        seen["create"] = _told(await applied(session))
        fleet.declare(names, image="acme/agent:2", replicas=3)
        seen["update"] = _told(await applied(session))
        seen["no more changes"] = not (await plan_of(session)).changes
        agents = (await _fleet(session)).agents
        found = await sweep(stores, agents, TableProber(), session.clock, previous={}, at_once=True)
        seen["health"] = sorted((name.name, one.state.value) for name, one in found.assessments.items())
        usage = await stores.clusters[fleet.plane.name].usage(Scope(namespaces=frozenset({fleet.namespace})))
        seen["usage"] = isinstance(usage, Found) and len(usage.value.pods) > 0
        seen["log"] = await _log(fleet, stores.clusters[fleet.plane.name])
        fleet.commit({f"agents/{name}.yaml": None for name in names})
        seen["delete"] = _told(await applied(session, policy=Policy(allow_empty=True)))
    return seen


def _told(events: list[Any]) -> list[tuple[str, str]]:
    return sorted((name.rpartition("/")[2], event.outcome.value) for name, event in finished(events).items())


async def _log(fleet: AccountFleet, cluster: Any) -> bool:
    """Whether a log of any pod can be read."""
    pods = fleet.plane.pods(fleet.namespace)
    if not pods:
        return False
    ref = ObjectRef(group="", kind="Pod", namespace=fleet.namespace, name=pods[0]["metadata"]["name"])
    try:
        return bool([line async for line in cluster.logs(ref, LogOptions(tail=3))])
    except ReconcilerError:
        return False


@pytest.fixture(scope="module")
def shipped_account(control_plane: ControlPlane):
    """The kubeconfig of the account that the kustomize base makes, with what it grants and nothing else."""
    objects = kustomized(BASE)
    control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
    where = only(objects, "Namespace")["metadata"]["name"]
    yield control_plane.service_account_kubeconfig(where, ACCOUNT)
    control_plane.kubectl("delete", "--wait=false", "-f", "-", input=yaml.safe_dump_all(objects))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[One]:
    """Every right that requests of ours have used, as the API server's authorizer sees them."""
    used: set[One] = set()

    class Recording(transports.Transport):
        async def call(self, request, **options):
            used.update(_rights(request))
            reply = await super().call(request, **options)
            if request.method == "PATCH" and reply.code == 201:
                used.update(one._replace(verb="create") for one in _rights(request))
            return reply

        def stream(self, request, **options):
            used.update(_rights(request))
            return super().stream(request, **options)

    monkeypatch.setattr(transports, "Transport", Recording)
    return used


def _rights(request: transports.Request) -> list[One]:
    """The right that a request needs; none for what everybody may ask, as the version."""
    head, *steps = request.path.strip("/").split("/")
    if head not in ("api", "apis") or len(steps) < 2:
        return []
    group, steps = ("", steps[1:]) if head == "api" else (steps[0], steps[2:])
    if not steps:
        return []
    if steps[0] == "namespaces" and len(steps) > 2:
        steps = steps[2:]
    resource, *rest = steps
    watching = (request.query or {}).get("watch") == "1"
    reading = "watch" if watching else "get" if rest else "list"
    verb = {"GET": reading, "PATCH": "patch", "DELETE": "delete"}[request.method]
    name = rest[0] if resource == "namespaces" else ""
    return [One(group, "/".join([resource, *rest[1:]]), verb, name)]


MANY = ["auto", *(f"agent-{number}" for number in range(10))]


@pytest.fixture(autouse=True)
def measured(metrics_api: MetricsApi, namespace: str) -> None:
    """Let the metrics API know what pods use, too little for the autoscaler to act on."""
    for name in MANY:
        metrics_api.use(namespace, name, cpu="1m", memory="1Mi")
    metrics_api.use(namespace, "web", cpu="1m", memory="1Mi")


async def test_a_fleet_lives_with_the_shipped_rights_and_uses_each(
    control_plane, metrics_api, namespace, shipped_account, asked, tmp_path
):
    seen = await life(AccountFleet(tmp_path / "fleet", control_plane, namespace, shipped_account), MANY)
    assert seen["create"] == [(name, "applied") for name in sorted(MANY)]
    assert seen["update"] == [(name, "applied") for name in sorted(MANY)]
    assert seen["delete"] == [(name, "applied") for name in sorted(MANY)]
    assert seen["unreadable"] == []
    assert all(seen[step] for step in ("identity", "capacity", "no more changes", "usage", "log")), seen
    assert sorted(asked) == sorted(NEEDED), "no right that is not used, none used that is not in the table"


FORBIDDEN = [
    ("list", "secrets"),
    ("get", "secrets"),
    ("watch", "secrets"),
    ("create", "secrets"),
    ("create", "pods/exec"),
    ("create", "pods"),
    ("delete", "pods"),
    ("update", "deployments"),
    ("deletecollection", "deployments"),
    ("create", "clusterroles"),
    ("create", "rolebindings"),
    ("create", "serviceaccounts/token"),
    ("impersonate", "users"),
    ("create", "namespaces"),
    ("list", "namespaces"),
    ("patch", "nodes"),
    ("get", "*"),
]


@pytest.mark.parametrize(("verb", "resource"), FORBIDDEN)
def test_the_shipped_account_may_not(control_plane, shipped_account, verb, resource):
    assert not control_plane.allowed(verb, resource, "kube-system", kubeconfig=shipped_account)
    assert not control_plane.allowed(verb, resource, "default", kubeconfig=shipped_account)


def test_the_shipped_account_gets_no_secret_from_the_server(control_plane, namespace, shipped_account):
    control_plane.kubectl("create", "secret", "generic", "key", "--from-literal=k=v", "-n", namespace)
    for arguments in (("secrets", "-A"), ("secret", "key", "-n", namespace), ("secrets", "-n", namespace, "--watch")):
        with pytest.raises(KubectlFailed, match="forbidden"):
            control_plane.kubectl("get", *arguments, kubeconfig=shipped_account)


def account_with(plane: ControlPlane, namespace: str, rights: list[One]) -> Path:
    """An account that may do exactly that, everywhere."""
    name = f"partly-{namespace}"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    made = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}},
        {**role, "rules": rules_of(rights)},
        {**role, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]},
    ]
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
    plane.kubectl("apply", "-f", "-", input=content)
    return plane.service_account_kubeconfig(namespace, ACCOUNT)


FEW = ["auto", "web"]
WELL = {
    "identity": True,
    "capacity": True,
    "unreadable": [],
    "create": [("auto", "applied"), ("web", "applied")],
    "update": [("auto", "applied"), ("web", "applied")],
    "no more changes": True,
    "usage": True,
    "log": True,
    "delete": [("auto", "applied"), ("web", "applied")],
}
QUIETLY = "watch"
"""Without it nothing fails: what is not told is asked for, at the price of requests."""


@pytest.mark.parametrize("missing", [one for one in NEEDED if one.verb != QUIETLY], ids=str)
async def test_without_any_single_right_something_fails_and_is_seen(
    control_plane, metrics_api, namespace, tmp_path, missing
):
    account = account_with(control_plane, namespace, [one for one in NEEDED if one != missing])
    fleet = AccountFleet(tmp_path / "fleet", control_plane, namespace, account)
    seen = await life(fleet, FEW)
    assert {key: seen[key] for key in WELL} != WELL


async def test_with_all_of_them_nothing_fails(control_plane, metrics_api, namespace, tmp_path):
    account = account_with(control_plane, namespace, NEEDED)
    seen = await life(AccountFleet(tmp_path / "fleet", control_plane, namespace, account), FEW)
    assert {key: seen[key] for key in WELL} == WELL
