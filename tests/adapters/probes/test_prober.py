"""Probes against real servers on loopback: honest ones, and those that misbehave in every way we know."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import json
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.probes import HttpProber
from reconciler.adapters.probes import connections as connection_module
from reconciler.adapters.probes.addresses import refusal
from reconciler.adapters.probes.answers import MAX_BODY
from reconciler.adapters.probes.connections import Connections, Place
from reconciler.adapters.probes.turns import NoTurn, Turns
from reconciler.model.health import CardProbe, HttpProbe, ProbeRequest, TcpProbe
from tests.daemon.waiting import until

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CARD = {"name": "triage", "skills": []}


@asynccontextmanager
async def serving(handle: Handle, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
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

    server = await asyncio.start_server(each, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS that nobody has reason to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody else")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=2))
        .not_valid_after(now - dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    unlocked = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unlocked)
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


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


async def test_a_name_is_resolved_once_and_what_was_judged_is_connected_to(prober: HttpProber, monkeypatch) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        """Harmless at first, the metadata service to whoever asks again."""
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    async with serving(answering(b"{}")) as port:
        first = await prober.probe(http(port, host="rebinding.example"))
        second = await prober.probe(http(port, host="rebinding.example"))
    assert first.ok
    assert second.refused, "a connection that was kept to the first address is no way around"
    assert len(asked) == 2


async def test_a_name_with_one_bad_address_among_good_ones_is_refused(prober: HttpProber, monkeypatch) -> None:
    def mixed(host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        pairs = (("127.0.0.1", port), ("169.254.169.254", port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", pair) for pair in pairs]

    monkeypatch.setattr(socket, "getaddrinfo", mixed)
    assert (await prober.probe(TcpProbe(host="mixed.example", port=9))).refused


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name lead to these, in this order."""

    def found(_host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@contextmanager
def full(address: str, port: int) -> Iterator[None]:
    """Somebody whose queue is full: the system lets nobody in, and says nothing."""
    with ExitStack() as held:
        deaf = held.enter_context(socket.socket())
        deaf.bind((address, port))
        deaf.listen(0)
        held.enter_context(socket.create_connection((address, port)))
        yield


async def answers_of(prober: HttpProber, port: int) -> list[str]:
    """What is wrong with an endpoint by a name, asked in each way at once."""
    host = "both.example"
    requests: list[ProbeRequest] = [
        HttpProbe(host=host, port=port, timeout_ms=2000),
        CardProbe(host=host, port=port, timeout_ms=2000),
        TcpProbe(host=host, port=port, timeout_ms=2000),
    ]
    return [sample.problem for sample in await asyncio.gather(*map(prober.probe, requests))]


async def test_a_name_whose_first_address_is_deaf_is_asked_at_the_next(
    prober: HttpProber, monkeypatch, tmp_path: Path
) -> None:
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with serving(answering(b"{}")) as port:
        assert await answers_of(prober, port) == ["", "", ""]
    async with serving(answering(b"{}"), tls=self_signed(tmp_path)) as port:
        secure = HttpProbe(host="both.example", port=port, scheme="https", timeout_ms=10_000)
        assert (await prober.probe(secure)).problem == ""


async def test_a_first_address_that_lets_nobody_in_costs_its_part_of_the_time(prober: HttpProber, monkeypatch) -> None:
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with serving(answering(b"{}")) as port:
        with full("127.0.0.2", port):
            assert await answers_of(prober, port) == ["", "", ""]


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
async def test_a_first_address_to_which_no_way_leads_is_passed_over(prober: HttpProber, monkeypatch, number) -> None:
    real = connection_module.reach

    async def reach(address: str, port: int) -> socket.socket:
        if address == "127.0.0.2":
            raise OSError(number, os.strerror(number))
        return await real(address, port)

    monkeypatch.setattr(connection_module, "reach", reach)
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with serving(answering(b"{}")) as port:
        assert (await prober.probe(http(port, host="both.example"))).ok
    for order in (("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")):
        resolving(monkeypatch, *order)
        sample = await prober.probe(http(port, host="both.example"))
        assert (sample.problem, sample.refused) == ("Connection refused", False), "it was asked, and is not there"


async def test_an_address_that_answers_badly_is_not_passed_over(prober: HttpProber, monkeypatch) -> None:
    async def hangs_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    resolving(monkeypatch, "127.0.0.1", "127.0.0.2")
    async with serving(hangs_up) as port:
        sample = await prober.probe(http(port, host="both.example"))
    assert sample.problem == "it hung up before its answer was whole"


async def test_connections_to_names_are_kept_too(prober: HttpProber, monkeypatch) -> None:
    came = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()

    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with serving(counting) as port:
        for _ in range(3):
            assert (await prober.probe(http(port, host="both.example"))).ok
    assert came == 1


async def test_a_name_server_that_does_not_answer_costs_the_deadline_of_its_own_probe(
    prober: HttpProber, monkeypatch
) -> None:
    over = threading.Event()

    def deaf(*_: object, **__: object) -> list[tuple[Any, ...]]:
        over.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")

    monkeypatch.setattr(socket, "getaddrinfo", deaf)
    try:
        async with serving(answering(b"{}")) as port:
            names = [prober.probe(http(port, host=f"{number}.example", timeout_ms=100)) for number in range(8)]
            hung = asyncio.gather(*names)
            assert (await prober.probe(http(port))).ok, "an address needs no name server"
            elsewhere = asyncio.get_running_loop().run_in_executor(None, lambda: "done")
            assert await elsewhere == "done", "the threads of others are free"
            assert {sample.problem for sample in await hung} == {"no answer within 100 ms"}
    finally:
        over.set()


async def slow_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One header every moment, and never the end of them."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Slow: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body in tiny pieces, each with much around it."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1;" + b"e" * 4000 + b"\r\nx\r\n")
        await writer.drain()


async def endless_interim(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """`100 Continue` for ever."""
    await reader.readuntil(b"\r\n\r\n")
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)
        await writer.drain()


async def test_headers_that_drip_cost_the_deadline(prober: HttpProber) -> None:
    async with serving(slow_headers) as port:
        sample = await asyncio.wait_for(prober.probe(http(port, timeout_ms=200)), 5)
    assert sample.problem == "no answer within 200 ms"


async def test_a_handshake_that_never_ends_costs_the_deadline(prober: HttpProber) -> None:
    async with serving(silent) as port:
        probe = HttpProbe(host="127.0.0.1", port=port, scheme="https", timeout_ms=200)
        assert (await asyncio.wait_for(prober.probe(probe), 5)).problem == "no answer within 200 ms"


async def test_pieces_without_end_are_not_read_without_end(prober: HttpProber) -> None:
    async with serving(endless_chunks) as port:
        assert (await asyncio.wait_for(prober.probe(http(port, timeout_ms=5000)), 10)).ok
        card = await prober.probe(CardProbe(host="127.0.0.1", port=port, timeout_ms=5000))
    assert "larger than" in card.problem


async def test_interim_answers_without_end_are_none(prober: HttpProber) -> None:
    async with serving(endless_interim) as port:
        sample = await asyncio.wait_for(prober.probe(http(port)), 5)
    assert sample.problem == "its headers are larger than 32 KiB"


async def test_an_interim_answer_is_followed_by_the_real_one(prober: HttpProber) -> None:
    async with serving(answering(b"", "103 Early Hints\r\n\r\nHTTP/1.1 204 No Content")) as port:
        assert (await prober.probe(http(port))).status == 204


@pytest.mark.parametrize("status", ["101 Switching Protocols", "200 OK"])
async def test_an_upgrade_is_no_answer_of_another_kind(prober: HttpProber, status: str) -> None:
    async with serving(answering(b"", status, "Upgrade: websocket\r\nConnection: upgrade\r\n")) as port:
        sample = await prober.probe(http(port))
    assert (sample.status, sample.ok) == (int(status[:3]), status.startswith("200"))


async def test_tls_where_there_is_none_is_said_in_words(prober: HttpProber) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with serving(plain) as port:
        sample = await prober.probe(HttpProbe(host="127.0.0.1", port=port, scheme="https"))
    assert sample.problem == "TLS: wrong version number"


async def test_certificates_are_not_verified(prober: HttpProber, tmp_path: Path) -> None:
    async with serving(answering(b"{}"), tls=self_signed(tmp_path)) as port:
        for host in ("127.0.0.1", "localhost"):
            assert (await prober.probe(HttpProbe(host=host, port=port, scheme="https"))).problem == ""


async def test_a_body_that_breaks_off_is_no_answer(prober: HttpProber) -> None:
    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await writer.drain()

    async with serving(short) as port:
        assert (await prober.probe(http(port))).problem == "it hung up before its answer was whole"


async def test_a_body_that_lasts_until_the_end_is_whole_then(prober: HttpProber) -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(CARD).encode())
        await writer.drain()

    async with serving(old) as port:
        assert (await prober.probe(CardProbe(host="127.0.0.1", port=port))).card == CARD


