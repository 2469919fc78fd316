"""One request to an API server: its deadline, who we are, the shared wait that a 429 asks for, and network errors.

Nothing here knows objects. What fails is classified by what is known of its effect: not sent or refused is
ClusterUnavailable, sent without an answer is OutcomeUnknown for writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from reconciler.adapters.kubernetes.answers import WRITES, Busy, NoAccess, error_of, retry_after
from reconciler.adapters.kubernetes.sessions import Sessions
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
MAX_LINE = 16 * 1024 * 1024
"""A line of more is refused: an object is 3 MiB at most."""
LEAST_WAIT_S = 0.05
LOGIN_WAIT_S = 8.0
"""Less than anybody waits for a cluster to say who it is: credentials that are slow to come are no outage."""
RELOAD_EACH_S = 30.0
"""How often a kubeconfig is looked into again, and a plugin asked, while its server cannot be reached."""
_UNSENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)
APPLY = "application/apply-patch+yaml"
EDIT = "application/json-patch+json"
JSON = "application/json"


class Unreached(ClusterUnavailable):
    """No connection came about: nothing left this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call. `what` names it for people, `ref` is the object that it is about.

    With `patience_s` it does not wait its turn behind others, and for no longer than that where the server asks us to.
    """

    method: str
    path: str
    what: str
    ref: ObjectRef | None = None
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    content_type: str = JSON
    patience_s: float | None = None


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
        self._sessions = Sessions()
        self._login: asyncio.Task[None] | None = None
        self._logins = 0
        self._logged_in = float("-inf")
        self._not_before = 0.0
        self._gate = asyncio.Semaphore(CONNECTIONS)
        self.requests = 0
        """How many were sent."""

    @property
    def sessions(self) -> int:
        """How many sets of connections are open: one, and others while requests under old credentials last."""
        return self._sessions.open

    async def call(self, request: Request) -> Reply:
        """Send a request and read its answer. Raises what error_of and the network make of it."""
        turn: AbstractAsyncContextManager[object] = self._gate if request.patience_s is None else nullcontext()
        async with turn:
            logins = await self._log_in()
            try:
                return await self._patiently(request)
            except NoAccess:
                await self._log_in_again(logins)
            except Unreached:
                if not await self._moved(logins):
                    raise
            return await self._patiently(request)

    async def _patiently(self, request: Request) -> Reply:
        """Wait as long as the server asks all of us to: a request that was refused so has had no effect."""
        waited = 0.0
        while True:
            pause = self._not_before - self._clock.monotonic()
            if request.patience_s is not None and pause > request.patience_s - waited:
                raise Busy(f"{request.what}: {self._cluster} asks us to wait", ref=request.ref, cluster=self._cluster)
            waited += await self._turn(MOST_WAIT_S - waited)
            code, header, body = await self._once(request)
            if code < 300:
                return Reply(code=code, body=body)
            if code == 429:
                self._asked_to_wait(header, body)
                if waited < MOST_WAIT_S:
                    continue
            raise self._error(request, code, body)

    async def _turn(self, most_s: float) -> float:
        """Wait until nobody is asked to wait any more, or longer than `most_s`; answers how long it was."""
        waited = 0.0
        while waited < most_s and (pause := self._not_before - self._clock.monotonic()) > 0:
            waited += pause
            await self._clock.sleep(pause)
        return waited

    def _asked_to_wait(self, header: str | None, body: bytes) -> None:
        seconds = min(max(retry_after(header, body), LEAST_WAIT_S), MOST_WAIT_S)
        self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    def _error(self, request: Request, code: int, body: bytes) -> ReconcilerError:
        return error_of(code, body, method=request.method, cluster=self._cluster, ref=request.ref, what=request.what)

    async def _once(self, request: Request) -> tuple[int, str | None, bytes]:
        try:
            async with asyncio.timeout(REQUEST_S), self._sent(request) as answer:
                return answer.status, answer.headers.get("Retry-After"), await _whole(answer)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._lost(request, error) from error

    @asynccontextmanager
    async def _sent(self, request: Request, *, read_s: float | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = await self._access.headers()
        headers["Accept"] = JSON
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        self.requests += 1
        async with (
            self._sessions.use() as session,
            session.request(
                request.method,
                self._access.url + request.path,
                params=request.query,
                data=request.body,
                headers=headers,
                proxy=self._access.proxy,
                server_hostname=self._access.server_name,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=read_s),
            ) as answer,
        ):
            try:
                yield answer
            finally:
                _abandon(answer)

    @asynccontextmanager
    async def stream(self, request: Request, *, silence_s: float | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Lines of an answer as they come; `silence_s` without a byte (None: any time) ends them with an error.

        Raises as `call` does. A stream is none of the CONNECTIONS.
        """
        logins = await self._log_in()
        await self._turn(MOST_WAIT_S)
        try:
            async with AsyncExitStack() as stack:
                answer = await stack.enter_async_context(self._sent(request, read_s=silence_s))
                if answer.status == 401:
                    await self._log_in_again(logins)
                    answer = await stack.enter_async_context(self._sent(request, read_s=silence_s))
                if answer.status >= 300:
                    body = await _whole(answer)
                    if answer.status == 429:
                        self._asked_to_wait(answer.headers.get("Retry-After"), body)
                    raise self._error(request, answer.status, body)
                yield _lines(answer)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ClusterUnavailable(f"{self._cluster}: {request.what}: {_words(error)}", ref=request.ref) from error

    async def _log_in(self) -> int:
        """See that there are credentials; answers how often they were read. Raises NoAccess."""
        if self._logins == 0:
            await self._log_in_again(0)
        return self._logins

    async def _log_in_again(self, logins: int) -> None:
        """Read the credentials, unless somebody has since they were read `logins` times. Raises NoAccess.

        Who waits for them for too long is told so, which is no outage, and they go on coming for the next who asks.
        """
        if self._logins != logins:
            return
        if self._login is None:
            self._login = asyncio.create_task(self._load())
            self._login.add_done_callback(self._logged)
        login = self._login
        done, _ = await asyncio.wait([login], timeout=LOGIN_WAIT_S)
        if not done:
            text = f"{self._cluster}: its credentials had not come after {LOGIN_WAIT_S:g} s, and are waited for"
            raise NoAccess(text, hint="see what its credential plugin does: run it by hand, as kubectl would")
        if login.cancelled():
            raise ClusterUnavailable(f"{self._cluster}: its connections were closed meanwhile", cluster=self._cluster)
        login.result()

    async def _load(self) -> None:
        self._logged_in = self._clock.monotonic()
        await self._access.load()
        await self._sessions.renew(self._access.tls)
        self._logins += 1

    def _logged(self, login: asyncio.Task[None]) -> None:
        self._login = None
        if not login.cancelled():
            login.exception()  # noqa: LOG004 - a task's; whoever waits has it too, and nobody may be left who does

    async def _moved(self, logins: int) -> bool:
        """Whether there is something new to try where nobody answers: a kubeconfig may name another address by now, or
        another authority, and a certificate of ours may have run out. Looked at now and then only.
        """
        if self._clock.monotonic() - self._logged_in < RELOAD_EACH_S:
            return self._logins != logins
        with suppress(NoAccess):
            await self._log_in_again(logins)
        return self._logins != logins

    def _lost(self, request: Request, error: Exception) -> ReconcilerError:
        """What a request without an answer means. Only what never left this machine has surely had no effect."""
        unsent = isinstance(error, _UNSENT)
        silent = isinstance(error, TimeoutError) and not unsent
        why = f"no answer within {REQUEST_S:g} s" if silent else _words(error)
        text = f"{request.what} on {self._cluster}: {why}"
        if unsent:
            return Unreached(text, ref=request.ref, cluster=self._cluster)
        if request.method in WRITES:
            return OutcomeUnknown(f"{text}; it may or may not have been done")
        return ClusterUnavailable(text, ref=request.ref, cluster=self._cluster)

    async def close(self) -> None:
        """End all connections. What is asked afterwards opens new ones."""
        if self._login is not None:
            self._login.cancel()
            await asyncio.wait([self._login])
        await self._sessions.close()
        self._logins = 0


def _abandon(answer: aiohttp.ClientResponse) -> None:
    """End the connection of an answer that was not read to its end: a silent server would not end it with us."""
    if answer.connection is not None and answer.connection.transport is not None and not answer.content.at_eof():
        answer.connection.transport.abort()


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    """A body to its end. Raises ClientPayloadError for one that is torn, or that has no end."""
    found = bytearray()
    async for chunk in answer.content.iter_any():
        found += chunk
        if len(found) > MAX_BODY:
            raise aiohttp.ClientPayloadError(f"its answer is larger than {MAX_BODY // 2**20} MiB")
    return bytes(found)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Whole lines: an object of a watch may be larger than a buffer. Raises ClientPayloadError for one without end."""
    rest = bytearray()
    async for chunk in answer.content.iter_any():
        rest += chunk
        if b"\n" in chunk:
            *whole, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in whole:
                yield line
        if len(rest) > MAX_LINE:
            raise aiohttp.ClientPayloadError(f"it sent a line larger than {MAX_LINE // 2**20} MiB")
    if rest:
        yield bytes(rest)


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
