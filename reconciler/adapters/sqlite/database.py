"""One connection in one thread, another for what may take long, and what SQLite's failures mean. No tables are known
here.

SQLite calls block, so all of them run on a thread of their own, one after another; searches have one for themselves, or
whoever may ask could keep every write, and every lease, waiting. Each failure is translated once:
refused (nothing was written), or unknown (the commit itself failed in a way that leaves both ends possible).
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

from reconciler.adapters.newfile import make_private_file
from reconciler.adapters.stored.codec import UNREADABLE
from reconciler.model.errors import OutcomeUnknown, ReconcilerError, RegistryError

T = TypeVar("T")
U = TypeVar("U")

BUSY_MS = 10_000
CACHE_KIB = 16_384
SEARCH_CACHE_KIB = 65_536
"""How much of the file a connection keeps in memory, at most; the second is that of the one for searches, which most
programs never open.
"""
DAMAGED_HINT = (
    "keep a copy of the file for analysis, restore it from a backup, or move it away and run `reconciler apply`"
)
_HINTS = {
    "SQLITE_FULL": "free some space on that disk; nothing is applied without a durable record of it",
    "SQLITE_READONLY": "make the file and its folder writable for this user",
    "SQLITE_CANTOPEN": "make the folder exist and writable for this user",
    "SQLITE_PERM": "make the file and its folder writable for this user",
    "SQLITE_CORRUPT": DAMAGED_HINT,
    "SQLITE_NOTADB": DAMAGED_HINT,
    "SQLITE_BUSY": "another process writes to it for longer than it should; look for a reconciler that hangs",
    "SQLITE_LOCKED": "another process writes to it for longer than it should; look for a reconciler that hangs",
    "SQLITE_IOERR": "check the disk (dmesg, smartctl) and the mount",
}


def translate(error: sqlite3.Error, path: Path, doing: str) -> RegistryError:
    """What a failure of SQLite means to people; nothing was written."""
    code = getattr(error, "sqlite_errorname", "") or ""
    base = "_".join(code.split("_")[:2])
    return RegistryError(f"{path}: cannot {doing}: {error}", hint=_HINTS.get(base, ""))


def is_busy(error: BaseException | None) -> bool:
    """Whether somebody else held the file for longer than was waited for."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _turn_to_wal(connection: sqlite3.Connection) -> None:
    """Switch the journal mode. SQLite answers "locked" at once, without waiting, where others switch or recover."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _opened(path: Path, cache_kib: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000, cached_statements=256)
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.execute("PRAGMA mmap_size = 0")
    return connection


class Database:
    """An open file. Make it with `open`; every call runs on its own thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry")
        self._connection: sqlite3.Connection | None = None
        self._searching = ThreadPoolExecutor(1, thread_name_prefix="searches")
        self._second: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, path: Path, prepare: Callable[[sqlite3.Connection], None]) -> Self:
        """Open or make the file (mode 0600, a new folder 0700) and run `prepare` in one transaction.

        Raises RegistryError when it cannot be opened, is damaged, or cannot be written.
        """
        database = cls(path)
        try:
            await database._call("open it", database._connect, prepare)
        except BaseException:
            await database.close()
            raise
        return database

    def _connect(self, prepare: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_private_file(self.path)
            self.path.chmod(0o600)
        except OSError as error:
            raise RegistryError(
                f"{self.path}: cannot open it: {error.strerror}",
                hint="make the file and its folder writable for this user, or free some space",
            ) from error
        self._connection = connection = _opened(self.path, CACHE_KIB)
        _turn_to_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        self._check(connection)
        try:
            with self.transaction(connection):
                prepare(connection)
        except OutcomeUnknown as error:
            # Whichever it was, the next to open the file finds out and goes on from there.
            raise RegistryError(error.message, hint=error.hint) from error

    def _check(self, connection: sqlite3.Connection) -> None:
        """Look at the whole file, and not at some tables only: that is what finds a page that two of them use.

        Such a page is whole for each of them; what is read through it is wrong, and what is written to it lost.
        """
        faults = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
        if faults != ["ok"]:
            raise RegistryError(f"{self.path} is damaged: {faults[0].splitlines()[-1]}", hint=DAMAGED_HINT)

    async def run(self, doing: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the thread. A cancelled caller does not stop it: a transaction ends one way or the other."""
        if self._connection is None:
            raise RegistryError(f"{self.path} is closed", hint="open it again")
        return await self._call(doing, work, self._connection)

    async def search(self, doing: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the thread for what may look at much. It writes nothing, and sees one state: that of now."""
        if self._connection is None:
            raise RegistryError(f"{self.path} is closed", hint="open it again")

        def search(_nothing: None) -> T:
            if self._second is None:
                self._second = _opened(self.path, SEARCH_CACHE_KIB)
            with self.reading(self._second):
                return work(self._second)

        return await asyncio.get_running_loop().run_in_executor(self._searching, self.guarded, doing, search, None)

    async def _call(self, doing: str, work: Callable[[U], T], value: U) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.guarded, doing, work, value)

    def guarded(self, doing: str, work: Callable[[U], T], value: U) -> T:
        """Do `work` on the thread that this is called on; failures of SQLite are said as the port says them."""
        try:
            return work(value)
        except ReconcilerError:
            raise
        except sqlite3.Error as error:
            raise translate(error, self.path, doing) from error
        except OverflowError as error:
            raise RegistryError(f"{self.path}: cannot {doing}: a number is too large to be kept: {error}") from error
        except UNREADABLE as error:
            raise RegistryError(f"{self.path}: cannot {doing}: a row is damaged: {error}", hint=DAMAGED_HINT) from error

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """A write transaction: committed at the end, rolled back on any failure.

        Raises OutcomeUnknown when the commit failed and SQLite cannot say that it was undone.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._after_failed_commit(connection, error)
            raise

    @contextmanager
    def trial(self, connection: sqlite3.Connection) -> Iterator[None]:
        """A write transaction that is always rolled back: it shows what a real one would do."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _after_failed_commit(self, connection: sqlite3.Connection, error: sqlite3.Error) -> None:
        name = getattr(error, "sqlite_errorname", "") or ""
        undone = connection.in_transaction and not name.startswith("SQLITE_IOERR")
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            undone = False
        if not undone:
            raise OutcomeUnknown(
                f"{self.path}: the commit failed: {error}; whether it was written is unknown",
                hint=_HINTS["SQLITE_IOERR"],
            ) from error

    @contextmanager
    def reading(self, connection: sqlite3.Connection) -> Iterator[None]:
        """A read transaction: all reads inside see one state."""
        connection.execute("BEGIN")
        try:
            yield
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")

    async def close(self) -> None:
        """Close the file; the last process to do so folds the write-ahead log back into it."""
        connection, self._connection = self._connection, None
        loop = asyncio.get_running_loop()
        if connection is not None:
            await loop.run_in_executor(self._searching, self._end_searching)
            await loop.run_in_executor(self._thread, connection.close)
        self._searching.shutdown(wait=False)
        self._thread.shutdown(wait=False)

    def _end_searching(self) -> None:
        second, self._second = self._second, None
        if second is not None:
            second.close()
