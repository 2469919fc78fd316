"""SqliteAlertBook: what is active, what was told, and what is still to be sent, in a file of its own.

A file that is damaged, in one row or whole, is set aside and begun anew: to be told something twice is better than not
to be told at all.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import msgspec

from reconciler.adapters.sqlite.database import DAMAGED_HINT, Database
from reconciler.adapters.stored import codec
from reconciler.model.alert import (
    Alert,
    AlertChange,
    AlertGroup,
    AlertState,
    Answer,
    Notification,
    Queued,
    Verdict,
    Waiting,
)
from reconciler.model.errors import RegistryError

MAX_QUEUED = 1_000
"""Notifications that one route may have waiting."""
MAX_PROBLEM = 300
FORMAT = 1
_TABLES = (
    "CREATE TABLE IF NOT EXISTS format (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS alerts (key TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT",
    """CREATE TABLE IF NOT EXISTS told (
        route TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (route, key)) STRICT""",
    """CREATE TABLE IF NOT EXISTS queue (
        number INTEGER PRIMARY KEY AUTOINCREMENT, route TEXT NOT NULL, key TEXT NOT NULL, at_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, problem TEXT NOT NULL DEFAULT '', body BLOB NOT NULL) STRICT""",
    "CREATE INDEX IF NOT EXISTS queue_by_route ON queue (route, number)",
    """CREATE TABLE IF NOT EXISTS counts (
        route TEXT PRIMARY KEY, sent INTEGER NOT NULL DEFAULT 0, refused INTEGER NOT NULL DEFAULT 0,
        dropped INTEGER NOT NULL DEFAULT 0) STRICT""",
)
_COUNT = {
    name: f"""INSERT INTO counts (route, {name}) VALUES (?, ?)
        ON CONFLICT DO UPDATE SET {name} = {name} + excluded.{name}"""  # noqa: S608 - names from here
    for name in ("sent", "refused", "dropped")
}
_DROP_OLDEST = "DELETE FROM queue WHERE number IN (SELECT number FROM queue WHERE route = ? ORDER BY number LIMIT ?)"
_alert = msgspec.json.Decoder(Alert)
_group = msgspec.json.Decoder(AlertGroup)
_notification = msgspec.json.Decoder(Notification)
_BODIES: Mapping[str, msgspec.json.Decoder[Any]] = {"alerts": _alert, "told": _group, "queue": _notification}


class SqliteAlertBook:
    """Implements ports.AlertBook. Several processes may have the file open."""

    def __init__(self, database: Database, bound: int = MAX_QUEUED) -> None:
        self._database = database
        self._bound = bound

    @classmethod
    async def open(cls, path: Path, *, bound: int = MAX_QUEUED) -> Self:
        """Open or make the file. Raises RegistryError, also for one of a newer program."""

        def prepare(connection: sqlite3.Connection) -> None:
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute("INSERT INTO format VALUES (1, ?) ON CONFLICT DO NOTHING", (FORMAT,))
            (number,) = connection.execute("SELECT number FROM format").fetchone()
            if number > FORMAT:
                raise RegistryError(
                    f"{path} is of a newer reconciler (format {number})", hint="use that one, or move the file away"
                )
            for table, decoder in _BODIES.items():  # a row that cannot be read would hold up all that come after it
                for (body,) in connection.execute(f"SELECT body FROM {table}"):  # noqa: S608 - names from here
                    decoder.decode(body)

        try:
            return cls(await Database.open(path, prepare), bound)
        except RegistryError as error:
            if error.hint != DAMAGED_HINT:
                raise
            _set_aside(path)
            return cls(await Database.open(path, prepare), bound)

    async def state(self) -> AlertState:
        """All that is active, and what was told of it."""

        def work(connection: sqlite3.Connection) -> AlertState:
            with self._database.reading(connection):
                alerts = [_alert.decode(body) for (body,) in connection.execute("SELECT body FROM alerts ORDER BY key")]
                rows = connection.execute("SELECT body FROM told ORDER BY route, key")
                groups = [_group.decode(body) for (body,) in rows]
            return AlertState(
                active={alert.key: alert for alert in alerts}, groups={(one.route, one.key): one for one in groups}
            )

        return await self._database.run("read the alerts", work)

    async def unsent(self) -> frozenset[tuple[str, str]]:
        def work(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
            return frozenset(connection.execute("SELECT DISTINCT route, key FROM queue"))

        return await self._database.run("read the alerts to be sent", work)

    async def commit(self, change: AlertChange) -> Mapping[str, int]:
        def work(connection: sqlite3.Connection) -> Mapping[str, int]:
            with self._database.transaction(connection):
                connection.executemany("DELETE FROM alerts WHERE key = ?", [(key,) for key in change.gone_alerts])
                connection.executemany(
                    "INSERT INTO alerts VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
                    [(alert.key, codec.encode(alert)) for alert in change.alerts],
                )
                connection.executemany("DELETE FROM told WHERE route = ? AND key = ?", change.gone_groups)
                connection.executemany(
                    "INSERT INTO told VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
                    [(group.route, group.key, codec.encode(group)) for group in change.groups],
                )
                connection.executemany(
                    "INSERT INTO queue (route, key, at_ms, body) VALUES (?, ?, ?, ?)",
                    [(one.route, one.key, one.at_ms, codec.encode(one)) for one in change.notifications],
                )
                return self._bounded(connection, sorted({one.route for one in change.notifications}))

        return await self._database.run("write the alerts", work)

    def _bounded(self, connection: sqlite3.Connection, routes: list[str]) -> Mapping[str, int]:
        """Drop the oldest of what is over the bound."""
        dropped: Counter[str] = Counter()
        for route in routes:
            (queued,) = connection.execute("SELECT count(*) FROM queue WHERE route = ?", (route,)).fetchone()
            if (over := queued - self._bound) > 0:
                connection.execute(_DROP_OLDEST, (route, over))
                connection.execute(_COUNT["dropped"], (route, over))
                dropped[route] = over
        return dropped

    async def next(self, route: str) -> Queued | None:
        def work(connection: sqlite3.Connection) -> Queued | None:
            row = connection.execute(
                "SELECT number, body, attempts, problem FROM queue WHERE route = ? ORDER BY number LIMIT 1", (route,)
            ).fetchone()
            if row is None:
                return None
            number, body, attempts, problem = row
            return Queued(number=number, notification=_notification.decode(body), attempts=attempts, problem=problem)

        return await self._database.run("read the alerts to be sent", work)

    async def tried(self, queued: Queued, answer: Answer) -> None:
        route = queued.notification.route

        def work(connection: sqlite3.Connection) -> None:
            with self._database.transaction(connection):
                if answer.verdict is Verdict.LATER:
                    connection.execute(
                        "UPDATE queue SET attempts = attempts + 1, problem = ? WHERE number = ?",
                        (answer.text[:MAX_PROBLEM], queued.number),
                    )
                    return
                held = connection.execute("DELETE FROM queue WHERE number = ?", (queued.number,)).rowcount
                if answer.verdict is Verdict.SENT:
                    connection.execute(_COUNT["sent"], (route, 1))
                    if not held:  # it was dropped while it was being sent, and arrived all the same
                        connection.execute(_COUNT["dropped"], (route, -1))
                elif held:
                    connection.execute(_COUNT["refused"], (route, 1))

        await self._database.run("write what became of an alert", work)

    async def forget(self, routes: frozenset[str]) -> int:
        def work(connection: sqlite3.Connection) -> int:
            queued = [route for (route,) in connection.execute("SELECT DISTINCT route FROM queue")]
            gone = [route for route in queued if route not in routes]
            if not gone:
                return 0
            with self._database.transaction(connection):
                dropped = 0
                for route in gone:
                    number = connection.execute("DELETE FROM queue WHERE route = ?", (route,)).rowcount
                    connection.execute(_COUNT["dropped"], (route, number))
                    dropped += number
                return dropped

        return await self._database.run("drop the alerts of routes that are gone", work)

    async def waiting(self) -> tuple[Waiting, ...]:
        def work(connection: sqlite3.Connection) -> tuple[Waiting, ...]:
            with self._database.reading(connection):
                counts = connection.execute("SELECT route, sent, refused, dropped FROM counts").fetchall()
                rows = connection.execute(
                    "SELECT route, count(*), min(at_ms), max(attempts), min(number) FROM queue GROUP BY route"
                ).fetchall()
                first = {
                    route: connection.execute("SELECT problem FROM queue WHERE number = ?", (number,)).fetchone()[0]
                    for route, *_, number in rows
                }
            found = {route: Waiting(route=route, sent=s, refused=r, dropped=d) for route, s, r, d in counts}
            for route, queued, oldest, attempts, _ in rows:
                found[route] = replace(
                    found.get(route, Waiting(route=route)),
                    queued=queued,
                    oldest_ms=oldest,
                    attempts=attempts,
                    problem=first[route],
                )
            return tuple(found[route] for route in sorted(found))

        return await self._database.run("read the alerts to be sent", work)

    async def close(self) -> None:
        await self._database.close()


def _set_aside(path: Path) -> None:
    try:
        path.replace(path.with_name(f"{path.name}.damaged"))
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    except OSError as error:
        raise RegistryError(f"{path} cannot be moved away: {error.strerror}", hint="remove it by hand") from error
