"""Looking after a registry on ArangoDB: what is wrong with it, history by age, a backup. It reads no clock.

A backup is a file as `registry export` writes it: the server can only be copied as a whole, by its own tools.
"""

from __future__ import annotations

import binascii
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from arango.database import Database

from reconciler.adapters.arango import documents
from reconciler.adapters.arango.documents import Document
from reconciler.adapters.arango.schema import (
    CHANGES,
    CLUSTERS,
    FLEET,
    HEALTH_CHANGES,
    HEALTH_POINTS,
    JOURNAL,
    OPERATIONS,
    REVISIONS,
)
from reconciler.adapters.arango.statements import one, run
from reconciler.adapters.arango.writing import Encoded, write_all
from reconciler.adapters.newfile import replacing
from reconciler.adapters.stored import codec, series
from reconciler.adapters.stored.codec import UNREADABLE
from reconciler.model.errors import RegistryError
from reconciler.model.exported import to_line
from reconciler.model.registry import AgentState
from reconciler.model.transfer import Intake, Kept, KeptRecord
from reconciler.model.upkeep import BackedUp, Fault, Pruned

PAGE = 500
MOST = 2000
"""Documents of a kind that one transaction takes away: it holds back whoever writes."""
KEPT_OPERATIONS = 1000
"""So many of the newest stay in any case: who repeats a write after a lost answer does so soon, whatever clocks say."""

_DAMAGED = (*UNREADABLE, RegistryError, binascii.Error, KeyError, TypeError, AttributeError)

# Missing is less than any number: what an older version wrote without a time is not taken for old.
_OLD_SEQ = (
    "FOR d IN agents FILTER d.updated_ms >= 0 AND d.updated_ms < @before COLLECT AGGREGATE seq = MAX(d.seq) RETURN seq"
)
_OLD: dict[str, str] = {
    REVISIONS: (
        "FOR d IN revisions FILTER d.at_ms >= 0 AND d.at_ms < @before "
        "LET agent = FIRST(FOR a IN agents FILTER a._key == d.of RETURN {needs: a.needs}) "
        "FILTER agent == null OR (IS_ARRAY(agent.needs) AND d.number NOT IN agent.needs)"
    ),
    CHANGES: (
        "FOR d IN changes FILTER d.seq < @seq FILTER FIRST(FOR a IN agents FILTER a.seq == d.seq RETURN 1) == null"
    ),
    OPERATIONS: "FOR d IN operations FILTER d.position <= @position AND d.seq < @seq",
    JOURNAL: 'FOR d IN apply_journal FILTER d.at_ms >= 0 AND d.at_ms < @before FILTER d.phase != "intent"',
}
"""What is old and needed by nothing, by collection."""
_BOUNDS = {REVISIONS: ("before",), CHANGES: ("seq",), OPERATIONS: ("position", "seq"), JOURNAL: ("before",)}


def old(db: Database, before_ms: int) -> Pruned:
    """How much there is that `prune` would take away."""
    return _each(db, before_ms, lambda collection, bound: _counted(db, collection, bound))


def prune(db: Database, before_ms: int, said: Encoded | None) -> tuple[Pruned, bool]:
    """Take away what is older, MOST of each kind, inside a transaction; and whether there may be more."""
    if said is not None:
        write_all(db, said)
    done = _each(db, before_ms, lambda collection, bound: _removed(db, collection, bound))
    return done, MOST in (done.revisions, done.changes, done.operations, done.journal)


def _each(db: Database, before_ms: int, what: Callable[[str, dict[str, int]], int]) -> Pruned:
    head = one(db, 'RETURN FIRST(FOR d IN counters FILTER d._key == "head" RETURN d)')
    seq = run(db, _OLD_SEQ, before=before_ms)[0] or 0
    bounds = {"before": before_ms, "seq": seq, "position": head["operations"] - KEPT_OPERATIONS}
    numbers = {name: what(name, {each: bounds[each] for each in wanted}) for name, wanted in _BOUNDS.items()}
    return Pruned(
        revisions=numbers[REVISIONS],
        changes=numbers[CHANGES],
        operations=numbers[OPERATIONS],
        journal=numbers[JOURNAL],
    )


