"""What history comes to: availability by time, latency and where it leads, times to detect and to recover."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.health.changes import change_between
from reconciler.health.plain import change_json, trend_json, window
from reconciler.health.trends import (
    GRACE_MS,
    LEAST_POINTS,
    MOST_POINTS,
    WINDOWS_MS,
    latency_trend,
    limit_of,
    outages,
    theil_sen,
    trend_of,
)
from reconciler.model.agent import Dimension, HealthCheck
from reconciler.model.health import Assessment, CheckState, HealthState
from reconciler.model.series import DAY_MS, FINE_MS, HOUR_MS, CheckMark, HealthChange, HealthPoint, latencies_of
from reconciler.model.trend import Course, Forecast, Limit, Trend
from reconciler.model.units import Duration
from tests.health.test_assess import ANSWERS, FAST, NAME, health

H, D, U, X = HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY, HealthState.UNKNOWN
NOW = 1_800_000_000_000 - 1_800_000_000_000 % HOUR_MS
MINUTE = 60_000
P95 = Limit(percent=95, ms=250)


def changes(*given_: tuple[float, HealthState], first: HealthState = X) -> list[HealthChange]:
    """Changes so many minutes before now."""
    made, was = [], first
    for minutes, state in given_:
        made.append(HealthChange(agent=NAME, at_ms=NOW - round(minutes * MINUTE), state=state, was=was))
        was = state
    return made


def assessed(minutes: float, state: HealthState, *ill: str) -> Assessment:
    """What was found so many minutes before now, and which checks were ill."""
    at_ms = NOW - round(minutes * MINUTE)
    checks = [CheckState(name=name, dimension=Dimension.CONNECTIVITY, state=U, text="", since_ms=at_ms) for name in ill]
    return Assessment(
        agent=NAME, at_ms=at_ms, state=state, is_healthy=state is H, requires_recovery=False, critical=False,
        checks=tuple(checks),
    )  # fmt: skip


def looked(minutes_ago: float = 0) -> list[HealthPoint]:
    """A point that says when it was last looked at."""
    at_ms = NOW - round(minutes_ago * MINUTE)
    return [HealthPoint(agent=NAME, start_ms=at_ms - FINE_MS, span_ms=FINE_MS, count=1, up=1, last_ms=at_ms)]


def trend(*given_: tuple[float, HealthState], first: HealthState = X, seen: float = 0, **more: Any) -> Trend:
    options = {"fine": looked(seen), "hours": [], "limit": None, "now_ms": NOW} | more
    found = trend_of(NAME, changes(*given_, first=first), **options)
    assert found is not None
    return found


def minutes(found: Trend, index: int) -> tuple[float, float, float]:
    one = found.availability[index]
    return one.up_ms / MINUTE, one.down_ms / MINUTE, one.unknown_ms / MINUTE


class TestAvailability:
    def test_what_served_all_the_time_was_available_all_the_time(self) -> None:
        found = trend((8 * 24 * 60, H))
        assert [one.share for one in found.availability] == [1, 1, 1]
        assert [one.window_ms for one in found.availability] == list(WINDOWS_MS)
        assert {one.unknown_ms for one in found.availability} == {0}

    def test_an_outage_is_weighed_by_how_long_it_took(self) -> None:
        found = trend((24 * 60, H), (45, D), (40, U), (25, H))
        assert minutes(found, 0) == (45, 15, 0)
        assert found.availability[0].share == pytest.approx(0.75)
        assert minutes(found, 1) == (24 * 60 - 15, 15, 0)

    def test_time_in_which_nobody_looked_counts_for_neither(self) -> None:
        found = trend((120, H), (50, X), (20, H), (10, U))
        assert minutes(found, 0) == (20, 10, 30)
        assert found.availability[0].share == pytest.approx(2 / 3)

    def test_before_the_first_change_nothing_is_known(self) -> None:
        assert minutes(trend((30, H)), 1) == (30, 0, 23 * 60 + 30)

    def test_what_it_was_before_the_first_change_that_is_given_counts_from_then(self) -> None:
        assert minutes(trend((30, U), first=H), 0) == (30, 30, 0)
        assert minutes(trend((30, H), first=U), 2) == (30, 7 * 24 * 60 - 30, 0)

    def test_where_nobody_looks_any_more_nothing_is_known_after_a_while(self) -> None:
        found = trend((8 * 24 * 60, H), seen=45)
        assert minutes(found, 0) == (GRACE_MS / MINUTE + 15, 0, 45 - GRACE_MS / MINUTE)
        assert (found.state, found.since_ms, found.seen_ms) == (X, NOW - 45 * MINUTE, NOW - 45 * MINUTE)

    def test_without_any_points_the_last_change_is_the_last_look(self) -> None:
        found = trend((60, H), fine=[])
        assert minutes(found, 0) == (GRACE_MS / MINUTE, 0, 60 - GRACE_MS / MINUTE)

    def test_of_an_agent_that_is_not_looked_at_nothing_is_known(self) -> None:
        found = trend((30, H), (10, X), seen=10)
        assert minutes(found, 0) == (20, 0, 40)
        assert (found.state, found.since_ms, found.seen_ms) == (X, NOW - 10 * MINUTE, NOW - 10 * MINUTE)
        assert trend((90, X)).availability[0].share is None

    def test_where_nothing_is_on_record_there_is_no_trend(self) -> None:
        assert trend_of(NAME, [], fine=[], hours=[], limit=None, now_ms=NOW) is None

    def test_a_state_lasts_over_changes_of_its_cause(self) -> None:
        assert trend((40, H), (30, U), (20, U)).since_ms == NOW - 30 * MINUTE
        assert trend((40, U), (20, U)).since_ms == NOW - 40 * MINUTE

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 20_000), st.sampled_from([H, D, U, X])), min_size=1, max_size=12))
    def test_known_and_unknown_make_up_every_window(self, given_: list[tuple[int, HealthState]]) -> None:
        ordered = sorted(dict(given_).items(), reverse=True)
        found = trend(*ordered)
        for one in found.availability:
            assert min(one.up_ms, one.down_ms, one.unknown_ms) >= 0
            assert one.up_ms + one.down_ms + one.unknown_ms == one.window_ms
        known = [one.up_ms + one.down_ms for one in found.availability]
        assert known == sorted(known), "a longer window knows no less"


class TestOutages:
    def test_detection_counts_from_when_it_was_last_seen_well_and_recovery_from_detection(self) -> None:
        given_ = changes((100, H), (90, U), (80, H), (60, D), (50, U), (49, U), (20, D), (10, H))
        given_[1] = replace(given_[1], well_ms=given_[1].at_ms - 2 * MINUTE)
        given_[4] = replace(given_[4], well_ms=given_[4].at_ms - 4 * MINUTE)
        found = outages(given_, window_ms=DAY_MS, now_ms=NOW)
        assert (found.count, found.lasting) == (2, False)
        assert (found.detect.count, found.detect.mean_ms, found.detect.max_ms) == (2, 3 * MINUTE, 4 * MINUTE)
        assert (found.recover.count, found.recover.mean_ms, found.recover.max_ms) == (2, 20 * MINUTE, 30 * MINUTE)

    def test_one_that_lasts_has_no_time_to_recover_and_one_never_well_none_to_detect(self) -> None:
        found = outages(changes((30, U)), window_ms=DAY_MS, now_ms=NOW)
        assert (found.count, found.lasting, found.detect.count, found.recover.count) == (1, True, 0, 0)

    def test_an_end_that_nobody_saw_is_no_recovery(self) -> None:
        found = outages(changes((60, H), (50, U), (40, X), (10, H)), window_ms=DAY_MS, now_ms=NOW)
        assert (found.count, found.lasting, found.recover.count) == (1, False, 0)

    def test_what_was_found_before_the_window_does_not_count(self) -> None:
        found = outages(changes((90, U), (30, H)), window_ms=HOUR_MS, now_ms=NOW)
        assert (found.count, found.recover.count) == (0, 0)

    def test_an_outage_from_before_what_is_given_is_not_found_again_when_another_check_falls_ill(self) -> None:
        given_ = changes((90, U), (60, U), (30, H), (20, U), (10, H), first=U)
        found = outages(given_, window_ms=DAY_MS, now_ms=NOW)
        assert (found.count, found.lasting, found.recover.count) == (1, False, 1)
        assert found.recover.max_ms == 10 * MINUTE

    def test_an_outage_from_before_what_is_given_lasts_all_the_same(self) -> None:
        found = outages(changes((30, U), first=U), window_ms=DAY_MS, now_ms=NOW)
        assert (found.count, found.lasting, found.recover.count) == (0, True, 0)

    def test_what_change_between_writes_of_one_outage_is_one_outage_from_wherever_it_is_read(self) -> None:
        seen = [assessed(60, H), assessed(50, U, "a"), assessed(40, U, "a", "b"), assessed(30, H)]
        written = [made for before, now in pairwise(seen) if (made := change_between(before, now)) is not None]
        assert [change.state for change in written] == [U, U, H]
        counts = [outages(written[first:], window_ms=DAY_MS, now_ms=NOW) for first in range(3)]
        assert [(found.count, found.recover.max_ms) for found in counts] == [(1, 20 * MINUTE), (0, 0), (0, 0)]


def hours(*values_ms: float) -> list[HealthPoint]:
    """One point an hour, the last one just over."""
    first = NOW - len(values_ms) * HOUR_MS
    return [
        HealthPoint(
            agent=NAME, start_ms=first + index * HOUR_MS, span_ms=HOUR_MS, count=120, up=120,
            last_ms=first + (index + 1) * HOUR_MS - 1, latencies=latencies_of([value] * 3 if value else []),
        )
        for index, value in enumerate(values_ms)
    ]  # fmt: skip


class TestLatency:
    def test_a_steady_rise_is_found_and_when_it_meets_the_limit(self) -> None:
        found = latency_trend([], hours(*range(100, 220, 10)), P95, now_ms=NOW)
        assert (found.course, found.forecast, found.points, found.percent) == (Course.RISING, Forecast.AHEAD, 12, 95)
        assert found.slope == pytest.approx(10, rel=0.1)
        assert found.now_ms == pytest.approx(215, rel=0.06)
        assert found.reached_ms is not None
        assert found.reached_ms - NOW == pytest.approx(3.5 * HOUR_MS, abs=1.5 * HOUR_MS)

    @pytest.mark.parametrize(
        ("values", "course", "forecast"),
        [
            ([200.0] * 12, Course.STEADY, Forecast.NEVER),
            (list(range(220, 100, -10)), Course.FALLING, Forecast.NEVER),
            (list(range(260, 380, 10)), Course.RISING, Forecast.REACHED),
            ([100, 140, 100, 140, 100, 140, 100, 140], Course.STEADY, Forecast.NEVER),
            ([100.0] * (LEAST_POINTS - 1), Course.UNSURE, Forecast.UNSURE),
            ([], Course.UNSURE, Forecast.UNSURE),
        ],
    )
    def test_what_does_not_rise_for_sure_never_meets_it(self, values, course, forecast) -> None:
        found = latency_trend([], hours(*values), P95, now_ms=NOW)
        assert (found.course, found.forecast, found.reached_ms) == (course, forecast, None)

    def test_one_slow_hour_does_not_move_the_slope(self) -> None:
        calm = [100.0] * 12
        assert latency_trend([], hours(*calm[:-1], 5000), P95, now_ms=NOW).slope == pytest.approx(0)

    def test_a_rise_so_slow_that_a_day_cannot_tell_is_never(self) -> None:
        slow = hours(*(100 * 1.106**step for step in range(12)))
        found = latency_trend([], slow, Limit(percent=95, ms=100_000), now_ms=NOW)
        assert (found.course, found.forecast) == (Course.RISING, Forecast.NEVER)

    def test_without_a_limit_there_is_nothing_to_meet(self) -> None:
        found = latency_trend([], hours(*range(100, 220, 10)), None, now_ms=NOW)
        assert (found.course, found.forecast, found.limit) == (Course.RISING, Forecast.NO_LIMIT, None)
        assert latency_trend([], [], None, now_ms=NOW).forecast is Forecast.NO_LIMIT

    def test_a_young_agent_is_told_by_points_of_five_minutes(self) -> None:
        fine = [
            HealthPoint(
                agent=NAME, start_ms=NOW - (60 - step) * FINE_MS, span_ms=FINE_MS, count=10, up=10,
                last_ms=NOW, latencies=latencies_of([100.0 + step]),
            )
            for step in range(60)
        ]  # fmt: skip
        found = latency_trend(fine, hours(100, 110), P95, now_ms=NOW)
        assert (found.points, found.course) == (MOST_POINTS, Course.RISING)
        assert found.slope == pytest.approx(12, rel=0.2)

    def test_hours_without_a_measurement_are_left_out_and_what_is_older_than_a_day_too(self) -> None:
        found = latency_trend([], hours(*[500.0] * 20, *[100.0] * 12, 0, *[100.0] * 11), P95, now_ms=NOW)
        assert (found.points, found.course) == (24, Course.STEADY)
        assert found.now_ms == pytest.approx(100, rel=0.05)

    @given(
        st.lists(st.floats(1, 10_000), min_size=2, max_size=25, unique=True),
        st.floats(-50, 50),
        st.floats(-1000, 1000),
    )
    def test_a_line_is_found_as_it_is(self, xs: list[float], slope: float, base: float) -> None:
        series = [(x, base + slope * x) for x in sorted(xs)]
        if min(abs(b[0] - a[0]) for a, b in pairwise(series)) < 0.01:
            return
        found, low, high = theil_sen(series)
        assert found == pytest.approx(slope, abs=1e-4)
        assert low <= found <= high or low == pytest.approx(high)

    @given(st.lists(st.floats(0, 1000), min_size=LEAST_POINTS, max_size=25), st.integers(1, 2000))
    def test_a_forecast_lies_ahead_and_only_of_what_rises(self, values: list[float], bound: int) -> None:
        found = latency_trend([], hours(*values), Limit(percent=95, ms=bound), now_ms=NOW)
        if found.forecast is Forecast.AHEAD:
            assert found.course is Course.RISING
            assert found.reached_ms is not None
            assert found.reached_ms >= NOW
            assert found.slope is not None
            assert found.slope > 0
        else:
            assert found.reached_ms is None

    def test_the_limit_is_that_of_p95_else_of_p99_else_of_p50_and_the_lowest_of_several(self) -> None:
        second = Duration.parse("1s")
        slow = HealthCheck(name="slow", dimension=Dimension.PERFORMANCE, p95=second, p99=second)
        p99 = HealthCheck(name="p99", dimension=Dimension.PERFORMANCE, p99=Duration.parse("2s"))
        p50 = HealthCheck(name="p50", dimension=Dimension.PERFORMANCE, p50=second)
        assert limit_of(health(ANSWERS, slow, FAST, p99)) == P95
        assert limit_of(health(p99, p50)) == Limit(percent=99, ms=2000)
        assert limit_of(health(p50)) == Limit(percent=50, ms=1000)
        assert limit_of(health(ANSWERS)) is None


class TestPlain:
    def test_a_trend_is_json_with_null_for_what_is_not_known(self) -> None:
        value = trend_json(trend((30, H), (20, U), hours=hours(*range(100, 220, 10)), limit=P95))
        assert value["agent"] == "support/triage"
        assert (value["state"], value["flapping"]) == ("unhealthy", False)
        assert value["availability"]["1h"] == {
            "share": 0.333333, "upSeconds": 600.0, "downSeconds": 1200.0, "unknownSeconds": 1800.0,
        }  # fmt: skip
        assert list(value["availability"]) == ["1h", "24h", "7d"]
        assert value["latency"]["limit"] == {"percentile": 95, "ms": 250}
        assert value["latency"]["forecast"] == "ahead"
        assert value["latency"]["limitMetAt"].endswith("Z")
        assert value["outages"]["timeToRecover"] == {"count": 0, "meanSeconds": None, "maxSeconds": None}
        assert value["outages"]["lasting"] is True

    def test_where_little_is_known_it_says_null(self) -> None:
        value = trend_json(trend((90, X), fine=[]))
        assert value["availability"]["1h"]["share"] is None
        assert value["lastSeen"] is None
        latency = value["latency"]
        assert (latency["ms"], latency["slopeMsPerHour"], latency["slopeInterval"], latency["limit"]) == (None,) * 4
        assert latency["limitMetAt"] is None

    def test_a_change_names_what_is_ill(self) -> None:
        marks = tuple(
            CheckMark(name=name, dimension=Dimension.CONNECTIVITY, state=state) for name, state in (("a", U), ("b", D))
        )
        value = change_json(replace(changes((10, U), first=H)[0], checks=marks, text="refused", well_ms=NOW))
        assert (value["state"], value["was"], value["ill"], value["text"]) == ("unhealthy", "healthy", ["a"], "refused")
        assert value["lastWell"] is not None

    def test_windows_have_short_names(self) -> None:
        assert [window(ms) for ms in (*WINDOWS_MS, 36 * HOUR_MS)] == ["1h", "24h", "7d", "36h"]
