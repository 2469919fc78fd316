"""One client connection of a Service, carried to pods.

HTTP/1.x is carried request by request: between two of them the connection may move to another pod, so that a client
that keeps its connection loses nothing when its pod is ended. Bytes are passed on as they are; of HTTP only the framing
is read (RFC 9112, sections 6 and 7). A client that ends its side before it is answered has gone, and its pod is let go
of. Anything else (TLS, HTTP/2, an upgrade, heads over 64 KiB) is carried as bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

MAX_HEAD_BYTES = 64 * 1024
MAX_REPLAY_BYTES = 64 * 1024
CHUNK = 64 * 1024
LOOK_SECONDS = 0.25
"""How often a connection that waits looks whether its pod still serves, or its client is still there."""
_ATTEMPTS = 4
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} ?")
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) [^\r\n ]+ HTTP/1\.[01]\r\n")
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})


class Target(Protocol):
    """A pod as this module knows it."""

    @property
    def ready(self) -> bool: ...


@dataclass(slots=True, kw_only=True)
class Link:
    """A connection to a pod."""

    target: Target
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return self.target.ready and not self.reader.at_eof() and not self.writer.is_closing()


Connect = Callable[[], Awaitable[Link | None]]


class Framing(Enum):
    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    TO_END = "to end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The framing of one message. `status` is 0 for requests; `last`: the connection ends after it."""

    method: bytes
    status: int
    framing: Framing
    length: int = 0
    last: bool
    upgrade: bool = False


class _BrokenError(Exception):
    """The pod's side ended before it answered anything."""


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connect: Connect) -> None:
    """Serve one client until one side ends. Raises OSError, ValueError, IncompleteReadError, LimitOverrunError."""
    carrier = _Carrier(reader, writer, connect)
    try:
        while await carrier.one():
            pass
    finally:
        carrier.drop()


