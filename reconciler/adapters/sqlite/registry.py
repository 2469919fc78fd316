"""SqliteRegistry: the Registry port on one SQLite file. Queries and the cache of decoded records live here."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Self

from reconciler.adapters.sqlite import health, moving, upkeep
from reconciler.adapters.sqlite.counting import Count
from reconciler.adapters.sqlite.database import Database
from reconciler.adapters.sqlite.grouping import GroupedWrites
from reconciler.adapters.sqlite.projection import make_anew
from reconciler.adapters.sqlite.schema import migrate
from reconciler.adapters.sqlite.searching import Search
from reconciler.adapters.sqlite.writing import write_all
from reconciler.adapters.stored import codec
from reconciler.adapters.stored.ids import IdMaker
from reconciler.model.audit import AuditVerdict, verify_chain
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Observation, Unreadable
from reconciler.model.query import MAX_PAGE, GroupCount, Page, Query, QueryError, QueryPlan
from reconciler.model.registry import (
    AgentRevision,
    AgentState,
    AuditEntry,
    ClusterHealth,
    FleetRecord,
    JournalEntry,
    Lease,
    Record,
    RegistrySnapshot,
    Write,
)
from reconciler.model.series import HealthChange, HealthPoint, Retention
from reconciler.model.transfer import Kept
from reconciler.model.upkeep import BackedUp, Fault, Pruned
from reconciler.model.writes import taken
from reconciler.ports import Clock
from reconciler.query import tokens
from reconciler.query.evaluator import place as place_of
from reconciler.query.facts import facts_of
from reconciler.query.tokens import Place

PAGE = 1000
KEPT_FEED = 100_000
KEPT_OPERATIONS = 100_000
KEPT_JOURNAL = 100_000
_GONE = AgentState.GONE.value


class SqliteRegistry:
    """A registry in one file, for one machine: any number of processes may use it at once.

    Writers wait for one another; readers see the last commit and wait for nobody. Lease expiry compares the callers'
    wall clocks: on one machine that is one clock; a jump forward may end a lease early, and fencing by epoch then
    refuses the writes of its former holder.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._writes = GroupedWrites(database)
        self._new_id = IdMaker(clock)
        self._cached: RegistrySnapshot | None = None

    @classmethod
    async def open(cls, path: Path, clock: Clock) -> Self:
        """Open the registry, making file and folder where there are none.

        Raises RegistryError for a file that is damaged, another program's, of a newer version, or not writable.
        """
        now_ms = clock.now_ms()

        def prepare(connection: sqlite3.Connection) -> None:
            migrate(connection, now_ms=now_ms, path=str(path))
            make_anew(connection)
            _prune(connection)

        return cls(await Database.open(path, prepare), clock)

    def new_id(self) -> str:
        return self._new_id()

    async def snapshot(self) -> Observation[RegistrySnapshot]:
        """All live records. Costs what changed since the last snapshot of this process; nothing when nothing did."""
        try:
            return Found(await self._database.run("read the records", self._read_snapshot))
        except RegistryError as error:
            return Unreadable(reason=error.message)

    def _read_snapshot(self, connection: sqlite3.Connection) -> RegistrySnapshot:
        last = self._cached
        with self._database.reading(connection):
            (seq,) = connection.execute("SELECT seq FROM head").fetchone()
            fleet, clusters = _read_fleet(connection), _read_clusters(connection)
            rows = connection.execute(
                "SELECT namespace, name, state, body, document, manifests, shared FROM records WHERE seq > ?",
                (last.seq if last else 0,),
            ).fetchall()
        if last is not None and not rows and (last.fleet, last.clusters) == (fleet, clusters):
            return last
        records = dict(last.records) if last else {}
        with codec.bulk() if len(rows) > PAGE else nullcontext():
            for namespace, name, state, body, document, manifests, shared in rows:
                agent = AgentName(namespace=namespace, name=name)
                if state == _GONE:
                    records.pop(agent, None)
                else:
                    records[agent] = codec.decode_record(body, document, manifests, shared)
            rows.clear()
        if last is None or records.keys() != last.records.keys():
            records = dict(sorted(records.items(), key=_by_name))
        self._cached = RegistrySnapshot(seq=seq, fleet=fleet, records=records, clusters=clusters)
        return self._cached

    async def get(self, name: AgentName) -> Observation[Record]:
        """The live record of an agent; Absent also for one that is gone."""

        def work(connection: sqlite3.Connection) -> Record | None:
            row = connection.execute(
                "SELECT body, document, manifests, shared FROM records WHERE namespace = ? AND name = ? AND state <> ?",
                (name.namespace, name.name, _GONE),
            ).fetchone()
            return codec.decode_record(*row) if row else None

        try:
            record = await self._database.run(f"read {name}", work)
        except RegistryError as error:
            return Unreadable(reason=error.message)
        return Absent() if record is None else Found(record)

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page:
        """See the port. Nothing is read but the records of the page."""
        place = _checked(query, limit, after)

        def work(connection: sqlite3.Connection) -> Page:
            (seq,) = connection.execute("SELECT seq FROM head").fetchone()
            names = Search(connection, query, place).names(limit)
            records = tuple(_read_record(connection, *name) for name in names[:limit])
            following = ""
            if len(names) > limit:
                following = tokens.written(place_of(query.order, facts_of(records[-1]), records[-1]), query)
            return Page(records=records, next=following, seq=seq)

        return await self._database.search("search the records", work)

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
        def work(connection: sqlite3.Connection) -> tuple[GroupCount, ...]:
            return Count(connection, query).counts(by)

        return await self._database.search("count the records", work)

    async def explain(self, query: Query, *, limit: int, after: str = "") -> QueryPlan:
        place = _checked(query, limit, after)

        def work(connection: sqlite3.Connection) -> QueryPlan:
            return Search(connection, query, place).plan(limit)

        return await self._database.search("search the records", work)

    async def commit(self, write: Write) -> int:
        """See the port. A record of an agent that is gone, or never was, must be new: version 1, state registered."""
        return await self._writes.commit(write)

    async def open_journal(self) -> tuple[JournalEntry, ...]:
        def work(connection: sqlite3.Connection) -> tuple[JournalEntry, ...]:
            rows = connection.execute("SELECT body FROM journal WHERE phase = 'intent' ORDER BY position")
            return tuple(codec.decode_journal(body) for (body,) in rows)

        return await self._database.run("read the journal", work)

    async def revisions(self, name: AgentName) -> tuple[AgentRevision, ...]:
        def work(connection: sqlite3.Connection) -> tuple[AgentRevision, ...]:
            rows = connection.execute(
                "SELECT body FROM revisions WHERE namespace = ? AND name = ? ORDER BY number DESC",
                (name.namespace, name.name),
            )
            return tuple(codec.decode_revision(body) for (body,) in rows)

        return await self._database.run(f"read the history of {name}", work)

    async def audit(self, *, name: AgentName | None = None, since: int = 0) -> AsyncIterator[AuditEntry]:
        only = "AND agent = ?" if name else ""
        values = (str(name),) if name else ()

        def page(connection: sqlite3.Connection) -> list[AuditEntry]:
            rows = connection.execute(
                "SELECT seq, at_ms, fact, previous, hash FROM audit "  # noqa: S608  # `only` is one of two constants
                f"WHERE seq > ? {only} ORDER BY seq LIMIT ?",
                (since, *values, PAGE),
            )
            return [codec.decode_audit(row) for row in rows]

        while entries := await self._database.run("read the audit log", page):
            for entry in entries:
                yield entry
            since = entries[-1].seq

    async def verify_audit(self) -> AuditVerdict:
        """Check the whole chain, and that it ends where the last write left it."""

        def work(connection: sqlite3.Connection) -> AuditVerdict:
            with self._database.reading(connection):
                expected = connection.execute("SELECT audit_seq, audit_hash FROM head").fetchone()
                rows = connection.execute("SELECT seq, at_ms, fact, previous, hash, agent FROM audit ORDER BY seq")
                return verify_chain((codec.witness_audit(row) for row in rows), expected=expected)

        return await self._database.run("read the audit log", work)

    async def changes(self, since: int) -> AsyncIterator[tuple[int, AgentName]]:
        def page(connection: sqlite3.Connection) -> list[tuple[int, str, str]]:
            return connection.execute(
                "SELECT seq, namespace, name FROM feed WHERE seq > ? ORDER BY seq LIMIT ?", (since, PAGE)
            ).fetchall()

        while rows := await self._database.run("read the changes", page):
            for seq, namespace, name in rows:
                yield seq, AgentName(namespace=namespace, name=name)
            since = rows[-1][0]

    async def acquire(self, lease: str, *, holder: str, ttl_ms: int, now_ms: int, says: str = "") -> Lease:
        """Take, renew or, when it has expired, take over a lease.

        The epoch grows with every change of holder, and when a released lease is taken again.
        """

        def work(connection: sqlite3.Connection) -> Lease:
            with self._database.transaction(connection):
                return _take(connection, lease, holder, now_ms=now_ms, ttl_ms=ttl_ms, says=says)

        return await self._database.run(f"take lease {lease}", work)

    async def leases(self, prefix: str) -> tuple[Lease, ...]:
        def work(connection: sqlite3.Connection) -> tuple[Lease, ...]:
            rows = connection.execute(
                "SELECT name, holder, epoch, expires_ms, says FROM leases ORDER BY name"
            ).fetchall()
            return tuple(
                Lease(name=name, holder=holder, epoch=epoch, expires_ms=expires_ms, says=says)
                for name, holder, epoch, expires_ms, says in rows
                if name.startswith(prefix)
            )

        return await self._database.run("read the leases", work)

    async def release(self, lease: Lease) -> None:
        def work(connection: sqlite3.Connection) -> None:
            with self._database.transaction(connection):
                connection.execute(
                    "UPDATE leases SET holder = '', expires_ms = 0, says = '' "
                    "WHERE name = ? AND holder = ? AND epoch = ?",
                    (lease.name, lease.holder, lease.epoch),
                )

        await self._database.run(f"release lease {lease.name}", work)

    async def record_health(
        self, changes: Sequence[HealthChange], points: Sequence[HealthPoint], *, op_id: str
    ) -> None:
        def work(connection: sqlite3.Connection) -> None:
            with self._database.transaction(connection):
                health.record(connection, changes, points, op_id)

        await self._database.run("write the history of health", work)

    async def health_changes(self, name: AgentName | None, *, since_ms: int) -> tuple[HealthChange, ...]:
        def work(connection: sqlite3.Connection) -> tuple[HealthChange, ...]:
            with self._database.reading(connection):
                return health.changes(connection, name, since_ms)

        return await self._database.run("read the history of health", work)

    async def health_points(
        self, name: AgentName | None, *, since_ms: int, until_ms: int, span_ms: int
    ) -> tuple[HealthPoint, ...]:
        return await self._database.run(
            "read the history of health",
            lambda connection: health.points(connection, name, (since_ms, until_ms), span_ms),
        )

    async def prune_health(self, retention: Retention, *, now_ms: int, most: int) -> int:
        def work(connection: sqlite3.Connection) -> int:
            with self._database.transaction(connection):
                return health.prune(connection, retention, now_ms, most)

        return await self._database.run("prune the history of health", work)

    def export(self) -> AsyncIterator[Kept]:
        return moving.export(self._database)

    async def load(self, kept: AsyncIterator[Kept]) -> Mapping[str, int]:
        return await moving.load(self._database, kept)

    async def integrity(self) -> tuple[Fault, ...]:
        """See ports.Upkeep."""

        def work(connection: sqlite3.Connection) -> tuple[Fault, ...]:
            with self._database.reading(connection):
                return upkeep.integrity(connection, self._database.path)

        return await self._database.run("check it", work)

    async def prune(self, *, before_ms: int, said: Write | None) -> Pruned:
        """See ports.Upkeep. The file keeps its size: what was freed is written anew first."""

        def work(connection: sqlite3.Connection) -> Pruned:
            with self._database.transaction(connection) if said else self._database.trial(connection):
                done = upkeep.prune(connection, before_ms)
                if said is not None:
                    write_all(connection, said)
                return done

        return await self._database.run("prune its history", work)

    async def backup(self, target: Path) -> BackedUp:
        """See ports.Upkeep."""
        path = self._database.path
        return await self._database.run("copy it", lambda connection: upkeep.backup(connection, path, target))

    async def close(self) -> None:
        await self._database.close()


