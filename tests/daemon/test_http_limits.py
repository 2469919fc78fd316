"""A daemon's HTTP interface under attack: what is too large, too slow, too much or misshapen is refused in time, costs
little, and shuts nobody else out.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reconciler.daemon.http.limits import Limits, Rates
from tests.daemon.serving import MANY, READER, SECRET, WRITER, Daemon, open_daemon, serving
from tests.daemon.waiting import until

QUICK = replace(MANY, head_s=0.2, body_s=0.2, keep_alive_s=0.2, lingering_s=0.1, send_s=0.5, work_s=5.0)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = await open_daemon(tmp_path)
    yield made
    await made.registry.close()


@dataclass(slots=True)
class Line:
    """A connection, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> bytes:
        """All that comes until the other side hangs up."""
        try:
            return await asyncio.wait_for(self.reader.read(), 20)
        except ConnectionError:
            return b""

    async def send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            pass


@asynccontextmanager
async def line(daemon: Daemon) -> AsyncIterator[Line]:
    host, _, port = daemon.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def head(method: str = "POST", path: str = "/webhook", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


async def test_a_body_that_says_that_it_is_too_large_is_not_waited_for(daemon: Daemon) -> None:
    async with serving(daemon, limits=QUICK), line(daemon) as raw:
        await raw.send(head(Content_Length=str(MANY.webhook_bytes + 1), X_Gitlab_Token=SECRET))
        assert status(await raw.answer()) == 413
    assert daemon.fetched == 0


async def test_a_body_that_does_not_say_how_large_it_is_is_cut_off(daemon: Daemon) -> None:
    async with serving(daemon, limits=QUICK), line(daemon) as raw:
        await raw.send(head(Transfer_Encoding="chunked", X_Gitlab_Token=SECRET))
        for _ in range(40):
            await raw.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        answer = await raw.answer()
    assert status(answer) in {413, 0}
    assert daemon.fetched == 0


async def test_a_body_of_exactly_the_most_is_taken(daemon: Daemon) -> None:
    body = b"x" * MANY.webhook_bytes
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    async with serving(daemon, limits=MANY):
        sent = {"X-Hub-Signature-256": f"sha256={signature}"}
        assert (await daemon.ask("/webhook", "POST", headers=sent, data=body))[0] == 202
        assert (await daemon.ask("/webhook", "POST", headers=sent, data=body + b"x"))[0] == 413


@pytest.mark.parametrize("drip", [b"", b"x"])
async def test_a_slow_body_is_cut_by_a_deadline_for_all_of_it(daemon: Daemon, drip: bytes) -> None:
    async with serving(daemon, limits=QUICK), line(daemon) as raw:
        await raw.send(head(Content_Length="100000", X_Gitlab_Token=SECRET))
        answering = asyncio.create_task(raw.answer())
        while not answering.done():
            await raw.send(drip)
            await asyncio.wait({answering}, timeout=0.05)
        assert status(await answering) in {408, 0}  # who sends on may lose the answer, and is hung up on all the same
    assert b'http_requests_total{route="webhook",status="408"} 1.0' in daemon.measures.text()


@pytest.mark.parametrize("drip", [b"", b"X"])
async def test_a_slow_head_is_cut_by_a_deadline(daemon: Daemon, drip: bytes) -> None:
    async with serving(daemon, limits=QUICK), line(daemon) as raw:
        await raw.send(b"GET /healthz HTTP/1.1\r\nHost: ")
        answering = asyncio.create_task(raw.answer())
        while not answering.done():
            await raw.send(drip)
            await asyncio.wait({answering}, timeout=0.05)
        assert await answering == b""


async def test_who_says_nothing_after_an_answer_is_hung_up_on(daemon: Daemon) -> None:
    async with serving(daemon, limits=QUICK), line(daemon) as raw:
        await raw.send(head("GET", "/healthz"))
        assert status(await raw.answer()) == 200


async def test_bodies_that_unpack_to_more_are_not_unpacked(daemon: Daemon) -> None:
    async with serving(daemon):
        sent = {"Content-Encoding": "gzip", "X-Gitlab-Token": SECRET}
        assert (await daemon.ask("/webhook", "POST", headers=sent, data=b"\x1f\x8b" + b"\0" * 100))[0] == 415


@pytest.mark.parametrize(
    "fields",
    [
        {f"X-{i}": "y" for i in range(500)},
        {f"X-{i}": "y" * 4000 for i in range(60)},
        {"X-Long": "y" * 5000},
        {"Cookie": "a=b; " * 2000},
    ],
)
async def test_head_bombs_are_refused(daemon: Daemon, fields: dict[str, str]) -> None:
    async with serving(daemon, limits=QUICK), line(daemon) as raw:
        await raw.send(head("GET", "/healthz", **fields))
        assert status(await raw.answer()) in {400, 0}
        assert (await daemon.ask("/healthz"))[0] == 200


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 400,
        b"GET\r\n\r\n",
        b"G" * 20_000,
        b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: local\0host\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_nothing_of_it_is_told(
    daemon: Daemon, bytes_: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(daemon, limits=QUICK):
        async with line(daemon) as raw:
            await raw.send(bytes_)
            answer = await raw.answer()
        assert status(answer) not in {200, 202, 500}
        assert (await daemon.ask("/healthz"))[0] == 200
    assert "Traceback" not in capfd.readouterr().err


PATHS = [
    "/api/v1/agents/support/..%2f..%2ffleet", "/api/v1/agents/support%2ftriage", "/api/v1/agents/support%2Ftriage/x",
    "/api/v1/agents/%2e%2e/%2e%2e/", "/api/v1/agents/../fleet/x", "/api/v1/agents/support/triage%00",
    "/api/v1/agents/support/tri%C3%A4ge", "/api/v1/agents/support/%E2%80%AEtriage", "/api/v1/agents/SUPPORT/triage",
    "/api/v1/agents/support/triage%0d%0aX-Evil:1", "/api/v1/agents//triage", "/api/v1/agents/support/",
    "/api/v1/agents/support/triage/", "/api/v1/agents/support/triage;a=b", "/api/v1/agents/support/%ff%fe",
    "/api/v1/agents/support/" + "a" * 300, "/api/v1/agents/" + "a" * 64 + "/b", "/api/v1//fleet", "//api/v1/fleet",
    "/healthz/", "/healthz%00", "/%68ealthz/..", "/..%5c..%5cwindows", "/api/v1/agents/support/-triage",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_tricks_with_paths_lead_nowhere(daemon: Daemon, path: str) -> None:
    async with serving(daemon, limits=QUICK), line(daemon) as raw:
        await raw.send(head("GET", path, Authorization=f"Bearer {READER}", Connection="close"))
        answer = await raw.answer()
    assert status(answer) in {400, 404}
    assert b"X-Evil" not in answer.split(b"\r\n\r\n")[0]


async def test_who_only_holds_connections_shuts_nobody_out(daemon: Daemon) -> None:
    few = replace(MANY, connections=8, connections_each=8, head_s=60.0, keep_alive_s=60.0)
    async with serving(daemon, limits=few):
        host, _, port = daemon.address.rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(40)]
        try:
            assert (await daemon.ask("/healthz"))[0] == 200
            await until(lambda: sum(reader.at_eof() or bool(reader.exception()) for reader, _ in held) >= 32)
        finally:
            for _, writer in held:
                writer.close()


async def test_who_does_not_read_the_answer_holds_nothing_for_long(daemon: Daemon) -> None:
    daemon.why = "x" * 30_000_000
    async with serving(daemon, limits=QUICK), line(daemon) as raw:
        await raw.send(head("GET", "/readyz"))
        await until(lambda: b"http_requests_total" in daemon.measures.text() and raw.writer.transport is not None)
        got = await _all_that_came(raw)
    assert got < 30_000_000


async def _all_that_came(raw: Line) -> int:
    """How much arrives after the sender has waited longer than it waits."""
    await asyncio.wait({asyncio.create_task(_closed(raw))}, timeout=2.0)
    total = 0
    while True:
        try:
            chunk = await asyncio.wait_for(raw.reader.read(1 << 20), 20)
        except ConnectionError:
            return total
        if not chunk:
            return total
        total += len(chunk)


async def _closed(raw: Line) -> None:
    await raw.writer.wait_closed()


async def test_one_client_that_asks_too_often_waits_and_probes_do_not(daemon: Daemon) -> None:
    async with serving(daemon, limits=Limits(rate=0.001, burst=3)):
        found = [await daemon.whole("/api/v1/fleet") for _ in range(5)]
        assert [item[0] for item in found] == [200, 200, 200, 429, 429]
        assert int(found[-1][2]["Retry-After"]) > 0
        assert {(await daemon.ask("/healthz"))[0] for _ in range(20)} == {200}


async def test_more_than_can_be_worked_on_at_once_is_told_to_come_back(daemon: Daemon) -> None:
    async with serving(daemon, limits=replace(MANY, at_once=1)), line(daemon) as raw:
        await raw.send(head(Content_Length="10", X_Gitlab_Token=SECRET))
        while (answer := await daemon.whole("/webhook", "POST"))[0] != 503:
            pass  # until the one before is worked on
        assert answer[2]["Retry-After"] == "5"
        assert (await daemon.ask("/healthz"))[0] == 200


async def test_bodies_that_come_slowly_from_anybody_leave_callers_their_places(daemon: Daemon) -> None:
    """Nobody has to be known to begin a delivery, and each may take its body's time."""
    limits = replace(MANY, at_once=4, at_once_each=2, body_s=600.0)
    async with serving(daemon, limits=limits):
        host, _, port = daemon.address.rpartition(":")
        sources = ["127.0.0.2"] * 8 + ["127.0.0.3"] * 8 + ["127.0.0.4"] * 8
        held = [await asyncio.open_connection(host, int(port), local_addr=(source, 0)) for source in sources]
        try:
            for _, writer in held:
                writer.write(head(Content_Length="10", X_Gitlab_Token=SECRET))
            await until(lambda: b'http_requests_total{route="webhook",status="503"} 20.0' in daemon.measures.text())
            assert (await daemon.ask("/api/v1/fleet"))[0] == 200
        finally:
            for _, writer in held:
                writer.close()


async def test_one_client_does_not_take_all_places_of_the_webhook(daemon: Daemon) -> None:
    limits = replace(MANY, at_once=4, at_once_each=2, body_s=600.0)
    async with serving(daemon, limits=limits):
        host, _, port = daemon.address.rpartition(":")
        held = [await asyncio.open_connection(host, int(port), local_addr=("127.0.0.2", 0)) for _ in range(8)]
        try:
            for _, writer in held:
                writer.write(head(Content_Length="10", X_Gitlab_Token=SECRET))
            await until(lambda: b'http_requests_total{route="webhook",status="503"} 6.0' in daemon.measures.text())
            assert (await daemon.ask("/webhook", "POST", headers={"X-Gitlab-Token": SECRET}, data=b"x"))[0] == 202
        finally:
            for _, writer in held:
                writer.close()


def test_clients_that_are_remembered_are_bounded() -> None:
    now = [0.0]
    rates = Rates(Limits(clients=10, burst=2, rate=1.0), lambda: now[0])
    for number in range(1000):
        assert rates.take(f"client {number}") == 0
    assert len(rates) == 10
    assert rates.take("client 999") == 0
    assert rates.take("client 999") == pytest.approx(1.0)
    now[0] += 1.0
    assert rates.take("client 999") == 0


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def hostile(number: int) -> bytes:
    """One request of a kind that wants memory: another one for each number."""
    signed = "sha256=" + hmac.new(SECRET.encode(), str(number).encode(), hashlib.sha256).hexdigest()
    body, resume = str(number).encode(), "/api/v1/agents/support/triage/resume"
    kinds = (
        head(Content_Length="50000", X_Hub_Signature_256="sha256=" + "0" * 64) + b"x" * 50_000,
        head(Content_Length=str(MANY.webhook_bytes + 1), X_Gitlab_Token=SECRET),
        head(Transfer_Encoding="chunked", X_Gitlab_Token=SECRET) + b"fff0\r\n" + b"x" * 0xFFF0 + b"\r\n",
        head("GET", "/healthz", **{f"X-{i}-{number}": "y" * 3000 for i in range(47)}),
        head("GET", f"/nothing/{number}/" + "z" * 4000),
        head("GET", "/api/v1/agents?where=" + "(" * 2000, Authorization=f"Bearer {READER}"),
        head("GET", "/api/v1/fleet", Authorization=f"Bearer guess {number}"),
        head(Content_Length=str(len(body)), X_Hub_Signature_256=signed, X_GitHub_Delivery=str(number)) + body,
        head(path=resume, Authorization=f"Bearer {WRITER}", Idempotency_Key=f"k-{number}", Content_Length="0"),
    )  # fmt: skip
    return kinds[number % len(kinds)]


async def attack(daemon: Daemon, numbers: range, at_once: int = 16) -> None:
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with gate, line(daemon) as raw:
            await raw.send(hostile(number).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            await raw.answer()

    await asyncio.gather(*(one(number) for number in numbers))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc, which is not here")
async def test_thousands_of_hostile_requests_leave_memory_as_it_was(daemon: Daemon) -> None:
    rounds = [range(at, at + 1500) for at in (0, 1500, 3000)]
    held = []
    limits = replace(QUICK, work_s=30.0, head_s=10.0, deliveries=20, keys=20)
    async with serving(daemon, limits=limits):
        for numbers in rounds:
            await attack(daemon, numbers)
            held.append(resident() / 1024 / 1024)
        assert (await daemon.ask("/healthz"))[0] == 200
    print("MiB held after each 1500 hostile requests:", [round(one, 1) for one in held])  # noqa: T201 - a figure
    assert held[-1] - held[0] < 16
