"""What every cluster does, whatever is behind it: the Cluster port, and server-side apply as Kubernetes 1.36 behaves.

A back end joins with one fixture: add its name to BACK_ENDS, and a function that opens it in `back_end`. It needs
nothing that runs pods. `Hand` writes as other clients of the same cluster do, past the port.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.adapters.kubernetes.cluster import KubernetesCluster
from reconciler.adapters.kubernetes.connection import Login
from reconciler.model.errors import FieldConflict, PreconditionFailed, Rejected
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    OPTIONAL_KINDS,
    Absent,
    AnyState,
    Found,
    LiveObject,
    LogOptions,
    Manifest,
    MustBe,
    MustBeAbsent,
    Scope,
)
from reconciler.model.ownership import OwnedPath
from reconciler.ports import Cluster
from tests.controlplane.plane import ControlPlane

Body = dict[str, Any]
BACK_ENDS = ("embedded", pytest.param("kubernetes", marks=pytest.mark.controlplane))
NAMESPACES = ("team", "elsewhere")
CONTAINER = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"app"}')
"""The one container of `deployment`, in managedFields' terms."""


class Hand(Protocol):
    """Another client: `kubectl`, a controller, a person."""

    def edit(self, ref: ObjectRef, change: Callable[[Body], None], *, manager: str, subresource: str = "") -> None:
        """Read, change, replace (operation Update)."""


@dataclass(frozen=True)
class BackEnd:
    cluster: Cluster
    hand: Hand


class StoreHand:
    def __init__(self, path: Path) -> None:
        self._path = path

    def edit(self, ref: ObjectRef, change: Callable[[Body], None], *, manager: str, subresource: str = "") -> None:
        store = ObjectStore.open(self._path)
        try:
            body = store.get(ref)
            assert body is not None
            change(body)
            store.update(body, manager=manager, subresource=subresource)
        finally:
            store.close()


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[BackEnd]:
    cluster = EmbeddedCluster.open("local", folder, run="processes", ensure_supervisor=lambda _: None)
    try:
        yield BackEnd(cluster, StoreHand(folder / "cluster.db"))
    finally:
        await cluster.close()


