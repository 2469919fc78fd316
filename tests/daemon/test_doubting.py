"""Several daemons judge a fleet together: remedies stop for all, and people are told once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.daemon.doubting import Doubting, heard, said
from reconciler.daemon.measures import Measures
from reconciler.daemon.telling import Teller
from reconciler.health.budgets import Tally
from reconciler.model.agent import Dimension
from reconciler.model.alert import Alert
from reconciler.model.health import Assessment, CheckState, HealthState
from reconciler.model.identity import AgentName
from tests.alerting.builders import HOUR
from tests.doubles.clock import FakeClock


class Seat:
    """One daemon's seat among `table`; what is said is heard by the others at once."""

    def __init__(self, table: dict[str, str], seat: str) -> None:
        self.table, self.seat = table, seat

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(says for seat, says in self.table.items() if seat != self.seat)

    def say(self, text: str) -> None:
        self.table[self.seat] = text


class Observer:
    """A daemon that looks after some agents."""

    def __init__(self, table: dict[str, str], seat: str) -> None:
        self.clock, self.alerts, self.lines = FakeClock(), list[Alert](), list[dict[str, Any]]()
        self.measures = Measures()
        tell = Teller(clock=self.clock, write=lambda text: self.lines.append(json.loads(text)), as_json=True)
        self.doubting = Doubting(
            clock=self.clock, tell=tell, measures=self.measures, raise_=self.alerts.append, peers=Seat(table, seat)
        )

    def sees(self, red: int, of: int, *, failures: int = 3, ago_ms: int = 0) -> bool:
        """Whether its remedies stop when `red` of its agents have failed so often in a row."""
        since_ms = self.clock.now_ms() - ago_ms
        return self.doubting.stopped(
            assessed(number, failures if number < red else 0, since_ms) for number in range(of)
        )

    @property
    def told(self) -> list[str]:
        return [f"{'-' if one.resolved else ''}{one.key}" for one in self.alerts]


def assessed(number: int, failures: int, now_ms: int) -> Assessment:
    state = HealthState.UNHEALTHY if failures > 2 else HealthState.HEALTHY
    check = CheckState(
        name="answers", dimension=Dimension.CONNECTIVITY, state=state, text="", failures=failures,
        successes=not failures, since_ms=now_ms,
    )  # fmt: skip
    return Assessment(
        agent=AgentName(namespace="support", name=f"a{number}"), at_ms=now_ms, state=state,
        is_healthy=state is HealthState.HEALTHY, requires_recovery=failures > 2, critical=False, checks=(check,),
    )  # fmt: skip


@pytest.fixture
def observers() -> tuple[Observer, Observer, Observer]:
    table: dict[str, str] = {}
    return Observer(table, "0-of-4"), Observer(table, "1-of-4"), Observer(table, "2-of-4")


def rounds(observers: Iterable[Observer], red: int, of: int, failures: int = 3) -> list[bool]:
    return [one.sees(red, of, failures=failures) for one in observers]


def test_remedies_stop_for_all_before_any_has_failed_for_long_enough(observers: tuple[Observer, ...]) -> None:
    assert rounds(observers, 2, 3, failures=1) == [False, False, True], "the last one has heard of all"
    assert rounds(observers, 2, 3, failures=2) == [True, True, True]
    assert [one.told for one in observers] == [[], [], []]
    assert rounds(observers, 2, 3) == [True, True, True]
    rounds(observers, 2, 3)
    assert [one.told for one in observers] == [["FleetUnhealthy"]] * 3, "the same key is the same alert: see alarming"
    assert "6 of 9 agents fail at once" in observers[2].alerts[0].text
    rounds(observers, 0, 3)
    assert [one.told for one in observers] == [["FleetUnhealthy", "-FleetUnhealthy"]] * 3
    assert [line["event"] for line in observers[0].lines] == ["remedies-stop", "remedies-go-on"]
    assert b"reconciler_remedies_suspended 0.0" in observers[0].measures.text()


def test_one_that_alone_sees_its_part_fail_stops_and_tells_of_itself(observers: tuple[Observer, ...]) -> None:
    one, two, three = observers
    for _ in range(2):
        assert (two.sees(0, 10), three.sees(1, 10), one.sees(10, 10)) == (False, False, True)
    assert (one.told, two.told, three.told) == (["ShardsUnhealthy 0-of-4"], [], [])
    assert "10 of 10 agents that this daemon looks after fail at once" in one.alerts[0].text
    two.sees(9, 10)
    assert one.sees(10, 10)
    assert one.told == ["ShardsUnhealthy 0-of-4", "-ShardsUnhealthy 0-of-4", "FleetUnhealthy"]


def test_the_next_daemon_goes_on_doubting_what_fell_at_once_before_it_began(observers: tuple[Observer, ...]) -> None:
    one, another, _third = observers
    assert one.sees(0, 10, ago_ms=HOUR) is False, "the first look waits for nobody that hangs"
    assert one.sees(9, 10, ago_ms=HOUR)
    assert one.told == ["FleetUnhealthy"]
    one.clock.advance(HOUR / 1000)
    assert one.sees(9, 10, ago_ms=2 * HOUR), "it stands for as long as most fail"
    one.sees(0, 10)
    assert not one.sees(9, 10, ago_ms=HOUR), "what it saw itself fail little by little it does not doubt"
    assert not another.sees(0, 10)


@given(st.builds(Tally, measured=st.integers(0), red=st.integers(0), fresh=st.integers(0), ill=st.integers(0)))
def test_what_is_said_is_heard(one: Tally) -> None:
    assert heard(said(one)) == one


@pytest.mark.parametrize(
    "text", ["", "sees", "sees 1 2 3", "sees 1 2 3 4 5", "sees 1 2 3 -4", "sees 1 2 3 x", "1 2 3 4"]
)
def test_what_says_something_else_counts_for_nothing(text: str) -> None:
    assert heard(text) is None
