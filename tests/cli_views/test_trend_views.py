"""What the history of health comes to, as people read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.cli.views.trend import HEADERS, available, change_rows, limit_told, trend_lines, trend_rows
from reconciler.model.health import HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import DAY_MS, HOUR_MS, HealthChange
from reconciler.model.trend import Availability, Course, Forecast, LatencyTrend, Limit, Outages, Spans, Trend

NAME, OTHER = AgentName.parse("support/triage"), AgentName.parse("support/new")
NOW = 1_800_000_000_000
SECOND = 1000


def shares(*known: tuple[int, int]) -> tuple[Availability, ...]:
    windows = (HOUR_MS, DAY_MS, 7 * DAY_MS)
    return tuple(
        Availability(window_ms=window, up_ms=up, down_ms=down)
        for window, (up, down) in zip(windows, known, strict=True)
    )


LATENCY = LatencyTrend(
    percent=95, points=24, course=Course.RISING, forecast=Forecast.AHEAD, now_ms=181.4, slope=4.25, slope_low=3.0,
    slope_high=5.0, limit=Limit(percent=95, ms=250), reached_ms=NOW + 16 * HOUR_MS,
)  # fmt: skip
TREND = Trend(
    agent=NAME, at_ms=NOW, state=HealthState.HEALTHY, since_ms=NOW - 5, seen_ms=NOW, flapping=True,
    availability=shares((HOUR_MS, 0), (DAY_MS - 1000, 1000), (2 * DAY_MS, 0)), latency=LATENCY,
    outages=Outages(
        window_ms=7 * DAY_MS, count=2, lasting=True, detect=Spans(count=2, mean_ms=31 * SECOND, max_ms=61 * SECOND),
        recover=Spans(count=1, mean_ms=45 * SECOND, max_ms=45 * SECOND),
    ),
)  # fmt: skip


def test_a_row_says_all_of_it_and_one_of_an_agent_without_history_nothing() -> None:
    states = {NAME: HealthState.HEALTHY, OTHER: HealthState.DEGRADED}
    first, second = trend_rows(states, {NAME: TREND})
    assert dict(zip(HEADERS, first, strict=True)) == {
        "AGENT": "support/triage", "HEALTH": "healthy", "FLAPS": "yes", "1H": "100%", "24H": "99.99%",
        "7D": "100% of 2d", "LATENCY": "p95 181ms", "SLOPE": "+4.2ms/h", "LIMIT": "in 16h (250ms)", "OUTAGES": "2+",
        "DETECT": "31s, 61s at most", "RECOVER": "45s",
    }  # fmt: skip
    assert second == ("support/new", "degraded", *["-"] * 10)


@pytest.mark.parametrize(
    ("up", "down", "told"),
    [
        (0, 0, "-"),
        (HOUR_MS, 0, "100%"),
        (HOUR_MS - 1, 1, "99.99%"),
        (0, HOUR_MS, "0%"),
        (1_800_000, 0, "100% of 30m"),
        (900_000, 900_000, "50% of 30m"),
    ],
)
def test_what_is_not_known_is_said_and_nothing_is_rounded_up(up: int, down: int, told: str) -> None:
    assert available(Availability(window_ms=HOUR_MS, up_ms=up, down_ms=down)) == told


@pytest.mark.parametrize(
    ("more", "slope", "limit"),
    [
        ({"course": Course.STEADY, "forecast": Forecast.NEVER}, "steady", "never (250ms)"),
        ({"course": Course.FALLING, "forecast": Forecast.REACHED, "slope": -2.0}, "-2.0ms/h", "met (250ms)"),
        ({"course": Course.UNSURE, "forecast": Forecast.UNSURE}, "too little data", "too little data (250ms)"),
        ({"course": Course.UNSURE, "forecast": Forecast.NO_LIMIT, "now_ms": None, "limit": None}, "-", "none"),
    ],
)
def test_where_latency_goes_is_said_in_words(more: dict[str, Any], slope: str, limit: str) -> None:
    latency = replace(LATENCY, reached_ms=None, **more)
    (row,) = trend_rows({NAME: HealthState.HEALTHY}, {NAME: replace(TREND, latency=latency)})
    assert (row[7], row[8]) == (slope, limit)
    assert limit_told(latency, NOW) == limit


def test_changes_come_newest_first_with_how_long_each_lasted() -> None:
    first = HealthChange(
        agent=NAME, at_ms=NOW - 120_000, state=HealthState.UNHEALTHY, was=HealthState.HEALTHY, text="x"
    )
    second = replace(first, at_ms=NOW - 30_000, state=HealthState.HEALTHY, text="", flapping=True)
    assert change_rows([first, second], NOW) == [
        ("2027-01-15T07:59:30Z", "healthy, flapping", "30s", "-"),
        ("2027-01-15T07:58:00Z", "unhealthy", "90s", "x"),
    ]


def test_sentences_tell_what_is_known_and_no_more() -> None:
    assert list(trend_lines(TREND)) == [
        "Available: 100% in 1h, 99.99% in 24h, 100% of 2d in 7d. Time of which nothing is known is left out.",
        "2 outages in 7d; found within 31s, 61s at most; over after 45s. It lasts.",
        "It flaps: its state changes so often that each change says little.",
    ]
    nothing = Outages(window_ms=7 * DAY_MS, count=0, lasting=False, detect=Spans(), recover=Spans())
    bare = replace(TREND, availability=shares((0, 0), (0, 0), (0, 0)), outages=nothing, flapping=False)
    assert list(trend_lines(bare)) == []
    one = replace(nothing, count=1)
    assert list(trend_lines(replace(bare, outages=one))) == ["1 outage in 7d."]
