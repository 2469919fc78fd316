"""SqliteMirror: a copy of another registry's records in a file of its own, to be searched. It holds nothing else.

The tables are a registry's, so that searching is the same; one more says whose copy it is, and of when. A copy that is
damaged, or of another registry, is thrown away and begun anew: everything in it is somewhere else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from reconciler.adapters.sqlite.database import Database, is_busy
from reconciler.adapters.sqlite.projection import Projection, make_anew
from reconciler.adapters.sqlite.registry import SqliteRegistry
from reconciler.adapters.sqlite.schema import migrate
from reconciler.adapters.sqlite.writing import PUT_RECORD, row_of
from reconciler.adapters.stored import codec
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.query import GroupCount, Page, Query, QueryPlan
from reconciler.model.registry import AgentState, Record, RegistrySnapshot
from reconciler.ports import Clock, Position

_TABLE = """CREATE TABLE IF NOT EXISTS mirror (
    id INTEGER PRIMARY KEY CHECK (id = 1), source TEXT NOT NULL, as_of_ms INTEGER NOT NULL
) STRICT"""
_EMPTIED = ("records", "search", "facts", "vals", "paths", "words")


class SqliteMirror:
    """What adapters/cache keeps its copy in."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._searched = SqliteRegistry(database, clock)

    @classmethod
    async def open(cls, path: Path, clock: Clock, *, source: str) -> Self:
        """Open or make the copy of the registry that `source` names. Raises RegistryError where no file can be."""
        now_ms = clock.now_ms()

        def prepare(connection: sqlite3.Connection) -> None:
            migrate(connection, now_ms=now_ms, path=str(path))
            make_anew(connection)
            connection.execute(_TABLE)
            connection.execute("INSERT INTO mirror VALUES (1, ?, 0) ON CONFLICT DO NOTHING", (source,))
            (held,) = connection.execute("SELECT source FROM mirror").fetchone()
            if held != source:
                _empty(connection)
                connection.execute("UPDATE mirror SET source = ?, as_of_ms = 0", (source,))

        try:
            return cls(await Database.open(path, prepare), clock)
        except RegistryError as error:
            if is_busy(error.__cause__):
                raise  # somebody writes to it: what they keep open must not be taken from below them
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                _remove(path.with_name(name))
            return cls(await Database.open(path, prepare), clock)

    async def position(self) -> Position:
        """How far the copy has come."""

        def work(connection: sqlite3.Connection) -> Position:
            seq, as_of_ms = connection.execute(
                "SELECT (SELECT seq FROM head), (SELECT as_of_ms FROM mirror)"
            ).fetchone()
            return Position(seq=seq, as_of_ms=as_of_ms)

        return await self._database.run("read how old the copy is", work)

    async def fill(self, snapshot: RegistrySnapshot, *, as_of_ms: int) -> None:
        """Hold exactly the records of a snapshot."""

        def work(connection: sqlite3.Connection) -> None:
            with self._database.transaction(connection):
                _empty(connection)
                # Each agent on record has changed once at least: their places are free, and before any that follows.
                _put(connection, enumerate(snapshot.records.values(), 1))
                _stand(connection, Position(seq=snapshot.seq, as_of_ms=as_of_ms))

        await self._database.run("fill the copy", work)

    async def take(self, records: Mapping[int, tuple[AgentName, Record | None]], position: Position) -> bool:
        """Hold these records too, each by the change that it came with; None is an agent that is gone.

        Where another process has brought the copy further meanwhile, nothing is done, and the answer is False.
        """

        def work(connection: sqlite3.Connection) -> bool:
            with self._database.transaction(connection):
                if connection.execute("SELECT seq FROM head").fetchone()[0] > position.seq:
                    return False
                for name in {name for name, record in records.values() if record is None}:
                    _drop(connection, name)
                _put(connection, ((seq, record) for seq, (_, record) in sorted(records.items()) if record is not None))
                _stand(connection, position)
                return True

        return await self._database.run("bring the copy up to date", work)

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page:
        return await self._searched.find(query, limit=limit, after=after)

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
        return await self._searched.count(query, by=by)

    async def explain(self, query: Query, *, limit: int, after: str = "") -> QueryPlan:
        return await self._searched.explain(query, limit=limit, after=after)

    async def close(self) -> None:
        await self._database.close()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RegistryError(
            f"{path} cannot be removed: {error.strerror}", hint="remove it: it is only a copy"
        ) from error


def _empty(connection: sqlite3.Connection) -> None:
    for table in _EMPTIED:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants above
    connection.execute("UPDATE head SET seq = 0")


def _stand(connection: sqlite3.Connection, position: Position) -> None:
    connection.execute("UPDATE head SET seq = ?", (position.seq,))
    connection.execute("UPDATE mirror SET as_of_ms = ?", (position.as_of_ms,))


def _put(connection: sqlite3.Connection, records: Iterable[tuple[int, Record]]) -> None:
    projection = Projection(connection)
    for seq, record in records:
        connection.execute(PUT_RECORD, row_of(record, codec.record_columns(record), seq))
        projection.put(record)
    projection.finish()


def _drop(connection: sqlite3.Connection, name: AgentName) -> None:
    key = (name.namespace, name.name)
    row = connection.execute(
        "SELECT body, document, manifests, shared FROM records WHERE namespace = ? AND name = ?", key
    ).fetchone()
    if row is not None:
        projection = Projection(connection)
        projection.put(replace(codec.decode_record(*row), state=AgentState.GONE))
        projection.finish()
        connection.execute("DELETE FROM records WHERE namespace = ? AND name = ?", key)
