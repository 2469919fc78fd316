"""Single requests: what each answer, and each want of one, is taken for; who we are; how long we wait."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from aiohttp import web

from reconciler.adapters.kubernetes import transport as module
from reconciler.adapters.kubernetes.access import Access
from reconciler.adapters.kubernetes.answers import Busy, Elsewhere, Gone, NoAccess, NotThere
from reconciler.adapters.kubernetes.connection import Login
from reconciler.adapters.kubernetes.transport import Request, Transport, Unreached
from reconciler.model.errors import (
    ClusterUnavailable,
    FieldConflict,
    NotAllowed,
    OutcomeUnknown,
    PreconditionFailed,
    ReconcilerError,
    Rejected,
)
from reconciler.model.identity import ObjectRef
from tests.adapters.kubernetes.conftest import TOKEN, Connect, lines_of, plugin_that, until
from tests.doubles.clock import FakeClock
from tests.doubles.scripted_server import ScriptedServer, endless, raw, reset, said, silence, status, torn

PATH = "/api/v1/namespaces/team/configmaps/settings"
REF = ObjectRef(group="", kind="ConfigMap", namespace="team", name="settings")
READ = Request(method="GET", path=PATH, what="get it", ref=REF)
APPLY = Request(method="PATCH", path=PATH, what="apply it", ref=REF, body=b"{}")
DELETE = Request(method="DELETE", path=PATH, what="delete it", ref=REF, body=b"{}")
OBJECT = {
    "kind": "ConfigMap",
    "metadata": {"name": "settings", "namespace": "team", "uid": "u", "resourceVersion": "7"},
}
BOTH = pytest.mark.parametrize("request_", [APPLY, DELETE], ids=["apply", "delete"])


async def error_of(transport: Transport, request: Request) -> ReconcilerError:
    with pytest.raises(ReconcilerError) as caught:
        await transport.call(request)
    return caught.value


async def test_a_success_is_its_code_and_its_body(server: ScriptedServer, connect: Connect):
    server.on(f"PATCH {PATH}", raw(b'{"a":1}', code=201))
    reply = await connect().call(APPLY)
    assert (reply.code, reply.body) == (201, b'{"a":1}')
    assert server.seen[0].token == "first"


@pytest.mark.parametrize("code", [500, 502, 503, 504, 408])
async def test_an_error_of_the_server_leaves_a_read_unanswered(server: ScriptedServer, connect: Connect, code: int):
    server.on(f"GET {PATH}", status(code, "the database is away"))
    error = await error_of(connect(), READ)
    assert type(error) is ClusterUnavailable
    assert f"get it on double: the database is away (HTTP {code})" in error.message


@BOTH
@pytest.mark.parametrize("code", [500, 502, 503, 504, 408])
async def test_an_error_of_the_server_leaves_the_outcome_of_a_write_unknown(
    server: ScriptedServer, connect: Connect, request_: Request, code: int
):
    server.on(f"{request_.method} {PATH}", status(code, "the database is away"))
    error = await error_of(connect(), request_)
    assert type(error) is OutcomeUnknown
    assert "may or may not have been done" in error.message


async def test_a_body_that_apply_cannot_read_is_refused_though_the_server_calls_it_its_own_error(
    server: ScriptedServer, connect: Connect
):
    server.on(f"PATCH {PATH}", status(500, "failed to create typed patch object: field not declared in schema"))
    assert type(await error_of(connect(), APPLY)) is Rejected


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (status(400, "bad"), Rejected),
        (status(401), NoAccess),
        (status(404, "configmaps settings not found", name="settings", kind="configmaps"), NotThere),
        (status(409, "the object has been modified", reason="Conflict"), PreconditionFailed),
        (status(410, "too old", reason="Expired"), Gone),
        (status(413, "too large"), Rejected),
        (status(415, "what is that"), Rejected),
        (status(422, "spec.replicas: invalid", reason="Invalid"), Rejected),
        (status(422, "immutable", causes=[{"field": "metadata.uid", "message": "immutable"}]), PreconditionFailed),
        (status(403, 'configmaps "a" is forbidden: User "us" cannot patch resource "configmaps"'), NotAllowed),
        (status(403, 'admission webhook "policy" denied the request: no'), Rejected),
        (status(403, 'deployments "a" is forbidden: exceeded quota: compute'), Rejected),
        (status(403, "unable to create: the namespace is being terminated"), ClusterUnavailable),
    ],
)
async def test_an_answer_is_classified(server: ScriptedServer, connect: Connect, answer, kind: type[ReconcilerError]):
    server.on(f"PATCH {PATH}", answer)
    assert type(await error_of(connect(), APPLY)) is kind


async def test_a_field_conflict_names_each_field_and_its_manager(server: ScriptedServer, connect: Connect):
    causes = [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using v1', "field": ".data.a"},
        {"reason": "FieldManagerConflict", "message": "conflict with somebody", "field": ".data.b"},
    ]
    server.on(f"PATCH {PATH}", status(409, "Apply failed", causes=causes))
    error = await error_of(connect(), APPLY)
    assert isinstance(error, FieldConflict)
    assert error.owners == {".data.a": "kubectl", ".data.b": "conflict with somebody"}


@pytest.mark.parametrize("request_", [READ, APPLY, DELETE], ids=["read", "apply", "delete"])
@pytest.mark.parametrize("code", [302, 307, 400, 403, 404, 405, 409, 410, 422])
async def test_what_a_proxy_says_is_no_verdict_on_the_object(
    server: ScriptedServer, connect: Connect, request_: Request, code: int
):
    """Only a Status is an API server's word: a login page or a wrong path must not make anything absent or refused."""
    server.on(f"{request_.method} {PATH}", said("<html><h1>Nothing here</h1></html>", code=code))
    error = await error_of(connect(), request_)
    assert isinstance(error, Elsewhere)
    assert f"HTTP {code}" in error.message
    assert "no API server" in error.message


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b'{"message":"\xff"}', b'{"a":' * 100_000, b"[" * 100_000, b"", b"null", b'{"details":null}']
)
async def test_an_error_that_nobody_can_read_is_an_error_all_the_same(
    server: ScriptedServer, connect: Connect, body: bytes
):
    server.on(f"GET {PATH}", raw(body, code=500))
    assert type(await error_of(connect(), READ)) is ClusterUnavailable


