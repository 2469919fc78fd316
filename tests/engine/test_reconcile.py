"""From a source to a plan: caches change nothing, and what cannot be read is said and held."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.engine.reconcile import PlanningCache, compute_plan, replanner
from reconciler.engine.world import Stores
from reconciler.model.identity import AgentName
from reconciler.model.objects import Unreadable
from reconciler.model.plan import Action, Change, HoldCode, Policy
from reconciler.plan.planfile import dump
from tests.doubles.faulty import Fault, Faults, FaultyRegistry
from tests.doubles.never_ready import NeverReadyCluster
from tests.doubles.world import GivenWorld, open_cluster
from tests.engine.fleets import NOTHING, agent, applied, plan_of, snapshot

edits = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.one_of(st.none(), st.integers(1, 3), st.just("broken")),
        min_size=1,
        max_size=3,
    ),
    min_size=1,
    max_size=4,
)


def written(name: str, value: int | str | None) -> str | None:
    match value:
        case None:
            return None
        case "broken":
            return "kind: Agent\nspec: [\n"
        case number:
            return agent(name, f"  replicas: {number}\n")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=edits)
async def test_a_plan_with_a_warm_cache_equals_one_with_a_cold_cache(world, commits):
    warm = PlanningCache()
    for number, commit in enumerate(commits):
        there = world.memory.trees[world.memory.commits[-1]]
        files = {f"agents/{name}.yaml": written(name, value) for name, value in commit.items()}
        world.memory.commit({path: text for path, text in files.items() if text is not None or path in there})
        one = await compute_plan(world, policy=Policy(), cache=warm)
        assert dump(one) == dump(await compute_plan(world, policy=Policy(), cache=PlanningCache()))
        if number % 2:
            await applied(world, one)
            assert dump(await compute_plan(world, policy=Policy(), cache=warm)) == dump(await plan_of(world))


async def test_a_registry_that_cannot_be_read_holds_everything(world):
    world.commit(triage=agent("triage"))
    broken = FaultyRegistry(world.registry, Faults(1, Fault.ERROR))
    given_world = GivenWorld(world.memory, world.clock, Stores(registry=broken, clusters={"local": world.cluster}))
    plan = await plan_of(given_world)
    assert plan.changes == ()
    assert [hold.code for hold in plan.holds] == [HoldCode.UNREADABLE]


async def test_a_cluster_that_cannot_be_read_is_no_reason_to_delete(world):
    world.commit(triage=agent("triage"))
    await applied(world)
    world.commit(triage=None, other=agent("other"))
    away = Stores(registry=world.registry, clusters={"local": Unreadable(reason="it is away")})
    plan = await plan_of(GivenWorld(world.memory, world.clock, away))
    assert plan.changes == ()
    assert any("it is away" in item.problem for item in plan.completeness)


async def test_a_fleet_file_that_cannot_be_used_plans_nothing(world):
    world.commit(triage=agent("triage"))
    await applied(world)
    world.memory.commit({"fleet.yaml": "kind: Fleet\nspec: {clusters: 7}\n"})
    plan = await plan_of(world)
    assert plan.changes == ()
    assert plan.diagnostics


async def test_a_rewound_branch_deletes_nothing_unasked(world):
    world.commit(a=agent("a"))
    early = world.memory.commits[-1]
    world.commit(b=agent("b"))
    await applied(world)
    world.memory.commits.append("f" * 40)
    world.memory.trees["f" * 40] = world.memory.trees[early]
    world.memory.is_ancestor = _never
    plan = await plan_of(world)
    assert plan.changes == ()
    assert [hold.code for hold in plan.holds] == [HoldCode.REWIND]
    accepted = await plan_of(world, Policy(accept_rewind=True))
    assert [str(change.name) for change in accepted.changes] == ["support/b"]


async def _never(_old, _new) -> bool:
    return False


async def test_another_cluster_in_the_place_of_ours_is_refused(world, tmp_path):
    world.commit(triage=agent("triage"))
    await applied(world)
    stranger = open_cluster(NeverReadyCluster, tmp_path / "elsewhere")
    stores = Stores(registry=world.registry, clusters={"local": stranger})
    plan = await plan_of(GivenWorld(world.memory, world.clock, stores))
    await stranger.close()
    assert plan.changes == ()
    assert any("another cluster" in item.problem for item in plan.completeness)


FULL_AT_ONE = NOTHING + "  quotas: [{namespace: support, agents: 1}]\n"


async def test_an_agent_that_goes_makes_room_in_its_quota_for_one_that_comes(world):
    world.memory.commit({"fleet.yaml": FULL_AT_ONE})
    world.commit(triage=agent("triage"))
    await applied(world)
    world.commit(triage=None, other=agent("other"))
    plan = await plan_of(world)
    assert [(str(change.name), change.action) for change in plan.changes] == [
        ("support/other", Action.CREATE),
        ("support/triage", Action.DELETE),
    ]
    assert plan.holds == ()
    await applied(world, plan)
    assert [str(name) for name in (await snapshot(world)).records] == ["support/other"]


async def test_an_agent_whose_deletion_is_held_makes_no_room(world):
    world.memory.commit({"fleet.yaml": FULL_AT_ONE})
    world.commit(triage=agent("triage", "  protect: true\n"))
    await applied(world)
    world.commit(triage=None, other=agent("other"))
    plan = await plan_of(world)
    assert plan.changes == ()
    assert sorted(hold.code for hold in plan.holds) == [HoldCode.PROTECTED, HoldCode.QUOTA]


async def test_an_agent_that_goes_makes_no_room_in_a_plan_that_leaves_it(world):
    world.memory.commit({"fleet.yaml": FULL_AT_ONE})
    world.commit(triage=agent("triage"))
    await applied(world)
    world.commit(triage=None, other=agent("other"))
    plan = await plan_of(world, Policy(targets=(AgentName.parse("support/other"),)))
    assert plan.changes == ()
    assert [hold.code for hold in plan.holds] == [HoldCode.QUOTA]


async def test_planning_one_agent_again_knows_which_others_go(world):
    world.memory.commit({"fleet.yaml": FULL_AT_ONE})
    world.commit(triage=agent("triage"))
    await applied(world)
    world.commit(triage=None, other=agent("other"))
    plan = await plan_of(world)
    again = await replanner(world, plan)(AgentName.parse("support/other"))
    assert isinstance(again, Change)
    assert again.action is Action.CREATE