def _checked(query: Query, limit: int, after: str) -> Place | None:
    if not 1 <= limit <= MAX_PAGE:
        raise QueryError(f"a page has 1 to {MAX_PAGE} agents, not {limit}")
    return tokens.read(after, query)


def _read_record(connection: sqlite3.Connection, namespace: str, name: str) -> Record:
    row = connection.execute(
        "SELECT body, document, manifests, shared FROM records WHERE namespace = ? AND name = ?", (namespace, name)
    ).fetchone()
    return codec.decode_record(*row)


def _by_name(item: tuple[AgentName, Record]) -> tuple[str, str]:
    return item[0].namespace, item[0].name


def _read_fleet(connection: sqlite3.Connection) -> FleetRecord | None:
    row = connection.execute("SELECT body FROM fleet").fetchone()
    return codec.decode_fleet(row[0]) if row else None


def _read_clusters(connection: sqlite3.Connection) -> dict[str, ClusterHealth]:
    rows = connection.execute("SELECT name, body FROM clusters ORDER BY name")
    return {name: codec.decode_cluster(body) for name, body in rows}


def _take(connection: sqlite3.Connection, name: str, holder: str, *, now_ms: int, ttl_ms: int, says: str) -> Lease:
    row = connection.execute("SELECT holder, epoch, expires_ms FROM leases WHERE name = ?", (name,)).fetchone()
    held_by, epoch, expires_ms = row or ("", 0, 0)
    held = Lease(name=name, holder=held_by, epoch=epoch, expires_ms=expires_ms)
    lease = taken(held, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms, says=says)
    connection.execute(
        "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)", (name, holder, lease.epoch, lease.expires_ms, says)
    )
    return lease


def _prune(connection: sqlite3.Connection) -> None:
    """Drop what nobody can need: operations and journal entries long past any retry, superseded lines of the feed."""
    connection.execute(
        "DELETE FROM operations WHERE position < (SELECT max(position) FROM operations) - ?", (KEPT_OPERATIONS,)
    )
    connection.execute(
        "DELETE FROM journal WHERE phase <> 'intent' AND position < (SELECT max(position) FROM journal) - ?",
        (KEPT_JOURNAL,),
    )
    connection.execute(
        "DELETE FROM feed WHERE seq < (SELECT seq FROM head) - ? AND seq NOT IN (SELECT seq FROM records)",
        (KEPT_FEED,),
    )
