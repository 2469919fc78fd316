"""The shipped rights on a real control plane: a fleet lives its whole life with them, the server grants nothing beside
them, and without any single one something stops, with the refusal in the words that people get.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.engine.rollout import POD_KINDS
from reconciler.engine.run import describe
from reconciler.engine.sweep import sweep
from reconciler.model.errors import NotAllowed
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.health import HealthState
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import RENDERED_KINDS, Found, LogOptions, Scope, Unreadable
from reconciler.model.plan import Action, Policy
from reconciler.model.recovery import Ended
from reconciler.ports import Cluster
from tests.controlplane.plane import ControlPlane, KubectlFailed
from tests.deploy.accounts import Accounts, allowed, granted, wait_until_granted
from tests.deploy.life import AccountFleet, Asked, recorded, restart
from tests.deploy.shipped import BASE, CHART, One, kustomized, only, rights_of, singly
from tests.doubles.metrics_api import MetricsApi
from tests.doubles.prober import TableProber
from tests.engine.fleets import plan_of
from tests.helm.helm import Helm
from tests.multicluster.fleets import SERVICE_EXPORTS

pytestmark = pytest.mark.controlplane

ALL = singly()
OBJECTS = list(dict.fromkeys((one.group, one.resource) for one in ALL if one.verb == "create"))
"""What we make, in the order of application."""
WITHIN_S = 30


@pytest.fixture(scope="module")
def exporting(control_plane: ControlPlane) -> Iterator[None]:
    """The plane serves every kind that we render, for as long as these tests run."""
    crd = f"crd/{SERVICE_EXPORTS['metadata']['name']}"
    control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump(SERVICE_EXPORTS))
    control_plane.kubectl("wait", "--for=condition=Established", crd, "--timeout=30s")
    control_plane.wait_for("the API of ServiceExports", lambda: _serves_exports(control_plane))
    yield
    control_plane.kubectl("delete", crd)
    control_plane.wait_for("an end of ServiceExports", lambda: not _serves_exports(control_plane))


def _serves_exports(plane: ControlPlane) -> bool:
    groups = plane.api.json("GET", "/apis")["groups"]
    return SERVICE_EXPORTS["spec"]["group"] in {group["name"] for group in groups}


@contextlib.contextmanager
def installed(plane: ControlPlane, objects: list[Any]) -> Iterator[Path]:
    """The kubeconfig of the account that these objects make, with what they grant and nothing else."""
    content = yaml.safe_dump_all(objects)
    plane.kubectl("apply", "-f", "-", input=content)
    try:
        account = only(objects, "ServiceAccount")["metadata"]
        name, where = account["name"], account["namespace"]
        wait_until_granted(plane, where, name, rights_of(only(objects, "ClusterRole")))
        yield plane.service_account_kubeconfig(where, name)
    finally:
        plane.kubectl("delete", "--wait=false", "-f", "-", input=content)


@pytest.fixture(scope="module")
def shipped(control_plane: ControlPlane) -> Iterator[Path]:
    """The account that `kubectl apply -k` makes."""
    with installed(control_plane, kustomized(BASE)) as account:
        yield account


@pytest.fixture
def accounts(control_plane: ControlPlane, namespace: str) -> Iterator[Accounts]:
    made = Accounts(control_plane, namespace)
    yield made
    made.forget()


@pytest.fixture
def fleet(control_plane: ControlPlane, namespace: str, exporting: None, tmp_path: Path) -> AccountFleet:
    return AccountFleet(tmp_path / "fleet", control_plane, namespace)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return recorded(monkeypatch)


THEIRS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: theirs}
spec:
  replicas: 1
  selector: {matchLabels: {agents.codevald.io/agent: theirs}}
  template:
    metadata: {labels: {agents.codevald.io/agent: theirs}}
    spec: {containers: [{name: agent, image: "acme/agent:1"}]}
"""
MANY = [f"agent-{number}" for number in range(9)]
FRUGAL = "  health: {checks: [{name: memory, resources: {memory: 90%}}]}\n"


