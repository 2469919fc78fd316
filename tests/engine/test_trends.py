"""Trends from what is on record: for one agent as for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest_asyncio

from reconciler.engine.trends import trend_on_record, trends_on_record
from reconciler.model.health import HealthState
from reconciler.model.series import FINE_MS, HOUR_MS, HealthChange, HealthPoint, latencies_of
from reconciler.model.trend import Course, Forecast
from tests.contracts.values import MINER, TRIAGE
from tests.doubles.clock import START_MS, FakeClock
from tests.doubles.world import open_registry
from tests.health.test_assess import ANSWERS, FAST, health

NOW = START_MS - START_MS % HOUR_MS


@pytest_asyncio.fixture
async def registry(tmp_path: Path):
    opened = await open_registry(tmp_path, FakeClock())
    yield opened
    await opened.close()


def point(start_ms: int, latency_ms: float) -> HealthPoint:
    return HealthPoint(
        agent=TRIAGE, start_ms=start_ms, span_ms=FINE_MS, count=10, up=10, last_ms=start_ms + FINE_MS - 1,
        latencies=latencies_of([latency_ms] * 5),
    )  # fmt: skip


async def keep(registry, hours: int) -> None:
    """History of an agent whose answers take 10 ms longer with every hour."""
    begin = NOW - hours * HOUR_MS
    change = HealthChange(agent=TRIAGE, at_ms=begin, state=HealthState.HEALTHY, was=HealthState.UNKNOWN)
    points = [point(at, 100 + 10 * (at - begin) / HOUR_MS) for at in range(begin, NOW, FINE_MS)]
    await registry.record_health([change], points, op_id="1")


async def test_where_nothing_is_on_record_there_is_no_trend(registry) -> None:
    assert await trend_on_record(registry, TRIAGE, None, now_ms=NOW) is None
    assert await trends_on_record(registry, {TRIAGE: health()}, now_ms=NOW) == {}


async def test_one_agent_is_told_as_it_is_among_all(registry) -> None:
    for hours in (12, 3):
        await keep(registry, hours)
        rules = health(ANSWERS, FAST)
        one = await trend_on_record(registry, TRIAGE, rules, now_ms=NOW)
        assert one is not None
        assert await trends_on_record(registry, {TRIAGE: rules, MINER: None}, now_ms=NOW) == {TRIAGE: one}


async def test_a_limit_that_comes_nearer_is_seen(registry) -> None:
    await keep(registry, 12)
    found = await trend_on_record(registry, TRIAGE, health(FAST), now_ms=NOW)
    assert found is not None
    assert (found.latency.course, found.latency.forecast) == (Course.RISING, Forecast.AHEAD)
    assert (found.state, found.availability[0].share) == (HealthState.HEALTHY, 1)
    unbound = await trend_on_record(registry, TRIAGE, None, now_ms=NOW)
    assert unbound is not None
    assert unbound.latency == replace(found.latency, limit=None, forecast=Forecast.NO_LIMIT, reached_ms=None), (
        "without a limit there is nothing to meet"
    )


async def test_a_young_agent_is_told_by_shorter_spans(registry) -> None:
    await keep(registry, 2)
    found = await trend_on_record(registry, TRIAGE, health(FAST), now_ms=NOW)
    assert found is not None
    assert found.latency.points == 24
