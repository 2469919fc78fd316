"""Releases of Helm as planned: recorded from Helm 4.3.1 on Kubernetes 1.36.3 by tests/helm/test_chart_and_plan.py."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import MustBe
from reconciler.model.plan import Action, HoldCode
from tests.plan.builders import BASE, World, agent, fleet_files, path_of, ref

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recorded" / "helm-release.json").read_text(encoding="utf-8")
)
NAME = "support/triage"
FILE = path_of(NAME)


def released(**spec: Any) -> World:
    """A fleet that declares the agent of the release, and has applied nothing."""
    world = World(files=fleet_files("support/other") | {FILE: agent(NAME, **spec)})
    for body in RECORDED:
        world.store("local", ref(body["kind"], NAME), copy.deepcopy(body))
    return world


def adopted() -> World:
    """The same after the agent has said `adopt: true` and was applied; it says so no more."""
    world = released(adopt=True)
    world.converge()
    world.files[FILE] = agent(NAME)
    world.converge()
    return world


def triage(world: World) -> dict[str, Action]:
    return {str(change.name): change.action for change in world.plan().changes}


def test_a_release_of_the_same_agent_is_held_and_the_others_go_on() -> None:
    world = released()
    assert triage(world) == {"support/other": Action.CREATE}
    (hold,) = world.plan().holds
    assert hold.code is HoldCode.FOREIGN_OWNER
    assert "belongs to Helm (triage)" in hold.text


def test_a_release_of_an_agent_that_is_declared_nowhere_is_no_stray() -> None:
    world = released()
    del world.files[FILE]
    world.converge()
    plan = world.plan()
    assert (plan.changes, plan.holds, plan.drift) == ((), (), ())


def test_adopting_takes_every_object_from_helm_and_nothing_else_by_force() -> None:
    world = released(adopt=True)
    (change,) = (change for change in world.plan().changes if str(change.name) == NAME)
    assert change.action is Action.ADOPT
    assert {item.ref for item in change.objects} == {ref(body["kind"], NAME) for body in RECORDED}
    for item in change.objects:
        assert item.force == ("helm",)
        assert item.expect == MustBe(uid=world.live["local"][item.ref].uid)


def test_once_adopted_it_is_the_fleets_whatever_marks_helm_left() -> None:
    world = adopted()
    plan = world.plan()
    assert (plan.changes, plan.holds, plan.drift) == ((), (), ())
    deployment = world.live["local"][ref("Deployment", NAME)].body
    assert "meta.helm.sh/release-name" in deployment["metadata"]["annotations"]


def test_what_helm_still_owns_beside_us_is_changed_like_ours() -> None:
    world = adopted()
    world.files["templates/base.yaml"] = BASE.replace("agent:1.0.0", "agent:2.0.0")
    plan = world.plan()
    assert triage(world)[NAME] is Action.UPDATE
    assert (plan.holds, plan.drift) == ((), ())
    world.apply(plan)
    pod = world.live["local"][ref("Deployment", NAME)].body["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "ghcr.io/acme/agent:2.0.0"
    assert world.plan().changes == ()


def test_an_adopted_agent_that_leaves_git_is_deleted() -> None:
    world = adopted()
    del world.files[FILE]
    assert triage(world) == {NAME: Action.DELETE}


def test_a_release_that_takes_its_objects_back_is_left_alone_again() -> None:
    """As `helm upgrade --take-ownership` does: Helm's label is there again."""
    world = adopted()
    target: ObjectRef = ref("ConfigMap", NAME)
    field: dict[str, Any] = {"f:metadata": {"f:labels": {"f:app.kubernetes.io/managed-by": {}}}}
    world.edit(
        target,
        lambda body: body["metadata"]["labels"].update({"app.kubernetes.io/managed-by": "Helm"}),
        field,
        manager="helm",
        operation="Apply",
    )
    (hold,) = world.plan().holds
    assert hold.code is HoldCode.FOREIGN_OWNER
    del world.files[FILE]
    assert world.plan().changes == ()
