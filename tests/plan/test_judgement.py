"""What a plan does about foreign writes that a plain apply would not undo: obstacles, shared fields, lost records."""

from __future__ import annotations

import json
from typing import Any

from reconciler.model.objects import FIELD_MANAGER, TRACKING_ANNOTATION, Manifest
from reconciler.model.plan import Change, Drift, Missing, ObjectChange, ReasonCode, Verb
from tests.plan.builders import World, agent, owned_by, path_of, ref, running

TRIAGE = "support/triage"
DEPLOYMENT, SERVICE, CONFIG = (ref(kind, TRIAGE) for kind in ("Deployment", "Service", "ConfigMap"))
PORTS: dict[str, Any] = {
    "f:spec": {"f:ports": {'k:{"port":8080,"protocol":"TCP"}': {}, 'k:{"port":9090,"protocol":"TCP"}': {}}}
}
NEW_PORT = ("f:spec", "f:ports", 'k:{"port":9090,"protocol":"TCP"}')


def move_port(world: World, **who: str) -> None:
    """Somebody gives the Service's port another number: ours is gone, and another has its name."""
    world.edit(SERVICE, lambda body: body["spec"]["ports"][0].update(port=9090), PORTS, **who)


def only(world: World) -> tuple[Change, ObjectChange]:
    (change,) = world.plan().changes
    (item,) = change.objects
    return change, item


def test_an_obstacle_is_taken_over_so_that_it_goes() -> None:
    world = running(TRIAGE)
    move_port(world)
    change, item = only(world)
    assert (item.verb, item.take, item.force) == (Verb.APPLY, (NEW_PORT,), ("kubectl",))
    gone = [drift for drift in change.drift if drift.before is Missing.FIELD]
    assert [(drift.path, drift.manager, drift.undone) for drift in gone] == [("spec.ports[9090]", "kubectl", True)]
    world.converge()
    assert [port["port"] for port in world.live["local"][SERVICE].body["spec"]["ports"]] == [8080]
    assert world.plan().changes == ()


def test_an_obstacle_of_another_apply_manager_is_left_with_what_it_keeps_out() -> None:
    world = running(TRIAGE)
    move_port(world, manager="policy", operation="Apply")
    plan = world.plan()
    assert plan.changes == ()
    assert {(drift.path.partition("]")[0], drift.manager, drift.undone) for drift in plan.drift} == {
        ("spec.ports[8080", "policy", False),
        ("spec.ports[9090", "policy", False),
    }
    world.files[path_of(TRIAGE)] = agent(TRIAGE, image="ghcr.io/acme/agent:2.0.0")
    (change,) = world.plan().changes
    (item,) = (item for item in change.objects if item.ref == SERVICE)
    assert isinstance(item.manifest, Manifest)
    assert item.manifest.body["spec"]["ports"] == []
    assert (item.take, item.force) == ((), ())


def test_what_git_drops_goes_though_a_hand_edit_shares_it() -> None:
    """As after an adoption, or after somebody made a copy of ours: an apply alone would leave it there for ever."""
    env = [{"name": "LEVEL", "value": "info"}]
    world = running(TRIAGE)
    world.files[path_of(TRIAGE)] = agent(TRIAGE, env=env)
    world.converge()
    fields: dict[str, Any] = {"f:env": {'k:{"name":"LEVEL"}': {".": {}, "f:name": {}, "f:value": {}}}}
    shared: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"agent"}': fields}}}}}
    world.live["local"][DEPLOYMENT].body["metadata"]["managedFields"].append(
        owned_by("kubectl-create", shared, operation="Update")
    )
    world.touch(DEPLOYMENT)
    assert world.plan().changes == ()
    world.files[path_of(TRIAGE)] = agent(TRIAGE)
    world.converge()
    (container,) = world.live["local"][DEPLOYMENT].body["spec"]["template"]["spec"]["containers"]
    assert "LEVEL" not in [item["name"] for item in container["env"]]


def test_what_git_drops_stays_where_another_apply_manager_says_it_too() -> None:
    world = running(TRIAGE)
    world.files[path_of(TRIAGE)] = agent(TRIAGE, args=["--fast"])
    world.converge()
    fields: dict[str, Any] = {"f:containers": {'k:{"name":"agent"}': {"f:args": {}}}}
    tree: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": fields}}}
    world.live["local"][DEPLOYMENT].body["metadata"]["managedFields"] += [
        owned_by("policy", tree),
        owned_by("kubectl-create", tree, operation="Update"),
    ]
    world.touch(DEPLOYMENT)
    world.files[path_of(TRIAGE)] = agent(TRIAGE)
    (change,) = world.plan().changes
    assert [item.take for item in change.objects if item.ref == DEPLOYMENT] == [()]


