"""The alarm step by step, over a simulated clock: restarts, other daemons, silences, clusters, and the registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler.adapters.sqlite.alertbook import SqliteAlertBook
from reconciler.alerting.raising import BLIND_AFTER_MS, FAILING_AFTER_MS, REGISTRY, UNWELL_AFTER_MS
from reconciler.daemon.alarming import CONFIRMED_WITHIN, PARTING_S, Alarming, Scope
from reconciler.daemon.measures import Measures
from reconciler.daemon.sweeping import Swept
from reconciler.daemon.wakes import Pace
from reconciler.engine.sweep import Sweep
from reconciler.model.alert import AlertState, Covers, Silence, Waiting
from reconciler.model.fleet import Declaration
from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.registry import FleetRecord
from tests.alerting.builders import HOUR, MIN, S, alert, name, route, silence
from tests.daemon.test_sending import Post, Sink, Standing
from tests.doubles.clock import ShiftedClock
from tests.placement.builders import agent, record

ILL, WELL = HealthState.UNHEALTHY, HealthState.HEALTHY
NAMES = [name(f"support/a{number}") for number in range(4)]


class Story:
    """An alarm, its book and one receiver; time goes by in steps."""

    def __init__(self, book: SqliteAlertBook) -> None:
        self.post = Post(book)
        self.sink: Sink = self.post.sink("on-call")
        self.standing = Standing(self.post, route(wait="0s", interval="0s", group_by=("alert",)))
        self.alarm = self.standing.alarm

    async def restarted(self) -> Story:
        """Another process with the same book."""
        await self.post.senders.close()
        made = Story(self.post.book)
        made.post.clock.advance((self.post.clock.now_ms() - made.post.clock.now_ms()) / S)
        await made.standing.begin()
        return made

    async def after(self, ms: int) -> list[str]:
        """What the receiver heard after `ms` more: keys, those that are over with a minus."""
        before = len(self.sink.heard)
        await self.standing.until(self.post.clock.now_ms() + ms)
        await self.post.senders.idle()
        heard = self.sink.heard[before:]
        return sorted(
            f"{'-' if one.alert.resolved else ''}{one.alert.key}"
            for told in heard
            for one in (*told.firing, *told.resolved)
        )

    async def sweep(
        self,
        states: dict[AgentName, HealthState],
        *,
        unreadable: Iterable[str] = (),
        silences: tuple[Silence, ...] = (),
        records: Iterable[AgentName] = (),
        looked_at: Iterable[AgentName] = (),
    ) -> None:
        agents = {one: agent(str(one)) for one in (*states, *records)}
        assessments = {one: assessed(one, state) for one, state in states.items()}
        declared = replace(cast(Declaration, self.alarm.declared()), agents=agents)
        await self.alarm.heard(
            Swept(
                declared=declared,
                stores=cast(Any, None),
                records={one: record(agents[one], {"eu": 1}) for one in agents},
                found=Sweep(
                    assessments=assessments,
                    assessed=frozenset(looked_at or assessments),
                    unreadable=dict.fromkeys(unreadable, "no route"),
                ),
                before={},
                fleet=FleetRecord(name="acme", version=1, silences=silences),
            )
        )


def kept(_work: Any) -> asyncio.Task[None]:
    """What keeps an alarm up, where a test takes its steps."""

    async def idle() -> None:
        await asyncio.Event().wait()

    return asyncio.create_task(idle())


def assessed(one: AgentName, state: HealthState) -> Assessment:
    return Assessment(
        agent=one, at_ms=0, state=state, is_healthy=state is WELL, requires_recovery=False, critical=True, checks=()
    )


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    book = await SqliteAlertBook.open(tmp_path / "alerts.db")
    made = Story(book)
    await made.standing.begin()
    yield made
    await made.post.senders.close()
    await book.close()


async def test_an_agent_that_falls_ill_and_recovers_is_told_and_told_as_over(story: Story) -> None:
    await story.sweep({NAMES[0]: ILL, NAMES[1]: WELL})
    assert await story.after(S) == ["AgentUnhealthy support/a0"]
    await story.sweep({NAMES[0]: ILL, NAMES[1]: WELL})
    assert await story.after(S) == []
    await story.sweep({NAMES[0]: WELL, NAMES[1]: WELL})
    assert await story.after(S) == ["-AgentUnhealthy support/a0"]


async def test_a_restart_says_nothing_again_and_what_is_well_by_then_is_over(story: Story) -> None:
    await story.sweep({NAMES[0]: ILL, NAMES[1]: ILL})
    await story.after(S)
    again = await story.restarted()
    await again.sweep({NAMES[0]: HealthState.UNKNOWN, NAMES[1]: HealthState.UNKNOWN})
    assert await again.after(S) == []
    await again.sweep({NAMES[0]: ILL, NAMES[1]: WELL})
    assert await again.after(S) == ["-AgentUnhealthy support/a1"]


async def test_what_others_raised_before_a_restart_is_over_when_they_do_not_raise_it_again(story: Story) -> None:
    await story.sweep({})
    story.alarm.raise_(alert("support/a0", name="RecoveryExhausted"))
    story.alarm.raise_(alert("", name="FleetUnhealthy"))
    assert len(await story.after(S)) == 2
    again = await story.restarted()
    again.alarm.raise_(alert("", name="FleetUnhealthy"))
    for _ in range(CONFIRMED_WITHIN - 1):
        await again.sweep({}, records=NAMES)
        assert await again.after(S) == []
    await again.sweep({}, records=NAMES)
    assert await again.after(S) == ["-RecoveryExhausted support/a0"]


async def test_looks_at_a_few_agents_each_are_not_yet_sweeps(story: Story) -> None:
    """A large fleet is looked at part by part, many times a minute."""
    well = dict.fromkeys(NAMES, WELL)
    await story.sweep(well)
    story.alarm.raise_(alert("", name="FleetUnhealthy"))
    await story.after(S)
    again = await story.restarted()
    for _ in range(CONFIRMED_WITHIN):
        await again.sweep(well, looked_at=NAMES[:1])
        assert await again.after(S) == []
    for _ in range((len(NAMES) - 1) * CONFIRMED_WITHIN):
        await again.sweep(well, looked_at=NAMES[1:2])
    assert await again.after(S) == ["-FleetUnhealthy"]


async def test_who_leads_again_goes_by_what_it_looks_after_now(story: Story) -> None:
    """It never heard of another one that led: the registry was away for a while. What it looked after then is over."""
    story.alarm.begin(kept, Scope(seat="0-of-2", mine=lambda _one: False))
    story.alarm.begin(kept, Scope(seat="0-of-2"))
    await story.standing.begin()
    await story.sweep({NAMES[0]: ILL})
    assert await story.after(S) == ["AgentUnhealthy support/a0"]
    await story.alarm.close()


async def test_what_nobody_knows_how_to_end_is_over_for_who_leads_again(story: Story) -> None:
    """Who raised it was given up with the lead, and nobody else led meanwhile."""
    story.alarm.begin(kept)
    await story.standing.begin()
    await story.sweep({})
    story.alarm.raise_(alert("", name="FleetUnhealthy"))
    assert await story.after(S) == ["FleetUnhealthy"]
    story.alarm.begin(kept)
    for _ in range(CONFIRMED_WITHIN - 1):
        await story.sweep({}, records=NAMES)
        assert await story.after(S) == []
    await story.sweep({}, records=NAMES)
    assert await story.after(S) == ["-FleetUnhealthy"]
    await story.alarm.close()


@pytest.mark.parametrize("another_leads", [False, True])
async def test_a_registry_that_is_away_from_the_start_is_told_unless_another_one_leads(
    story: Story, *, another_leads: bool
) -> None:
    begun: list[Any] = []

    def keep(work: Any) -> asyncio.Task[None]:
        begun.append(work)
        return kept(work)

    story.alarm.keep = keep
    if another_leads:
        story.alarm.behind()
    story.alarm.registry("connection refused")
    assert begun == []
    await story.after(BLIND_AFTER_MS)
    for _ in range(2):
        story.alarm.registry("connection refused")
    assert len(begun) == (0 if another_leads else 1)
    await story.alarm.close()


async def test_that_the_registry_was_away_before_a_restart_is_over_for_who_leads(story: Story) -> None:
    story.alarm.registry("connection refused")
    await story.after(BLIND_AFTER_MS)
    story.alarm.registry("connection refused")
    assert await story.after(S) == ["RegistryAway"]
    again = await story.restarted()
    again.alarm.registry("")
    again.alarm.begin(kept)
    await again.standing.begin()
    assert await again.after(S) == ["-RegistryAway"]
    await again.alarm.close()


async def test_who_told_that_the_registry_is_away_tells_that_it_is_over_before_another_one_leads(story: Story) -> None:
    story.alarm.begin(kept)
    await story.standing.begin()
    story.alarm.registry("connection refused")
    await story.after(BLIND_AFTER_MS)
    story.alarm.registry("connection refused")
    assert await story.after(S) == ["RegistryAway"]
    story.alarm.registry("")
    story.alarm.behind()
    assert story.alarm._task is not None
    await story.sweep({NAMES[0]: ILL})
    assert await story.after(S) == ["-RegistryAway", "AgentUnhealthy support/a0"]
    assert b'reconciler_alerts{severity="critical"} 1.0' in story.post.measures.text()
    story.alarm.behind()
    assert story.alarm._task is None
    assert b"reconciler_alerts{" not in story.post.measures.text(), "they are the other one's"
    await story.alarm.close()


async def test_who_cannot_tell_that_the_registry_is_back_does_not_go_on_for_ever(story: Story) -> None:
    story.alarm.begin(kept)
    await story.standing.begin()
    story.alarm._active = {"RegistryAway": alert("", name="RegistryAway")}
    story.alarm.behind()
    story.post.clock.advance(PARTING_S)
    story.alarm.behind()
    assert story.alarm._task is None
    await story.alarm.close()


async def test_what_others_raise_is_told_without_the_secrets_of_its_agent(story: Story) -> None:
    await story.sweep({NAMES[0]: WELL})
    secretive = replace(agent(str(NAMES[0])), document={"env": {"KEY": "hunter2hunter2"}}, sensitive=(("env", "KEY"),))
    story.alarm._known = replace(story.alarm._known, agents={NAMES[0]: secretive})
    story.alarm.raise_(alert("support/a0", name="AgentQuarantined", text="its last words: hunter2hunter2"))
    assert await story.after(S) == ["AgentQuarantined support/a0"]
    assert "hunter2" not in str(story.sink.heard)
    assert "its last words" in str(story.sink.heard)


async def test_a_route_that_leads_elsewhere_now_tells_there_what_is_active(story: Story) -> None:
    await story.sweep({NAMES[0]: ILL})
    assert await story.after(S) == ["AgentUnhealthy support/a0"]

    def routed(**more: Any) -> None:
        declared = cast(Declaration, story.alarm.declared())
        assert declared.fleet is not None
        said = route(wait="0s", interval="0s", group_by=("alert",), **more).said
        changed = replace(declared, fleet=replace(declared.fleet, alerts=(said,)))
        story.alarm.declared = lambda: changed

    routed(repeat="3h")
    assert await story.after(S) == []
    routed(repeat="3h", settings={"urlEnv": "ANOTHER_URL"})
    assert await story.after(S) == ["AgentUnhealthy support/a0"]
    assert await story.after(HOUR) == []


def test_of_a_receiver_that_no_route_leads_to_any_more_nothing_waits() -> None:
    measures = Measures()
    measures.alerts_waiting([Waiting(route="a", queued=5)], [route("a", "slack")])
    assert b'reconciler_alerts_queued{receiver="slack"} 5.0' in measures.text()
    measures.alerts_waiting([], [route("a", "webhook")])
    assert b'reconciler_alerts_queued{receiver="slack"}' not in measures.text()


async def test_who_falls_to_another_daemon_is_neither_told_of_nor_told_as_over(story: Story) -> None:
    ours = set(NAMES)
    story.alarm._scope = Scope(seat="0-of-2", mine=lambda one: one in ours, speaks=lambda: NAMES[0] in ours)
    await story.sweep({NAMES[0]: ILL, NAMES[1]: ILL})
    assert len(await story.after(S)) == 2
    ours.discard(NAMES[0])
    await story.sweep({NAMES[1]: ILL}, records=NAMES)
    story.alarm.raise_(alert("support/a0", name="RecoveryExhausted"))
    assert await story.after(S) == []
    told = [key for group in (await story.post.book.state()).groups.values() for key in group.told]
    assert told == ["AgentUnhealthy support/a1"]
    await story.sweep({NAMES[1]: ILL}, unreadable=["eu"], records=NAMES)
    await story.after(UNWELL_AFTER_MS)
    await story.sweep({NAMES[1]: ILL}, unreadable=["eu"], records=NAMES)
    assert await story.after(S) == []


@pytest.mark.parametrize("speaks", [True, False])
async def test_of_several_daemons_one_tells_that_the_fleet_fell_and_none_tells_of_its_agents(
    story: Story, *, speaks: bool
) -> None:
    story.alarm._scope = Scope(seat="0-of-2", speaks=lambda: speaks)
    story.alarm.raise_(alert("", name="FleetUnhealthy", covers=Covers.AGENTS))
    await story.sweep({NAMES[0]: ILL, NAMES[1]: ILL})
    assert await story.after(S) == (["FleetUnhealthy"] if speaks else [])
    counted = b'reconciler_alerts{severity="critical"}'
    assert counted + (b" 3.0" if speaks else b" 2.0") in story.post.measures.text()
    story.alarm.raise_(alert("", name="FleetUnhealthy", resolved=True))
    await story.sweep({NAMES[0]: WELL, NAMES[1]: WELL})
    assert await story.after(S) == (["-FleetUnhealthy"] if speaks else [])


async def test_who_comes_to_speak_for_the_fleet_tells_what_stands(story: Story) -> None:
    seats = {"speaks": False}
    story.alarm._scope = Scope(seat="0-of-2", speaks=lambda: seats["speaks"])
    story.alarm.raise_(alert("", name="FleetUnhealthy", covers=Covers.AGENTS))
    await story.sweep({NAMES[0]: ILL})
    assert await story.after(S) == []
    seats["speaks"] = True
    await story.sweep({NAMES[0]: ILL})
    assert await story.after(S) == ["FleetUnhealthy"]
    seats["speaks"] = False
    story.alarm.raise_(alert("", name="FleetUnhealthy", resolved=True))
    await story.sweep({NAMES[0]: WELL})
    assert await story.after(S) == [], "the one that speaks now tells the end"


async def test_a_cluster_that_stumbles_is_no_news_and_one_that_stays_away_stands_for_its_agents(story: Story) -> None:
    await story.sweep({}, unreadable=["eu"])
    assert await story.after(UNWELL_AFTER_MS - S) == []
    await story.sweep({})
    await story.sweep({}, unreadable=["eu"])
    assert await story.after(UNWELL_AFTER_MS) == []
    await story.sweep({NAMES[0]: ILL}, unreadable=["eu"])
    assert await story.after(S) == ["ClusterUnwell eu"]
    await story.sweep({NAMES[0]: WELL})
    assert await story.after(S) == ["-ClusterUnwell eu"]


async def test_a_silence_on_record_is_kept_to(story: Story) -> None:
    now = story.post.clock.now_ms()
    quiet = silence(agent=NAMES[0], since_ms=now, until_ms=now + HOUR)
    await story.sweep({NAMES[0]: ILL, NAMES[1]: ILL}, silences=(quiet,))
    assert await story.after(S) == ["AgentUnhealthy support/a1"]
    assert await story.after(HOUR) == ["AgentUnhealthy support/a0"]


async def test_passes_that_fail_for_a_while_are_told(story: Story) -> None:
    story.alarm.passed("the repository is gone")
    assert await story.after(FAILING_AFTER_MS) == []
    story.alarm.passed("the repository is gone")
    assert await story.after(S) == ["PassesFailing"]
    story.alarm.passed("")
    assert await story.after(S) == ["-PassesFailing"]


async def test_one_of_several_daemons_tells_of_itself_by_its_seat(story: Story) -> None:
    story.alarm._scope = Scope(seat="1-of-2", speaks=lambda: False)
    story.alarm.passed("the repository is gone")
    story.alarm.registry("connection refused")
    await story.after(FAILING_AFTER_MS)
    story.alarm.passed("the repository is gone")
    story.alarm.registry("connection refused")
    assert await story.after(S) == ["PassesFailing 1-of-2", "RegistryAway 1-of-2"]
    assert story.alarm._has_told(REGISTRY)
    story.alarm.passed("")
    story.alarm.registry("")
    assert await story.after(S) == ["-PassesFailing 1-of-2", "-RegistryAway 1-of-2"]


async def test_a_registry_that_stays_away_is_told(story: Story) -> None:
    story.alarm.registry("connection refused")
    assert await story.after(BLIND_AFTER_MS) == []
    story.alarm.registry("connection refused")
    assert await story.after(S) == ["RegistryAway"]
    story.alarm.registry("")
    assert await story.after(S) == ["-RegistryAway"]


async def test_one_alert_stands_for_a_fleet_that_falls_at_once(story: Story) -> None:
    story.alarm.raise_(alert("", name="FleetUnhealthy", covers=Covers.AGENTS))
    await story.sweep(dict.fromkeys(NAMES, ILL))
    assert await story.after(S) == ["FleetUnhealthy"]


async def test_nothing_is_written_while_nothing_changes(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    await story.sweep({NAMES[0]: ILL})
    await story.after(S)
    written: list[object] = []
    monkeypatch.setattr(story.post.book, "commit", written.append)
    for _ in range(5):
        await story.sweep({NAMES[0]: ILL, NAMES[1]: WELL})
        assert await story.after(30 * S) == []
    assert written == []


async def test_many_alerts_are_decided_on_beside_the_loop(story: Story) -> None:
    await story.sweep({name(f"team/a{number:03}"): ILL for number in range(600)})
    assert len(await story.after(S)) == 20 + 50
    assert await story.after(MIN) == []


class Blank:
    """A book in which nothing stands."""

    async def state(self) -> AlertState:
        return AlertState(active={}, groups={})

    async def close(self) -> None:
        """There is nothing to close."""


@pytest.mark.parametrize("moments", range(8))
async def test_an_alarm_that_is_to_end_ends_whatever_it_is_just_about(
    story: Story, monkeypatch: pytest.MonkeyPatch, moments: int
) -> None:
    """A report wakes it, and so many moments later it is told to end; else a daemon that is to stop waits for ever."""
    post, clock = story.post, ShiftedClock()

    async def opened(_seat: str) -> Any:
        return Blank()

    async def due_in_an_hour(*_: object) -> int:
        return clock.now_ms() + HOUR

    monkeypatch.setattr(Alarming, "step", due_in_an_hour)
    alarm = Alarming(
        clock=clock, open_book=opened, open_sink=post.open, declared=lambda: None, pace=Pace(jitter=lambda: 1.0),
        tell=post.tell, measures=post.measures,
    )  # fmt: skip
    running = asyncio.create_task(alarm.run())
    for _ in range(10):
        await asyncio.sleep(0)
    alarm.raise_(alert())
    for _ in range(moments):
        await asyncio.sleep(0)
    running.cancel()
    for _ in range(50):
        await asyncio.sleep(0)
    assert running.cancelled()


async def test_what_too_many_wait_for_is_dropped_and_counted_from_nothing_on(tmp_path: Path) -> None:
    book = await SqliteAlertBook.open(tmp_path / "small.db", bound=2)
    story = Story(book)
    await story.standing.begin()
    await story.after(S)
    dropped = 'reconciler_alerts_dropped_total{receiver="webhook"} '
    assert dropped + "0.0" in story.post.measures.text().decode(), "a rise from nothing is seen as one"
    assert (
        'reconciler_alert_attempts_total{outcome="sent",receiver="webhook"} 0.0' in story.post.measures.text().decode()
    )
    await story.sweep(dict.fromkeys(NAMES, ILL))
    await story.alarm.step(book, story.post.senders)
    assert dropped + "2.0" in story.post.measures.text().decode()
    assert 'reconciler_alerts_queued{receiver="webhook"} 2.0' in story.post.measures.text().decode()
    await story.post.senders.close()
    await book.close()
