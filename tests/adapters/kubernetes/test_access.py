"""Who we are and whom we trust: kubeconfigs, credential plugins, tokens in files and in pods, TLS, proxies."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import ssl
import tempfile
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from aiohttp import web
from kubernetes.aio.config import incluster_config

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.kubernetes import access, transport
from reconciler.adapters.kubernetes.access import Access
from reconciler.adapters.kubernetes.answers import NoAccess
from reconciler.adapters.kubernetes.connection import Login
from reconciler.adapters.kubernetes.transport import Request, Transport
from reconciler.model.errors import ClusterUnavailable
from reconciler.model.objects import Unreadable
from tests.adapters.kubernetes.conftest import TOKEN, Connect, Reach, has_ended, plugin_that, until
from tests.controlplane.pki import Authority
from tests.doubles.connect_proxy import ConnectProxy
from tests.doubles.scripted_server import ScriptedServer, said, status

READ = Request(method="GET", path="/version", what="read the version")
VERSION = {"gitVersion": "v1.36.3"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def refusal(login: Login) -> NoAccess:
    with pytest.raises(NoAccess) as caught:
        await Access(login).load()
    return caught.value


async def refusal_of(text: str, folder: Path, *, context: str = "") -> NoAccess:
    path = folder / "kubeconfig"
    path.write_text(text)
    return await refusal(Login(kubeconfig=str(path), context=context))


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    error = await refusal(Login(kubeconfig=str(tmp_path / "none")))
    assert error.message == f"there is no kubeconfig at {tmp_path / 'none'}"
    assert "$KUBECONFIG" in error.hint
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert str(tmp_path / ".kube" / "config") in (await refusal(Login())).message


async def test_credentials_that_are_slow_to_come_are_told_and_waited_for(
    connect: Connect, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transport, "LOGIN_WAIT_S", 0.2)
    server.on("GET /version", said(VERSION))
    script = f"echo ran >> {tmp_path}/ran; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo '{{{TOKEN}}}'"
    made = connect(user=plugin_that(tmp_path, script))
    for _ in range(2):
        with pytest.raises(NoAccess, match="are waited for"):
            await made.call(READ)
    (tmp_path / "go").touch()
    async with asyncio.timeout(30):
        while not server.seen:
            with suppress(NoAccess):
                await made.call(READ)
    assert server.seen[0].token == "from the plugin"
    assert (tmp_path / "ran").read_text() == "ran\n"


async def test_a_kubeconfig_that_names_another_address_by_now_is_read_again(
    connect: Connect, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transport, "RELOAD_EACH_S", 0.0)
    server.on("GET /version", said(VERSION))
    made = connect(cluster={"server": "http://127.0.0.1:1"})
    with pytest.raises(ClusterUnavailable, match="cannot be reached"):
        await made.call(READ)
    server.kubeconfig(tmp_path)
    assert (await made.call(READ)).code == 200


async def test_a_server_that_is_away_is_not_logged_in_to_again_each_time(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    user = plugin_that(tmp_path, f"echo ran >> {tmp_path}/ran; echo '{{{TOKEN}}}'")
    made = connect(user=user, cluster={"server": "http://127.0.0.1:1"})
    for _ in range(3):
        with pytest.raises(ClusterUnavailable):
            await made.call(READ)
    assert (tmp_path / "ran").read_text() == "ran\n"


async def test_a_login_page_in_the_place_of_a_cluster_is_a_refusal(reach: Reach, server: ScriptedServer):
    server.on("GET /version", said("<html>Sign in</html>", code=403))
    server.on("GET /api/v1/namespaces/kube-system", said("<html>Sign in</html>", code=403))
    answer = await reach().identity()
    assert isinstance(answer, Unreadable)
    assert answer.refused


async def test_the_environment_names_kubeconfigs_of_which_some_may_be_missing(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(["", str(tmp_path / "none"), server.kubeconfig(tmp_path)]))
    found = Access(Login(context="double"))
    await found.load()
    assert found.url == server.url
    assert await found.headers() == {"authorization": "Bearer first"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "just words",
        "a: [1",
        "a: *nowhere",
        "a: !!python/object/apply:os.system [true]",
        "\x00",
        "clusters: {}\ncontexts: 5\nusers: x\n",
        "current-context: a\n",
        "current-context: a\ncontexts: [{name: a}]\n",
        "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\nclusters: []\n",
        "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\nclusters: [{name: b}]\n",
        "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\nclusters: [{name: b, cluster: 5}]\n",
        "[" * 10_000,
    ],
)
async def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path, text: str):
    error = await refusal_of(text, tmp_path)
    assert error.message.startswith(f"the current context of {tmp_path / 'kubeconfig'}")
    assert "\n" not in error.message


async def test_a_context_that_is_not_there_is_named(server: ScriptedServer, tmp_path: Path):
    path = server.kubeconfig(tmp_path)
    error = await refusal(Login(kubeconfig=path, context="nowhere"))
    assert error.message.startswith(f"context nowhere of {path}")
    assert "object with name nowhere" in error.message
    assert "kubectl config get-contexts" in error.hint


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"tokenFile": "/nowhere/token"}, "No such file"),
        ({"client-certificate": "/nowhere/a", "client-key": "/nowhere/b"}, "/nowhere/a"),
        ({"client-certificate-data": "!", "client-key-data": "!"}, "cannot be used"),
        ({"client-certificate-data": "YQ==", "client-key-data": "YQ=="}, "cannot be used"),
        ({"auth-provider": {"name": "oidc", "config": {"id-token": "a.b"}}}, "3 period-delimited parts"),
    ],
)
async def test_credentials_that_cannot_be_used_are_told(tmp_path: Path, user: dict[str, Any], said: str):
    server = ScriptedServer()
    server.url = "https://127.0.0.1:1"
    error = await refusal(Login(kubeconfig=server.kubeconfig(tmp_path, user=user)))
    assert said in error.message


@pytest.mark.parametrize("cluster", [{"certificate-authority-data": "YQ=="}, {"certificate-authority": "/nowhere"}])
async def test_an_authority_that_is_none_is_told(tmp_path: Path, cluster: dict[str, Any]):
    server = ScriptedServer()
    server.url = "https://127.0.0.1:1"
    await refusal(Login(kubeconfig=server.kubeconfig(tmp_path, cluster=cluster)))


async def test_a_cluster_without_credentials_is_unreadable_and_says_why(reach: Reach, tmp_path: Path):
    cluster = reach(user={"tokenFile": str(tmp_path / "none")})
    answer = await cluster.identity()
    assert isinstance(answer, Unreadable)
    assert "No such file" in answer.reason


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo log in first >&2; exit 3", "ended with code 3: log in first"),
        ("exit 1", "ended with code 1: it said nothing"),
        ("kill -9 $$", "ended with code -9"),
        ("echo garbage", "printed no ExecCredential"),
        ("true", "printed no ExecCredential"),
        ("printf '\\377\\376'", "printed no ExecCredential"),
        ("echo '{}'", "printed no ExecCredential"),
        (f"echo '{{{TOKEN}}}' | sed s/v1/v1beta1/", "speaks client.authentication.k8s.io/v1beta1"),
        (f"echo '{{{TOKEN}}}' | sed s/token/other/", "gave neither a token nor"),
        (f"echo '{{{TOKEN}}}' | sed 's/\"status.*/\"status\": null}}/'", "printed no ExecCredential"),
        (f"echo '{{{TOKEN}}}' | sed 's/token.*/clientCertificateData\": \"x\"}}}}/'", "gave neither a token nor"),
        ("yes | head -c 3000000", "printed more than 1 MiB"),
    ],
)
async def test_a_plugin_that_gives_no_credentials_is_told(
    server: ScriptedServer, tmp_path: Path, script: str, told: str
):
    path = server.kubeconfig(tmp_path, user=plugin_that(tmp_path, script))
    error = await refusal(Login(kubeconfig=path))
    assert error.message.startswith(f"the current context of {path}: its credential plugin {tmp_path / 'plugin'} ")
    assert told in error.message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"command": "/nowhere/plugin"}, "cannot be run: No such file or directory"),
        ({"command": "."}, "cannot be run"),
        ({"command": None}, "cannot be run"),
        ({"env": [{"name": "A=\x00", "value": "b"}]}, "cannot be run"),
        ({"interactiveMode": "Always"}, "asks a person"),
    ],
)
async def test_a_plugin_that_cannot_be_run_is_told(
    server: ScriptedServer, tmp_path: Path, change: dict[str, Any], told: str
):
    user = plugin_that(tmp_path, "true")
    user["exec"].update(change)
    assert told in (await refusal(Login(kubeconfig=server.kubeconfig(tmp_path, user=user)))).message


async def test_a_plugin_that_waits_for_a_person_is_ended_with_what_it_started(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(access, "PLUGIN_S", 0.3)
    pids = tmp_path / "pids"
    user = plugin_that(tmp_path, f"sleep 600 &\necho $$ $! > {pids}\nread answer\nsleep 600")
    error = await refusal(Login(kubeconfig=server.kubeconfig(tmp_path, user=user)))
    assert "had not ended after 0.3 s" in error.message
    assert "by hand" in error.hint
    for pid in map(int, pids.read_text().split()):
        await until(partial(has_ended, pid))


async def test_a_plugin_is_told_what_it_needs_and_that_nobody_can_answer(
    server: ScriptedServer, tmp_path: Path, connect: Connect
):
    told = tmp_path / "told"
    user = plugin_that(tmp_path, f"echo \"$1 $MORE $KUBERNETES_EXEC_INFO\" > {told}; echo '{{{TOKEN}}}'")
    user["exec"] |= {"args": ["get"], "env": [{"name": "MORE", "value": "of it"}]}
    server.on("GET /version", said(VERSION))
    await connect(user=user).call(READ)
    assert server.seen[0].token == "from the plugin"
    assert told.read_text().startswith("get of it {")
    assert '"interactive": false' in told.read_text()


async def test_a_token_of_a_plugin_that_has_ended_is_asked_for_again(
    server: ScriptedServer, tmp_path: Path, connect: Connect
):
    calls = tmp_path / "calls"
    user = plugin_that(
        tmp_path, f"echo >> {calls}; echo '{{{TOKEN}}}' | sed \"s/from the/$(wc -l < {calls}) from the/\""
    )
    server.on("GET /version", said(VERSION), status(401), said(VERSION))
    transport = connect(user=user)
    await transport.call(READ)
    await transport.call(READ)
    assert [one.token.split()[0] for one in server.seen] == ["1", "1", "2"]


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What a pod finds: the token and the authority of its service account, and a clock that tests move."""
    authority = Authority.make(tmp_path / "pki")
    token = tmp_path / "token"
    token.write_text("first\n")
    clock = SimpleNamespace(now=dt.datetime(2030, 1, 1))  # noqa: DTZ001 - as the package counts
    shim = SimpleNamespace(datetime=SimpleNamespace(now=lambda: clock.now), timedelta=dt.timedelta)
    monkeypatch.setattr(incluster_config, "datetime", shim)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority.file))
    return SimpleNamespace(authority=authority, token=token, clock=clock)


