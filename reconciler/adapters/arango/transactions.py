"""One write, one stream transaction: all of it or nothing, and an end that is always found out.

Every writing transaction holds the collection `counters` alone, so that writers come one after another, and whoever
holds it knows that an earlier transaction has ended one way or the other. What is written is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from arango.database import TransactionDatabase

from reconciler.adapters.arango.faults import FAILURES, TRANSACTION_ABORTED, Failure, Kind, code_of, kind_of
from reconciler.adapters.arango.servers import Link, Servers, Tries
from reconciler.model.errors import OutcomeUnknown, RegistryError

T = TypeVar("T")
LOCK = "counters"
_LOOKS = 3
"""How often one transaction's end is asked for: beyond that the next attempt finds it out under the lock."""


class _Lost(Exception):
    """A commit whose end is not known."""

    def __init__(self, cause: Failure) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Transactions:
    """Runs what writes."""

    def __init__(self, servers: Servers, *, writes: Sequence[str]) -> None:
        self._servers = servers
        self._writes = list(writes)

    def run(self, doing: str, work: Callable[[TransactionDatabase], T]) -> T:
        """Run `work` in a transaction and commit it; again, from its start, when others or an outage got in its way.

        `work` looks first, under the lock, for what it may have done before: that settles a commit whose end is
        unknown. Raises what `work` raises, RegistryError (nothing was written) or OutcomeUnknown.
        """
        tries = Tries(self._servers, doing)
        unsure = False
        while True:
            url = self._servers.url
            try:
                link = self._servers.link()
                transaction = self._begin(link)
                answer = _inside(transaction, work)
                unsure = False
                self._commit(transaction)
            except _Lost as lost:
                unsure, error = True, lost.cause
            except FAILURES as failure:
                error = failure
            else:
                return answer
            try:
                tries.after(error, url)
            except RegistryError as refusal:
                if unsure:
                    raise _unknown(refusal) from error
                raise

    def _begin(self, link: Link) -> TransactionDatabase:
        return link.db.begin_transaction(
            write=self._writes, exclusive=[LOCK], sync=True, lock_timeout=self._servers.patience.lock_s
        )

    def _commit(self, transaction: TransactionDatabase) -> None:
        """Commit, and find out what came of it. Raises _Lost, or a failure that says that nothing was written."""
        for look in range(_LOOKS):
            try:
                transaction.commit_transaction()
            except FAILURES as error:
                if code_of(error) == TRANSACTION_ABORTED or (kind_of(error) is Kind.BUSY and not look):
                    _abort(transaction)  # it should be gone; if it is not, its lock would keep others waiting
                    raise
                if _ended(transaction, error):
                    return
                if look + 1 == _LOOKS:
                    raise _Lost(error) from error
                self._servers.patience.pause(look)
            else:
                return


def _inside(transaction: TransactionDatabase, work: Callable[[TransactionDatabase], T]) -> T:
    """Run `work`; whatever it raises ends the transaction, or its lock would keep others waiting."""
    try:
        return work(transaction)
    except BaseException:
        _abort(transaction)
        raise


def _abort(transaction: TransactionDatabase) -> None:
    with suppress(*FAILURES):
        transaction.abort_transaction()


def _ended(transaction: TransactionDatabase, error: Failure) -> bool:
    """Whether a transaction whose commit failed is committed; False while it still runs and may be committed again.

    Raises `error` where it was aborted: nothing was written. Raises _Lost where nobody can say.
    """
    try:
        status = transaction.transaction_status()
    except FAILURES as unread:
        if kind_of(unread) is Kind.UNANSWERED:
            return False
        raise _Lost(error) from unread
    if status == "aborted":
        raise error
    return status == "committed"


def _unknown(refusal: RegistryError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{refusal.message}; whether the write before was done is unknown",
        hint="do the same again: its operation id keeps it from being done twice",
    )
