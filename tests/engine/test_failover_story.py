"""An agent leaves a cluster that is away for too long and comes back when it has been well for a while.

Told with real stores and a clock of our own. Laws that hold at every step are in tests.engine.several: nothing is
planned or written where nothing can be read.
"""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.model.events import Outcome
from reconciler.model.objects import Found
from reconciler.model.plan import Policy, ReasonCode
from reconciler.model.registry import AgentState, ClusterState
from tests.doubles.weather import Sky
from tests.engine.fleets import agent, end, finished
from tests.engine.several import continents, texts

FAILOVER = """\
  replicas: 3
  ports: [{name: http, port: 8080}]
  placement: {policy: failover, clusters: {names: [eu-1, us-1]}, failoverAfter: 5m, failbackAfter: 10m}
"""
MINUTE = 60


@pytest.fixture
async def world(tmp_path):
    async with continents(tmp_path, "eu-1", "us-1") as opened:
        opened.commit(triage=agent("triage", FAILOVER))
        await opened.settle()
        assert await opened.running() == {"eu-1": 3}
        yield opened


@pytest.mark.parametrize("sky", [Sky.AWAY, Sky.SILENT])
async def test_the_whole_story(world, sky: Sky):
    world.turn(sky, "eu-1")
    assert end(await world.apply()).applied == 0
    assert (await world.health())["eu-1"].state is ClusterState.UNWELL

    world.fake.advance(4 * MINUTE)
    await world.apply()
    assert await world.running() == {"eu-1": 3}, "before its time nothing moves"

    world.fake.advance(MINUTE)
    events = await world.apply()
    assert finished(events)["support/triage"].outcome is Outcome.APPLIED
    assert await world.running() == {"eu-1": 3, "us-1": 3}, "what runs there is unknown, and not touched"
    record = await world.record()
    assert [placed.cluster for placed in record.placement] == ["us-1"]
    assert (record.home, record.behind, record.state) == ("eu-1", ("eu-1",), AgentState.RUNNING)
    assert {entry.cluster for entry in record.inventory} == {"eu-1", "us-1"}, "it is on record what may still be there"

    plan = await world.plan()
    assert plan.changes == ()
    assert any("eu-1 cannot be read" in text for text in texts(plan, "unreadable")), "the cleanup that waits is shown"

    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await world.running() == {"us-1": 3}, "nothing stays doubled"
    assert await world.objects("eu-1") == set()
    assert (await world.record()).behind == ()

    world.fake.advance(9 * MINUTE)
    await world.settle()
    assert await world.running() == {"us-1": 3}, "not yet back"

    world.fake.advance(MINUTE)
    await world.settle()
    assert await world.running() == {"eu-1": 3}, "back home"
    assert await world.objects("us-1") == set()
    record = await world.record()
    assert (record.home, record.behind) == ("", ())
    assert {entry.cluster for entry in record.inventory} == {"eu-1"}
    assert (await world.registry.verify_audit()).reason == ""


async def test_a_cluster_that_returns_before_its_time_is_not_left(world):
    world.turn(Sky.AWAY, "eu-1")
    await world.apply()
    world.fake.advance(4 * MINUTE)
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert (await world.health())["eu-1"].state is ClusterState.WELL
    world.turn(Sky.AWAY, "eu-1")
    world.fake.advance(4 * MINUTE)
    await world.apply()
    assert await world.running() == {"eu-1": 3}, "each absence is counted from its own beginning"


async def test_a_cluster_that_goes_again_while_it_is_waited_for_begins_anew(world):
    world.turn(Sky.AWAY, "eu-1")
    await world.apply()
    world.fake.advance(5 * MINUTE)
    await world.apply()
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    for _ in range(3):
        world.fake.advance(8 * MINUTE)
        world.turn(Sky.AWAY, "eu-1")
        await world.apply()
        world.fake.advance(MINUTE)
        world.turn(Sky.WELL, "eu-1")
        await world.settle()
        assert await world.running() == {"us-1": 3}, "a cluster that comes and goes is not gone back to"
    world.fake.advance(10 * MINUTE)
    await world.settle()
    assert await world.running() == {"eu-1": 3}