class KubectlHand:
    """kubectl, under the names of other clients."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def edit(self, ref: ObjectRef, change: Callable[[Body], None], *, manager: str, subresource: str = "") -> None:
        where = ("-n", ref.namespace, ref.kind.lower(), ref.name)
        if subresource == "scale":
            scale: Body = {"spec": {}}
            change(scale)
            patch = ("--type=merge", "-p", json.dumps(scale))
            self._plane.kubectl("patch", *where, "--subresource=scale", f"--field-manager={manager}", *patch)
            return
        body = json.loads(self._plane.kubectl("get", *where, "-o", "json", "--show-managed-fields"))
        change(body)
        self._plane.kubectl("replace", f"--field-manager={manager}", "-f", "-", input=json.dumps(body))


@asynccontextmanager
async def kubernetes(plane: ControlPlane) -> AsyncIterator[BackEnd]:
    """The API server without controllers, emptied after each test."""
    login = Login(kubeconfig=str(plane.kubeconfig))
    cluster = KubernetesCluster("real", login, SystemClock())
    try:
        yield BackEnd(cluster, KubectlHand(plane))
    finally:
        await cluster.close()
        kinds = "deployments,services,configmaps,serviceaccounts"
        for namespace in NAMESPACES:
            plane.kubectl("delete", kinds, "--all", "-n", namespace, "--wait=false")


@pytest.fixture(scope="session")
def contract_plane(bare_plane: ControlPlane) -> ControlPlane:
    for namespace in NAMESPACES:
        bare_plane.kubectl("create", "namespace", namespace)
    return bare_plane


@pytest.fixture(params=BACK_ENDS)
async def back_end(
    request: pytest.FixtureRequest, tmp_path: Path, record_property: Callable[[str, object], None]
) -> AsyncIterator[BackEnd]:
    record_property("backend", f"{request.param} cluster")
    if request.param == "kubernetes":
        async with kubernetes(request.getfixturevalue("contract_plane")) as reached:
            yield reached
        return
    async with embedded(tmp_path) as opened:
        yield opened


@pytest.fixture
def cluster(back_end: BackEnd) -> Cluster:
    return back_end.cluster


@pytest.fixture
def hand(back_end: BackEnd) -> Hand:
    return back_end.hand


def deployment(name: str = "web", **spec: Any) -> Body:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "team", "labels": dict(labels)},
        "spec": {
            "selector": {"matchLabels": dict(labels)},
            "template": {
                "metadata": {"labels": dict(labels)},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
            **spec,
        },
    }


def container(body: Body, **fields: Any) -> Body:
    """`body` with more fields in its first container."""
    changed = copy.deepcopy(body)
    changed["spec"]["template"]["spec"]["containers"][0].update(fields)
    return changed


def service(name: str = "web", **spec: Any) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}], **spec},
    }


def config(name: str = "settings", **data: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "team"},
        "data": data,
    }


def ref_of(body: Body) -> ObjectRef:
    group = body["apiVersion"].rpartition("/")[0]
    metadata = body["metadata"]
    return ObjectRef(group=group, kind=body["kind"], namespace=metadata["namespace"], name=metadata["name"])


async def apply(
    cluster: Cluster,
    body: Body,
    expect: Any = AnyState(),  # noqa: B008 - immutable
    *,
    manager: str = "reconciler",
    force: bool = False,
    take: Sequence[OwnedPath] = (),
) -> LiveObject:
    name = AgentName(namespace="team", name="a")
    manifest = Manifest(ref=ref_of(body), body=body, hash="", agent=name)
    return await cluster.apply(manifest, expect, manager=manager, force=force, take=take)


async def live(cluster: Cluster, ref: ObjectRef) -> LiveObject:
    found = await cluster.get(ref)
    assert isinstance(found, Found)
    return found.value


def owned(one: LiveObject, manager: str, operation: str = "Apply", subresource: str = "") -> Body:
    """The fieldsV1 of one manager; empty when it owns nothing."""
    for entry in one.metadata.get("managedFields", ()):
        if (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, operation, subresource):
            fields: Body = entry["fieldsV1"]
            return fields
    return {}


def container_fields(one: LiveObject, manager: str = "reconciler") -> Body:
    fields = owned(one, manager)["f:spec"]["f:template"]["f:spec"]["f:containers"]
    found: Body = fields['k:{"name":"app"}']
    return found


class TestReading:
    async def test_identity_is_stable_and_names_a_version(self, cluster):
        first, second = await cluster.identity(), await cluster.identity()
        assert isinstance(first, Found)
        assert first == second
        assert first.value.uid
        assert first.value.version

    async def test_what_is_not_there_is_absent(self, cluster):
        assert await cluster.get(ref_of(config())) == Absent()

    async def test_an_applied_object_is_read_back_whole(self, cluster):
        applied = await apply(cluster, config(a="1"))
        found = await live(cluster, ref_of(config()))
        assert found == applied
        assert found.body["data"] == {"a": "1"}
        assert found.body["apiVersion"] == "v1"
        assert found.body["kind"] == "ConfigMap"
        assert found.uid == found.metadata["uid"]
        assert found.resource_version == found.metadata["resourceVersion"]
        assert found.metadata["creationTimestamp"].endswith("Z")

    async def test_a_list_holds_the_kinds_and_namespaces_of_its_scope(self, cluster):
        elsewhere = config("other")
        elsewhere["metadata"]["namespace"] = "elsewhere"
        for body in (config("b"), config("a"), service(), elsewhere):
            await apply(cluster, body)
        scope = Scope(kinds=(("", "v1", "ConfigMap"),), namespaces=frozenset({"team"}))
        found = await cluster.observe(scope)
        assert isinstance(found, Found)
        assert [str(ref) for ref in found.value.objects if ref.name in "ab"] == ["ConfigMap team/a", "ConfigMap team/b"]
        assert {ref.namespace for ref in found.value.objects} == {"team"}
        assert not found.value.unreadable

    async def test_a_list_follows_label_selectors(self, cluster):
        await apply(cluster, deployment("one"))
        await apply(cluster, deployment("two"))
        found = await cluster.observe(Scope(kinds=(("apps", "v1", "Deployment"),), labels={"app": "two"}))
        assert isinstance(found, Found)
        assert [ref.name for ref in found.value.objects] == ["two"]

    async def test_a_list_of_names_holds_those_that_are_there(self, cluster):
        for name in "abc":
            await apply(cluster, config(name))
        kinds, team = (("", "v1", "ConfigMap"),), frozenset({"team"})
        found = await cluster.observe(Scope(kinds=kinds, namespaces=team, names=frozenset({"c", "a", "z"})))
        assert isinstance(found, Found)
        assert [ref.name for ref in found.value.objects] == ["a", "c"]

    async def test_while_somebody_listens_a_list_still_shows_our_own_writes(self, cluster):
        scope = Scope(kinds=(("", "v1", "ConfigMap"),), namespaces=frozenset({"team"}))
        await apply(cluster, config("a"))
        await cluster.observe(Scope(kinds=scope.kinds))
        async with aclosing(cluster.changes(Scope(kinds=scope.kinds))) as changes:
            await apply(cluster, config("b"))
            assert await asyncio.wait_for(anext(changes), 30) == ref_of(config("b"))
            changed = await apply(cluster, config("a", x="1"))
            await cluster.delete(ref_of(config("b")), AnyState())
            found = await cluster.observe(scope)
            assert isinstance(found, Found)
            objects = {ref.name: one for ref, one in found.value.objects.items() if len(ref.name) == 1}
            assert objects == {"a": changed}

    async def test_a_kind_that_the_cluster_does_not_have_is_not_there_and_is_no_trouble(self, cluster):
        kinds = (*OPTIONAL_KINDS, ("example.org", "v1", "Unheard"))
        found = await cluster.observe(Scope(kinds=kinds, namespaces=frozenset({"team"})))
        assert isinstance(found, Found)
        assert (found.value.objects, found.value.unreadable) == ({}, {})

    async def test_no_kinds_select_nothing(self, cluster):
        await apply(cluster, config())
        found = await cluster.observe(Scope(kinds=()))
        assert isinstance(found, Found)
        assert not found.value.objects

    async def test_a_second_list_sees_changes_additions_and_deletions(self, cluster):
        scope = Scope(kinds=(("", "v1", "ConfigMap"),), namespaces=frozenset({"team"}))
        for name in "bcd":
            await apply(cluster, config(name, a="1"))
        await cluster.observe(scope)
        await apply(cluster, config("b", a="2"))
        await apply(cluster, config("a"))
        await cluster.delete(ref_of(config("c")), AnyState())
        await cluster.delete(ref_of(config("d")), AnyState())
        again = await apply(cluster, config("d", a="3"))
        found = await cluster.observe(scope)
        assert isinstance(found, Found)
        objects = {ref.name: one for ref, one in found.value.objects.items() if len(ref.name) == 1}
        assert list(objects) == ["a", "b", "d"]
        assert objects["b"].body["data"] == {"a": "2"}
        assert objects["d"] == again

    async def test_logs_of_no_pod_are_refused(self, cluster):
        with pytest.raises(Rejected):
            async for _ in cluster.logs(ObjectRef(group="", kind="Pod", namespace="team", name="no"), LogOptions()):
                pass

    async def test_changes_say_what_to_look_at_again(self, cluster):
        await apply(cluster, config("before"))
        async with aclosing(cluster.changes(Scope(kinds=(("", "v1", "ConfigMap"),)))) as changes:
            await apply(cluster, service())
            await apply(cluster, config("after"))
            ref = await asyncio.wait_for(anext(changes), 30)
        assert ref == ref_of(config("after"))


class TestPreconditions:
    async def test_create_only_fails_when_it_exists(self, cluster):
        await apply(cluster, config(), MustBeAbsent())
        with pytest.raises(PreconditionFailed) as caught:
            await apply(cluster, config(a="1"), MustBeAbsent())
        assert caught.value.ref == ref_of(config())
        assert "data" not in (await live(cluster, ref_of(config()))).body

    async def test_apply_to_an_object_that_is_gone_fails(self, cluster):
        first = await apply(cluster, config())
        await cluster.delete(ref_of(config()), AnyState())
        with pytest.raises(PreconditionFailed):
            await apply(cluster, config(a="1"), MustBe(uid=first.uid))
        assert await cluster.get(ref_of(config())) == Absent()

    async def test_apply_to_another_object_of_that_name_fails(self, cluster):
        first = await apply(cluster, config())
        await cluster.delete(ref_of(config()), AnyState())
        second = await apply(cluster, config())
        assert first.uid != second.uid
        with pytest.raises(PreconditionFailed):
            await apply(cluster, config(a="1"), MustBe(uid=first.uid))

    async def test_apply_to_a_newer_version_fails(self, cluster):
        first = await apply(cluster, config(a="1"))
        second = await apply(cluster, config(a="2"))
        assert second.resource_version != first.resource_version
        with pytest.raises(PreconditionFailed):
            await apply(cluster, config(a="3"), MustBe(uid=first.uid, resource_version=first.resource_version))
        third = await apply(cluster, config(a="3"), MustBe(uid=first.uid, resource_version=second.resource_version))
        assert third.body["data"] == {"a": "3"}

    async def test_delete_checks_uid_and_version(self, cluster):
        first = await apply(cluster, config(a="1"))
        second = await apply(cluster, config(a="2"))
        ref = ref_of(config())
        for wrong in (MustBe(uid="another"), MustBe(uid=first.uid, resource_version=first.resource_version)):
            with pytest.raises(PreconditionFailed):
                await cluster.delete(ref, wrong)
        await cluster.delete(ref, MustBe(uid=second.uid, resource_version=second.resource_version))
        assert await cluster.get(ref) == Absent()
        with pytest.raises(PreconditionFailed):
            await cluster.delete(ref, MustBe(uid=second.uid))
        await cluster.delete(ref, AnyState())


TEXTS = {
    "ends of lines": "a \n b\r\nc\rd\n\n",
    "other ends of lines": "a \u2028 b \u2029 c \x85 d",
    "controls": "\0 \t \x1b[31m \x7f \x80 \x9f",
    "marks": "\ufeff \ufffe \uffff \u202e",
    "scripts": "\xe9 e\u0301 \u6771\u4eac \U0001f916 \U0001ffff",
    "quotes": "\"'`\\ \\n \\u0041 # : - {{ .X }} $(Y)",
}
"""Texts of which YAML, JSON and databases have opinions."""


class TestReapplying:
    async def test_the_same_configuration_changes_nothing(self, cluster):
        body = deployment(replicas=2, minReadySeconds=0)
        first = await apply(cluster, body)
        assert await apply(cluster, body) == first

    async def test_generation_moves_with_the_spec_only(self, cluster):
        body = deployment()
        first = await apply(cluster, body)
        body["metadata"]["labels"]["more"] = "x"
        labelled = await apply(cluster, body)
        scaled = await apply(cluster, {**body, "spec": {**body["spec"], "replicas": 3}})
        assert [one.metadata["generation"] for one in (first, labelled, scaled)] == [1, 1, 2]

    @pytest.mark.parametrize("body", [config(), service()], ids=lambda body: body["kind"])
    async def test_kinds_without_a_generation(self, cluster, body):
        assert "generation" not in (await apply(cluster, body)).metadata

    async def test_canonical_quantities(self, cluster):
        amounts = {"cpu": "1000m", "memory": "0.5Gi", "ephemeral-storage": "1024Mi", "example.com/x": "1.50"}
        body = container(deployment(), resources={"limits": dict(amounts), "requests": dict(amounts)})
        body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"].pop("example.com/x")
        body["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"].pop("example.com/x")
        body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1.50"
        first = await apply(cluster, body)
        resources = first.body["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"] == {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "1Gi"}
        assert resources["limits"]["cpu"] == "1500m"
        assert await apply(cluster, body) == first

    async def test_zero_values_are_owned_but_not_stored(self, cluster):
        body = container(
            deployment(minReadySeconds=0, paused=False),
            args=[],
            env=[{"name": "E", "value": ""}],
            ports=[{"containerPort": 80, "hostPort": 0}],
            volumeMounts=[{"name": "v", "mountPath": "/v", "readOnly": False, "subPath": ""}],
        )
        pod = body["spec"]["template"]["spec"]
        pod.update({"nodeSelector": {}, "volumes": [{"name": "v", "emptyDir": {}}]})
        first = await apply(cluster, body)
        fields, spec = container_fields(first), first.body["spec"]
        assert {"f:minReadySeconds", "f:paused"} <= set(owned(first, "reconciler")["f:spec"])
        assert "minReadySeconds" not in spec
        assert "paused" not in spec
        stored = spec["template"]["spec"]["containers"][0]
        assert "args" not in stored
        assert "f:args" in fields
        assert stored["env"] == [{"name": "E"}]
        assert "f:value" in fields["f:env"]['k:{"name":"E"}']
        assert "hostPort" not in stored["ports"][0]
        assert "f:hostPort" in fields["f:ports"]['k:{"containerPort":80,"protocol":"TCP"}']
        assert stored["volumeMounts"] == [{"name": "v", "mountPath": "/v"}]
        assert {"f:readOnly", "f:subPath"} <= set(fields["f:volumeMounts"]['k:{"mountPath":"/v"}'])
        assert "nodeSelector" not in spec["template"]["spec"]
        assert "f:nodeSelector" in owned(first, "reconciler")["f:spec"]["f:template"]["f:spec"]
        assert await apply(cluster, body) == first

    async def test_zero_values_that_mean_something_stay(self, cluster):
        body = deployment(replicas=0)
        body["metadata"]["annotations"] = {"note": ""}
        body["spec"]["template"]["spec"].update({"securityContext": {}, "volumes": [{"name": "v", "emptyDir": {}}]})
        first = await apply(cluster, body)
        assert first.body["spec"]["replicas"] == 0
        assert first.metadata["annotations"] == {"note": ""}
        assert first.body["spec"]["template"]["spec"]["securityContext"] == {}
        assert first.body["spec"]["template"]["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]

    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
    async def test_texts_come_back_as_they_were_said(self, cluster, text):
        first = await apply(cluster, config(a=text))
        assert first.body["data"] == {"a": text}
        assert (await live(cluster, ref_of(config()))).body["data"] == {"a": text}
        assert await apply(cluster, config(a=text)) == first

    async def test_service_account_gets_its_twin(self, cluster):
        body = deployment()
        body["spec"]["template"]["spec"]["serviceAccountName"] = "web"
        first = await apply(cluster, body)
        assert first.body["spec"]["template"]["spec"]["serviceAccount"] == "web"
        assert "f:serviceAccount" not in owned(first, "reconciler")["f:spec"]["f:template"]["f:spec"]
        assert await apply(cluster, body) == first


class TestOwnership:
    async def test_defaults_belong_to_nobody(self, cluster):
        first = await apply(cluster, deployment())
        spec = first.body["spec"]
        assert spec["replicas"] == 1
        assert spec["strategy"]["type"] == "RollingUpdate"
        assert spec["template"]["spec"]["restartPolicy"] == "Always"
        assert spec["template"]["spec"]["containers"][0]["terminationMessagePath"] == "/dev/termination-log"
        assert set(owned(first, "reconciler")["f:spec"]) == {"f:selector", "f:template"}
        assert len(first.metadata["managedFields"]) == 1

    async def test_keys_carry_defaults(self, cluster):
        body = container(deployment(), ports=[{"containerPort": 80}], volumeMounts=[{"name": "v", "mountPath": "/v"}])
        body["spec"]["template"]["spec"].update(
            {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "topologySpreadConstraints": [
                    {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 1}
                ],
            }
        )
        first = await apply(cluster, body)
        assert list(container_fields(first)["f:ports"]) == ['k:{"containerPort":80,"protocol":"TCP"}']
        assert list(container_fields(first)["f:volumeMounts"]) == ['k:{"mountPath":"/v"}']
        pod = owned(first, "reconciler")["f:spec"]["f:template"]["f:spec"]
        assert list(pod["f:topologySpreadConstraints"]) == [
            'k:{"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway"}'
        ]
        assert owned(await apply(cluster, service()), "reconciler")["f:spec"]["f:ports"] == {
            'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}
        }

    async def test_atomic_fields_are_owned_whole(self, cluster):
        body = container(deployment(), args=["a", "b"], command=["x"])
        body["spec"]["template"]["spec"].update(
            {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}
        )
        first = await apply(cluster, body)
        fields = owned(first, "reconciler")["f:spec"]
        assert fields["f:selector"] == {}
        assert fields["f:template"]["f:spec"]["f:nodeSelector"] == {}
        assert fields["f:template"]["f:spec"]["f:tolerations"] == {}
        assert container_fields(first)["f:args"] == {}
        assert container_fields(first)["f:command"] == {}

    async def test_a_foreign_update_takes_ownership_and_conflicts(self, cluster, hand):
        body = deployment(replicas=2)
        await apply(cluster, body)
        ref = ref_of(body)
        hand.edit(ref, lambda one: one["spec"].update(replicas=5), manager="kubectl", subresource="scale")
        changed = await live(cluster, ref)
        assert changed.body["spec"]["replicas"] == 5
        assert "f:replicas" not in owned(changed, "reconciler")["f:spec"]
        assert owned(changed, "kubectl", "Update", "scale") == {"f:spec": {"f:replicas": {}}}
        with pytest.raises(FieldConflict) as caught:
            await apply(cluster, body)
        assert caught.value.owners == {".spec.replicas": "kubectl"}
        assert caught.value.ref == ref
        assert await live(cluster, ref) == changed
        forced = await apply(cluster, body, force=True)
        assert forced.body["spec"]["replicas"] == 2
        assert "f:replicas" in owned(forced, "reconciler")["f:spec"]
        assert owned(forced, "kubectl", "Update", "scale") == {}

    async def test_a_conflict_names_an_item_of_a_list(self, cluster, hand):
        body = deployment()
        await apply(cluster, body)

        def set_image(one: Body) -> None:
            one["spec"]["template"]["spec"]["containers"][0]["image"] = "app:2"

        hand.edit(ref_of(body), set_image, manager="kubectl-set")
        with pytest.raises(FieldConflict) as caught:
            await apply(cluster, body)
        assert caught.value.owners == {'.spec.template.spec.containers[name="app"].image': "kubectl-set"}

    async def test_a_foreign_removal_takes_ownership_and_is_put_back_without_a_conflict(self, cluster, hand):
        body = config(a="1", b="2")
        await apply(cluster, body)
        hand.edit(ref_of(body), lambda one: one["data"].pop("b"), manager="kubectl-edit")
        changed = await live(cluster, ref_of(body))
        assert changed.body["data"] == {"a": "1"}
        assert owned(changed, "reconciler") == {"f:data": {"f:a": {}}}
        restored = await apply(cluster, body)
        assert restored.body["data"] == {"a": "1", "b": "2"}

    async def test_fields_of_others_stay(self, cluster, hand):
        body = config(a="1")
        await apply(cluster, body)
        hand.edit(ref_of(body), lambda one: one["data"].update(theirs="x"), manager="kubectl-edit")
        again = await apply(cluster, config(a="2"))
        assert again.body["data"] == {"a": "2", "theirs": "x"}

    async def test_an_apply_manager_that_says_the_same_shares(self, cluster):
        body = deployment(replicas=2)
        await apply(cluster, body)
        shared = await apply(cluster, deployment(replicas=2), manager="other")
        assert "f:replicas" in owned(shared, "reconciler")["f:spec"]
        assert "f:replicas" in owned(shared, "other")["f:spec"]
        with pytest.raises(FieldConflict) as caught:
            await apply(cluster, deployment(replicas=3))
        assert caught.value.owners == {".spec.replicas": "other"}

    async def test_a_container_beside_ours_is_not_ours(self, cluster):
        body = deployment()
        await apply(cluster, body)
        sidecar = deployment()
        sidecar["spec"]["template"]["spec"]["containers"] = [{"name": "sidecar", "image": "proxy:1"}]
        both = await apply(cluster, sidecar, manager="mesh")
        assert [one["name"] for one in both.body["spec"]["template"]["spec"]["containers"]] == ["app", "sidecar"]
        again = await apply(cluster, body)
        assert again == both
        assert list(owned(again, "reconciler")["f:spec"]["f:template"]["f:spec"]["f:containers"]) == [
            'k:{"name":"app"}'
        ]

    async def test_nothing_said_of_a_map_takes_nothing_out_of_it(self, cluster):
        body = {**config(), "data": None}
        await apply(cluster, config(a="1"), manager="other")
        second = await apply(cluster, body)
        assert second.body["data"] == {"a": "1"}
        assert "f:data" in owned(second, "reconciler")
        assert await apply(cluster, body) == second

    async def test_nothing_said_of_a_single_value_takes_it_out(self, cluster):
        await apply(cluster, deployment(minReadySeconds=3))
        assert "minReadySeconds" not in (await apply(cluster, deployment(minReadySeconds=None))).body["spec"]

    async def test_status_is_nobodys_through_apply(self, cluster):
        body = deployment()
        body["status"] = {"replicas": 7}
        first = await apply(cluster, body)
        assert first.status.get("replicas", 0) != 7
        assert "f:status" not in owned(first, "reconciler")


class TestRemoval:
    async def test_a_sole_owner_removes_what_it_no_longer_says(self, cluster):
        await apply(cluster, config(a="1", b="2"))
        second = await apply(cluster, config(a="1"))
        assert second.body["data"] == {"a": "1"}
        assert owned(second, "reconciler") == {"f:data": {"f:a": {}}}

    async def test_what_another_manager_says_too_stays(self, cluster):
        await apply(cluster, config(a="1", b="2"))
        await apply(cluster, config(b="2"), manager="other")
        second = await apply(cluster, config(a="1"))
        assert second.body["data"] == {"a": "1", "b": "2"}
        assert owned(second, "other") == {"f:data": {"f:b": {}}}

    async def test_dropping_replicas_as_sole_owner_resets_it_to_one(self, cluster):
        await apply(cluster, deployment(replicas=4))
        second = await apply(cluster, deployment())
        assert second.body["spec"]["replicas"] == 1
        assert "f:replicas" not in owned(second, "reconciler")["f:spec"]

    async def test_a_container_goes_with_its_defaults(self, cluster):
        body = deployment()
        body["spec"]["template"]["spec"]["containers"].append({"name": "more", "image": "more:1"})
        await apply(cluster, body)
        second = await apply(cluster, deployment())
        assert [one["name"] for one in second.body["spec"]["template"]["spec"]["containers"]] == ["app"]

    async def test_handing_replicas_over_to_an_autoscaler(self, cluster, hand):
        """Co-own the live value under a second name, drop it from ours, and the autoscaler takes over: never 1."""
        ref = ref_of(deployment())
        await apply(cluster, deployment(replicas=4))
        handover = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "team"},
            "spec": {"replicas": 4},
        }
        await apply(cluster, handover, manager="reconciler-handover")
        second = await apply(cluster, deployment())
        assert second.body["spec"]["replicas"] == 4
        hand.edit(ref, lambda one: one["spec"].update(replicas=6), manager="kube-hpa", subresource="scale")
        third = await apply(cluster, deployment())
        assert third.body["spec"]["replicas"] == 6
        assert owned(third, "reconciler-handover") == {}
        assert owned(third, "kube-hpa", "Update", "scale") == {"f:spec": {"f:replicas": {}}}


class TestTakingOver:
    """Fields of hand edits that are made ours, so that they go when we do not say them."""

    async def test_what_stands_in_the_way_goes_with_the_apply(self, cluster, hand):
        """A variable has a value or a source: ours cannot come back as long as the other is there."""
        body = container(deployment(), env=[{"name": "LEVEL", "value": "info"}])
        await apply(cluster, body)
        ref = ref_of(body)

        def other_source(one: Body) -> None:
            source = {"fieldRef": {"fieldPath": "metadata.name"}}
            one["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "LEVEL", "valueFrom": source}]

        hand.edit(ref, other_source, manager="kubectl-edit")
        with pytest.raises(Rejected):
            await apply(cluster, body)
        variable = (*CONTAINER, "f:env", 'k:{"name":"LEVEL"}')
        put = await apply(cluster, body, take=[(*variable, "f:valueFrom")])
        (entry,) = put.body["spec"]["template"]["spec"]["containers"][0]["env"]
        assert entry == {"name": "LEVEL", "value": "info"}
        assert container_fields(put)["f:env"] == {'k:{"name":"LEVEL"}': {".": {}, "f:name": {}, "f:value": {}}}
        assert owned(put, "kubectl-edit", "Update") == {}
        assert await apply(cluster, body, take=[(*variable, "f:valueFrom")]) == await live(cluster, ref)

    async def test_an_item_goes_with_all_that_is_in_it(self, cluster, hand):
        body = service(ports=[{"name": "http", "port": 80}])
        await apply(cluster, body)
        hand.edit(ref_of(body), lambda one: one["spec"]["ports"][0].update(port=81), manager="kubectl-edit")
        with pytest.raises(Rejected):
            await apply(cluster, body)
        put = await apply(cluster, body, take=[("f:spec", "f:ports", 'k:{"port":81,"protocol":"TCP"}')])
        assert [one["port"] for one in put.body["spec"]["ports"]] == [80]

    async def test_what_we_share_with_a_hand_edit_goes_when_we_drop_it(self, cluster, hand):
        body = config(a="1", b="2")
        await apply(cluster, body)
        for value in ("3", "2"):
            hand.edit(ref_of(body), lambda one, value=value: one["data"].update(b=value), manager="kubectl-edit")
        await apply(cluster, body)
        shared = await apply(cluster, config(a="1"))
        assert shared.body["data"] == {"a": "1", "b": "2"}
        await apply(cluster, body)
        taken = await apply(cluster, config(a="1"), take=[("f:data", "f:b")])
        assert taken.body["data"] == {"a": "1"}

    async def test_what_others_applied_is_not_taken(self, cluster):
        await apply(cluster, config(b="2"), manager="other")
        await apply(cluster, config(a="1", b="2"))
        kept = await apply(cluster, config(a="1"), take=[("f:data", "f:b")])
        assert kept.body["data"] == {"a": "1", "b": "2"}
        assert owned(kept, "other") == {"f:data": {"f:b": {}}}

    async def test_preconditions_hold_for_it(self, cluster):
        first = await apply(cluster, config(a="1"))
        with pytest.raises(PreconditionFailed):
            await apply(cluster, config(a="1"), MustBe(uid="other"), take=[("f:data", "f:b")])
        second = await apply(cluster, config(a="2"))
        stale = MustBe(uid=first.uid, resource_version=first.resource_version)
        with pytest.raises(PreconditionFailed):
            await apply(cluster, config(a="3"), stale, take=[("f:data", "f:b")])
        assert await live(cluster, ref_of(config())) == second
        now = MustBe(uid=second.uid, resource_version=second.resource_version)
        assert (await apply(cluster, config(a="3"), now, take=[("f:data", "f:b")])).body["data"] == {"a": "3"}


class TestLists:
    async def test_items_merge_by_key_in_the_order_said(self, cluster):
        def with_env(*names: str) -> Body:
            return container(deployment(), env=[{"name": name, "value": "1"} for name in names])

        await apply(cluster, with_env("A", "B"))
        second = await apply(cluster, with_env("C", "B", "A"))
        names = [one["name"] for one in second.body["spec"]["template"]["spec"]["containers"][0]["env"]]
        assert names == ["C", "B", "A"]

    async def test_a_port_is_known_by_number_and_protocol(self, cluster):
        ports = [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]
        first = await apply(cluster, container(deployment(), ports=ports))
        stored = first.body["spec"]["template"]["spec"]["containers"][0]["ports"]
        assert [(one["containerPort"], one["protocol"]) for one in stored] == [(53, "UDP"), (53, "TCP")]

    async def test_two_items_of_one_key_are_refused(self, cluster):
        with pytest.raises(Rejected):
            await apply(cluster, container(deployment(), env=[{"name": "A"}, {"name": "A"}]))


def _without_containers() -> Body:
    body = deployment()
    body["spec"]["template"]["spec"]["containers"] = []
    return body


def _mismatched() -> Body:
    body = deployment()
    body["spec"]["template"]["metadata"]["labels"] = {"app": "another"}
    return body


INVALID = {
    "unknown field": (deployment(replicaz=2), "field not declared in schema"),
    "unknown field in a list": (container(deployment(), imag="x"), "field not declared in schema"),
    "wrong type": (deployment(replicas="two"), "replicas"),
    "no containers": (_without_containers(), "containers"),
    "no image": (container(deployment(), image=""), "image"),
    "selector and labels differ": (_mismatched(), "labels"),
    "bad name": (config("Not_A_Name"), "name"),
    "bad port": (container(deployment(), ports=[{"containerPort": 70000}]), "65535"),
    "bad quantity": (container(deployment(), resources={"limits": {"cpu": "many"}}), "quantit"),
    "request over limit": (
        container(deployment(), resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        "less than or equal to cpu limit",
    ),
    "negative replicas": (deployment(replicas=-1), "greater than or equal to 0"),
    "mount without volume": (
        container(deployment(), volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        "Not found",
    ),
    "service without ports": (service(ports=[]), "ports"),
    "bad label": (
        {**config(), "metadata": {"name": "settings", "namespace": "team", "labels": {"a b": "c"}}},
        "labels",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize(("body", "words"), INVALID.values(), ids=INVALID.keys())
    async def test_an_invalid_object_is_refused_and_nothing_stored(self, cluster, body, words):
        with pytest.raises(Rejected) as caught:
            await apply(cluster, body)
        assert words in caught.value.message
        assert await cluster.get(ref_of(body)) == Absent()

    async def test_the_selector_may_not_change(self, cluster):
        await apply(cluster, deployment())
        changed = deployment()
        changed["spec"]["selector"]["matchLabels"] = {"role": "x"}
        changed["spec"]["template"]["metadata"]["labels"] = {"app": "web", "role": "x"}
        with pytest.raises(Rejected, match="immutable"):
            await apply(cluster, changed)

    async def test_a_cluster_ip_is_given_once_and_kept(self, cluster):
        first = await apply(cluster, service())
        address = first.body["spec"]["clusterIP"]
        assert address
        assert first.body["spec"]["clusterIPs"] == [address]
        assert first.body["spec"]["type"] == "ClusterIP"
        assert first.body["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
        assert await apply(cluster, service()) == first
        last = int(address.rpartition(".")[2])
        other = f"{address.rpartition('.')[0]}.{last % 250 + 1}"
        with pytest.raises(Rejected):
            await apply(cluster, service(clusterIP=other))

    async def test_what_only_another_type_of_service_has_goes_with_the_type(self, cluster):
        ports = [{"port": 80, "name": "http"}]
        balanced = await apply(cluster, service(type="LoadBalancer", ports=ports))
        assert balanced.body["spec"]["ports"][0]["nodePort"]
        spec = (await apply(cluster, service(ports=ports))).body["spec"]
        assert spec["type"] == "ClusterIP"
        assert spec["clusterIP"] == balanced.body["spec"]["clusterIP"]
        assert not {"externalTrafficPolicy", "allocateLoadBalancerNodePorts"} & spec.keys()
        assert "nodePort" not in spec["ports"][0]

    async def test_a_headless_service_has_no_address(self, cluster):
        first = await apply(cluster, service(clusterIP="None"))
        assert first.body["spec"]["clusterIP"] == "None"
        assert await apply(cluster, service(clusterIP="None")) == first


class TestRoundTrips:
    """Objects written by hand in the ways of other tools."""

    @pytest.mark.parametrize("name", ["kubectl-create-deployment", "helm-deployment", "helm-service", "helm-account"])
    async def test_real_manifests_apply_and_settle(self, cluster, name):
        body = copy.deepcopy(REAL[name])
        first = await apply(cluster, body)
        assert await apply(cluster, body) == first


REAL: dict[str, Body] = {
    "kubectl-create-deployment": {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"labels": {"app": "nginx"}, "name": "nginx", "namespace": "team"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "nginx"}},
            "strategy": {},
            "template": {
                "metadata": {"labels": {"app": "nginx"}},
                "spec": {"containers": [{"image": "nginx", "name": "nginx", "resources": {}}]},
            },
        },
        "status": {},
    },
    "helm-deployment": {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "release-name-web",
            "namespace": "team",
            "labels": {
                "helm.sh/chart": "web-0.1.0",
                "app.kubernetes.io/name": "web",
                "app.kubernetes.io/instance": "release-name",
                "app.kubernetes.io/version": "1.16.0",
                "app.kubernetes.io/managed-by": "Helm",
            },
        },
        "spec": {
            "replicas": 1,
            "selector": {
                "matchLabels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "release-name"}
            },
            "template": {
                "metadata": {
                    "annotations": {"checksum/config": "0" * 64},
                    "labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "release-name"},
                },
                "spec": {
                    "serviceAccountName": "release-name-web",
                    "imagePullSecrets": [{"name": "registry"}],
                    "securityContext": {"fsGroup": 2000},
                    "containers": [
                        {
                            "name": "web",
                            "securityContext": {
                                "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": True,
                                "runAsNonRoot": True,
                                "runAsUser": 1000,
                            },
                            "image": "nginx:1.16.0",
                            "imagePullPolicy": "IfNotPresent",
                            "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
                            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
                            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 5},
                            "resources": {
                                "limits": {"cpu": "100m", "memory": "128Mi"},
                                "requests": {"cpu": 0.1, "memory": "128Mi"},
                            },
                            "env": [
                                {
                                    "name": "POD_IP",
                                    "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}},
                                },
                                {
                                    "name": "PASSWORD",
                                    "valueFrom": {"secretKeyRef": {"name": "web", "key": "password"}},
                                },
                            ],
                            "envFrom": [{"configMapRef": {"name": "web"}}],
                            "volumeMounts": [{"name": "foo", "mountPath": "/etc/foo", "readOnly": True}],
                        }
                    ],
                    "volumes": [
                        {"name": "foo", "secret": {"secretName": "mysecret", "optional": False}},
                        {
                            "name": "all",
                            "projected": {
                                "sources": [
                                    {"configMap": {"name": "web", "items": [{"key": "a", "path": "b"}]}},
                                    {"serviceAccountToken": {"path": "token"}},
                                ]
                            },
                        },
                    ],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "affinity": {
                        "podAntiAffinity": {
                            "preferredDuringSchedulingIgnoredDuringExecution": [
                                {
                                    "weight": 100,
                                    "podAffinityTerm": {
                                        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "web"}},
                                        "topologyKey": "kubernetes.io/hostname",
                                    },
                                }
                            ]
                        }
                    },
                    "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
                },
            },
        },
    },
    "helm-service": {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "release-name-web", "namespace": "team", "labels": {"helm.sh/chart": "web-0.1.0"}},
        "spec": {
            "type": "ClusterIP",
            "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP", "name": "http"}],
            "selector": {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "release-name"},
        },
    },
    "helm-account": {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "release-name-web", "namespace": "team", "annotations": {}},
        "automountServiceAccountToken": True,
    },
}
