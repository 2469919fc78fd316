"""Probes against real servers on loopback: honest ones, and those that misbehave in every way we know."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.probes import HttpProber
from reconciler.adapters.probes.addresses import refusal
from reconciler.adapters.probes.prober import MAX_BODY
from reconciler.model.health import CardProbe, HttpProbe, TcpProbe

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CARD = {"name": "triage", "skills": []}


@asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[int]:
    """A server that hands every connection's first request to `handle`, on a free port."""
    tasks: set[asyncio.Task[None]] = set()

    async def each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(each, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(body: bytes, status: str = "200 OK", headers: str = "") -> Handle:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
            writer.write(head.encode() + body)
            await writer.drain()

    return handle


@pytest.fixture
async def prober() -> AsyncIterator[HttpProber]:
    prober = HttpProber(clock=SystemClock())
    yield prober
    await prober.close()


def http(port: int, *, host: str = "127.0.0.1", path: str = "/healthz", timeout_ms: int = 3000) -> HttpProbe:
    return HttpProbe(host=host, port=port, path=path, timeout_ms=timeout_ms)


async def test_a_well_endpoint_is_measured(prober: HttpProber) -> None:
    async with serving(answering(b"{}")) as port:
        sample = await prober.probe(http(port))
    assert (sample.ok, sample.status, sample.problem) == (True, 200, "")
    assert sample.latency_ms > 0
    assert sample.at_ms > 0


async def test_a_path_with_a_query_and_odd_letters_arrives_as_meant(prober: HttpProber) -> None:
    asked = b""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with serving(handle) as port:
        assert (await prober.probe(http(port, path="/gesund/ä?deep=1&x=@evil"))).ok
    assert asked.startswith(b"GET /gesund/%C3%A4?deep=1&x=@evil HTTP/1.1\r\n")


async def test_connections_are_kept_between_sweeps(prober: HttpProber) -> None:
    connections = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(b"{}")(reader, writer)

    async with serving(counting) as port:
        for _ in range(5):
            assert (await prober.probe(http(port))).ok
    assert connections == 1


@pytest.mark.parametrize(("status", "ok"), [("204 No Content", True), ("404 Not Found", False), ("503 Busy", False)])
async def test_a_status_from_200_to_399_is_well(prober: HttpProber, status: str, *, ok: bool) -> None:
    async with serving(answering(b"", status)) as port:
        sample = await prober.probe(http(port))
    assert sample.ok is ok
    assert sample.status == int(status[:3])
    assert sample.problem == ("" if ok else f"answers {status[:3]}")


async def test_a_redirect_is_an_answer_and_is_not_followed(prober: HttpProber) -> None:
    reached = False

    async def trap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reached
        reached = True

    async with serving(trap) as other:
        where = f"Location: http://127.0.0.1:{other}/\r\n"
        async with serving(answering(b"", "302 Found", where)) as port:
            assert (await prober.probe(http(port))).status == 302
            card = await prober.probe(CardProbe(host="127.0.0.1", port=port))
    assert not card.ok
    assert "answers 302" in card.problem
    assert not reached


async def test_a_port_where_nobody_listens_is_said_in_words(prober: HttpProber) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for request in (http(port), TcpProbe(host="127.0.0.1", port=port), CardProbe(host="127.0.0.1", port=port)):
        sample = await prober.probe(request)
        assert not sample.ok
        assert "refused" in sample.problem.lower()
        assert not sample.refused, "the endpoint refused, not the prober"


async def test_a_tcp_probe_connects_and_hangs_up(prober: HttpProber) -> None:
    hung_up = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        hung_up.set()

    async with serving(handle) as port:
        assert (await prober.probe(TcpProbe(host="127.0.0.1", port=port))).ok
        await asyncio.wait_for(hung_up.wait(), 5)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def trickling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a little all the time, so that no read ever times out."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Junk: " + b"y" * 4000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("handle", [silent, trickling])
async def test_one_deadline_holds_for_the_whole_probe(prober: HttpProber, handle: Handle) -> None:
    async with serving(handle) as port:
        sample = await asyncio.wait_for(prober.probe(http(port, timeout_ms=200)), 5)
    assert not sample.ok
    assert sample.problem == "no answer within 200 ms"


async def test_endless_headers_and_garbage_end_the_probe(prober: HttpProber) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01SSH-2.0-\x1b[31mred\r\n\r\n")
        await writer.drain()

    for handle in (endless_headers, garbage):
        async with serving(handle) as port:
            sample = await asyncio.wait_for(prober.probe(http(port)), 5)
        assert not sample.ok
        assert sample.problem.isprintable()
        assert len(sample.problem) <= 200


async def test_an_endless_body_is_not_read_to_its_end(prober: HttpProber) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b"z" * 65536)
            sent += 65536
            await writer.drain()

    async with serving(endless) as port:
        assert (await prober.probe(http(port))).ok, "the status was well, and that is what was asked"
        card = await prober.probe(CardProbe(host="127.0.0.1", port=port))
    assert "larger than" in card.problem
    assert sent < 64 * MAX_BODY


@pytest.mark.parametrize(
    ("body", "problem"), [(b"<html>", "not JSON"), (b"[1]", "no JSON object"), (b"[" * 200_000, "not JSON")]
)
async def test_a_card_that_is_none_is_said_so(prober: HttpProber, body: bytes, problem: str) -> None:
    async with serving(answering(body)) as port:
        sample = await prober.probe(CardProbe(host="127.0.0.1", port=port))
    assert problem in sample.problem
    assert sample.card is None


async def test_a_card_is_fetched_from_its_well_known_place(prober: HttpProber) -> None:
    asked = b""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(CARD).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    async with serving(handle) as port:
        sample = await prober.probe(CardProbe(host="localhost", port=port))
    assert sample.card == CARD
    assert asked.startswith(b"GET /.well-known/agent-card.json HTTP/1.1\r\n")
    assert f"Host: localhost:{port}".encode() in asked


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "2852039166", "0", "100.100.100.200"]
)
async def test_metadata_and_link_local_addresses_are_never_reached(prober: HttpProber, host: str) -> None:
    for request in (http(80, host=host), TcpProbe(host=host, port=80), CardProbe(host=host, port=80)):
        sample = await prober.probe(request)
        assert sample.refused
        assert sample.problem.startswith("not probed: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "::ffff:127.0.0.1", "localhost", "0x7f.1"])
async def test_loopback_is_refused_where_it_is_not_wanted(host: str) -> None:
    prober = HttpProber(clock=SystemClock(), loopback=False)
    assert (await prober.probe(TcpProbe(host=host, port=9))).refused


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.0.0.7", True),
        ("192.168.1.1", True),
        ("fd12::1", True),
        ("8.8.8.8", True),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
        ("fd00:ec2::254", False),
        ("fe80::1%eth0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("::", False),
    ],
)
def test_addresses_are_judged_by_where_they_lead(address: str, *, allowed: bool) -> None:
    assert (refusal(address, loopback=True) == "") is allowed


async def test_many_probes_at_once_are_bounded(prober: HttpProber) -> None:
    prober.at_once = 4
    open_now = most = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        await reader.readuntil(b"\r\n\r\n")
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async with serving(handle) as port:
        samples = await asyncio.gather(*(prober.probe(http(port)) for _ in range(20)))
    assert all(sample.ok for sample in samples)
    assert most <= 4