async def test_a_plan_says_when_and_writes_nothing(world):
    world.turn(Sky.AWAY, "eu-1")
    seq = (await world.registry.snapshot()).value.seq
    (note,) = texts(await world.plan(), "failover")
    assert note == (
        "eu-1 is unwell (eu-1 cannot be reached): the next `apply` or `health` notes since when, "
        "and the failover begins 5m later"
    )
    assert await world.health() == {}
    await world.apply()
    (note,) = texts(await world.plan(), "failover")
    assert note == (
        "eu-1 is unwell since 2027-01-15 08:00:00Z (eu-1 cannot be reached): the failover begins with the first "
        "apply after 2027-01-15 08:05:00Z"
    )
    world.fake.advance(5 * MINUTE)
    plan = await world.plan()
    assert texts(plan, "failover") == []
    (change,) = plan.changes
    assert [reason.code for reason in change.reasons] == [ReasonCode.FAILED_OVER]
    assert change.reasons[0].text == "eu-1 is unwell (eu-1 cannot be reached): it fails over to us-1"
    assert (await world.registry.snapshot()).value.seq == seq


async def test_while_it_is_away_a_plan_says_when_it_goes_back(world):
    world.turn(Sky.AWAY, "eu-1")
    await world.apply()
    world.fake.advance(5 * MINUTE)
    await world.apply()
    (note,) = texts(await world.plan(), "failover")
    assert note == "away on us-1 while eu-1 is unwell (eu-1 cannot be reached)"
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    (note,) = texts(await world.plan(), "failover")
    assert note == "away on us-1; eu-1 is well since 2027-01-15 08:05:00Z"
    world.fake.advance(10 * MINUTE)
    (change,) = (await world.plan()).changes
    assert [(reason.code, reason.text) for reason in change.reasons] == [
        (ReasonCode.FAILED_BACK, "eu-1 is well again: it goes back there from us-1")
    ]


async def test_a_cluster_that_does_not_let_us_in_is_not_left(world):
    world.turn(Sky.REFUSING, "eu-1")
    for _ in range(3):
        await world.apply()
        world.fake.advance(10 * MINUTE)
    assert await world.running() == {"eu-1": 3}
    assert await world.health() == {}


async def test_another_cluster_in_its_place_is_not_an_outage(world):
    world.clusters["eu-1"].uid = "somebody-else"
    for _ in range(3):
        plan = await world.plan()
        await world.apply()
        world.fake.advance(10 * MINUTE)
    assert await world.running() == {"eu-1": 3}
    assert plan.changes == ()
    assert any("another cluster" in item.problem for item in plan.completeness)


async def test_a_cluster_without_a_ready_node_is_left_and_cleared(world):
    world.turn(Sky.RED, "eu-1")
    await world.apply()
    assert (await world.health())["eu-1"].reason == "it answers, and none of its nodes is ready"
    world.fake.advance(5 * MINUTE)
    await world.settle()
    assert await world.running() == {"us-1": 3}, "it answers, so that nothing need stay there"
    assert (await world.record()).home == "eu-1"


async def test_the_old_place_is_emptied_only_when_the_new_one_is_ready(world):
    world.turn(Sky.AWAY, "eu-1")
    await world.apply()
    world.fake.advance(5 * MINUTE)
    await world.apply()
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    world.fake.advance(10 * MINUTE)
    first = len(world.clusters["us-1"].writes)
    order: list[str] = []
    for name in ("eu-1", "us-1"):
        world.clusters[name].writes = Watched(order, name)
    await world.settle()
    assert first
    there = [step for step in order if step.startswith("eu-1 apply")]
    gone = [step for step in order if step.startswith("us-1 delete")]
    assert there
    assert gone
    assert order == there + gone