async def test_a_message_that_repeats_a_whole_object_is_cut(server: ScriptedServer, connect: Connect):
    server.on(f"PATCH {PATH}", status(422, "x" * 100_000))
    assert len((await error_of(connect(), APPLY)).message) < 1000


@BOTH
async def test_a_server_that_is_not_there_has_done_nothing(tmp_path: Path, request_: Request):
    with socket.socket() as taken:  # bound and not listening: connections are refused, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        server = ScriptedServer()
        server.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        transport = Transport("double", Access(Login(kubeconfig=server.kubeconfig(tmp_path))), FakeClock())
        for request in (request_, READ):
            error = await error_of(transport, request)
            assert type(error) is Unreached
            assert "cannot be reached: Connection refused" in error.message.replace(
                "Connect call failed", "Connection refused"
            )
        await transport.close()


@BOTH
@pytest.mark.parametrize(
    "answer", [reset, torn(OBJECT, after=0), torn(OBJECT, after=20)], ids=["reset", "no body", "half a body"]
)
async def test_a_connection_that_ends_leaves_the_outcome_of_a_write_unknown(
    server: ScriptedServer, connect: Connect, request_: Request, answer
):
    server.on(f"{request_.method} {PATH}", answer)
    server.on(f"GET {PATH}", answer)
    transport = connect()
    assert type(await error_of(transport, request_)) is OutcomeUnknown
    assert type(await error_of(transport, READ)) is ClusterUnavailable


