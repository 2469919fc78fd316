"""What can be searched of records: kept beside them, in the transaction that writes them. No queries live here.

A record's facts and words are those of reconciler.query.facts. Facts that every record has once stand in the columns
of `search`; the others are rows of `facts`, each a record and a value, and a value is kept once for all records that
have it: most of a fleet is alike. Only what differs is written.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from reconciler.adapters.stored import codec
from reconciler.model.query import Value
from reconciler.model.registry import AgentState, Record
from reconciler.query.facts import VERSION, Facts, facts_of, rank

NO_TEXT = ""
NO_NUMBER = float("-inf")
TEXT_COLUMNS = {"namespace": "namespace", "name": "name", "id": "id", "state": "state", "commit": '"commit"',
                "source": "source", "message": "message"}  # fmt: skip
NUMBER_COLUMNS = {"replicas": "replicas", "revision": "revision", "created": "created", "updated": "updated",
                  "lastSeen": "last_seen"}  # fmt: skip
FLAG_COLUMNS = {"suspended": "suspended", "protect": "protect"}
COLUMNS: Mapping[str, str] = TEXT_COLUMNS | NUMBER_COLUMNS | FLAG_COLUMNS
"""The columns of `search`, by the path whose value they hold. Text and numbers say by NO_TEXT and NO_NUMBER that there
is none; no fact of these paths is one of both."""

_PATH_BITS = 32
_PUT = (
    f"INSERT INTO search ({', '.join(COLUMNS.values())}, digest) VALUES ({', '.join('?' * (len(COLUMNS) + 1))}) "
    "ON CONFLICT (namespace, name) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in (*COLUMNS.values(), "digest"))
    + " RETURNING record"
)
_Fact = tuple[str, int, Value]
"""Path, type and value."""


def path_range(path: int) -> tuple[int, int]:
    """First and last id that a value at a path can have."""
    return path << _PATH_BITS, (path + 1 << _PATH_BITS) - 1


def agrees(connection: sqlite3.Connection, record: Record) -> bool:
    """Whether what can be searched of a live record is what it says; of one that is gone there is nothing."""
    key = (record.name.namespace, record.name.name)
    row = connection.execute(
        f"SELECT record, digest, {', '.join(COLUMNS.values())} FROM search WHERE namespace = ? AND name = ?",
        key,
    ).fetchone()
    if row is None or record.state is AgentState.GONE:
        return row is None and record.state is AgentState.GONE
    facts = facts_of(record)
    kept, words = _kept(facts), " ".join(sorted(facts.words))
    if tuple(row[1:]) != (_digest(kept, words), *_columns(facts)):
        return False
    held = connection.execute(
        "SELECT paths.path, vals.type, vals.value FROM facts JOIN vals ON vals.id = facts.value "
        "JOIN paths ON paths.id = vals.path WHERE facts.record = ?",
        (row[0],),
    )
    told = connection.execute("SELECT tokens FROM words WHERE rowid = ?", (row[0],)).fetchone()
    return set(held) == kept and (told[0] if told else "") == words


def _kept(facts: Facts) -> set[_Fact]:
    """The facts that are rows."""
    return {
        (path, rank(value)[0], value)
        for path, values in facts.values.items()
        if path not in COLUMNS
        for value in values
    }


class Projection:
    """Writes in one transaction. It remembers which values there are, so make it anew for the next one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._paths: dict[str, int] = {}
        self._values: dict[_Fact, int] = {}
        self._having: Counter[int] = Counter()

    def put(self, record: Record) -> None:
        """Keep what can be searched of a record; nothing of one that is gone."""
        key = (record.name.namespace, record.name.name)
        row = self._connection.execute(
            "SELECT record, digest FROM search WHERE namespace = ? AND name = ?", key
        ).fetchone()
        if record.state is AgentState.GONE:
            if row is not None:
                self._drop(row[0])
            return
        facts = facts_of(record)
        kept = _kept(facts)
        words = " ".join(sorted(facts.words))
        digest = _digest(kept, words)
        (number,) = self._connection.execute(_PUT, (*_columns(facts), digest)).fetchone()
        if row is None or row[1] != digest:
            self._put_facts(number, kept)
            self._put_words(number, words, new=row is None)

    def finish(self) -> None:
        """Write down how many records have each path; call it once, behind the last record."""
        self._connection.executemany(
            "UPDATE paths SET records = records + ? WHERE id = ?", [(n, path) for path, n in self._having.items() if n]
        )
        self._having.clear()

    def _drop(self, number: int) -> None:
        self._put_facts(number, set())
        self._connection.execute("DELETE FROM words WHERE rowid = ?", (number,))
        self._connection.execute("DELETE FROM search WHERE record = ?", (number,))

    def _put_facts(self, number: int, kept: set[_Fact]) -> None:
        held = {value for (value,) in self._connection.execute("SELECT value FROM facts WHERE record = ?", (number,))}
        wanted = {self._value(fact) for fact in kept}
        before, after = ({value >> _PATH_BITS for value in values} for values in (held, wanted))
        self._having.update(after - before)
        self._having.subtract(before - after)
        self._connection.executemany("INSERT INTO facts VALUES (?, ?)", [(number, value) for value in wanted - held])
        unused = held - wanted
        if unused:
            self._connection.executemany(
                "DELETE FROM facts WHERE record = ? AND value = ?", [(number, value) for value in unused]
            )
            self._connection.executemany(
                "DELETE FROM vals WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM facts WHERE value = ?1)",
                [(value,) for value in unused],
            )
            self._values = {fact: value for fact, value in self._values.items() if value not in unused}

    def _put_words(self, number: int, words: str, *, new: bool) -> None:
        if not new:
            held = self._connection.execute("SELECT tokens FROM words WHERE rowid = ?", (number,)).fetchone()
            if held is not None and held[0] == words:
                return
            self._connection.execute("DELETE FROM words WHERE rowid = ?", (number,))
        if words:
            self._connection.execute("INSERT INTO words (rowid, tokens) VALUES (?, ?)", (number, words))

    def _path(self, path: str) -> int:
        number = self._paths.get(path)
        if number is None:
            row = self._connection.execute("SELECT id FROM paths WHERE path = ?", (path,)).fetchone()
            if row is None:
                row = self._connection.execute("INSERT INTO paths (path) VALUES (?) RETURNING id", (path,)).fetchone()
            number = self._paths[path] = int(row[0])
        return number

    def _value(self, fact: _Fact) -> int:
        number = self._values.get(fact)
        if number is None:
            path, kind, value = fact
            place = self._path(path)
            row = self._connection.execute(
                "SELECT id FROM vals WHERE path = ? AND type = ? AND value = ?", (place, kind, value)
            ).fetchone()
            if row is None:
                first, last = path_range(place)
                row = self._connection.execute(
                    "INSERT INTO vals SELECT coalesce(max(id) + 1, ?), ?, ?, ? FROM vals WHERE id BETWEEN ? AND ? "
                    "RETURNING id",
                    (first, place, kind, value, first, last),
                ).fetchone()
            number = self._values[fact] = int(row[0])
        return number


