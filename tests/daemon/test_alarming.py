"""The alarm, from what a daemon hears to a real receiver on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.alerts import open_sink
from reconciler.adapters.sqlite.alertbook import SqliteAlertBook
from reconciler.daemon.alarming import Alarming
from reconciler.daemon.loop import Mode
from reconciler.daemon.wakes import Pace
from tests.daemon.test_service import Fleet, running
from tests.daemon.waiting import until
from tests.doubles.never_ready import SILENT
from tests.doubles.scripted_server import ScriptedServer, said
from tests.doubles.source import MemorySource
from tests.engine.fleets import NOTHING, agent

ROUTED = NOTHING + (
    "  alerts:\n"
    "    - name: on-call\n"
    "      webhook: {urlEnv: ONCALL_URL, secretEnv: ONCALL_SECRET}\n"
    "      group: {wait: 0s, interval: 0s}\n"
)
SECRET = "a-secret-of-the-receiver"
SENT_TWICE = 'reconciler_alert_attempts_total{outcome="sent",receiver="webhook"} 2.0'
IMPATIENT = "  rollout: {timeout: 1s}\n"


def alarmed(fleet: Fleet, folder: Path, environment: dict[str, str]) -> Fleet:
    """Give a daemon an alarm whose book lies in `folder`."""
    service = fleet.service
    service.alarming = Alarming(
        clock=fleet.clock,
        open_book=lambda _seat: SqliteAlertBook.open(folder / "alerts.db"),
        open_sink=lambda route: open_sink(route, environment, fleet.clock),
        declared=lambda: service.cache.declaration,
        pace=Pace(jitter=lambda: 0.0, first_s=0.05, most_s=0.1),
        tell=service.tell,
        measures=service.measures,
    )
    return fleet


def received(server: ScriptedServer) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in server.seen]


@pytest.fixture
def environment() -> dict[str, str]:
    return {"ONCALL_SECRET": SECRET}


@asynccontextmanager
async def receiver(environment: dict[str, str]) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        server.on("POST /hook", said({"ok": True}))
        environment["ONCALL_URL"] = f"{server.url}/hook?key={SECRET}"
        yield server


Starting = Callable[..., Fleet]


@pytest.fixture
def started(tmp_path: Path, environment: dict[str, str]) -> Starting:
    def start(source: MemorySource, mode: Mode = Mode.APPLY) -> Fleet:
        return alarmed(Fleet(tmp_path, source, mode), tmp_path / "state", environment)

    return start


async def test_a_change_that_fails_is_told_signed_and_its_end_too(
    started: Starting, environment: dict[str, str]
) -> None:
    source = MemorySource()
    source.commit({"fleet.yaml": ROUTED, "agents/slow.yaml": agent("slow", IMPATIENT, image=f"acme/{SILENT}:1")})
    async with receiver(environment) as server, running(started(source)) as fleet:
        await until(lambda: server.seen)
        first = server.seen[0]
        fleet.source.commit({"agents/slow.yaml": agent("slow", IMPATIENT)})
        await until(lambda: received(server)[-1]["status"] == "resolved")
        told = received(server)
        await until(lambda: SENT_TWICE in fleet.service.measures.text().decode())
    assert [one["name"] for one in told[0]["alerts"]] == ["ChangeFailed"]
    assert told[0]["alerts"][0]["agent"] == "support/slow"
    assert told[0]["status"] == "firing"
    signed = first.headers["X-Reconciler-Timestamp"].encode() + b"." + first.body
    wanted = "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert first.headers["X-Reconciler-Signature"] == wanted
    assert first.headers["X-Reconciler-Delivery"] == told[0]["id"]
    assert SECRET not in json.dumps(fleet.lines)
    assert environment["ONCALL_URL"] not in json.dumps(fleet.lines)


async def test_a_restart_tells_nothing_twice_and_what_ended_meanwhile_as_over(
    started: Starting, environment: dict[str, str]
) -> None:
    source = MemorySource()
    source.commit({"fleet.yaml": ROUTED, "agents/slow.yaml": agent("slow", IMPATIENT, image=f"acme/{SILENT}:1")})
    async with receiver(environment) as server:
        async with running(started(source)) as fleet:
            await until(lambda: fleet.told("alert-sent"))
        async with running(started(source)) as fleet:
            await until(lambda: fleet.told("planned"))
            source.commit({"agents/slow.yaml": agent("slow", IMPATIENT)})
            await until(lambda: received(server)[-1]["status"] == "resolved")
        statuses = [one["status"] for one in received(server)]
    assert statuses == ["firing", "resolved"]


async def test_a_receiver_that_is_away_holds_up_no_change_and_hears_of_all_when_it_is_back(
    started: Starting, environment: dict[str, str]
) -> None:
    source = MemorySource()
    source.commit({"fleet.yaml": ROUTED, "agents/slow.yaml": agent("slow", IMPATIENT, image=f"acme/{SILENT}:1")})
    async with receiver(environment) as server, running(started(source)) as fleet:
        server.on("POST /hook", said({}, code=503))
        await until(lambda: fleet.told("alert-not-sent"))
        source.commit({"agents/fast.yaml": agent("fast")})
        await until(lambda: fleet.told("change-ended", agent="support/fast", outcome="applied"))
        source.commit({"agents/slow.yaml": agent("slow")})
        await until(lambda: fleet.told("alert-over"))
        server.seen.clear()
        server.on("POST /hook", said({}))
        await until(lambda: len(fleet.told("alert-sent")) == 2)
        statuses = {one["id"]: one["status"] for one in received(server)}
    assert list(statuses.values()) == ["firing", "resolved"]


async def test_a_daemon_that_only_plans_raises_no_alert(started: Starting, environment: dict[str, str]) -> None:
    source = MemorySource()
    source.commit({"fleet.yaml": ROUTED, "agents/bad.yaml": "kind: ["})
    async with receiver(environment) as server, running(started(source, Mode.PLAN_ONLY)) as fleet:
        await until(lambda: fleet.told("planned"))
        await asyncio.sleep(0)
    assert server.seen == []
