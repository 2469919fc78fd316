"""The tables, and how a file of an older version becomes the present one. No queries live here.

Version n of the schema is what MIGRATIONS[:n] build; the file says its own in `migrations`. Columns named `body` hold
JSON; what is searched or ordered by stands in columns of its own.
"""

from __future__ import annotations

import sqlite3

from reconciler.model.errors import RegistryError

APPLICATION_ID = 0x52434E52
"""`RCNR`: tells our files from other SQLite files."""

_FIRST = """
CREATE TABLE migrations (version INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,          -- of the last record write
    audit_seq INTEGER NOT NULL,    -- of the last audit entry
    audit_hash TEXT NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 0, 0, '0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE records (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    seq INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    document BLOB NOT NULL,        -- the spec as last applied, deflated: read only where its hash differs
    manifests BLOB,                -- of the last good revision, deflated: read only by a rollback
    shared INTEGER NOT NULL,       -- 1: the last good revision has the record's own document
    PRIMARY KEY (namespace, name)
) STRICT;
CREATE UNIQUE INDEX records_by_seq ON records (seq);
CREATE INDEX records_by_state ON records (state);
CREATE TABLE feed (seq INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL) STRICT;
CREATE TABLE operations (
    position INTEGER PRIMARY KEY,
    op_id TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL,
    digest BLOB NOT NULL           -- of the write: a repetition is told from another write
) STRICT;
CREATE TABLE fleet (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE journal (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    phase TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX journal_open ON journal (position) WHERE phase = 'intent';
CREATE TABLE revisions (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (namespace, name, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    agent TEXT,
    fact BLOB NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_agent ON audit (agent, seq);
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,          -- '' when nobody holds it
    epoch INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

_CLUSTERS = """
CREATE TABLE clusters (name TEXT PRIMARY KEY, version INTEGER NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""

_SEARCH = """
CREATE TABLE projection (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT;
INSERT INTO projection VALUES (1, 0);   -- of what the tables below say of records: 0 is nothing yet
CREATE TABLE search (              -- live records: the facts that each has once. '' and -inf stand for none
    record INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    replicas REAL NOT NULL,
    revision REAL NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    last_seen REAL NOT NULL,
    suspended INTEGER NOT NULL,
    protect INTEGER NOT NULL,
    "commit" TEXT NOT NULL,
    source TEXT NOT NULL,
    message TEXT NOT NULL,
    digest BLOB NOT NULL           -- of the record's facts and words in the tables below
) STRICT;
CREATE UNIQUE INDEX search_by_namespace ON search (namespace, name);
CREATE INDEX search_by_name ON search (name, namespace);
CREATE INDEX search_by_id ON search (id);
CREATE INDEX search_by_state ON search (state, namespace, name);
CREATE INDEX search_by_replicas ON search (replicas DESC, namespace, name);
CREATE INDEX search_by_revision ON search (revision DESC, namespace, name);
CREATE INDEX search_by_created ON search (created DESC, namespace, name);
CREATE INDEX search_by_updated ON search (updated DESC, namespace, name);
CREATE INDEX search_by_last_seen ON search (last_seen, namespace, name);
CREATE INDEX search_by_commit ON search ("commit");
CREATE TABLE paths (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    records INTEGER NOT NULL DEFAULT 0 -- that have a value there
) STRICT;
CREATE TABLE vals (                -- what stands at a path, once for all records that have it
    id INTEGER PRIMARY KEY,        -- the path's id in the upper half
    path INTEGER NOT NULL,
    type INTEGER NOT NULL,         -- 1 true or false, 2 number, 3 text
    value ANY NOT NULL
) STRICT;
CREATE UNIQUE INDEX vals_by_value ON vals (path, type, value);
CREATE TABLE facts (record INTEGER NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (record, value)) STRICT, WITHOUT ROWID;
CREATE INDEX facts_by_value ON facts (value, record);
CREATE VIRTUAL TABLE words USING fts5 (tokens, tokenize = 'ascii', detail = none, columnsize = 0);
"""
"""`ascii` folds and splits nothing that our own tokens have: they are folded, and letters and digits only."""

_HEALTH = """
CREATE TABLE health_changes (      -- of agents' health
    agent TEXT NOT NULL,           -- NAMESPACE/NAME
    at_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (agent, at_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX health_changes_by_time ON health_changes (at_ms);
CREATE TABLE health_points (       -- what was measured, of many agents in one row: see stored/series
    span_ms INTEGER NOT NULL,
    part INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    op_id TEXT NOT NULL,           -- marks of the writes that were here last: a repetition adds nothing
    body BLOB NOT NULL,            -- deflated
    PRIMARY KEY (span_ms, part, start_ms)
) STRICT;
CREATE INDEX health_points_by_time ON health_points (span_ms, start_ms, part);
"""

_SAYING = """
ALTER TABLE leases ADD COLUMN says TEXT NOT NULL DEFAULT ''; -- to those who list leases
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _CLUSTERS, _SEARCH, _HEALTH, _SAYING)


def migrate(connection: sqlite3.Connection, *, now_ms: int, path: str) -> None:
    """Bring the file to the present schema; call it inside a transaction.

    Raises RegistryError when the file is another program's, or of a newer version of this one.
    """
    version = _version(connection, path)
    if version > len(MIGRATIONS):
        raise RegistryError(
            f"{path} has schema version {version}, and this program knows versions up to {len(MIGRATIONS)}",
            hint="a newer reconciler wrote it: use that one, or upgrade this one",
        )
    for number in range(version + 1, len(MIGRATIONS) + 1):
        for statement in _statements(MIGRATIONS[number - 1]):
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?, ?)", (number, now_ms))
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _version(connection: sqlite3.Connection, path: str) -> int:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables:
        return 0
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID or "migrations" not in tables:
        raise RegistryError(
            f"{path} is an SQLite file of another program", hint="move it away, or choose another place for the state"
        )
    (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
    return int(version)


def _statements(script: str) -> list[str]:
    """The statements of a script: `executescript` would commit the transaction that they must share."""
    found, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found
