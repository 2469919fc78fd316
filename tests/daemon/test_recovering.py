"""What a daemon does about many agents at once: budgets, mass failure, what dependencies explain, and what is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.daemon import recovering
from reconciler.daemon.acting import Beside
from reconciler.daemon.measures import Measures
from reconciler.daemon.recovering import Recovering
from reconciler.daemon.sweeping import Swept
from reconciler.daemon.telling import Teller
from reconciler.engine.apply import locked
from reconciler.engine.locks import LockHeld, apply_lock
from reconciler.engine.operate import Hand, resume, scale, suspend
from reconciler.engine.recover import Means, Treated, Treatment
from reconciler.engine.rollout import RolloutEnd, RolloutResult
from reconciler.engine.run import Run
from reconciler.engine.sweep import Sweep
from reconciler.engine.world import Stores
from reconciler.model.agent import Dimension, Remedy
from reconciler.model.alert import Alert
from reconciler.model.errors import RegistryError
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.health import Assessment, CheckState, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.objects import AnyState
from reconciler.model.recovery import Ended, RecoveryState, Taken
from reconciler.model.registry import AgentState, Record, Write
from tests.doubles.clock import FakeClock
from tests.doubles.never_ready import NeverReadyCluster
from tests.doubles.prober import TableProber
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld, open_cluster, open_registry
from tests.engine.fleets import OPTIONS, PROCESSES, _fleet, agent, applied, plan_of, snapshot

RULES = "  recovery: {{ladder: [{ladder}], backoff: {{initial: 10s, factor: 2, max: 1m}}, attempts: {attempts}}}\n"


def name(text: str) -> AgentName:
    return AgentName(namespace="support", name=text)


class Doing:
    """Has remedies done at once, each under a lock of its own; or refuses, or lets them wait, as a test says."""

    def __init__(self, ward: Ward) -> None:
        self.ward = ward
        self.busy: frozenset[AgentName] = frozenset()
        self.held = 0
        self.asked: list[AgentName] = []
        self.ends: list[ChangeFinished] = []
        self.waiting: list[asyncio.Task[None]] = []
        self.waits = False

    async def beside(self, _stores: Stores, fleet: str, who: AgentName, _spec_hash: str, work: Beside) -> bool:
        self.asked.append(who)
        if self.held:
            self.held -= 1
            raise LockHeld("another apply holds this fleet: ada, for 12 s")

        async def done() -> None:
            async with locked(
                self.ward.stores, self.ward.clock, fleet=fleet, commit="", options=OPTIONS, stop=asyncio.Event(),
                emit=lambda _: None,
            ) as run:  # fmt: skip
                self.ends.append(await work(run))

        if self.waits:
            self.waiting.append(asyncio.create_task(self._patiently(work)))
            await asyncio.sleep(0)
        else:
            await done()
        return True

    async def _patiently(self, work: Beside) -> None:
        async with apply_lock(self.ward.registry, self.ward.clock, holder="x") as lock:
            run = Run(
                registry=self.ward.registry, clusters={}, clock=self.ward.clock, lock=lock, retry=OPTIONS.retry,
                actor="daemon", id="x", fleet="acme", commit_id="", stop=asyncio.Event(), emit=lambda _: None,
                replan=None,  # type: ignore[arg-type]
            )  # fmt: skip
            self.ends.append(await work(run))


class Watched(dict[AgentName, int]):
    """How often each agent was looked at: so often, where nothing else is known."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def get(self, name: AgentName, _default: Any = None) -> int:
        return super().get(name, self.looks)


