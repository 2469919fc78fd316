"""gRPC health probes, against a real gRPC server and against servers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.probes import HttpProber
from reconciler.adapters.probes.grpc import NoGrpc, NotServing, asked, judge
from reconciler.model.health import GrpcProbe
from tests.adapters.probes.test_prober import Handle, answering, full, resolving, serving, silent

STATES = {
    "": health_pb2.HealthCheckResponse.SERVING,
    "agents.Triage": health_pb2.HealthCheckResponse.SERVING,
    "agents.Down": health_pb2.HealthCheckResponse.NOT_SERVING,
    "a" * 300: health_pb2.HealthCheckResponse.SERVING,
}


@pytest.fixture
async def prober() -> AsyncIterator[HttpProber]:
    prober = HttpProber(clock=SystemClock())
    yield prober
    await prober.close()


@pytest.fixture
async def real() -> AsyncIterator[int]:
    """A gRPC server with the standard health service, as agents have it."""
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    for service, state in STATES.items():
        await servicer.set(service, state)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


def probe(port: int, service: str = "", *, timeout_ms: int = 5000) -> GrpcProbe:
    return GrpcProbe(host="127.0.0.1", port=port, service=service, timeout_ms=timeout_ms)


@pytest.mark.parametrize("service", ["", "agents.Triage", "a" * 300])
async def test_what_serves_is_well(prober: HttpProber, real: int, service: str) -> None:
    sample = await prober.probe(probe(real, service))
    assert (sample.ok, sample.problem) == (True, "")
    assert sample.latency_ms > 0


async def test_what_does_not_serve_is_said(prober: HttpProber, real: int) -> None:
    down = await prober.probe(probe(real, "agents.Down"))
    assert down.problem == "says of service 'agents.Down': NOT_SERVING"
    unknown = await prober.probe(probe(real, "agents.Nobody"))
    assert unknown.problem == "its health service does not know service 'agents.Nobody'"


async def test_a_server_without_the_health_service_is_said(prober: HttpProber) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert (await prober.probe(probe(port))).problem == "it has no gRPC health service"
    finally:
        await server.stop(None)


async def test_many_at_once_are_answered(prober: HttpProber, real: int) -> None:
    samples = await asyncio.gather(*(prober.probe(probe(real)) for _ in range(100)))
    assert all(sample.ok for sample in samples)


@pytest.mark.parametrize("host", ["169.254.169.254", "::ffff:169.254.169.254", "2852039166"])
async def test_forbidden_addresses_are_not_called(prober: HttpProber, host: str) -> None:
    assert (await prober.probe(GrpcProbe(host=host, port=80))).refused


async def test_a_name_is_called_at_the_first_address_that_takes_a_connection(
    prober: HttpProber, real: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    assert (await prober.probe(GrpcProbe(host="both.example", port=real))).problem == ""
    with full("127.0.0.2", real):
        assert (await prober.probe(GrpcProbe(host="both.example", port=real, timeout_ms=2000))).problem == ""


async def test_a_server_that_says_nothing_costs_the_deadline(prober: HttpProber) -> None:
    async with serving(silent) as port:
        sample = await asyncio.wait_for(prober.probe(probe(port, timeout_ms=200)), 5)
    assert sample.problem == "no answer within 200 ms"


async def test_a_server_of_http_1_is_none_of_grpc(prober: HttpProber) -> None:
    async with serving(answering(b"{}")) as port:
        assert (await prober.probe(probe(port))).problem == "what it answers is no HTTP/2"


def speaking(answer: list[tuple[str, str]], data: bytes = b"", *, pieces: int = 1, ends: bool = True) -> Handle:
    """An HTTP/2 server that answers every call with these headers and so often this data."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        writer.write(http.data_to_send())
        while heard := await reader.read(65536):
            for event in http.receive_data(heard):
                if isinstance(event, h2.events.RequestReceived):
                    assert event.stream_id is not None
                    http.send_headers(event.stream_id, answer, end_stream=ends and not data)
                    for number in range(pieces if data else 0):
                        http.send_data(event.stream_id, data, end_stream=ends and number == pieces - 1)
            writer.write(http.data_to_send())
            await writer.drain()

    return handle


