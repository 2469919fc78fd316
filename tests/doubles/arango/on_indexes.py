"""Endpoints: indexes. Persistent and ttl ones; what else ArangoDB has is refused."""

from __future__ import annotations

from typing import Any

from tests.doubles.arango.call import Answer, Call, route
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.indexes import Index
from tests.doubles.arango.store import Collection

KNOWN = ("type", "fields", "unique", "sparse", "deduplicate", "estimates", "name", "cacheEnabled", "expireAfter")
IGNORED = ("inBackground",)


def shown(collection: Collection, index: Index | None) -> dict[str, Any]:
    if index is None:
        primary = {"fields": ["_key"], "id": f"{collection.name}/0", "name": "primary", "selectivityEstimate": 1}
        return primary | {"sparse": False, "type": "primary", "unique": True}
    estimate = {"selectivityEstimate": index.selectivity()} if index.definition.get("estimates", True) else {}
    return index.definition | estimate | {"id": f"{collection.name}/{index.id}"}


def visible(collection: Collection) -> list[Index | None]:
    return [None, *(one for one in collection.indexes if not one.definition.get("hidden"))]


@route("GET", "/_api/index", "collection", "withStats", "withHidden")
async def indexes(call: Call) -> Answer:
    collection = _collection(call, "ro")
    every = [shown(collection, one) for one in visible(collection)]
    for one in every:
        one.pop("hidden", None)
    return Answer(
        200, {"error": False, "code": 200, "indexes": every, "identifiers": {one["id"]: one for one in every}}
    )


def _collection(call: Call, level: str) -> Collection:
    if not call.params.get("collection"):
        raise ArangoError(1204, "parameter 'collection' not found", http=400)
    return call.collection(call.params["collection"], level)


@route("GET", "/_api/index/{collection}/{index}")
async def index(call: Call) -> Answer:
    collection = call.collection(call.names["collection"], "ro")
    name = call.names["index"]
    found = None if name in ("0", "primary") else _find(collection, name)
    return Answer(200, shown(collection, found) | {"error": False, "code": 200})


def _find(collection: Collection, name: str) -> Index:
    found = collection.find_index(name)
    if found is None or found.definition.get("hidden"):
        raise ArangoError(1212)
    return found


@route("POST", "/_api/index", "collection")
async def create_index(call: Call) -> Answer:
    call.need_database("rw")
    collection = _collection(call, "rw")
    given = call.object(*KNOWN, ignored=IGNORED)
    definition = _definition(given)
    for old in collection.indexes:
        same = all(old.definition.get(name) == definition.get(name) for name in ("type", "fields", "unique", "sparse"))
        if same and not old.definition.get("hidden"):
            return _created(collection, old, new=False)
        if given.get("name") is not None and old.name == given["name"]:
            raise ArangoError(1005, "duplicate value for `name`", http=409)
    if given.get("name") is not None:
        definition["name"] = given["name"]
    writer = f"index-{call.server.store.tick()}"
    transactions = call.server.transactions
    await transactions.lock_collection(collection, writer, "exclusive", call.server.settings.lock_timeout)
    try:
        made = call.server.store.create_index(call.db, collection, definition)
    finally:
        transactions.unlock_collection(collection, writer)
    return _created(collection, made, new=True)


def _created(collection: Collection, index: Index, *, new: bool) -> Answer:
    status = 201 if new else 200
    body = shown(collection, index) | {"isNewlyCreated": new, "code": status, "error": False}
    return Answer(status, body)


def _definition(given: dict[str, Any]) -> dict[str, Any]:
    kind = given.get("type")
    kind = "persistent" if kind in ("hash", "skiplist") else kind
    if kind not in ("persistent", "ttl"):
        raise Unsupported(f"an index of type {kind}")
    fields = given.get("fields")
    if not isinstance(fields, list) or not fields or not all(isinstance(one, str) and one for one in fields):
        raise ArangoError(10, "bad parameter: no fields")
    if len(set(fields)) < len(fields):
        raise ArangoError(10, "duplicate attribute in fields list")
    if any(one.count("[*]") > 1 for one in fields) or "_id" in fields:
        raise ArangoError(10, f"bad parameter: {fields}")
    made: dict[str, Any] = {"type": kind, "fields": fields, "estimates": given.get("estimates", True)}
    if kind == "ttl":
        if len(fields) != 1 or not isinstance(given.get("expireAfter"), int | float):
            raise ArangoError(10, "expireAfter attribute must be a number")
        return made | {"expireAfter": given["expireAfter"], "unique": False, "sparse": True}
    made |= {"unique": bool(given.get("unique")), "sparse": bool(given.get("sparse"))}
    return made | {"deduplicate": given.get("deduplicate", True), "cacheEnabled": bool(given.get("cacheEnabled"))}


@route("DELETE", "/_api/index/{collection}/{index}")
async def drop_index(call: Call) -> Answer:
    call.need_database("rw")
    collection = call.collection(call.names["collection"], "rw")
    name = call.names["index"]
    if name in ("0", "primary"):
        raise ArangoError(11, "forbidden")
    found = _find(collection, name)
    call.server.store.drop_index(call.db, collection, found)
    return Answer(200, {"id": f"{collection.name}/{found.id}", "error": False, "code": 200})
