"""The service proxy's way with connections: HTTP moves between pods at request boundaries, all else is bytes."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from reconciler.adapters.embedded.kubelet.relay import Framing, Link, carry, request_head, response_head

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Pod:
    """A server on a port of its own; `seen` counts its connections."""

    def __init__(self, handler: Handler) -> None:
        self.ready = True
        self.seen = 0
        self.port = 0
        self._handler = handler

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen += 1
        try:
            await self._handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def http(text: bytes, *, requests: int = 1000) -> Handler:
    """Answers `text` to `requests` requests of one connection, then closes it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(requests):
            head = await reader.readuntil(b"\r\n\r\n")
            framed = request_head(head)
            assert framed is not None
            body = await reader.readexactly(framed.length)
            answer = text + body
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    return handle


@asynccontextmanager
async def proxied(*pods: Pod) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client's connection that is carried to the first ready pod."""
    servers = []
    for pod in pods:
        server = await asyncio.start_server(pod.serve, "127.0.0.1", 0)
        pod.port = server.sockets[0].getsockname()[1]
        servers.append(server)

    async def connect() -> Link | None:
        for pod in pods:
            if pod.ready:
                reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)
                return Link(target=pod, reader=reader, writer=writer)
        return None

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await carry(reader, writer, connect)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    front = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        for server in [front, *servers]:
            server.close()
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: bytes = b"GET", body: bytes = b""
) -> bytes:
    """One request and the body of its answer."""
    writer.write(b"%s / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (method, len(body), body))
    head = response_head(await reader.readuntil(b"\r\n\r\n"), method)
    return await reader.readexactly(head.length)


async def test_a_kept_connection_moves_when_its_pod_is_ended() -> None:
    old, new = Pod(http(b"old")), Pod(http(b"new"))
    async with proxied(old, new) as (reader, writer):
        assert await ask(reader, writer) == b"old"
        assert await ask(reader, writer) == b"old"
        old.ready = False
        assert await ask(reader, writer, b"POST", b"!") == b"new!"
    assert (old.seen, new.seen) == (1, 1)


async def test_a_request_that_a_pod_dropped_unanswered_is_repeated_when_that_is_safe() -> None:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        dropping.ready = False

    dropping, other = Pod(drop), Pod(http(b"other"))
    async with proxied(dropping, other) as (reader, writer):
        assert await ask(reader, writer, b"PUT", b"x") == b"otherx"


async def test_a_request_that_may_not_be_repeated_is_not() -> None:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    dropping = Pod(drop)
    async with proxied(dropping) as (reader, writer):
        with pytest.raises(asyncio.IncompleteReadError):
            await ask(reader, writer, b"POST", b"x")
    assert dropping.seen == 1


async def test_a_connection_that_the_pod_closed_meanwhile_is_replaced_before_the_next_request() -> None:
    pod = Pod(http(b"ok", requests=1))
    async with proxied(pod) as (reader, writer):
        assert await ask(reader, writer, b"POST", b"1") == b"ok1"
        await asyncio.sleep(0.05)
        assert await ask(reader, writer, b"POST", b"2") == b"ok2"
    assert pod.seen == 2


async def test_chunked_bodies_and_bodies_to_the_end_are_passed_on_as_they_are() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n"
    to_end = b"HTTP/1.0 200 OK\r\n\r\nall the rest"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (chunked, to_end):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    async with proxied(Pod(handle)) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.readexactly(len(chunked)) == chunked
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == to_end


@pytest.mark.parametrize(
    "start",
    [b"Content-Length: 100000\r\n\r\nhalf of it", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
    ids=["of a length", "in chunks"],
)
async def test_a_pod_hears_that_its_client_went_in_the_middle_of_a_request(start: bytes) -> None:
    ended = asyncio.Event()

    async def reads(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        ended.set()

    async with proxied(Pod(reads)) as (_reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + start)
        await writer.drain()
        writer.close()
        async with asyncio.timeout(30):
            await ended.wait()


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"], ids=["unbegun", "begun"])
@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall!\r\n0\r\n\r\n"],
    ids=["without a body", "with a body"],
)
async def test_a_pod_hears_that_its_client_went_before_it_had_answered(request_: bytes, begun: bytes) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def thinks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begun)
        asked.set()
        while await reader.read(1000):
            pass
        ended.set()

    pod, other = Pod(thinks), Pod(http(b"other"))
    async with proxied(pod, other) as (_reader, writer):
        writer.write(request_)
        await asked.wait()
        pod.ready = False  # it would be repeated there, were there anybody to be answered
        writer.close()
        async with asyncio.timeout(10):
            await ended.wait()
        await asyncio.sleep(0.05)
    assert (pod.seen, other.seen) == (1, 0)


async def test_what_is_left_of_a_request_that_its_pod_did_not_take_is_no_new_one() -> None:
    class Deaf:
        """The way to a pod that reads no more, but has an answer yet."""

        def write(self, _data: bytes) -> None: ...

        async def drain(self) -> None:
            raise ConnectionResetError

        def close(self) -> None: ...

        def is_closing(self) -> bool:
            return False

    made: list[asyncio.StreamReader] = []

    async def connect() -> Link:
        made.append(asyncio.StreamReader())
        return Link(target=Pod(http(b"")), reader=made[-1], writer=cast("asyncio.StreamWriter", Deaf()))

    client, answers = asyncio.StreamReader(), io.BytesIO()

    class Answers(Deaf):
        def write(self, data: bytes) -> None:
            answers.write(data)

        async def drain(self) -> None: ...

    client.feed_data(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
    carrying = asyncio.create_task(carry(client, cast("asyncio.StreamWriter", Answers()), connect))
    await asyncio.sleep(0)
    client.feed_data(b"half of it")
    await asyncio.sleep(0.01)
    client.feed_data(b"GET /other HTTP/1.1\r\n\r\n")
    made[0].feed_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
    async with asyncio.timeout(10):
        await carrying
    assert len(made) == 1
    assert answers.getvalue().endswith(b"no")


async def test_an_answer_before_the_end_of_a_request_is_passed_on() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")

    async with proxied(Pod(refuses)) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf of it")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413")
        assert await reader.readexactly(2) == b"no"


async def test_what_is_no_http_is_carried_as_bytes() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data.swapcase())

    for start in (b"\x16\x03\x01", b"PING\n", b"GET nothing\r\n", b"AMQP\0\0\x09\x01", b"A" * 33):
        async with proxied(Pod(echo)) as (reader, writer):
            writer.write(start)
            async with asyncio.timeout(10):
                assert await reader.readexactly(len(start)) == start.swapcase()


async def test_a_server_that_speaks_first_is_heard() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        writer.write(await reader.readexactly(4))

    async with proxied(Pod(greet)) as (reader, writer):
        assert await reader.readexactly(11) == b"220 hello\r\n"
        writer.write(b"QUIT")
        assert await reader.read() == b"QUIT"


async def test_an_upgraded_connection_becomes_bytes() -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        writer.write(await reader.readexactly(3))

    async with proxied(Pod(upgrade)) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"abc")
        assert await reader.read() == b"abc"


@pytest.mark.parametrize(
    ("raw", "framing"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Framing.NONE),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Framing.LENGTH),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Framing.CHUNKED),
    ],
)
def test_requests_are_framed_by_their_head(raw: bytes, framing: Framing) -> None:
    head = request_head(raw)
    assert head is not None
    assert head.framing is framing


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: -1",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
    ],
)
def test_requests_that_could_be_framed_in_two_ways_are_not_framed(headers: bytes) -> None:
    assert request_head(b"POST / HTTP/1.1\r\n" + headers + b"\r\n\r\n") is None
