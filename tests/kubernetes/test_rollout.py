"""Rollouts on a real control plane: never below the declared availability, and failures with the reason for people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.model.events import Outcome, RolloutProgress
from reconciler.model.plan import HoldCode
from tests.engine.fleets import applied, finished, plan_of, snapshot
from tests.kubernetes.fleets import PlaneFleet, watched_status

pytestmark = pytest.mark.controlplane

LOG = Path(__file__).parents[1] / "controlplane" / "logs" / "current.log"
FOUR = "  replicas: 4\n  ports: [{name: http, port: 8080}]\n  rollout: {timeout: 40s}\n"
SHORT = "  rollout: {timeout: 3s}\n"


async def test_a_rolling_update_never_falls_below_what_is_declared(control_plane, namespace, fleet):
    fleet.declare("web", FOUR, behaviour="slow", ready_after="300ms")
    async with await fleet.session() as session:
        await applied(session)
        with watched_status(control_plane, namespace, "web") as seen:
            fleet.declare("web", FOUR, image="acme/agent:2", behaviour="slow", ready_after="300ms")
            events = await applied(session)
    assert finished(events)[f"{namespace}/web"].outcome is Outcome.APPLIED
    assert len(seen) > 5, "the rollout was watched while it went on"
    assert min(available for _, available in seen) >= 4
    assert {wanted for wanted, _ in seen} == {4}
    live = control_plane.get("deployment", "web", "-n", namespace)
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "acme/agent:2"
    told = [event.text for event in events if isinstance(event, RolloutProgress)]
    assert any("ready" in text for text in told)


async def test_a_broken_update_goes_back_and_serves_all_the_while(control_plane, namespace, fleet):
    fleet.declare("web", FOUR)
    async with await fleet.session() as session:
        await applied(session)
        with watched_status(control_plane, namespace, "web") as seen:
            fleet.declare("web", FOUR, image="acme/agent:broken", behaviour="crash-loop", exit_code="3")
            done = finished(await applied(session))[f"{namespace}/web"]
        assert done.outcome is Outcome.ROLLED_BACK
        assert "exit code 3" in done.reason
        assert min(available for _, available in seen) >= 4
        live = control_plane.get("deployment", "web", "-n", namespace)
        assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "acme/agent:1"
        plan = await plan_of(session)
        assert not plan.changes
        assert [hold.code for hold in plan.holds] == [HoldCode.QUARANTINED]


FAILURES = {  # with what is said, as patterns; of one that is never ready the cluster may say it first
    "image-missing": ({"behaviour": "image-missing"}, ("ImagePull", "acme/agent:9")),
    "crash-loop": ({"behaviour": "crash-loop", "exit_code": "7"}, ("CrashLoopBackOff", "exit code 7")),
    "never-ready": ({"behaviour": "never-ready"}, ("not ready after 3 s|ProgressDeadlineExceeded",)),
}


@pytest.mark.parametrize(("marks", "words"), FAILURES.values(), ids=FAILURES)
async def test_a_creation_that_fails_says_why_and_is_undone(control_plane, namespace, fleet, marks, words):
    fleet.declare("web", SHORT, image="acme/agent:9", **marks)
    async with await fleet.session() as session:
        done = finished(await applied(session))[f"{namespace}/web"]
        assert done.outcome is Outcome.UNDONE
        for word in words:
            assert re.search(word, done.reason)
        record = (await snapshot(session)).records
        assert all(not one.inventory for one in record.values())
    assert (
        control_plane.get("deployments,services,configmaps", "-n", namespace, "-l", "agents.codevald.io/agent")["items"]
        == []
    )


async def test_a_crashed_process_is_told_with_the_last_lines_of_its_log(control_plane, namespace, fleet):
    fleet.declare("web", SHORT, behaviour="crash-loop")
    async with await fleet.session() as session:
        done = finished(await applied(session))[f"{namespace}/web"]
    assert LOG.read_text().splitlines()[-1].split(" ", 3)[3] in done.reason


async def test_pods_that_no_node_takes_are_told_with_what_is_missing(control_planes, tmp_path):
    plane = control_planes(1)[0]
    plane.create_namespace("team")
    fleet = PlaneFleet(tmp_path / "fleet", plane, "team")
    fleet.declare("web", SHORT)
    async with await fleet.session() as session:
        plan = await plan_of(session)
        for node in plane.get("nodes")["items"]:
            plane.kubectl("cordon", node["metadata"]["name"])
        done = finished(await applied(session, plan))["team/web"]
    assert done.outcome is Outcome.UNDONE
    assert "Unschedulable" in done.reason
    assert "nodes are available" in done.reason


async def test_a_quota_that_is_used_up_is_told(control_plane, namespace, fleet):
    control_plane.kubectl("create", "quota", "none", "--hard=pods=0", "-n", namespace)
    fleet.declare("web", SHORT)
    async with await fleet.session() as session:
        done = finished(await applied(session))[f"{namespace}/web"]
    assert done.outcome is Outcome.UNDONE
    assert "exceeded quota" in done.reason


async def test_a_namespace_that_is_not_there_is_told_with_what_to_type_and_that_is_all_there_is_to_do(
    control_plane, tmp_path
):
    fleet = PlaneFleet(tmp_path / "fleet", control_plane, "nowhere")
    fleet.declare("web")
    async with await fleet.session() as session:
        done = finished(await applied(session))["nowhere/web"]
        assert (done.outcome, done.text) == (Outcome.FAILED, "not finished")
        assert "kubectl create namespace nowhere" in done.reason
        control_plane.kubectl("create", "namespace", "nowhere")
        assert finished(await applied(session))["nowhere/web"].outcome is Outcome.APPLIED
