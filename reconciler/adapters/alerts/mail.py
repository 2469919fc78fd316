"""Mail by SMTP: the standard library's client in a thread, with a bound on each step and one deadline for all of it.

A password goes over an encrypted line, or nowhere; only to this machine itself may it go as it is.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from functools import partial
from urllib.parse import unquote, urlsplit

from reconciler.adapters.alerts.posting import said
from reconciler.model.alert import Answer, Notification, Verdict

DEADLINE_S = 30.0
STEP_S = 10.0
SCHEMES = ("smtp", "smtps")
_PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A mail server out of `smtp[s]://USER:PASSWORD@HOST:PORT`: smtps is encrypted from the first byte on."""

    host: str
    port: int
    encrypted: bool
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Server:
        """Read an address that was checked."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            encrypted=parts.scheme == "smtps",
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )

    @property
    def here(self) -> bool:
        """Whether it is this machine."""
        return self.host in {"localhost", "127.0.0.1", "::1"}


class _Unencrypted(Exception):
    """The server offers no encryption, and a password would go over the line as it is."""


@dataclass(slots=True, kw_only=True)
class MailSink:
    """Sends one mail a notification. Mails of one group are one conversation; what is sent twice has one Message-ID."""

    server: Server
    sender: str
    to: tuple[str, ...]
    tls: ssl.SSLContext | None = None
    deadline_s: float = DEADLINE_S
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="mail"), init=False
    )
    """Its own: those of the event loop are everybody's, and a name server may keep one for minutes."""

    async def send(self, notification: Notification) -> Answer:
        try:
            message = self._message(notification)
        except ValueError as error:
            return Answer(verdict=Verdict.REFUSED, text=f"no mail can be made of it: {type(error).__name__}")
        talk = _Talk(self.server, self.tls)
        try:
            async with asyncio.timeout(self.deadline_s):
                work = partial(talk.deliver, message, self.sender, self.to)
                refused = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (OSError, smtplib.SMTPException, _Unencrypted) as error:
            return self._failed(error)
        finally:
            talk.hang_up()  # else the thread would go on for as long as the server keeps it busy
        told = f"sent, but {len(refused)} of {len(self.to)} addresses were refused" if refused else "sent"
        return Answer(verdict=Verdict.SENT, text=told)

    async def close(self) -> None:
        """Connections end with each mail; a thread that waits for a name server ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _message(self, told: Notification) -> EmailMessage:
        domain = self.sender.partition("@")[2] or "localhost"
        message = EmailMessage()
        message["From"] = self.sender
        message["To"] = ", ".join(self.to)
        message["Subject"] = told.title
        message["Date"] = format_datetime(datetime.fromtimestamp(told.at_ms / 1000, UTC))
        message["Message-ID"] = f"<{told.id}@{domain}>"
        message["References"] = f"<{told.group}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(f"{told.text}\n\n-- \nreconciler, fleet {told.fleet}, route {told.name}\n")
        return message

    def _failed(self, error: Exception) -> Answer:
        match error:
            case smtplib.SMTPRecipientsRefused(
                recipients=recipients
            ):  # one that may be taken later is worth waiting for
                return self._answered(*min(recipients.values(), key=lambda one: one[0]))
            case smtplib.SMTPResponseException(smtp_code=code, smtp_error=text):
                return self._answered(code, text)
            case _Unencrypted():
                text = "the server offers no encryption, and the password is not sent without: use smtps://"
                return Answer(verdict=Verdict.REFUSED, text=text)
            case TimeoutError():
                text = f"not sent within {self.deadline_s:g} s"
            case ssl.SSLCertVerificationError():
                text = "its certificate is not trusted here"
            case _:
                text = f"the connection broke: {type(error).__name__}"
        return Answer(verdict=Verdict.LATER, text=text)

    def _answered(self, code: int, text: bytes | str) -> Answer:
        """What an answer of the server means: from 500 on it will never take it."""
        shown = said(text if isinstance(text, bytes) else text.encode(), (self.server.password, self.server.user))
        verdict = Verdict.REFUSED if code >= 500 else Verdict.LATER
        return Answer(verdict=verdict, text=f"{code}: {shown}" if shown else str(code))


class _Talk:
    """One conversation with a server, in a thread of its own. `hang_up` ends it from outside, wherever it is."""

    def __init__(self, server: Server, tls: ssl.SSLContext | None) -> None:
        self._server = server
        self._tls = tls
        self._client = smtplib.SMTP(timeout=STEP_S, local_hostname=socket.gethostname() or "localhost")
        self._over = threading.Event()
        self._line: socket.socket | None = None
        """The connection by a number of its own: the client's is not to be had while hands are shaken over TLS."""

    def hang_up(self) -> None:
        self._over.set()
        line = self._line
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def deliver(self, message: EmailMessage, sender: str, to: tuple[str, ...]) -> Mapping[str, object]:
        """Answers who was refused while others were not."""
        client, server = self._client, self._server
        try:
            self._connect()
            if server.user:
                client.login(server.user, server.password)
            refused = client.send_message(message, sender, list(to))
            with suppress(smtplib.SMTPException, OSError):
                client.quit()
            return refused
        finally:
            client.close()
            if self._line is not None:
                self._line.close()

    def _connect(self) -> None:
        client, server = self._client, self._server
        context = self._tls or ssl.create_default_context()
        client.sock = line = socket.create_connection((server.host, server.port), STEP_S)
        self._line = line.dup()
        if self._over.is_set():  # asked before there was a line to hang up
            raise TimeoutError
        if server.encrypted:
            client.sock = context.wrap_socket(line, server_hostname=server.host)
        code, text = client.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)
        client.ehlo_or_helo_if_needed()
        if not server.encrypted and client.has_extn("starttls"):
            client._host = server.host  # type: ignore[attr-defined]  # noqa: SLF001 - its certificate is checked for this
            client.starttls(context=context)
            client.ehlo()
        elif not server.encrypted and server.password and not server.here:
            raise _Unencrypted
