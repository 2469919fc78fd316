"""One request to the server and its answer, and the table of what can be asked. Knows HTTP, knows no endpoint."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from tests.doubles.arango import values
from tests.doubles.arango.errors import ArangoError, Blocked, Unsupported
from tests.doubles.arango.store import Collection, Database
from tests.doubles.arango.transactions import Transaction

if TYPE_CHECKING:
    from tests.doubles.arango.server import Server

T = TypeVar("T")
LEVELS = {"none": 0, "ro": 1, "rw": 2}


@dataclass(slots=True)
class Answer:
    """A status, a JSON body, and headers beside those that every answer has."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """A request, with who asks and in which database."""

    server: Server
    coordinator: str
    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    database: str
    user: str = ""
    names: dict[str, str] = field(default_factory=dict)

    # -- what was sent -----------------------------------------------------------------------------------------------

    @property
    def db(self) -> Database:
        return self.server.store.database(self.database)

    def json(self) -> Any:
        """The body. Raises 600 for what is no JSON."""
        if not self.body:
            return None
        try:
            return values.loads(self.body)
        except ValueError as error:
            told = "Expecting '\"' or '}'" if "property name" in str(error) else str(error)
            raise ArangoError(600, f"VPackError error: {told}") from None

    def object(self, *known: str, ignored: Iterable[str] = ()) -> dict[str, Any]:
        """The body as an object that has only `known` attributes; `ignored` ones change nothing that can be seen."""
        body = self.json()
        if body is None:
            body = {}
        if not isinstance(body, dict):
            raise ArangoError(600, "VPackError error: Expecting type Object")
        for name in body:
            if name not in known and name not in ignored:
                raise Unsupported(f"attribute {name} in the body of {self.method} {self.path}")
        return body

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self.params.get(name)
        return default if text is None else text.lower() in ("1", "true", "yes", "on", "y")

    # -- rights ------------------------------------------------------------------------------------------------------

    def need_database(self, level: str, database: str | None = None) -> None:
        """Raises 403 where the user has less on the database."""
        name = self.database if database is None else database
        has = self.server.store.users[self.user].on_database(name)
        if LEVELS[has] < LEVELS[level]:
            raise ArangoError(
                11, "insufficient permissions" if LEVELS[has] else "not authorized to execute this request"
            )

    def need_collection(self, name: str, level: str) -> None:
        """Raises 403 where the user has less on the collection."""
        has = self.server.store.users[self.user].on_collection(self.database, name)
        if LEVELS[has] < LEVELS[level]:
            raise ArangoError(1004 if LEVELS[has] else 11)

    def collection(self, name: str, level: str) -> Collection:
        found = self.db.collection(name)
        self.need_collection(found.name, level)
        return found

    # -- transactions ------------------------------------------------------------------------------------------------

    async def within(
        self,
        operation: Callable[[Transaction], T],
        *,
        writes: Iterable[Collection] = (),
        exclusive: bool = False,
        again: bool = True,
    ) -> T:
        """Do something in the transaction of the request, or in one of its own that is committed if it succeeds.

        Who meets a key that another transaction holds waits, then does it anew. `again` is whether a request without
        a transaction may then start from a new snapshot, which single operations do and queries do not.
        """
        number = self.headers.get("x-arango-trx-id")
        transactions = self.server.transactions
        if number is not None:
            trx = transactions.find(number)
            self.own(trx)
            trx.busy = True
            try:
                return await self._attempt(trx, operation, again=True)
            finally:
                trx.busy = False
                if trx.status == "running":
                    transactions.rearm(trx)
        trx = transactions.single(self.db, self.user)
        locked = sorted({one.name: one for one in writes}.items())
        try:
            for _, collection in locked:
                mode = "exclusive" if exclusive else "write"
                await transactions.lock_collection(collection, trx.id, mode, self.server.settings.lock_timeout)
            found = await self._attempt(trx, operation, again=again)
            transactions.end(trx, "committed")
            return found
        finally:
            if trx.status == "running":
                transactions.end(trx, "aborted")

    def own(self, trx: Transaction) -> None:
        """Raises 1655 for a transaction of another database or user."""
        if trx.db is not self.db or trx.user != self.user:
            raise ArangoError(1655)

    async def _attempt(self, trx: Transaction, operation: Callable[[Transaction], T], *, again: bool) -> T:
        transactions, deadline = self.server.transactions, self.server.now() + self.server.settings.key_wait
        mark = len(trx.log)
        while True:
            try:
                return operation(trx)
            except Blocked as blocked:
                trx.back_to(mark)
                key, holder = blocked.key, blocked.holder
            if not await transactions.until_released(deadline - self.server.now()):
                where = f"in index primary of type primary over '_key'; conflicting key: {key}"
                raise ArangoError(1200, f"timeout waiting to lock key - {where}")
            if not again and transactions.ended.get(holder) == "committed":
                raise trx.conflict(key)
            if trx.status != "running":
                raise ArangoError(1654)


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    handler: Handler
    params: frozenset[str]
    headers: frozenset[str]
    public: bool


ROUTES: list[Route] = []


def route(
    method: str, path: str, *params: str, headers: Iterable[str] = (), public: bool = False
) -> Callable[[Handler], Handler]:
    """Declare an endpoint: `{name}` in its path is one part of it, `params` are all that it understands."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def add(handler: Handler) -> Handler:
        ROUTES.append(Route(method, pattern, handler, frozenset(params), frozenset(headers), public))
        return handler

    return add


def find(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The endpoint and the names in the path. Raises Unsupported."""
    for one in ROUTES:
        found = one.pattern.fullmatch(path)
        if found is not None and one.method == method:
            return one, found.groupdict()
    raise Unsupported(f"endpoint {method} {path}")