class Watched(list[Any]):
    """A list that also writes down in what order things came to it and to others."""

    def __init__(self, order: list[str], name: str) -> None:
        super().__init__()
        self.order, self.name = order, name

    def append(self, item) -> None:
        super().append(item)
        self.order.append(f"{self.name} {item[0]} {item[1].kind}")


async def test_an_update_while_it_is_away_reaches_the_stand_in_alone(world):
    world.turn(Sky.AWAY, "eu-1")
    await world.apply()
    world.fake.advance(5 * MINUTE)
    await world.apply()
    world.commit(triage=agent("triage", FAILOVER, image="acme/agent:2"))
    await world.apply()
    assert await images(world) == {"eu-1": "acme/agent:1", "us-1": "acme/agent:2"}
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    world.fake.advance(10 * MINUTE)
    await world.settle()
    assert await images(world) == {"eu-1": "acme/agent:2"}


async def images(world) -> dict[str, str]:
    from tests.engine.several import deployment

    found = {}
    for name, cluster in world.clusters.items():
        answer = await cluster.inner.get(deployment("support/triage"))
        if isinstance(answer, Found):
            found[name] = answer.value.body["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


async def test_both_clusters_away_move_nobody(world):
    world.turn(Sky.AWAY, "eu-1", "us-1")
    await world.apply()
    world.fake.advance(60 * MINUTE)
    await world.apply()
    assert await world.running() == {"eu-1": 3}
    world.turn(Sky.WELL, "us-1")
    await world.apply()
    assert await world.running() == {"eu-1": 3, "us-1": 3}, "the other one is back, and this one has been away for long"


async def test_an_agent_deleted_while_it_may_run_twice_goes_where_it_can_and_later_everywhere(world):
    world.turn(Sky.AWAY, "eu-1")
    await world.apply()
    world.fake.advance(5 * MINUTE)
    await world.apply()
    world.commit(triage=None, other=agent("other", "  placement: {clusters: {names: [us-1]}}\n"))
    events = await world.apply()
    assert finished(events)["support/triage"].text == "deleted, not on eu-1"
    assert await world.running() == {"eu-1": 3}
    record = await world.record()
    assert (record.state, record.behind) == (AgentState.TERMINATING, ("eu-1",))
    assert any("eu-1 cannot be read" in text for text in texts(await world.plan(), "unreadable"))
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await world.running() == {}
    assert await world.objects("eu-1") == set()
    assert (await world.plan()).holds == ()


async def test_one_that_fails_where_it_moves_to_keeps_its_old_place(world):
    """On the way home the new place does not become ready: the stand-in goes on."""
    world.turn(Sky.AWAY, "eu-1")
    await world.apply()
    world.fake.advance(5 * MINUTE)
    await world.apply()
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    world.fake.advance(10 * MINUTE)
    world.clusters["eu-1"].turns["apply Deployment"] = Sky.AWAY
    events = await world.apply()
    assert finished(events)["support/triage"].outcome is Outcome.FAILED
    assert (await world.running())["us-1"] == 3
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await world.running() == {"eu-1": 3}


async def test_by_a_partial_plan_for_the_stand_in_alone(world):
    world.turn(Sky.AWAY, "eu-1")
    await world.apply()
    world.fake.advance(5 * MINUTE)
    plan = await world.plan(Policy(clusters=("us-1",)))
    assert {item.cluster for change in plan.changes for item in change.objects} == {"us-1"}
    assert [item.source for item in plan.completeness] == ["us-1", "registry"]
    assert not any(hold.blocks_exit for hold in plan.holds)
    await world.apply(Policy(clusters=("us-1",)))
    assert await world.running() == {"eu-1": 3, "us-1": 3}
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await world.running() == {"us-1": 3}
