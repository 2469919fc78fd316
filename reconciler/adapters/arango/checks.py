"""A look at a server: its version, its topology, our rights, collections and indexes; and how to mend what is amiss.

Nothing is written. Each look answers for itself, so that one that fails keeps no other from being taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from arango.database import StandardDatabase

from reconciler.adapters.arango.schema import COLLECTIONS, Index, indexes
from reconciler.adapters.arango.servers import Access, Patience, Servers
from reconciler.adapters.arango.statements import collections
from reconciler.model.checks import Finding, State
from reconciler.model.errors import RegistryError

OLDEST = (3, 11)
KNOWN = (3, 12)
_LOCAL = ("127.0.0.1", "::1", "localhost")


def examine(access: Access, patience: Patience | None = None) -> list[Finding]:
    """All looks, in order. Blocks; raises nothing of the server's."""
    patience = patience or Patience(attempts=1)
    findings = [_way(url) for url in access.urls]
    for url in access.urls:
        one = Servers(replace(access, urls=(url,)), patience)
        try:
            findings.append(_guarded(f"arangodb {url}", partial(_server, one, url)))
        finally:
            one.close()
    if any(finding.state is State.FAILED for finding in findings):
        return findings
    servers = Servers(access, patience)
    try:
        looks: tuple[tuple[str, Callable[[Servers], Finding]], ...] = (
            ("arangodb topology", _topology),
            ("arangodb rights", _rights),
            ("arangodb schema", _schema),
        )
        findings += [_guarded(name, partial(look, servers)) for name, look in looks]
    finally:
        servers.close()
    return findings


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except RegistryError as error:
        return Finding(name=name, state=State.FAILED, seen=error.message, todo=error.hint)


def _way(url: str) -> Finding:
    """Whether the password goes there in the clear."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOCAL:
        return Finding(
            name="arangodb way",
            state=State.WARNING,
            seen=f"{url} is not encrypted: user name, password and specs can be read on the way",
            todo="let the server speak TLS, and write https:// (and caFile) in fleet.yaml",
        )
    return Finding(name="arangodb way", state=State.OK, seen=url)


def _server(servers: Servers, url: str) -> Finding:
    name = f"arangodb {url}"
    told: Any = servers.ask("ask for the version", lambda db: db.version(details=False))
    version = tuple(int(part) for part in re.findall(r"\d+", str(told))[:2])
    if version < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return Finding(name=name, state=State.FAILED, seen=f"version {told}", todo=f"{wanted} or later is needed")
    if version < KNOWN or version[0] > KNOWN[0]:
        todo = f"this adapter was written for {KNOWN[0]}.{KNOWN[1]}: expect to find differences"
        return Finding(name=name, state=State.WARNING, seen=f"version {told}", todo=todo)
    return Finding(name=name, state=State.OK, seen=f"version {told}")


def _topology(servers: Servers) -> Finding:
    """Whether transactions are whole: on a single server, and in a cluster where the database lies on one shard."""
    name = "arangodb topology"
    role: Any = servers.ask("ask for the role", lambda db: db.role())
    if role == "SINGLE":
        return Finding(name=name, state=State.OK, seen="a single server: transactions are whole")
    if role != "COORDINATOR":
        todo = "name the coordinators of the cluster in fleet.yaml"
        return Finding(name=name, state=State.FAILED, seen=f"that server is a {role}, not a coordinator", todo=todo)
    database: Any = servers.ask("look at the database", lambda db: db.properties())
    copies = database.get("replication_factor")
    if database.get("sharding") != "single":
        return Finding(
            name=name,
            state=State.FAILED,
            seen="a cluster, and the database is spread over shards: a write could be done in part",
            todo="make a database with {sharding: 'single'} (OneShard), and move the registry there",
        )
    seen = f"a cluster, the database on one shard: transactions are whole; copies: {copies}"
    if copies == 1:
        todo = "with replicationFactor 2 or more the registry outlives a database server"
        return Finding(name=name, state=State.WARNING, seen=seen, todo=todo)
    return Finding(name=name, state=State.OK, seen=seen)


def _rights(servers: Servers) -> Finding:
    """Read-write on the one database is what is needed, and all that is."""
    name, access = "arangodb rights", servers.access
    has: Any = servers.ask("ask for our rights", lambda db: db.permission(access.username, access.database))
    if has != "rw":
        return Finding(
            name=name,
            state=State.FAILED,
            seen=f"user {access.username} has {has!r} on {access.database}",
            todo=f"an administrator says: users.grantDatabase({access.username!r}, {access.database!r}, 'rw')",
        )
    system: Any = servers.ask("ask for our rights", lambda db: db.permission(access.username, "_system"))
    if system == "rw":
        return Finding(
            name=name,
            state=State.WARNING,
            seen=f"user {access.username} administrates the whole server",
            todo=f"use a user with read-write access to {access.database} alone",
        )
    return Finding(name=name, state=State.OK, seen=f"user {access.username} has read-write on {access.database}")


def _schema(servers: Servers) -> Finding:
    name = "arangodb schema"
    missing = servers.ask("look at collections and indexes", lambda db: list(_missing(db)))
    if not missing:
        seen = f"{len(COLLECTIONS)} collections and {len(indexes())} indexes, all there"
        return Finding(name=name, state=State.OK, seen=seen)
    collections_, statements = zip(*missing, strict=True)
    if set(collections_) == set(COLLECTIONS):
        return Finding(name=name, state=State.OK, seen="nothing there yet: the first command makes it")
    return Finding(
        name=name,
        state=State.FAILED,
        seen=f"{len(missing)} things are missing",
        todo="in arangosh: " + "; ".join(statements),
    )


def _missing(db: StandardDatabase) -> Iterator[tuple[str, str]]:
    """The collection concerned, and what would make what is missing."""
    there = collections(db)
    for collection in COLLECTIONS:
        if collection not in there:
            yield collection, f"db._create({collection!r})"
    known: dict[str, list[Any]] = {}
    for index in indexes():
        if index.collection not in there:
            yield index.collection, _ensure(index)
            continue
        if index.collection not in known:
            listed: Any = db.collection(index.collection).indexes()
            known[index.collection] = listed
        if not any(_same(index, one) for one in known[index.collection]):
            yield index.collection, _ensure(index)


def _same(index: Index, there: dict[str, Any]) -> bool:
    unique = bool(there.get("unique"))
    return (there.get("type"), tuple(there.get("fields", ())), unique) == ("persistent", index.fields, index.unique)


def _ensure(index: Index) -> str:
    wanted = {"type": "persistent", "name": index.name, "fields": index.fields, "unique": index.unique}
    return f"db.{index.collection}.ensureIndex({json.dumps(wanted)})"
