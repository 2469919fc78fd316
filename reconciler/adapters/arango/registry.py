"""ArangoRegistry: the Registry port on one ArangoDB database. Threads, and what a failed reading answers, live here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from arango.database import StandardDatabase, TransactionDatabase

from reconciler.adapters.arango import health, keeping, moving, reading, schema, search, upkeep
from reconciler.adapters.arango.documents import reading as reading_of
from reconciler.adapters.arango.faults import FAILURES, Denied, translate
from reconciler.adapters.arango.grouping import GroupedWrites
from reconciler.adapters.arango.servers import Access, Patience, Servers
from reconciler.adapters.arango.transactions import LOCK, Transactions
from reconciler.adapters.arango.writing import Encoded, free_lease, take_lease
from reconciler.adapters.stored.ids import IdMaker
from reconciler.model.audit import AuditVerdict
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Observation, Unreadable
from reconciler.model.query import GroupCount, Page, Query, QueryPlan
from reconciler.model.registry import (
    AgentRevision,
    AuditEntry,
    JournalEntry,
    Lease,
    Record,
    RegistrySnapshot,
    Write,
)
from reconciler.model.series import HealthChange, HealthPoint, Retention
from reconciler.model.transfer import Intake, Kept, Tally
from reconciler.model.upkeep import BackedUp, Fault, Pruned
from reconciler.ports import Clock
from reconciler.query import tokens

T = TypeVar("T")
READERS = 4


class ArangoRegistry:
    """A registry in one database, for any number of processes and machines.

    The driver blocks, so readings run on a few threads, and writes on one: the server lets one write at a time in
    anyhow. Lease expiry compares the callers' wall clocks: keep them together (NTP); where they differ, a lease may
    end early, and fencing by epoch then refuses the writes of its former holder.
    """

    def __init__(self, servers: Servers, clock: Clock) -> None:
        self._servers = servers
        self._place = servers.access.place
        self._transactions = Transactions(servers, writes=schema.WRITTEN)
        self._writes = GroupedWrites(self._transactions, self._place)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="registry-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="registry-write")
        self._new_id = IdMaker(clock)
        self._cached: RegistrySnapshot | None = None

    @classmethod
    async def open(
        cls, access: Access, clock: Clock, *, patience: Patience | None = None, half_filled: bool = False
    ) -> Self:
        """Open the registry, making what is missing in its database; one that is `half_filled` only to fill it anew.

        Raises RegistryError where nobody answers, we may not come in, the database is another program's or of a newer
        version, or something is missing that we may not make.
        """
        registry = cls(Servers(access, patience or Patience(), connections=READERS + 1), clock)
        now_ms = clock.now_ms()
        prepare = partial(schema.migrate, now_ms=now_ms, place=access.place, half_filled=half_filled)
        try:
            await registry._run(registry._readers, lambda: schema.make_database(registry._servers))
            await registry._read("open the registry", prepare)
            with suppress(RegistryError):  # of no use to who may only read, and of none to wait for
                await registry._read("drop what is old", upkeep.prune)
        except BaseException:
            await registry.close()
            raise
        return registry

    def new_id(self) -> str:
        return self._new_id()

    async def snapshot(self) -> Observation[RegistrySnapshot]:
        """All live records. Costs what changed since the last snapshot of this process."""

        def work(db: StandardDatabase) -> RegistrySnapshot:
            self._cached = reading.read_snapshot(db, self._cached)
            return self._cached

        return await self._observe("read the records", work)

    async def get(self, name: AgentName) -> Observation[Record]:
        """The live record of an agent; Absent also for one that is gone."""
        return await self._observe(f"read {name}", lambda db: reading.read_record(db, name))

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page:
        search.check_limit(limit)
        place = tokens.read(after, query)
        return await self._read("search the records", lambda db: search.find(db, query, limit, place))

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
        return await self._read("count the records", lambda db: search.count(db, query, by))

    async def explain(self, query: Query, *, limit: int, after: str = "") -> QueryPlan:
        search.check_limit(limit)
        place = tokens.read(after, query)
        return await self._read("explain the query", lambda db: search.explain(db, query, limit, place))

    async def commit(self, write: Write) -> int:
        """See the port. A record of an agent that is gone, or never was, must be new: version 1, state registered."""
        encoded = await self._run(self._readers, lambda: Encoded(write))
        return await self._writes.commit(encoded, self._on_writer)

    async def _on_writer(self, work: Callable[[None], None]) -> None:
        await self._run(self._writer, lambda: work(None))

    async def open_journal(self) -> tuple[JournalEntry, ...]:
        return tuple(await self._read("read the journal", reading.read_journal))

    async def revisions(self, name: AgentName) -> tuple[AgentRevision, ...]:
        return tuple(await self._read(f"read the history of {name}", lambda db: reading.read_revisions(db, name)))

    async def audit(self, *, name: AgentName | None = None, since: int = 0) -> AsyncIterator[AuditEntry]:
        while entries := await self._read("read the audit log", lambda db: reading.read_audit(db, name, since)):  # noqa: B023
            for entry in entries:
                yield entry
            since = entries[-1].seq

    async def verify_audit(self) -> AuditVerdict:
        """Check the whole chain, and that it ends where the last write left it."""
        return await self._read("read the audit log", reading.verify)

    async def changes(self, since: int) -> AsyncIterator[tuple[int, AgentName]]:
        while page := await self._read("read the changes", lambda db: reading.read_changes(db, since)):  # noqa: B023
            for item in page:
                yield item
            since = page[-1][0]

    async def acquire(self, lease: str, *, holder: str, ttl_ms: int, now_ms: int, says: str = "") -> Lease:
        """Take, renew or, when it has expired, take over a lease.

        The epoch grows with every change of holder, and when a released lease is taken again.
        """
        return await self._write(
            f"take lease {lease}",
            lambda db: take_lease(db, lease, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms, says=says),
        )

    async def leases(self, prefix: str) -> tuple[Lease, ...]:
        return await self._read("read the leases", lambda db: reading.read_leases(db, prefix))

    async def release(self, lease: Lease) -> None:
        await self._write(f"release lease {lease.name}", lambda db: free_lease(db, lease))

    async def record_health(
        self, changes: Sequence[HealthChange], points: Sequence[HealthPoint], *, op_id: str
    ) -> None:
        await self._write("write the history of health", lambda db: health.record(db, changes, points, op_id))

    async def health_changes(self, name: AgentName | None, *, since_ms: int) -> tuple[HealthChange, ...]:
        return await self._read("read the history of health", lambda db: health.changes(db, name, since_ms))

    async def health_points(
        self, name: AgentName | None, *, since_ms: int, until_ms: int, span_ms: int
    ) -> tuple[HealthPoint, ...]:
        return await self._read(
            "read the history of health", lambda db: health.points(db, name, (since_ms, until_ms), span_ms)
        )

    async def prune_health(self, retention: Retention, *, now_ms: int, most: int) -> int:
        return await self._write("prune the history of health", lambda db: health.prune(db, retention, now_ms, most))

    async def export(self) -> AsyncIterator[Kept]:
        """See Movable. Whoever reads must not wait for longer than a minute between two values."""
        tally = Tally()
        transaction = await self._read(
            "export the registry", lambda db: db.begin_transaction(read=[*moving.READ, LOCK])
        )
        try:
            pages = moving.pages(transaction)
            while page := await self._once("export the registry", lambda: next(pages, None)):
                for item in page:
                    tally.add(item)
                    yield item
            yield tally.ending()
        finally:
            await self._once("end the export", lambda: _abandon(transaction))

    async def load(self, kept: AsyncIterator[Kept]) -> Mapping[str, int]:
        """See Movable. The registry is closed to everybody else until it is filled."""
        doing, intake, batch = "import into the registry", Intake(), list[Kept]()
        await self._write(doing, moving.begin_load)
        try:
            await self._read(doing, moving.clear)
            async for item in kept:
                intake.take(item)
                batch.append(item)
                if len(batch) == moving.BATCH:
                    await self._read(doing, partial(moving.put_all, items=tuple(batch)))
                    batch.clear()
            heading = intake.end()
            await self._read(doing, partial(moving.put_all, items=tuple(batch)))
            await self._read(doing, partial(moving.finish, heading=heading))
        except BaseException:
            with suppress(RegistryError):
                await self._read("empty the registry again", moving.reset)
            raise
        return intake.counts

    async def integrity(self) -> tuple[Fault, ...]:
        """See Upkeep. What the server itself keeps, its files and indexes, it checks itself."""

        def work(db: StandardDatabase) -> tuple[Fault, ...]:
            transaction = db.begin_transaction(read=[*moving.READ, LOCK])
            try:
                return tuple(keeping.faults(transaction))
            finally:
                _abandon(transaction)

        return await self._read("check it", work)

    async def prune(self, *, before_ms: int, said: Write | None) -> Pruned:
        """See Upkeep. Much is taken away in several transactions, so that others write in between."""
        doing = "prune its history"
        if said is None:
            return await self._read(doing, lambda db: keeping.old(db, before_ms))
        encoded: Encoded | None = await self._run(self._readers, lambda: Encoded(said))
        done, more = Pruned(), True
        while more:
            some, more = await self._write(doing, partial(keeping.prune, before_ms=before_ms, said=encoded))
            done, encoded = done + some, None
        return done

    async def backup(self, target: Path) -> BackedUp:
        """See Upkeep. It is written as an export is, and goes back into an empty database as one."""
        return await keeping.backup(self.export(), target)

    async def close(self) -> None:
        """Close the connections, when what runs has ended."""
        await asyncio.gather(self._run(self._writer, lambda: None), self._run(self._readers, lambda: None))
        self._readers.shutdown(wait=False)
        self._writer.shutdown(wait=False)
        self._servers.close()

    async def _observe(self, doing: str, work: Callable[[StandardDatabase], T | None]) -> Observation[T]:
        try:
            found = await self._read(doing, work)
        except RegistryError as error:
            return Unreadable(reason=error.message, refused=isinstance(error, Denied))
        return Absent() if found is None else Found(found)

    async def _once(self, doing: str, work: Callable[[], T]) -> T:
        """Run on a thread what cannot be asked of another coordinator, nor twice."""

        def guarded() -> T:
            try:
                with reading_of(self._place, doing):
                    return work()
            except FAILURES as error:
                raise translate(error, self._place, doing) from error

        return await self._run(self._readers, guarded)

    async def _read(self, doing: str, work: Callable[[StandardDatabase], T]) -> T:
        def guarded(db: StandardDatabase) -> T:
            with reading_of(self._place, doing):
                return work(db)

        return await self._run(self._readers, lambda: self._servers.ask(doing, guarded))

    async def _write(self, doing: str, work: Callable[[TransactionDatabase], T]) -> T:
        def guarded(db: TransactionDatabase) -> T:
            with reading_of(self._place, doing):
                return work(db)

        return await self._run(self._writer, lambda: self._transactions.run(doing, guarded))

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        """Run on a thread. A cancelled caller does not stop it: a transaction ends one way or the other."""
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except RuntimeError as error:
            if "after shutdown" not in str(error):
                raise
            raise RegistryError(f"{self._place} is closed", hint="open it again") from error


def _abandon(transaction: TransactionDatabase) -> None:
    with suppress(*FAILURES):
        transaction.abort_transaction()
