"""Operations on single documents within a transaction: insert, replace, update, remove. One place for HTTP and AQL."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from tests.doubles.arango.errors import ArangoError
from tests.doubles.arango.indexes import Row
from tests.doubles.arango.store import EDGES, Collection
from tests.doubles.arango.transactions import Transaction, violated
from tests.doubles.arango.values import Value

KEY = re.compile(r"[A-Za-z0-9_\-.@()+,=;$!*'%:]{1,254}")
HANDLE = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*/[A-Za-z0-9_\-.@()+,=;$!*'%:]{1,254}")
SYSTEM = ("_key", "_id", "_rev")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a write is meant; the names are ArangoDB's."""

    overwrite_mode: str = "conflict"
    keep_null: bool = True
    merge_objects: bool = True
    ignore_revs: bool = True


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did; `old` is what was there, `new` what is there now."""

    old: Row | None
    new: Row | None


def split_handle(handle: Value, collection: Collection) -> str:
    """The key within `collection` that a key or an id means. Raises 1205, 1221, 1202."""
    if not isinstance(handle, str):
        raise ArangoError(1205)
    name, slash, key = handle.partition("/")
    if not slash:
        return handle
    if name != collection.name:
        raise ArangoError(1202)
    return key


def read(trx: Transaction, collection: Collection, key: str, rev: Any) -> Row:
    """The row under a key. Raises 1202, and 1200 when it has another revision than `rev`."""
    row = trx.row(collection, key)
    if row is None:
        raise ArangoError(1202)
    if rev is not None and rev != row.rev:
        raise mismatch(collection, row)
    return row


def insert(trx: Transaction, collection: Collection, doc: Value, options: Options) -> Written:
    """A new document; with an overwrite mode, what is there under its key already may be replaced instead."""
    if not isinstance(doc, dict):
        raise ArangoError(1227)
    key = _settle_key(trx, collection, doc)
    old = trx.row(collection, key)
    if old is not None and options.overwrite_mode != "conflict":
        match options.overwrite_mode:
            case "ignore":
                return Written(old, None)
            case "replace":
                return _write(trx, collection, old, _own_attributes(doc))
            case _:
                return _write(trx, collection, old, patched(old.doc, _own_attributes(doc), options))
    if old is not None:
        trx.put(collection, key, old)  # who is first decides: conflict or violation
        raise violated(None, key)
    body = _own_attributes(doc)
    if options.overwrite_mode == "update" and not options.keep_null:
        body = _without_nulls(body)
    return _write(trx, collection, None, body, key=key)


def replace(trx: Transaction, collection: Collection, key: str, doc: Value, options: Options, rev: Any) -> Written:
    if not isinstance(doc, dict):
        raise ArangoError(1227)
    old = _existing(trx, collection, key, rev)
    return _write(trx, collection, old, _own_attributes(doc))


def update(trx: Transaction, collection: Collection, key: str, patch: Value, options: Options, rev: Any) -> Written:
    if not isinstance(patch, dict):
        raise ArangoError(1227)
    old = _existing(trx, collection, key, rev)
    return _write(trx, collection, old, patched(old.doc, _own_attributes(patch), options))


def remove(trx: Transaction, collection: Collection, key: str, rev: Any) -> Written:
    old = _existing(trx, collection, key, rev)
    trx.put(collection, key, None)
    return Written(old, None)


def patched(old: dict[str, Value], patch: dict[str, Value], options: Options) -> dict[str, Value]:
    """`old` with `patch` merged in, without the system attributes."""
    body = {name: value for name, value in old.items() if name not in SYSTEM}
    return _merged(body, patch, options)


def _merged(old: dict[str, Value], patch: dict[str, Value], options: Options) -> dict[str, Value]:
    made = dict(old)
    for name, value in patch.items():
        before = old.get(name)
        if value is None and not options.keep_null:
            made.pop(name, None)
        elif isinstance(value, dict):
            if options.merge_objects and isinstance(before, dict):
                made[name] = _merged(before, value, options)
            else:
                made[name] = value if options.keep_null else _without_nulls(value)
        else:
            made[name] = value
    return made


def _without_nulls(value: dict[str, Value]) -> dict[str, Value]:
    return {
        name: _without_nulls(one) if isinstance(one, dict) else one for name, one in value.items() if one is not None
    }


def _own_attributes(doc: dict[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in doc.items() if name not in SYSTEM}


def _existing(trx: Transaction, collection: Collection, key: str, rev: Any) -> Row:
    """The row to be changed; `rev` is what its revision must be, where that is asked for."""
    old = trx.row(collection, key)
    if old is None:
        if key in trx.undo.get(collection.id, {}):
            raise trx.conflict(key)
        raise ArangoError(1202)
    if rev is not None and rev != old.rev:
        raise mismatch(collection, old)
    return old


def mismatch(collection: Collection, row: Row) -> ArangoError:
    """412 in the document API, whose body tells what is there."""
    told = {"_id": f"{collection.name}/{row.key}", "_key": row.key, "_rev": row.rev}
    return ArangoError(1200, "conflict, _rev values do not match", http=412, extra=told, etag=row.rev)


def _write(
    trx: Transaction, collection: Collection, old: Row | None, body: dict[str, Value], *, key: str = ""
) -> Written:
    key = old.key if old is not None else key
    if collection.type == EDGES:
        for end in ("_from", "_to"):
            if not isinstance(body.get(end), str) or not HANDLE.fullmatch(body[end]):
                raise ArangoError(1233)
    rev, tick = trx.manager.store.revision()
    new = Row(key, rev, tick, {"_key": key, "_id": f"{collection.name}/{key}", "_rev": rev, **body})
    trx.put(collection, key, new)
    return Written(old, new)


def _settle_key(trx: Transaction, collection: Collection, doc: dict[str, Value]) -> str:
    generator = collection.properties["keyOptions"]
    if "_key" not in doc:
        match generator["type"]:
            case "traditional":
                collection.last_key = trx.manager.store.tick()
                return str(collection.last_key)
            case "autoincrement":
                step, offset = generator.get("increment", 1), generator.get("offset", 0)
                collection.last_key = collection.last_key + step if collection.last_key else max(offset, 1)
                return str(collection.last_key)
            case "padded":
                return f"{trx.manager.store.revision()[1]:016x}"
            case _:
                return str(uuid.uuid4())
    key = doc["_key"]
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ArangoError(1221)
    if not generator.get("allowUserKeys", True):
        raise ArangoError(1222, "unexpected document key")
    if generator["type"] in ("traditional", "autoincrement") and key.isdigit():
        collection.last_key = max(collection.last_key, int(key))
    return key
