"""One remedy at a time on a cluster that shows pods: which go, in which order, and what stops it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import journal
from reconciler.engine.apply import locked
from reconciler.engine.operate import Hand, resume
from reconciler.engine.recover import Means, Treated, Treatment, note, treat
from reconciler.engine.run import Run
from reconciler.engine.world import Patience, Retry, Stores
from reconciler.health.ladder import sequence
from reconciler.model.agent import Remedy
from reconciler.model.errors import ClusterUnavailable
from reconciler.model.health import HttpProbe, ProbeRequest
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import ClusterIdentity, Found, Precondition, Unreadable
from reconciler.model.recovery import Ended, RecoveryState, Taken
from reconciler.model.registry import AgentState, JournalPhase, Quarantine, Record, Write
from tests.doubles.clock import FakeClock
from tests.doubles.pods_cluster import PodsCluster
from tests.doubles.prober import TableProber
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld, open_cluster, open_registry
from tests.engine.fleets import NOTHING, OPTIONS, _fleet, agent, applied, plan_of, record, snapshot

NAME = AgentName.parse("support/triage")
BODY = """\
  replicas: {replicas}
  ports: [{{name: http, port: 8080}}]
  health: {{checks: [{{name: answers, connectivity: {{http: {{path: /healthz, port: http}}}}}}]}}
  recovery: {{ladder: [restart, reschedule, rollback, quarantine], attempts: 4}}
"""


class Clinic:
    """A fleet of one agent, whose pods answer as a test says, and what is done to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.source = folder, FakeClock(), MemorySource()
        self.source.commit({"fleet.yaml": NOTHING})
        self.cluster = open_cluster(PodsCluster, folder)
        self.sick: set[int] = set()
        """Numbers of pods that do not answer."""
        self.stop = asyncio.Event()

    async def open(self) -> None:
        self.registry = await open_registry(self.folder, self.clock)
        self.stores = Stores(
            registry=self.registry, clusters={"local": self.cluster}, patience=Patience(connect_s=0.2, call_s=1.0)
        )
        self.world = GivenWorld(self.source, self.clock, self.stores)

    async def have(self, replicas: int, more: str = "", image: str = "acme/agent:1") -> None:
        self.source.commit({"agents/triage.yaml": agent("triage", BODY.format(replicas=replicas) + more, image=image)})
        await applied(self.world)

    def answer(self, request: ProbeRequest) -> str:
        assert isinstance(request, HttpProbe)
        return "HTTP 500" if int(request.host.rpartition(".")[2]) in self.sick else ""

    async def treat(self, remedy: Remedy = Remedy.RESTART, known: Record | None = None) -> Treated:
        seen, declared = await snapshot(self.world), await _fleet(self.world)
        now, on_record = self.clock.now_ms(), known or seen.records[NAME]
        assert declared.fleet is not None
        before = on_record.recovery or RecoveryState(spec_hash=on_record.spec_hash, since_ms=now - 1)
        begun = Taken(remedy=remedy, at_ms=now, because="it does not answer", clusters=("local",))
        step = sequence(declared.agents[NAME].spec.recovery).index(remedy) + 1
        given = Treatment(
            agent=declared.agents[NAME],
            record=on_record,
            state=replace(before, step=step, taken=(*before.taken, begun)),
        )
        means = Means(
            world=self.world, stores=self.stores, fleet=declared.fleet, prober=TableProber(self.answer),
            known=seen.fleet, chance=lambda: 1.0,
        )  # fmt: skip
        async with self.locked() as run:
            return await treat(run, means, given)

    def locked(self) -> AbstractAsyncContextManager[Run]:
        return locked(
            self.stores, self.clock, fleet="acme", commit="", options=OPTIONS, stop=self.stop, emit=lambda _: None
        )

    async def record(self) -> Record:
        return await record(self.world, str(NAME))


@pytest.fixture
async def clinic(tmp_path: Path) -> AsyncIterator[Clinic]:
    made = Clinic(tmp_path)
    await made.open()
    yield made
    await made.cluster.close()
    await made.registry.close()


