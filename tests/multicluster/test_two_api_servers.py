"""Two real API servers, of which one is killed and brought back, or hangs: the others on time, nothing twice."""

from __future__ import annotations

import pytest

from reconciler.model.events import ChangeStarted, Outcome
from reconciler.model.plan import Policy, ReasonCode
from reconciler.model.registry import AgentState
from tests.engine.fleets import end, finished
from tests.kubernetes.fleets import fleet_on
from tests.multicluster.fleets import gone, gone_when_told

pytestmark = pytest.mark.controlplane

SPREAD = "policy: spread"
FAILOVER = "policy: failover, clusters: {names: [eu-1, us-1]}, failoverAfter: 5m, failbackAfter: 10m"
MINUTE = 60.0
COLLECTED_S = 180.0
"""In which a controller manager whose server was killed collects what lost its owner: it looks anew after a while."""


@pytest.mark.parametrize(
    ("placement", "replicas", "shares"),
    [
        (SPREAD, 5, (3, 2)),
        ("policy: all", 2, (2, 2)),
        ("policy: weighted, weights: {eu-1: 3, us-1: 1}", 8, (6, 2)),
        (FAILOVER, 3, (3, 0)),
    ],
)
async def test_each_policy_brings_up_its_share_on_each_server(fleet, placement, replicas, shares):
    fleet.declare("web", placement, replicas=replicas)
    assert finished(await fleet.apply())[f"{fleet.namespace}/web"].outcome is Outcome.APPLIED
    assert (fleet.ready(fleet.first, "web"), fleet.ready(fleet.second, "web")) == shares
    plan = await fleet.plan()
    assert (plan.changes, plan.holds) == ((), ())


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_with_one_server_gone_the_other_is_done_and_the_first_catches_up(fleet, how):
    for name in ("web", "api", "jobs"):
        fleet.declare(name, SPREAD)
    assert end(await fleet.apply()).applied == 3
    with gone(fleet.first, how):
        for name in ("web", "api", "jobs"):
            fleet.declare(name, SPREAD, image="acme/agent:2")
        done = await fleet.apply()
        assert {event.outcome for event in finished(done).values()} == {Outcome.APPLIED}
        for name in ("web", "api", "jobs"):
            assert fleet.image(fleet.second, name) == "acme/agent:2"
            record = await fleet.record(name)
            assert (record.state, record.behind) == (AgentState.RUNNING, ("eu-1",))
        plan = await fleet.plan()
        assert plan.changes == ()
        assert any("nothing is changed or deleted where it cannot be seen" in hold.text for hold in plan.holds)
        scoped = await fleet.plan(Policy(clusters=("us-1",)))
        assert (scoped.changes, [hold for hold in scoped.holds if hold.blocks_exit]) == ((), [])
    plan = await fleet.plan()
    assert {reason.code for change in plan.changes for reason in change.reasons} == {ReasonCode.CAUGHT_UP}
    assert end(await fleet.apply()).applied == 3
    for name in ("web", "api", "jobs"):
        assert fleet.image(fleet.first, name) == "acme/agent:2"
        assert fleet.ready(fleet.first, name) == fleet.ready(fleet.second, name) == 2
    plan = await fleet.plan()
    assert (plan.changes, plan.holds) == ((), ())


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_an_agent_fails_over_after_its_time_and_back_after_its_time(fleet, how):
    fleet.declare("web", FAILOVER, replicas=3)
    await fleet.apply()
    before = {pod["metadata"]["uid"] for pod in fleet.first.pods(fleet.namespace)}
    assert len(before) == 3

    with gone(fleet.first, how):
        assert end(await fleet.apply()).applied == 0
        fleet.clock.advance(4 * MINUTE)
        await fleet.apply()
        assert fleet.is_empty(fleet.second), "before its time nothing moves"
        fleet.clock.advance(MINUTE)
        assert finished(await fleet.apply())[f"{fleet.namespace}/web"].outcome is Outcome.APPLIED
        assert fleet.ready(fleet.second, "web") == 3
        plan = await fleet.plan()
        assert plan.changes == ()
        assert any("what may still run on eu-1 is deleted when it can be seen" in hold.text for hold in plan.holds)

    assert {pod["metadata"]["uid"] for pod in fleet.first.pods(fleet.namespace)} == before, "it has run all the while"
    assert end(await fleet.apply()).applied == 1
    fleet.first.wait_for("the old pods to be gone", lambda: fleet.is_empty(fleet.first), within_s=COLLECTED_S)
    assert fleet.ready(fleet.second, "web") == 3
    assert (await fleet.record("web")).home == "eu-1"

    fleet.clock.advance(9 * MINUTE)
    assert (await fleet.plan()).changes == ()
    fleet.clock.advance(MINUTE)
    assert end(await fleet.apply()).applied == 1
    assert fleet.ready(fleet.first, "web") == 3
    fleet.second.wait_for("the stand-in to be gone", lambda: fleet.is_empty(fleet.second), within_s=COLLECTED_S)
    record = await fleet.record("web")
    assert (record.home, record.behind, {entry.cluster for entry in record.inventory}) == ("", (), {"eu-1"})
    plan = await fleet.plan()
    assert (plan.changes, plan.holds) == ((), ())


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_a_server_that_goes_in_the_middle_of_an_apply_leaves_no_other_waiting(fleet, how):
    names = [f"agent-{number}" for number in range(12)]
    for name in names:
        fleet.declare(name, SPREAD, replicas=2)
    assert end(await fleet.apply()).applied == len(names)
    for name in names:
        fleet.declare(name, SPREAD, replicas=2, image="acme/agent:2")
    plan = await fleet.plan()
    with gone_when_told(fleet.first, how) as strike:
        events = []
        async for event in fleet.events(plan):
            events.append(event)
            if isinstance(event, ChangeStarted):
                strike()
        assert {event.outcome for event in finished(events).values()} == {Outcome.APPLIED}
        assert {fleet.image(fleet.second, name) for name in names} == {"acme/agent:2"}
        assert {(await fleet.record(name)).behind for name in names} == {("eu-1",)}
    await fleet.apply()
    assert {fleet.image(fleet.first, name) for name in names} == {"acme/agent:2"}
    assert all(fleet.ready(plane, name) == 1 for plane in fleet.planes for name in names)
    plan = await fleet.plan()
    assert (plan.changes, plan.holds) == ((), ())