class Ward:
    """A small fleet, and sweeps of it that find what a test says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.source = folder, FakeClock(), MemorySource()
        self.source.commit({"fleet.yaml": PROCESSES})
        self.cluster = open_cluster(NeverReadyCluster, folder)
        self.other = open_cluster(NeverReadyCluster, folder / "other", "other")
        self.lines: list[dict[str, Any]] = []
        self.alerts: list[Alert] = []
        self.measures = Measures()
        self.before: dict[AgentName, Assessment] = {}

    async def open(self) -> None:
        self.registry: SqliteRegistry = await open_registry(self.folder, self.clock)
        self.stores = Stores(registry=self.registry, clusters={"local": self.cluster, "other": self.other})
        self.world = GivenWorld(self.source, self.clock, self.stores)
        self.doing = Doing(self)
        self.restarted()

    def restarted(self, *, watched: int = 9) -> None:
        """Another daemon, which remembers nothing, and has looked at each agent so often."""
        self.recovering = Recovering(
            world=self.world, prober=TableProber(), measures=self.measures, acting=self.doing,  # type: ignore[arg-type]
            tell=Teller(clock=self.clock, write=lambda text: self.lines.append(json.loads(text)), as_json=True),
            raise_=self.alerts.append, chance=lambda: 0.0,
            _looks=Watched(watched),
        )  # fmt: skip

    async def have(self, *names: str, ladder: str = "restart, quarantine", attempts: int = 2, more: str = "") -> None:
        body = RULES.format(ladder=ladder, attempts=attempts) + more
        self.source.commit({f"agents/{each}.yaml": agent(each, body) for each in names})
        await applied(self.world)

    async def swept(self, states: dict[str, HealthState], **found: Any) -> Swept:
        known = await snapshot(self.world)
        declared = await _fleet(self.world)
        assessments = {name(each): self.assessed(name(each), state, **found) for each, state in states.items()}
        sweep = Sweep(assessments=assessments, assessed=frozenset(assessments))
        return Swept(
            declared=declared, stores=self.stores, records=known.records, found=sweep,
            before=self.before, fleet=known.fleet,
        )  # fmt: skip

    def assessed(self, who: AgentName, state: HealthState, *, upstream: tuple[AgentName, ...] = ()) -> Assessment:
        ill = state is HealthState.UNHEALTHY
        check = CheckState(
            name="answers", dimension=Dimension.CONNECTIVITY, state=state, text="nobody answers",
            failures=3 * ill, successes=int(not ill), since_ms=self.clock.now_ms(),
        )  # fmt: skip
        return Assessment(
            agent=who, at_ms=self.clock.now_ms(), state=state, is_healthy=not ill,
            requires_recovery=ill and not upstream, critical=ill, checks=(check,), upstream=upstream,
        )  # fmt: skip

    async def sweep(self, ill: str = "", well: str = "", **found: Any) -> None:
        """A sweep in which the agents named in `ill` are unhealthy, and those in `well` healthy; and what follows."""
        states = dict.fromkeys(ill.split(), HealthState.UNHEALTHY) | dict.fromkeys(well.split(), HealthState.HEALTHY)
        self.clock.advance(30)
        await self.hear(await self.swept(states, **found))

    async def hear(self, swept: Swept) -> None:
        await self.recovering.heard(swept)
        running = asyncio.create_task(self.recovering.run())
        async with asyncio.timeout(20):
            while not running.done() and self.recovering.judged < self.recovering.sweeps:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def record(self, who: str) -> Record:
        return (await snapshot(self.world)).records[name(who)]

    async def state(self, who: str) -> RecoveryState:
        found = (await self.record(who)).recovery
        assert found is not None
        return found

    def told(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def hand(self) -> Hand:
        return Hand(registry=self.registry, clock=self.clock, actor="ada", retry=OPTIONS.retry)


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    made = Ward(tmp_path)
    await made.open()
    yield made
    await made.cluster.close()
    await made.other.close()
    await made.registry.close()


async def test_of_a_fleet_that_is_well_nothing_is_written_and_nothing_asked(ward: Ward) -> None:
    await ward.have("a", "b")
    before = (await snapshot(ward.world)).seq
    for _ in range(5):
        await ward.sweep(well="a b")
    assert ward.doing.asked == []
    assert (await snapshot(ward.world)).seq == before


async def test_while_it_waits_for_its_next_remedy_nothing_is_written(ward: Ward) -> None:
    await ward.have("a", attempts=4)
    await ward.sweep(ill="a")
    assert (await ward.state("a")).step == 1
    before = (await snapshot(ward.world)).seq
    for _ in range(3):
        await ward.sweep(ill="a")
    assert (await snapshot(ward.world)).seq == before
    assert [line["reason"] for line in ward.told("no-remedy-now")] == ["it is watched whether the restart has helped"]
    await ward.sweep(ill="a")
    assert (await ward.state("a")).step == 2


async def test_what_a_dependency_explains_is_told_and_not_touched(ward: Ward) -> None:
    await ward.have("a", "b")
    for _ in range(4):
        await ward.sweep(ill="b", upstream=(name("a"),))
    assert ward.doing.asked == []
    (line,) = ward.told("no-remedy-now")
    assert line["agent"] == "support/b"
    assert line["reason"] == "explained by support/a: nothing is done to it for that"


@pytest.mark.parametrize("elsewhere", ["another spec", "no replicas"])
async def test_an_illness_of_a_spec_that_runs_no_more_explains_nothing_on_another_daemons_agents(
    ward: Ward, elsewhere: str
) -> None:
    await ward.have("a", more="  suspend: true\n" if elsewhere == "no replicas" else "")
    await ward.have("user", more="  dependsOn: [support/a]\n")
    record = await ward.record("a")
    ill_of = "an earlier one" if elsewhere == "another spec" else record.spec_hash
    state = RecoveryState(spec_hash=ill_of, since_ms=1, step=1)  # nobody notes it well: that spec is never measured
    made = replace(record, version=record.version + 1, recovery=state)
    await ward.registry.commit(Write(op_id="a", at_ms=1, records=(made,)))
    await ward.sweep(ill="user")
    assert ward.doing.asked == [name("user")]


async def test_when_most_of_a_fleet_fails_at_once_remedies_stop_and_one_alert_goes_out(ward: Ward) -> None:
    names = [f"a{i}" for i in range(10)]
    await ward.have(*names)
    for _ in range(4):
        await ward.sweep(ill=" ".join(names[:6]), well=" ".join(names[6:]))
    assert ward.doing.asked == []
    (alert,) = ward.alerts
    assert (alert.key, alert.severity, alert.resolved) == ("FleetUnhealthy", "critical", False)
    assert "6 of 10 agents fail at once" in alert.text
    assert len(ward.told("remedies-stop")) == 1
    assert b"reconciler_remedies_suspended 1.0" in ward.measures.text()
    await ward.sweep(ill="a0", well=" ".join(names[1:]))
    assert [each.resolved for each in ward.alerts] == [False, True]
    assert b"reconciler_remedies_suspended 0.0" in ward.measures.text()
    assert ward.doing.asked == [name("a0")], "what is ill still is one agent's illness, and is mended"


async def test_agents_that_are_being_changed_raise_no_doubt(ward: Ward) -> None:
    names = [f"a{i}" for i in range(6)]
    await ward.have(*names, "b")
    swept = await ward.swept(dict.fromkeys(names, HealthState.UNHEALTHY) | {"b": HealthState.HEALTHY})
    coming = {who: replace(record, state=AgentState.DEPLOYING) for who, record in swept.records.items()}
    await ward.hear(replace(swept, records=coming))
    assert ward.told("remedies-stop") == []
    await ward.sweep(ill=" ".join(names), well="b")
    assert len(ward.told("remedies-stop")) == 1


async def test_while_remedies_stop_nobody_is_quarantined_or_left_to_people_either(ward: Ward) -> None:
    names = [f"a{i}" for i in range(6)]
    await ward.have(*names, ladder="quarantine", attempts=1)
    for _ in range(4):
        await ward.sweep(ill=" ".join(names))
    assert ward.doing.asked == []
    assert [alert.name for alert in ward.alerts] == ["FleetUnhealthy"]


async def test_a_registry_that_is_away_is_told_and_the_next_sweep_tries_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ward.have("a")

    async def away(*_: object) -> bool:
        raise RegistryError("the registry cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(ward.doing, "beside", away)
        await ward.sweep(ill="a")
    assert ward.told("no-remedies")[0]["reason"] == "the registry cannot be reached"
    await ward.sweep(ill="a")
    assert (await ward.state("a")).step == 1


async def test_no_more_remedies_are_under_way_than_the_budget_and_the_others_wait_and_say_so(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"a{i}" for i in range(12)]
    await ward.have(*names)
    going, let_go = 0, asyncio.Event()
    most = 0

    async def slow(_run: Run, _means: Means, _given: Treatment) -> Treated:
        nonlocal going, most
        going += 1
        most = max(most, going)
        await let_go.wait()
        going -= 1
        return Treated(how=Ended.DONE, text="")

    monkeypatch.setattr(recovering, "treat", slow)
    ward.doing.waits = True
    monkeypatch.setattr(ward.doing, "_patiently", lambda work: work(_run_of(ward)))
    for _ in range(3):
        await ward.sweep(ill=" ".join(names[:5]), well=" ".join(names[5:]))
        ward.doing.busy = frozenset(ward.doing.asked)
    assert most == 3
    assert len(ward.doing.asked) == 3
    assert {line["reason"] for line in ward.told("no-remedy-now")} == {
        "3 remedies are under way in the fleet, as many as may be"
    }
    let_go.set()
    await asyncio.gather(*ward.doing.waiting)


async def test_who_is_left_to_people_stays_theirs_over_a_restart_also_where_its_file_is_broken(ward: Ward) -> None:
    await ward.have("a", ladder="quarantine", attempts=1)
    await ward.sweep(ill="a")
    await ward.sweep(ill="a")
    ward.restarted()
    swept = await ward.swept({})
    await ward.hear(replace(swept, declared=replace(swept.declared, agents={})))
    assert [(alert.key, alert.resolved) for alert in ward.alerts] == [("AgentQuarantined support/a", False)] * 2


async def test_who_gets_a_shard_back_tells_again_of_agents_that_are_left_to_people(ward: Ward) -> None:
    """The other daemon told of them meanwhile, and tells nothing any more."""
    await ward.have("a", ladder="quarantine", attempts=1)
    await ward.sweep(ill="a")
    await ward.sweep(ill="a")
    told = [(alert.key, alert.resolved) for alert in ward.alerts]
    assert told == [("AgentQuarantined support/a", False)]
    await ward.hear(replace(await ward.swept({}), mine=lambda _name: False))
    assert len(ward.alerts) == 1, "it is not over, and not ours to tell"
    await ward.sweep(ill="a")
    assert [(alert.key, alert.resolved) for alert in ward.alerts] == told * 2


async def test_remedies_that_wait_for_their_turn_count_as_under_way(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow updates have all turns for minutes: what is let in meanwhile, sweep by sweep, would begin all at once."""
    names, turn = [f"a{i:02}" for i in range(12)], asyncio.Event()
    await ward.have(*names)

    async def treated(_run: Run, _means: Means, _given: Treatment) -> Treated:
        return Treated(how=Ended.DONE, text="")

    async def in_turn(work: Beside) -> None:
        await turn.wait()
        await work(_run_of(ward))

    monkeypatch.setattr(recovering, "treat", treated)
    ward.doing.waits = True
    monkeypatch.setattr(ward.doing, "_patiently", in_turn)
    for _ in range(3):
        await ward.sweep(ill=" ".join(names[:5]), well=" ".join(names[5:]))
        ward.doing.busy = frozenset(ward.doing.asked)
    assert len(ward.doing.asked) == 3
    turn.set()
    await asyncio.gather(*ward.doing.waiting)
    ward.doing.busy = frozenset()
    await ward.sweep(ill=names[4], well=" ".join(names[:4] + names[5:]))
    assert ward.doing.asked[3:] == [name(names[4])], "those that have ended count no more"


