"""Endpoints: stream transactions. Those in JavaScript are refused."""

from __future__ import annotations

from typing import Any

from tests.doubles.arango.call import Answer, Call, route
from tests.doubles.arango.errors import ArangoError, Unsupported


def _told(number: str, status: str, http: int = 200) -> Answer:
    return Answer(http, {"code": http, "error": False, "result": {"id": number, "status": status}})


@route("POST", "/_api/transaction/begin", headers=("x-arango-allow-dirty-read",))
async def begin(call: Call) -> Answer:
    # Where each write is on disk, and how large transactions may be, is not to be seen from outside.
    given = call.object(
        "collections",
        "lockTimeout",
        "allowImplicit",
        ignored=("waitForSync", "maxTransactionSize", "skipFastLockRound"),
    )
    declared = _declared(given.get("collections"))
    for name, mode in declared.items():
        call.db.collection(name)
        call.need_collection(name, "ro" if mode == "read" else "rw")
    timeout = given.get("lockTimeout", call.server.settings.lock_timeout)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout < 0:
        raise ArangoError(10, "<lockTimeout> needs to be positive")
    trx = await call.server.transactions.begin(
        call.db,
        declared,
        seconds=timeout or call.server.settings.lock_timeout,
        user=call.user,
        coordinator=call.coordinator,
        implicit=given.get("allowImplicit", True),
    )
    return _told(trx.id, trx.status, 201)


def _declared(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise ArangoError(10, "missing/invalid collections definition for transaction")
    found: dict[str, str] = {}
    for mode in given:
        if mode not in ("read", "write", "exclusive"):
            raise Unsupported(f"collections.{mode} of a transaction")
    for mode in ("read", "write", "exclusive"):  # the strongest holds
        names = given.get(mode, [])
        for name in [names] if isinstance(names, str) else names:
            found[name] = mode
    return found


@route("POST", "/_api/transaction")
async def in_javascript(call: Call) -> Answer:
    """Not spoken, but unknown collections are found before the code would run."""
    for name in _declared(
        call.object("collections", "action", "params", "waitForSync", "lockTimeout").get("collections")
    ):
        call.db.collection(name)
    raise Unsupported("a transaction in JavaScript")


@route("GET", "/_api/transaction")
async def running(call: Call) -> Answer:
    found = [
        {"id": one.id, "state": one.status} for one in call.server.transactions.running.values() if one.db is call.db
    ]
    return Answer(200, {"transactions": found})


@route("GET", "/_api/transaction/{number}")
async def status(call: Call) -> Answer:
    number, transactions = call.names["number"], call.server.transactions
    trx = transactions.running.get(number)
    if trx is not None:
        call.own(trx)
    became = "running" if trx is not None else transactions.ended.get(number)
    if became is None:
        raise ArangoError(1655)
    return _told(number, became)


@route("PUT", "/_api/transaction/{number}")
async def commit(call: Call) -> Answer:
    return _end(call, "committed")


@route("DELETE", "/_api/transaction/{number}")
async def abort(call: Call) -> Answer:
    return _end(call, "aborted")


def _end(call: Call, wanted: str) -> Answer:
    """Commit or abort; asked again, the same answer, and what became of it otherwise is an error."""
    number, transactions = call.names["number"], call.server.transactions
    became = transactions.ended.get(number)
    if became == wanted:
        return _told(number, wanted)
    if became is not None:
        verb = "commit" if wanted == "committed" else "abort"
        raise ArangoError(1653, f"cannot {verb} transaction {number}: it was already {became}")
    trx = transactions.find(number)
    call.own(trx)
    transactions.end(trx, wanted)
    return _told(number, wanted)
