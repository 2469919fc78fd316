"""Writes that come at once go to the server together: one transaction, and as many requests for all as for one.

Each is whole or not at all for itself: what the writes of a group make is decided here, one after another, before
anything is put. Where the server refuses what a group puts, each is tried by itself, so that none fails for another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from arango.database import TransactionDatabase

from reconciler.adapters.arango.documents import reading
from reconciler.adapters.arango.faults import Refused
from reconciler.adapters.arango.transactions import Transactions
from reconciler.adapters.arango.writing import Encoded, write_all, write_group
from reconciler.adapters.stored.grouping import Grouping, Waiting
from reconciler.model.errors import OutcomeUnknown, ReconcilerError, RegistryError

T = TypeVar("T")
MOST = 64
HEAVIEST = 500
"""Records in the writes of a group: what is sent at once stays far below what a server takes."""


class GroupedWrites:
    """Commits encoded writes. What waits for the thread that writes when a transaction begins goes into that one."""

    def __init__(self, transactions: Transactions, place: str) -> None:
        self._transactions, self._place = transactions, place
        self._grouping: Grouping[Encoded, None] = Grouping(self._flush, most=MOST, heaviest=HEAVIEST)

    async def commit(self, encoded: Encoded, run: Callable[[Callable[[None], None]], Awaitable[None]]) -> int:
        """The change sequence. Raises RegistryConflict, RegistryError, OutcomeUnknown."""
        return await self._grouping.commit(encoded, run, weight=len(encoded.write.records))

    def _flush(self, _: None, group: list[Waiting[Encoded]]) -> None:
        outcomes = self._together([one.write for one in group]) if len(group) > 1 else None
        for number, one in enumerate(group):
            one.outcome = self._alone(one.write) if outcomes is None else outcomes[number]

    def _alone(self, encoded: Encoded) -> int | BaseException:
        try:
            return self._transact(partial(write_all, encoded=encoded))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            return error

    def _together(self, group: list[Encoded]) -> list[int | ReconcilerError] | None:
        """None where nothing was written, and each is to be done by itself: it is one that the server refuses.

        Where it is away none is tried again: each would wait for it as long as this.
        """
        try:
            return self._transact(partial(write_group, group=group))
        except Refused:
            return None
        except (OutcomeUnknown, RegistryError) as error:
            # An error that is raised twice would tell of both.
            return [type(error)(error.message, hint=error.hint) for _ in group]
        except Exception:  # noqa: BLE001 - whose fault it is shows when each is by itself
            return None

    def _transact(self, work: Callable[[TransactionDatabase], T]) -> T:
        def guarded(db: TransactionDatabase) -> T:
            with reading(self._place, "write"):
                return work(db)

        return self._transactions.run("write", guarded)
