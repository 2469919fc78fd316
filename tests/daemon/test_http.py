"""What a daemon answers over HTTP: alive, ready, metrics; and nothing else, whatever is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.daemon.http import served
from reconciler.daemon.measures import Measures
from reconciler.model.errors import UsageError
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action
from tests.daemon.test_wakes import change, plan


class Server:
    """A server that is ready or not, and what it measures."""

    def __init__(self) -> None:
        self.measures = Measures()
        self.why = ""
        self.address = ""

    async def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        url = f"http://{self.address}{path}"
        async with aiohttp.ClientSession() as client, client.request(method, url) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    async with served("127.0.0.1:0", made.measures, lambda: made.why) as made.address:
        yield made


async def test_it_is_alive_and_tells_why_it_is_not_ready(server: Server) -> None:
    assert await server.get("/healthz") == (200, "ok\n")
    assert await server.get("/readyz") == (200, "ok\n")
    server.why = "the last pass made no plan"
    assert await server.get("/healthz") == (200, "ok\n")
    assert await server.get("/readyz") == (503, "the last pass made no plan\n")


async def test_metrics_are_what_prometheus_reads_and_name_no_agent(server: Server) -> None:
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
    status, text = await server.get("/metrics")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert status == 200
    assert samples["reconciler_planned_changes", ("action", "update")] == 1
    assert samples["reconciler_change_seconds_sum", ("action", "update"), ("outcome", "failed")] == 1.5
    assert "triage" not in text


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/", 404), ("GET", "/metrics/../etc/passwd", 404), ("POST", "/healthz", 405), ("DELETE", "/metrics", 405)],
)
async def test_all_else_is_refused(server: Server, method: str, path: str, expected: int) -> None:
    assert (await server.get(path, method))[0] == expected


async def test_endless_heads_are_cut_off(server: Server) -> None:
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    assert b" 400 " in answer.split(b"\r\n", 1)[0]
    writer.close()


@pytest.mark.parametrize(
    "address", ["9464", "127.0.0.1:", "127.0.0.1:99999", ":80", "nowhere.invalid:1", "127.0.0.1:-1"]
)
async def test_an_address_that_cannot_be_used_is_told(address: str) -> None:
    with pytest.raises(UsageError):
        async with served(address, Measures(), lambda: ""):
            pass


async def test_a_port_that_is_taken_is_told(server: Server) -> None:
    with pytest.raises(UsageError, match="cannot listen at"):
        async with served(server.address, Measures(), lambda: ""):
            pass
