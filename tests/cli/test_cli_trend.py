"""`health --trend` and what `history` says of health: from what a daemon has kept, and nothing where it kept none."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.health import HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import FINE_MS, HOUR_MS, HealthChange, HealthPoint, latencies_of, start_of
from tests.cli.test_cli_audit import Inside, applied, fleet_of_one, still

__all__ = ["applied", "fleet_of_one", "still"]
HELLO = AgentName.parse("demo/hello")
H, D, U, X = HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY, HealthState.UNKNOWN


@pytest.fixture
def with_history(fleet_of_one: Inside) -> Inside:
    """A fleet whose agent was ill for ten minutes half an hour ago; its answers take longer and longer."""
    asyncio.run(keep(fleet_of_one.folder))
    return fleet_of_one


async def keep(folder: Path) -> None:
    now_ms = int(time.time() * 1000)
    steps = ((9 * 24 * 60, X, H), (41, H, D), (40, D, U), (30, U, H))
    changes = [
        HealthChange(
            agent=HELLO, at_ms=now_ms - minutes * 60_000, state=state, was=was, text="no answer" if state is U else "",
            well_ms=now_ms - 41 * 60_000 - 30_000 if state is U else 0,
        )
        for minutes, was, state in steps
    ]  # fmt: skip
    begin = start_of(now_ms, HOUR_MS) - 12 * HOUR_MS
    points = [
        HealthPoint(
            agent=HELLO, start_ms=at, span_ms=FINE_MS, count=10, up=10, last_ms=at + FINE_MS - 1,
            latencies=latencies_of([100 + 10 * (at - begin) / HOUR_MS]),
        )
        for at in range(begin, start_of(now_ms, FINE_MS), FINE_MS)
    ]  # fmt: skip
    registry = await SqliteRegistry.open(folder / ".reconciler" / "registry.db", SystemClock())
    await registry.record_health(changes, points, op_id="kept")
    await registry.close()


def test_a_fleet_without_history_is_told_as_before(still: Inside) -> None:
    plain = still("history", "demo/hello", code=0).out
    assert "HEALTH" not in plain
    value = json.loads(still("history", "demo/hello", "-o", "json", code=0).out)
    assert value["health"] == {"changes": []}
    told = still("health", code=1).out
    assert told.splitlines()[0].split()[:3] == ["AGENT", "HEALTH", "LIFECYCLE"]
    assert "trend" not in json.loads(still("health", "-o", "json", code=1).out)["agents"][0]
    trend = still("health", "--trend", code=1)
    assert "There is no history on record" in trend.out
    assert json.loads(still("health", "--trend", "-o", "json", code=1).out)["agents"][0]["trend"] is None


def test_history_tells_changes_of_health_beside_revisions(with_history: Inside) -> None:
    out = with_history("history", "demo/hello", code=0).out
    assert "REVISION" in out
    section = out[out.index("AT                     HEALTH") :].splitlines()
    assert [line.split()[1] for line in section[1:5]] == ["healthy", "unhealthy", "degraded", "healthy"]
    assert section[2].split()[2:] == ["10m", "no", "answer"]
    assert section[5].startswith("Available: ")
    assert "1 outage in 7d; found within 90s; over after 10m." in section[6]
    health = json.loads(with_history("history", "demo/hello", "-o", "json", code=0).out)["health"]
    assert [one["state"] for one in health["changes"]] == ["healthy", "unhealthy", "degraded", "healthy"]
    assert health["outages"]["timeToRecover"] == {"count": 1, "meanSeconds": 600, "maxSeconds": 600}
    assert "latency" not in health


def test_health_shows_what_history_comes_to(with_history: Inside) -> None:
    out = with_history("health", "--trend", code=1).out
    heads, row = out.splitlines()[:2]
    assert heads.split()[:6] == ["AGENT", "HEALTH", "FLAPS", "1H", "24H", "7D"]
    assert row.split()[:3] == ["demo/hello", "unhealthy", "no"], "what it is now: nothing runs here"
    assert row.split()[3].startswith("83.")
    assert re.search(r" \+(8|9|10|11|12)\.\dms/h ", row), "ten, as near as a histogram tells"
    assert "0 of 1 well." in out
    trend = json.loads(with_history("health", "--trend", "-o", "json", code=1).out)["agents"][0]["trend"]
    assert trend["latency"]["course"] == "rising"
    assert trend["availability"]["7d"]["unknownSeconds"] == 0
    assert trend["availability"]["24h"]["downSeconds"] == 600
