"""Endpoints: documents, one and many at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.doubles.arango import documents, values
from tests.doubles.arango.call import Answer, Call, route
from tests.doubles.arango.documents import Options, Written
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.indexes import Row
from tests.doubles.arango.store import Collection
from tests.doubles.arango.transactions import Transaction

INSERT = ("overwrite", "overwriteMode", "keepNull", "mergeObjects", "refillIndexCaches", "versionAttribute")
CHANGE = ("returnNew", "returnOld", "silent", "waitForSync")
SENT = "overwrite"  # the driver sends it with what removes, too, where it means nothing
Do = Callable[[Transaction, Any], Written]


@dataclass(frozen=True, slots=True)
class Wish:
    """How the answer is to look."""

    collection: Collection
    new: bool
    old: bool
    silent: bool
    synced: bool

    @classmethod
    def of(cls, call: Call, collection: Collection) -> Wish:
        synced = call.flag("waitForSync", default=bool(collection.properties["waitForSync"]))
        return cls(collection, call.flag("returnNew"), call.flag("returnOld"), call.flag("silent"), synced)

    def told(self, written: Written) -> dict[str, Any]:
        row = written.new or written.old
        assert row is not None
        made: dict[str, Any] = {"_id": f"{self.collection.name}/{row.key}", "_key": row.key, "_rev": row.rev}
        if written.old is not None and written.new is not None:
            made["_oldRev"] = written.old.rev
        if self.old and written.old is not None:
            made["old"] = written.old.doc
        if self.new and written.new is not None:
            made["new"] = written.new.doc
        return made


def _options(call: Call) -> Options:
    if call.params.get("versionAttribute"):
        raise Unsupported("versionAttribute")
    mode = call.params.get("overwriteMode") or ("replace" if call.flag("overwrite") else "conflict")
    if mode not in ("conflict", "ignore", "replace", "update"):
        raise ArangoError(10, "bad parameter")
    return Options(
        overwrite_mode=mode,
        keep_null=call.flag("keepNull", default=True),
        merge_objects=call.flag("mergeObjects", default=True),
        ignore_revs=call.flag("ignoreRevs", default=True),
    )


async def _single(call: Call, wish: Wish, do: Callable[[Transaction], Written], *, statuses: tuple[int, int]) -> Answer:
    written = await call.within(do, writes=(wish.collection,))
    told = wish.told(written)
    headers = {"Etag": f'"{told["_rev"]}"'}
    if call.method != "DELETE":
        headers["Location"] = f"/_db/{call.database}/_api/document/{told['_id']}"
    return Answer(statuses[0] if wish.synced else statuses[1], {} if wish.silent else told, headers)


async def _many(call: Call, wish: Wish, items: list[Any], do: Do, *, statuses: tuple[int, int]) -> Answer:
    def each(trx: Transaction) -> list[Any]:
        trx.check_declared(wish.collection, write=True)
        made: list[Any] = []
        for one in items:
            try:
                made.append(wish.told(do(trx, one)))
            except ArangoError as error:
                made.append(error)
        return made

    found = await call.within(each, writes=(wish.collection,))
    errors = Counter(one.number for one in found if isinstance(one, ArangoError))
    shown = [one.inline() if isinstance(one, ArangoError) else one for one in found]
    if wish.silent:
        shown = [one.inline() for one in found if isinstance(one, ArangoError)]
    headers = {"X-Arango-Error-Codes": values.dumps({str(number): count for number, count in errors.items()})}
    status = statuses[0] if wish.synced and not (errors and call.method == "DELETE") else statuses[1]
    return Answer(status, shown if not wish.silent or shown else {}, headers if errors else {})


# -- insert ----------------------------------------------------------------------------------------------------------


@route("POST", "/_api/document/{collection}", *INSERT, *CHANGE)
async def insert(call: Call) -> Answer:
    collection = call.collection(call.names["collection"], "rw")
    body, options, wish = call.json(), _options(call), Wish.of(call, collection)
    if isinstance(body, list):
        return await _many(
            call, wish, body, lambda trx, doc: documents.insert(trx, collection, doc, options), statuses=(201, 202)
        )
    return await _single(call, wish, lambda trx: documents.insert(trx, collection, body, options), statuses=(201, 202))


# -- read ------------------------------------------------------------------------------------------------------------


def _unquoted(text: str | None) -> str | None:
    return None if text is None else text.strip().strip('"')


@route("GET", "/_api/document/{collection}/{key}", headers=("if-match", "if-none-match", "x-arango-allow-dirty-read"))
async def read(call: Call) -> Answer:
    collection = call.collection(call.names["collection"], "ro")
    key = call.names["key"]

    def find(trx: Transaction) -> Row:
        trx.check_declared(collection, write=False)
        return documents.read(trx, collection, key, None)

    row = await call.within(find)
    etag = {"Etag": f'"{row.rev}"'}
    if _unquoted(call.headers.get("if-none-match")) == row.rev:
        return Answer(304, None, etag)
    wanted = _unquoted(call.headers.get("if-match"))
    if wanted is not None and wanted != row.rev:
        raise documents.mismatch(collection, row)
    return Answer(200, row.doc, etag)


def _find_many(call: Call, collection: Collection, items: list[Any]) -> Callable[[Transaction], list[Any]]:
    ignore = call.flag("ignoreRevs", default=True)

    def find(trx: Transaction) -> list[Any]:
        made: list[Any] = []
        for one in items:
            try:
                key, rev = _handle(one, collection)
                made.append(documents.read(trx, collection, key, None if ignore else rev).doc)
            except ArangoError as error:
                made.append(error)
        return made

    return find


def _handle(one: Any, collection: Collection) -> tuple[str, Any]:
    if isinstance(one, dict):
        handle = one.get("_key", one.get("_id"))
        if handle is None:
            raise ArangoError(1205)
        return documents.split_handle(handle, collection), one.get("_rev")
    return documents.split_handle(one, collection), None


# -- replace and update ----------------------------------------------------------------------------------------------


@route(
    "PUT",
    "/_api/document/{collection}",
    "onlyget",
    "ignoreRevs",
    *INSERT,
    *CHANGE,
    headers=("x-arango-allow-dirty-read",),
)
async def replace_many(call: Call) -> Answer:
    body = call.json()
    if not isinstance(body, list):
        raise ArangoError(1227)
    if not call.flag("onlyget"):
        return await _change_many(call, body, documents.replace)
    collection = call.collection(call.names["collection"], "ro")
    found = await call.within(_find_many(call, collection, body))
    errors = Counter(one.number for one in found if isinstance(one, ArangoError))
    headers = {"X-Arango-Error-Codes": values.dumps({str(number): count for number, count in errors.items()})}
    shown = [one.inline() if isinstance(one, ArangoError) else one for one in found]
    return Answer(200, shown, headers if errors else {})


@route("PATCH", "/_api/document/{collection}", "ignoreRevs", *INSERT, *CHANGE)
async def update_many(call: Call) -> Answer:
    body = call.json()
    if not isinstance(body, list):
        raise ArangoError(1227)
    return await _change_many(call, body, documents.update)


async def _change_many(call: Call, items: list[Any], change: Callable[..., Written]) -> Answer:
    collection = call.collection(call.names["collection"], "rw")
    options = _options(call)

    def do(trx: Transaction, one: Any) -> Written:
        if not isinstance(one, dict):
            raise ArangoError(1227)
        key, rev = _handle(one, collection)
        return change(trx, collection, key, one, options, None if options.ignore_revs else rev)

    return await _many(call, Wish.of(call, collection), items, do, statuses=(201, 202))


@route("PUT", "/_api/document/{collection}/{key}", "ignoreRevs", *INSERT, *CHANGE, headers=("if-match",))
async def replace(call: Call) -> Answer:
    return await _change(call, documents.replace)


@route("PATCH", "/_api/document/{collection}/{key}", "ignoreRevs", *INSERT, *CHANGE, headers=("if-match",))
async def update(call: Call) -> Answer:
    return await _change(call, documents.update)


async def _change(call: Call, change: Callable[..., Written]) -> Answer:
    collection = call.collection(call.names["collection"], "rw")
    body, options, key = call.json(), _options(call), call.names["key"]
    if not isinstance(body, dict):
        raise ArangoError(1227)
    rev = _unquoted(call.headers.get("if-match"))
    if rev is None and not options.ignore_revs:
        rev = body.get("_rev")

    def do(trx: Transaction) -> Written:
        written = change(trx, collection, key, body, options, rev)
        return written if isinstance(written, Written) else Written(None, None)

    return await _single(call, Wish.of(call, collection), do, statuses=(201, 202))


# -- remove ----------------------------------------------------------------------------------------------------------


@route(
    "DELETE",
    "/_api/document/{collection}/{key}",
    "ignoreRevs",
    "refillIndexCaches",
    SENT,
    *CHANGE,
    headers=("if-match",),
)
async def remove(call: Call) -> Answer:
    collection = call.collection(call.names["collection"], "rw")
    rev = _unquoted(call.headers.get("if-match"))
    return await _single(
        call,
        Wish.of(call, collection),
        lambda trx: documents.remove(trx, collection, call.names["key"], rev),
        statuses=(200, 202),
    )


@route("DELETE", "/_api/document/{collection}", "ignoreRevs", "refillIndexCaches", "refillCaches", SENT, *CHANGE)
async def remove_many(call: Call) -> Answer:
    collection = call.collection(call.names["collection"], "rw")
    body, ignore = call.json(), call.flag("ignoreRevs", default=True)
    if not isinstance(body, list):
        raise ArangoError(1227)

    def do(trx: Transaction, one: Any) -> Written:
        key, rev = _handle(one, collection)
        return documents.remove(trx, collection, key, None if ignore else rev)

    return await _many(call, Wish.of(call, collection), body, do, statuses=(200, 202))
