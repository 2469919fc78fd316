"""Receivers that are slow, broken, hostile or away: what it costs, what follows, and what is said of it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from reconciler.adapters.alerts.posting import MAX_BODY, MOST_S, Poster, Request
from reconciler.model.alert import Answer, Verdict
from tests.controlplane.pki import Authority
from tests.doubles.clock import START_MS, FakeClock
from tests.doubles.scripted_server import Answer as Scripted
from tests.doubles.scripted_server import ScriptedServer, endless, reset, said, silence, torn

SECRET = "T0KEN-of-the-address"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
async def poster() -> AsyncIterator[Poster]:
    poster = Poster(clock=FakeClock())
    yield poster
    await poster.close()


async def answered(server: ScriptedServer, poster: Poster, answer: Scripted) -> Answer:
    server.on(f"POST /{SECRET}", answer)
    url = f"{server.url}/{SECRET}"
    found = await poster.post(Request(url=url, body=b"{}", headers={"X-Key": f"key-{SECRET}"}))
    assert SECRET not in found.text
    assert len(found.text) <= 210
    assert found.text.isprintable()
    return found


@pytest.mark.parametrize("code", [200, 201, 202, 204])
async def test_what_is_taken_is_sent(server: ScriptedServer, poster: Poster, code: int) -> None:
    assert await answered(server, poster, said("", code=code)) == Answer(verdict=Verdict.SENT, text=str(code))


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
async def test_what_may_be_taken_later_is_kept(server: ScriptedServer, poster: Poster, code: int) -> None:
    assert (await answered(server, poster, said({}, code=code))).verdict is Verdict.LATER


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 413, 422])
async def test_what_is_refused_is_refused_and_said(server: ScriptedServer, poster: Poster, code: int) -> None:
    found = await answered(server, poster, said(f"no\n\x1b[31m service for {SECRET} password=hunter2", code=code))
    assert found.verdict is Verdict.REFUSED
    assert found.text.startswith(f"{code}: no")
    assert "hunter2" not in found.text


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("120", 120.0),
        (formatdate(START_MS / 1000 + 90, usegmt=True), 90.0),
        (formatdate(START_MS / 1000 - 90, usegmt=True), 0.0),
        ("99999999", MOST_S),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("Mon, 99999999999999999999 Jan 2020 00:00:00 GMT", None),
        ("Mon, 01 Jan 2020 00:00:00 +99999999999999", None),
    ],
)
async def test_who_asks_to_be_left_alone_is_left_alone_within_bounds(
    server: ScriptedServer, poster: Poster, header: str, wanted: float | None
) -> None:
    found = await answered(server, poster, said({}, code=429, headers={"Retry-After": header}))
    assert (found.verdict, found.again_s) == (Verdict.LATER, wanted)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_nobody_is_followed_elsewhere(server: ScriptedServer, poster: Poster, code: int) -> None:
    async with ScriptedServer() as other:
        found = await answered(server, poster, said("", code=code, headers={"Location": f"{other.url}/stolen"}))
        assert found.verdict is Verdict.REFUSED
        assert other.seen == []


async def test_one_that_hangs_costs_the_deadline(server: ScriptedServer, poster: Poster) -> None:
    poster.deadline_s = 0.2
    found = await answered(server, poster, silence)
    assert found == Answer(verdict=Verdict.LATER, text="no answer within 0.2 s")


async def test_of_an_endless_answer_little_is_read(server: ScriptedServer, poster: Poster) -> None:
    assert (await answered(server, poster, endless)).verdict is Verdict.SENT

    async def endless_refusal(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=400)
        await response.prepare(request)
        await response.write(b"x" * (MAX_BODY * 100))
        return response

    assert (await answered(server, poster, endless_refusal)).verdict is Verdict.REFUSED


async def test_what_is_taken_is_sent_whatever_becomes_of_the_rest_of_the_answer(
    server: ScriptedServer, poster: Poster
) -> None:
    """Else people would be told the same again and again, by a receiver that took it each time."""

    async def taken_and_hanging(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=202)
        await response.prepare(request)
        await response.write(b"{")
        return await silence(request)

    poster.deadline_s = 2.0
    assert await answered(server, poster, taken_and_hanging) == Answer(verdict=Verdict.SENT, text="202")
    assert (await answered(server, poster, torn({"a": "b" * 100}, after=5))).verdict is Verdict.SENT
    assert (await answered(server, poster, said({}))).verdict is Verdict.SENT


async def test_a_line_that_breaks_is_tried_again(server: ScriptedServer, poster: Poster) -> None:
    assert (await answered(server, poster, reset)).verdict is Verdict.LATER


async def test_one_that_is_not_there_is_tried_again(poster: Poster) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = await poster.post(Request(url=f"http://127.0.0.1:{port}/{SECRET}", body=b"{}"))
    assert found.verdict is Verdict.LATER
    assert "refused" in found.text
    assert SECRET not in found.text
    nowhere = await poster.post(Request(url=f"http://no-such-host.invalid/{SECRET}", body=b"{}"))
    assert nowhere.verdict is Verdict.LATER
    assert SECRET not in nowhere.text


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path, poster: Poster) -> None:
    identity = Authority.make(tmp_path).issue("server", name="server", server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    async with ScriptedServer(tls=context) as server:
        server.on(f"POST /{SECRET}", said({}))
        found = await poster.post(Request(url=f"{server.url}/{SECRET}", body=b"{}"))
        assert server.seen == []
    assert found == Answer(verdict=Verdict.LATER, text="its certificate is not trusted here")


async def test_an_address_that_is_none_is_refused_and_not_shown(poster: Poster) -> None:
    found = await poster.post(Request(url=f"http://[::1/{SECRET}", body=b"{}"))
    assert found.verdict is Verdict.REFUSED
    assert SECRET not in found.text


async def test_cookies_are_not_kept(server: ScriptedServer, poster: Poster) -> None:
    for _ in range(2):
        await answered(server, poster, said({}, headers={"Set-Cookie": "a=b"}))
    assert "Cookie" not in server.seen[-1].headers
    assert json.loads(server.seen[-1].body) == {}


def test_a_request_shows_neither_its_address_nor_its_headers() -> None:
    shown = repr(Request(url=f"https://h/{SECRET}", body=b"", headers={"Authorization": SECRET}))
    assert SECRET not in shown