async def test_a_remedy_that_was_not_begun_counts_for_nothing(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"a{i:02}" for i in range(12)]
    await ward.have(*names)

    async def refused(*_: object) -> bool:
        return False

    with monkeypatch.context() as patch:
        patch.setattr(ward.doing, "beside", refused)
        await ward.sweep(ill=" ".join(names[:3]), well=" ".join(names[3:]))
    await ward.sweep(ill=" ".join(names[:3]), well=" ".join(names[3:]))
    assert len(ward.doing.asked) == 3


async def test_a_remedy_that_is_stopped_before_its_turn_does_not_begin_and_costs_no_step(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon ends, or the agent goes to another one: nothing new is started then."""
    await ward.have("a", "b", ladder="rollback, quarantine")
    before = await ward.record("a")

    async def stopped(work: Beside) -> None:
        run = _run_of(ward)
        run.stop.set()
        ward.doing.ends.append(await work(run))

    ward.doing.waits = True
    monkeypatch.setattr(ward.doing, "_patiently", stopped)
    await ward.sweep(ill="a", well="b")
    await asyncio.gather(*ward.doing.waiting)
    assert [end.outcome for end in ward.doing.ends] == [Outcome.SKIPPED]
    assert ward.told("remedy") == []
    assert await ward.record("a") == before


def _run_of(ward: Ward) -> Run:
    class OnlyThese:
        clock = ward.clock
        stop = asyncio.Event()

    return OnlyThese()  # type: ignore[return-value]


async def test_budgets_hold_over_a_restart_of_the_daemon(ward: Ward) -> None:
    names = [f"a{i:02}" for i in range(24)]
    await ward.have(*names)
    for start in range(0, 12, 3):
        await ward.sweep(ill=" ".join(names[start : start + 3]), well=" ".join(names[start + 3 :]))
        ward.restarted()
    assert len(ward.doing.asked) == 10
    assert ward.told("no-remedy-now")[-1]["reason"].startswith("10 remedies were begun in the fleet in the last 10 min")


async def test_the_next_daemon_goes_on_at_the_rung_where_the_last_one_was(ward: Ward) -> None:
    await ward.have("a", attempts=3)
    await ward.sweep(ill="a")
    ward.restarted()
    await ward.sweep(ill="a")
    assert [line["step"] for line in ward.told("remedy")] == ["1 of 3", "2 of 3"]


async def test_a_daemon_that_has_just_begun_looks_for_itself_first(ward: Ward) -> None:
    await ward.have("a", attempts=3)
    ward.restarted(watched=0)
    for _ in range(2):
        await ward.sweep(ill="a")
    assert ward.doing.asked == []
    await ward.sweep(ill="a")
    assert ward.doing.asked == [name("a")]


async def test_looks_at_others_and_those_that_measure_nothing_are_no_looks_at_an_agent(ward: Ward) -> None:
    await ward.have("a", "b", attempts=3)
    ward.restarted(watched=0)
    blind = {"a": HealthState.UNHEALTHY, "b": HealthState.HEALTHY}
    for _ in range(3):
        ward.clock.advance(30)
        swept = await ward.swept(blind)
        await ward.hear(replace(swept, found=replace(swept.found, assessed=frozenset({name("b")}))))
        unread = {who: structs.replace(one, measured=False) for who, one in swept.found.assessments.items()}
        await ward.hear(replace(swept, found=replace(swept.found, assessments=unread)))
    for _ in range(2):
        await ward.sweep(ill="a", well="b")
    assert ward.doing.asked == []
    await ward.sweep(ill="a", well="b")
    assert ward.doing.asked == [name("a")]


async def test_what_another_daemon_does_counts_and_what_it_knows_explains(ward: Ward) -> None:
    names = [f"a{i}" for i in range(12)]
    await ward.have(*names)
    await ward.have("user", more="  dependsOn: [support/a0]\n")
    going = Taken(remedy=Remedy.RESTART, at_ms=ward.clock.now_ms(), because="x", clusters=("local",))
    for each in names[:3]:
        record = await ward.record(each)
        state = RecoveryState(spec_hash=record.spec_hash, since_ms=1, step=1, taken=(going,))
        made = replace(record, version=record.version + 1, recovery=state)
        await ward.registry.commit(Write(op_id=each, at_ms=1, records=(made,)))
    await ward.sweep(ill="a5 user", well="a6 a7 a8")
    assert ward.doing.asked == []
    assert {line["agent"]: line["reason"] for line in ward.told("no-remedy-now")} == {
        "support/a5": "3 remedies are under way in the fleet, as many as may be",
        "support/user": "explained by support/a0: nothing is done to it for that",
    }


async def test_a_remedy_that_nobody_ended_is_told_as_interrupted(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    await ward.have("a", attempts=3)

    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("reconciler.engine.recover._done", killed)
        swept = await ward.swept({"a": HealthState.UNHEALTHY})
        with pytest.raises(KeyboardInterrupt):
            await ward.recovering._step(swept)
    assert (await ward.record("a")).state is AgentState.RECOVERING
    assert (await ward.state("a")).under_way is not None
    ward.restarted()
    await applied(ward.world)
    now = await ward.record("a")
    assert now.state is AgentState.RUNNING, "what it was in the middle of is finished as any work that stopped"
    assert await ward.registry.open_journal() == ()
    await ward.sweep(ill="a")
    state = await ward.state("a")
    assert [item.ended for item in state.taken] == [Ended.INTERRUPTED]


async def late(*_: object) -> RolloutResult:
    return RolloutResult(end=RolloutEnd.FAILED, ready=0, wanted=1, reason="not ready after 30 s")


async def test_a_remedy_that_the_next_plan_finished_too_late_is_over_once_the_agent_is_well(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ward.have("a", attempts=3)

    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("reconciler.engine.recover._done", killed)
        with pytest.raises(KeyboardInterrupt):
            await ward.recovering._step(await ward.swept({"a": HealthState.UNHEALTHY}))
    ward.restarted()
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.engine.change._watch", late)
        await applied(ward.world)
    await ward.sweep(ill="a")
    now = await ward.record("a")
    assert (now.state, now.message) == (AgentState.DEGRADED, "not ready after 30 s")
    await ward.sweep(well="a")
    now = await ward.record("a")
    assert (now.state, now.message) == (AgentState.RUNNING, "")


async def test_a_repair_that_came_too_late_is_over_once_the_agent_is_surely_well(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ward.have("a")
    (deployment,) = [item.ref for item in (await ward.record("a")).inventory if item.ref.kind == "Deployment"]
    await ward.cluster.delete(deployment, AnyState())
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.engine.change._watch", late)
        await applied(ward.world)
    assert (await ward.record("a")).state is AgentState.DEGRADED
    swept = await ward.swept({"a": HealthState.HEALTHY})
    failing = structs.replace(swept.found.assessments[name("a")], state=HealthState.DEGRADED)
    await ward.hear(replace(swept, found=replace(swept.found, assessments={name("a"): failing})))
    assert (await ward.record("a")).state is AgentState.DEGRADED, "it has failed since, and is healthy by its threshold"
    await ward.sweep(well="a")
    now = await ward.record("a")
    assert (now.state, now.message, now.recovery) == (AgentState.RUNNING, "", RecoveryState(spec_hash=now.spec_hash))
    assert ward.told("mended")[0]["text"] == "healthy again: what failed before is over"
    before = (await snapshot(ward.world)).seq
    await ward.sweep(well="a")
    assert (await snapshot(ward.world)).seq == before


async def test_what_runs_though_it_is_quarantined_stays_peoples_however_well_it_is(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ward.have("a")
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.engine.change._watch", late)
        await ward.have("a", more="  env: [{name: A, value: b}]\n  rollout: {onFailure: stop}\n")
    assert (await ward.record("a")).state is AgentState.DEGRADED
    await ward.sweep(well="a")
    assert (await ward.record("a")).state is AgentState.DEGRADED
    assert ward.doing.asked == []


async def test_who_is_worked_on_or_suspended_is_left_alone_and_watched_afterwards(ward: Ward) -> None:
    await ward.have("a")
    ward.doing.busy = frozenset({name("a")})
    await ward.sweep(ill="a")
    ward.doing.busy = frozenset()
    for _ in range(3):
        await ward.sweep(ill="a")
    assert ward.doing.asked == []
    await ward.sweep(ill="a")
    assert ward.doing.asked == [name("a")]


async def test_a_record_that_somebody_wrote_meanwhile_is_judged_again(ward: Ward) -> None:
    await ward.have("a")
    swept = await ward.swept({"a": HealthState.UNHEALTHY})
    await suspend(ward.hand(), name("a"))
    await ward.hear(swept)
    assert (await ward.record("a")).recovery is None
    assert ward.told("remedy-ended")[0]["text"].startswith("its record was written since")


async def test_while_the_lock_is_somebody_elses_it_waits_and_goes_on(ward: Ward) -> None:
    await ward.have("a")
    ward.doing.held = 2
    await ward.sweep(ill="a")
    assert len(ward.told("waits-for-lock")) == 1
    assert (await ward.state("a")).step == 1


async def test_a_quarantine_is_told_to_people_once_over_restarts_and_is_over_with_resume(ward: Ward) -> None:
    await ward.have("a", attempts=2)
    for _ in range(6):
        await ward.sweep(ill="a")
    held = await ward.record("a")
    assert held.state is AgentState.QUARANTINED
    assert held.quarantine is not None
    assert held.quarantine.spec_hash == held.spec_hash
    assert [(each.name, each.key, each.agent) for each in ward.alerts] == [
        ("AgentQuarantined", "AgentQuarantined support/a", name("a"))
    ]
    ward.restarted()
    await ward.sweep(ill="a")
    assert [each.key for each in ward.alerts] == ["AgentQuarantined support/a"] * 2, "the same key is the same alert"
    await resume(ward.hand(), name("a"))
    await ward.sweep(well="a")
    assert ward.alerts[-1].resolved
    assert (await ward.record("a")).recovery is None


async def test_a_ladder_that_ends_is_told_and_one_that_gets_well_all_the_same_resolves_it(ward: Ward) -> None:
    await ward.have("a", ladder="reprobe", attempts=1)
    for _ in range(5):
        await ward.sweep(ill="a")
    assert ward.told("remedy-ended")[0]["text"].startswith("it is unhealthy at another look too")
    assert [(each.name, each.resolved) for each in ward.alerts] == [("RecoveryExhausted", False)]
    await ward.sweep(well="a")
    await ward.sweep(well="a")
    assert ward.alerts[-1].resolved
    assert ward.told("well")[0]["text"].startswith("healthy again after")


async def test_agents_of_a_cluster_that_cannot_be_read_are_left_alone(ward: Ward) -> None:
    await ward.have("a")
    swept = await ward.swept({"a": HealthState.UNHEALTHY})
    await ward.hear(replace(swept, found=replace(swept.found, unreadable={"local": "no answer"})))
    assert ward.doing.asked == []
    assert ward.told("no-remedy-now")[0]["reason"] == "local cannot be read: nothing is done to it"


async def test_on_a_cluster_that_starts_nothing_nothing_is_ill(ward: Ward) -> None:
    await ward.have(*[f"a{i}" for i in range(6)])
    ward.source.commit({"fleet.yaml": PROCESSES.replace("run: processes", "run: nothing")})
    for _ in range(4):
        await ward.sweep(ill="a0 a1 a2 a3 a4 a5")
    assert ward.doing.asked == []
    assert ward.alerts == []


async def test_one_that_stays_ill_leaves_its_cluster_for_another_that_its_placement_allows_and_does_not_return(
    ward: Ward,
) -> None:
    both = "    - {name: local, embedded: {run: processes}}\n    - {name: other, embedded: {run: processes}}\n"
    ward.source.commit({"fleet.yaml": PROCESSES.replace("    - {name: local, embedded: {run: processes}}\n", both)})
    await ward.have("a", ladder="reschedule", attempts=3, more="  replicas: 2\n  placement: {policy: failover}\n")
    assert [place.cluster for place in (await ward.record("a")).placement] == ["local"]
    await ward.sweep(ill="a")
    assert (await ward.state("a")).avoid == ("local",)
    assert ward.told("remedy-ended")[0]["text"] == "it leaves local for other"
    plan = await plan_of(ward.world)
    (change,) = plan.changes
    assert [reason.text for reason in change.reasons] == ["it was unhealthy on local, and leaves for other"]
    await applied(ward.world, plan)
    moved = await ward.record("a")
    assert [place.cluster for place in moved.placement] == ["other"]
    assert {entry.cluster for entry in moved.inventory} == {"other"}
    assert (await plan_of(ward.world)).changes == ()
    for _ in range(4):
        await ward.sweep(ill="a")
    assert ward.told("remedy-ended")[1]["outcome"] == "nothing-to-do", "it has left both by then"
    assert (await plan_of(ward.world)).changes == ()
    for _ in range(10):
        await ward.sweep(well="a")
    assert (await ward.state("a")).avoid == ()
    assert (await plan_of(ward.world)).changes == (), "what runs stays where it is"


async def test_one_that_runs_nowhere_is_not_ill_whatever_it_was_last(ward: Ward) -> None:
    await ward.have("a")
    await scale(ward.hand(), name("a"), 0)
    await applied(ward.world)
    for _ in range(4):
        await ward.sweep(ill="a")
    assert ward.doing.asked == []
