"""Endpoints: tokens, version, engine, databases, and what tells a client how the server is set up."""

from __future__ import annotations

import re
import time

from tests.doubles.arango.call import Answer, Call, route
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.store import User

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,63}")
VERSION = {"server": "arango", "license": "enterprise", "version": "3.12.10"}
API_VERSIONS = {"apiVersions": ["v0"], "deprecatedApiVersions": [], "requestedApiVersion": "v0"}


@route("POST", "/_open/auth", public=True)
async def log_in(call: Call) -> Answer:
    given = call.object("username", "password")
    name, password = given.get("username"), given.get("password")
    if not isinstance(name, str) or not isinstance(password, str):
        raise ArangoError(400, "username and password must be strings")
    if not call.server.knows(name, password):
        raise ArangoError(401, "Wrong credentials")
    return Answer(200, {"jwt": call.server.token(name)})


@route("GET", "/_api/version", "details")
async def version(call: Call) -> Answer:
    if not call.flag("details"):
        return Answer(200, VERSION | API_VERSIONS)
    details = {
        "architecture": "64bit",
        "server-version": VERSION["version"],
        "mode": "server",
        "role": "SINGLE" if call.server.single else "COORDINATOR",
        "host": "localhost",
        "license": VERSION["license"],
        "platform": "linux",
    }
    return Answer(200, VERSION | {"details": details} | API_VERSIONS)


@route("GET", "/_api/engine")
async def engine(_call: Call) -> Answer:
    kinds = ["primary", "edge", "hash", "skiplist", "ttl", "persistent", "geo", "fulltext"]
    kinds += ["mdi", "mdi-prefixed", "inverted"]
    aliases = {"indexes": {"hash": "persistent", "skiplist": "persistent", "zkd": "mdi"}}
    return Answer(200, {"name": "rocksdb", "supports": {"indexes": kinds, "aliases": aliases}, "endianness": "big"})


@route("GET", "/_admin/server/role")
async def role(call: Call) -> Answer:
    return Answer(200, {"error": False, "code": 200, "role": "SINGLE" if call.server.single else "COORDINATOR"})


@route("GET", "/_admin/server/availability", public=True)
async def availability(_call: Call) -> Answer:
    return Answer(200, {"mode": "default", "error": False, "code": 200})


@route("GET", "/_admin/server/mode")
async def mode(_call: Call) -> Answer:
    return Answer(200, {"mode": "default", "error": False, "code": 200})


@route("GET", "/_admin/time")
async def server_time(_call: Call) -> Answer:
    return Answer(200, {"error": False, "code": 200, "time": time.time()})


@route("GET", "/_api/database")
async def databases(call: Call) -> Answer:
    _in_system(call)
    call.need_database("ro")
    return Answer(200, {"error": False, "code": 200, "result": list(call.server.store.databases)})


@route("GET", "/_api/database/user")
async def my_databases(call: Call) -> Answer:
    user = call.server.store.users[call.user]
    mine = [name for name in call.server.store.databases if user.on_database(name) != "none"]
    return Answer(200, {"error": False, "code": 200, "result": mine})


@route("GET", "/_api/database/current")
async def current_database(call: Call) -> Answer:
    db = call.db
    shown = {"id": str(db.id), "name": db.name, "isSystem": db.name == "_system", "path": "none"}
    if not call.server.single:
        shown |= {"sharding": "single", "replicationFactor": 2, "writeConcern": 1}
    return Answer(200, {"error": False, "code": 200, "result": shown})


@route("POST", "/_api/database")
async def create_database(call: Call) -> Answer:
    _in_system(call)
    call.need_database("rw")
    given = call.object("name", "users", "options")
    name = given.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ArangoError(1229, "database name invalid")
    for option in given.get("options") or {}:
        if option not in ("sharding", "replicationFactor", "writeConcern"):
            raise Unsupported(f"option {option} of a database")
    store = call.server.store
    store.create_database(name)
    for told in given.get("users") or ():
        user = store.users.get(told["username"])
        user = user or User(
            told["username"], told.get("passwd") or "", told.get("active", True), told.get("extra") or {}
        )
        user.databases[name] = "rw"
        store.put_user(user)
    me = store.users[call.user]
    if me.on_database(name) != "rw":
        me.databases[name] = "rw"
        store.put_user(me)
    return Answer(201, {"error": False, "code": 201, "result": True})


@route("DELETE", "/_api/database/{name}")
async def drop_database(call: Call) -> Answer:
    _in_system(call)
    call.need_database("rw")
    if call.names["name"] == "_system":
        raise ArangoError(11, "forbidden")
    call.server.store.drop_database(call.names["name"])
    return Answer(200, {"error": False, "code": 200, "result": True})


def _in_system(call: Call) -> None:
    if call.database != "_system":
        raise ArangoError(1230)