def served_by(authority: Authority) -> ssl.SSLContext:
    identity = authority.issue("server", name="server", server=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


async def test_in_a_pod_the_token_is_read_again_each_minute(
    pod: SimpleNamespace, opened: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
):
    server = await opened.enter_async_context(ScriptedServer(served_by(pod.authority)))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rpartition(":")[2])
    server.on("GET /version", said(VERSION))
    transport = Transport("double", Access(Login(in_cluster=True)), SystemClock())
    opened.push_async_callback(transport.close)
    await transport.call(READ)
    pod.token.write_text("second")
    await transport.call(READ)
    pod.clock.now += dt.timedelta(minutes=2)
    await transport.call(READ)
    assert [one.token for one in server.seen] == ["first", "first", "second"]
    pod.token.unlink()
    pod.clock.now += dt.timedelta(minutes=2)
    with pytest.raises(NoAccess, match="the pod's service account"):
        await transport.call(READ)


async def test_outside_of_a_pod_there_is_no_service_account(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    error = await refusal(Login(in_cluster=True))
    assert error.message == "the pod's service account: Service host/port is not set."
    assert "inCluster" in error.hint


async def test_a_server_of_another_authority_is_not_trusted(tmp_path: Path, opened: AsyncExitStack):
    theirs, ours = Authority.make(tmp_path / "theirs"), Authority.make(tmp_path / "ours")
    server = await opened.enter_async_context(ScriptedServer(served_by(theirs)))
    server.on("GET /version", said(VERSION))
    for cluster, trusted in (
        ({"certificate-authority-data": theirs.encoded()}, True),
        ({"certificate-authority": str(theirs.file)}, True),
        ({"insecure-skip-tls-verify": True}, True),
        ({"certificate-authority-data": ours.encoded()}, False),
        ({}, False),
    ):
        login = Login(kubeconfig=server.kubeconfig(tmp_path, cluster=cluster))
        transport = Transport("double", Access(login), SystemClock())
        opened.push_async_callback(transport.close)
        if trusted:
            assert (await transport.call(READ)).code == 200
        else:
            with pytest.raises(ClusterUnavailable, match=r"certificate is not trusted.*issuer certificate"):
                await transport.call(READ)
    assert server.count("GET /version") == 3


async def test_keys_of_plugins_are_in_files_for_no_longer_than_it_takes_to_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    authority = Authority.make(tmp_path / "pki")
    server = ScriptedServer()
    server.url = "https://127.0.0.1:1"
    cluster = {"certificate-authority-data": authority.encoded()}
    printed = tmp_path / "printed"
    login = Login(kubeconfig=server.kubeconfig(tmp_path, user=plugin_that(tmp_path, f"cat {printed}"), cluster=cluster))
    logins = [Access(login), Access(login)]
    for turn in ("first", "second"):
        given = authority.issue(turn, name="system:admin")
        pair = {"clientCertificateData": given.certificate.read_text(), "clientKeyData": given.key.read_text()}
        version = "client.authentication.k8s.io/v1"
        printed.write_text(json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": pair}))
        await asyncio.gather(*(one.load() for one in logins))
        assert all(one.tls is not None for one in logins)
        assert list(temporary.iterdir()) == []


async def test_a_certificate_is_for_a_name(tmp_path: Path, opened: AsyncExitStack):
    authority = Authority.make(tmp_path / "pki")
    server = await opened.enter_async_context(ScriptedServer(served_by(authority)))
    server.on("GET /version", said(VERSION))
    for name, trusted in (("kubernetes.default.svc", True), ("elsewhere.example", False)):
        cluster = {"certificate-authority-data": authority.encoded(), "tls-server-name": name}
        login = Login(kubeconfig=server.kubeconfig(tmp_path, cluster=cluster))
        transport = Transport("double", Access(login), SystemClock())
        opened.push_async_callback(transport.close)
        if trusted:
            assert (await transport.call(READ)).code == 200
        else:
            with pytest.raises(ClusterUnavailable, match=r"Hostname mismatch.*elsewhere\.example"):
                await transport.call(READ)


async def test_authorities_that_lack_what_only_python_asks_of_them_are_trusted(tmp_path: Path):
    """From 3.13 on Python refuses authorities without key identifiers, as many clusters have them."""
    server = ScriptedServer()
    server.url = "https://127.0.0.1:1"
    found = Access(Login(kubeconfig=server.kubeconfig(tmp_path)))
    await found.load()
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED
    assert found.tls.check_hostname
    assert not found.tls.verify_flags & ssl.VERIFY_X509_STRICT


async def test_a_proxy_of_the_kubeconfig_is_used(tmp_path: Path, opened: AsyncExitStack):
    authority = Authority.make(tmp_path / "pki")
    server = await opened.enter_async_context(ScriptedServer(served_by(authority)))
    proxy = await opened.enter_async_context(ConnectProxy())
    server.on("GET /version", said(VERSION))
    cluster = {"certificate-authority-data": authority.encoded(), "proxy-url": proxy.url}
    transport = Transport("d", Access(Login(kubeconfig=server.kubeconfig(tmp_path, cluster=cluster))), SystemClock())
    opened.push_async_callback(transport.close)
    assert (await transport.call(READ)).code == 200
    assert proxy.connected == [server.url.removeprefix("https://")]


async def test_a_proxy_that_refuses_has_done_nothing(tmp_path: Path, opened: AsyncExitStack):
    proxy = await opened.enter_async_context(ConnectProxy(refuses=True))
    server = ScriptedServer()
    server.url = "https://127.0.0.1:1"
    login = Login(kubeconfig=server.kubeconfig(tmp_path, cluster={"proxy-url": proxy.url}))
    transport = Transport("double", Access(login), SystemClock())
    opened.push_async_callback(transport.close)
    with pytest.raises(ClusterUnavailable, match="403"):
        await transport.call(Request(method="PATCH", path="/version", what="write", body=b"{}"))


async def test_the_environment_s_proxy_is_used_but_where_it_says_not_to(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    found = Access(Login(kubeconfig=server.kubeconfig(tmp_path)))
    await found.load()
    assert found.proxy == "http://127.0.0.1:9"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    await found.load()
    assert found.proxy is None


async def test_a_proxy_that_speaks_something_else_is_told(server: ScriptedServer, tmp_path: Path):
    error = await refusal(Login(kubeconfig=server.kubeconfig(tmp_path, cluster={"proxy-url": "socks5://127.0.0.1:1"})))
    assert "the proxy socks5://127.0.0.1:1 cannot be used" in error.message


async def test_credentials_are_not_told(server: ScriptedServer, tmp_path: Path):
    """Not in what goes wrong with them."""
    path = Path(server.kubeconfig(tmp_path, user={"token": "t0psecret\nt0psecret"}))
    found = Access(Login(kubeconfig=str(path)))
    await found.load()
    with pytest.raises(NoAccess) as caught:
        await found.headers()
    assert "t0psecret" not in caught.value.message
    path.write_text(yaml.safe_dump({"users": [{"name": "a", "user": {"token": "t0psecret"}}]}) + "}")
    assert "t0psecret" not in (await refusal(Login(kubeconfig=str(path)))).message


async def test_what_a_pod_is_refused_is_read_again(
    pod: SimpleNamespace, opened: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
):
    """A token that was revoked before its minute is over."""
    server = await opened.enter_async_context(ScriptedServer(served_by(pod.authority)))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rpartition(":")[2])

    async def refuse(request: web.Request) -> web.StreamResponse:
        pod.token.write_text("second")
        return await status(401)(request)

    server.on("GET /version", refuse, said(VERSION))
    transport = Transport("double", Access(Login(in_cluster=True)), SystemClock())
    opened.push_async_callback(transport.close)
    await transport.call(READ)
    assert [one.token for one in server.seen] == ["first", "second"]
