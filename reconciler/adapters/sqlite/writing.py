"""What one Write does to the tables. Runs inside a transaction that the caller holds; reads no clock."""

from __future__ import annotations

import sqlite3

from reconciler.adapters.sqlite.projection import Projection
from reconciler.adapters.stored import codec
from reconciler.model.audit import next_entry
from reconciler.model.registry import (
    AgentState,
    ClusterHealth,
    FleetRecord,
    JournalEntry,
    JournalPhase,
    Record,
    Write,
)
from reconciler.model.writes import (
    Held,
    check_cluster,
    check_epoch,
    check_fleet,
    check_record,
    check_shape,
    fences_of,
    repeated,
)


def write_all(connection: sqlite3.Connection, write: Write) -> int:
    """Do all of `write` and answer the change sequence, or what it was when this `op_id` was written first.

    Raises RegistryConflict or RegistryError; the caller then rolls back.
    """
    columns = _encoded(write)
    digest = codec.digest(write, columns)
    known = connection.execute("SELECT seq, digest FROM operations WHERE op_id = ?", (write.op_id,)).fetchone()
    if known is not None:
        return repeated(write, seq=int(known[0]), same=known[1] == digest)
    _check_epoch(connection, write)
    (seq, audit_seq, audit_hash) = connection.execute("SELECT seq, audit_seq, audit_hash FROM head").fetchone()
    projection = Projection(connection)
    for record, column in zip(write.records, columns, strict=True):
        seq += 1
        _put_record(connection, record, column, seq)
        projection.put(record)
    projection.finish()
    if write.fleet is not None:
        _put_fleet(connection, write.fleet)
    for health in write.clusters:
        _put_cluster(connection, health)
    for entry in write.journal:
        _put_journal(connection, entry)
    connection.executemany(
        "INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?)",
        [(r.agent.namespace, r.agent.name, r.number, codec.encode(r)) for r in write.revisions],
    )
    for fact in write.audit:
        link = next_entry(fact, at_ms=write.at_ms, seq=audit_seq + 1, previous=audit_hash)
        connection.execute(
            "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)",
            (link.seq, link.at_ms, codec.agent_key(fact.agent), codec.encode(fact), link.previous, link.hash),
        )
        audit_seq, audit_hash = link.seq, link.hash
    connection.execute("UPDATE head SET seq = ?, audit_seq = ?, audit_hash = ?", (seq, audit_seq, audit_hash))
    connection.execute("INSERT INTO operations (op_id, seq, digest) VALUES (?, ?, ?)", (write.op_id, seq, digest))
    return int(seq)


def _encoded(write: Write) -> list[codec.RecordColumns]:
    check_shape(write)
    return [codec.record_columns(record) for record in write.records]


def _check_epoch(connection: sqlite3.Connection, write: Write) -> None:
    for fence in fences_of(write):
        row = connection.execute("SELECT epoch, holder FROM leases WHERE name = ?", (fence.lease,)).fetchone()
        if row is not None:
            check_epoch(fence, epoch=row[0], holder=row[1])


PUT_RECORD = "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def row_of(record: Record, column: codec.RecordColumns, seq: int) -> tuple[object, ...]:
    """A record as a row of the table of records, written at change sequence `seq`."""
    return (
        record.name.namespace,
        record.name.name,
        record.id,
        record.version,
        record.state.value,
        seq,
        record.updated_ms,
        column.body,
        column.document,
        column.manifests,
        column.shared,
    )


def _put_record(connection: sqlite3.Connection, record: Record, column: codec.RecordColumns, seq: int) -> None:
    key = (record.name.namespace, record.name.name)
    row = connection.execute("SELECT version, state, id FROM records WHERE namespace = ? AND name = ?", key).fetchone()
    check_record(record, Held(version=row[0], state=AgentState(row[1]), id=row[2]) if row else None)
    connection.execute(PUT_RECORD, row_of(record, column, seq))
    connection.execute("INSERT INTO feed VALUES (?, ?, ?)", (seq, *key))


def _put_fleet(connection: sqlite3.Connection, fleet: FleetRecord) -> None:
    row = connection.execute("SELECT version FROM fleet").fetchone()
    check_fleet(fleet, held=row[0] if row else 0)
    connection.execute("INSERT OR REPLACE INTO fleet VALUES (1, ?, ?)", (fleet.version, codec.encode(fleet)))


def _put_cluster(connection: sqlite3.Connection, health: ClusterHealth) -> None:
    row = connection.execute("SELECT version FROM clusters WHERE name = ?", (health.cluster,)).fetchone()
    check_cluster(health, held=row[0] if row else 0)
    connection.execute(
        "INSERT OR REPLACE INTO clusters VALUES (?, ?, ?)", (health.cluster, health.version, codec.encode(health))
    )


def _put_journal(connection: sqlite3.Connection, entry: JournalEntry) -> None:
    """Put an entry. One that opens again, after an outcome, is young again in the order of open entries."""
    row = connection.execute("SELECT phase FROM journal WHERE id = ?", (entry.id,)).fetchone()
    if row is not None and entry.phase is JournalPhase.INTENT and row[0] != JournalPhase.INTENT:
        connection.execute("DELETE FROM journal WHERE id = ?", (entry.id,))
    connection.execute(
        "INSERT INTO journal (id, phase, body) VALUES (?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET phase = excluded.phase, body = excluded.body",
        (entry.id, entry.phase.value, codec.encode(entry)),
    )
