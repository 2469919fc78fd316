"""A mail server on loopback that really speaks SMTP (RFC 5321: EHLO, STARTTLS, AUTH PLAIN, DATA), and can misbehave."""

from __future__ import annotations

import asyncio
import base64
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Self


@dataclass(slots=True)
class Mail:
    """A mail that came, and how."""

    sender: str
    to: list[str]
    message: EmailMessage
    encrypted: bool
    user: str


@dataclass(slots=True, kw_only=True)
class MailServer:
    """Use it as an asynchronous context. `answers` are given instead of the usual ones, by the verb (`RCPT x@y` too);
    `endless` greets and never ends; `silent` says nothing at all.
    """

    tls: ssl.SSLContext | None = None
    encrypted: bool = False
    users: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    endless: bool = False
    silent: bool = False
    mails: list[Mail] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        context = self.tls if self.encrypted else None
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._talks)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._talks.add(asyncio.create_task(self._talk(reader, writer)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await _Conversation(self, reader, writer).hold()
        writer.close()


class _Conversation:
    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.encrypted = server.encrypted
        self.user = self.sender = ""
        self.to: list[str] = []

    async def say(self, text: str) -> None:
        self.writer.write(text.encode() + b"\r\n")
        await self.writer.drain()

    async def hold(self) -> None:
        if self.server.silent:
            await self.reader.read()
            return
        while self.server.endless:
            await self.say("220-" + "x" * 60)
            await asyncio.sleep(0)  # the line takes all that is written: others would never have their turn
        await self.say(self.server.answers.get("CONNECT", "220 ready"))
        while line := (await self.reader.readline()).decode().rstrip("\r\n"):
            self.server.heard.append(line)
            verb = line.split(" ")[0].upper()
            own = self.server.answers.get(line.upper()) or self.server.answers.get(verb)
            if own is not None:
                await self.say(own)
            elif verb == "QUIT":
                await self.say("221 bye")
                return
            else:
                await self.answer(verb, line)

    async def answer(self, verb: str, line: str) -> None:
        match verb:
            case "EHLO":
                extra = ["STARTTLS"] if self.server.tls and not self.encrypted else []
                extra += ["AUTH PLAIN"] if self.server.users else []
                lines = ["localhost", *extra, "8BITMIME"]
                for index, one in enumerate(lines):
                    await self.say(f"250{' ' if index == len(lines) - 1 else '-'}{one}")
            case "STARTTLS":
                await self.say("220 go on")
                assert self.server.tls is not None
                await self.writer.start_tls(self.server.tls)
                self.encrypted = True
            case "AUTH":
                _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
                good = self.server.users.get(user) == password
                self.user = user if good else ""
                await self.say("235 welcome" if good else f"535 5.7.8 no such user {user} with {password}")
            case "MAIL":
                self.sender, self.to = line.partition("<")[2].partition(">")[0], []
                await self.say("250 ok")
            case "RCPT":
                to = line.partition("<")[2].partition(">")[0]
                refusal = self.server.answers.get(to)
                if refusal is None:
                    self.to.append(to)
                await self.say(refusal or "250 ok")
            case "DATA":
                await self.say("354 go on")
                data = (await self.reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n..", b"\r\n.")
                message = message_from_bytes(data, policy=policy.default)
                self.server.mails.append(Mail(self.sender, self.to, message, self.encrypted, self.user))
                await self.say("250 taken")
            case _:
                await self.say("250 ok")