def resumed_in_between(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody resumes the agent by hand between the next look at its record and the write that follows."""
    commit, hand = (
        clinic.registry.commit,
        Hand(registry=clinic.registry, clock=clinic.clock, actor="rita", retry=Retry()),
    )
    first = [True]

    async def late(write: Write) -> int:
        if first:
            first.clear()
            await resume(hand, NAME)
        return await commit(write)

    monkeypatch.setattr(clinic.registry, "commit", late)


async def test_what_was_decided_of_an_agent_is_not_written_once_somebody_resumed_it(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clinic.have(1)
    before = await clinic.record()
    ill = RecoveryState(spec_hash=before.spec_hash, since_ms=1, step=2)
    async with clinic.locked() as run:
        assert await note(run, before, ill) is not None
        resumed_in_between(clinic, monkeypatch)
        await note(run, await clinic.record(), replace(ill, left=True), text="nothing is left to try")
    assert (await clinic.record()).recovery is None
    told = [entry.fact.message async for entry in clinic.registry.audit(name=NAME)]
    assert "nothing is left to try" not in told


async def test_a_quarantine_is_not_written_once_somebody_resumed_the_agent(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clinic.have(1)
    before = await clinic.record()
    async with clinic.locked() as run:
        await note(run, before, RecoveryState(spec_hash=before.spec_hash, since_ms=1, step=2))
    known = await clinic.record()
    resumed_in_between(clinic, monkeypatch)
    treated = await clinic.treat(Remedy.QUARANTINE, known)
    assert treated.text == "somebody resumed it meanwhile"
    assert (await clinic.record()).quarantine is None


async def test_those_that_do_not_answer_go_one_by_one_while_others_serve(clinic: Clinic) -> None:
    await clinic.have(4)
    clinic.sick = {2, 4}
    treated = await clinic.treat()
    assert treated.how is Ended.DONE
    assert treated.text == "2 pods started anew on local (triage-abc-2, triage-abc-4)"
    assert clinic.cluster.deleted == ["triage-abc-2", "triage-abc-4"]
    assert clinic.cluster.serving == [3, 3], "the second went when the first had been replaced"
    now = await clinic.record()
    assert (now.state, now.message) == (AgentState.DEGRADED, treated.text)
    assert now.recovery is not None
    assert now.recovery.taken[-1].ended is Ended.DONE
    assert now.recovery.due_ms == clinic.clock.now_ms() + 10_000
    assert (await plan_of(clinic.world)).changes == ()
    facts = [entry.fact async for entry in clinic.registry.audit(name=NAME)]
    assert [(fact.actor, fact.action) for fact in facts[-2:]] == [("tester", "recover")] * 2


async def test_where_none_serves_all_go_at_once(clinic: Clinic) -> None:
    await clinic.have(3)
    clinic.sick = {1, 2, 3}
    await clinic.treat()
    assert len(clinic.cluster.deleted) == 3
    assert len(await clinic.cluster.names("triage")) == 3


@pytest.mark.parametrize(
    ("disruption", "gone"),
    [("", ["triage-abc-1", "triage-abc-2"]), ("  disruption: {minAvailable: 2}\n", ["triage-abc-1"])],
)
async def test_one_that_serves_goes_with_its_node_only_while_enough_others_serve(
    clinic: Clinic, disruption: str, gone: list[str]
) -> None:
    await clinic.have(2, disruption)
    clinic.sick = {1}
    await clinic.treat(Remedy.RESCHEDULE)
    assert clinic.cluster.deleted == gone


async def test_one_that_is_well_at_another_look_is_not_touched(clinic: Clinic) -> None:
    await clinic.have(2)
    treated = await clinic.treat()
    assert (treated.how, clinic.cluster.deleted) == (Ended.NOTHING, [])
    assert (await clinic.record()).recovery is not None, "it counts: it was time for a remedy"


async def test_what_comes_and_is_never_ready_ends_the_remedy_before_the_next_pod_goes(clinic: Clinic) -> None:
    await clinic.have(3, "  rollout: {timeout: 5s}\n")
    clinic.sick, clinic.cluster.barren = {1, 2}, True
    treated = await clinic.treat()
    assert treated.how is Ended.FAILED
    assert treated.text == "1 pod went, and what came is not ready after 5 s"
    assert clinic.cluster.deleted == ["triage-abc-1"]
    assert await clinic.registry.open_journal() == ()


async def test_one_that_was_about_to_end_replaces_nobody(clinic: Clinic) -> None:
    """It is ready still, for as long as it takes to end."""
    await clinic.have(4, "  rollout: {timeout: 5s}\n")
    clinic.sick, clinic.cluster.barren = {1, 2}, True
    ending = ObjectRef(group="", kind="Pod", namespace="support", name="triage-abc-4")
    clinic.cluster._store.delete(ending)
    assert "triage-abc-4" in await clinic.cluster.names("triage")
    treated = await clinic.treat()
    assert (treated.how, clinic.cluster.deleted) == (Ended.FAILED, ["triage-abc-1"])


async def test_a_process_that_was_started_again_long_ago_and_hangs_since_is_not_left_to_its_cluster(
    clinic: Clinic,
) -> None:
    await clinic.have(1)
    clinic.sick = {1}
    ended = {"terminated": {"finishedAt": "2027-01-15T07:00:10Z"}}
    await clinic.cluster.tell("triage", 1, began="2027-01-15T07:00:11Z", lastState=ended, restartCount=1)
    record = await clinic.record()
    ill = RecoveryState(spec_hash=record.spec_hash, since_ms=clinic.clock.now_ms() - 3_600_000)
    treated = await clinic.treat(known=replace(record, recovery=ill))
    assert (treated.how, clinic.cluster.deleted) == (Ended.DONE, ["triage-abc-1"])


async def test_a_pod_whose_process_ended_a_moment_ago_is_its_clusters(clinic: Clinic) -> None:
    await clinic.have(1)
    ended = {"terminated": {"finishedAt": "2100-01-01T00:00:00Z"}}
    await clinic.cluster.tell("triage", 1, ready=False, state=ended, restartCount=3)
    treated = await clinic.treat()
    assert treated.text == "its cluster starts it again by itself (1 pod), which does not help"
    assert (await clinic.treat(Remedy.RESCHEDULE)).how is Ended.DONE
    assert clinic.cluster.deleted == ["triage-abc-1"]


async def test_pods_of_another_cluster_behind_the_same_name_are_not_touched(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clinic.have(2)
    clinic.sick = {1}

    async def another() -> Found[ClusterIdentity]:
        return Found(ClusterIdentity(uid="another", version="1"))

    monkeypatch.setattr(clinic.cluster, "identity", another)
    treated = await clinic.treat()
    assert treated.how is Ended.FAILED
    assert clinic.cluster.deleted == []


async def test_a_cluster_that_is_away_fails_the_remedy_and_nothing_is_left_open(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clinic.have(2)
    clinic.sick = {1}

    async def away() -> Unreadable:
        return Unreadable(reason="nobody answers")

    monkeypatch.setattr(clinic.cluster, "identity", away)
    treated = await clinic.treat()
    assert treated.how is Ended.FAILED
    assert "nobody answers" in treated.text
    assert await clinic.registry.open_journal() == ()
    assert (await clinic.record()).state is AgentState.DEGRADED


async def test_a_delete_whose_answer_is_lost_is_not_done_twice(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    await clinic.have(2)
    clinic.sick = {1}
    delete = clinic.cluster.delete
    lost: list[ObjectRef] = []

    async def loses_one(ref: ObjectRef, expect: Precondition) -> None:
        await delete(ref, expect)
        if not lost:
            lost.append(ref)
            raise ClusterUnavailable("the connection broke", ref=ref, cluster="local")

    monkeypatch.setattr(clinic.cluster, "delete", loses_one)
    assert (await clinic.treat()).how is Ended.DONE
    assert clinic.cluster.deleted == ["triage-abc-1"]


async def test_one_that_was_asked_to_stop_says_where_it_was(clinic: Clinic) -> None:
    await clinic.have(2)
    clinic.sick = {1}
    clinic.stop.set()
    treated = await clinic.treat()
    assert (treated.how, treated.text) == (Ended.INTERRUPTED, "stopped after nothing")
    assert await clinic.registry.open_journal() == ()
    assert clinic.cluster.deleted == []


async def test_with_a_crash_before_the_outcome_the_next_apply_finishes_it(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clinic.have(2)
    clinic.sick = {1}

    async def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("reconciler.engine.recover._write_end", killed)
        with pytest.raises(KeyboardInterrupt):
            await clinic.treat()
    assert (await clinic.record()).state is AgentState.RECOVERING
    (entry,) = await clinic.registry.open_journal()
    assert (entry.action, entry.phase, entry.detail["remedy"]) == ("recover", JournalPhase.INTENT, "restart")
    plan = await plan_of(clinic.world)
    assert [reason.text for reason in plan.changes[0].reasons] == ["its restart is under way, or stopped in the middle"]
    held = (await clinic.record()).reservations
    await applied(clinic.world, plan)
    now = await clinic.record()
    assert (now.state, now.reservations) == (AgentState.RUNNING, held)
    assert await clinic.registry.open_journal() == ()
    assert (await plan_of(clinic.world)).changes == ()


async def test_a_rollback_returns_to_the_revision_before_and_keeps_its_place_on_the_ladder(clinic: Clinic) -> None:
    await clinic.have(1)
    await clinic.have(1, image="acme/agent:2")
    treated = await clinic.treat(Remedy.ROLLBACK)
    assert treated.how is Ended.DONE
    assert treated.text.startswith("back at revision 1")
    now = await clinic.record()
    assert now.document["image"] == "acme/agent:1"
    assert now.recovery is not None
    assert (now.recovery.spec_hash, now.recovery.step) == (now.spec_hash, 3)
    assert now.quarantine is not None


async def test_a_rollback_without_a_revision_before_has_nothing_to_do(clinic: Clinic) -> None:
    await clinic.have(1)
    treated = await clinic.treat(Remedy.ROLLBACK)
    assert treated.how is Ended.NOTHING
    assert (await clinic.record()).state is AgentState.RUNNING


async def test_on_a_record_that_was_written_since_nothing_is_done(clinic: Clinic) -> None:
    await clinic.have(1)
    old = await clinic.record()
    await clinic.have(1, image="acme/agent:2")
    clinic.sick = {1}
    treated = await clinic.treat(known=old)
    assert treated.record is None
    assert clinic.cluster.deleted == []


@pytest.mark.parametrize(("back", "state"), [(False, AgentState.DEGRADED), (True, AgentState.RECOVERING)])
async def test_a_remedy_that_nobody_ended_of_an_agent_in_quarantine_is_over(
    clinic: Clinic, back: bool, state: AgentState
) -> None:
    """No plan goes on with it: for a spec that is quarantined none has a change. A way back is gone on with."""
    await clinic.have(2)
    fresh = await clinic.record()
    taken = Taken(remedy=Remedy.RESTART, at_ms=clinic.clock.now_ms(), because="it does not answer", clusters=("local",))
    going = RecoveryState(spec_hash=fresh.spec_hash, since_ms=1, step=1, taken=(taken,))
    entry = journal.remedied(fresh, Remedy.RESTART, because="it does not answer", at_ms=1)
    if back:
        entry = journal.turned(entry, journal.Step.ROLL_BACK, reason="by hand", at_ms=1)
    async with clinic.locked() as run:
        left = replace(
            fresh,
            version=fresh.version + 1,
            state=AgentState.RECOVERING,
            quarantine=Quarantine(spec_hash=fresh.spec_hash, since_ms=1, reason="it failed"),
            recovery=going,
        )
        await run.commit(records=(left,), journal=(entry,))
        over = replace(going, taken=(replace(taken, ended=Ended.INTERRUPTED, text="it was interrupted"),))
        made = await note(run, left, over)
    assert made is not None
    assert made.state is state
    await applied(clinic.world)
    assert [item.phase for item in await clinic.registry.open_journal()] == []
