"""Drift by field ownership, as a server's managedFields tell it."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import FIELD_MANAGER, HANDOVER_MANAGER
from reconciler.model.plan import Drift, Missing, ObjectChange, Verb
from reconciler.plan import PlanCache
from reconciler.plan.ownership import Lost, lost_fields, owners, without
from tests.plan.builders import World, agent, fleet_files, owned_by, path_of, ref, running


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "agent"} | fields]}}}}


def in_container(fields: dict[str, Any]) -> dict[str, Any]:
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"agent"}': fields}}}}}


def live(body: dict[str, Any], *entries: dict[str, Any]) -> dict[str, Any]:
    return body | {"metadata": {"managedFields": list(entries)}}


def lost(wanted: dict[str, Any], there: dict[str, Any], *, changed: bool = False) -> tuple[Lost, ...]:
    return lost_fields(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}} | wanted, there, changed=changed
    )


def test_what_we_own_holds_our_value_however_the_server_writes_it() -> None:
    wanted = container(image="a:1")
    there = live(container(image="mirror/a:1"), owned_by(FIELD_MANAGER, in_container({"f:name": {}, "f:image": {}})))
    assert lost(wanted, there) == ()


def test_a_foreign_update_is_found_with_its_manager() -> None:
    there = live(
        container(image="b:2"),
        owned_by(FIELD_MANAGER, in_container({"f:name": {}})),
        owned_by("kubectl", in_container({"f:image": {}}), operation="Update"),
    )
    (item,) = lost(container(image="a:1"), there)
    assert (item.path, item.wanted, item.live) == ("spec.template.spec.containers[agent].image", "a:1", "b:2")
    assert item.owner is not None
    assert (item.owner.manager, item.owner.yields) == ("kubectl", True)


def test_a_foreign_removal_leaves_nobody_as_owner() -> None:
    there = live(container(), owned_by(FIELD_MANAGER, in_container({"f:name": {}})))
    (item,) = lost(container(image="a:1"), there)
    assert (item.live, item.owner) == (Missing.FIELD, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("args", []), ("workingDir", ""), ("stdin", False), ("env", []), ("resources", {})],
)
def test_zero_values_are_not_stored_and_not_missed(field: str, value: Any) -> None:
    there = live(container(), owned_by(FIELD_MANAGER, in_container({"f:name": {}})))
    assert lost(container(**{field: value}), there) == ()


@pytest.mark.parametrize("changed", [False, True])
def test_what_nobody_can_own_is_not_missed(*, changed: bool) -> None:
    """A manifest may say fields of the server's own, as exported ones do: they are in nobody's managedFields."""
    said = {"creationTimestamp": None, "generation": 0, "selfLink": "/x", "labels": {"a": "b"}}
    wanted = {"metadata": {"name": "x", "namespace": "y"} | said, "status": {"replicas": 3}, "spec": {"replicas": 1}}
    ours = owned_by(FIELD_MANAGER, {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:replicas": {}}})
    given = {"creationTimestamp": "2026-01-01T00:00:00Z", "generation": 4, "labels": {"a": "b"}}
    there = {"metadata": given | {"managedFields": [ours]}, "spec": {"replicas": 1}, "status": {"replicas": 1}}
    assert lost(wanted, there, changed=changed) == ()


def test_zero_replicas_and_empty_annotations_mean_something() -> None:
    wanted = {"spec": {"replicas": 0}, "metadata": {"annotations": {"a": ""}}}
    there = live({"spec": {}}, owned_by("kubectl", {}, operation="Update"))
    assert {item.path for item in lost(wanted, there)} == {"spec.replicas", "metadata.annotations.a"}


@pytest.mark.parametrize(
    ("want", "have", "same"),
    [
        ("1000m", "1", True),
        ("0.5Gi", "512Mi", True),
        ("1", "2", False),
        ("250m", "+0250m", True),
        ("1m", "1000u", True),
    ],
)
def test_quantities_are_compared_by_value(want: str, have: str, *, same: bool) -> None:
    there = live(container(resources={"limits": {"cpu": have}}))
    assert bool(lost(container(resources={"limits": {"cpu": want}}), there)) is not same


def test_a_source_that_is_owned_as_a_whole_is_ours_to_the_last_field() -> None:
    source = {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1024Ki"}}
    stored = {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}
    fields: dict[str, Any] = {"f:name": {}, "f:valueFrom": {"f:resourceFieldRef": {}}}
    there = live(
        container(env=[{"name": "A", "valueFrom": stored}], image="b:2"),
        owned_by(FIELD_MANAGER, in_container({"f:name": {}, "f:env": {'k:{"name":"A"}': fields}})),
        owned_by("kubectl", in_container({"f:image": {}}), operation="Update"),
    )
    (item,) = lost(container(env=[{"name": "A", "valueFrom": source}], image="a:1"), there)
    assert item.path.endswith(".image")


def test_what_is_no_quantity_differs() -> None:
    there = live(container(resources={"limits": {"cpu": "many"}}))
    assert len(lost(container(resources={"limits": {"cpu": "1"}}), there)) == 1


def test_ports_are_found_by_number_and_protocol_with_its_default() -> None:
    fields: dict[str, Any] = {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:name": {}}}
    there = live(
        container(ports=[{"containerPort": 80, "protocol": "TCP", "name": "web"}]),
        owned_by(FIELD_MANAGER, in_container({"f:name": {}, "f:ports": fields})),
    )
    assert lost(container(ports=[{"containerPort": 80, "name": "http"}]), there) == ()
    spaced: dict[str, Any] = {'k:{"protocol":"TCP", "containerPort":80}': {"f:containerPort": {}, "f:name": {}}}
    there = live(
        container(ports=[{"containerPort": 80, "name": "web"}]),
        owned_by("kubectl", in_container({"f:ports": spaced}), operation="Update"),
    )
    (item,) = lost(container(ports=[{"containerPort": 80, "name": "http"}]), there)
    assert item.owner is not None
    assert item.owner.manager == "kubectl"


def test_a_container_added_beside_ours_is_not_ours() -> None:
    body = container(image="a:1")
    body["spec"]["template"]["spec"]["containers"].append({"name": "sidecar"})
    there = live(body, owned_by(FIELD_MANAGER, in_container({"f:name": {}, "f:image": {}})))
    assert lost(container(image="a:1"), there) == ()


@pytest.mark.parametrize("added", [{"version": "blue"}, {"app": "other"}, {}])
def test_a_map_that_is_owned_as_a_whole_is_compared_as_a_whole(added: dict[str, str]) -> None:
    """A selector with one more key selects other pods, though every key that is wanted is there."""
    changed = {"app": "x"} | added
    there = live(
        {"spec": {"selector": changed}}, owned_by("kubectl-patch", {"f:spec": {"f:selector": {}}}, operation="Update")
    )
    found = lost({"spec": {"selector": {"app": "x"}}}, there)
    if not added:
        assert found == ()
        return
    (item,) = found
    assert (item.path, item.fields, item.live) == ("spec.selector", ("f:spec", "f:selector"), changed)
    assert item.owner is not None
    assert item.owner.manager == "kubectl-patch"


def test_the_hand_over_manager_is_ours_too() -> None:
    there = live({"spec": {"replicas": 7}}, owned_by(HANDOVER_MANAGER, {"f:spec": {"f:replicas": {}}}))
    assert lost({"spec": {"replicas": 3}}, there) == ()


@pytest.mark.parametrize(
    ("manager", "operation", "subresource", "yields"),
    [
        ("kubectl", "Update", "", True),
        ("kubectl", "Update", "scale", True),
        ("keda", "Apply", "", False),
        ("kube-controller-manager", "Update", "scale", False),
        ("horizontal-pod-autoscaler", "Update", "scale", False),
        ("my-controller", "Update", "", False),
        ("kubelet", "Update", "status", False),
    ],
)
def test_who_yields(manager: str, operation: str, subresource: str, *, yields: bool) -> None:
    (owner,) = owners(live({}, owned_by(manager, {}, operation=operation, subresource=subresource)))
    assert owner.yields is yields


def test_a_shared_field_matters_only_when_another_value_is_wanted() -> None:
    tree: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
    there = live({"spec": {"replicas": 2}}, owned_by(FIELD_MANAGER, tree), owned_by("keda", tree))
    assert lost({"spec": {"replicas": 3}}, there) == ()
    (item,) = lost({"spec": {"replicas": 3}}, there, changed=True)
    assert item.owner is not None
    assert item.owner.manager == "keda"
    alone = live({"spec": {"replicas": 2}}, owned_by(FIELD_MANAGER, tree))
    assert lost({"spec": {"replicas": 3}}, alone, changed=True) == ()


def test_what_is_left_to_others_is_taken_out_and_nothing_else() -> None:
    body = container(image="a:1", args=["x"])
    field = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"agent"}', "f:image")
    absent = ("f:spec", "f:nothing", "f:below")
    assert without(body, [field, absent]) == container(args=["x"])
    assert body == container(image="a:1", args=["x"]), "the manifest itself stays whole"


def edit_replicas(world: World, manager: str, operation: str, subresource: str = "") -> None:
    world.edit(
        ref("Deployment", "support/triage"),
        lambda body: body["spec"].update(replicas=9),
        {"f:spec": {"f:replicas": {}}},
        manager=manager,
        operation=operation,
        subresource=subresource,
    )


def of_deployment(world: World) -> tuple[ObjectChange | None, list[Drift]]:
    plan = world.plan()
    drift = [*plan.drift, *(item for change in plan.changes for item in change.drift)]
    changes = [item for change in plan.changes for item in change.objects if item.ref.kind == "Deployment"]
    return (changes[0] if changes else None), drift


def test_scaling_by_kubectl_is_undone_by_force_that_names_it() -> None:
    world = running("support/triage")
    edit_replicas(world, "kubectl", "Update", "scale")
    change, (drift,) = of_deployment(world)
    assert change is not None
    assert (change.verb, change.force) == (Verb.APPLY, ("kubectl",))
    assert (drift.manager, drift.before, drift.after, drift.undone) == ("kubectl", 1, 9, True)


@pytest.mark.parametrize(
    ("manager", "operation", "subresource"),
    [("keda", "Apply", ""), ("horizontal-pod-autoscaler", "Update", "scale")],
)
def test_another_owner_is_reported_and_left(manager: str, operation: str, subresource: str) -> None:
    world = running("support/triage")
    scaled_by_another(world)
    edit_replicas(world, manager, operation, subresource)
    change, (drift,) = of_deployment(world)
    assert change is None
    assert (drift.manager, drift.undone) == (manager, False)


def scaled_by_another(world: World) -> ObjectRef:
    """An autoscaler that is not ours, on the Deployment of support/triage."""
    scaler = ref("HorizontalPodAutoscaler", "support/elsewhere")
    world.store("local", scaler, {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "triage"}}})
    return scaler


def test_what_an_autoscaler_left_behind_is_nobodys_when_it_is_gone() -> None:
    world, cache = running("support/triage"), PlanCache()
    scaler = scaled_by_another(world)
    edit_replicas(world, "kube-controller-manager", "Update", "scale")
    assert world.plan(cache=cache).changes == ()
    del world.live["local"][scaler]
    warm = world.plan(cache=cache)
    assert warm == world.plan()
    (change,) = warm.changes
    assert [(item.manager, item.after, item.undone) for item in change.drift] == [("kube-controller-manager", 9, True)]
    world.apply(warm)
    assert world.plan().changes == ()


def test_an_adoption_leaves_the_count_to_an_autoscaler_that_is_there() -> None:
    world = World(files=fleet_files("support/triage"))
    world.files[path_of("support/triage")] = agent("support/triage", adopt=True, replicas=2)
    world.converge()
    scaled_by_another(world)
    target = ref("Deployment", "support/triage")
    world.edit(target, lambda body: body["metadata"]["annotations"].clear(), {}, manager="")
    edit_replicas(world, "kube-controller-manager", "Update", "scale")
    world.records.clear()
    change, drift = of_deployment(world)
    assert change is not None
    assert change.manifest is not None
    assert "replicas" not in change.manifest.body["spec"]
    assert [(item.path, item.undone) for item in drift if item.path == "spec.replicas"] == [("spec.replicas", False)]


@pytest.mark.parametrize("namespace", ["", "support"])
def test_an_autoscaler_that_cannot_be_seen_may_be_there(namespace: str) -> None:
    world = running("support/triage")
    edit_replicas(world, "kube-controller-manager", "Update", "scale")
    world.partly["local"] = {("HorizontalPodAutoscaler", namespace): "forbidden"}
    assert world.plan().changes == ()


def test_what_is_left_is_not_sent_when_something_else_changes() -> None:
    world = running("support/triage")
    edit_replicas(world, "keda", "Apply")
    world.files[path_of("support/triage")] = agent("support/triage", image="ghcr.io/acme/agent:2.0.0")
    change, (drift,) = of_deployment(world)
    assert change is not None
    assert change.manifest is not None
    assert "replicas" not in change.manifest.body["spec"]
    assert change.force == ()
    assert not drift.undone
    world.converge()
    assert world.plan().changes == ()
    assert len(world.plan().drift) == 1


def test_an_autoscaler_gets_the_live_count_or_its_minimum_and_then_owns_it() -> None:
    world = running("support/triage")
    scaling = {"min": 2, "max": 10, "metrics": [{"cpu": "70%"}]}
    world.files[path_of("support/triage")] = agent("support/triage", autoscaling=scaling)
    change, drift = of_deployment(world)
    assert change is not None
    assert change.hand_over_replicas == 2
    assert drift == []
    world.converge()
    edit_replicas(world, "kube-controller-manager", "Update", "scale")
    plan = world.plan()
    assert (plan.changes, plan.drift) == ((), ())


def test_stripping_our_mark_gives_nothing_away_but_another_mark_does() -> None:
    world = running("support/triage")
    target = ref("Deployment", "support/triage")
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:agents.codevald.io/tracking-id": {}}}}
    world.edit(target, lambda body: body["metadata"]["annotations"].clear(), fields, manager="")
    change, _ = of_deployment(world)
    assert change is not None
    world.edit(
        target,
        lambda body: body["metadata"]["annotations"].update({"agents.codevald.io/tracking-id": "x:other"}),
        fields,
    )
    plan = world.plan()
    assert plan.changes == ()
    assert "another fleet" in plan.holds[0].text


@pytest.mark.parametrize(
    ("metadata", "who"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "a"}}, "Argo"),
        ({"annotations": {"config.k8s.io/owning-inventory": "a"}}, "inventory"),
        ({"annotations": {"meta.helm.sh/release-name": "a"}}, "Helm"),
        ({"labels": {"applyset.kubernetes.io/part-of": "a"}}, "ApplySet"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "a"}}, "Flux"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "a"}}, "Flux"),
        ({"labels": {"kapp.k14s.io/app": "a"}}, "kapp"),
        ({"ownerReferences": [{"kind": "Tenant", "name": "t", "controller": True}]}, "Tenant"),
        ({}, "no mark"),
    ],
)
def test_objects_of_others_are_refused_and_never_deleted(metadata: dict[str, Any], who: str) -> None:
    world = World(files=fleet_files("support/triage"))
    world.store("local", ref("Service", "support/triage"), {"metadata": metadata, "spec": {}})
    plan = world.plan()
    assert plan.changes == ()
    assert who in plan.holds[0].text
    world.files[path_of("support/triage")] = agent("support/triage", adopt=True)
    assert [str(change.action) for change in world.plan().changes] == ["adopt"]


def test_an_object_that_another_tool_took_is_not_deleted() -> None:
    world = running("support/triage", "support/knowledge")
    del world.files[path_of("support/triage")]
    fields: dict[str, Any] = {"f:metadata": {"f:labels": {"f:kapp.k14s.io/app": {}}}}
    target = ref("Service", "support/triage")
    world.edit(target, lambda body: body["metadata"]["labels"].update({"kapp.k14s.io/app": "x"}), fields)
    plan = world.plan()
    assert plan.changes == ()
    assert [hold.agents for hold in plan.holds] == [(AgentName.parse("support/triage"),)]


def test_an_object_made_anew_by_somebody_else_is_theirs() -> None:
    world = running("support/triage", "support/knowledge")
    target = ref("Service", "support/triage")
    world.store("local", target, {"metadata": {}, "spec": {}})
    assert world.plan().changes == ()
    del world.files[path_of("support/triage")]
    (change,) = world.plan().changes
    assert target not in [item.ref for item in change.objects]


def test_an_object_with_our_mark_on_no_record_is_reported() -> None:
    world = running("support/triage")
    stray = ref("Service", "support/lost")
    mark = {"annotations": {"agents.codevald.io/tracking-id": "/Service:support/lost:acme"}}
    world.store("local", stray, {"metadata": mark})
    plan = world.plan()
    assert plan.changes == ()
    assert [(item.ref, item.undone) for item in plan.drift] == [(stray, False)]


def test_an_unfinished_apply_is_finished() -> None:
    world = running("support/triage")
    record = world.records[AgentName.parse("support/triage")]
    import dataclasses

    lost_track = tuple(dataclasses.replace(entry, uid="", resource_version="", hash="") for entry in record.inventory)
    world.alter("support/triage", inventory=lost_track)
    (change,) = world.plan().changes
    assert str(change.action) == "recover"
    assert [str(reason.code) for reason in change.reasons] == ["unfinished"]
    assert {item.verb for item in change.objects} == {Verb.APPLY}


def test_an_immutable_field_forces_a_replacement_with_both_preconditions() -> None:
    world = running("support/triage")
    target = ref("Deployment", "support/triage")
    world.edit(
        target,
        lambda body: body["spec"].update(selector={"matchLabels": {"old": "selector"}}),
        {"f:spec": {"f:selector": {}}},
        manager="",
    )
    world.files[path_of("support/triage")] = agent("support/triage", image="ghcr.io/acme/agent:2.0.0")
    (change,) = world.plan().changes
    assert str(change.action) == "replace"
    replaced = next(item for item in change.objects if item.ref == target)
    seen = world.live["local"][target]
    assert (replaced.verb, replaced.expect) == (Verb.REPLACE, _exactly(seen.uid, seen.resource_version))


def _exactly(uid: str, version: str) -> object:
    from reconciler.model.objects import MustBe

    return MustBe(uid=uid, resource_version=version)
