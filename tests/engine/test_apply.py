"""Applying plans on the embedded cluster that runs nothing: what is on record, in the store, and told."""

from __future__ import annotations

import pytest

from reconciler.model.events import Outcome
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found, Manifest, MustBe, MustBeAbsent
from reconciler.model.plan import Action, HoldCode, Policy
from reconciler.model.registry import AgentState
from tests.engine.fleets import FleetRepo, agent, applied, end, finished, plan_of, record, snapshot, stores_of


@pytest.fixture
def repo(tmp_path):
    return FleetRepo(tmp_path / "fleet")


async def test_a_new_agent_is_created_and_the_next_plan_is_empty(repo):
    repo.commit({"agents/triage.yaml": agent("triage")})
    async with await repo.session() as world:
        events = await applied(world)
        assert finished(events)["support/triage"].outcome is Outcome.APPLIED
        assert (end(events).applied, end(events).failed) == (1, 0)
        assert (await record(world, "support/triage")).state is AgentState.RUNNING
        assert (await plan_of(world)).changes == ()


async def test_an_update_keeps_the_id_and_counts_a_revision(repo):
    repo.commit({"agents/triage.yaml": agent("triage")})
    async with await repo.session() as world:
        await applied(world)
        before = await record(world, "support/triage")
        repo.commit({"agents/triage.yaml": agent("triage", image="acme/agent:2")})
        plan = await plan_of(world)
        assert [change.action for change in plan.changes] == [Action.UPDATE]
        await applied(world, plan)
        after = await record(world, "support/triage")
        assert (after.id, after.revision) == (before.id, 2)
        assert after.good is not None
        assert after.good.number == 2
        assert (await plan_of(world)).changes == ()


async def test_a_removed_agent_is_deleted_with_all_its_objects(repo):
    repo.commit({"agents/triage.yaml": agent("triage"), "agents/other.yaml": agent("other")})
    async with await repo.session() as world:
        await applied(world)
        repo.commit({"agents/triage.yaml": None})
        events = await applied(world)
        assert finished(events)["support/triage"].outcome is Outcome.APPLIED
        assert [str(name) for name in (await snapshot(world)).records] == ["support/other"]
        assert (await plan_of(world)).changes == ()


async def test_deletions_of_a_rewound_branch_stay_held_after_the_rest_was_applied(repo):
    repo.commit({"agents/triage.yaml": agent("triage")})
    repo.commit({"agents/extra.yaml": agent("extra")})
    async with await repo.session() as world:
        await applied(world)
        repo.rewind()
        repo.commit({"agents/triage.yaml": agent("triage", image="acme/agent:2")})
        assert finished(await applied(world)).keys() == {"support/triage"}
        again = await plan_of(world)
        assert again.changes == ()
        assert [hold.code for hold in again.holds] == [HoldCode.REWIND]
        await applied(world, again)
        assert [hold.code for hold in (await plan_of(world)).holds] == [HoldCode.REWIND]
        await applied(world, policy=Policy(accept_rewind=True))
        assert [str(name) for name in (await snapshot(world)).records] == ["support/triage"]
        assert (await plan_of(world)).holds == ()


async def test_an_object_of_a_stranger_that_took_the_name_of_ours_outlives_the_agent(repo):
    repo.commit({"agents/triage.yaml": agent("triage"), "agents/other.yaml": agent("other")})
    async with await repo.session() as world:
        await applied(world)
        cluster = (await stores_of(world)).clusters["local"]
        strangers = {}
        for item in (await record(world, "support/triage")).inventory:
            ours = await cluster.get(item.ref)
            assert isinstance(ours, Found)
            body = {key: value for key, value in ours.value.body.items() if key not in ("metadata", "status")}
            body["metadata"] = {"name": item.ref.name, "namespace": item.ref.namespace}
            await cluster.delete(item.ref, MustBe(uid=item.uid))
            theirs = Manifest(ref=item.ref, body=body, hash="", agent=AgentName.parse("support/triage"))
            strangers[item.ref] = (await cluster.apply(theirs, MustBeAbsent(), manager="helm")).uid
        repo.commit({"agents/triage.yaml": None})
        assert finished(await applied(world))["support/triage"].outcome is Outcome.APPLIED
        assert [str(name) for name in (await snapshot(world)).records] == ["support/other"]
        for ref, uid in strangers.items():
            left = await cluster.get(ref)
            assert isinstance(left, Found)
            assert left.value.uid == uid
        assert (await plan_of(world)).changes == ()