async def test_silence_ends_with_the_deadline(
    server: ScriptedServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "REQUEST_S", 0.2)
    for method in ("GET", "PATCH"):
        server.on(f"{method} {PATH}", silence)
    transport = connect()
    error = await error_of(transport, READ)
    assert type(error) is ClusterUnavailable
    assert "no answer within 0.2 s" in error.message
    assert type(await error_of(transport, APPLY)) is OutcomeUnknown


async def test_a_body_without_an_end_is_refused(
    server: ScriptedServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MAX_BODY", 4 * 2**20)
    server.on(f"GET {PATH}", endless)
    error = await error_of(connect(), READ)
    assert type(error) is ClusterUnavailable
    assert "larger than 4 MiB" in error.message


async def test_a_line_without_an_end_is_refused(
    server: ScriptedServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MAX_LINE", 4 * 2**20)
    server.on(f"GET {PATH}", endless)
    with pytest.raises(ClusterUnavailable, match="line larger than 4 MiB"):
        await lines_of(connect(), READ)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (status(429, "busy", headers={"Retry-After": "3"}), 3),
        (status(429, "busy", retryAfterSeconds=2), 2),
        (status(429, "busy"), 1),
        (status(429, "busy", headers={"Retry-After": "0"}), 0.05),
        (status(429, "busy", headers={"Retry-After": "-5"}), 1),
        (status(429, "busy", retryAfterSeconds=-5), 0.05),
        (status(429, "busy", headers={"Retry-After": "²"}), 1),
        (status(429, "busy", headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), 1),
        (said("Too many requests, please try again later.", code=429), 1),
        (status(429, "busy", headers={"Retry-After": "9" * 400}), 20),
    ],
)
async def test_a_server_that_asks_us_to_wait_is_waited_for(
    server: ScriptedServer, connect: Connect, answer, seconds: float
):
    server.on(f"PATCH {PATH}", answer, said(OBJECT))
    clock = FakeClock()
    assert (await connect(clock=clock).call(APPLY)).code == 200
    assert clock.slept == [pytest.approx(seconds)]


async def test_one_wait_is_enough_for_all_who_ask_at_once(server: ScriptedServer, connect: Connect):
    """A storm: what one is told holds for the others, who do not even ask before it is over."""
    server.on(f"GET {PATH}", status(429, headers={"Retry-After": "5"}), said(OBJECT))
    clock = FakeClock()
    transport = connect(clock=clock)
    first = asyncio.create_task(transport.call(READ))
    await until(lambda: clock.slept)
    others = await asyncio.gather(first, *(transport.call(READ) for _ in range(50)))
    assert len(others) == 51
    assert server.count(f"GET {PATH}") == 52
    assert clock.slept == [pytest.approx(5)]


async def test_a_storm_that_does_not_end_is_told(server: ScriptedServer, connect: Connect):
    server.on(f"PATCH {PATH}", status(429, "busy", headers={"Retry-After": "8"}))
    clock = FakeClock()
    error = await error_of(connect(clock=clock), APPLY)
    assert type(error) is Busy
    assert "asks us to wait" in error.message
    assert sum(clock.slept) == pytest.approx(24)


async def test_the_wait_of_a_storm_is_over_for_everybody(server: ScriptedServer, connect: Connect):
    """Waits that others' refusals prolong are bounded too."""
    server.on(f"GET {PATH}", status(429, headers={"Retry-After": "8"}))
    clock = FakeClock()
    transport = connect(clock=clock)
    errors = await asyncio.gather(*(transport.call(READ) for _ in range(100)), return_exceptions=True)
    assert {type(error) for error in errors} == {Busy}


async def test_a_redirect_is_not_followed(server: ScriptedServer, connect: Connect):
    """The token would go with it."""
    server.on(f"GET {PATH}", said("moved", code=302, headers={"Location": f"{server.url}/elsewhere"}))
    await error_of(connect(), READ)
    assert [one.path for one in server.seen] == [PATH]


