"""One call of grpc.health.v1.Health/Check over HTTP/2 without TLS, as kubelets' gRPC probes make it.

h2 speaks the protocol; the two messages have one field each, and are written and read here. One connection, one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions

CHECK = "/grpc.health.v1.Health/Check"
MAX_HEARD = 16 * 1024
"""All that a server may send: a health answer has some hundred bytes."""
SERVING = 1
_SAYS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_NOT_FOUND, _UNIMPLEMENTED = 5, 12


class NotServing(Exception):
    """It answered, and not that it serves."""


class NoGrpc(OSError):
    """What came is no answer of gRPC, or the connection ended before there was one."""


@dataclass(slots=True)
class _Heard:
    """What has come of an answer."""

    status: str = ""
    trailers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""


class Call(asyncio.Protocol):
    """Asks how `service` is ("" is the whole server). `authority` is what stands in an address, with its port."""

    def __init__(self, service: str, authority: str) -> None:
        self._service = service
        self._authority = authority
        self._transport: asyncio.Transport | None = None
        self._heard = _Heard()
        self._size = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._http = h2.connection.H2Connection(config)

    async def served(self) -> None:
        """Wait for the answer. Raises NotServing, OSError. The connection is over then."""
        try:
            await self._ended
        finally:
            if self._transport is not None:
                self._transport.abort()
        judge(self._heard.status, self._heard.trailers, self._heard.data, self._service)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream has no other
        self._transport = transport
        self._http.initiate_connection()
        stream = self._http.get_next_available_stream_id()
        head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", CHECK),
            (":authority", self._authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "reconciler-probe"),
        ]
        self._http.send_headers(stream, head)
        message = asked(self._service)
        self._http.send_data(stream, bytes(1) + len(message).to_bytes(4, "big") + message, end_stream=True)
        transport.write(self._http.data_to_send())

    def data_received(self, data: bytes) -> None:
        if not self._size and data.startswith(b"HTTP/"):  # to h2 this is a very long frame, which it would wait for
            self._end(NoGrpc("what it answers is no HTTP/2"))
            return
        self._size += len(data)
        if self._size > MAX_HEARD:
            self._end(NoGrpc(f"it sends more than {MAX_HEARD // 1024} KiB"))
            return
        try:
            for event in self._http.receive_data(data):
                self._take(event)
        except (h2.exceptions.ProtocolError, UnicodeDecodeError):
            self._end(NoGrpc("what it answers is no HTTP/2"))
            return
        if self._transport is not None:
            self._transport.write(self._http.data_to_send())

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._end(error or NoGrpc("it hung up before its answer was whole"))

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(headers=headers):
                found = _text(headers)
                self._heard.status, self._heard.trailers = found.get(":status", ""), found
            case h2.events.TrailersReceived(headers=headers):
                self._heard.trailers = {**self._heard.trailers, **_text(headers)}
            case h2.events.DataReceived(data=data):
                self._heard.data += data or b""
            case h2.events.StreamEnded():
                self._end(None)
            case h2.events.StreamReset(error_code=code):
                self._end(NoGrpc(f"it broke off the call (HTTP/2 error {int(code or 0)})"))
            case h2.events.ConnectionTerminated(error_code=code):
                self._end(NoGrpc(f"it broke off the connection (HTTP/2 error {int(code or 0)})"))
            case _:
                pass

    def _end(self, error: Exception | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)


def _text(headers: object) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers if isinstance(headers, list) else ():
        found[str(name)] = str(value)
    return found


def asked(service: str) -> bytes:
    """HealthCheckRequest: field 1 is the service's name; nothing at all is the empty name."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def judge(status: str, trailers: Mapping[str, str], data: bytes, service: str) -> None:
    """Raises NotServing, and NoGrpc for what is no answer."""
    if status != "200":
        raise NotServing(f"answers {status or 'nothing'} instead of gRPC")
    code = trailers.get("grpc-status", "")
    which = f"service {service!r}" if service else "the server"
    if not code.isascii() or not code.isdigit():
        raise NoGrpc("its answer has no gRPC status")
    if int(code) == _UNIMPLEMENTED:
        raise NotServing("it has no gRPC health service")
    if int(code) == _NOT_FOUND:
        raise NotServing(f"its health service does not know {which}")
    if int(code) != 0:
        said = unquote(trailers.get("grpc-message", ""))
        raise NotServing(f"answers gRPC status {int(code)}" + (f": {said}" if said else ""))
    says = _said(data)
    if says != SERVING:
        raise NotServing(f"says of {which}: {_SAYS.get(says, says)}")


def _said(data: bytes) -> int:
    """The one field of a HealthCheckResponse in its frame. Raises NoGrpc."""
    if len(data) < 5 or data[0] != 0 or len(data) != 5 + int.from_bytes(data[1:5], "big"):
        raise NoGrpc("its answer is no whole gRPC message")
    found, at = 0, 5
    try:
        while at < len(data):
            tag, at = _read_varint(data, at)
            number, kind = tag >> 3, tag & 7
            match kind:
                case 0:
                    value, at = _read_varint(data, at)
                    found = value if number == 1 else found
                case 1 | 5:
                    at += 8 if kind == 1 else 4
                case 2:
                    length, at = _read_varint(data, at)
                    at += length
                case _:
                    raise NoGrpc("its answer is no health answer")
    except IndexError:
        raise NoGrpc("its answer is no health answer") from None
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends. Raises IndexError for one that does not end, or not within ten bytes."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IndexError
