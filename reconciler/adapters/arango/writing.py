"""What one Write does to the collections. Runs inside a transaction that the caller holds; reads no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from arango.database import Database

from reconciler.adapters.arango import documents
from reconciler.adapters.arango.documents import Document
from reconciler.adapters.arango.schema import LOADING, LOADING_HINT
from reconciler.adapters.arango.statements import one, run
from reconciler.adapters.stored import codec
from reconciler.model.audit import next_entry
from reconciler.model.errors import RegistryError
from reconciler.model.registry import AgentState, JournalEntry, JournalPhase, Lease, Write
from reconciler.model.writes import (
    Held,
    check_cluster,
    check_epoch,
    check_fleet,
    check_record,
    check_shape,
    fences_of,
    repeated,
    taken,
)

_HELD = """
RETURN {
  head: FIRST(FOR d IN counters FILTER d._key == "head" RETURN d),
  operation: FIRST(FOR d IN operations FILTER d._key == @operation RETURN {seq: d.seq, digest: d.digest}),
  leases: (FOR d IN leases FILTER d._key IN @leases RETURN {key: d._key, epoch: d.epoch, holder: d.holder}),
  fleet: FIRST(FOR d IN fleet FILTER d._key == "fleet" RETURN d.version),
  agents: (FOR d IN agents FILTER d._key IN @agents RETURN {key: d._key, version: d.version, state: d.state, id: d.id}),
  clusters: (FOR d IN clusters FILTER d._key IN @clusters RETURN {key: d._key, version: d.version}),
  journal: (FOR d IN apply_journal FILTER d._key IN @journal RETURN {key: d._key, phase: d.phase, position: d.position})
}
"""
_PUT = 'FOR d IN @documents INSERT d INTO @@collection OPTIONS {overwriteMode: "replace"}'
_MOVE_HEAD = 'UPDATE "head" WITH @head IN counters'


@dataclass(slots=True)
class Encoded:
    """A Write made ready outside of any transaction: what it costs is not waited for by other writers."""

    write: Write
    columns: list[codec.RecordColumns] = field(init=False)
    digest: bytes = field(init=False)
    wanted: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Raises RegistryError for a Write that is none, or holds what is no JSON."""
        write = self.write
        check_shape(write)
        try:
            self.columns = [codec.record_columns(record) for record in write.records]
            self.digest = codec.digest(write, self.columns)
        except (TypeError, ValueError) as error:
            raise RegistryError(f"operation {write.op_id} holds what is no JSON: {error}") from error
        self.wanted = {
            "operation": documents.hashed(write.op_id),
            "leases": [documents.hashed(fence.lease) for fence in fences_of(write)],
            "agents": [documents.agent_key(record.name) for record in write.records],
            "clusters": [documents.hashed(health.cluster) for health in write.clusters],
            "journal": [documents.hashed(entry.id) for entry in write.journal],
        }


def write_all(db: Database, encoded: Encoded) -> int:
    """Do all of a write and answer the change sequence, or what it was when this `op_id` was written first.

    Raises RegistryConflict or RegistryError; the caller then aborts.
    """
    write = encoded.write
    held = one(db, _HELD, **encoded.wanted)
    if held["operation"] is not None:
        known = held["operation"]
        return repeated(write, seq=known["seq"], same=known["digest"] == encoded.digest.hex())
    if held["head"] is None:
        raise RegistryError("the registry has lost its counters", hint=codec.DAMAGED_HINT)
    if held["head"].get("loading"):
        raise RegistryError(LOADING, hint=LOADING_HINT)
    leases = {row["key"]: row for row in held["leases"]}
    for fence in fences_of(write):
        row = leases.get(documents.hashed(fence.lease))
        if row is not None:
            check_epoch(fence, epoch=row["epoch"], holder=row["holder"])
    head: Document = {key: held["head"][key] for key in ("seq", "audit_seq", "audit_hash", "journal", "operations")}
    _put_records(db, encoded, held["agents"], head)
    _put_others(db, write, held)
    _put_journal(db, write.journal, held["journal"], head)
    _put_audit(db, write, head)
    head["operations"] += 1
    operation = documents.operation_document(
        write.op_id, seq=head["seq"], digest=encoded.digest, position=head["operations"]
    )
    _put(db, "operations", [operation])
    run(db, _MOVE_HEAD, head=head)
    return int(head["seq"])


