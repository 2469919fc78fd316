"""What is read of a registry, statement by statement. Each statement sees one state of the database.

Nothing is read inside a transaction that somebody would wait for: what spans several statements is put together by
sequence numbers, which only grow, and in the order in which writes are committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from arango.database import Database

from reconciler.adapters.arango import documents
from reconciler.adapters.arango.documents import RECORD, Document
from reconciler.adapters.arango.statements import one, run
from reconciler.adapters.stored import codec
from reconciler.model.audit import GENESIS, AuditVerdict, check_end, verify_chain
from reconciler.model.identity import AgentName
from reconciler.model.registry import AuditEntry, ClusterHealth, FleetRecord, Lease, Record, RegistrySnapshot

PAGE = 1000

_STATE = f"""
RETURN {{
  seq: FIRST(FOR d IN counters FILTER d._key == "head" RETURN d.seq),
  fleet: FIRST(FOR d IN fleet FILTER d._key == "fleet" RETURN d.body),
  clusters: (FOR d IN clusters RETURN {{name: d.name, body: d.body}}),
  rows: (FOR d IN agents FILTER d.seq > @since SORT d.seq LIMIT @limit RETURN MERGE({RECORD}, {{seq: d.seq}}))
}}
"""
_GET = f"FOR d IN agents FILTER d._key == @key AND d.live == true RETURN {RECORD}"
_LEASES = """
FOR d IN leases RETURN {name: d.name, holder: d.holder, epoch: d.epoch, expires_ms: d.expires_ms, says: d.says}
"""
_JOURNAL = 'FOR d IN apply_journal FILTER d.phase == "intent" SORT d.position RETURN d.body'
_REVISIONS = "FOR d IN revisions FILTER d.agent == @agent SORT d.number DESC RETURN d.body"
_CHANGES = "FOR d IN changes FILTER d.seq > @since SORT d.seq LIMIT @limit RETURN {seq: d.seq, ns: d.ns, name: d.name}"
_ENTRY = "{seq: d.seq, at_ms: d.at_ms, agent: d.agent, fact: d.fact, previous: d.previous, hash: d.hash}"
_AUDIT = f"FOR d IN audit FILTER d.seq > @since SORT d.seq LIMIT @limit RETURN {_ENTRY}"
_AUDIT_OF = (
    f"FOR d IN audit FILTER d.agent == @agent AND d.seq > @since SORT d.agent, d.seq LIMIT @limit RETURN {_ENTRY}"
)
_CHAIN = f"""
RETURN {{
  head: FIRST(FOR d IN counters FILTER d._key == "head" RETURN {{seq: d.audit_seq, hash: d.audit_hash}}),
  rows: (FOR d IN audit FILTER d.seq > @since SORT d.seq LIMIT @limit RETURN {_ENTRY})
}}
"""


def read_leases(db: Database, prefix: str) -> tuple[Lease, ...]:
    """Leases by name. There are a few dozen at most, so they are picked here."""
    found = [
        Lease(
            name=row["name"],
            holder=row["holder"],
            epoch=row["epoch"],
            expires_ms=row["expires_ms"],
            says=row["says"] or "",  # one of an older program says nothing
        )
        for row in run(db, _LEASES)
        if row["name"].startswith(prefix)
    ]
    return tuple(sorted(found, key=lambda lease: lease.name))


def read_snapshot(db: Database, last: RegistrySnapshot | None) -> RegistrySnapshot:
    """All live records, from what changed since `last`.

    Read in pages by change sequence, and whole when a page is the last: what changed while we read has a higher
    sequence by then, and is read again with its page, which also says how fleet and clusters are at that moment.
    """
    since, rows = last.seq if last else 0, []
    while True:
        state = one(db, _STATE, since=since, limit=PAGE)
        if last is not None and state["seq"] < last.seq:
            return read_snapshot(db, None)  # it was put back to an earlier state: what is known of later is not true
        rows += state["rows"]
        if len(state["rows"]) < PAGE:
            break
        since = state["rows"][-1]["seq"]
    fleet = codec.decode_fleet(state["fleet"]) if state["fleet"] is not None else None
    clusters = {row["name"]: codec.decode_cluster(row["body"]) for row in sorted(state["clusters"], key=_cluster_name)}
    if last is not None and not rows and (last.fleet, last.clusters) == (fleet, clusters):
        return last
    return _snapshot(last, rows, state["seq"], fleet, clusters)


def _snapshot(
    last: RegistrySnapshot | None,
    rows: list[Document],
    seq: int,
    fleet: FleetRecord | None,
    clusters: dict[str, ClusterHealth],
) -> RegistrySnapshot:
    records = dict(last.records) if last else {}
    with codec.bulk() if len(rows) > PAGE else nullcontext():
        for row in rows:
            name = documents.name_of(row)
            if row["live"]:
                records[name] = documents.record_of(row)
            else:
                records.pop(name, None)
        rows.clear()
    if last is None or records.keys() != last.records.keys():
        records = dict(sorted(records.items(), key=_by_name))
    return RegistrySnapshot(seq=seq, fleet=fleet, records=records, clusters=clusters)


def _cluster_name(row: Document) -> str:
    return str(row["name"])


def _by_name(item: tuple[AgentName, Record]) -> tuple[str, str]:
    return item[0].namespace, item[0].name


def read_record(db: Database, name: AgentName) -> Record | None:
    rows = run(db, _GET, key=documents.agent_key(name))
    return documents.record_of(rows[0]) if rows else None


def read_journal(db: Database) -> list[Any]:
    return [codec.decode_journal(body) for body in run(db, _JOURNAL)]


def read_revisions(db: Database, name: AgentName) -> list[Any]:
    return [codec.decode_revision(body) for body in run(db, _REVISIONS, agent=documents.agent_term(name))]


def read_changes(db: Database, since: int) -> list[tuple[int, AgentName]]:
    """A page of the feed."""
    return [(row["seq"], documents.name_of(row)) for row in run(db, _CHANGES, since=since, limit=PAGE)]


def read_audit(db: Database, name: AgentName | None, since: int) -> list[AuditEntry]:
    """A page of the audit log."""
    if name is None:
        rows = run(db, _AUDIT, since=since, limit=PAGE)
    else:
        rows = run(db, _AUDIT_OF, agent=str(name), since=since, limit=PAGE)
    return [documents.audit_of(row) for row in rows]


@dataclass(slots=True)
class _Chain:
    """The entries of the audit log, and where it should end as of the moment in which its last page was read."""

    db: Database
    expected: tuple[int, str] = (0, GENESIS)

    def entries(self) -> Iterator[AuditEntry]:
        since: Any = 0
        while True:
            page = one(self.db, _CHAIN, since=since, limit=PAGE)
            self.expected = page["head"]["seq"], page["head"]["hash"]
            yield from map(documents.witness_of, page["rows"])
            if len(page["rows"]) < PAGE:
                return
            since = page["rows"][-1]["seq"]


def verify(db: Database) -> AuditVerdict:
    """Check the whole chain, and that it ends where the last write left it."""
    chain = _Chain(db)
    return check_end(verify_chain(chain.entries()), chain.expected)
