"""Endpoints: collections and their properties."""

from __future__ import annotations

import re
from typing import Any

from tests.doubles.arango.call import Answer, Call, route
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.store import Collection
from tests.doubles.arango.transactions import Transaction

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,255}")
# Properties of clusters. A single server takes and forgets them, and so does the double.
CLUSTER = (
    "numberOfShards",
    "replicationFactor",
    "writeConcern",
    "shardKeys",
    "shardingStrategy",
    "distributeShardsLike",
)
OK = {"error": False, "code": 200}


def brief(call: Call, collection: Collection) -> dict[str, Any]:
    guid = collection.name if collection.is_system else f"{call.server.store.guid}/{collection.id}"
    return {
        "id": str(collection.id),
        "name": collection.name,
        "status": 3,
        "type": collection.type,
        "isSystem": collection.is_system,
        "globallyUniqueId": guid,
    }


def full(call: Call, collection: Collection) -> dict[str, Any]:
    generator = dict(collection.properties["keyOptions"])
    if generator["type"] in ("traditional", "autoincrement"):
        generator["lastValue"] = collection.last_key
    return {
        "writeConcern": 1,
        "usesRevisionsAsDocumentIds": True,
        "syncByRevision": True,
        "supportsRBAC": True,
        "statusString": "loaded",
        "isSmartChild": False,
        "internalValidatorType": 0,
        **brief(call, collection),
        **collection.properties,
        "keyOptions": generator,
    }


def _located(call: Call, body: dict[str, Any]) -> Answer:
    return Answer(200, body, {"Location": f"/_db/{call.database}{call.path}"})


@route("GET", "/_api/collection", "excludeSystem")
async def collections(call: Call) -> Answer:
    shown = [
        brief(call, one)
        for one in call.db.collections.values()
        if not (call.flag("excludeSystem") and one.is_system)
        and call.server.store.users[call.user].on_collection(call.database, one.name) != "none"
    ]
    return Answer(200, OK | {"result": shown})


@route("POST", "/_api/collection", "waitForSyncReplication", "enforceReplicationFactor")
async def create_collection(call: Call) -> Answer:
    call.need_database("rw")
    known = ("name", "type", "waitForSync", "isSystem", "keyOptions", "cacheEnabled", "schema", "computedValues")
    given = call.object(*known, ignored=CLUSTER)
    name = given.get("name")
    system = bool(given.get("isSystem"))
    if not isinstance(name, str) or not NAME.fullmatch(name.removeprefix("_") if system else name):
        raise ArangoError(1208, "illegal name: collection name invalid")
    for feature in ("schema", "computedValues"):
        if given.get(feature) is not None:
            raise Unsupported(f"{feature} of a collection")
    properties: dict[str, Any] = {name: given[name] for name in ("waitForSync", "cacheEnabled") if name in given}
    if "keyOptions" in given:
        properties["keyOptions"] = _key_options(given["keyOptions"])
    kind = given.get("type", 2)
    if kind not in (2, 3):
        raise ArangoError(1218, "collection type invalid")
    made = call.server.store.create_collection(call.db, name, kind, properties)
    return Answer(200, OK | full(call, made))


def _key_options(given: dict[str, Any]) -> dict[str, Any]:
    kind = given.get("type", "traditional")
    if kind not in ("traditional", "autoincrement", "uuid", "padded"):
        raise ArangoError(1232, "invalid key generator")
    for name in given:
        if name not in ("type", "allowUserKeys", "increment", "offset", "lastValue"):
            raise Unsupported(f"key option {name}")
    return {"allowUserKeys": True} | given | {"type": kind}


@route("GET", "/_api/collection/{name}")
async def collection(call: Call) -> Answer:
    return Answer(200, OK | brief(call, call.collection(call.names["name"], "ro")))


@route("GET", "/_api/collection/{name}/properties")
async def properties(call: Call) -> Answer:
    return _located(call, OK | full(call, call.collection(call.names["name"], "ro")))


@route("PUT", "/_api/collection/{name}/properties")
async def change_properties(call: Call) -> Answer:
    call.need_database("rw")
    found = call.collection(call.names["name"], "rw")
    given = call.object("waitForSync", "cacheEnabled", "schema", "computedValues", ignored=CLUSTER)
    for feature in ("schema", "computedValues"):
        if given.get(feature) is not None:
            raise Unsupported(f"{feature} of a collection")
    changes = {name: value for name, value in given.items() if name not in CLUSTER}
    call.server.store.change_properties(call.db, found, changes)
    return _located(call, OK | full(call, found))


@route("GET", "/_api/collection/{name}/count", "details")
async def count(call: Call) -> Answer:
    found = call.collection(call.names["name"], "ro")
    if call.flag("details"):
        raise Unsupported("details of a count")
    number = await call.within(lambda trx: trx.view(found).count())
    return _located(call, OK | full(call, found) | {"count": number})


@route("GET", "/_api/collection/{name}/revision")
async def revision(call: Call) -> Answer:
    found = call.collection(call.names["name"], "ro")
    newest = max(found.rows.values(), key=lambda row: row.tick, default=None)
    return _located(call, OK | full(call, found) | {"revision": newest.rev if newest else "0"})


@route("PUT", "/_api/collection/{name}/truncate", "waitForSync", "compact")
async def truncate(call: Call) -> Answer:
    found = call.collection(call.names["name"], "rw")

    def empty(trx: Transaction) -> None:
        for row in list(trx.view(found).scan()):
            trx.put(found, row.key, None)

    await call.within(empty, writes=(found,))
    return _located(call, OK | brief(call, found))


@route("PUT", "/_api/collection/{name}/load", "count")
@route("PUT", "/_api/collection/{name}/unload")
async def load(call: Call) -> Answer:
    return _located(call, OK | brief(call, call.collection(call.names["name"], "ro")))


@route("PUT", "/_api/collection/{name}/rename")
async def rename(call: Call) -> Answer:
    call.need_database("rw")
    found = call.collection(call.names["name"], "rw")
    name = call.object("name").get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ArangoError(1208, "illegal name: collection name invalid")
    call.server.store.rename_collection(call.db, found, name)
    return _located(call, OK | brief(call, found))


@route("DELETE", "/_api/collection/{name}", "isSystem")
async def drop_collection(call: Call) -> Answer:
    call.need_database("rw")
    found = call.collection(call.names["name"], "rw")
    if found.is_system and not call.flag("isSystem"):
        raise ArangoError(11, "forbidden")
    writer = f"drop-{call.server.store.tick()}"
    await call.server.transactions.lock_collection(found, writer, "exclusive", call.server.settings.lock_timeout)
    call.server.store.drop_collection(call.db, found)
    call.server.transactions.unlock_collection(found, writer)
    return Answer(200, OK | {"id": str(found.id)})


@route("GET", "/_api/key-generators")
async def key_generators(_call: Call) -> Answer:
    return Answer(200, {"keyGenerators": ["upgrade", "padded", "uuid", "autoincrement", "traditional"]})
