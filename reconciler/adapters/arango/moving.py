"""Taking a registry out of its database, and putting one in. The counterpart of writing.py for what was written before.

An export reads in one transaction, which the server keeps for a minute between two readings. An import is too much for
one transaction: the head says that it runs, nobody can write or open the registry until it is done, and one that was
broken off is emptied again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from arango.database import Database, TransactionDatabase

from reconciler.adapters.arango import documents
from reconciler.adapters.arango.documents import RECORD, Document
from reconciler.adapters.arango.schema import (
    AGENTS,
    AUDIT,
    CHANGES,
    CLUSTERS,
    FLEET,
    HEALTH_CHANGES,
    HEALTH_POINTS,
    JOURNAL,
    LEASES,
    OPERATIONS,
    REVISIONS,
    WRITTEN,
    empty_head,
)
from reconciler.adapters.arango.statements import one, run
from reconciler.adapters.stored import codec, series
from reconciler.model.errors import RegistryError
from reconciler.model.registry import AgentRevision, AuditEntry, ClusterHealth, FleetRecord
from reconciler.model.series import SPANS, HealthChange
from reconciler.model.transfer import (
    Heading,
    Kept,
    KeptChange,
    KeptJournal,
    KeptOperation,
    KeptPoints,
    KeptRecord,
)

BATCH = 1000
READ = tuple(name for name in WRITTEN if name != LEASES)
_HEADING = """
RETURN {
  head: FIRST(FOR d IN counters FILTER d._key == "head" RETURN d),
  fleet: (FOR d IN fleet RETURN d.body),
  clusters: (FOR d IN clusters RETURN d.body)
}
"""
Decode = Callable[[Document], Kept]
_PAGED: tuple[tuple[str, Decode], ...] = (
    (
        f"FOR d IN agents FILTER d.seq > @since SORT d.seq LIMIT @limit RETURN MERGE({RECORD}, {{at: d.seq}})",
        lambda row: KeptRecord(seq=row["at"], record=documents.record_of(row)),
    ),
    (
        "FOR d IN changes FILTER d.seq > @since SORT d.seq LIMIT @limit RETURN {at: d.seq, ns: d.ns, name: d.name}",
        lambda row: KeptChange(seq=row["at"], agent=documents.name_of(row)),
    ),
    (
        (
            "FOR d IN apply_journal FILTER d.position > @since SORT d.position LIMIT @limit "
            "RETURN {at: d.position, body: d.body}"
        ),
        lambda row: KeptJournal(position=row["at"], entry=codec.decode_journal(row["body"])),
    ),
    (
        (
            "FOR d IN operations FILTER d.position > @since SORT d.position LIMIT @limit "
            "RETURN {at: d.position, op_id: d.op_id, seq: d.seq, digest: d.digest}"
        ),
        lambda row: KeptOperation(position=row["at"], op_id=row["op_id"], seq=row["seq"], digest=row["digest"]),
    ),
    (
        (
            "FOR d IN audit FILTER d.seq > @since SORT d.seq LIMIT @limit RETURN "
            "{at: d.seq, seq: d.seq, at_ms: d.at_ms, fact: d.fact, previous: d.previous, hash: d.hash}"
        ),
        documents.audit_of,
    ),
)
_REVISIONS = (
    "FOR d IN revisions FILTER d.agent >= @agent FILTER d.agent > @agent OR d.number > @number "
    "SORT d.agent, d.number LIMIT @limit RETURN {agent: d.agent, number: d.number, body: d.body}"
)
_HEALTH_CHANGES = (
    "FOR d IN health_changes FILTER d.at_ms >= @at FILTER d.at_ms > @at OR d.agent > @agent "
    "SORT d.at_ms, d.agent LIMIT @limit RETURN {at: d.at_ms, agent: d.agent, body: d.body}"
)
_HEALTH_POINTS = (
    "FOR d IN health_points FILTER d.span == @span AND d.start >= @start FILTER d.start > @start OR d.part > @part "
    "SORT d.start, d.part LIMIT @limit RETURN {start: d.start, part: d.part, body: d.body}"
)


def pages(db: Database) -> Iterator[list[Kept]]:
    """All that a database holds, in pages; read inside one transaction."""
    heading = one(db, _HEADING)
    head = heading["head"]
    first: list[Kept] = [Heading(seq=head["seq"], audit_seq=head["audit_seq"], audit_hash=head["audit_hash"])]
    first += [codec.decode_fleet(body) for body in heading["fleet"]]
    clusters = sorted((codec.decode_cluster(body) for body in heading["clusters"]), key=attrgetter("cluster"))
    first += clusters
    yield first
    for statement, decode in _PAGED:
        since = 0
        while rows := run(db, statement, since=since, limit=BATCH):
            yield [decode(row) for row in rows]
            since = rows[-1]["at"]
    after: Document = {"agent": "", "number": 0}
    while rows := run(db, _REVISIONS, agent=after["agent"], number=after["number"], limit=BATCH):
        yield [codec.decode_revision(row["body"]) for row in rows]
        after = rows[-1]
    yield from _health_pages(db)


def _health_pages(db: Database) -> Iterator[list[Kept]]:
    after: Document = {"at": -1, "agent": ""}
    while rows := run(db, _HEALTH_CHANGES, at=after["at"], agent=after["agent"], limit=BATCH):
        yield [series.decode_change(row["body"]) for row in rows]
        after = rows[-1]
    for span in SPANS:
        after = {"start": -1, "part": -1}
        while rows := run(db, _HEALTH_POINTS, span=span, start=after["start"], part=after["part"], limit=BATCH):
            yield [_points(span, row) for row in rows]
            after = rows[-1]


def _points(span_ms: int, row: Document) -> KeptPoints:
    points = series.unpack(documents.bytes_of(row["body"]))
    return KeptPoints(span_ms=span_ms, start_ms=row["start"], part=row["part"], points=points)


def begin_load(db: TransactionDatabase) -> None:
    """Say in the head that an import runs. Raises RegistryError unless nothing was ever written here."""
    head = one(db, 'RETURN FIRST(FOR d IN counters FILTER d._key == "head" RETURN d)')
    if not head.get("loading") and (head["seq"] or head["audit_seq"] or head["operations"]):
        raise RegistryError(
            f"this registry is in use: it stands at revision {head['seq']}, with {head['audit_seq']} audit entries",
            hint="only an empty registry can be filled: name a database that does not exist yet",
        )
    run(db, 'UPDATE "head" WITH {loading: true} IN counters')


def clear(db: Database) -> None:
    """Remove what an import that was broken off left behind."""
    for collection in READ:
        run(db, "FOR d IN @@collection REMOVE d IN @@collection", **{"@collection": collection})


def put_all(db: Database, items: Sequence[Kept]) -> None:
    """Put values; the same ones may be put again."""
    by_collection: dict[str, list[Document]] = {}
    for item in items:
        for collection, document in _documents(item):
            by_collection.setdefault(collection, []).append(document)
    for collection, made in by_collection.items():
        run(
            db,
            'FOR d IN @documents INSERT d INTO @@collection OPTIONS {overwriteMode: "replace"}',
            documents=made,
            **{"@collection": collection},
        )


def _documents(item: Kept) -> Iterator[tuple[str, Document]]:
    match item:
        case KeptRecord(seq=seq, record=record):
            yield AGENTS, documents.record_document(record, codec.record_columns(record), seq)
        case KeptChange(seq=seq, agent=agent):
            yield CHANGES, documents.change_document(agent, seq)
        case KeptJournal(position=position, entry=entry):
            yield JOURNAL, documents.journal_document(entry, position)
        case KeptOperation():
            digest = bytes.fromhex(item.digest)
            made = documents.operation_document(item.op_id, seq=item.seq, digest=digest, position=item.position)
            yield OPERATIONS, made
        case AuditEntry():
            yield AUDIT, documents.audit_document(item)
        case AgentRevision():
            yield REVISIONS, documents.revision_document(item)
        case HealthChange() | KeptPoints():
            yield _health_document(item)
        case FleetRecord():
            yield FLEET, documents.fleet_document(item)
        case ClusterHealth():
            yield CLUSTERS, documents.cluster_document(item)
        case _:
            return


def _health_document(item: HealthChange | KeptPoints) -> tuple[str, Document]:
    if isinstance(item, HealthChange):
        return HEALTH_CHANGES, documents.health_change_document(item)
    place = item.span_ms, item.start_ms, item.part
    return HEALTH_POINTS, documents.health_points_document(place, "", item.points)


def finish(db: Database, heading: Heading) -> None:
    """Set the head to where the registry stood; from here on it can be used."""
    marks = one(
        db,
        "RETURN {journal: MAX(FOR d IN apply_journal RETURN d.position), "
        "operations: MAX(FOR d IN operations RETURN d.position)}",
    )
    head: dict[str, Any] = empty_head() | {
        "seq": heading.seq,
        "audit_seq": heading.audit_seq,
        "audit_hash": heading.audit_hash,
        "journal": marks["journal"] or 0,
        "operations": marks["operations"] or 0,
    }
    run(db, 'INSERT @head INTO counters OPTIONS {overwriteMode: "replace"}', head=head)


def reset(db: Database) -> None:
    """After an import that failed: empty, and open to the next one."""
    clear(db)
    run(db, 'INSERT @head INTO counters OPTIONS {overwriteMode: "replace"}', head=empty_head())