def test_replicas_are_handed_over_and_not_taken_when_an_autoscaler_comes() -> None:
    world = running(TRIAGE)
    tree: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
    world.live["local"][DEPLOYMENT].body["metadata"]["managedFields"].append(
        owned_by("kubectl", tree, operation="Update", subresource="scale")
    )
    world.touch(DEPLOYMENT)
    world.files[path_of(TRIAGE)] = agent(TRIAGE, autoscaling={"min": 2, "max": 4, "metrics": [{"cpu": "70%"}]})
    (change,) = world.plan().changes
    (item,) = (item for item in change.objects if item.ref == DEPLOYMENT)
    assert (item.hand_over_replicas, item.take) == (2, ())


def forget(world: World) -> None:
    world.live["local"][DEPLOYMENT].body["metadata"]["managedFields"] = []
    world.touch(DEPLOYMENT)


def test_an_object_that_forgot_who_applied_it_is_applied_again_once() -> None:
    world = running(TRIAGE)
    forget(world)
    change, item = only(world)
    assert change.reasons[0].code is ReasonCode.DRIFT
    assert change.drift == (
        Drift(
            cluster="local",
            ref=DEPLOYMENT,
            path="metadata.managedFields",
            manager="",
            before=FIELD_MANAGER,
            after=Missing.FIELD,
        ),
    )
    assert item.take == (("f:metadata", "f:annotations", f"f:{TRACKING_ANNOTATION}"),)
    world.converge()
    assert world.plan().changes == ()


def test_an_object_that_forgot_is_applied_as_git_says_now() -> None:
    world = running(TRIAGE)
    forget(world)
    world.files[path_of(TRIAGE)] = agent(TRIAGE, image="ghcr.io/acme/agent:2.0.0")
    (change,) = world.plan().changes
    assert [len(item.take) for item in change.objects if item.ref == DEPLOYMENT] == [1]
    world.converge()
    assert world.plan().changes == ()


def test_what_somebody_applied_in_our_name_goes() -> None:
    world = running(TRIAGE)
    body = world.live["local"][SERVICE].body
    body["spec"]["sessionAffinity"] = "ClientIP"
    body["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:sessionAffinity"] = {}
    world.touch(SERVICE)
    change, item = only(world)
    assert [(drift.path, drift.manager, drift.before) for drift in change.drift] == [
        ("spec.sessionAffinity", FIELD_MANAGER, Missing.FIELD)
    ]
    assert (item.force, item.take) == ((), ())
    world.converge()
    assert "sessionAffinity" not in world.live["local"][SERVICE].body["spec"]
    assert world.plan().changes == ()


def test_a_copy_of_ours_is_made_ours_again_and_called_what_it_is() -> None:
    world = running(TRIAGE)
    copy = dict(world.live["local"][DEPLOYMENT].body)
    entry = copy["metadata"]["managedFields"][0]
    copy["metadata"] |= {"managedFields": [entry | {"manager": "kubectl-create", "operation": "Update"}]}
    world.store("local", DEPLOYMENT, copy)
    change, item = only(world)
    assert [reason.code for reason in change.reasons] == [ReasonCode.DRIFT]
    assert item.verb is Verb.APPLY
    world.converge()
    assert world.plan().changes == ()


def test_a_sealed_config_map_is_replaced_where_its_data_changes() -> None:
    world = running(TRIAGE)
    world.edit(CONFIG, lambda body: body.update(immutable=True), {"f:immutable": {}})
    assert world.plan().changes == (), "sealing it changes nothing that is ours"
    labelled = json.loads(agent(TRIAGE))
    labelled["metadata"]["labels"] = {"team": "support"}
    for text, verb in ((json.dumps(labelled), Verb.APPLY), (agent(TRIAGE, systemMessage="other"), Verb.REPLACE)):
        world.files[path_of(TRIAGE)] = text
        (change,) = world.plan().changes
        assert [item.verb for item in change.objects if item.ref == CONFIG] == [verb]
