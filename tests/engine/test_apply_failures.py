"""What an apply does when something fails: the ways back, what waits, who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.engine.apply import ApplyOptions, apply
from reconciler.engine.locks import LockHeld, LockLost
from reconciler.engine.passes import PlanChanged, PlanSpent, apply_plan, apply_saved
from reconciler.engine.reconcile import replanner
from reconciler.engine.settle import CONFLICTS
from reconciler.engine.world import Retry, Stores
from reconciler.model.errors import ClusterUnavailable, NotAllowed, RegistryConflict
from reconciler.model.events import ApplyFinished, ChangeStarted, Outcome, Overridden, RolloutProgress
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import Found, LiveObject, LiveSet, Manifest, MustBe, Observation, Scope, Unreadable
from reconciler.model.plan import Action, HoldCode, Policy, ReasonCode
from reconciler.model.registry import AgentState, Write
from reconciler.model.source import JsonObject
from reconciler.plan.planfile import dump, load
from tests.doubles.never_ready import NEVER_READY, SILENT, NeverReadyCluster
from tests.doubles.world import GivenWorld, open_cluster
from tests.engine.fleets import NOTHING, OPTIONS, agent, applied, end, finished, plan_of, record, snapshot

NAME = "support/triage"
BAD = f"acme/agent:{NEVER_READY}"


async def objects(world: Any) -> Mapping[ObjectRef, LiveObject]:
    answer: Observation[LiveSet] = await world.cluster.observe(Scope())
    assert isinstance(answer, Found)
    return answer.value.objects


async def deployment(world: Any, name: str = "triage") -> LiveObject:
    ref = ObjectRef(group="apps", kind="Deployment", namespace="support", name=name)
    answer: Observation[LiveObject] = await world.cluster.get(ref)
    assert isinstance(answer, Found)
    return answer.value


def image_of(live) -> str:
    image: str = live.body["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


async def test_a_failed_update_goes_back_and_its_spec_waits_until_it_changes(world):
    world.commit(triage=agent("triage"))
    await applied(world)
    good = await record(world, NAME)
    world.commit(triage=agent("triage", image=BAD))
    event = finished(await applied(world))[NAME]
    assert event.outcome is Outcome.ROLLED_BACK
    assert "never becomes ready" in event.reason
    kept = await record(world, NAME)
    assert (kept.state, kept.spec_hash) == (AgentState.RUNNING, good.spec_hash)
    assert (kept.reservations, kept.placement) == (good.reservations, good.placement)
    assert image_of(await deployment(world)) == "acme/agent:1"

    again = await plan_of(world)
    assert again.changes == ()
    assert [hold.code for hold in again.holds] == [HoldCode.QUARANTINED]
    assert finished(await applied(world, again)) == {}

    world.commit(triage=agent("triage", image="acme/agent:3"))
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    mended = await record(world, NAME)
    assert mended.quarantine is None
    outcomes = [(item.number, item.outcome.partition(":")[0]) for item in await world.registry.revisions(mended.name)]
    assert outcomes == [(3, "ready"), (2, "failed"), (1, "ready")]


async def test_a_failed_spec_that_was_reverted_in_git_is_quarantined_no_more(world):
    """Nothing is to be changed then. The record, which says what people look for, would tell of it for ever."""
    world.commit(triage=agent("triage"))
    await applied(world)
    world.commit(triage=agent("triage", image=BAD))
    await applied(world)
    world.commit(triage=agent("triage"))
    reverted = await plan_of(world)
    assert (reverted.changes, reverted.holds) == ((), ())
    await applied(world, await plan_of(world, Policy(targets=(AgentName.parse(NAME),))))
    assert (await record(world, NAME)).quarantine is not None, "a part of the fleet may be at another commit"
    await applied(world, reverted)
    mended = await record(world, NAME)
    assert (mended.state, mended.quarantine, mended.message) == (AgentState.RUNNING, None, "")
    (entry,) = [entry async for entry in world.registry.audit(name=mended.name) if entry.fact.action == "unquarantine"]
    assert (entry.fact.actor, entry.fact.commit) == (OPTIONS.actor, reverted.revision.commit)
    await applied(world, await plan_of(world))
    assert (await record(world, NAME)).version == mended.version


async def test_a_failed_creation_is_taken_back_and_holds_no_resources(world):
    world.commit(triage=agent("triage", image=BAD))
    event = finished(await applied(world))[NAME]
    assert event.outcome is Outcome.UNDONE
    assert await objects(world) == {}
    kept = await record(world, NAME)
    assert (kept.state, kept.reservations, kept.inventory) == (AgentState.QUARANTINED, (), ())
    assert [hold.code for hold in (await plan_of(world)).holds] == [HoldCode.QUARANTINED]
    world.commit(triage=agent("triage"))
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    assert (await record(world, NAME)).id == kept.id


async def test_a_failed_update_that_shall_stop_is_left_as_it_is(world):
    world.commit(triage=agent("triage"))
    await applied(world)
    world.commit(triage=agent("triage", "  rollout: {onFailure: stop}\n", image=BAD))
    event = finished(await applied(world))[NAME]
    assert event.outcome is Outcome.FAILED
    kept = await record(world, NAME)
    assert kept.state is AgentState.DEGRADED
    assert image_of(await deployment(world)) == BAD
    assert (await plan_of(world)).changes == ()
    assert await world.registry.open_journal() == ()


async def test_a_rollout_that_takes_too_long_fails_with_what_it_waited_for(world):
    world.commit(triage=agent("triage", "  rollout: {timeout: 30s}\n", image=f"acme/{SILENT}"))
    started = world.fake.monotonic()
    event = finished(await applied(world))[NAME]
    assert event.outcome is Outcome.UNDONE
    assert "not ready after 30 s" in event.reason
    assert 30 <= world.fake.monotonic() - started < 60


async def test_the_timeout_of_a_run_goes_before_the_agents_own(world):
    world.commit(triage=agent("triage", image=f"acme/{SILENT}"))
    options = ApplyOptions(actor="a", holder="a", timeout_s=5.0, retry=Retry(jitter=lambda: 0.0))
    assert "not ready after 5 s" in finished(await applied(world, options=options))[NAME].reason


async def test_what_depends_on_a_failure_is_skipped_and_the_rest_goes_on(world):
    world.commit(
        base=agent("base", image=BAD),
        middle=agent("middle", "  dependsOn: [support/base]\n"),
        top=agent("top", "  dependsOn: [support/middle]\n"),
        apart=agent("apart", "  wave: 3\n"),
    )
    events = await applied(world)
    outcomes = {name: event.outcome for name, event in finished(events).items()}
    assert outcomes == {
        "support/base": Outcome.UNDONE,
        "support/middle": Outcome.SKIPPED,
        "support/top": Outcome.SKIPPED,
        "support/apart": Outcome.APPLIED,
    }
    assert "support/base" in finished(events)["support/middle"].reason
    assert (end(events).applied, end(events).failed, end(events).skipped) == (1, 1, 2)


async def test_dependencies_come_up_first_and_go_last(world):
    world.commit(a=agent("a", "  dependsOn: [support/z]\n"), z=agent("z"))
    up = [str(event.agent) for event in await applied(world) if isinstance(event, ChangeStarted)]
    assert up == ["support/z", "support/a"]
    world.commit(a=None, z=None, other=agent("other"))
    down = [event for event in await applied(world) if isinstance(event, ChangeStarted)]
    assert [(str(event.agent), event.action) for event in down] == [
        ("support/other", Action.CREATE),
        ("support/a", Action.DELETE),
        ("support/z", Action.DELETE),
    ]


async def edit(world: Any, spec: JsonObject, manager: str = "kubectl-edit") -> None:
    """Change a Deployment as a person with kubectl does."""
    live = await deployment(world)
    body = {**live.body, "spec": {**live.body["spec"], **spec}}
    world.cluster._store.update(body, manager=manager)


async def take_replicas(world: Any, replicas: int) -> None:
    """Apply the replicas as another tool, by force."""
    live = await deployment(world)
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "triage", "namespace": "support"},
        "spec": {"replicas": replicas},
    }
    manifest = Manifest(ref=live.ref, body=theirs, hash="", agent=AgentName.parse(NAME))
    await world.cluster.apply(manifest, MustBe(uid=live.uid), manager="another", force=True)


async def test_a_hand_edit_is_undone_by_force_and_whom_it_overrode_is_told(world):
    world.commit(triage=agent("triage", "  replicas: 2\n"))
    await applied(world)
    await edit(world, {"replicas": 7})
    plan = await plan_of(world)
    assert [reason.code for reason in plan.changes[0].reasons] == [ReasonCode.DRIFT]
    told = [event for event in await applied(world, plan) if isinstance(event, Overridden)]
    assert [(event.drift.manager, event.drift.before, event.drift.after) for event in told] == [("kubectl-edit", 2, 7)]
    assert (await deployment(world)).body["spec"]["replicas"] == 2
    assert (await plan_of(world)).changes == ()


async def test_an_edit_between_plan_and_apply_is_met_by_planning_that_agent_again(world):
    world.commit(triage=agent("triage", "  replicas: 2\n"))
    await applied(world)
    world.commit(triage=agent("triage", "  replicas: 3\n"))
    plan = await plan_of(world)
    await edit(world, {"replicas": 7})
    events = await applied(world, plan)
    assert finished(events)[NAME].outcome is Outcome.APPLIED
    told = [event for event in events if isinstance(event, Overridden)]
    assert [(event.drift.manager, event.drift.before, event.drift.after) for event in told] == [("kubectl-edit", 3, 7)]
    assert (await deployment(world)).body["spec"]["replicas"] == 3
    assert (await plan_of(world)).changes == ()
    assert await world.registry.open_journal() == ()


async def test_a_field_that_another_tool_applies_is_reported_and_left(world):
    world.commit(triage=agent("triage", "  replicas: 2\n"))
    await applied(world)
    await take_replicas(world, 5)
    plan = await plan_of(world)
    assert plan.changes == ()
    assert [(drift.manager, drift.undone) for drift in plan.drift] == [("another", False)]
    world.commit(triage=agent("triage", "  replicas: 3\n"))
    await applied(world)
    assert (await deployment(world)).body["spec"]["replicas"] == 5
    assert await world.registry.open_journal() == ()


async def test_a_tool_that_takes_a_field_between_plan_and_apply_is_not_overridden(world):
    world.commit(triage=agent("triage", "  replicas: 2\n"))
    await applied(world)
    world.commit(triage=agent("triage", "  replicas: 3\n"))
    plan = await plan_of(world)
    await take_replicas(world, 5)
    await applied(world, plan)
    assert (await deployment(world)).body["spec"]["replicas"] == 5
    assert await world.registry.open_journal() == ()
    assert (await plan_of(world)).changes == ()


async def test_two_applies_at_once_one_is_told_who_holds_the_lock(world):
    world.commit(triage=agent("triage"))
    held = await world.registry.acquire("apply", holder="ada, process 7", ttl_ms=30_000, now_ms=world.fake.now_ms())
    with pytest.raises(LockHeld, match="ada, process 7"):
        await applied(world)
    assert (await snapshot(world)).records == {}
    await world.registry.release(held)
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED


async def test_two_applies_at_once_one_waits_for_the_other(world):
    world.commit(triage=agent("triage"))
    await world.registry.acquire("apply", holder="ada", ttl_ms=10_000, now_ms=world.fake.now_ms())
    waited: list[str] = []
    options = ApplyOptions(actor="a", holder="bob", lock_wait_s=60, on_wait=waited.append)
    assert finished(await applied(world, options=options))[NAME].outcome is Outcome.APPLIED
    assert len(waited) == 1
    assert "ada" in waited[0]


async def test_an_apply_that_lost_its_lock_writes_nothing_more(world):
    world.commit(triage=agent("triage", image=f"acme/{SILENT}"))
    with pytest.raises(LockLost):
        await _robbed(world)
    assert (await record(world, NAME)).state is AgentState.DEPLOYING


async def _robbed(world: Any) -> None:
    """An apply from which another process takes the lock, as after a long pause."""
    async for event in apply_plan(world, await plan_of(world), options=OPTIONS, stop=asyncio.Event()):
        if isinstance(event, RolloutProgress):
            world.fake.advance(31)
            await world.registry.acquire("apply", holder="thief", ttl_ms=600_000, now_ms=world.fake.now_ms())


async def test_a_run_asked_to_stop_starts_nothing_more(world):
    world.commit(a=agent("a"), b=agent("b", "  dependsOn: [support/a]\n"))
    stop = asyncio.Event()
    stop.set()
    events = await applied(world, stop=stop)
    assert {event.outcome for event in finished(events).values()} == {Outcome.SKIPPED}
    assert end(events).interrupted
    assert (await snapshot(world)).records == {}


async def test_a_rollout_that_is_interrupted_is_gone_on_with(world):
    world.commit(triage=agent("triage", image=f"acme/{SILENT}"))
    stop = asyncio.Event()
    told = []
    async for event in apply_plan(world, await plan_of(world), options=OPTIONS, stop=stop):
        told.append(event)
        if isinstance(event, RolloutProgress):
            stop.set()
    assert isinstance(told[-1], ApplyFinished)
    assert told[-1].interrupted
    assert (await record(world, NAME)).state is AgentState.DEPLOYING
    assert len(await world.registry.open_journal()) == 1
    world.commit(triage=agent("triage"))
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    assert await world.registry.open_journal() == ()
    assert (await plan_of(world)).changes == ()


async def test_a_reader_that_goes_away_ends_the_run_cleanly(world):
    world.commit(triage=agent("triage", image=f"acme/{SILENT}"))
    events = apply_plan(world, await plan_of(world), options=OPTIONS, stop=asyncio.Event())
    async for event in events:
        if isinstance(event, RolloutProgress):
            break
    await events.aclose()
    world.commit(triage=agent("triage"))
    world.fake.advance(31)
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED


async def test_a_saved_plan_is_done_once(world):
    world.commit(triage=agent("triage"))
    saved = load(dump(await plan_of(world)))
    world.commit(other=agent("other"))
    events = [event async for event in apply_saved(world, saved, options=OPTIONS, stop=asyncio.Event())]
    assert set(finished(events)) == {NAME}
    with pytest.raises(PlanSpent):
        async for _event in apply_saved(world, saved, options=OPTIONS, stop=asyncio.Event()):
            pass


async def test_a_saved_plan_is_refused_when_its_agent_changed_since(world):
    world.commit(triage=agent("triage"))
    saved = load(dump(await plan_of(world)))
    world.commit(triage=agent("triage", image="acme/agent:2"))
    with pytest.raises(PlanChanged, match=NAME) as raised:
        async for _event in apply_saved(world, saved, options=OPTIONS, stop=asyncio.Event()):
            pass
    assert [str(item.agent) for item in raised.value.differences] == [NAME]
    assert (await snapshot(world)).records == {}


@pytest.mark.parametrize("first", ["acme/agent:0", None], ids=["an update", "a creation"])
async def test_a_plan_that_is_out_of_date_is_refused_where_a_newer_commit_went_first(world, first):
    if first:
        world.commit(triage=agent("triage", image=first))
        await applied(world)
    world.commit(triage=agent("triage"))
    stale = await plan_of(world)
    world.commit(triage=agent("triage", image="acme/agent:2"))
    await applied(world)
    before = await record(world, NAME)
    event = finished(await applied(world, stale))[NAME]
    assert event.outcome is Outcome.FAILED
    assert "another change: plan again" in event.reason
    assert image_of(await deployment(world)) == "acme/agent:2"
    assert await record(world, NAME) == before
    assert (await plan_of(world)).changes == ()


async def test_a_plan_that_is_out_of_date_does_not_delete_what_a_newer_commit_keeps(world):
    world.commit(triage=agent("triage"), other=agent("other"))
    await applied(world)
    world.commit(triage=None)
    stale = await plan_of(world)
    world.commit(triage=agent("triage", image="acme/agent:2"))
    await applied(world)
    event = finished(await applied(world, stale))[NAME]
    assert event.outcome is Outcome.FAILED
    assert "rewound" in event.reason
    assert image_of(await deployment(world)) == "acme/agent:2"
    fleet = (await snapshot(world)).fleet
    assert fleet is not None
    assert fleet.commit == world.memory.commits[-1]


async def test_a_pass_with_nothing_to_do_writes_nothing(world):
    world.commit(triage=agent("triage"))
    await applied(world)
    before, audit = await snapshot(world), await world.registry.verify_audit()
    events = await applied(world)
    assert (end(events).applied, end(events).interrupted) == (0, False)
    after = await snapshot(world)
    assert (after.seq, after.fleet) == (before.seq, before.fleet)
    assert (await world.registry.verify_audit()).count == audit.count


async def test_every_step_is_in_the_audit_and_its_chain_is_sound(world):
    world.commit(triage=agent("triage"))
    await applied(world)
    world.commit(triage=agent("triage", image=BAD))
    await applied(world)
    facts = [entry.fact async for entry in world.registry.audit(name=AgentName.parse(NAME))]
    assert [fact.action for fact in facts] == [
        "register", "create", "applied", "update", "roll-back", "rolled-back",
    ]  # fmt: skip
    assert facts[3].diff["image"] == {"before": "acme/agent:1", "after": BAD}
    assert (await world.registry.verify_audit()).sound


async def test_two_hundred_agents_in_one_run(world):
    world.commit(**{f"agent-{number:03}": agent(f"agent-{number:03}") for number in range(200)})
    events = await applied(world)
    assert (end(events).applied, end(events).failed) == (200, 0)
    assert len((await snapshot(world)).records) == 200
    assert (await plan_of(world)).changes == ()


async def test_an_agent_whose_deletion_stopped_in_the_middle_may_come_back(world):
    world.commit(triage=agent("triage"), other=agent("other"))
    await applied(world)
    before = await record(world, NAME)
    world.commit(triage=None)
    plan = await plan_of(world)
    away = Stores(registry=world.registry, clusters={"local": Unreadable(reason="it is away")})
    again = replanner(world, plan)
    events = [
        event async for event in apply(plan, away, world.clock, options=OPTIONS, replan=again, stop=asyncio.Event())
    ]
    assert finished(events)[NAME].outcome is Outcome.FAILED
    assert (await record(world, NAME)).state is AgentState.TERMINATING
    world.commit(triage=agent("triage"))
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    after = await record(world, NAME)
    assert (after.id, after.state) == (before.id, AgentState.RUNNING)
    assert await world.registry.open_journal() == ()
    assert (await plan_of(world)).changes == ()


async def test_what_an_earlier_run_left_open_is_closed_though_the_record_is_written_over_and_over(world, monkeypatch):
    world.commit(triage=agent("triage"))
    await applied(world)
    world.commit(triage=agent("triage", image="acme/agent:2"))

    async def away(*_given: Any, **_more: Any) -> LiveObject:
        raise ClusterUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(world.cluster, "apply", away)
        await applied(world)
    assert len(await world.registry.open_journal()) == 1
    world.commit(triage=agent("triage", image="acme/agent:3"))
    commit, left = world.registry.commit, iter(range(CONFLICTS))

    async def contended(write: Write) -> int:
        if write.journal and next(left, None) is not None:
            raise RegistryConflict("it was written meanwhile")
        return int(await commit(write))

    monkeypatch.setattr(world.registry, "commit", contended)
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    assert await world.registry.open_journal() == ()


async def test_two_plans_of_the_same_commit_at_once_do_everything_once(world):
    world.commit(**{name: agent(name) for name in ("a", "b", "c")})
    real = GivenWorld(world.memory, SystemClock(), await world.stores(None))
    plans = [await plan_of(real), await plan_of(real)]
    options = [ApplyOptions(actor=name, holder=name, lock_wait_s=30) for name in ("ada", "bob")]
    both = await asyncio.gather(
        *(applied(real, plan, options=given) for plan, given in zip(plans, options, strict=True))
    )
    assert {event.outcome for events in both for event in finished(events).values()} == {Outcome.APPLIED}
    registered = [entry.fact async for entry in world.registry.audit() if entry.fact.action == "register"]
    assert sorted(str(fact.agent) for fact in registered) == ["support/a", "support/b", "support/c"]
    assert (await plan_of(real)).changes == ()


REQUESTS = "  resources: {requests: {cpu: 100m}}\n"
AUTOSCALED = f"""{REQUESTS}\
  autoscaling: {{min: 2, max: 9, metrics: [{{cpu: 70%}}]}}