async def test_bare_line_ends_are_read_as_kubelets_read_them(prober: HttpProber) -> None:
    async def sloppy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
        await writer.drain()

    async with serving(sloppy) as port:
        assert (await prober.probe(http(port))).ok


async def test_a_kept_connection_that_ends_says_nothing_of_the_endpoint(prober: HttpProber) -> None:
    connections = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request, promises to stay, and hangs up at the next."""
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read(1)

    async with serving(once) as port:
        assert [(await prober.probe(http(port))).ok for _ in range(3)] == [True, True, True]
    assert connections == 3


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(prober: HttpProber) -> None:
    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with serving(talkative) as port:
        assert [(await prober.probe(http(port))).status for _ in range(2)] == [503, 503]


async def test_what_this_machine_has_run_out_of_is_no_fault_of_the_endpoint(prober: HttpProber, monkeypatch) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("reconciler.adapters.probes.connections.connecting", none_left)
    sample = await prober.probe(http(9))
    assert sample.refused
    assert sample.problem == "not probed: Too many open files"


async def test_kept_connections_are_bounded_and_those_long_unused_make_room(monkeypatch) -> None:
    connections = Connections(2)
    opened = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await answering(b"")(reader, writer)

    async with serving(counting) as one, serving(counting) as two, serving(counting) as three:

        async def ask(*ports: int) -> int:
            for port in ports:
                until = asyncio.get_running_loop().time() + 60
                await connections.ask(Place("127.0.0.1", port), b"GET / HTTP/1.1\r\n\r\n", until)
            return opened

        assert await ask(one, two, three) == 3
        assert await ask(one, two) == 3, "sweeps come round: the first ones are kept"
        assert await ask(three) == 4
        monkeypatch.setattr(connection_module, "UNUSED_S", 0.0)
        assert await ask(three) == 5
        assert await ask(three) == 5
        connections.close()


async def test_few_are_at_work_at_once_and_those_that_hear_nothing_stand_aside() -> None:
    turns = Turns(at_once=2, aside=3)
    begun: list[int] = []
    release = asyncio.Event()

    async def one(number: int) -> None:
        turn = await turns.take()
        begun.append(number)
        await release.wait()
        turns.give(turn)

    tasks = [asyncio.create_task(one(number)) for number in range(8)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun == [0, 1], "two at a time"
    await until(lambda: len(begun) == 5)
    assert begun == [0, 1, 2, 3, 4], "three stand aside, two hold the turns, and there is no room for more"
    release.set()
    await asyncio.gather(*tasks)
    assert sorted(begun) == list(range(8))
    assert (turns.at_once, turns.aside) == (2, 3), "all turns and all room are back"


async def test_who_gives_up_waiting_for_a_turn_takes_none() -> None:
    turns = Turns(at_once=1, aside=0)
    held = await turns.take()
    waiting = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    turns.give(held)
    assert turns.at_once == 1


async def test_who_is_told_to_end_just_as_its_patience_ends_takes_no_turn_either() -> None:
    turns = Turns(at_once=1, aside=0, patience_s=0.0)
    held = await turns.take()
    waiting = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    turns._tick()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    turns.give(held)
    assert turns.at_once == 1


async def test_a_probe_whose_turn_does_not_come_is_not_made() -> None:
    turns = Turns(at_once=1, aside=0, patience_s=0.02)
    held = await turns.take()
    with pytest.raises(NoTurn, match=r"no turn within 0\.02 s"):
        await turns.take()
    turns.give(held)
    assert turns.at_once == 1


async def test_that_no_turn_came_says_nothing_of_the_endpoint(prober: HttpProber) -> None:
    prober._turns = Turns(at_once=0, aside=0, patience_s=0.01)
    sample = await prober.probe(http(9))
    assert (sample.refused, sample.problem) == (True, "not probed: no turn within 0.01 s")


async def test_endpoints_that_hang_hold_up_nobody_else() -> None:
    prober = HttpProber(clock=SystemClock(), at_once=4)
    try:
        async with serving(silent) as hanging, serving(answering(b"{}")) as port:
            hung = [asyncio.create_task(prober.probe(http(hanging, timeout_ms=60_000))) for _ in range(40)]
            async with asyncio.timeout(30):
                samples = await asyncio.gather(*(prober.probe(http(port)) for _ in range(40)))
            assert all(sample.ok for sample in samples)
            assert not any(task.done() for task in hung)
            for task in hung:
                task.cancel()
            await asyncio.gather(*hung, return_exceptions=True)
    finally:
        await prober.close()
