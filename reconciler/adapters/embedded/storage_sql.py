"""The tables of the object store, and the only SQL of this package.

Here live connections, transactions, rows and the changes table; no meaning of any object. The resourceVersion is one
counter for the whole store, moved in the transaction that writes.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from reconciler.adapters.embedded.storage_fieldsets import Fieldsets
from reconciler.adapters.newfile import make_private_file
from reconciler.model.errors import ClusterError, ClusterUnavailable
from reconciler.model.identity import ObjectRef
from reconciler.model.lazyobject import LazyBody
from reconciler.model.objects import PodUsage

LOCK_SECONDS = 15.0
"""How long a write waits for other processes before it gives up."""
KEPT_CHANGES = 200_000
TRIM_EVERY = 1_024
POLL_SECONDS = 0.03
FORMAT = 1
_CHECKPOINT_PAGES = 8_192
"""32 MiB: a checkpoint waits for the disk, and a fleet is written in one go."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
  api_group TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  uid TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (api_group, kind, namespace, name)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS objects_uid ON objects (uid);
CREATE INDEX IF NOT EXISTS objects_version ON objects (api_group, kind, version);
CREATE TABLE IF NOT EXISTS fieldsets (id INTEGER PRIMARY KEY, fields BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS owners (owner TEXT NOT NULL, child TEXT NOT NULL, PRIMARY KEY (owner, child)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owners_child ON owners (child);
CREATE TABLE IF NOT EXISTS addresses (address TEXT PRIMARY KEY, uid TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS addresses_uid ON addresses (uid);
CREATE TABLE IF NOT EXISTS changes (
  version INTEGER PRIMARY KEY, type TEXT NOT NULL,
  api_group TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS usage (
  namespace TEXT NOT NULL, name TEXT NOT NULL, cpu REAL NOT NULL, memory INTEGER NOT NULL,
  PRIMARY KEY (namespace, name)) WITHOUT ROWID;
INSERT OR IGNORE INTO counter VALUES (1, 1);
"""
_COLUMNS = "api_group, kind, namespace, name, uid, version, body"
_KEY = "api_group = ? AND kind = ? AND namespace = ? AND name = ?"


class Expired(ClusterError):
    """The changes asked for are no longer kept (Kubernetes' 410 Gone): list again."""


class EventType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One write. What the object is now must be read: an event only says that it changed."""

    resource_version: int
    type: EventType
    ref: ObjectRef
    uid: str


@dataclass(frozen=True, slots=True)
class Row:
    """One stored object, undecoded."""

    ref: ObjectRef
    uid: str
    version: int
    data: bytes = field(repr=False)
    fieldsets: Fieldsets = field(repr=False, compare=False)

    def body(self) -> dict[str, Any]:
        """The object, decoded anew: the caller's own, but for the sets in managedFields, which objects share."""
        return self.fieldsets.decode(self.data)

    def lazy_body(self) -> LazyBody:
        """The object, its metadata decoded now and the rest when it is asked for. Not to be changed."""
        return LazyBody(self.data, self.fieldsets.decode_head(self.data))


class Database:
    """One connection, used by one thread at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._fieldsets = Fieldsets(connection)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the file, 0600. Raises ClusterUnavailable."""
        with _translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            make_private_file(path)
            connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def write(self, ref: ObjectRef | None = None) -> Iterator[None]:
        """One transaction: all of the block, or nothing when it raises. Failures name `ref`."""
        with self._lock, _translated(self._path, ref):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
                self._fieldsets.committed()
            except BaseException:
                self._fieldsets.rolled_back()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        """Several reads of one state."""
        with self._lock, _translated(self._path):
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")

    def version(self) -> int:
        with self._lock, _translated(self._path):
            return int(self._connection.execute("SELECT version FROM counter").fetchone()[0])

    def row(self, ref: ObjectRef) -> Row | None:
        with self._lock, _translated(self._path, ref):
            found = self._connection.execute(f"SELECT uid, version, body FROM objects WHERE {_KEY}", _key(ref))  # noqa: S608 - constants
            values = found.fetchone()
        if values is None:
            return None
        uid, version, data = values
        return Row(ref, uid, version, data, self._fieldsets)

    def has(self, ref: ObjectRef) -> bool:
        return self._connection.execute(f"SELECT 1 FROM objects WHERE {_KEY}", _key(ref)).fetchone() is not None  # noqa: S608 - constants

    def rows(self, group: str, kind: str, namespace: str | None, *, since: int = 0) -> list[Row]:
        """Rows of a kind by namespace and name; with `since`, only what was written after that version."""
        sql = f"SELECT {_COLUMNS} FROM objects WHERE api_group = ? AND kind = ?"  # noqa: S608 - constants
        values: list[Any] = [group, kind]
        if namespace is not None:
            sql, values = f"{sql} AND namespace = ?", [*values, namespace]
        if since:
            sql, values = f"{sql} AND version > ?", [*values, since]
        return self._rows(f"{sql} ORDER BY namespace, name", values)

    def rows_in(self, namespace: str) -> list[Row]:
        """Everything in a namespace."""
        return self._rows(f"SELECT {_COLUMNS} FROM objects WHERE namespace = ?", [namespace])  # noqa: S608 - constants

    def children(self, owner: str) -> list[Row]:
        """What names the object with uid `owner` in its ownerReferences."""
        sql = f"SELECT {_COLUMNS} FROM objects WHERE uid IN (SELECT child FROM owners WHERE owner = ?)"  # noqa: S608 - constants
        return self._rows(f"{sql} ORDER BY kind, namespace, name", [owner])

    def has_uid(self, uid: str) -> bool:
        return self._connection.execute("SELECT 1 FROM objects WHERE uid = ?", (uid,)).fetchone() is not None

    def insert(self, ref: ObjectRef, body: dict[str, Any]) -> Row:
        """Store a new object, setting its resourceVersion in `body`."""
        return self._put(ref, body, EventType.ADDED)

    def replace(self, row: Row, body: dict[str, Any]) -> Row:
        """Store an object over `row`, setting its resourceVersion in `body`."""
        return self._put(row.ref, body, EventType.MODIFIED)

    def erase(self, row: Row) -> None:
        """Take an object away, with its addresses, samples and links."""
        execute = self._connection.execute
        execute(f"DELETE FROM objects WHERE {_KEY}", _key(row.ref))  # noqa: S608 - constants
        execute("DELETE FROM owners WHERE child = ?", (row.uid,))
        execute("DELETE FROM addresses WHERE uid = ?", (row.uid,))
        if row.ref.kind == "Pod":
            execute("DELETE FROM usage WHERE namespace = ? AND name = ?", (row.ref.namespace, row.ref.name))
        self._record(EventType.DELETED, row.ref, row.uid)

    def claim(self, address: str, uid: str) -> bool:
        """Reserve an address or node port for an object; False when another has it."""
        self._connection.execute("INSERT OR IGNORE INTO addresses VALUES (?, ?)", (address, uid))
        found = self._connection.execute("SELECT uid FROM addresses WHERE address = ?", (address,)).fetchone()
        return bool(found[0] == uid)

    def events(self, since: int, limit: int) -> list[Event]:
        """Changes after `since`, oldest first. Raises Expired."""
        with self.read():
            self._require_kept(since)
            found = self._connection.execute(
                "SELECT version, type, api_group, kind, namespace, name, uid FROM changes WHERE version > ?"
                " ORDER BY version LIMIT ?",
                (since, limit),
            ).fetchall()
        return [
            Event(resource_version=version, type=EventType(type_), ref=_ref(*key), uid=uid)
            for version, type_, *key, uid in found
        ]

    def deleted(self, since: Mapping[tuple[str, str], int]) -> list[ObjectRef]:
        """What was deleted of each kind (group, kind) after its version in `since`; some may be there again.

        Raises Expired.
        """
        oldest = min(since.values())
        self._require_kept(oldest)
        sql = (
            "SELECT version, api_group, kind, namespace, name FROM changes WHERE version > ? AND type = ?"
            " ORDER BY version"
        )
        found = self._connection.execute(sql, (oldest, EventType.DELETED.value))
        return [
            _ref(group, kind, *rest)
            for version, group, kind, *rest in found
            if version > since.get((group, kind), version)
        ]

    def _require_kept(self, since: int) -> None:
        oldest = self._connection.execute("SELECT min(version) FROM changes").fetchone()[0]
        if oldest is not None and oldest > max(since, 1) + 1:
            raise Expired(f"changes after {since} are no longer kept (oldest: {oldest}); list again")

    def wait(self, since: int, timeout: float) -> bool:
        """Look at the counter every 30 ms: one row, some microseconds, and it sees every process."""
        end = time.monotonic() + timeout
        while self.version() <= since:
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(POLL_SECONDS, left))
        return True

    def put_usage(self, pod: ObjectRef, cpu: float, memory: int) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?)", (pod.namespace, pod.name, cpu, memory)
        )

    def usage(self) -> dict[ObjectRef, PodUsage]:
        with self._lock, _translated(self._path):
            found = self._connection.execute("SELECT namespace, name, cpu, memory FROM usage ORDER BY 1, 2").fetchall()
        return {_ref("", "Pod", ns, name): PodUsage(cpu=cpu, memory=memory) for ns, name, cpu, memory in found}

    def _rows(self, sql: str, values: list[Any]) -> list[Row]:
        with self._lock, _translated(self._path):
            found = self._connection.execute(sql, values).fetchall()
        sets = self._fieldsets
        return [
            Row(_ref(group, kind, ns, name), uid, version, data, sets)
            for group, kind, ns, name, uid, version, data in found
        ]

    def _put(self, ref: ObjectRef, body: dict[str, Any], type_: EventType) -> Row:
        uid: str = body["metadata"]["uid"]
        version = self._record(type_, ref, uid)
        body["metadata"]["resourceVersion"] = str(version)
        data = self._fieldsets.encode(body)
        execute = self._connection.execute
        execute(
            "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (api_group, kind, namespace, name)"
            " DO UPDATE SET uid = excluded.uid, version = excluded.version, body = excluded.body",
            (*_key(ref), uid, version, data),
        )
        owners = body["metadata"].get("ownerReferences")
        if type_ is EventType.MODIFIED:
            execute("DELETE FROM owners WHERE child = ?", (uid,))
        if owners:
            for owner in sorted({owner.get("uid", "") for owner in owners}):
                execute("INSERT INTO owners VALUES (?, ?)", (owner, uid))
        return Row(ref, uid, version, data, self._fieldsets)

    def _record(self, type_: EventType, ref: ObjectRef, uid: str) -> int:
        execute = self._connection.execute
        version = int(execute("UPDATE counter SET version = version + 1 RETURNING version").fetchall()[0][0])
        execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)", (version, type_.value, *_key(ref), uid))
        if version % TRIM_EVERY == 0:
            execute("DELETE FROM changes WHERE version <= ?", (version - KEPT_CHANGES,))
        return version


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """WAL: readers never wait for a writer. NORMAL: a killed process loses nothing, a power cut the last moments."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > FORMAT:
        raise ClusterUnavailable(
            f"{path} was written by a newer version (format {found}, this one reads {FORMAT})", hint="update reconciler"
        )
    if found < FORMAT:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")


def _key(ref: ObjectRef) -> tuple[str, str, str, str]:
    return ref.group, ref.kind, ref.namespace, ref.name


def _ref(group: str, kind: str, namespace: str, name: str) -> ObjectRef:
    return ObjectRef(group=group, kind=kind, namespace=namespace, name=name)


@contextlib.contextmanager
def _translated(path: Path, ref: ObjectRef | None = None) -> Iterator[None]:
    """SQLite's failures as ours. Nothing was written: the transaction never came to its end."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        about = f"{ref}: " if ref else ""
        busy = "locked" in str(error)
        raise ClusterUnavailable(
            f"{about}the embedded cluster's store {path} cannot be used: {error}",
            ref=ref,
            hint="another process holds it; try again" if busy else "check the disk: its free space, and your rights",
        ) from error
