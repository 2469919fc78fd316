"""Endpoints: accounts, and their rights on databases and collections. For who has rw on `_system`, or for oneself."""

from __future__ import annotations

from typing import Any

from tests.doubles.arango.call import LEVELS, Answer, Call, route
from tests.doubles.arango.errors import ArangoError
from tests.doubles.arango.store import User


def _administrator(call: Call, *, or_self: bool = False) -> None:
    store = call.server.store
    if store.users[call.user].on_database("_system") == "rw":
        return
    if not (or_self and call.names.get("user") == call.user):
        raise ArangoError(11)


def _user(call: Call) -> User:
    found = call.server.store.users.get(call.names["user"])
    if found is None:
        raise ArangoError(1703, "user not found")
    return found


def _shown(user: User) -> dict[str, Any]:
    return {"user": user.name, "active": user.active, "extra": user.extra}


def _done(status: int, user: User) -> Answer:
    return Answer(status, _shown(user) | {"code": status, "error": False})


@route("GET", "/_api/user")
async def users(call: Call) -> Answer:
    _administrator(call)
    return Answer(
        200, {"error": False, "code": 200, "result": [_shown(one) for one in call.server.store.users.values()]}
    )


@route("GET", "/_api/user/{user}")
async def user(call: Call) -> Answer:
    _administrator(call, or_self=True)
    return _done(200, _user(call))


@route("POST", "/_api/user")
async def create_user(call: Call) -> Answer:
    _administrator(call)
    given = call.object("user", "passwd", "active", "extra")
    name = given.get("user")
    if not isinstance(name, str) or not name:
        raise ArangoError(1700, "invalid user name", http=400)
    if name in call.server.store.users:
        raise ArangoError(1702, "duplicate user")
    active = given.get("active")
    made = User(name, given.get("passwd") or "", active if isinstance(active, bool) else True, given.get("extra") or {})
    call.server.store.put_user(made)
    return _done(201, made)


async def _change(call: Call, *, replace: bool) -> Answer:
    _administrator(call, or_self=True)
    found = _user(call)
    given = call.object("user", "passwd", "active", "extra")
    if replace or given.get("passwd") is not None:
        found.password = given.get("passwd") or ""
    if replace or given.get("active") is not None:
        active = given.get("active")
        found.active = active if isinstance(active, bool) else True
    if replace or given.get("extra") is not None:
        found.extra = given.get("extra") or {}
    call.server.store.put_user(found)
    return _done(200, found)


@route("PUT", "/_api/user/{user}")
async def replace_user(call: Call) -> Answer:
    return await _change(call, replace=True)


@route("PATCH", "/_api/user/{user}")
async def update_user(call: Call) -> Answer:
    return await _change(call, replace=False)


@route("DELETE", "/_api/user/{user}")
async def delete_user(call: Call) -> Answer:
    _administrator(call)
    call.server.store.remove_user(_user(call).name)
    return Answer(202, {"error": False, "code": 202})


@route("GET", "/_api/user/{user}/database", "full")
async def rights(call: Call) -> Answer:
    _administrator(call, or_self=True)
    found, store = _user(call), call.server.store
    if not call.flag("full"):
        shown: dict[str, Any] = {
            name: found.on_database(name) for name in store.databases if found.on_database(name) != "none"
        }
        if "*" in found.databases:
            shown["*"] = found.databases["*"]
    else:
        shown = {name: _full(found, name, list(store.databases[name].collections)) for name in store.databases}
        shown["*"] = {"permission": found.databases.get("*", "none")}
        if "*" in found.collections:
            shown["*"]["collections"] = {"*": found.collections["*"].get("*", "undefined")}
    return Answer(200, {"error": False, "code": 200, "result": shown})


def _full(user: User, database: str, collections: list[str]) -> dict[str, Any]:
    given = user.collections.get(database, {})
    levels = {name: given.get(name, "undefined") for name in (*collections, "*")}
    return {"permission": user.databases.get(database, "undefined"), "collections": levels}


@route("GET", "/_api/user/{user}/database/{database}", "full")
async def right_on_database(call: Call) -> Answer:
    _administrator(call, or_self=True)
    result = _user(call).on_database(call.names["database"])
    return Answer(200, {"error": False, "code": 200, "result": result})


@route("GET", "/_api/user/{user}/database/{database}/{collection}")
async def right_on_collection(call: Call) -> Answer:
    _administrator(call, or_self=True)
    result = _user(call).on_collection(call.names["database"], call.names["collection"])
    return Answer(200, {"error": False, "code": 200, "result": result})


def _grant(call: Call) -> str:
    level = call.object("grant").get("grant")
    if level not in LEVELS:
        raise ArangoError(400, "bad parameter")
    return str(level)


@route("PUT", "/_api/user/{user}/database/{database}")
async def grant_database(call: Call) -> Answer:
    _administrator(call)
    found, name, level = _user(call), call.names["database"], _grant(call)
    if name != "*":
        call.server.store.database(name)
    found.databases[name] = level
    call.server.store.put_user(found)
    return Answer(200, {name: level, "code": 200, "error": False})


@route("PUT", "/_api/user/{user}/database/{database}/{collection}")
async def grant_collection(call: Call) -> Answer:
    _administrator(call)
    found, level = _user(call), _grant(call)
    database, name = call.names["database"], call.names["collection"]
    if "*" not in (database, name):
        call.server.store.database(database).collection(name)
    found.collections.setdefault(database, {})[name] = level
    call.server.store.put_user(found)
    return Answer(200, {f"{database}/{name}": level, "code": 200, "error": False})


@route("DELETE", "/_api/user/{user}/database/{database}")
async def revoke_database(call: Call) -> Answer:
    _administrator(call)
    found = _user(call)
    found.databases.pop(call.names["database"], None)
    call.server.store.put_user(found)
    return Answer(202, {"error": False, "code": 202})


@route("DELETE", "/_api/user/{user}/database/{database}/{collection}")
async def revoke_collection(call: Call) -> Answer:
    _administrator(call)
    found = _user(call)
    found.collections.get(call.names["database"], {}).pop(call.names["collection"], None)
    call.server.store.put_user(found)
    return Answer(202, {"error": False, "code": 202})
