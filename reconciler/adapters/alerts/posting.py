"""One POST to a receiver: one deadline for all of it, no redirects, no cookies, a cap on what is read of the answer."""

from __future__ import annotations

import asyncio
import io
import os
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from reconciler.alerting.masking import masked
from reconciler.model.alert import Answer, Verdict
from reconciler.ports import Clock

if TYPE_CHECKING:
    import aiohttp

    from reconciler.adapters.alerts.resolving import Names

DEADLINE_S = 10.0
MAX_BODY = 4096
"""Bytes of an answer that are read; more is not needed to say what it was."""
MAX_SAID = 200
LEAST_SECRET = 8
"""Letters from which on a piece of an address is taken for a secret."""
MOST_S = 3600.0
"""No receiver is left alone for longer, whatever it asks for."""
_LATER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is posted. The address is a secret: many receivers are known by it alone."""

    url: str = field(repr=False)
    body: bytes
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What else of it may stand in no text."""

    def hidden(self) -> tuple[str, ...]:
        """Whatever of the request a receiver could repeat in its answer, and nobody is to read there."""
        parts = urlsplit(self.url)
        pieces = (*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query)))
        long = tuple(piece for piece in pieces if len(piece) >= LEAST_SECRET)
        return (self.url, parts.path, parts.query, parts.netloc, *long, *self.headers.values(), *self.secrets)


@dataclass(slots=True, kw_only=True)
class Poster:
    """Posts over HTTP(S), certificates verified. Use it inside one event loop, and `close` it there."""

    clock: Clock
    deadline_s: float = DEADLINE_S
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _names: Names | None = field(default=None, init=False)

    async def post(self, request: Request) -> Answer:
        """One attempt; what goes wrong is said in the answer."""
        import aiohttp

        try:
            async with asyncio.timeout(self.deadline_s):
                return await self._exchange(request)
        except TimeoutError:
            return Answer(verdict=Verdict.LATER, text=f"no answer within {self.deadline_s:g} s")
        except aiohttp.InvalidURL:
            return Answer(verdict=Verdict.REFUSED, text="the address is none (it is not shown)")
        except aiohttp.ClientConnectorCertificateError:
            return Answer(verdict=Verdict.LATER, text="its certificate is not trusted here")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(verdict=Verdict.LATER, text=_problem(error))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._names is not None:
            await self._names.close()
            self._names = None

    async def _exchange(self, request: Request) -> Answer:
        session = self._open()
        headers = {"Content-Type": "application/json", **request.headers}
        sent = io.BytesIO(request.body)  # a flood is too large to be written in one go
        async with session.post(request.url, data=sent, headers=headers, allow_redirects=False) as response:
            if 200 <= response.status < 300:  # it is taken, whatever becomes of the words that follow
                response.close()
                return Answer(verdict=Verdict.SENT, text=str(response.status))
            body = b""
            async for chunk in response.content.iter_chunked(1024):
                body += chunk
                if len(body) >= MAX_BODY:
                    response.close()
                    break
            return self._judged(response.status, response.headers.get("Retry-After", ""), body, request)

    def _judged(self, status: int, retry_after: str, body: bytes, request: Request) -> Answer:
        if 300 <= status < 400:
            return Answer(verdict=Verdict.REFUSED, text=f"{status}: it leads elsewhere, and is not followed")
        shown = said(body, request.hidden())
        text = f"{status}: {shown}" if shown else str(status)
        if status in _LATER or status >= 500:
            return Answer(verdict=Verdict.LATER, text=text, again_s=self._again(retry_after))
        return Answer(verdict=Verdict.REFUSED, text=text)

    def _again(self, retry_after: str) -> float | None:
        """What a Retry-After asks for: seconds, or a date. Bounded; what cannot be read asks for nothing."""
        text = retry_after.strip()
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), MOST_S)
        try:
            at = parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(at - self.clock.now_ms() / 1000, 0.0), MOST_S)

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        from reconciler.adapters.alerts.resolving import Names

        if self._session is None:
            self._names = Names()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=2, keepalive_timeout=30, resolver=self._names),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": "reconciler-alerts"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def said(body: bytes, secrets: tuple[str, ...]) -> str:
    """One short line of what a receiver answered, fit to be shown."""
    text = "".join(letter if letter.isprintable() else " " for letter in body.decode(errors="replace"))
    return masked(" ".join(text.split()), secrets)[:MAX_SAID]


def _problem(error: Exception) -> str:
    """What went wrong on the way, without the address."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    if "resolve" in type(error).__name__.lower() or "DNS" in type(error).__name__:
        return "its name cannot be resolved"
    return f"the connection broke: {type(error).__name__}"
