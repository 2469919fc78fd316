"""One fleet on several clusters, of which one is away, silent or somebody else: the others are done, it catches up."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from reconciler.engine.operate import rollback
from reconciler.engine.passes import apply_plan
from reconciler.model.errors import ReconcilerError, Rejected
from reconciler.model.events import ChangeFinished, Outcome, RolloutProgress
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState, Found, Manifest, Precondition, Scope
from reconciler.model.plan import Action, Policy, ReasonCode
from reconciler.model.registry import AgentState, Write
from tests.doubles.never_ready import NEVER_READY
from tests.doubles.weather import Sky
from tests.engine.fleets import OPTIONS, agent, applied, end, finished
from tests.engine.several import continents, deployment, texts

PORTS = "  ports: [{name: http, port: 8080}]\n"


def spread(replicas: int, policy: str = "spread", image: str = "acme/agent:1", **placement: str) -> str:
    more = "".join(f", {key}: {value}" for key, value in placement.items())
    body = f"  replicas: {replicas}\n{PORTS}  placement: {{policy: {policy}{more}}}\n"
    return agent("triage", body, image=image)


@pytest.fixture
async def world(tmp_path):
    async with continents(tmp_path, "eu-1", "us-1") as opened:
        yield opened


async def image(world, cluster: str) -> str:
    answer = await world.clusters[cluster].inner.get(deployment("support/triage"))
    assert isinstance(answer, Found)
    return str(answer.value.body["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_an_update_reaches_the_others_and_the_rest_follows(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(4, image="acme/agent:2"))
    plan = await world.plan()
    (change,) = plan.changes
    assert ({item.cluster for item in change.objects}, change.behind) == ({"us-1"}, ("eu-1",))
    assert texts(plan, "unreadable") == [
        "nothing is changed or deleted where it cannot be seen: the cluster eu-1 cannot be read: eu-1 cannot be reached"
    ]
    assert finished(await world.apply())["support/triage"].outcome is Outcome.APPLIED
    record = await world.record()
    assert (record.state, record.behind, record.revision) == (AgentState.RUNNING, ("eu-1",), 2)
    assert await image(world, "us-1") == "acme/agent:2"
    assert (await world.plan()).changes == (), "what can be done is done"

    world.turn(Sky.WELL, "eu-1")
    (change,) = (await world.plan()).changes
    assert [(change.action, reason.code, reason.text) for reason in change.reasons] == [
        (Action.UPDATE, ReasonCode.CAUGHT_UP, "eu-1 can be reached again: what was left out there is done")
    ]
    await world.settle()
    assert await image(world, "eu-1") == "acme/agent:2"
    assert (await world.record()).behind == ()


async def test_what_changes_no_object_is_recorded_though_a_cluster_is_behind_and_protects_from_then_on(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(4, image="acme/agent:2"))
    await world.apply()
    world.commit(triage=spread(4, image="acme/agent:2") + "  protect: true\n")
    (change,) = (await world.plan()).changes
    assert ([item.path for item in change.attributes], change.objects) == ([("protect",)], ())
    assert change.behind == ("eu-1",)
    assert finished(await world.apply())["support/triage"].outcome is Outcome.APPLIED
    record = await world.record()
    assert (record.protect, record.state, record.behind) == (True, AgentState.RUNNING, ("eu-1",))
    plan = await world.plan()
    assert plan.changes == ()
    assert len(texts(plan, "unreadable")) == 1, "what is still to be done there is told"

    world.commit(triage=None)
    world.turn(Sky.WELL, "eu-1")
    assert (await world.plan()).changes == ()
    world.commit(triage=spread(4, image="acme/agent:2") + "  protect: true\n")
    await world.settle()
    assert (await image(world, "eu-1"), (await world.record()).behind) == ("acme/agent:2", ())


async def test_what_was_interrupted_is_finished_where_it_can_be_though_a_cluster_is_behind(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(4, image="acme/agent:2"))
    await world.apply()
    record = await world.record()
    stopped = replace(record, version=record.version + 1, state=AgentState.DEPLOYING)
    await world.registry.commit(Write(op_id="stopped", at_ms=0, records=(stopped,)))
    (change,) = (await world.plan()).changes
    assert [reason.code for reason in change.reasons] == [ReasonCode.UNFINISHED]
    await world.apply()
    record = await world.record()
    assert (record.state, record.behind) == (AgentState.RUNNING, ("eu-1",))
    assert (await world.plan()).changes == ()


async def test_who_runs_everywhere_is_resumed_on_the_others_and_follows_where_it_could_not(world):
    everywhere = spread(2, policy="all")
    world.commit(triage=everywhere)
    await world.settle()
    world.commit(triage=everywhere + "  suspend: true\n")
    await world.settle()
    assert await world.running() == {"eu-1": 0, "us-1": 0}
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=everywhere)
    (change,) = (await world.plan()).changes
    assert change.behind == ("eu-1",)
    await world.apply()
    assert await world.running() == {"eu-1": 0, "us-1": 2}
    plan = await world.plan()
    assert plan.changes == ()
    assert len(texts(plan, "unreadable")) == 1, "what is still to be done there is told"
    assert (await world.record()).behind == ("eu-1",)

    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await world.running() == {"eu-1": 2, "us-1": 2}
    assert (await world.record()).behind == ()


async def test_its_share_stays_and_what_is_added_goes_to_the_others(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(7))
    await world.apply()
    assert await world.running() == {"eu-1": 2, "us-1": 5}
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await world.running() == {"eu-1": 2, "us-1": 5}, "what runs stays where it is"


async def budgets(world) -> dict[str, object]:
    """What the disruption budget of each cluster lets go."""
    ref = ObjectRef(group="policy", kind="PodDisruptionBudget", namespace="support", name="triage")
    answers = {name: await cluster.inner.get(ref) for name, cluster in world.clusters.items()}
    return {
        name: seen.value.body["spec"]["maxUnavailable"] for name, seen in answers.items() if isinstance(seen, Found)
    }


async def test_counts_that_clusters_share_follow_the_replicas_and_are_no_drift(world):
    budget = "  disruption: {maxUnavailable: 4}\n"
    world.commit(triage=spread(4) + budget)
    await world.settle()
    assert await budgets(world) == {"eu-1": 2, "us-1": 2}
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(7) + budget)
    await world.apply()
    assert await budgets(world) == {"eu-1": 2, "us-1": 2}
    assert (await world.plan()).changes == (), "the share of eu-1 is another one now, which waits until it is there"
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await budgets(world) == {"eu-1": 1, "us-1": 2}
    assert (await world.plan()).changes == ()


async def test_what_an_interrupted_move_made_stays_on_record_though_what_follows_fails_before_it_is_deleted(world):
    world.commit(triage=spread(4))
    await world.settle()
    record = await world.record()
    nameless = tuple(replace(item, uid="") if item.cluster == "us-1" else item for item in record.inventory)
    await world.registry.commit(
        Write(op_id="cut", at_ms=0, records=(replace(record, version=record.version + 1, inventory=nameless),))
    )
    stops = "  rollout: {onFailure: stop}\n"
    world.commit(triage=spread(4, clusters="{names: [eu-1]}", image=f"acme/{NEVER_READY}:2") + stops)
    assert finished(await world.apply())["support/triage"].outcome is Outcome.FAILED
    assert set(await world.running()) == {"eu-1", "us-1"}
    world.commit(triage=None, other=agent("other"))
    await world.settle()
    assert await world.running() == {}


async def test_fewer_replicas_are_fewer_on_each_and_there_as_soon_as_it_can_be(world):
    world.commit(triage=spread(6))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(4))
    await world.apply()
    assert await world.running() == {"eu-1": 3, "us-1": 2}
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await world.running() == {"eu-1": 2, "us-1": 2}


async def test_by_weight_one_unknown_keeps_its_share(world):
    world.commit(triage=spread(6, "weighted", weights="{eu-1: 2, us-1: 1}"))
    await world.settle()
    assert await world.running() == {"eu-1": 4, "us-1": 2}
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(9, "weighted", weights="{eu-1: 2, us-1: 1}"))
    await world.apply()
    assert await world.running() == {"eu-1": 4, "us-1": 5}


async def test_on_all_clusters_each_is_done_in_its_time(world):
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(2, "all"))
    await world.apply()
    assert await world.running() == {"us-1": 2}
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await world.running() == {"eu-1": 2, "us-1": 2}


async def test_heavier_replicas_do_not_wait_for_the_one_that_cannot_be_read(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    heavy = spread(4).replace("  replicas", "  resources: {requests: {cpu: 700m}}\n  replicas")
    world.commit(triage=heavy)
    await world.apply()
    reserved = {each.cluster: each.requests.get("cpu") for each in (await world.record()).reservations}
    assert reserved == {"eu-1": None, "us-1": "700m"}, "there the old ones may run still"
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    reserved = {each.cluster: each.requests.get("cpu") for each in (await world.record()).reservations}
    assert reserved == {"eu-1": "700m", "us-1": "700m"}


async def test_an_agent_that_moves_by_a_commit_is_doubled_no_longer_than_it_has_to_be(world):
    there = "  placement: {clusters: {names: [eu-1]}}\n"
    world.commit(triage=agent("triage", PORTS + there))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=agent("triage", PORTS + there.replace("eu-1", "us-1")))
    await world.apply()
    assert await world.running() == {"eu-1": 1, "us-1": 1}
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await world.running() == {"us-1": 1}
    assert await world.objects("eu-1") == set()


async def test_a_failed_update_goes_back_where_it_was_tried(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(4, image=f"acme/{NEVER_READY}:2"))
    assert finished(await world.apply())["support/triage"].outcome is Outcome.ROLLED_BACK
    assert await image(world, "us-1") == "acme/agent:1"
    record = await world.record()
    assert {entry.cluster for entry in record.inventory} == {"eu-1", "us-1"}
    world.turn(Sky.WELL, "eu-1")
    world.commit(triage=spread(4, image="acme/agent:3"))
    await world.settle()
    assert (await image(world, "eu-1"), await image(world, "us-1")) == ("acme/agent:3", "acme/agent:3")


async def test_what_may_not_be_deleted_where_an_agent_leaves_is_nothing_against_its_spec(world, monkeypatch):
    world.commit(triage=agent("triage", "  placement: {clusters: {names: [eu-1]}}\n"))
    await world.settle()
    world.commit(triage=agent("triage", "  placement: {clusters: {names: [us-1]}}\n", image="acme/agent:2"))

    async def denied(ref: ObjectRef, _expect: Precondition) -> None:
        raise Rejected(f"{ref}: admission webhook denied the request")

    with monkeypatch.context() as patch:
        patch.setattr(world.clusters["eu-1"], "delete", denied)
        event = finished(await world.apply())["support/triage"]
    assert (event.outcome, event.text) == (Outcome.FAILED, "not finished")
    assert "admission webhook denied" in event.reason
    assert (await world.record()).quarantine is None
    assert await image(world, "us-1") == "acme/agent:2"
    await world.settle()
    assert await world.objects("eu-1") == set()
    assert (await world.record()).state is AgentState.RUNNING


@pytest.mark.parametrize(("lost", "other"), [("us-1", "eu-1"), ("eu-1", "us-1")])
async def test_a_cluster_that_goes_on_the_way_back_does_not_make_the_failed_update_one_that_worked(world, lost, other):
    world.commit(triage=spread(4))
    await world.settle()
    good = (await world.record()).spec_hash
    world.commit(triage=spread(4, image=f"acme/agent:{NEVER_READY}"))
    async for event in apply_plan(world, await world.plan(), options=OPTIONS, stop=asyncio.Event()):
        if isinstance(event, RolloutProgress):
            world.clusters[lost].turns.setdefault("apply Deployment", Sky.AWAY)
        if isinstance(event, ChangeFinished):
            assert (event.outcome, event.text) == (Outcome.FAILED, "not finished")
    record = await world.record()
    assert record.quarantine is not None
    assert record.good is not None
    assert record.good.spec_hash == good
    (entry,) = await world.registry.open_journal()
    assert entry.detail["step"] == "roll-back"
    assert await image(world, other) == "acme/agent:1"

    world.turn(Sky.WELL, lost)
    assert finished(await world.apply())["support/triage"].outcome is Outcome.ROLLED_BACK
    assert (await world.record()).spec_hash == good
    assert {await image(world, name) for name in world.clusters} == {"acme/agent:1"}
    assert await world.registry.open_journal() == ()


async def test_what_came_after_an_update_it_missed_goes_back_to_what_was_good_on_each(world):
    """One cluster is left at the first revision, the second is good on the other; the third fails on both."""
    world.commit(triage=spread(4))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    world.commit(triage=spread(4, image="acme/agent:2"))
    await world.apply()
    world.turn(Sky.WELL, "eu-1")
    world.commit(triage=spread(4, image=f"acme/{NEVER_READY}:3"))
    assert finished(await world.apply())["support/triage"].outcome is Outcome.ROLLED_BACK
    assert (await image(world, "eu-1"), await image(world, "us-1")) == ("acme/agent:1", "acme/agent:2")


@pytest.mark.parametrize("count", [3, 24])
async def test_a_silent_cluster_is_asked_who_it_is_and_nothing_more(world, count):
    """Its cost does not grow with the fleet: one question a look, none a change."""
    world.memory.commit({f"agents/a{number}.yaml": agent(f"a{number}", "  replicas: 2\n") for number in range(count)})
    await world.settle()
    world.turn(Sky.SILENT, "eu-1")
    world.memory.commit(
        {f"agents/a{n}.yaml": agent(f"a{n}", "  replicas: 2\n", image="acme/agent:2") for n in range(count)}
    )
    asked = world.clusters["eu-1"].asked
    assert end(await world.apply()).applied == count
    assert world.clusters["eu-1"].asked - asked == 1


@pytest.mark.parametrize("sky", [Sky.SILENT, Sky.AWAY])
async def test_a_cluster_that_goes_in_the_middle_keeps_no_change_of_the_others_open(world, sky):
    count = 24
    for number in range(count):
        world.memory.commit({f"agents/a{number}.yaml": agent(f"a{number}", "  replicas: 2\n")})
    await world.settle()
    world.memory.commit(
        {f"agents/a{n}.yaml": agent(f"a{n}", "  replicas: 2\n", image="acme/agent:2") for n in range(count)}
    )
    plan = await world.plan()
    world.clusters["eu-1"].turns["apply Deployment"] = sky
    ended = end(await applied(world, plan))
    assert (ended.applied, ended.failed, ended.skipped) == (count, 0, 0)
    asked = world.clusters["eu-1"].asked
    for number in range(count):
        record = await world.record(f"support/a{number}")
        assert (record.state, record.behind) == (AgentState.RUNNING, ("eu-1",))
    assert await world.registry.open_journal() == ()
    assert world.clusters["eu-1"].asked == asked
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert {(await world.record(f"support/a{number}")).behind for number in range(count)} == {()}


async def test_a_cluster_that_goes_while_it_rolls_out_is_waited_for_and_then_left(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.commit(triage=spread(4, image="acme/agent:2"))
    plan = await world.plan()
    eu = world.clusters["eu-1"]
    inner = eu.inner.apply

    async def last_act(manifest, expect, **options):
        answer = await inner(manifest, expect, **options)
        eu.sky = Sky.AWAY if manifest.ref.kind == "PodDisruptionBudget" else eu.sky
        return answer

    eu.inner.apply = last_act
    began = world.fake.monotonic()
    event = finished(await applied(world, plan))["support/triage"]
    assert (event.outcome, (await world.record()).behind) == (Outcome.APPLIED, ("eu-1",))
    assert world.fake.monotonic() - began >= 30, "a restarted API server is back by then"
    eu.inner.apply = inner
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert await image(world, "eu-1") == "acme/agent:2"


async def test_a_partial_plan_leaves_the_other_cluster_and_says_later_what_it_owes(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.commit(triage=spread(4, image="acme/agent:2"))
    await world.apply(Policy(clusters=("us-1",)))
    assert (await image(world, "eu-1"), await image(world, "us-1")) == ("acme/agent:1", "acme/agent:2")
    assert (await world.record()).behind == ("eu-1",)
    (change,) = (await world.plan()).changes
    assert [reason.code for reason in change.reasons] == [ReasonCode.CAUGHT_UP]
    await world.settle()
    assert await image(world, "eu-1") == "acme/agent:2"


async def test_a_partial_plan_for_the_place_that_is_left_takes_nothing_away_too_early(world):
    there = "  placement: {clusters: {names: [eu-1]}}\n"
    world.commit(triage=agent("triage", PORTS + there))
    await world.settle()
    world.commit(triage=agent("triage", PORTS + there.replace("eu-1", "us-1")))
    assert (await world.plan(Policy(clusters=("eu-1",)))).changes == ()
    await world.apply(Policy(clusters=("us-1",)))
    assert await world.running() == {"eu-1": 1, "us-1": 1}
    await world.settle()
    assert await world.running() == {"us-1": 1}


# who a cluster is


async def test_another_cluster_of_that_name_is_left_alone_until_it_is_accepted(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.clusters["eu-1"].uid = "rebuilt"
    for ref in await bare(world, "eu-1"):
        await world.clusters["eu-1"].inner.delete(ref, AnyState())
    world.commit(triage=spread(6))
    plan = await world.plan()
    assert {item.cluster for change in plan.changes for item in change.objects} == {"us-1"}
    (hold,) = [hold for hold in plan.holds if hold.code == "other-cluster"]
    assert hold.lift == "point it at the right cluster; if it was rebuilt, accept it with --accept-cluster eu-1"
    await applied(world, plan)
    assert await world.running() == {"us-1": 4}

    await world.apply(Policy(accept_clusters=("eu-1",)))
    assert await world.running() == {"eu-1": 2, "us-1": 4}
    snapshot = (await world.registry.snapshot()).value
    assert snapshot.fleet.cluster_uids["eu-1"] == "rebuilt"
    actions = [entry.fact.action async for entry in world.registry.audit()]
    assert actions.count("accept-cluster") == 1
    plan = await world.plan()
    assert (plan.changes, plan.holds) == ((), ())


async def test_a_cluster_that_becomes_another_between_plan_and_apply_is_not_written_to(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.commit(triage=spread(4, image="acme/agent:2"))
    plan = await world.plan()
    world.clusters["eu-1"].uid = "somebody-else"
    world.clusters["eu-1"].writes.clear()
    events = [event async for event in apply_plan(world, plan, options=OPTIONS, stop=asyncio.Event())]
    assert finished(events)["support/triage"].outcome is Outcome.APPLIED
    assert world.clusters["eu-1"].writes == []
    assert (await world.record()).behind == ("eu-1",)


async def bare(world, cluster: str):
    answer = await world.clusters[cluster].inner.observe(Scope())
    return sorted(answer.value.objects)


# clusters that are gone for good


async def test_what_was_on_a_cluster_that_is_gone_for_good_is_waited_for_until_it_is_forgotten(world):
    world.commit(triage=spread(4), going=agent("going", PORTS + "  placement: {clusters: {names: [eu-1]}}\n"))
    await world.settle()
    world.undeclare("eu-1")
    world.commit(going=None)
    plan = await world.plan()
    (lift,) = {hold.lift for hold in plan.holds}
    assert lift.startswith("declare eu-1 in fleet.yaml again until its agents are moved or deleted; ")
    assert lift.endswith("if it is gone for good, --forget-cluster eu-1")
    await world.apply()
    assert await world.running() == {"us-1": 4}, "it is done where it can be"
    assert (await world.record()).behind == ("eu-1",)

    plan = await world.plan(Policy(forget_clusters=("eu-1",)))
    assert plan.holds == ()
    assert {reason.text for change in plan.changes for reason in change.reasons} == {
        "declared nowhere any more",
        "eu-1 is gone for good: what was on record there is forgotten",
    }
    assert end(await world.apply(Policy(forget_clusters=("eu-1",)))).failed == 0
    record = await world.record()
    assert (record.behind, {entry.cluster for entry in record.inventory}) == ((), {"us-1"})
    snapshot = (await world.registry.snapshot()).value
    assert [str(name) for name in snapshot.records] == ["support/triage"]
    assert set(snapshot.fleet.cluster_uids) == {"us-1"}
    plan = await world.plan()
    assert (plan.changes, plan.holds) == ((), ())


async def test_going_back_by_hand_goes_back_where_that_can_be_done(world):
    world.commit(triage=spread(4))
    await world.settle()
    world.commit(triage=spread(4, image="acme/agent:2"))
    await world.settle()
    name = AgentName.parse("support/triage")
    world.turn(Sky.AWAY, "eu-1", "us-1")
    with pytest.raises(ReconcilerError, match="eu-1 cannot be read, so nothing was done"):
        async for _event in rollback(world, name, options=OPTIONS, stop=asyncio.Event()):
            pass
    world.turn(Sky.WELL, "us-1")
    events = [event async for event in rollback(world, name, options=OPTIONS, stop=asyncio.Event())]
    assert finished(events)["support/triage"].outcome is Outcome.APPLIED
    assert (await image(world, "eu-1"), await image(world, "us-1")) == ("acme/agent:2", "acme/agent:1")
    assert (await world.record()).behind == ("eu-1",)


# callers in other clusters

MCS = frozenset({"multicluster.x-k8s.io/v1alpha1"})


def exports(world) -> dict[str, set[str]]:
    return {name: {ref.name for ref in cluster.exports} for name, cluster in world.clusters.items() if cluster.exports}


async def test_services_of_agents_on_several_clusters_are_exported_where_that_can_be(world):
    world.clusters["eu-1"].apis = MCS
    world.commit(triage=spread(4), alone=agent("alone", PORTS + "  placement: {clusters: {names: [eu-1]}}\n"))
    await world.settle()
    assert exports(world) == {"eu-1": {"triage"}}
    world.clusters["us-1"].apis = MCS
    (change,) = (await world.plan()).changes
    assert [reason.text for reason in change.reasons] == ["its Service is exported to other clusters"]
    await world.settle()
    assert exports(world) == {"eu-1": {"triage"}, "us-1": {"triage"}}
    world.commit(triage=None)
    await world.settle()
    assert exports(world) == {}


async def test_one_that_may_fail_over_is_exported_from_where_it_is(world):
    for cluster in world.clusters.values():
        cluster.apis = MCS
    world.commit(triage=spread(2, "failover", failoverAfter="0s"))
    await world.settle()
    assert exports(world) == {"eu-1": {"triage"}}
    world.turn(Sky.AWAY, "eu-1")
    await world.apply()
    assert exports(world) == {"eu-1": {"triage"}, "us-1": {"triage"}}
    world.turn(Sky.WELL, "eu-1")
    await world.settle()
    assert exports(world) == {"us-1": {"triage"}}


async def test_what_is_exported_from_a_cluster_that_cannot_be_read_is_no_trouble(world):
    for cluster in world.clusters.values():
        cluster.apis = MCS
    world.commit(triage=spread(4))
    await world.settle()
    world.turn(Sky.AWAY, "eu-1")
    plan = await world.plan()
    assert (plan.changes, plan.holds) == ((), ())


async def test_where_the_api_is_taken_away_nothing_is_asked_for_any_more(world):
    world.clusters["eu-1"].apis = MCS
    world.commit(triage=spread(4))
    await world.settle()
    world.clusters["eu-1"].apis = frozenset()
    world.clusters["eu-1"].exports.clear()
    await world.settle()
    assert {entry.ref.kind for entry in (await world.record()).inventory} == {
        "ConfigMap",
        "Deployment",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }


async def made_again(cluster, name: str) -> None:
    """Let an object of ours be another one: somebody deleted it, an apply made it, and died before it could say so."""
    ref = ObjectRef(group="", kind="ServiceAccount", namespace="support", name=name)
    before = await cluster.get(ref)
    assert isinstance(before, Found)
    metadata = {key: before.value.metadata[key] for key in ("name", "namespace", "labels", "annotations")}
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}
    await cluster.delete(ref, AnyState())
    await cluster.apply(Manifest(ref=ref, body=body, hash="", agent=AgentName.parse(f"support/{name}")), AnyState())


@pytest.mark.parametrize("then", [None, spread(1, "spread", clusters="{names: [us-1]}")], ids=["deleted", "moved"])
async def test_an_object_that_is_another_one_than_is_on_record_goes_with_its_agent(world, then):
    world.commit(triage=spread(1, "spread", clusters="{names: [eu-1]}"), other=agent("other"))
    await world.settle()
    await made_again(world.clusters["eu-1"].inner, "triage")
    world.commit(triage=then)
    events = await world.apply()
    assert finished(events)["support/triage"].outcome is Outcome.APPLIED
    assert "ServiceAccount support/triage" not in await world.objects("eu-1")
