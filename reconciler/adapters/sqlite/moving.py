"""Taking a registry out of its file, and putting one in. The counterpart of writing.py for what was written before."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from reconciler.adapters.sqlite.database import Database
from reconciler.adapters.sqlite.health import PUT_CHANGE, PUT_POINTS, change_row
from reconciler.adapters.sqlite.projection import Projection
from reconciler.adapters.sqlite.writing import row_of
from reconciler.adapters.stored import codec, series
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.registry import AgentRevision, AuditEntry, ClusterHealth, FleetRecord
from reconciler.model.series import HealthChange
from reconciler.model.transfer import (
    Heading,
    Intake,
    Kept,
    KeptChange,
    KeptJournal,
    KeptOperation,
    KeptPoints,
    KeptRecord,
    Tally,
)

BATCH = 1000
Row = tuple[Any, ...]

_RECORDS = "SELECT seq, body, document, manifests, shared FROM records WHERE seq > ? ORDER BY seq LIMIT ?"
_PAGED: tuple[tuple[str, Callable[[Row], Kept]], ...] = (
    (_RECORDS, lambda row: KeptRecord(seq=row[0], record=codec.decode_record(*row[1:]))),
    (
        "SELECT seq, namespace, name FROM feed WHERE seq > ? ORDER BY seq LIMIT ?",
        lambda row: KeptChange(seq=row[0], agent=AgentName(namespace=row[1], name=row[2])),
    ),
    (
        "SELECT position, body FROM journal WHERE position > ? ORDER BY position LIMIT ?",
        lambda row: KeptJournal(position=row[0], entry=codec.decode_journal(row[1])),
    ),
    (
        "SELECT position, op_id, seq, digest FROM operations WHERE position > ? ORDER BY position LIMIT ?",
        lambda row: KeptOperation(position=row[0], op_id=row[1], seq=row[2], digest=row[3].hex()),
    ),
    (
        "SELECT seq, at_ms, fact, previous, hash FROM audit WHERE seq > ? ORDER BY seq LIMIT ?",
        codec.decode_audit,
    ),
)
"""What comes in pages, by a number that only grows."""


_REVISIONS = (
    "SELECT namespace, name, number, body FROM revisions WHERE (namespace, name, number) > (?, ?, ?) "
    "ORDER BY namespace, name, number LIMIT ?"
)
_CHANGES = "SELECT at_ms, agent, body FROM health_changes WHERE (at_ms, agent) > (?, ?) ORDER BY at_ms, agent LIMIT ?"
_POINTS = (
    "SELECT span_ms, start_ms, part, body FROM health_points WHERE (span_ms, start_ms, part) > (?, ?, ?) "
    "ORDER BY span_ms, start_ms, part LIMIT ?"
)
_KEYED: tuple[tuple[str, Row, Callable[[Row], Kept]], ...] = (
    (_REVISIONS, ("", "", 0), lambda row: codec.decode_revision(row[-1])),
    (_CHANGES, (-1, ""), lambda row: series.decode_change(row[-1])),
    (
        _POINTS,
        (0, 0, 0),
        lambda row: KeptPoints(span_ms=row[0], start_ms=row[1], part=row[2], points=series.unpack(row[3])),
    ),
)
"""What comes in pages, by a key of several columns; where the first page begins, and the body last."""


def _rows_of(connection: sqlite3.Connection, *, statement: str, values: Row) -> list[Row]:
    return connection.execute(statement, values).fetchall()


async def export(source: Database) -> AsyncIterator[Kept]:
    """All that a file holds, as it was when the first value was read: over a connection of its own."""
    database = await Database.open(source.path, lambda _: None)
    tally = Tally()
    try:
        await database.run("export it", lambda connection: connection.execute("BEGIN"))
        for item in await database.run("export it", _single):
            tally.add(item)
            yield item
        for statement, decode in _PAGED:
            async for item in _pages(database, statement, decode):
                tally.add(item)
                yield item
        for statement, first, decode in _KEYED:
            async for item in _keyed_pages(database, statement, first, decode):
                tally.add(item)
                yield item
        yield tally.ending()
    finally:
        await database.close()


def _single(connection: sqlite3.Connection) -> list[Kept]:
    seq, audit_seq, audit_hash = connection.execute("SELECT seq, audit_seq, audit_hash FROM head").fetchone()
    found: list[Kept] = [Heading(seq=seq, audit_seq=audit_seq, audit_hash=audit_hash)]
    found += [codec.decode_fleet(body) for (body,) in connection.execute("SELECT body FROM fleet")]
    found += [codec.decode_cluster(body) for (body,) in connection.execute("SELECT body FROM clusters ORDER BY name")]
    return found


async def _pages(database: Database, statement: str, decode: Callable[[Row], Kept]) -> AsyncIterator[Kept]:
    since = 0
    while True:
        rows = await database.run("export it", partial(_rows_of, statement=statement, values=(since, BATCH)))
        for row in rows:
            yield decode(row)
        if len(rows) < BATCH:
            return
        since = rows[-1][0]


async def _keyed_pages(
    database: Database, statement: str, first: Row, decode: Callable[[Row], Kept]
) -> AsyncIterator[Kept]:
    after = first
    while True:
        rows = await database.run("export it", partial(_rows_of, statement=statement, values=(*after, BATCH)))
        for row in rows:
            yield decode(row)
        if len(rows) < BATCH:
            return
        after = rows[-1][:-1]


async def load(database: Database, kept: AsyncIterator[Kept]) -> Mapping[str, int]:
    """Fill a file that holds nothing yet, in one transaction. Raises RegistryError; nothing is in it then."""
    intake = Intake()
    await database.run("import into it", _begin)
    try:
        batch: list[Kept] = []
        async for item in kept:
            intake.take(item)
            batch.append(item)
            if len(batch) == BATCH:
                await database.run("import into it", partial(_put_all, items=tuple(batch)))
                batch.clear()
        heading = intake.end()
        await database.run("import into it", lambda connection: _finish(connection, batch, heading))
    except BaseException:
        await database.run("import into it", _undo)
        raise
    return intake.counts


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (seq, audit_seq, operations) = connection.execute(
        "SELECT seq, audit_seq, (SELECT count(*) FROM operations) FROM head"
    ).fetchone()
    if seq or audit_seq or operations:
        connection.execute("ROLLBACK")
        raise RegistryError(
            f"this registry is in use: it stands at revision {seq}, with {audit_seq} audit entries",
            hint="only an empty registry can be filled: name a file that does not exist yet",
        )


def _put_all(connection: sqlite3.Connection, items: Sequence[Kept]) -> None:
    projection = Projection(connection)
    for item in items:
        for statement, values in _rows(item):
            connection.execute(statement, values)
        if isinstance(item, KeptRecord):
            projection.put(item.record)
    projection.finish()


def _rows(item: Kept) -> Iterator[tuple[str, Row]]:
    match item:
        case KeptRecord(seq=seq, record=one):
            row = row_of(one, codec.record_columns(one), seq)
            yield "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
        case KeptChange(seq=seq, agent=agent):
            yield "INSERT INTO feed VALUES (?, ?, ?)", (seq, agent.namespace, agent.name)
        case KeptJournal(position=position, entry=entry):
            made = (position, entry.id, entry.phase.value, codec.encode(entry))
            yield "INSERT INTO journal VALUES (?, ?, ?, ?)", made
        case KeptOperation(position=position, op_id=op_id, seq=seq):
            operation = (position, op_id, seq, bytes.fromhex(item.digest))
            yield "INSERT INTO operations VALUES (?, ?, ?, ?)", operation
        case AuditEntry(seq=seq, fact=fact):
            link = (seq, item.at_ms, codec.agent_key(fact.agent), codec.encode(fact), item.previous, item.hash)
            yield "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", link
        case AgentRevision(agent=agent, number=number):
            revision = (agent.namespace, agent.name, number, codec.encode(item))
            yield "INSERT INTO revisions VALUES (?, ?, ?, ?)", revision
        case HealthChange() | KeptPoints():
            yield _health_row(item)
        case FleetRecord():
            yield "INSERT INTO fleet VALUES (1, ?, ?)", (item.version, codec.encode(item))
        case ClusterHealth():
            yield "INSERT INTO clusters VALUES (?, ?, ?)", (item.cluster, item.version, codec.encode(item))
        case _:
            return


def _health_row(item: HealthChange | KeptPoints) -> tuple[str, Row]:
    if isinstance(item, HealthChange):
        return PUT_CHANGE, change_row(item)
    return PUT_POINTS, (item.span_ms, item.part, item.start_ms, "", series.pack(item.points))


def _finish(connection: sqlite3.Connection, items: Sequence[Kept], heading: Heading) -> None:
    _put_all(connection, items)
    connection.execute(
        "UPDATE head SET seq = ?, audit_seq = ?, audit_hash = ?",
        (heading.seq, heading.audit_seq, heading.audit_hash),
    )
    connection.execute("COMMIT")


def _undo(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
