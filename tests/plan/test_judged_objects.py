"""What the change of one object says beside its verb: what it expects, which count it keeps, what it can go back to."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from reconciler.model.objects import HANDOVER_MANAGER, LiveObject, Manifest, MustBe, MustBeAbsent
from reconciler.model.plan import Missing, ObjectChange, TakeBack, Verb
from reconciler.plan.judgement import Terms, judge
from tests.plan.builders import World, agent, fleet_files, owned_by, path_of, ref, running

TRIAGE = "support/triage"
DEPLOYMENT, CONFIG = ref("Deployment", TRIAGE), ref("ConfigMap", TRIAGE)
SCALED = agent(TRIAGE, autoscaling={"min": 2, "max": 4, "metrics": [{"cpu": "70%"}]})
REPLICAS: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
TERMS = Terms(fleet="acme")


def change_of(world: World, where: Any = DEPLOYMENT) -> ObjectChange:
    (item,) = (item for change in world.plan().changes for item in change.objects if item.ref == where)
    return item


def scaled(replicas: int) -> World:
    """An agent that an autoscaler of ours has scaled to so many."""
    world = World(fleet_files() | {path_of(TRIAGE): SCALED})
    world.converge()
    body: Any = world.live["local"][DEPLOYMENT].body
    body["spec"]["replicas"] = replicas
    body["metadata"]["managedFields"].append(
        owned_by("kube-controller-manager", REPLICAS, operation="Update", subresource="scale")
    )
    world.touch(DEPLOYMENT)
    return world


def test_what_is_new_must_not_be_there_and_begins_with_what_its_autoscaler_allows() -> None:
    plain, wanted = World(fleet_files(TRIAGE)), World(fleet_files() | {path_of(TRIAGE): SCALED})
    for world, count in ((plain, None), (wanted, 2)):
        item = change_of(world)
        assert (item.verb, item.expect, item.hand_over_replicas) == (Verb.CREATE, MustBeAbsent(), count)


@pytest.mark.parametrize(("live", "count"), [(3, 3), (1, 2)])
def test_a_deployment_that_is_made_anew_begins_with_as_many_as_ran(live: int, count: int) -> None:
    world = scaled(live)
    found = world.live["local"][DEPLOYMENT]
    found.body["spec"]["selector"] = {"matchLabels": {"app": "another"}}
    item = change_of(dataclasses.replace(world, records={}))
    assert item.verb is Verb.REPLACE
    assert item.expect == MustBe(uid=found.uid, resource_version=found.resource_version)
    assert item.hand_over_replicas == count


def test_a_count_comes_back_from_an_autoscaler_that_goes_and_never_falls_on_the_way() -> None:
    world = scaled(3)
    world.files[path_of(TRIAGE)] = agent(TRIAGE, replicas=3)
    assert change_of(world).take_back is TakeBack.AT_LEAST_LIVE


def test_a_count_that_is_still_held_for_an_autoscaler_that_went_is_made_ours() -> None:
    world = running(TRIAGE)
    assert change_of_changed(world).take_back is None
    world.live["local"][DEPLOYMENT].body["metadata"]["managedFields"].append(owned_by(HANDOVER_MANAGER, REPLICAS))
    assert change_of_changed(world).take_back is TakeBack.EXACTLY


def change_of_changed(world: World) -> ObjectChange:
    world.touch(DEPLOYMENT)
    world.files[path_of(TRIAGE)] = agent(TRIAGE, image="ghcr.io/acme/agent:2.0.0")
    return change_of(world)


def taken_from_kubectl(adopt: bool) -> ObjectChange | None:
    """The Deployment, made by hand with another image, unknown to the registry."""
    world = running(TRIAGE)
    manifest, live = wanted_and_live(world)
    body: Any = copy.deepcopy(live.body)
    body["metadata"].pop("annotations")
    body["metadata"]["managedFields"] = [
        owned_by("kubectl-client-side-apply", body["metadata"]["managedFields"][0]["fieldsV1"], operation="Update")
    ]
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "by/hand:1"
    found = dataclasses.replace(live, body=body)
    return judge("local", manifest, found, None, dataclasses.replace(TERMS, adopt=adopt)).change


def wanted_and_live(world: World) -> tuple[Manifest, LiveObject]:
    live = world.live["local"][DEPLOYMENT]
    probe = dataclasses.replace(world, live={}, records={})
    manifest = change_of(probe).manifest
    assert isinstance(manifest, Manifest)
    return manifest, live


def test_an_adoption_remembers_what_it_changes_and_nothing_else_remembers_anything() -> None:
    assert taken_from_kubectl(adopt=False) is None
    change = taken_from_kubectl(adopt=True)
    assert change is not None
    assert change.former is not None
    (container,) = change.former["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "by/hand:1"
    assert change_of_changed(running(TRIAGE)).former is None


def test_a_hand_edit_is_undone_by_an_adoption_whatever_scales_the_deployment() -> None:
    world = running(TRIAGE)
    manifest, live = wanted_and_live(world)
    body: Any = copy.deepcopy(live.body)
    container = body["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "by/policy:1"
    tree: dict[str, Any] = {
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"agent"}': {"f:image": {}}}}}}
    }
    fields = body["metadata"]["managedFields"][0]["fieldsV1"]
    del fields["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"agent"}']["f:image"]
    body["metadata"]["managedFields"].append(owned_by("policy", tree))
    body["metadata"].pop("annotations")
    found = dataclasses.replace(live, body=body)
    terms = dataclasses.replace(TERMS, adopt=True, autoscaled=lambda: True)
    change = judge("local", manifest, found, None, terms).change
    assert change is not None
    assert change.force == ("policy",)


def test_what_is_left_to_another_lacks_in_what_is_applied_and_nothing_else_does() -> None:
    manifest, _ = wanted_and_live(running(TRIAGE))
    item = change_of_changed(running(TRIAGE))
    assert isinstance(item.manifest, Manifest)
    assert item.manifest.body["spec"].keys() == manifest.body["spec"].keys()


@pytest.mark.parametrize(("path", "verb"), [(("data",), Verb.REPLACE), (("metadata", "labels"), Verb.APPLY)])
def test_a_sealed_config_map_is_replaced_where_git_drops_a_key_of_its_data_and_for_no_label(
    path: tuple[str, ...], verb: Verb
) -> None:
    world = running(TRIAGE)
    body: Any = world.live["local"][CONFIG].body
    body["immutable"] = True
    here, fields = body, body["metadata"]["managedFields"][0]["fieldsV1"]
    for step in path:
        here, fields = here[step], fields[f"f:{step}"]
    here["old"], fields["f:old"] = "1", {}
    world.touch(CONFIG)
    (change,) = dataclasses.replace(world, records={}).plan().changes
    assert [item.verb for item in change.objects if item.ref == CONFIG] == [verb]


def test_an_object_that_forgot_and_was_edited_is_told_with_both() -> None:
    world = running(TRIAGE)
    body: Any = world.live["local"][DEPLOYMENT].body
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "by/hand:1"
    body["metadata"]["managedFields"] = []
    world.touch(DEPLOYMENT)
    (change,) = world.plan().changes
    paths = [drift.path for drift in change.drift]
    assert "metadata.managedFields" in paths
    assert any(path.endswith("image") for path in paths), paths
    assert Missing.FIELD in [drift.after for drift in change.drift]