async def test_another_server_behind_the_same_name_is_refused_until_it_is_accepted(fleet):
    fleet.declare("web", SPREAD)
    await fleet.apply()
    swapped = fleet_on(*fleet.planes, name=fleet.namespace).replace(
        str(fleet.first.kubeconfig), str(fleet.second.kubeconfig)
    )
    swapped = swapped.replace("context: eu-1", "context: us-1")
    fleet.repo.commit({"fleet.yaml": swapped})
    fleet.declare("web", SPREAD, image="acme/agent:2")
    plan = await fleet.plan()
    (hold,) = [hold for hold in plan.holds if hold.code == "other-cluster"]
    assert hold.lift == "point it at the right cluster; if it was rebuilt, accept it with --accept-cluster eu-1"
    await fleet.apply()
    assert fleet.image(fleet.first, "web") == "acme/agent:1"
    fleet.repo.commit({"fleet.yaml": fleet_on(*fleet.planes, name=fleet.namespace)})
    await fleet.apply()
    assert fleet.image(fleet.first, "web") == "acme/agent:2"


async def test_services_are_exported_where_the_api_for_it_is_installed(fleet):
    fleet.declare("web", SPREAD)
    fleet.declare("alone", "clusters: {names: [eu-1]}")
    fleet.declare("moving", FAILOVER)
    fleet.serve_exports(fleet.first)
    assert end(await fleet.apply()).applied == 3
    assert fleet.exports(fleet.first) == {"web", "moving"}
    plan = await fleet.plan()
    assert (plan.changes, plan.drift, plan.holds) == ((), (), ())
    fleet.serve_exports(fleet.second)
    assert end(await fleet.apply()).applied == 1
    assert fleet.exports(fleet.second) == {"web"}
    fleet.declare("web", "clusters: {names: [us-1]}")
    await fleet.apply()
    assert (fleet.exports(fleet.first), fleet.exports(fleet.second)) == ({"moving"}, set())
