"""Looking after the file: integrity, history by age, backup. Each function gets a connection and reads no clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from reconciler.adapters.newfile import replacing
from reconciler.adapters.sqlite.database import translate
from reconciler.adapters.sqlite.projection import agrees
from reconciler.adapters.stored import codec, series
from reconciler.adapters.stored.codec import UNREADABLE
from reconciler.model.errors import RegistryError
from reconciler.model.registry import AgentState
from reconciler.model.upkeep import BackedUp, Fault, Pruned

MOST_FAULTS = 100
"""How many faults SQLite is asked for: one that is broken all over need not be told page by page."""

KEPT_OPERATIONS = 1000
"""So many of the newest stay in any case: who repeats a write after a lost answer does so soon, whatever clocks say."""

_CURRENT = "SELECT seq FROM records"
_OLD_SEQ = "SELECT coalesce(max(seq), 0) FROM records WHERE updated_ms < ?"
"""Changes have no time of their own, but an order: what came before a record that is old is older still."""


def integrity(connection: sqlite3.Connection, path: Path) -> tuple[Fault, ...]:
    """What is wrong with the file itself: its pages and indexes, then the columns that repeat what rows say."""
    told = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({MOST_FAULTS})")]
    if told != ["ok"]:
        lines = [line for text in told for line in text.splitlines() if not line.startswith("***")]
        return tuple(Fault(where=str(path), what=line) for line in lines)
    return (*_rows(connection), *_head(connection))


def _rows(connection: sqlite3.Connection) -> Iterator[Fault]:
    columns = "namespace, name, id, version, state, seq, updated_ms, body, document, manifests, shared"
    for row in connection.execute(f"SELECT {columns} FROM records ORDER BY namespace, name"):  # noqa: S608 - a constant
        namespace, name, *said, body, document, manifests, shared = row
        where = f"{namespace}/{name}"
        try:
            record = codec.decode_record(body, document, manifests, shared)
            len(record.document)
            if record.good is not None:
                len(record.good.manifests)
        except (*UNREADABLE, RegistryError) as error:
            yield Fault(where=where, what=f"its record cannot be read: {error}")
            continue
        id_, version, state, _, updated_ms = said
        if (str(record.name), record.id, record.version, record.state.value, record.updated_ms) != (
            where,
            id_,
            version,
            state,
            updated_ms,
        ):
            yield Fault(where=where, what="the columns of its row say other things than its record")
        elif not agrees(connection, record):
            yield Fault(where=where, what="what is searched of it is not what its record says")
        if record.state is AgentState.GONE and record.reservations:
            yield Fault(where=where, what="it is gone and still holds a reservation")
    (strays,) = connection.execute(
        "SELECT count(*) FROM search WHERE NOT EXISTS (SELECT 1 FROM records "
        "WHERE records.namespace = search.namespace AND records.name = search.name)"
    ).fetchone()
    if strays:
        yield Fault(where="search", what=f"{strays} of those that are searched are not on record")
    (miscounted,) = connection.execute(
        "SELECT count(*) FROM paths WHERE records <> (SELECT count(DISTINCT record) FROM facts "
        "WHERE value >= paths.id << 32 AND value < (paths.id + 1) << 32)"
    ).fetchone()
    if miscounted:
        yield Fault(where="search", what=f"of {miscounted} paths it is wrong how many have them")
    yield from (
        Fault(where=f"{namespace}/{name}", what=f"its last write is change {seq}, and the change feed has no such line")
        for namespace, name, seq in connection.execute(
            "SELECT namespace, name, seq FROM records AS held WHERE NOT EXISTS (SELECT 1 FROM feed "
            "WHERE feed.seq = held.seq AND feed.namespace = held.namespace AND feed.name = held.name) ORDER BY 1, 2"
        )
    )


def _head(connection: sqlite3.Connection) -> Iterator[Fault]:
    (seq, last) = connection.execute(
        "SELECT (SELECT seq FROM head), (SELECT coalesce(max(seq), 0) FROM feed)"
    ).fetchone()
    if seq != last:
        yield Fault(where="feed", what=f"it ends with change {last}, and {seq} was written last")
    for table, decode in (
        ("fleet", codec.decode_fleet),
        ("clusters", codec.decode_cluster),
        ("journal", codec.decode_journal),
        ("revisions", codec.decode_revision),
        ("health_changes", series.decode_change),
        ("health_points", series.unpack),
    ):
        for (body,) in connection.execute(f"SELECT body FROM {table}"):  # noqa: S608 - constants above
            try:
                decode(body)
            except (*UNREADABLE, RegistryError) as error:
                yield Fault(where=table, what=f"a row cannot be read: {error}")


def prune(connection: sqlite3.Connection, before_ms: int) -> Pruned:
    """Take history away that is older than `before_ms`; call it inside a transaction.

    What is kept whatever its age: of each live agent the newest revision and the last good one, the last change of
    each agent, the newest operations, open journal entries, and the whole audit log.
    """
    (seq,) = connection.execute(_OLD_SEQ, (before_ms,)).fetchone()
    return Pruned(
        revisions=_prune_revisions(connection, before_ms),
        changes=connection.execute(
            f"DELETE FROM feed WHERE seq < ? AND seq NOT IN ({_CURRENT})",  # noqa: S608 - a constant
            (seq,),
        ).rowcount,
        operations=connection.execute(
            "DELETE FROM operations WHERE seq < ? AND position <= (SELECT max(position) FROM operations) - ?",
            (seq, KEPT_OPERATIONS),
        ).rowcount,
        journal=connection.execute(
            "DELETE FROM journal WHERE phase <> 'intent' AND json_extract(CAST(body AS TEXT), '$.at_ms') < ?",
            (before_ms,),
        ).rowcount,
    )


def _prune_revisions(connection: sqlite3.Connection, before_ms: int) -> int:
    kept: set[tuple[str, str, int]] = set()
    for namespace, name, body in connection.execute(
        "SELECT namespace, name, CAST(body AS TEXT) FROM records WHERE state <> ?", (AgentState.GONE.value,)
    ):
        record = msgspec.json.decode(body, type=_Numbers)
        kept |= {(namespace, name, record.revision), (namespace, name, record.good.number if record.good else 0)}
    old = connection.execute(
        "SELECT namespace, name, number FROM revisions WHERE json_extract(CAST(body AS TEXT), '$.at_ms') < ?",
        (before_ms,),
    ).fetchall()
    going = [key for key in old if key not in kept]
    connection.executemany("DELETE FROM revisions WHERE namespace = ? AND name = ? AND number = ?", going)
    return len(going)


class _Good(msgspec.Struct):
    number: int


class _Numbers(msgspec.Struct):
    """What of a record says which revisions it needs."""

    revision: int
    good: _Good | None = None


def backup(connection: sqlite3.Connection, path: Path, target: Path) -> BackedUp:
    """Copy the registry at `path` into `target`, as it is at one moment, while others go on writing.

    It becomes one file without a log beside it, made under another name, checked and only then put in place; its mode
    is 0600. Raises RegistryError.
    """
    if target.parent.resolve() == path.parent.resolve():
        raise RegistryError(
            f"{target} lies where the registry itself does, and would be lost with it",
            hint="name a file elsewhere, best on another disk",
        )
    log = target.with_name(f"{target.name}-wal")
    if log.exists():
        raise RegistryError(
            f"{target} is in use as a registry, or was not closed: who opens it takes {log.name} for a part of it",
            hint="name another file; or remove both, if nobody needs them",
        )
    with replacing(target) as temporary:
        try:
            return _copy(connection, temporary)
        except sqlite3.Error as error:
            raise translate(error, target, "write the backup") from error
        finally:
            for end in ("-wal", "-shm", "-journal"):
                temporary.with_name(f"{temporary.name}{end}").unlink(missing_ok=True)


def _copy(connection: sqlite3.Connection, path: Path) -> BackedUp:
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        # All pages in one step are one read: writers neither wait for it nor make it begin again.
        connection.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("PRAGMA synchronous = FULL")
        faults = [row[0] for row in copy.execute("PRAGMA integrity_check(1)")]
        if faults != ["ok"]:
            raise RegistryError(
                f"what was copied is damaged: {faults[0].splitlines()[-1]}",
                hint="`reconciler registry check` says what is wrong with the registry; nothing was written",
            )
        seq, audit_seq, audit_hash = copy.execute("SELECT seq, audit_seq, audit_hash FROM head").fetchone()
        (records,) = copy.execute("SELECT count(*) FROM records WHERE state <> ?", (AgentState.GONE.value,)).fetchone()
    return BackedUp(seq=seq, audit_seq=audit_seq, audit_hash=audit_hash, records=records, size=path.stat().st_size)
