"""The server: its ports, who is let in, and how requests and answers look on the wire.

One loop runs it all, so that nothing happens at the same time but what waits. Endpoints are in the modules `on_*`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import jwt
from aiohttp import web

from tests.doubles.arango import (
    on_admin,
    on_collections,
    on_cursors,
    on_documents,
    on_imports,
    on_indexes,
    on_transactions,
    on_users,
)
from tests.doubles.arango.call import Answer, Call, Route, find
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.faults import Faults
from tests.doubles.arango.store import Store
from tests.doubles.arango.transactions import Transactions

ENDPOINTS = (
    *(on_admin, on_users, on_collections, on_indexes),
    *(on_documents, on_imports, on_cursors, on_transactions),
)
"""The modules that declare what can be asked; to be here is all that they need."""
COMMON_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-cache, no-store, must-revalidate, pre-check=0, post-check=0, max-age=0, s-maxage=0",
    "Connection": "Keep-Alive",
    "Content-Security-Policy": "frame-ancestors 'self'; form-action 'self';",
    "Expires": "0",
    "Pragma": "no-cache",
    "Server": "ArangoDB",
    "Strict-Transport-Security": "max-age=31536000 ; includeSubDomains",
    "X-Arango-Queue-Time-Seconds": "0.000000",
    "X-Content-Type-Options": "nosniff",
}
_TURNS = 5
# Headers of ArangoDB that mean something; those that no endpoint here understands are refused.
HARMLESS = {"x-arango-driver", "x-arango-trx-id"}


@dataclass(slots=True)
class Settings:
    """What a test may want otherwise."""

    root_password: str = ""
    token_seconds: float = 3600.0
    idle_seconds: float = 60.0
    key_wait: float = 1.0  # how long a writer waits for a key that another transaction holds
    lock_timeout: float = 900.0  # and for a collection
    cursor_seconds: float = 30.0


@dataclass(slots=True)
class Cursor:
    """A result that was not fetched whole. `last` is kept for a client that asks for a batch again."""

    id: str
    user: str
    database: str
    rest: list[Any]
    batch_size: int
    shown: dict[str, Any]
    retry: bool
    batch: int = 1
    last: tuple[str, dict[str, Any]] | None = None


class Server:
    """A store with everything that serves it: transactions, cursors, tokens, coordinators."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.transactions = Transactions(store, idle_seconds=settings.idle_seconds)
        self.cursors: dict[str, Cursor] = {}
        self.faults = Faults()
        self.secret = secrets.token_hex(32)
        self.store.users["root"].password = settings.root_password
        self.refused: list[str] = []  # all that was answered with 501
        self._runners: dict[str, tuple[web.AppRunner, socket.socket]] = {}
        self._tokens: dict[str, tuple[str, float]] = {}

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # -- coordinators ------------------------------------------------------------------------------------------------

    async def start(self, coordinator: str, port: int = 0) -> int:
        """Listen on a port of loopback; answers the port."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, coordinator)

        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", answer)
        app.on_response_prepare.append(_without_date)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        await web.SockSite(runner, listening).start()
        self._runners[coordinator] = (runner, listening)
        return int(runner.addresses[0][1])

    async def stop(self, coordinator: str) -> None:
        """Close the port and all connections to it; what ran in transactions there is lost."""
        found = self._runners.pop(coordinator, None)
        if found is None:
            return
        runner, listening = found
        asyncio.get_running_loop().remove_reader(listening)
        for _ in range(_TURNS):  # who was let in just now gets a connection, which can then be closed
            await asyncio.sleep(0)
        if runner.server is not None:
            for connection in list(runner.server.connections):
                if connection.transport is not None:
                    connection.transport.abort()
        for trx in [one for one in self.transactions.running.values() if one.coordinator == coordinator]:
            self.transactions.end(trx, "aborted")
            self.transactions.ended.pop(trx.id, None)
        await runner.cleanup()

    def cursor(
        self, number: str, call: Call, rest: list[Any], size: int, shown: dict[str, Any], *, retry: bool
    ) -> Cursor:
        """Keep the rest of a result."""
        made = Cursor(number, call.user, call.database, rest, size, shown, retry)
        self.cursors[number] = made
        return made

    def forget_cursor(self, cursor: Cursor, seconds: float) -> None:
        """A cursor that nobody asked to the end in time is gone."""
        asyncio.get_running_loop().call_later(seconds, self.cursors.pop, cursor.id, None)

    @property
    def single(self) -> bool:
        """Whether it looks like a single server, and no cluster."""
        return len(self._runners) <= 1

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request, coordinator: str) -> web.StreamResponse:
        body = await request.read()
        path = unquote(request.raw_path.partition("?")[0])
        fault = self.faults.take(request.method, path, body)
        if fault is not None:
            early = await self.faults.before(fault, request)
            if early is not None:
                return early if isinstance(early, web.Response) else respond(early)
        answer = await self.handle(coordinator, request.method, path, request.query, request.headers, body)
        if fault is not None:
            await self.faults.after(fault, request)
        response = respond(answer, head=request.method == "HEAD")
        if fault is not None and await self.faults.during(fault, request, response):
            return web.Response()
        return response

    async def handle(
        self,
        coordinator: str,
        method: str,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        """Answer a request; the headers' names are told apart without regard to case by `headers` itself."""
        try:
            database, path = _database(path)
            call = Call(self, coordinator, method, path, params, headers, body, database)
            return await self._dispatch(call)
        except ArangoError as error:
            etag = {} if error.etag is None else {"Etag": f'"{error.etag}"'}
            return Answer(error.http, error.body(), etag)
        except Unsupported as what:
            self.refused.append(str(what))
            told = f"the double does not know: {what}"
            return Answer(501, {"code": 501, "error": True, "errorMessage": told, "errorNum": 9})

    async def _dispatch(self, call: Call) -> Answer:
        found, call.names = find("GET" if call.method == "HEAD" else call.method, call.path.rstrip("/") or "/")
        if not found.public:
            call.user = self._user(call.headers.get("Authorization"))
            if call.path != "/_api/database" and call.database not in self.store.databases:
                raise ArangoError(1228, f"database not found: {call.database}")
            if call.path not in ("/_api/version", "/_api/user") and not call.path.startswith("/_api/user/"):
                call.need_database("ro")
        self._check(call, found)
        return await found.handler(call)

    @staticmethod
    def _check(call: Call, found: Route) -> None:
        for name in call.params:
            if name not in found.params:
                raise Unsupported(f"parameter {name} of {call.method} {call.path}")
        for name in call.headers:
            known = name.lower()
            if known in found.headers or known in HARMLESS:
                continue
            if known.startswith("x-arango-") or known in ("if-match", "if-none-match"):
                raise Unsupported(f"header {name} of {call.method} {call.path}")

    # -- who -----------------------------------------------------------------------------------------------------

    def token(self, user: str) -> str:
        issued = time.time()
        claims = {"preferred_username": user, "iss": "arangodb", "iat": int(issued)}
        return jwt.encode(claims | {"exp": int(issued + self.settings.token_seconds)}, self.secret, algorithm="HS256")

    def expire_tokens(self) -> None:
        """No token that was given so far is good any more."""
        self.secret = secrets.token_hex(32)
        self._tokens.clear()

    def _user(self, header: str | None) -> str:
        scheme, _, credentials = (header or "").partition(" ")
        user = None
        if scheme.lower() == "bearer":
            user = self._bearer(credentials)
        elif scheme.lower() == "basic":
            with suppress(ValueError):
                name, _, password = base64.b64decode(credentials).decode().partition(":")
                user = name if self.knows(name, password) else None
        if user is None or user not in self.store.users:
            raise ArangoError(11, "not authorized to execute this request", http=401)
        return user

    def knows(self, name: str, password: str) -> bool:
        found = self.store.users.get(name)
        return found is not None and found.active and secrets.compare_digest(found.password, password)

    def _bearer(self, token: str) -> str | None:
        known = self._tokens.get(token)
        if known is None:
            try:
                claims = jwt.decode(token, self.secret, algorithms=["HS256"], options={"verify_exp": False})
            except jwt.InvalidTokenError:
                return None
            known = self._tokens[token] = (str(claims["preferred_username"]), float(claims["exp"]))
        user, ends = known
        return user if time.time() < ends else None


async def _without_date(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Date", None)


def _database(path: str) -> tuple[str, str]:
    if not path.startswith("/_db/"):
        return "_system", path
    name, slash, rest = path.removeprefix("/_db/").partition("/")
    return name, slash + rest


def respond(answer: Answer, *, head: bool = False) -> web.Response:
    body = b"" if answer.body is None else json.dumps(answer.body, separators=(",", ":"), ensure_ascii=False).encode()
    response = web.Response(status=answer.status, body=b"" if head else body, headers=COMMON_HEADERS | answer.headers)
    if head:
        response.headers["Content-Length"] = str(len(body))
    return response
