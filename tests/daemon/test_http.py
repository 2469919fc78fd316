"""What a daemon answers over HTTP to whom it does not know: alive, ready, metrics; and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.daemon.http import Listening, served
from reconciler.model.errors import UsageError
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action
from tests.daemon.serving import Daemon, open_daemon, serving
from tests.daemon.test_wakes import change, plan


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = await open_daemon(tmp_path)
    async with serving(daemon):
        yield daemon
    await daemon.registry.close()


async def test_it_is_alive_and_tells_why_it_is_not_ready(server: Daemon) -> None:
    assert await server.ask("/healthz", token="") == (200, "ok\n")
    assert await server.ask("/readyz", token="") == (200, "ok\n")
    server.why = "the last pass made no plan"
    assert await server.ask("/healthz", token="") == (200, "ok\n")
    assert await server.ask("/readyz", token="") == (503, "the last pass made no plan\n")


async def test_metrics_are_what_prometheus_reads_and_name_no_agent(server: Daemon) -> None:
    server.measures.planned(plan(change()))
    server.measures.ended(
        ChangeFinished(
            agent=AgentName.parse("support/triage"),
            action=Action.UPDATE,
            outcome=Outcome.FAILED,
            text="failed",
            ready=0,
            wanted=1,
            duration_ms=1500,
        )
    )
    await server.ask("/healthz")
    status, text = await server.ask("/metrics", token="")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert status == 200
    assert samples["reconciler_planned_changes", ("action", "update")] == 1
    assert samples["reconciler_change_seconds_sum", ("action", "update"), ("outcome", "failed")] == 1.5
    assert samples["reconciler_http_requests_total", ("route", "live"), ("status", "200")] == 1
    assert "triage" not in text


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/", 404), ("GET", "/metrics/../etc/passwd", 404), ("POST", "/healthz", 405), ("DELETE", "/metrics", 405)],
)
async def test_all_else_is_refused(server: Daemon, method: str, path: str, expected: int) -> None:
    assert (await server.ask(path, method))[0] == expected


async def test_endless_heads_are_cut_off(server: Daemon) -> None:
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    assert b" 400 " in answer.split(b"\r\n", 1)[0]
    assert b"urn:reconciler:problem:no-request" in answer
    writer.close()


@pytest.mark.parametrize(
    "address", ["9464", "127.0.0.1:", "127.0.0.1:99999", ":80", "nowhere.invalid:1", "127.0.0.1:-1"]
)
async def test_an_address_that_cannot_be_used_is_told(server: Daemon, address: str) -> None:
    with pytest.raises(UsageError):
        async with served(Listening(address=address), server.inside()):
            pass


async def test_a_port_that_is_taken_is_told(server: Daemon) -> None:
    with pytest.raises(UsageError, match="cannot listen at"):
        async with served(Listening(address=server.address), server.inside()):
            pass
