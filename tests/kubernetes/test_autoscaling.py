"""Agents with autoscalers on a real control plane: the real HPA controller owns the replicas, and nobody is dropped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from reconciler.model.events import Outcome
from reconciler.model.plan import Action
from tests.controlplane.plane import ControlPlane
from tests.doubles.metrics_api import MetricsApi
from tests.engine.fleets import applied, finished, plan_of
from tests.kubernetes.fleets import watched_status

pytestmark = pytest.mark.controlplane

AT_ONCE = (
    "behavior: {scaleUp: {stabilization: 0s, policies: [{pods: 20, period: 1s}]},"
    " scaleDown: {stabilization: 0s, policies: [{pods: 20, period: 1s}]}}"
)
METRICS = {
    "cpu": "{cpu: 50%}",
    "memory": "{memory: {average: 32Mi}}",
    "pods": '{pods: {name: queue_depth, average: "30"}}',
    "object": '{object: {name: requests, object: {apiVersion: v1, kind: Service, name: object}, average: "10"}}',
    "external": '{external: {name: messages, average: "100"}}',
}


def autoscaled(metric: str, *, low: int = 2, high: int = 10) -> str:
    return (
        "  resources: {requests: {cpu: 100m, memory: 32Mi}}\n"
        "  ports: [{name: http, port: 8080}]\n"
        f"  autoscaling: {{min: {low}, max: {high}, metrics: [{METRICS[metric]}], {AT_ONCE}}}\n"
    )


def asks_for_seven(metrics: MetricsApi, namespace: str) -> None:
    """Let every metric, each that of the agent of its name, make the controller want at least seven."""
    metrics.use(namespace, "cpu", cpu="175m", memory="1Mi")
    metrics.use(namespace, "memory", cpu="1m", memory="112Mi")
    metrics.pods(namespace, "pods", "queue_depth", "105")
    metrics.object(namespace, "services", "object", "requests", "70")
    metrics.external(namespace, "messages", "700")


def wait_for_replicas(plane: ControlPlane, namespace: str, count: Callable[[int], bool], *, name: str = "web") -> int:
    def look() -> int:
        live: dict[str, Any] = plane.get("deployment", name, "-n", namespace)
        found = int(live["spec"]["replicas"])
        settled = live["status"].get("availableReplicas") == found
        return found if settled and count(found) else 0

    return plane.wait_for("the autoscaler's replicas", look)


async def test_the_autoscaler_owns_the_replicas(control_plane, metrics_api, namespace, fleet):
    for metric in METRICS:
        fleet.declare(metric, autoscaled(metric))
    async with await fleet.session() as session:
        done = finished(await applied(session))
        assert {event.outcome for event in done.values()} == {Outcome.APPLIED}
        assert len(done) == len(METRICS)
        asks_for_seven(metrics_api, namespace)
        for metric in METRICS:
            assert 7 <= wait_for_replicas(control_plane, namespace, lambda found: found >= 7, name=metric) <= 10
        assert not (await plan_of(session)).changes, "what the autoscaler does is no drift"
        with ExitStack() as watches:
            seen = {
                metric: watches.enter_context(watched_status(control_plane, namespace, metric)) for metric in METRICS
            }
            for metric in METRICS:
                fleet.declare(metric, autoscaled(metric), image="acme/agent:2")
            done = finished(await applied(session))
            assert {event.outcome for event in done.values()} == {Outcome.APPLIED}
    for states in seen.values():
        assert min(wanted for wanted, _ in states) >= 7, "an update writes no replicas"
        assert min(available for _, available in states) >= 7


async def test_the_plan_says_who_scales_and_how_many_run(control_plane, metrics_api, namespace, fleet):
    fleet.declare("web", autoscaled("external"))
    async with await fleet.session() as session:
        await applied(session)
        metrics_api.external(namespace, "messages", "700")
        wait_for_replicas(control_plane, namespace, lambda found: found == 7)
        fleet.declare("web", autoscaled("external"), image="acme/agent:2")
        change = (await plan_of(session)).changes[0]
    assert change.replicas_text == "autoscaled 2-10, live 7"


async def test_taking_an_autoscaler_up_and_giving_it_up_never_drops_below_what_runs(
    control_plane, metrics_api, namespace, fleet
):
    fixed = "  replicas: 5\n  ports: [{name: http, port: 8080}]\n  resources: {requests: {cpu: 100m, memory: 32Mi}}\n"
    metrics_api.external(namespace, "messages", "500")
    fleet.declare("web", fixed)
    async with await fleet.session() as session:
        await applied(session)
        with watched_status(control_plane, namespace, "web") as seen:
            fleet.declare("web", autoscaled("external"))
            assert finished(await applied(session))[f"{namespace}/web"].outcome is Outcome.APPLIED
            wait_for_replicas(control_plane, namespace, lambda found: found == 5)
            metrics_api.external(namespace, "messages", "600")
            wait_for_replicas(control_plane, namespace, lambda found: found == 6)
            fleet.declare("web", fixed.replace("replicas: 5", "replicas: 6"))
            assert finished(await applied(session))[f"{namespace}/web"].outcome is Outcome.APPLIED
        assert min(wanted for wanted, _ in seen) >= 5
        assert min(available for _, available in seen) >= 5
        assert not (await plan_of(session)).changes
    owners = {
        (entry["manager"], entry["operation"])
        for entry in control_plane.get("deployment", "web", "-n", namespace, "--show-managed-fields")["metadata"][
            "managedFields"
        ]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }
    assert ("reconciler", "Apply") in owners, "Git has them again"


async def test_replicas_that_somebody_scales_by_hand_are_the_autoscalers_matter(
    control_plane, metrics_api, namespace, fleet
):
    metrics_api.external(namespace, "messages", "300")
    fleet.declare("web", autoscaled("external"))
    async with await fleet.session() as session:
        await applied(session)
        wait_for_replicas(control_plane, namespace, lambda found: found == 3)
        control_plane.kubectl("scale", "deployment/web", "--replicas=8", "-n", namespace)
        plan = await plan_of(session)
        assert all(change.action is not Action.RECOVER for change in plan.changes)
        wait_for_replicas(control_plane, namespace, lambda found: found == 3)