async def test_a_fleet_lives_its_whole_life_with_what_is_shipped_and_uses_all_of_it(
    control_plane: ControlPlane,
    metrics_api: MetricsApi,
    namespace: str,
    shipped: Path,
    fleet: AccountFleet,
    asked: Asked,
):
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", input=THEIRS)
    for name in ("auto", "theirs", *MANY):
        metrics_api.use(namespace, name, cpu="1m", memory="1Mi")
    fleet.declare({"auto": fleet.everything(), "theirs": "  adopt: true\n", **dict.fromkeys(MANY, FRUGAL)})
    async with fleet.as_account(shipped) as session:
        await done(
            fleet, session, {"auto": Action.CREATE, "theirs": Action.ADOPT, **dict.fromkeys(MANY, Action.CREATE)}
        )
        fleet.declare({"auto": fleet.everything()}, image="acme/agent:2")
        fleet.declare({MANY[0]: f"  replicas: 3\n{FRUGAL}"})
        await done(fleet, session, {"auto": Action.UPDATE, MANY[0]: Action.SCALE})
        plan = await plan_of(session)
        assert (plan.changes, plan.holds) == ((), ())
        assert not [item for item in plan.completeness if item.problem]

        stores, cluster = await fleet.cluster(session)
        agents = await fleet.agents(session)
        found = await sweep(stores, agents, TableProber(), session.clock, previous={}, at_once=True)
        assert not found.unreadable
        assert {one.state for one in found.assessments.values()} == {HealthState.HEALTHY}
        usage = await cluster.usage(Scope(namespaces=frozenset({namespace})))
        assert isinstance(usage, Found)
        assert len(usage.value.pods) == len(control_plane.pods(namespace))
        assert await log_of(cluster, control_plane, namespace)

        metrics_api.use(namespace, MANY[1], cpu="1m", memory="31Mi")
        mended = await restart(fleet, session, MANY[1])
        assert (mended.how, mended.text[:20]) == (Ended.DONE, "1 pod started anew o")

        everybody = ("auto", "theirs", *MANY)
        fleet.leave(*everybody)
        await done(fleet, session, dict.fromkeys(everybody, Action.DELETE), policy=Policy(allow_empty=True))
    assert not asked.refused
    assert sorted(asked.used) == sorted(ALL), "no right that is not used, none used that is not shipped"


async def done(fleet: AccountFleet, session: Any, wanted: dict[str, Action], **options: Any) -> None:
    """Plan and apply: these changes, and all to their end."""
    events = await fleet.apply(session, **options)
    assert {name: (event.action, event.outcome, event.reason) for name, event in events.items()} == {
        name: (action, Outcome.APPLIED, "") for name, action in wanted.items()
    }


async def log_of(cluster: Cluster, plane: ControlPlane, namespace: str) -> list[str]:
    ref = ObjectRef(group="", kind="Pod", namespace=namespace, name=plane.pods(namespace)[0]["metadata"]["name"])
    return [line async for line in cluster.logs(ref, LogOptions(tail=3))]


@pytest.mark.helm
def test_of_the_chart_and_of_kustomize_the_server_grants_the_table_and_nothing_beside_it(
    control_plane: ControlPlane, namespace: str, shipped: Path, accounts: Accounts, helm: Helm
):
    anybody = granted(control_plane, accounts.kubeconfig("nobody", []), namespace)
    assert granted(control_plane, shipped, namespace) - anybody == set(ALL)
    with installed(control_plane, helm.template(CHART, namespace=namespace)) as by_chart:
        assert granted(control_plane, by_chart, namespace) - anybody == set(ALL)
    assert {one.verb for one in anybody} == {"create"}, "reviews of oneself, and no more"