def _put_records(db: Database, encoded: Encoded, held: Sequence[Document], head: Document) -> None:
    by_key = {row["key"]: row for row in held}
    agents, changes = [], []
    for record, columns in zip(encoded.write.records, encoded.columns, strict=True):
        row = by_key.get(documents.agent_key(record.name))
        was = Held(version=row["version"], state=AgentState(row["state"]), id=row["id"]) if row else None
        check_record(record, was)
        head["seq"] += 1
        agents.append(documents.record_document(record, columns, head["seq"]))
        changes.append(documents.change_document(record.name, head["seq"]))
    _put(db, "agents", agents)
    _put(db, "changes", changes)


def _put_others(db: Database, write: Write, held: Document) -> None:
    if write.fleet is not None:
        check_fleet(write.fleet, held=held["fleet"] or 0)
        _put(db, "fleet", [documents.fleet_document(write.fleet)])
    versions = {row["key"]: row["version"] for row in held["clusters"]}
    for health in write.clusters:
        key = documents.hashed(health.cluster)
        check_cluster(health, held=versions.get(key, 0))
        versions[key] = health.version
        _put(db, "clusters", [documents.cluster_document(health)])
    _put(db, "revisions", _last_of(documents.revision_document(revision) for revision in write.revisions))


def _put_journal(db: Database, entries: Sequence[JournalEntry], held: Sequence[Document], head: Document) -> None:
    """Put entries. One that opens again, after an outcome, is young again in the order of open entries."""
    known = {row["key"]: (row["phase"], row["position"]) for row in held}
    made = []
    for entry in entries:
        key = documents.hashed(entry.id)
        phase, position = known.get(key, (None, 0))
        opens = entry.phase is JournalPhase.INTENT and phase != JournalPhase.INTENT
        if phase is None or opens:
            head["journal"] += 1
            position = head["journal"]
        known[key] = (entry.phase.value, position)
        made.append(documents.journal_document(entry, position))
    _put(db, "apply_journal", _last_of(made))


def _put_audit(db: Database, write: Write, head: Document) -> None:
    links = []
    for fact in write.audit:
        try:
            link = next_entry(fact, at_ms=write.at_ms, seq=head["audit_seq"] + 1, previous=head["audit_hash"])
        except (TypeError, ValueError) as error:
            raise RegistryError(f"operation {write.op_id} holds what is no JSON: {error}") from error
        head["audit_seq"], head["audit_hash"] = link.seq, link.hash
        links.append(documents.audit_document(link))
    _put(db, "audit", links)


def take_lease(db: Database, name: str, *, holder: str, ttl_ms: int, now_ms: int, says: str) -> Lease:
    """Take or renew a lease. Moves the head too: a write that read the older epoch then cannot be committed."""
    row = one(db, "RETURN FIRST(FOR d IN leases FILTER d._key == @key RETURN d)", key=documents.hashed(name))
    row = row or {"holder": "", "epoch": 0, "expires_ms": 0}
    held = Lease(name=name, holder=row["holder"], epoch=row["epoch"], expires_ms=row["expires_ms"])
    lease = taken(held, holder=holder, ttl_ms=ttl_ms, now_ms=now_ms, says=says)
    _put(db, "leases", [documents.lease_document(lease)])
    run(db, _MOVE_HEAD, head={"leases_ms": now_ms})
    return lease


def free_lease(db: Database, lease: Lease) -> None:
    """Give a lease up, if it is still the same."""
    run(
        db,
        "FOR d IN leases FILTER d._key == @key AND d.holder == @holder AND d.epoch == @epoch "
        'UPDATE d WITH {holder: "", expires_ms: 0, says: ""} IN leases',
        key=documents.hashed(lease.name),
        holder=lease.holder,
        epoch=lease.epoch,
    )


def _last_of(made: Any) -> list[Document]:
    """One document a key: what stands twice in one write counts as it stands last."""
    return list({document["_key"]: document for document in made}.values())


def _put(db: Database, collection: str, made: list[Document]) -> None:
    if made:
        run(db, _PUT, documents=made, **{"@collection": collection})