OK = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]


@pytest.mark.parametrize(
    ("handle", "problem"),
    [
        (speaking([(":status", "404")]), "answers 404 instead of gRPC"),
        (speaking(OK), "its answer is no whole gRPC message"),
        (speaking([(":status", "200")], b"\0\0\0\0\2\x08\x01"), "its answer has no gRPC status"),
        (speaking(OK, b"x" * 16_000, pieces=4, ends=False), "it sends more than 16 KiB"),
        (speaking([*OK, ("x-junk", "y" * 100_000)]), "it sends more than 16 KiB"),
    ],
)
async def test_odd_answers_are_said(prober: HttpProber, handle: Handle, problem: str) -> None:
    async with serving(handle) as port:
        assert (await asyncio.wait_for(prober.probe(probe(port)), 10)).problem == problem


async def test_a_server_that_hangs_up_is_said(prober: HttpProber) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with serving(rude) as port:
        problem = (await prober.probe(probe(port))).problem
    assert problem in {"it hung up before its answer was whole", "Connection reset by peer"}


async def test_pings_without_end_are_not_answered_without_end(prober: HttpProber) -> None:
    ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        while True:
            writer.write(ping * 100)
            await writer.drain()

    async with serving(flood) as port:
        sample = await asyncio.wait_for(prober.probe(probe(port)), 10)
    assert not sample.ok


FRAME = b"\0\0\0\0\2\x08\x01"


@pytest.mark.parametrize(
    ("status", "trailers", "data", "problem"),
    [
        ("200", {"grpc-status": "0"}, FRAME, ""),
        ("200", {"grpc-status": "0"}, b"\0\0\0\0\6\x12\2ab\x08\x01", ""),
        (
            "200",
            {"grpc-status": "0"},
            b"\0\0\0\0\x0f\x11" + bytes(8) + b"\x1d" + bytes(4) + b"\x08",
            "no health answer",
        ),
        ("200", {"grpc-status": "0"}, b"\0\0\0\0\0", "UNKNOWN"),
        ("200", {"grpc-status": "0"}, b"\0\0\0\0\2\x08\x63", "says of the server: 99"),
        ("200", {"grpc-status": "0"}, b"\0\0\0\0\x0c\x08" + b"\xff" * 11, "no health answer"),
        ("200", {"grpc-status": "0"}, b"\0\0\0\0\1\x0f", "no health answer"),
        ("200", {"grpc-status": "0"}, b"\1\0\0\0\2\x08\x01", "no whole gRPC message"),
        ("200", {"grpc-status": "0"}, FRAME + b"more", "no whole gRPC message"),
        ("200", {"grpc-status": "14", "grpc-message": "not%20yet"}, b"", "answers gRPC status 14: not yet"),
        ("200", {"grpc-status": "14"}, b"", "answers gRPC status 14"),
        ("200", {"grpc-status": "x"}, FRAME, "no gRPC status"),
        ("", {}, b"", "answers nothing instead of gRPC"),
    ],
)
def test_an_answer_is_judged_by_all_its_parts(status: str, trailers: dict[str, str], data: bytes, problem: str) -> None:
    if not problem:
        judge(status, trailers, data, "")
        return
    with pytest.raises((NotServing, NoGrpc), match=problem):
        judge(status, trailers, data, "")


@pytest.mark.parametrize("service", ["", "a", "agents.Triage", "é" * 100, "x" * 20_000])
def test_a_request_is_what_protobuf_writes(service: str) -> None:
    assert asked(service) == health_pb2.HealthCheckRequest(service=service).SerializeToString()