class _Carrier:
    """A client's connection, and the pod that it is joined to at the moment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connect: Connect) -> None:
        self._reader = reader
        self._writer = writer
        self._connect = connect
        self._link: Link | None = None

    def drop(self) -> None:
        """Let go of the pod."""
        if self._link is not None:
            self._link.writer.close()
            self._link = None

    async def one(self) -> bool:
        """One request and its answer; False when the connection is at its end."""
        first = await self._first_byte()
        if not first:
            return False
        raw, whole = await _read_head(first, self._reader)
        head = request_head(raw) if whole else None
        if self._link is not None and not self._link.usable():
            self.drop()
        self._link = self._link or await self._connect()
        if self._link is None:
            return False
        if head is None or head.upgrade:
            await self._tunnel(raw, self._link)
            return False
        return await self._exchange(raw, head)

    async def _first_byte(self) -> bytes:
        """The first byte of the next request. Lets go of a pod that ends meanwhile; joins one that speaks first."""
        reading = asyncio.ensure_future(self._reader.read(1))
        try:
            while not (await asyncio.wait({reading}, timeout=LOOK_SECONDS))[0]:
                if self._link is None:
                    self._link = await self._connect()
                    if self._link is None or await self._spoke(reading, self._link):
                        return b""
                elif not self._link.target.ready and not self._link.writer.is_closing():
                    self._link.writer.close()
            return reading.result()
        finally:
            reading.cancel()

    async def _spoke(self, reading: asyncio.Future[bytes], link: Link) -> bool:
        """Whether the pod spoke before its client did (SMTP and the like do): then all of it has been carried."""
        speaking = asyncio.ensure_future(link.reader.read(CHUNK))
        try:
            await asyncio.wait({reading, speaking}, return_when=asyncio.FIRST_COMPLETED)
            if not speaking.done():
                return False
            if not speaking.result():
                self.drop()  # it ended before anybody said anything: another one will be found
                return False
            self._writer.write(speaking.result())
            start = reading.result() if reading.done() else b""
        finally:
            speaking.cancel()
        reading.cancel()
        await self._tunnel(start, link)
        return True

    async def _exchange(self, raw: bytes, head: Head) -> bool:
        """One request and its answer, on another pod when the first ends before it answers. Whether there may be more.

        Only what may be repeated is: an idempotent method, a body small enough to be kept.
        """
        body = await _small_body(head, self._reader)
        again = body is not None and head.method in _IDEMPOTENT
        for attempt in range(_ATTEMPTS):
            self._link = link = self._link or await self._connect()
            if link is None:
                return False
            sending: asyncio.Task[None] | None = None
            try:
                with self._heeding_client(link):
                    link.writer.write(raw + (body or b""))
                    if body is None:
                        sending = asyncio.create_task(_copy_body(head, self._reader, link.writer))
                        sending.add_done_callback(_heard)
                        answer = await self._answer_to(sending, head, link)
                    else:
                        answer = await self._answer(head, link)
            except _BrokenError:
                self.drop()
                if not again or attempt == _ATTEMPTS - 1 or self._left():
                    return False
            else:  # when it answered before it took all of the request, what follows is no new one
                if answer.upgrade:
                    await self._tunnel(b"", link)
                return not (answer.last or answer.upgrade or head.last) and (sending is None or _succeeded(sending))
            finally:
                if sending is not None:
                    sending.cancel()
        return False

    def _left(self) -> bool:
        """Whether the client has ended its side, with nothing of it still to be read."""
        return self._reader.at_eof() or self._reader.exception() is not None

    @contextlib.contextmanager
    def _heeding_client(self, link: Link) -> Iterator[None]:
        """Lets go of the pod when the client leaves meanwhile: it would go on with what nobody waits for."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            if self._left():
                link.writer.close()
            else:
                timer = loop.call_later(LOOK_SECONDS, look)

        timer = loop.call_later(LOOK_SECONDS, look)
        try:
            yield
        finally:
            timer.cancel()

    async def _answer_to(self, sending: asyncio.Task[None], head: Head, link: Link) -> Head:
        """As `_answer`, while the request is still being sent; a pod waits for ever for the rest that its client owes.

        Raises what ended the sending, where that was the client's doing. One that the pod ended may be answered yet.
        """
        answering = asyncio.ensure_future(self._answer(head, link))
        try:
            await asyncio.wait({answering, sending}, return_when=asyncio.FIRST_COMPLETED)
            broken = sending.exception() if sending.done() else None
            if broken is not None and not answering.done() and (self._left() or not isinstance(broken, OSError)):
                raise broken
            return await answering
        finally:
            answering.cancel()

    async def _answer(self, head: Head, link: Link) -> Head:
        """Pass the answer on, interim ones too; of an upgrade its head only.

        Raises _BrokenError before its first byte, OSError after.
        """
        begun = False
        while True:
            try:
                raw = await link.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                if begun or (isinstance(error, asyncio.IncompleteReadError) and error.partial):
                    raise ConnectionAbortedError("the pod ended in the middle of an answer") from error
                raise _BrokenError from error
            answer = response_head(raw, head.method)
            self._writer.write(raw)
            begun = True
            if answer.upgrade:
                return answer
            if answer.status // 100 != 1:
                await _copy_body(answer, link.reader, self._writer)
                return answer

    async def _tunnel(self, start: bytes, link: Link) -> None:
        """Bytes both ways until both sides have ended."""
        link.writer.write(start)
        both = [
            asyncio.create_task(_pump(self._reader, link.writer)),
            asyncio.create_task(_pump(link.reader, self._writer)),
        ]
        try:
            await asyncio.gather(*both)
        finally:
            for task in both:
                task.cancel()


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _heard(task: asyncio.Task[None]) -> None:
    """Take what a task raised that nobody waits for: its connection ends with it."""
    if not task.cancelled():
        task.exception()


