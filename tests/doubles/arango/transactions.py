"""Transactions: snapshot isolation, locks on keys and on collections, conflicts. Pure of HTTP.

A transaction sees the committed rows as they were when it began, and its own writes. Committed state moves on under it,
so each running transaction is told what others replaced (`undo`); what it reads is its writes, then that, then the
committed row. Writers of one key exclude each other: the second waits for the first, and then finds its snapshot older
than the row, which is a write-write conflict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from typing import Any

from tests.doubles.arango.errors import ArangoError, Blocked
from tests.doubles.arango.indexes import Entry, Index, Row
from tests.doubles.arango.store import Collection, Database, Store
from tests.doubles.arango.values import Key

Rows = dict[str, Row | None]
LockKey = tuple[int, int, Any]
_ABSENT = object()


@dataclass(eq=False, slots=True)
class Transaction:
    """A running transaction; for a single request one is made and committed at its end."""

    id: str
    db: Database
    manager: Transactions
    declared: dict[str, str] | None = None  # collection -> read, write, exclusive; None: whatever is used
    allow_implicit: bool = True
    user: str = "root"
    coordinator: str = ""
    status: str = "running"
    busy: bool = False
    writes: dict[int, Rows] = field(default_factory=dict)
    undo: dict[int, Rows] = field(default_factory=dict)
    collections: dict[int, Collection] = field(default_factory=dict)
    unique: dict[LockKey, str] = field(default_factory=dict)
    locks: dict[LockKey, None] = field(default_factory=dict)
    log: list[tuple[int, str, Any]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    def check_declared(self, collection: Collection, *, write: bool) -> None:
        """Raises 1652 where a stream transaction did not say beforehand that it would use the collection."""
        if self.declared is None:
            return
        mode = self.declared.get(collection.name)
        if (mode is None and (write or not self.allow_implicit)) or (write and mode == "read"):
            wanted = "write" if write else "read"
            raise ArangoError(
                1652,
                f"unregistered collection used in transaction: {collection.name} [{wanted}]".replace(" [read]", ""),
            )

    def view(self, collection: Collection) -> View:
        self.check_declared(collection, write=False)
        return View(self, collection)

    def row(self, collection: Collection, key: str) -> Row | None:
        """One row as the transaction sees it now."""
        for over in (self.writes.get(collection.id), self.undo.get(collection.id)):
            if over is not None and key in over:
                return over[key]
        return collection.rows.get(key)

    # -- writing -----------------------------------------------------------------------------------------------------

    def put(self, collection: Collection, key: str, row: Row | None) -> None:
        """Write a row, or remove it. Raises Blocked, 1200 and 1210, and then holds no more locks than before."""
        self.check_declared(collection, write=True)
        mark = len(self.locks)
        try:
            self._lock((collection.id, 0, key), key)
            if key in self.undo.get(collection.id, {}):
                raise self.conflict(key)
            if row is not None:
                for index in collection.indexes:
                    if index.unique:
                        self._check_unique(collection, index, key, row)
        except (ArangoError, Blocked):
            while len(self.locks) > mark:
                self.manager.locks.pop(self.locks.popitem()[0], None)
            raise
        own = self.writes.setdefault(collection.id, {})
        self.collections[collection.id] = collection
        previous = own.get(key, _ABSENT)
        self.log.append((collection.id, key, previous))
        self._forget_unique(collection, previous)
        own[key] = row
        self._note_unique(collection, row)

    @staticmethod
    def conflict(key: str) -> ArangoError:
        where = f" - in index primary of type primary over '_key'; conflicting key: {key}"
        return ArangoError(1200, f"write-write conflict{where}")

    def _lock(self, name: LockKey, key: str) -> None:
        holder = self.manager.locks.get(name)
        if holder is not None and holder is not self:
            raise Blocked(holder.id, key)
        self.manager.locks[name] = self
        self.locks[name] = None

    def _check_unique(self, collection: Collection, index: Index, key: str, row: Row) -> None:
        own, undo = self.writes.get(collection.id, {}), self.undo.get(collection.id, {})
        for one in index.keys(row.doc):
            name = (collection.id, index.id, one)
            self._lock(name, key)
            for other in index.exact(one):
                if other.key != key and other.key not in own:
                    raise self.conflict(other.key) if other.key in undo else violated(index, other.key)
            for other_key, old in undo.items():
                if old is not None and other_key != key and one in index.keys(old.doc):
                    raise self.conflict(other_key)
            holder = self.unique.get(name)
            if holder is not None and holder != key:
                raise violated(index, holder)

    def _note_unique(self, collection: Collection, row: Any) -> None:
        if isinstance(row, Row):
            for index in collection.indexes:
                if index.unique:
                    for one in index.keys(row.doc):
                        self.unique[collection.id, index.id, one] = row.key

    def _forget_unique(self, collection: Collection, row: Any) -> None:
        if isinstance(row, Row):
            for index in collection.indexes:
                if index.unique:
                    for one in index.keys(row.doc):
                        self.unique.pop((collection.id, index.id, one), None)

    def back_to(self, mark: int) -> None:
        """Undo the writes after `mark` (a length of `log`): a request that has to wait is done anew afterwards."""
        while len(self.log) > mark:
            number, key, previous = self.log.pop()
            collection = self.collections[number]
            self._forget_unique(collection, self.writes[number][key])
            if previous is _ABSENT:
                del self.writes[number][key]
            else:
                self.writes[number][key] = previous
                self._note_unique(collection, previous)


def violated(index: Index | None, key: str) -> ArangoError:
    if index is None:
        where = "in index primary of type primary over '_key'"
    else:
        where = f"in index {index.name} of type {index.kind} over '{', '.join(one.text for one in index.fields)}'"
    return ArangoError(1210, f"unique constraint violated - {where}; conflicting key: {key}")


class View:
    """What a transaction sees of one collection, as of now: later writes of its own do not show in a running scan."""

    __slots__ = ("_collection", "_over")

    def __init__(self, trx: Transaction, collection: Collection) -> None:
        self._collection = collection
        undo, own = trx.undo.get(collection.id), trx.writes.get(collection.id)
        self._over: Rows = {**(undo or {}), **(own or {})} if undo or own else {}

    def get(self, key: str) -> Row | None:
        return self._over[key] if key in self._over else self._collection.rows.get(key)

    def scan(self) -> Iterator[Row]:
        if not self._over:
            yield from self._collection.rows.values()
            return
        for key, row in self._collection.rows.items():
            if key not in self._over:
                yield row
        yield from sorted((row for row in self._over.values() if row is not None), key=lambda row: row.tick)

    def count(self) -> int:
        rows = self._collection.rows
        gone = sum(1 for key, row in self._over.items() if row is None and key in rows)
        new = sum(1 for key, row in self._over.items() if row is not None and key not in rows)
        return len(rows) - gone + new

    def by_index(self, index: Index, low: Key, high: Key, *, descending: bool = False) -> Iterator[Row]:
        """Rows with low <= key < high, in the order of the index."""
        start, end = index.span(low, high)
        committed = self._committed(index, start, end, descending=descending)
        if not self._over:
            yield from (entry[2] for entry in committed)
            return
        fresh: list[Entry] = [
            (one, row.tick, row)
            for row in self._over.values()
            if row is not None
            for one in index.keys(row.doc)
            if low <= one < high
        ]
        fresh.sort(key=lambda entry: (entry[0], entry[1]), reverse=descending)
        both = merge(committed, fresh, key=lambda entry: (entry[0], entry[1]), reverse=descending)
        yield from (entry[2] for entry in both)

    def _committed(self, index: Index, start: int, end: int, *, descending: bool) -> Iterator[Entry]:
        places = range(end - 1, start - 1, -1) if descending else range(start, end)
        for place in places:
            entry = index.entries[place]
            if entry[2].key not in self._over:
                yield entry


class Transactions:
    """All running transactions of a store, what became of the others, and who waits for whom."""

    def __init__(self, store: Store, *, idle_seconds: float = 60.0) -> None:
        self.store = store
        self.idle_seconds = idle_seconds
        self.running: dict[str, Transaction] = {}
        self.ended: dict[str, str] = {}
        self.locks: dict[LockKey, Transaction] = {}
        self._waiting: list[asyncio.Future[None]] = []

    def single(self, db: Database, user: str) -> Transaction:
        """For one request. Its snapshot is now, and nothing happens beside it until it ends."""
        return Transaction(id=f"single-{self.store.tick()}", db=db, manager=self, user=user)

    async def begin(
        self, db: Database, declared: dict[str, str], *, seconds: float, user: str, coordinator: str, implicit: bool
    ) -> Transaction:
        number = (self.store.tick() // 4 + 1) * 4
        self.store._tick = number
        trx = Transaction(str(number), db, self, declared, implicit, user, coordinator)
        try:
            for name in sorted(declared):
                if declared[name] != "read":
                    await self.lock_collection(db.collection(name), trx.id, declared[name], seconds)
        except BaseException:
            self._unlock_collections(trx)
            raise
        self.running[trx.id] = trx
        self.rearm(trx)
        return trx

    def rearm(self, trx: Transaction) -> None:
        if trx.timer is not None:
            trx.timer.cancel()
        trx.timer = asyncio.get_running_loop().call_later(self.idle_seconds, self._expire, trx)

    def _expire(self, trx: Transaction) -> None:
        if trx.busy:
            self.rearm(trx)
        elif trx.status == "running":
            self.end(trx, "aborted")

    def find(self, number: str) -> Transaction:
        """A running transaction, to do something in it."""
        trx = self.running.get(number)
        if trx is None:
            became = self.ended.get(number)
            if became == "aborted":
                raise ArangoError(1654, f"transaction {number} has already been aborted")
            if became == "committed":
                raise ArangoError(1653, f"transaction {number} has already been committed")
            raise ArangoError(1655)
        if trx.busy:
            raise ArangoError(28, f"transaction '{number}' is already in use")
        return trx

    def end(self, trx: Transaction, status: str) -> None:
        """Commit or abort: all at once, and whoever waits may go on."""
        if status == "committed":
            self._publish(trx)
        trx.status = status
        if trx.timer is not None:
            trx.timer.cancel()
        if self.running.pop(trx.id, None) is not None:
            self.ended[trx.id] = status
        for name in trx.locks:
            self.locks.pop(name, None)
        self._unlock_collections(trx)
        woken, self._waiting = self._waiting, []
        for one in woken:
            if not one.done():
                one.set_result(None)

    def _publish(self, trx: Transaction) -> None:
        changes = [(trx.collections[number], rows) for number, rows in trx.writes.items()]
        for other in self.running.values():
            if other is trx or other.db is not trx.db:
                continue
            for collection, rows in changes:
                seen = other.undo.setdefault(collection.id, {})
                for key in rows:
                    if key not in seen:
                        seen[key] = collection.rows.get(key)
        self.store.commit(trx.db, changes)

    async def until_released(self, seconds: float) -> bool:
        """Wait for any transaction to end; False after `seconds`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await asyncio.wait_for(waiter, seconds)
        except TimeoutError:
            return False
        return True

    # -- whole collections -------------------------------------------------------------------------------------------

    async def lock_collection(self, collection: Collection, who: str, mode: str, seconds: float) -> None:
        """Writers share, `exclusive` is alone; first come, first served. Raises 18."""
        if who in collection.writers or collection.exclusive == who:
            return
        if not collection.queue and self._grant(collection, who, mode):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (who, mode, waiter)
        collection.queue.append(place)
        try:
            await asyncio.wait_for(waiter, seconds)
        except BaseException as error:
            if place in collection.queue:
                collection.queue.remove(place)
            self._serve(collection)
            if isinstance(error, TimeoutError):
                raise ArangoError(18, f"lock timeout: timed out waiting to {mode}-lock {collection.name}") from None
            raise

    @staticmethod
    def _grant(collection: Collection, who: str, mode: str) -> bool:
        if collection.exclusive is not None or (mode == "exclusive" and collection.writers):
            return False
        if mode == "exclusive":
            collection.exclusive = who
        else:
            collection.writers.add(who)
        return True

    def _serve(self, collection: Collection) -> None:
        while collection.queue:
            who, mode, waiter = collection.queue[0]
            if waiter.done():
                collection.queue.popleft()
            elif self._grant(collection, who, mode):
                collection.queue.popleft()
                waiter.set_result(None)
            else:
                return

    def unlock_collection(self, collection: Collection, who: str) -> None:
        collection.writers.discard(who)
        if collection.exclusive == who:
            collection.exclusive = None
        self._serve(collection)

    def _unlock_collections(self, trx: Transaction) -> None:
        for collection in trx.db.collections.values():
            if trx.id in collection.writers or collection.exclusive == trx.id:
                self.unlock_collection(collection, trx.id)