def _columns(facts: Facts) -> Iterable[Value]:
    for path in COLUMNS:
        missing = NO_TEXT if path in TEXT_COLUMNS else NO_NUMBER
        yield facts.values.get(path, (missing,))[0]


def _digest(kept: set[_Fact], words: str) -> bytes:
    ordered = sorted(kept, key=lambda fact: (fact[0], fact[1], fact[2]))
    return hashlib.blake2b(msgspec.json.encode((ordered, words)), digest_size=16).digest()


def make_anew(connection: sqlite3.Connection) -> None:
    """Project all records again where the file has another version of the projection; call it inside a transaction."""
    (version,) = connection.execute("SELECT version FROM projection").fetchone()
    if version == VERSION:
        return
    for table in ("words", "facts", "vals", "paths", "search"):
        connection.execute(f"DELETE FROM {table}")
    # Indexes made afterwards, out of what is there, take a fraction of the time.
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name IN ('search', 'facts') "
        "AND sql LIKE 'CREATE INDEX %'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    projection = Projection(connection)
    rows = connection.execute("SELECT body, document, manifests, shared FROM records WHERE state <> 'gone'")
    for row in rows:
        projection.put(codec.decode_record(*row))
    projection.finish()
    for _, statement in indexes:
        connection.execute(statement)
    connection.execute("UPDATE projection SET version = ?", (VERSION,))
