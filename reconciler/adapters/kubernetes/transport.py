"""One request to an API server: its deadline, who we are, the shared wait that a 429 asks for, and network errors.

Nothing here knows objects. What fails is classified by what is known of its effect: not sent or refused is
ClusterUnavailable, sent without an answer is OutcomeUnknown for writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from reconciler.adapters.kubernetes.answers import WRITES, NoAccess, error_of, retry_after
from reconciler.model.errors import ClusterUnavailable, OutcomeUnknown, ReconcilerError
from reconciler.model.identity import ObjectRef
from reconciler.ports import Clock

if TYPE_CHECKING:
    from reconciler.adapters.kubernetes.access import Access

CONNECT_S = 5.0
REQUEST_S = 30.0
"""Of one request, from its first byte to the last of its answer; waiting for our turn comes on top."""
MOST_WAIT_S = 20.0
"""Longer than this no 429 keeps us: the caller is told."""
CONNECTIONS = 32
MAX_BODY = 256 * 1024 * 1024
"""An answer of more is refused: pages are far smaller."""
_READ_BUFFER = 2**21
APPLY = "application/apply-patch+yaml"
EDIT = "application/json-patch+json"
JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call. `what` names it for people, `ref` is the object that it is about."""

    method: str
    path: str
    what: str
    ref: ObjectRef | None = None
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    content_type: str = JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A success: the HTTP status and the whole body."""

    code: int
    body: bytes


class Transport:
    """Keep-alive connections to one server. Use it inside one event loop, and `close` it there."""

    def __init__(self, cluster: str, access: Access, clock: Clock) -> None:
        self._cluster = cluster
        self._access = access
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._retired: list[aiohttp.ClientSession] = []
        self._login = asyncio.Lock()
        self._logins = 0
        self._not_before = 0.0
        self._gate = asyncio.Semaphore(CONNECTIONS)
        self.requests = 0
        """How many were sent."""

    async def call(self, request: Request, *, deadline_s: float = REQUEST_S) -> Reply:
        """Send a request and read its answer. Raises what error_of and the network make of it."""
        async with self._gate:
            logins = self._logins
            try:
                return await self._patiently(request, deadline_s)
            except NoAccess:
                if self._logins == 0:
                    raise
            await self._log_in_again(logins)
            return await self._patiently(request, deadline_s)

    async def _patiently(self, request: Request, deadline_s: float) -> Reply:
        """Wait as long as the server asks all of us to: a request that was refused so has had no effect."""
        waited = 0.0
        while True:
            pause = self._not_before - self._clock.monotonic()
            if pause > 0:
                waited += pause
                await self._clock.sleep(pause)
            code, header, body = await self._once(request, deadline_s)
            if code < 300:
                return Reply(code=code, body=body)
            if code == 429 and waited < MOST_WAIT_S:
                seconds = min(retry_after(header, body), MOST_WAIT_S)
                self._not_before = max(self._not_before, self._clock.monotonic() + max(seconds, 0.05))
                continue
            raise error_of(code, body, method=request.method, cluster=self._cluster, ref=request.ref, what=request.what)

    async def _once(self, request: Request, deadline_s: float) -> tuple[int, str | None, bytes]:
        try:
            async with asyncio.timeout(deadline_s), self._sent(request) as answer:
                return answer.status, answer.headers.get("Retry-After"), await _whole(answer)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._lost(request, error, deadline_s) from error

    @asynccontextmanager
    async def _sent(self, request: Request, *, read_s: float | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        session = await self._connected()
        headers = await self._access.headers()
        headers["Accept"] = JSON
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        self.requests += 1
        async with session.request(
            request.method,
            self._access.url + request.path,
            params=request.query,
            data=request.body,
            headers=headers,
            proxy=self._access.proxy,
            server_hostname=self._access.server_name,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=read_s),
        ) as answer:
            yield answer

    @asynccontextmanager
    async def stream(self, request: Request, *, silence_s: float | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Lines of an answer as they come; `silence_s` without a byte (None: any time) ends them with an error.

        Raises as `call` does. A stream is none of the CONNECTIONS.
        """
        try:
            async with self._sent(request, read_s=silence_s) as answer:
                if answer.status >= 300:
                    body = await _whole(answer)
                    raise error_of(
                        answer.status, body, method="GET", cluster=self._cluster, ref=request.ref, what=request.what
                    )
                yield _lines(answer)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ClusterUnavailable(f"{self._cluster}: {request.what}: {_words(error)}", ref=request.ref) from error

    async def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            async with self._login:
                if self._session is None:
                    await self._access.load()
                    self._session = self._new_session()
                    self._logins += 1
        return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        tls = self._access.tls
        connector = aiohttp.TCPConnector(limit=0, ssl=tls if tls is not None else True, keepalive_timeout=60.0)
        return aiohttp.ClientSession(
            connector=connector, trust_env=True, read_bufsize=_READ_BUFFER, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def _log_in_again(self, logins: int) -> None:
        """Read the credentials anew after a 401; of many at once one does. Raises NoAccess."""
        async with self._login:
            if self._logins != logins and self._logins > 1:
                return
            await self._access.load()
            if self._session is not None:
                self._retired.append(self._session)  # others may be in the middle of a request there
            self._session = self._new_session()
            self._logins += 1

    def _lost(self, request: Request, error: Exception, deadline_s: float) -> ReconcilerError:
        """What a request without an answer means. Only what never left this machine has surely had no effect."""
        unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        silent = isinstance(error, TimeoutError) and not unsent
        why = f"no answer within {deadline_s:g} s" if silent else _words(error)
        text = f"{request.what} on {self._cluster}: {why}"
        if request.method in WRITES and not unsent:
            return OutcomeUnknown(f"{text}; it may or may not have been done")
        return ClusterUnavailable(text, ref=request.ref, cluster=self._cluster)

    async def close(self) -> None:
        """End all connections."""
        sessions = [*self._retired, *([self._session] if self._session else [])]
        self._session, self._retired = None, []
        for session in sessions:
            await session.close()


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    """A body to its end. Raises ClientPayloadError for one that is torn, or that has no end."""
    found = bytearray()
    async for chunk in answer.content.iter_any():
        found += chunk
        if len(found) > MAX_BODY:
            raise aiohttp.ClientPayloadError(f"its answer is larger than {MAX_BODY // 2**20} MiB")
    return bytes(found)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Whole lines, however long: an object of a watch may be larger than any buffer."""
    rest = b""
    async for chunk in answer.content.iter_any():
        rest += chunk
        if b"\n" not in chunk:
            continue
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


def _words(error: Exception) -> str:
    """A network error for people; aiohttp's texts name its own objects."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return f"its certificate is not trusted: {error.os_error if hasattr(error, 'os_error') else error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"cannot be reached: no connection within {CONNECT_S:g} s"
    if isinstance(error, TimeoutError):
        return "it is silent"
    return str(error) or type(error).__name__
