"""Points of measurements: merged exactly, in any order, with percentiles that are as near as they say."""

from __future__ import annotations

import math
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.health.checks import percentile
from reconciler.model.identity import AgentName
from reconciler.model.series import (
    ACCURACY,
    FINE_MS,
    HOUR_MS,
    HealthPoint,
    Latencies,
    latencies_of,
    merged,
    merged_latencies,
    start_of,
    widened,
)

NAME = AgentName(namespace="support", name="triage")
MILLISECONDS = st.floats(0.001, 600_000, allow_nan=False)
MANY = st.lists(MILLISECONDS, max_size=40)


def point(start_ms: int, values: list[float]) -> HealthPoint:
    return HealthPoint(
        agent=NAME, start_ms=start_ms, span_ms=FINE_MS, count=len(values), up=len(values) // 2,
        last_ms=start_ms + len(values), latencies=latencies_of(values),
    )  # fmt: skip


@given(st.lists(MANY, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_parts_merged_in_any_order_are_what_the_whole_would_have_been(parts, chance) -> None:
    whole = latencies_of([value for part in parts for value in part])
    chance.shuffle(parts)
    assert reduce(merged_latencies, map(latencies_of, parts)) == whole


@given(st.lists(MILLISECONDS, min_size=1, max_size=200), st.sampled_from([1, 50, 95, 99, 100]))
def test_a_percentile_is_as_near_as_is_said(values, percent) -> None:
    exact = percentile(tuple(values), percent)
    found = latencies_of(values).percentile_ms(percent)
    assert found is not None
    assert math.isclose(found, exact, rel_tol=ACCURACY + 1e-6, abs_tol=0.001)


def test_of_nothing_there_is_neither_mean_nor_percentile() -> None:
    assert latencies_of([]) == Latencies()
    assert (Latencies().mean_ms, Latencies().percentile_ms(95)) == (None, None)


def test_the_mean_is_exact_and_nothing_is_longer_than_the_longest() -> None:
    taken = latencies_of([1.5, 2.5, 100])
    assert taken.mean_ms == pytest.approx(104 / 3)
    assert taken.percentile_ms(100) == pytest.approx(100)
    assert latencies_of([0]) == latencies_of([0.001]), "less than a microsecond is one"


def test_a_point_is_merged_into_the_hour_that_it_is_part_of() -> None:
    first, second = point(HOUR_MS + FINE_MS, [1, 2]), point(HOUR_MS + 2 * FINE_MS, [3, 4, 5])
    hour = merged(widened(first, HOUR_MS), widened(second, HOUR_MS))
    assert (hour.start_ms, hour.span_ms) == (HOUR_MS, HOUR_MS)
    assert (hour.count, hour.up, hour.last_ms) == (5, 2, HOUR_MS + 2 * FINE_MS + 3)
    assert hour.latencies == latencies_of([1, 2, 3, 4, 5])


def test_a_span_begins_at_a_multiple_of_itself() -> None:
    assert [start_of(at_ms, FINE_MS) for at_ms in (0, FINE_MS - 1, FINE_MS, FINE_MS + 1)] == [0, 0, FINE_MS, FINE_MS]
