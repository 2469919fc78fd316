"""Mails, by a real conversation with a server: what they say, whom they trust, and servers that misbehave."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.alerts import open_sink
from reconciler.adapters.alerts.mail import MailSink, Server
from reconciler.adapters.alerts.posting import Poster, Request
from reconciler.model.agent import AlertRoute
from reconciler.model.alert import Answer, Verdict
from reconciler.model.errors import UsageError
from tests.adapters.alerts.told import AGENT, OTHER, ended, firing
from tests.controlplane.pki import Authority
from tests.doubles.clock import FakeClock
from tests.doubles.mail_server import MailServer

PASSWORD = "s3cret/of:the@server"


class Tls:
    def __init__(self, folder: Path) -> None:
        authority = Authority.make(folder)
        identity = authority.issue("server", name="server", server=True)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(identity.certificate, identity.key)
        self.trusting = ssl.create_default_context(cafile=str(authority.file))
        self.strangers = ssl.create_default_context()


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


def sink(server: MailServer, **more: Any) -> MailSink:
    given = Server(
        host=more.pop("host", "localhost"), port=server.port, encrypted=server.encrypted,
        user=more.pop("user", ""), password=more.pop("password", ""),
    )  # fmt: skip
    to = more.pop("to", ("on-call@acme.example",))
    return MailSink(server=given, sender="reconciler@acme.example", to=to, **more)


async def test_a_mail_says_what_is_the_case_and_mails_of_a_group_are_one_conversation() -> None:
    begun, over = firing("email", AGENT, OTHER), ended("email", AGENT, OTHER)
    async with MailServer() as server:
        one = sink(server, to=("on-call@acme.example", "boss@acme.example"))
        for told in (begun, begun, over):
            assert await one.send(told) == Answer(verdict=Verdict.SENT, text="sent")
    first, again, last = server.mails
    assert first.to == ["on-call@acme.example", "boss@acme.example"]
    assert first.sender == "reconciler@acme.example"
    assert first.message["Subject"] == begun.title
    assert begun.text.splitlines()[0] in first.message.get_content()
    assert "\u00fc\U0001f600" in first.message.get_content()
    assert first.message["Message-ID"] == again.message["Message-ID"] != last.message["Message-ID"]
    assert first.message["References"] == last.message["References"]
    assert first.message["Auto-Submitted"] == "auto-generated"


async def test_nobody_writes_headers_through_a_title() -> None:
    told = firing("email", AGENT, title="x\nBcc: evil@evil.example\n$name")
    async with MailServer() as server:
        await sink(server).send(told)
    (mail,) = server.mails
    assert mail.message["Bcc"] is None
    assert mail.to == ["on-call@acme.example"]


async def test_a_password_goes_over_a_line_that_was_encrypted_first(tls: Tls) -> None:
    async with MailServer(tls=tls.server, users={"ann": PASSWORD}) as server:
        answer = await sink(server, user="ann", password=PASSWORD, tls=tls.trusting).send(firing("email"))
    assert answer.verdict is Verdict.SENT
    assert [(mail.encrypted, mail.user) for mail in server.mails] == [(True, "ann")]


async def test_a_line_may_be_encrypted_from_the_first_byte(tls: Tls) -> None:
    async with MailServer(tls=tls.server, encrypted=True, users={"ann": PASSWORD}) as server:
        answer = await sink(server, user="ann", password=PASSWORD, tls=tls.trusting).send(firing("email"))
    assert answer.verdict is Verdict.SENT
    assert server.mails[0].encrypted


async def test_a_server_that_nobody_vouches_for_gets_no_password(tls: Tls) -> None:
    async with MailServer(tls=tls.server, users={"ann": PASSWORD}) as server:
        answer = await sink(server, user="ann", password=PASSWORD, tls=tls.strangers).send(firing("email"))
    assert answer == Answer(verdict=Verdict.LATER, text="its certificate is not trusted here")
    assert not any(line.startswith("AUTH") for line in server.heard)


async def test_a_password_does_not_go_over_a_line_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "here", property(lambda _self: False))
    async with MailServer(users={"ann": PASSWORD}) as server:
        answer = await sink(server, user="ann", password=PASSWORD).send(firing("email"))
    assert answer.verdict is Verdict.REFUSED
    assert "no encryption" in answer.text
    assert not any(line.startswith("AUTH") for line in server.heard)


async def test_what_a_server_says_of_a_password_is_not_passed_on() -> None:
    async with MailServer(users={"ann": "another"}) as server:
        answer = await sink(server, user="ann", password=PASSWORD).send(firing("email"))
    assert answer.verdict is Verdict.REFUSED
    assert answer.text.startswith("535")
    assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ({"CONNECT": "421 too busy"}, Verdict.LATER),
        ({"CONNECT": "554 go away"}, Verdict.REFUSED),
        ({"MAIL": "451 try again"}, Verdict.LATER),
        ({"MAIL": "550 never"}, Verdict.REFUSED),
        ({"DATA": "452 full"}, Verdict.LATER),
        ({"on-call@acme.example": "450 greylisted"}, Verdict.LATER),
        ({"on-call@acme.example": "550 nobody"}, Verdict.REFUSED),
    ],
)
async def test_what_may_be_taken_later_is_kept_and_what_never_will_be_is_not(
    answers: dict[str, str], verdict: Verdict
) -> None:
    async with MailServer(answers=answers) as server:
        assert (await sink(server).send(firing("email"))).verdict is verdict


async def test_who_is_refused_among_others_is_told() -> None:
    async with MailServer(answers={"gone@acme.example": "550 nobody"}) as server:
        answer = await sink(server, to=("on-call@acme.example", "gone@acme.example")).send(firing("email"))
    assert answer == Answer(verdict=Verdict.SENT, text="sent, but 1 of 2 addresses were refused")
    assert server.mails[0].to == ["on-call@acme.example"]


async def test_a_server_that_says_nothing_or_never_ends_costs_the_deadline() -> None:
    async with MailServer(silent=True) as server:
        assert (await sink(server, deadline_s=0.3).send(firing("email"))).verdict is Verdict.LATER
    async with MailServer(endless=True) as server:
        assert (await sink(server, deadline_s=0.3).send(firing("email"))).text == "not sent within 0.3 s"


async def test_a_server_that_is_not_there_is_tried_again() -> None:
    async with MailServer() as server:
        pass
    assert (await sink(server).send(firing("email"))).verdict is Verdict.LATER


def test_where_the_mail_comes_from_is_said_or_the_user_or_the_server() -> None:
    def opened(url: str, **settings: Any) -> MailSink:
        route = AlertRoute(
            name="r", receiver="email", settings={"smtpEnv": "SMTP_URL", "to": ["a@b.example"], **settings}
        )
        found = open_sink(route, {"SMTP_URL": url}, FakeClock())
        assert isinstance(found, MailSink)
        return found

    assert opened("smtp://mail.acme.example").sender == "reconciler@mail.acme.example"
    found = opened("smtps://ann%40acme.example:a%2Fb@mail.acme.example")
    assert (found.sender, found.server.user) == ("ann@acme.example", "ann@acme.example")
    assert (found.server.password, found.server.port, found.server.encrypted) == ("a/b", 465, True)
    assert opened("smtp://mail.acme.example:25", **{"from": "x@y.example"}).sender == "x@y.example"
    with pytest.raises(UsageError, match="no address of mail"):
        opened("smtp://mail.acme.example", to=["not an address"])
    assert "a/b" not in repr(found)


async def test_a_server_that_never_shakes_hands_is_hung_up_on() -> None:
    """Else a thread would wait for each mail, for as long as the server likes."""
    async with MailServer(silent=True) as server:
        given = Server(host="localhost", port=server.port, encrypted=True)
        waiting = replace(sink(server, deadline_s=0.3), server=given)
        assert (await waiting.send(firing("email"))).verdict is Verdict.LATER
        async with asyncio.timeout(5):
            await asyncio.gather(*server._talks)


async def test_a_name_server_that_does_not_answer_keeps_nobody_elses_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    answers = threading.Event()

    def waits(*_: object, **__: object) -> list[Any]:
        answers.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", waits)
    poster = Poster(clock=FakeClock(), deadline_s=0.1)
    mails = MailSink(
        server=Server(host="mail.example", port=1, encrypted=False), sender="a@b.example", to=("c@d.example",),
        deadline_s=0.1,
    )  # fmt: skip
    try:
        assert (await mails.send(firing("email"))).verdict is Verdict.LATER
        assert (await poster.post(Request(url="http://hooks.example/", body=b"{}"))).verdict is Verdict.LATER
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(int) == 0
    finally:
        answers.set()
        await mails.close()
        await poster.close()
