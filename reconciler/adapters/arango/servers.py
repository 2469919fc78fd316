"""The way to the servers: one link to each coordinator, the next one when one is away, and bounded patience.

A stream transaction stays on the link that it began on. No statements live here.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from arango.client import ArangoClient
from arango.database import StandardDatabase

from reconciler.adapters.arango.faults import FAILURES, Failure, Kind, kind_of, translate
from reconciler.adapters.arango.transport import OnceClient
from reconciler.model.errors import RegistryError

T = TypeVar("T")
_ALWAYS = 10**10
"""Seconds of leeway for a token that expired: the driver then renews it whatever this machine's clock says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Which database, where, and as whom. `urls` are coordinators of one cluster, or one single server."""

    urls: tuple[str, ...]
    database: str
    username: str
    password: str = field(repr=False)
    ca_file: str = ""

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"{self.urls[0]}/{self.database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often, and how long, a server is waited for. `lock_s` is less than `read_s`, or no answer tells of a lock."""

    attempts: int = 4
    pause_s: float = 0.05
    longest_pause_s: float = 2.0
    connect_s: float = 5.0
    read_s: float = 30.0
    lock_s: int = 5

    def pause(self, attempt: int) -> None:
        """Wait before one more attempt: longer each time, and never in step with others."""
        longest = min(self.longest_pause_s, self.pause_s * 2**attempt)
        time.sleep(longest * (0.5 + random.random() / 2))  # noqa: S311 - only to be out of step


@dataclass(frozen=True, slots=True)
class Link:
    """A coordinator that let us in."""

    url: str
    db: StandardDatabase


class Servers:
    """All coordinators of one registry. Safe to use from several threads."""

    def __init__(self, access: Access, patience: Patience, *, connections: int = 8) -> None:
        self.access = access
        self.patience = patience
        self._http = OnceClient(connect_s=patience.connect_s, read_s=patience.read_s, connections=connections)
        self._clients: dict[str, ArangoClient] = {}
        self._links: dict[str, Link] = {}
        self._at = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The coordinator that is used now."""
        return self.access.urls[self._at]

    def link(self, database: str = "") -> Link:
        """The coordinator that is used now; opens it first if need be. Raises what the driver raises."""
        url = self.url
        with self._lock:
            known = None if database else self._links.get(url)
        if known is not None:
            return known
        opened = Link(url, self._open(url, database or self.access.database))
        if not database:
            with self._lock:
                self._links[url] = opened
        return opened

    def _open(self, url: str, database: str) -> StandardDatabase:
        with self._lock:
            client = self._clients.get(url)
            if client is None:
                client = self._clients[url] = ArangoClient(
                    hosts=[url],
                    resolver_max_tries=1,
                    http_client=self._http,
                    serializer=_dump,
                    deserializer=_load,
                    verify_override=self.access.ca_file or None,
                )
        db = client.db(database, self.access.username, self.access.password, auth_method="jwt")
        connection: Any = db.conn
        connection.exp_leeway = _ALWAYS
        return db

    def leave(self, url: str) -> None:
        """Use the next coordinator from now on, unless another thread has moved on already."""
        with self._lock:
            if self.access.urls[self._at] == url:
                self._at = (self._at + 1) % len(self.access.urls)

    def ask(self, doing: str, question: Callable[[StandardDatabase], T], *, database: str = "") -> T:
        """Ask what may be asked twice: reads, and what is the same when it is done again.

        Raises RegistryError when nobody answers within reason, or the answer is no.
        """
        tries = Tries(self, doing)
        while True:
            url = self.url
            try:
                return question(self.link(database).db)
            except FAILURES as error:
                tries.after(error, url)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
            self._links.clear()


class Tries:
    """Counts the attempts of one call, and decides after each failure whether there is to be another."""

    def __init__(self, servers: Servers, doing: str) -> None:
        self._servers = servers
        self._doing = doing
        self._count = 0

    def after(self, error: Failure, url: str) -> None:
        """Get ready for the next attempt: the next coordinator, a pause. Raises RegistryError when it is enough."""
        kind, patience = kind_of(error), self._servers.patience
        self._count += 1
        urls = len(self._servers.access.urls)
        enough = self._count >= max(patience.attempts, urls)
        if enough or kind in (Kind.DENIED, Kind.REFUSED):
            raise self.refusal(error, url) from error
        if kind is not Kind.BUSY:
            self._servers.leave(url)
            if self._count % urls:
                return
        patience.pause(self._count // urls)

    def refusal(self, error: Failure, url: str) -> RegistryError:
        """The failure as it is told to the caller."""
        return translate(error, f"{url}/{self._servers.access.database}", self._doing)


_encoder = msgspec.json.Encoder()


def _dump(value: Any) -> str:
    return _encoder.encode(value).decode()


def _load(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
