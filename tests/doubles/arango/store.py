"""What a server holds: databases, collections with rows and indexes, users. Only committed state; see transactions.py.

All of it is touched by one thread, the server's. Every change is told to a journal, so that a process that is killed
finds its data again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.arango.errors import ArangoError
from tests.doubles.arango.indexes import FieldPath, Index, Row
from tests.doubles.arango.values import Value

REV_DIGITS = "-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
DOCUMENTS, EDGES = 2, 3
Journal = Callable[[dict[str, Any]], None]


def _no_journal(_record: dict[str, Any]) -> None:
    return None


@dataclass(eq=False, slots=True)
class Collection:
    """A collection: its properties, rows by key in the order they were written, indexes beside the primary one."""

    id: int
    name: str
    type: int
    properties: dict[str, Any]
    rows: dict[str, Row] = field(default_factory=dict)
    indexes: list[Index] = field(default_factory=list)
    last_key: int = 0
    writers: set[str] = field(default_factory=set)
    exclusive: str | None = None
    queue: deque[tuple[str, str, asyncio.Future[None]]] = field(default_factory=deque)

    @property
    def is_system(self) -> bool:
        return self.name.startswith("_")

    def apply(self, changes: dict[str, Row | None]) -> None:
        """Put committed rows in place of what was there."""
        old = [row for key in changes if (row := self.rows.pop(key, None)) is not None]
        new = [row for row in changes.values() if row is not None]
        for index in self.indexes:
            index.remove(old)
            index.add(new)
        self.rows.update((row.key, row) for row in new)

    def find_index(self, handle: str) -> Index | None:
        """By name, by number, or by `collection/number`."""
        number = handle.rpartition("/")[2]
        return next((one for one in self.indexes if one.name == handle or str(one.id) == number), None)


@dataclass(eq=False, slots=True)
class Database:
    id: int
    name: str
    collections: dict[str, Collection] = field(default_factory=dict)

    def collection(self, name: str) -> Collection:
        """By name or number. Raises 1203."""
        found = self.collections.get(name)
        if found is None and name.isdigit():
            found = next((one for one in self.collections.values() if str(one.id) == name), None)
        if found is None:
            raise ArangoError(1203, f"collection or view not found: {name}")
        return found


@dataclass(eq=False, slots=True)
class User:
    """An account. Rights by database, and by database and collection: rw, ro, none; `*` stands for all others."""

    name: str
    password: str
    active: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    databases: dict[str, str] = field(default_factory=dict)
    collections: dict[str, dict[str, str]] = field(default_factory=dict)

    def on_database(self, name: str) -> str:
        return self.databases.get(name) or self.databases.get("*") or "none"

    def on_collection(self, database: str, name: str) -> str:
        for place in (database, "*"):
            rights = self.collections.get(place, {})
            if name in rights or "*" in rights:
                return rights.get(name) or rights["*"]
        return self.on_database(database)


SYSTEM_COLLECTIONS = (
    *("_users", "_statistics", "_statistics15", "_statisticsRaw", "_graphs", "_analyzers", "_aqlfunctions"),
    *("_queues", "_jobs", "_apps", "_appbundles", "_frontend"),
)


class Store:
    """The committed state, its ids and revisions."""

    def __init__(self, journal: Journal = _no_journal) -> None:
        self.journal = journal
        self.databases: dict[str, Database] = {}
        self.users: dict[str, User] = {}
        self._tick = 1000
        self._clock = 0
        self.guid = "h5C3DDE5391BF"
        self.restore_database("_system")
        self.users["root"] = User("root", "", databases={"*": "rw"}, collections={"*": {"*": "rw"}})

    def tick(self) -> int:
        """A number that nobody had."""
        self._tick += 1
        return self._tick

    def revision(self) -> tuple[str, int]:
        """A new `_rev`, and the number behind it: a clock that only goes on."""
        self._clock = max(self._clock + 1, int(time.time() * 1000) << 20)
        text, rest = "", self._clock
        while rest:
            rest, digit = divmod(rest, 64)
            text = REV_DIGITS[digit] + text
        return text, self._clock

    # -- databases ---------------------------------------------------------------------------------------------------

    def database(self, name: str) -> Database:
        if name not in self.databases:
            raise ArangoError(1228, f"database not found: {name}")
        return self.databases[name]

    def create_database(self, name: str) -> Database:
        if name in self.databases:
            raise ArangoError(1207, "duplicate database name")
        self.journal({"op": "create-database", "name": name})
        return self.restore_database(name)

    def restore_database(self, name: str) -> Database:
        made = self.databases[name] = Database(self.tick(), name)
        for system in SYSTEM_COLLECTIONS if name == "_system" else SYSTEM_COLLECTIONS[4:]:
            made.collections[system] = Collection(self.tick(), system, DOCUMENTS, default_properties(self.tick()))
        return made

    def drop_database(self, name: str) -> None:
        self.database(name)
        self.journal({"op": "drop-database", "name": name})
        del self.databases[name]

    # -- collections -------------------------------------------------------------------------------------------------

    def create_collection(self, db: Database, name: str, kind: int, properties: dict[str, Any]) -> Collection:
        if name in db.collections:
            raise ArangoError(1207, f"duplicate name: {name}")
        number = self.tick()
        settled = default_properties(self.tick()) | properties
        record = {"op": "create-collection", "db": db.name, "id": number, "name": name, "type": kind}
        self.journal(record | {"properties": settled})
        return self.restore_collection(db, number, name, kind, settled)

    def restore_collection(
        self, db: Database, number: int, name: str, kind: int, properties: dict[str, Any]
    ) -> Collection:
        self._tick = max(self._tick, number + 1)
        made = db.collections[name] = Collection(number, name, kind, properties)
        if kind == EDGES:
            paths = (FieldPath.parse("_from"),), (FieldPath.parse("_to"),)
            for place, fields in enumerate(paths):
                shown = {"type": "edge", "name": "edge", "fields": ["_from", "_to"], "unique": False, "sparse": False}
                made.indexes.append(Index(1, shown | {"hidden": place > 0}, fields))
        return made

    def rename_collection(self, db: Database, collection: Collection, name: str) -> None:
        if name in db.collections:
            raise ArangoError(1207, f"duplicate name: {name}")
        self.journal({"op": "rename-collection", "db": db.name, "old": collection.name, "new": name})
        del db.collections[collection.name]
        collection.name = name
        db.collections[name] = collection

    def change_properties(self, db: Database, collection: Collection, changes: dict[str, Any]) -> None:
        self.journal({"op": "change-collection", "db": db.name, "name": collection.name, "properties": changes})
        collection.properties.update(changes)

    def drop_collection(self, db: Database, collection: Collection) -> None:
        self.journal({"op": "drop-collection", "db": db.name, "name": collection.name})
        del db.collections[collection.name]

    def create_index(self, db: Database, collection: Collection, definition: dict[str, Any]) -> Index:
        number = self.tick()
        definition = {"name": f"idx_{1872607108000000000 + number}"} | definition
        made = self.restore_index(collection, number, definition)
        record = {"op": "create-index", "db": db.name, "collection": collection.name, "id": number}
        self.journal(record | {"definition": definition})
        return made

    def restore_index(self, collection: Collection, number: int, definition: dict[str, Any]) -> Index:
        self._tick = max(self._tick, number)
        fields = tuple(FieldPath.parse(one) for one in definition["fields"])
        made = Index(number, definition, fields, unique=definition["unique"], sparse=definition["sparse"])
        made.load(list(collection.rows.values()))
        if made.unique:
            for one, other in zip(made.entries, made.entries[1:], strict=False):
                if one[0] == other[0]:
                    message = f"unique constraint violated - in index {made.name} of type {made.kind} over '{{fields}}'"
                    shown = ", ".join(definition["fields"])
                    conflicting = f"; conflicting key: {one[2].key}"
                    raise ArangoError(1210, message.replace("{fields}", shown) + conflicting)
        collection.indexes.append(made)
        return made

    def drop_index(self, db: Database, collection: Collection, index: Index) -> None:
        self.journal({"op": "drop-index", "db": db.name, "collection": collection.name, "id": index.id})
        collection.indexes.remove(index)

    # -- rows and users ----------------------------------------------------------------------------------------------

    def commit(self, db: Database, changes: Iterable[tuple[Collection, dict[str, Row | None]]]) -> None:
        """All of these rows, told to the journal as one record: after a crash either all are there or none."""
        told = {
            collection.name: {key: row and [row.rev, row.tick, row.doc] for key, row in rows.items()}
            for collection, rows in changes
            if rows
        }
        if not told:
            return
        self.journal({"op": "commit", "db": db.name, "rows": told})
        for collection, rows in changes:
            collection.apply(rows)

    def put_user(self, user: User) -> None:
        shown: dict[str, Value] = {name: getattr(user, name) for name in User.__slots__}
        self.journal({"op": "put-user", "user": shown})
        self.users[user.name] = user

    def remove_user(self, name: str) -> None:
        self.journal({"op": "remove-user", "name": name})
        del self.users[name]

    def restore(self, record: dict[str, Any]) -> None:
        """Do again what a journal tells."""
        db = self.databases.get(record.get("db", ""))
        match record["op"]:
            case "create-database":
                self.restore_database(record["name"])
            case "drop-database":
                del self.databases[record["name"]]
            case "put-user":
                user = User(**record["user"])
                self.users[user.name] = user
            case "remove-user":
                del self.users[record["name"]]
            case _ if db is not None:
                self._restore_in(db, record)
            case unknown:
                raise ValueError(f"a journal with {unknown}")

    def _restore_in(self, db: Database, record: dict[str, Any]) -> None:
        match record["op"]:
            case "create-collection":
                self.restore_collection(db, record["id"], record["name"], record["type"], record["properties"])
            case "rename-collection":
                collection = db.collections.pop(record["old"])
                collection.name = record["new"]
                db.collections[collection.name] = collection
            case "change-collection":
                db.collections[record["name"]].properties.update(record["properties"])
            case "drop-collection":
                del db.collections[record["name"]]
            case "create-index":
                self.restore_index(db.collections[record["collection"]], record["id"], record["definition"])
            case "drop-index":
                collection = db.collections[record["collection"]]
                collection.indexes = [one for one in collection.indexes if one.id != record["id"]]
            case "commit":
                for name, rows in record["rows"].items():
                    made = {key: told and self._restored_row(key, *told) for key, told in rows.items()}
                    db.collections[name].apply(made)
            case unknown:
                raise ValueError(f"a journal with {unknown}")

    def _restored_row(self, key: str, rev: str, tick: int, doc: dict[str, Value]) -> Row:
        self._clock = max(self._clock, tick)
        if key.isdigit() and int(key) < 10**15:
            self._tick = max(self._tick, int(key))
        return Row(key, rev, tick, doc)


def default_properties(object_id: int) -> dict[str, Any]:
    return {
        "objectId": str(object_id),
        "waitForSync": False,
        "cacheEnabled": False,
        "schema": None,
        "computedValues": None,
        "keyOptions": {"allowUserKeys": True, "type": "traditional"},
    }