def _counted(db: Database, collection: str, bound: dict[str, int]) -> int:
    return int(run(db, f"{_OLD[collection]} COLLECT WITH COUNT INTO number RETURN number", **bound)[0])


def _removed(db: Database, collection: str, bound: dict[str, int]) -> int:
    keys = run(db, f"{_OLD[collection]} LIMIT @most RETURN d._key", most=MOST, **bound)
    if keys:
        statement = "FOR key IN @keys REMOVE key IN @@collection"
        run(db, statement, keys=keys, **{"@collection": collection})
    return len(keys)


_AGENTS = """
FOR d IN agents FILTER d.seq > @since SORT d.seq LIMIT @limit
  RETURN MERGE(d, {line: FIRST(FOR c IN changes FILTER c.seq == d.seq RETURN {ns: c.ns, name: c.name})})
"""
_LAST = """
RETURN {
  head: FIRST(FOR d IN counters FILTER d._key == "head" RETURN d.seq),
  last: FIRST(FOR d IN changes SORT d.seq DESC LIMIT 1 RETURN d.seq)
}
"""
_BODIES = "FOR d IN @@collection FILTER d._key > @after SORT d._key LIMIT @limit RETURN {key: d._key, body: d.body}"
_DECODE: dict[str, Callable[[Any], object]] = {
    FLEET: codec.decode_fleet,
    CLUSTERS: codec.decode_cluster,
    JOURNAL: codec.decode_journal,
    REVISIONS: codec.decode_revision,
    HEALTH_CHANGES: series.decode_change,
    HEALTH_POINTS: lambda body: series.unpack(documents.bytes_of(body)),
}


def faults(db: Database) -> Iterator[Fault]:
    """What is wrong with how records are kept; read inside one transaction."""
    since = 0
    while rows := run(db, _AGENTS, since=since, limit=PAGE):
        for row in rows:
            yield from _of_agent(row)
        since = rows[-1]["seq"]
    said = one(db, _LAST)
    if said["head"] != (said["last"] or 0):
        yield Fault(where="changes", what=f"it ends with change {said['last']}, and {said['head']} was written last")
    for collection, decode in _DECODE.items():
        after = ""
        while rows := run(db, _BODIES, after=after, limit=PAGE, **{"@collection": collection}):
            for row in rows:
                try:
                    decode(row["body"])
                except _DAMAGED as error:
                    yield Fault(where=collection, what=f"{row['key']} cannot be read: {error}")
            after = rows[-1]["key"]


def _of_agent(row: Document) -> Iterator[Fault]:
    where = f"{row.get('ns')}/{row.get('name')}"
    try:
        record = documents.record_of(row)
        len(record.document)
        if record.good is not None:
            len(record.good.manifests)
    except _DAMAGED as error:
        yield Fault(where=where, what=f"its record cannot be read: {error}")
        return
    wrong = sorted(name for name, value in documents.told_of(record).items() if row.get(name) != value)
    if wrong:
        yield Fault(where=where, what=f"what stands beside its record says other things: {', '.join(wrong)}")
    if record.state is AgentState.GONE and record.reservations:
        yield Fault(where=where, what="it is gone and still holds a reservation")
    line = row["line"]
    if line != {"ns": record.name.namespace, "name": record.name.name}:
        yield Fault(where=where, what=f"its last write is change {row['seq']}, and the change feed has no such line")


async def backup(exported: AsyncIterator[Kept], target: Path) -> BackedUp:
    """Write an export into `target`, checked as an import checks it. Raises RegistryError."""
    intake, records = Intake(), 0
    with replacing(target) as temporary:
        with temporary.open("wb") as stream:
            async for item in exported:
                intake.take(item)
                records += isinstance(item, KeptRecord) and item.record.state is not AgentState.GONE
                stream.write(to_line(item))
            size = stream.tell()
        heading = intake.end()
    return BackedUp(
        seq=heading.seq, audit_seq=heading.audit_seq, audit_hash=heading.audit_hash, records=records, size=size
    )