"""


async def test_an_autoscaler_takes_over_the_replicas_that_are_there(world):
    world.commit(triage=agent("triage", "  replicas: 5\n"))
    await applied(world)
    world.commit(triage=agent("triage", AUTOSCALED))
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    live = await deployment(world)
    assert live.body["spec"]["replicas"] == 5
    assert "reconciler-handover" in {entry["manager"] for entry in live.metadata["managedFields"]}
    assert [item.replicas for item in (await record(world, NAME)).placement] == [2]
    assert (await plan_of(world)).changes == ()


async def test_going_back_to_a_revision_with_an_autoscaler_keeps_the_replicas(world):
    world.commit(triage=agent("triage", AUTOSCALED))
    await applied(world)
    await edit(world, {"replicas": 6}, manager="kube-controller-manager")
    world.commit(triage=agent("triage", "  replicas: 4\n", image=BAD))
    assert finished(await applied(world))[NAME].outcome is Outcome.ROLLED_BACK
    live = await deployment(world)
    assert live.body["spec"]["replicas"] > 1
    assert image_of(live) == "acme/agent:1"


async def test_a_move_between_clusters_leaves_nothing_behind(world, tmp_path):
    fleet = NOTHING + "    - {name: east, embedded: {run: nothing}}\n"
    east = open_cluster(NeverReadyCluster, tmp_path / "east", "east")
    stores = Stores(registry=world.registry, clusters={"local": world.cluster, "east": east})
    pair = GivenWorld(world.memory, world.clock, stores)
    world.memory.commit({"fleet.yaml": fleet})
    world.commit(triage=agent("triage", "  placement: {clusters: {names: [local]}}\n"))
    await applied(pair)
    assert len(await objects(world)) > 0
    world.commit(triage=agent("triage", "  placement: {clusters: {names: [east]}}\n"))
    assert finished(await applied(pair))[NAME].outcome is Outcome.APPLIED
    assert await objects(world) == {}
    moved = await record(pair, NAME)
    assert {entry.cluster for entry in moved.inventory} == {"east"}
    assert (await plan_of(pair)).changes == ()
    await east.close()


async def test_a_cluster_that_goes_away_during_an_apply_keeps_what_was_going_on_on_record(world):
    world.commit(triage=agent("triage"))
    plan = await plan_of(world)
    away = Stores(registry=world.registry, clusters={"local": Unreadable(reason="it is away")})
    again = replanner(GivenWorld(world.memory, world.clock, away), plan)
    events = [
        event async for event in apply(plan, away, world.clock, options=OPTIONS, replan=again, stop=asyncio.Event())
    ]
    event = finished(events)[NAME]
    assert event.outcome is Outcome.FAILED
    assert "it is away" in event.reason
    assert (await record(world, NAME)).quarantine is None
    assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
    assert await world.registry.open_journal() == ()


@pytest.fixture
def may(world, monkeypatch: pytest.MonkeyPatch):
    """A switch: where it is cleared, nobody may write Deployments or delete anything on the cluster."""
    rights = asyncio.Event()
    rights.set()
    apply_, delete = world.cluster.apply, world.cluster.delete

    async def applying(manifest: Manifest, *arguments: Any, **options: Any) -> LiveObject:
        if manifest.ref.kind == "Deployment" and not rights.is_set():
            raise NotAllowed(f"apply {manifest.ref}: forbidden", hint="grant it in RBAC")
        live: LiveObject = await apply_(manifest, *arguments, **options)
        return live

    async def deleting(ref: ObjectRef, *arguments: Any) -> None:
        if not rights.is_set():
            raise NotAllowed(f"delete {ref}: forbidden", hint="grant it in RBAC")
        await delete(ref, *arguments)

    monkeypatch.setattr(world.cluster, "apply", applying)
    monkeypatch.setattr(world.cluster, "delete", deleting)
    return rights


async def test_a_right_that_is_missing_says_nothing_against_a_spec(world, may):
    """A failure would take the agent back and quarantine its spec; it would not come when the right is given back."""
    for image in ("acme/agent:1", "acme/agent:2"):
        may.clear()
        world.commit(triage=agent("triage", image=image))
        event = finished(await applied(world))[NAME]
        assert (event.outcome, event.text) == (Outcome.FAILED, "not finished")
        assert "forbidden; grant it in RBAC; the next apply goes on with it" in event.reason
        kept = await record(world, NAME)
        assert (kept.state, kept.quarantine) == (AgentState.DEPLOYING, None)
        may.set()
        assert finished(await applied(world))[NAME].outcome is Outcome.APPLIED
        assert image_of(await deployment(world)) == image
    assert (await plan_of(world)).changes == ()
    assert await world.registry.open_journal() == ()


async def test_a_delete_that_is_not_allowed_is_gone_on_with_once_it_is(world, may):
    world.commit(triage=agent("triage"), other=agent("other"))
    await applied(world)
    may.clear()
    world.commit(triage=None)
    event = finished(await applied(world))[NAME]
    assert (event.outcome, event.text) == (Outcome.FAILED, "not finished")
    assert (await record(world, NAME)).state is AgentState.TERMINATING
    may.set()
    assert finished(await applied(world))[NAME].text == "deleted"
    assert all(ref.name != "triage" for ref in await objects(world))