async def test_credentials_are_read_again_once_when_the_server_refuses_them(
    server: ScriptedServer, connect: Connect, tmp_path: Path
):
    token = tmp_path / "token"
    token.write_text("old\n")

    async def refuse(request: web.Request) -> web.StreamResponse:
        token.write_text("new\n")
        return await status(401, "Unauthorized")(request)

    server.on(f"PATCH {PATH}", refuse, said(OBJECT))
    assert (await connect(user={"tokenFile": str(token)}).call(APPLY)).code == 200
    assert [one.token for one in server.seen] == ["old", "new"]


async def test_credentials_that_are_refused_again_are_told(server: ScriptedServer, connect: Connect):
    server.on(f"GET {PATH}", status(401, "Unauthorized"))
    error = await error_of(connect(), READ)
    assert type(error) is NoAccess
    assert error.message == "double does not accept our credentials"
    assert "log in again" in error.hint
    assert server.count(f"GET {PATH}") == 2


async def test_of_many_who_are_refused_at_once_one_logs_in_again(
    server: ScriptedServer, connect: Connect, tmp_path: Path
):
    calls = tmp_path / "calls"
    plugin = plugin_that(tmp_path, f"echo >> {calls}; echo '{{{TOKEN}}}'")
    server.on(f"GET {PATH}", *[status(401)] * 20, said(OBJECT))
    transport = connect(user=plugin)
    replies = await asyncio.gather(*(transport.call(READ) for _ in range(20)))
    assert len(replies) == 20
    assert calls.read_text() == "\n\n"


async def test_a_stream_that_is_refused_logs_in_again_too(server: ScriptedServer, connect: Connect, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("old")
    server.on(f"GET {PATH}", status(401), raw(b"line\n"))
    transport = connect(user={"tokenFile": str(token)})
    assert await lines_of(transport, READ) == [b"line"]
    assert server.count(f"GET {PATH}") == 2


async def test_a_stream_waits_as_others_were_asked_to(server: ScriptedServer, connect: Connect):
    server.on(f"GET {PATH}", status(429, headers={"Retry-After": "5"}), raw(b"line\n"))
    clock = FakeClock()
    transport = connect(clock=clock)
    with pytest.raises(ClusterUnavailable, match="asks us to wait"):
        await lines_of(transport, READ)
    assert await lines_of(transport, READ) == [b"line"]
    assert clock.slept == [pytest.approx(5)]


async def test_connections_of_old_credentials_are_ended_once_they_are_idle(server: ScriptedServer, connect: Connect):
    """A token that ends each hour must not leave connections behind each hour."""
    server.on(f"GET {PATH}", *[status(401), said(OBJECT)] * 5)
    transport = connect()
    for _ in range(5):
        await transport.call(READ)
    assert transport.sessions == 1


async def test_a_netrc_does_not_get_in_the_way(
    server: ScriptedServer, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.on(f"GET {PATH}", said(OBJECT))
    assert (await connect().call(READ)).code == 200
    assert server.seen[0].token == "first"


async def test_a_token_that_is_no_header_is_told(server: ScriptedServer, connect: Connect, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("one\ntwo")
    error = await error_of(connect(user={"tokenFile": str(token)}), APPLY)
    assert type(error) is NoAccess
    assert "token" in error.message
    assert server.seen == []


async def test_an_address_that_is_none_is_told(tmp_path: Path):
    for url in ("http://", "http://[::1", "nonsense", "ftp://127.0.0.1", "http://127.0.0.1:99999"):
        server = ScriptedServer()
        server.url = url
        transport = Transport("double", Access(Login(kubeconfig=server.kubeconfig(tmp_path))), FakeClock())
        error = await error_of(transport, APPLY)
        assert isinstance(error, ClusterUnavailable), url
        await transport.close()
