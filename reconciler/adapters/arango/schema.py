"""Collections, indexes, and how a database of an older version becomes the present one: under a lock, step by step.

The server has no transactions for these, so every step may be done twice, and the version is written last. No queries
of records live here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from arango.database import StandardDatabase

from reconciler.adapters.arango.faults import DUPLICATE_NAME, FAILURES, Kind, NoDatabase, code_of, kind_of
from reconciler.adapters.arango.servers import Servers
from reconciler.adapters.arango.statements import collections, one, run
from reconciler.adapters.arango.upkeep import make_search_anew, note_ages
from reconciler.model.audit import GENESIS
from reconciler.model.errors import RegistryError
from reconciler.query.facts import VERSION as FACTS

META = "meta"
AGENTS, CHANGES, OPERATIONS = "agents", "changes", "operations"
JOURNAL, REVISIONS, AUDIT = "apply_journal", "revisions", "audit"
CLUSTERS, FLEET, LEASES, COUNTERS = "clusters", "fleet", "leases", "counters"
HEALTH_CHANGES, HEALTH_POINTS = "health_changes", "health_points"
WRITTEN = (AGENTS, CHANGES, OPERATIONS, JOURNAL, REVISIONS, AUDIT, CLUSTERS, FLEET, LEASES,
           HEALTH_CHANGES, HEALTH_POINTS)  # fmt: skip
"""What a write may touch, beside the counters that it holds alone."""
COLLECTIONS = (META, COUNTERS, *WRITTEN)

LOADING = "an import into this registry is under way, or was broken off"
LOADING_HINT = "wait for it; or run the import again, which begins anew"
LOCK_MS = 60_000
LOCK_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Index:
    """A persistent index. A field that ends in `[*]` indexes each member of a list."""

    collection: str
    name: str
    fields: tuple[str, ...]
    unique: bool = False


FIXED_ORDERS = ("state", "replicas", "created", "updated", "lastSeen")
"""Paths that people order by, each with an index for that."""

_FIRST = (
    Index(AGENTS, "by_pair", ("pairs[*]",)),
    Index(AGENTS, "by_path", ("paths[*]",)),
    Index(AGENTS, "by_word", ("words[*]",)),
    Index(AGENTS, "by_name", ("live", "ns_key", "name_key")),
    *(Index(AGENTS, f"by_{path}", ("live", f"order.{path}", "ns_key", "name_key")) for path in FIXED_ORDERS),
    Index(AGENTS, "by_seq", ("seq",), unique=True),
    Index(CHANGES, "by_seq", ("seq",), unique=True),
    Index(OPERATIONS, "by_position", ("position",), unique=True),
    Index(JOURNAL, "open", ("phase", "position")),
    Index(REVISIONS, "of_agent", ("agent", "number"), unique=True),
    Index(AUDIT, "by_seq", ("seq",), unique=True),
    Index(AUDIT, "of_agent", ("agent", "seq")),
)

_HEALTH = (
    Index(HEALTH_CHANGES, "of_agent", ("agent", "at_ms"), unique=True),
    Index(HEALTH_CHANGES, "by_time", ("at_ms",)),
    Index(HEALTH_POINTS, "of_part", ("span", "part", "start"), unique=True),
    Index(HEALTH_POINTS, "by_time", ("span", "start", "part"), unique=True),
)

_AGES = (
    Index(AGENTS, "by_time", ("updated_ms",)),
    Index(REVISIONS, "by_time", ("at_ms",)),
    Index(JOURNAL, "by_time", ("at_ms",)),
)

MIGRATIONS: tuple[tuple[Index, ...], ...] = (_FIRST, _HEALTH, _AGES)
"""Version n of the schema has all collections, and the indexes of MIGRATIONS[:n]."""
FILLED: Mapping[int, Callable[[StandardDatabase], None]] = {3: note_ages}
"""What a version puts into documents that an older one wrote."""


def empty_head() -> dict[str, Any]:
    """Where a registry stands in which nothing was written."""
    return {"_key": "head", "seq": 0, "audit_seq": 0, "audit_hash": GENESIS, "journal": 0, "operations": 0}


def indexes() -> tuple[Index, ...]:
    """All indexes of the present version."""
    return tuple(index for step in MIGRATIONS for index in step)


def make_database(servers: Servers) -> None:
    """Make the database where there is none: on one shard, so that its transactions are whole also in a cluster.

    A user who may not look at all databases finds out when the registry is opened. Raises RegistryError.
    """
    access = servers.access

    def make(system: StandardDatabase) -> None:
        try:
            if not system.has_database(access.database):
                system.create_database(access.database, sharding="single")
        except FAILURES as error:
            if kind_of(error) is not Kind.DENIED and code_of(error) != DUPLICATE_NAME:
                raise

    try:
        servers.ask("open the registry", lambda db: db.properties())
    except NoDatabase:
        servers.ask("make the database", make, database="_system")


def migrate(db: StandardDatabase, *, now_ms: int, place: str, half_filled: bool = False) -> None:
    """Bring the database to the present schema; two readings when it has it already.

    Raises RegistryError when it was written by a newer version, when we may not make what is missing, or, but for
    `half_filled`, when an import into it was not finished.
    """
    version, facts = _version(db, place)
    if version == len(MIGRATIONS) and facts >= FACTS:
        head = one(db, 'RETURN FIRST(FOR d IN counters FILTER d._key == "head" RETURN d)')
        if head is not None and head.get("loading") and not half_filled:
            raise RegistryError(f"{place}: {LOADING}", hint=LOADING_HINT)
        return
    _make_collections(db, (META,), place)
    with _locked(db, now_ms, place):
        version, facts = _version(db, place)
        _make_collections(db, COLLECTIONS, place)
        for number in range(version + 1, len(MIGRATIONS) + 1):
            for index in MIGRATIONS[number - 1]:
                _make(partial(make_index, db, index), place, f"index {index.name} on {index.collection}")
            if version and number in FILLED:
                FILLED[number](db)
        run(db, 'INSERT @head INTO counters OPTIONS {overwriteMode: "ignore"}', head=empty_head())
        if facts < FACTS:
            make_search_anew(db)
        schema = {"_key": "schema", "version": len(MIGRATIONS), "facts": max(facts, FACTS), "at_ms": now_ms}
        run(db, 'INSERT @schema INTO meta OPTIONS {overwriteMode: "replace"}', schema=schema)


def _version(db: StandardDatabase, place: str) -> tuple[int, int]:
    """The version that the database says it has, and that of what is searched in it; 0 for an empty one."""
    names = collections(db)
    if META not in names:
        strangers = sorted(names.intersection(COLLECTIONS))
        if strangers:
            raise RegistryError(
                f"{place} has collections of another program: {', '.join(strangers)}",
                hint="give the registry a database of its own",
            )
        return 0, 0
    said = one(db, 'RETURN FIRST(FOR d IN meta FILTER d._key == "schema" RETURN d)') or {}
    version, facts = int(said.get("version") or 0), int(said.get("facts") or 0)
    if version > len(MIGRATIONS):
        raise RegistryError(
            f"{place} has schema version {version}, and this program knows versions up to {len(MIGRATIONS)}",
            hint="a newer reconciler wrote it: use that one, or upgrade this one",
        )
    return version, facts


def _make_collections(db: StandardDatabase, names: tuple[str, ...], place: str) -> None:
    there = collections(db)
    for name in names:
        if name not in there:
            _make(partial(db.create_collection, name), place, f"collection {name}")


def make_index(db: StandardDatabase, index: Index) -> None:
    """Make an index; one that is there already is no error."""
    db.collection(index.collection).add_index(
        {"type": "persistent", "name": index.name, "fields": list(index.fields), "unique": index.unique}
    )


def _make(make: Callable[[], object], place: str, what: str) -> None:
    try:
        make()
    except FAILURES as error:
        if code_of(error) == DUPLICATE_NAME:
            return
        if kind_of(error) is not Kind.DENIED:
            raise
        raise RegistryError(
            f"{place}: {what} is missing, and this user may not make it",
            hint="give this user read-write access to the database, or open the registry once as one who has it; "
            "`reconciler doctor` lists what is missing, as statements for arangosh",
        ) from error


@contextmanager
def _locked(db: StandardDatabase, now_ms: int, place: str) -> Iterator[None]:
    """Hold the document that only one migration may hold. A holder that is gone loses it after a minute."""
    me = secrets.token_hex(8)
    lock = {"_key": "lock", "holder": me, "expires_ms": now_ms + LOCK_MS}
    started = time.monotonic()
    while True:
        waited_ms = int((time.monotonic() - started) * 1000)
        held = one(db, 'RETURN FIRST(FOR d IN meta FILTER d._key == "lock" RETURN d)')
        if held is not None and held["expires_ms"] <= now_ms + waited_ms:
            run(
                db,
                "FOR d IN meta FILTER d._key == 'lock' AND d.holder == @holder REMOVE d IN meta",
                holder=held["holder"],
            )
            held = None
        if held is None and _take(db, lock):
            break
        if waited_ms > LOCK_WAIT_S * 1000:
            raise RegistryError(
                f"{place} is being made ready by another process", hint="try again when it has finished"
            )
        time.sleep(0.1)
    try:
        yield
    finally:
        run(db, "FOR d IN meta FILTER d._key == 'lock' AND d.holder == @holder REMOVE d IN meta", holder=me)


def _take(db: StandardDatabase, lock: dict[str, object]) -> bool:
    """Put the lock there; False when another was quicker."""
    try:
        run(db, "INSERT @lock INTO meta", lock=lock)
    except FAILURES as error:
        if kind_of(error) is Kind.BUSY:
            return False
        raise
    return True
