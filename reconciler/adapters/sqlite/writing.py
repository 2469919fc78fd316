"""What one Write does to the tables. Runs inside a transaction that the caller holds; reads no clock."""

from __future__ import annotations

import sqlite3

from reconciler.adapters.sqlite import codec
from reconciler.adapters.sqlite.projection import Projection
from reconciler.model.audit import next_entry
from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.registry import (
    TRANSITIONS,
    AgentState,
    ClusterHealth,
    FleetRecord,
    JournalEntry,
    JournalPhase,
    Record,
    Write,
)

_AGAIN = "read it again and decide again"


def write_all(connection: sqlite3.Connection, write: Write) -> int:
    """Do all of `write` and answer the change sequence, or what it was when this `op_id` was written first.

    Raises RegistryConflict or RegistryError; the caller then rolls back.
    """
    columns = _encoded(write)
    digest = codec.digest(write, columns)
    known = connection.execute("SELECT seq, digest FROM operations WHERE op_id = ?", (write.op_id,)).fetchone()
    if known is not None:
        if known[1] != digest:
            raise RegistryError(
                f"operation {write.op_id} was written before with other content",
                hint="every write needs an operation id of its own; only a repetition keeps it",
            )
        return int(known[0])
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
    if not write.op_id:
        raise RegistryError("a write needs an operation id", hint="give Write.op_id a value of its own")
    names = [record.name for record in write.records]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) != len(names) else None
    if twice is not None:
        raise RegistryError(f"{twice} stands twice in one write")
    return [codec.record_columns(record) for record in write.records]


def _check_epoch(connection: sqlite3.Connection, write: Write) -> None:
    if not write.lease:
        return
    row = connection.execute("SELECT epoch, holder FROM leases WHERE name = ?", (write.lease,)).fetchone()
    if row is not None and write.epoch < row[0]:
        raise RegistryConflict(
            f"lease {write.lease} has moved on: this write has epoch {write.epoch}, the lease has {row[0]}"
            + (f", held by {row[1]}" if row[1] else ""),
            hint="another process took over while this one was away; start again",
        )


def _put_record(connection: sqlite3.Connection, record: Record, column: codec.RecordColumns, seq: int) -> None:
    key = (record.name.namespace, record.name.name)
    row = connection.execute("SELECT version, state, id FROM records WHERE namespace = ? AND name = ?", key).fetchone()
    _check_record(record, row)
    connection.execute(
        "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *key,
            record.id,
            record.version,
            record.state.value,
            seq,
            record.updated_ms,
            column.body,
            column.document,
            column.manifests,
            column.shared,
        ),
    )
    connection.execute("INSERT INTO feed VALUES (?, ?, ?)", (seq, *key))


def _check_record(record: Record, row: tuple[int, str, str] | None) -> None:
    """Version, state and id against what is held. A record that is gone counts as none: the next is a new one."""
    gone = row is None or row[1] == AgentState.GONE
    held = 0 if row is None or gone else row[0]
    if record.version != held + 1:
        was = f"version {held} is held" if held else "no record is held"
        raise RegistryConflict(
            f"{record.name} changed: {was}, and this write has version {record.version}", hint=_AGAIN
        )
    before = AgentState.GONE if row is None or gone else AgentState(row[1])
    if record.state is not before and record.state not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before]))
        raise RegistryError(
            f"{record.name} cannot go from {before} to {record.state}", hint=f"from {before} it may go to {allowed}"
        )
    if gone and record.state is AgentState.GONE:
        raise RegistryError(f"{record.name} is gone already, and cannot be written as gone again")
    if row is not None and gone == (record.id == row[2]):
        what = f"is gone: a new record needs a new id, not {row[2]}" if gone else f"has id {row[2]}, not {record.id}"
        raise RegistryError(f"{record.name} {what}")


def _put_fleet(connection: sqlite3.Connection, fleet: FleetRecord) -> None:
    row = connection.execute("SELECT version FROM fleet").fetchone()
    held = row[0] if row else 0
    if fleet.version != held + 1:
        raise RegistryConflict(
            f"fleet {fleet.name} changed: version {held} is held, and this write has version {fleet.version}",
            hint=_AGAIN,
        )
    connection.execute("INSERT OR REPLACE INTO fleet VALUES (1, ?, ?)", (fleet.version, codec.encode(fleet)))


def _put_cluster(connection: sqlite3.Connection, health: ClusterHealth) -> None:
    row = connection.execute("SELECT version FROM clusters WHERE name = ?", (health.cluster,)).fetchone()
    held = row[0] if row else 0
    if health.version != held + 1:
        raise RegistryConflict(
            f"cluster {health.cluster} changed: version {held} is held, and this write has version {health.version}",
            hint=_AGAIN,
        )
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