FORBIDDEN = [
    *(One("", "secrets", verb) for verb in ("get", "list", "watch", "create", "patch", "update", "delete")),
    *(One("", f"pods/{how}", verb) for how in ("exec", "attach", "portforward") for verb in ("get", "create")),
    *(One("", "pods", verb) for verb in ("create", "patch", "deletecollection")),
    *(One("", "nodes/proxy", verb) for verb in ("get", "create")),
    *(One("", "nodes", verb) for verb in ("get", "patch", "delete")),
    *(One("", "services/proxy", verb) for verb in ("get", "create")),
    *(One("", "namespaces", verb) for verb in ("list", "watch", "create", "patch", "delete")),
    One("", "namespaces", "get", "default"),
    One("", "serviceaccounts/token", "create"),
    *(One("", who, "impersonate") for who in ("users", "groups", "serviceaccounts")),
    *(
        One("rbac.authorization.k8s.io", kind, verb)
        for kind in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
        for verb in ("get", "list", "create", "patch", "update", "bind", "escalate")
    ),
    *(One("apps", kind, "create") for kind in ("daemonsets", "statefulsets", "replicasets")),
    *(One("batch", kind, "create") for kind in ("jobs", "cronjobs")),
    *(One("apps", "deployments", verb) for verb in ("update", "deletecollection")),
    One("certificates.k8s.io", "certificatesigningrequests", "create"),
    One("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "create"),
    One("*", "*", "get"),
]


def test_the_shipped_account_may_neither_read_secrets_nor_gain_rights_nor_enter_pods(
    control_plane: ControlPlane, namespace: str, shipped: Path
):
    for where in ("kube-system", namespace, ""):
        assert allowed(control_plane, shipped, FORBIDDEN, where) == set()
    assert allowed(control_plane, shipped, ALL, "") == set(ALL), "it is not that all is denied"


def test_the_shipped_account_gets_no_secret_out_of_the_server(
    control_plane: ControlPlane, namespace: str, shipped: Path
):
    control_plane.kubectl("create", "secret", "generic", "key", "--from-literal=k=v", "-n", namespace)
    for arguments in (("secrets", "-A"), ("secret", "key", "-n", namespace), ("secrets", "-n", namespace, "--watch")):
        with pytest.raises(KubectlFailed, match="forbidden"):
            control_plane.kubectl("get", *arguments, kubeconfig=shipped)


MAKING = ("get", "create", "patch")


async def test_without_a_right_to_make_an_object_the_creation_stops_there_and_goes_on_with_it(
    control_plane: ControlPlane, namespace: str, fleet: AccountFleet, accounts: Accounts
):
    """Kind by kind in the order of application; each time, what comes before it has been made."""
    steps = [One(*kind, verb) for kind in OBJECTS for verb in MAKING]
    fleet.declare({"auto": fleet.everything()})
    for step in steps:
        event = (await try_without(step, fleet, accounts))["auto"]
        assert_refused(event, step)
        assert made(control_plane, namespace) == OBJECTS[: OBJECTS.index((step.group, step.resource))]
    whole = accounts.kubeconfig("whole", ALL)
    async with fleet.as_account(whole) as session:
        assert (await fleet.apply(session))["auto"].outcome is Outcome.APPLIED
    assert made(control_plane, namespace) == OBJECTS


async def test_without_the_right_to_delete_a_kind_its_object_stays_and_is_told_until_the_right_is_there(
    control_plane: ControlPlane, namespace: str, fleet: AccountFleet, accounts: Accounts
):
    """An agent for each kind. What may be deleted goes, and who comes later with the right deletes the rest."""
    steps = {f"{resource[:-1]}-agent": One(group, resource, "delete") for group, resource in OBJECTS}
    fleet.declare(dict.fromkeys(steps, fleet.everything()))
    whole = accounts.kubeconfig("whole", ALL)
    async with fleet.as_account(whole) as session:
        await done(fleet, session, dict.fromkeys(steps, Action.CREATE))
    for name, step in steps.items():
        fleet.leave(name)
        event = (await try_without(step, fleet, accounts))[name]
        assert_refused(event, step)
        assert made(control_plane, namespace, name) == [(step.group, step.resource)]
    async with fleet.as_account(whole) as session:
        await fleet.apply(session, policy=Policy(allow_empty=True))
    assert [made(control_plane, namespace, name) for name in steps] == [[] for _ in steps]


async def try_without(missing: One, fleet: AccountFleet, accounts: Accounts) -> dict[str, ChangeFinished]:
    async with fleet.as_account(accounts.lacking(missing)) as session:
        return await fleet.apply(session, policy=Policy(allow_empty=True))


def assert_refused(event: ChangeFinished, missing: One) -> None:
    assert event.outcome is Outcome.FAILED
    assert_told(event.reason, missing)


def assert_told(text: str, missing: One) -> None:
    """The API server's words for a right that lacks, and what to do, have reached people."""
    assert f'cannot {missing.verb} resource "{missing.resource}" in API group "{missing.group}"' in text
    assert "grant it in RBAC: docs/kubernetes.md lists what is needed" in text


def made(plane: ControlPlane, namespace: str, name: str = "auto") -> list[tuple[str, str]]:
    """Kinds of which there is an object of the agent, in the order of application."""
    kinds = ",".join(f"{resource}.{group}".rstrip(".") for group, resource in OBJECTS)
    items = plane.get(kinds, "-n", namespace, "-l", f"agents.codevald.io/agent={name}")["items"]
    found = {(item["apiVersion"].rpartition("/")[0], f"{item['kind'].lower()}s") for item in items}
    return [kind for kind in OBJECTS if kind in found]


PLANNED = [
    *(One(*kind, "list") for kind in OBJECTS),
    One("", "pods", "list"),
    One("", "nodes", "list"),
    One("", "namespaces", "get", "kube-system"),
]
"""Without one of these a plan does not see what it would have to."""
LOOKED = [One("", "pods", "get"), One("", "pods/log", "get"), One("metrics.k8s.io", "pods", "list")]
"""Without one of these people are shown less."""
MENDED = One("", "pods", "delete")
"""Without it an agent that is ill stays so, and is told to people."""
FOLLOWED = [one for one in ALL if one.verb == "watch"]
"""Without one of these all is done, and each look costs a request."""


def test_there_is_no_right_of_which_nobody_knows_what_would_stop_without_it():
    made_with = [One(*kind, verb) for kind in OBJECTS for verb in (*MAKING, "delete")]
    assert sorted([*made_with, *PLANNED, *LOOKED, *FOLLOWED, MENDED]) == sorted(ALL)


@pytest.mark.parametrize("missing", PLANNED, ids=str)
async def test_without_a_right_to_see_all_nothing_is_planned_and_the_plan_says_why(
    missing: One, fleet: AccountFleet, accounts: Accounts
):
    pinned = missing not in [One(*kind, "list") for kind in OBJECTS]  # else it would be made on the spare cluster
    fleet.declare({"auto": "" if pinned else fleet.everything()})
    async with fleet.as_account(accounts.lacking(missing)) as session:
        plan = await plan_of(session)
    assert plan.changes == ()
    (hold,) = plan.holds
    assert hold.blocks_exit
    assert_told(hold.text, missing)


async def test_without_a_right_to_look_closely_logs_and_measures_are_refused_with_the_reason(
    control_plane: ControlPlane,
    metrics_api: MetricsApi,
    namespace: str,
    fleet: AccountFleet,
    accounts: Accounts,
):
    metrics_api.use(namespace, "auto", cpu="1m", memory="1Mi")
    fleet.declare({"auto": ""})
    async with fleet.as_account(accounts.kubeconfig("whole", ALL)) as session:
        await done(fleet, session, {"auto": Action.CREATE})
        assert await log_of((await fleet.cluster(session))[1], control_plane, namespace)
    for missing in LOOKED:
        async with fleet.as_account(accounts.lacking(missing)) as session:
            _stores, cluster = await fleet.cluster(session)
            if missing.group:
                usage = await cluster.usage(Scope(namespaces=frozenset({namespace})))
                assert isinstance(usage, Unreadable)
                assert usage.refused
                assert_told(usage.reason, missing)
                continue
            with pytest.raises(NotAllowed) as refused:
                await log_of(cluster, control_plane, namespace)
            assert_told(describe(refused.value), missing)


async def test_without_the_right_to_delete_pods_a_remedy_fails_with_the_reason_and_nothing_is_broken(
    control_plane: ControlPlane, metrics_api: MetricsApi, namespace: str, fleet: AccountFleet, accounts: Accounts
):
    fleet.declare({"auto": FRUGAL})
    async with fleet.as_account(accounts.kubeconfig("whole", ALL)) as session:
        await done(fleet, session, {"auto": Action.CREATE})
    metrics_api.use(namespace, "auto", cpu="1m", memory="31Mi")
    before = control_plane.pods(namespace)[0]["metadata"]["uid"]
    async with fleet.as_account(accounts.lacking(MENDED)) as session:
        refused = await restart(fleet, session, "auto")
        assert refused.how is Ended.FAILED
        assert_told(refused.text, MENDED)
        assert [pod["metadata"]["uid"] for pod in control_plane.pods(namespace)] == [before]
        assert (await plan_of(session)).changes == ()
    async with fleet.as_account(accounts.kubeconfig("again", ALL)) as session:
        assert (await restart(fleet, session, "auto")).how is Ended.DONE


async def test_without_the_right_to_watch_a_kind_every_look_at_it_costs_a_request(
    namespace: str, fleet: AccountFleet, accounts: Accounts, asked: Asked
):
    """With all of them a look costs none: what is known is kept up by what the server tells."""
    scope = Scope(kinds=(*RENDERED_KINDS, *POD_KINDS), namespaces=frozenset({namespace}))

    async def costs(account: Path, missing: One | None) -> set[One]:
        """What a look asks for once all that can be followed is."""
        least = set() if missing is None else {missing._replace(verb="list")}
        async with fleet.as_account(account) as session:
            _stores, cluster = await fleet.cluster(session)
            listening = asyncio.ensure_future(anext(cluster.changes(Scope(kinds=scope.kinds))))
            asked.refused.clear()
            async with asyncio.timeout(WITHIN_S):
                while True:
                    told = missing is None or missing in asked.refused
                    asked.used.clear()
                    assert isinstance(await cluster.observe(scope), Found)
                    seen = {one for one in asked.used if one.verb != "watch"}
                    if told and seen <= least:
                        break
                    await asyncio.sleep(0.02)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            return seen

    assert await costs(accounts.kubeconfig("whole", ALL), None) == set()
    for missing in FOLLOWED:
        assert await costs(accounts.lacking(missing), missing) == {missing._replace(verb="list")}
