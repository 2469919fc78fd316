"""Replicas on their way to an autoscaler and back: whoever sets them, they never fall below what runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.cli.views.plan_text import render_text
from reconciler.model.events import Outcome
from reconciler.model.objects import FIELD_MANAGER, AnyState, LiveObject, Manifest, Precondition
from reconciler.model.plan import Action, Plan
from tests.doubles.never_ready import NEVER_READY
from tests.engine.fleets import agent, applied, finished, plan_of, record
from tests.engine.test_apply_failures import deployment, objects

NAME = "support/triage"
REQUESTS = "  resources: {requests: {cpu: 100m}}\n"
HPA = "kube-controller-manager"


def autoscaled(least: int = 2, most: int = 9) -> str:
    return f"{REQUESTS}  autoscaling: {{min: {least}, max: {most}, metrics: [{{cpu: 70%}}]}}\n"


def counted(replicas: int) -> str:
    return f"{REQUESTS}  replicas: {replicas}\n"


def text(plan: Plan) -> str:
    return render_text(plan, color=False)


async def scale(world: Any, replicas: int, *, manager: str = HPA) -> None:
    """Write the count to the subresource, as an autoscaler and `kubectl scale` do."""
    live = await deployment(world)
    world.cluster._store.update(
        {**live.body, "spec": {**live.body["spec"], "replicas": replicas}}, manager=manager, subresource="scale"
    )


class Seen:
    """Every replica count that a Deployment had after a write of ours, and which kinds were written, in order."""

    def __init__(self, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: list[int] = []
        self.kinds: list[str] = []
        cluster = world.cluster
        apply, delete = cluster.apply, cluster.delete

        async def applying(
            manifest: Manifest, expect: Precondition, *, manager: str = FIELD_MANAGER, **options: Any
        ) -> LiveObject:
            live: LiveObject = await apply(manifest, expect, manager=manager, **options)
            self.kinds.append(manifest.ref.kind)
            if manifest.ref.kind == "Deployment":
                self.counts.append(live.body["spec"]["replicas"])
            return live

        async def deleting(ref: Any, expect: Precondition) -> None:
            await delete(ref, expect)
            self.kinds.append(f"-{ref.kind}")

        monkeypatch.setattr(cluster, "apply", applying)
        monkeypatch.setattr(cluster, "delete", deleting)


async def autoscalers(world: Any) -> Mapping[str, Any]:
    return {
        ref.name: live.body["spec"]
        for ref, live in (await objects(world)).items()
        if ref.kind == "HorizontalPodAutoscaler"
    }


async def test_a_new_agent_starts_with_its_minimum_and_not_with_one(world, monkeypatch):
    seen = Seen(world, monkeypatch)
    world.commit(triage=agent("triage", autoscaled(3)))
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    assert (await deployment(world)).body["spec"]["replicas"] == 3
    assert seen.kinds[-1] == "HorizontalPodAutoscaler"
    assert (await plan_of(world)).changes == ()


async def test_the_count_of_a_strangers_object_of_that_name_is_left_alone(world):
    world.commit(triage=agent("triage", counted(3)))
    await applied(world)
    world.commit(triage=agent("triage", autoscaled(5)))
    plan, ours = await plan_of(world), await deployment(world)
    await world.cluster.delete(ours.ref, AnyState())
    metadata = {"name": "triage", "namespace": "support"}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}
    world.cluster._store.create({**body, "spec": {**ours.body["spec"], "replicas": 1}}, manager="helm")
    assert finished(await applied(world, plan))[NAME].outcome is Outcome.FAILED
    theirs = await deployment(world)
    assert {entry["manager"] for entry in theirs.metadata["managedFields"]} <= {"helm", "embedded-controller"}
    assert theirs.body["spec"]["replicas"] == 1


async def test_an_autoscaler_may_write_what_it_wants_from_then_on(world):
    world.commit(triage=agent("triage", autoscaled(3)))
    await applied(world)
    await scale(world, 7)
    assert (await plan_of(world)).changes == ()
    world.commit(triage=agent("triage", autoscaled(3), image="acme/agent:2"))
    plan = await plan_of(world)
    assert "# replicas: autoscaled 3-9, live 7" in text(plan)
    await applied(world, plan)
    assert (await deployment(world)).body["spec"]["replicas"] == 7
    assert (await plan_of(world)).changes == ()


@pytest.mark.parametrize("declared", ["  replicas: 3\n", ""])
async def test_giving_up_an_autoscaler_keeps_what_runs_and_the_next_plan_scales(world, monkeypatch, declared):
    wanted = 3 if declared else 1
    world.commit(triage=agent("triage", autoscaled()))
    await applied(world)
    await scale(world, 7)
    world.commit(triage=agent("triage", REQUESTS + declared))
    plan = await plan_of(world)
    assert f"# replicas: live 7 are kept while the autoscaler goes; {wanted} are declared" in text(plan)
    assert plan.changes[0].drift == ()
    seen = Seen(world, monkeypatch)
    assert finished(await applied(world, plan))[NAME].outcome is Outcome.APPLIED
    assert set(seen.counts) == {7}
    assert seen.kinds.index("-HorizontalPodAutoscaler") < seen.kinds.index("Deployment")
    assert await autoscalers(world) == {}

    then = await plan_of(world)
    assert [(change.action, change.replicas) for change in then.changes] == [(Action.SCALE, (7, wanted))]
    assert "replicas: 7 are kept" not in text(then)
    assert finished(await applied(world, then))[NAME].text == f"scaled 7 -> {wanted}"
    assert (await deployment(world)).body["spec"]["replicas"] == wanted
    assert (await plan_of(world)).changes == ()


async def test_giving_up_an_autoscaler_for_more_than_runs_goes_there_at_once(world, monkeypatch):
    world.commit(triage=agent("triage", autoscaled()))
    await applied(world)
    await scale(world, 4)
    seen = Seen(world, monkeypatch)
    world.commit(triage=agent("triage", counted(6)))
    await applied(world)
    assert set(seen.counts) == {6}
    assert (await plan_of(world)).changes == ()


async def test_an_autoscaler_that_never_wrote_is_given_up_too(world):
    """The count is then still held by the name that handed it over."""
    world.commit(triage=agent("triage", counted(5)))
    await applied(world)
    world.commit(triage=agent("triage", autoscaled()))
    await applied(world)
    world.commit(triage=agent("triage", counted(2)))
    await applied(world)
    assert (await deployment(world)).body["spec"]["replicas"] == 5
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    assert (await deployment(world)).body["spec"]["replicas"] == 2
    assert (await plan_of(world)).changes == ()


async def test_suspending_what_is_autoscaled_stops_it_and_resuming_brings_its_minimum(world, monkeypatch):
    """An autoscaler leaves a Deployment of zero alone, so somebody else has to raise it."""
    world.commit(triage=agent("triage", autoscaled()))
    await applied(world)
    await scale(world, 7)
    world.commit(triage=agent("triage", autoscaled() + "  suspend: true\n"))
    await applied(world)
    assert (await deployment(world)).body["spec"]["replicas"] == 0
    assert (await plan_of(world)).changes == ()
    seen = Seen(world, monkeypatch)
    world.commit(triage=agent("triage", autoscaled()))
    await applied(world)
    assert (await deployment(world)).body["spec"]["replicas"] == 2
    assert 1 not in seen.counts
    assert (await autoscalers(world))["triage"]["minReplicas"] == 2
    assert (await plan_of(world)).changes == ()


async def test_what_was_scaled_to_zero_by_hand_is_raised_to_its_minimum(world):
    world.commit(triage=agent("triage", autoscaled()))
    await applied(world)
    await scale(world, 0, manager="kubectl")
    plan = await plan_of(world)
    assert [change.action for change in plan.changes] == [Action.RECOVER]
    assert "spec.replicas: 2 -> 0" in text(plan)
    await applied(world, plan)
    assert (await deployment(world)).body["spec"]["replicas"] == 2
    assert (await plan_of(world)).changes == ()


async def test_a_failed_giving_up_goes_back_to_the_autoscaler_without_a_drop(world, monkeypatch):
    world.commit(triage=agent("triage", autoscaled()))
    await applied(world)
    await scale(world, 7)
    seen = Seen(world, monkeypatch)
    world.commit(triage=agent("triage", counted(3), image=f"acme/agent:{NEVER_READY}"))
    assert finished(await applied(world))[NAME].outcome is Outcome.ROLLED_BACK
    assert set(seen.counts) == {7}
    assert set(await autoscalers(world)) == {"triage"}
    assert (await record(world, NAME)).quarantine is not None


async def test_a_bound_moves_without_touching_the_count(world, monkeypatch):
    world.commit(triage=agent("triage", autoscaled()))
    await applied(world)
    await scale(world, 7)
    seen = Seen(world, monkeypatch)
    world.commit(triage=agent("triage", autoscaled(4, 12)))
    plan: Plan = await plan_of(world)
    assert "# replicas: autoscaled 4-12, live 7" in text(plan)
    await applied(world, plan)
    assert (await deployment(world)).body["spec"]["replicas"] == 7
    assert 1 not in seen.counts