async def _read_head(first: bytes, reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """All lines up to the blank one, and True; what is there so far and False, once it cannot be HTTP/1.x."""
    data, method = await _read_method(first, reader)
    if not method:
        return data, False
    while len(data) < MAX_HEAD_BYTES:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return data + error.partial, False
        except asyncio.LimitOverrunError as error:
            return data + await reader.readexactly(error.consumed), False
        began = b"\n" not in data
        data += line
        if (began and not _REQUEST.fullmatch(data)) or not line.endswith(b"\r\n"):
            return data, False
        if line == b"\r\n":
            return data, True
    return data, False


async def _read_method(first: bytes, reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """A method with the space after it, and True. Byte by byte: what is none may be all that its client says for now,
    as the protocol header of AMQP is, and has no end of line.
    """
    data = first
    if not first.isalpha():
        return data, False
    while not data.endswith(b" "):
        byte = await reader.read(1)
        data += byte
        if not byte or not _METHOD.fullmatch(data):
            return data, False
    return data, True


async def _small_body(head: Head, reader: asyncio.StreamReader) -> bytes | None:
    """The whole body of a request, when it is small enough to be sent twice; None when it is not."""
    if head.framing is Framing.NONE:
        return b""
    if head.framing is Framing.LENGTH and head.length <= MAX_REPLAY_BYTES:
        return await reader.readexactly(head.length)
    return None


async def _copy_body(head: Head, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    match head.framing:
        case Framing.NONE:
            pass
        case Framing.LENGTH:
            await _copy(source, target, head.length)
        case Framing.CHUNKED:
            await _copy_chunks(source, target)
        case Framing.TO_END:
            while data := await source.read(CHUNK):
                target.write(data)
                await target.drain()
    await target.drain()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, left: int) -> None:
    while left:
        data = await source.read(min(left, CHUNK))
        if not data:
            raise ConnectionAbortedError("a message ended too early")
        target.write(data)
        await target.drain()
        left -= len(data)


async def _copy_chunks(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while True:
        line = await source.readuntil(b"\r\n")
        size = int(line.split(b";", 1)[0].strip(), 16)
        target.write(line)
        if size == 0:
            break
        await _copy(source, target, size + 2)
    while True:  # trailers
        line = await source.readuntil(b"\r\n")
        target.write(line)
        if line == b"\r\n":
            return


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def request_head(raw: bytes) -> Head | None:
    """The framing of a request; None when it is not one that can safely be framed."""
    lines = raw.split(b"\r\n")
    words = lines[0].split(b" ")
    headers = _headers(lines[1:])
    coding, length = headers.get(b"transfer-encoding", b""), headers.get(b"content-length")
    if coding and (coding.lower() != b"chunked" or length is not None):
        return None
    if length is not None and not length.isdigit():
        return None
    framing = Framing.CHUNKED if coding else (Framing.LENGTH if length and int(length) else Framing.NONE)
    return Head(
        method=words[0],
        status=0,
        framing=framing,
        length=int(length or 0),
        last=_ends(headers, words[-1]),
        upgrade=b"upgrade" in headers or words[0] == b"CONNECT" or b"expect" in headers,
    )


def response_head(raw: bytes, method: bytes) -> Head:
    """The framing of an answer to `method`. Source: RFC 9112, section 6.3. Raises ConnectionAbortedError."""
    lines = raw.split(b"\r\n")
    words = lines[0].split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ConnectionAbortedError("the pod's answer is no HTTP/1")
    status, headers = int(words[1]), _headers(lines[1:])
    length, framing = headers.get(b"content-length", b""), Framing.TO_END
    if method == b"HEAD" or status in {204, 304} or status // 100 == 1:
        framing = Framing.NONE
    elif headers.get(b"transfer-encoding", b"").lower().endswith(b"chunked"):
        framing = Framing.CHUNKED
    elif length.isdigit():
        framing = Framing.LENGTH if int(length) else Framing.NONE
    return Head(
        method=method,
        status=status,
        framing=framing,
        length=int(length) if framing is Framing.LENGTH else 0,
        last=framing is Framing.TO_END or _ends(headers, words[0]),
        upgrade=status == 101,  # Switching Protocols
    )


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """Names in lower case; of a repeated one the values joined, so that two lengths are no length."""
    found: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            key = name.lower()
            found[key] = found[key] + b", " + value.strip() if key in found else value.strip()
    return found


def _ends(headers: dict[bytes, bytes], version: bytes) -> bool:
    """Whether a message is the last of its connection."""
    options = {part.strip().lower() for part in headers.get(b"connection", b"").split(b",")}
    return b"close" in options or (version.strip() == b"HTTP/1.0" and b"keep-alive" not in options)
