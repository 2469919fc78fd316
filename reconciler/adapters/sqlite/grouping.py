"""Writes that come at once go to the disk together: one transaction of the file and one wait for the disk, for all.

Each is whole or not at all for itself (a savepoint), and none is answered before all of them are durable. What is
waited for is only the disk: a write that comes alone is written at once.
"""

from __future__ import annotations

import sqlite3
from functools import partial

from reconciler.adapters.sqlite.database import Database, translate
from reconciler.adapters.sqlite.writing import write_all
from reconciler.adapters.stored.grouping import Grouping, Waiting
from reconciler.model.errors import OutcomeUnknown, ReconcilerError, RegistryError
from reconciler.model.registry import Write

MOST = 64
"""In one transaction: it holds the file against other processes."""


class GroupedWrites:
    """Commits writes to a database. What is on its thread's way when a transaction begins goes into that one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._grouping: Grouping[Write, sqlite3.Connection] = Grouping(self._flush, most=MOST)

    async def commit(self, write: Write) -> int:
        """The change sequence, once the write is durable. Raises RegistryConflict, RegistryError, OutcomeUnknown."""
        return await self._grouping.commit(write, partial(self._database.run, "write"))

    def _flush(self, connection: sqlite3.Connection, group: list[Waiting[Write]]) -> None:
        if len(group) > 1 and self._together(connection, group):
            return
        for one in group:
            one.outcome = self._alone(connection, one.write)

    def _alone(self, connection: sqlite3.Connection, write: Write) -> int | BaseException:
        try:
            return self._database.guarded("write", partial(self._transact, write=write), connection)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            return error

    def _transact(self, connection: sqlite3.Connection, *, write: Write) -> int:
        with self._database.transaction(connection):
            return _written(connection, write)

    def _together(self, connection: sqlite3.Connection, group: list[Waiting[Write]]) -> bool:
        """Do all of them at once; False when nothing was written and each is to be done by itself.

        Where the file cannot be written to now, none is tried again: each would wait for it as long as this.
        """
        outcomes: list[int | ReconcilerError] = []
        began = False
        try:
            with self._database.transaction(connection):
                began = True
                outcomes.extend(_by_itself(connection, one.write) for one in group)
        except OutcomeUnknown as error:
            outcomes = [one if isinstance(one, ReconcilerError) else _again(error) for one in outcomes]
        except Exception as error:  # noqa: BLE001 - whose fault it is shows when each is by itself
            if began or not isinstance(error, sqlite3.Error):
                return False
            outcomes = [translate(error, self._database.path, "write") for _ in group]
        for one, outcome in zip(group, outcomes, strict=True):
            one.outcome = outcome
        return True


def _again(error: OutcomeUnknown) -> OutcomeUnknown:
    """The same for another who waits: an error that is raised twice would tell of both."""
    return OutcomeUnknown(error.message, hint=error.hint)


def _by_itself(connection: sqlite3.Connection, write: Write) -> int | ReconcilerError:
    """One write among others: its change sequence, or why it is refused, and then nothing of it is there."""
    connection.execute("SAVEPOINT one")
    try:
        return _written(connection, write)
    except ReconcilerError as error:
        connection.execute("ROLLBACK TO one")
        return error
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE one")


def _written(connection: sqlite3.Connection, write: Write) -> int:
    try:
        return write_all(connection, write)
    except (TypeError, ValueError) as error:
        raise RegistryError(f"operation {write.op_id} holds what is no JSON: {error}") from error
