"""What one Write does to the collections. Runs inside a transaction that the caller holds; reads no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from arango.database import Database

from reconciler.adapters.arango import documents
from reconciler.adapters.arango.documents import Document
from reconciler.adapters.arango.schema import LOADING, LOADING_HINT
from reconciler.adapters.arango.statements import one, run
from reconciler.adapters.stored import codec
from reconciler.model.audit import next_entry
from reconciler.model.errors import ReconcilerError, RegistryError
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
  operations: (FOR d IN operations FILTER d._key IN @operations RETURN {key: d._key, seq: d.seq, digest: d.digest}),
  leases: (FOR d IN leases FILTER d._key IN @leases RETURN {key: d._key, epoch: d.epoch, holder: d.holder}),
  fleet: FIRST(FOR d IN fleet FILTER d._key == "fleet" RETURN d.version),
  agents: (FOR d IN agents FILTER d._key IN @agents RETURN {key: d._key, version: d.version, state: d.state, id: d.id}),
  clusters: (FOR d IN clusters FILTER d._key IN @clusters RETURN {key: d._key, version: d.version}),
  journal: (FOR d IN apply_journal FILTER d._key IN @journal RETURN {key: d._key, phase: d.phase, position: d.position})
}
"""
_PUT = 'FOR d IN @documents INSERT d INTO @@collection OPTIONS {overwriteMode: "replace"}'
_MOVE_HEAD = 'UPDATE "head" WITH @head IN counters'
_COUNTED = ("seq", "audit_seq", "audit_hash", "journal", "operations")


@dataclass(slots=True)
class Encoded:
    """A Write made ready outside of any transaction: what it costs is not waited for by other writers."""

    write: Write
    columns: list[codec.RecordColumns] = field(init=False)
    digest: bytes = field(init=False)
    wanted: dict[str, list[str]] = field(init=False)

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
            "operations": [documents.hashed(write.op_id)],
            "leases": [documents.hashed(fence.lease) for fence in fences_of(write)],
            "agents": [documents.agent_key(record.name) for record in write.records],
            "clusters": [documents.hashed(health.cluster) for health in write.clusters],
            "journal": [documents.hashed(entry.id) for entry in write.journal],
        }


@dataclass(slots=True)
class _Standing:
    """What the writes of one transaction are decided by: what the database holds, and what those before have made."""

    head: Document | None
    operations: dict[str, tuple[int, str]]
    leases: dict[str, Document]
    fleet: int
    agents: dict[str, Held]
    clusters: dict[str, int]
    journal: dict[str, tuple[str, int]]
    made: dict[str, dict[str, Document]] = field(default_factory=dict)
    """By collection and key: what stands twice counts as it stands last."""


def write_all(db: Database, encoded: Encoded) -> int:
    """Do all of a write and answer the change sequence, or what it was when this `op_id` was written first.

    Raises RegistryConflict or RegistryError; the caller then aborts.
    """
    (outcome,) = write_group(db, [encoded])
    if isinstance(outcome, ReconcilerError):
        raise outcome
    return outcome


def write_group(db: Database, group: Sequence[Encoded]) -> list[int | ReconcilerError]:
    """Do several writes in turn, each whole or not at all: of each its change sequence, or why it is refused.

    It costs as many statements as one write does.
    """
    standing = _standing(db, group)
    outcomes: list[int | ReconcilerError] = []
    for encoded in group:
        try:
            outcomes.append(_decide(standing, encoded))
        except ReconcilerError as error:
            outcomes.append(error)
    for collection, made in standing.made.items():
        _put(db, collection, list(made.values()))
    if standing.made and standing.head is not None:
        run(db, _MOVE_HEAD, head={name: standing.head[name] for name in _COUNTED})
    return outcomes


def _standing(db: Database, group: Sequence[Encoded]) -> _Standing:
    wanted = {name: [key for one in group for key in one.wanted[name]] for name in group[0].wanted}
    held = one(db, _HELD, **wanted)
    return _Standing(
        head=held["head"],
        operations={row["key"]: (row["seq"], row["digest"]) for row in held["operations"]},
        leases={row["key"]: row for row in held["leases"]},
        fleet=held["fleet"] or 0,
        agents={
            row["key"]: Held(version=row["version"], state=AgentState(row["state"]), id=row["id"])
            for row in held["agents"]
        },
        clusters={row["key"]: row["version"] for row in held["clusters"]},
        journal={row["key"]: (row["phase"], row["position"]) for row in held["journal"]},
    )


def _decide(standing: _Standing, encoded: Encoded) -> int:
    """What one write makes, added to what stands; nothing of it where it is refused, which is raised."""
    write, operation = encoded.write, documents.hashed(encoded.write.op_id)
    if (known := standing.operations.get(operation)) is not None:
        return repeated(write, seq=known[0], same=known[1] == encoded.digest.hex())
    if standing.head is None:
        raise RegistryError("the registry has lost its counters", hint=codec.DAMAGED_HINT)
    if standing.head.get("loading"):
        raise RegistryError(LOADING, hint=LOADING_HINT)
    for fence in fences_of(write):
        row = standing.leases.get(documents.hashed(fence.lease))
        if row is not None:
            check_epoch(fence, epoch=row["epoch"], holder=row["holder"])
    step = _Step(standing, head=dict(standing.head), fleet=standing.fleet)
    step.records(encoded)
    step.others(write)
    step.journal_entries(write.journal)
    step.audit(write)
    seq = int(step.head["seq"])
    step.head["operations"] += 1
    position = step.head["operations"]
    step.put("operations", documents.operation_document(write.op_id, seq=seq, digest=encoded.digest, position=position))
    step.done()
    standing.operations[operation] = seq, encoded.digest.hex()
    return seq


@dataclass(slots=True)
class _Step:
    """One write, as long as it is not known whether it is refused."""

    before: _Standing
    head: Document
    fleet: int
    agents: dict[str, Held] = field(default_factory=dict)
    clusters: dict[str, int] = field(default_factory=dict)
    journal: dict[str, tuple[str, int]] = field(default_factory=dict)
    made: list[tuple[str, Document]] = field(default_factory=list)

    def put(self, collection: str, document: Document) -> None:
        self.made.append((collection, document))

    def records(self, encoded: Encoded) -> None:
        for record, columns in zip(encoded.write.records, encoded.columns, strict=True):
            key = documents.agent_key(record.name)
            check_record(record, self.before.agents.get(key))
            self.head["seq"] += 1
            self.agents[key] = Held(version=record.version, state=record.state, id=record.id)
            self.put("agents", documents.record_document(record, columns, self.head["seq"]))
            self.put("changes", documents.change_document(record.name, self.head["seq"]))

    def others(self, write: Write) -> None:
        if write.fleet is not None:
            check_fleet(write.fleet, held=self.fleet)
            self.fleet = write.fleet.version
            self.put("fleet", documents.fleet_document(write.fleet))
        for health in write.clusters:
            key = documents.hashed(health.cluster)
            check_cluster(health, held=self.clusters.get(key, self.before.clusters.get(key, 0)))
            self.clusters[key] = health.version
            self.put("clusters", documents.cluster_document(health))
        for revision in write.revisions:
            self.put("revisions", documents.revision_document(revision))

    def journal_entries(self, entries: Sequence[JournalEntry]) -> None:
        """Put entries. One that opens again, after an outcome, is young again in the order of open entries."""
        for entry in entries:
            key = documents.hashed(entry.id)
            phase, position = self.journal.get(key) or self.before.journal.get(key) or (None, 0)
            opens = entry.phase is JournalPhase.INTENT and phase != JournalPhase.INTENT
            if phase is None or opens:
                self.head["journal"] += 1
                position = self.head["journal"]
            self.journal[key] = (entry.phase.value, position)
            self.put("apply_journal", documents.journal_document(entry, position))

    def audit(self, write: Write) -> None:
        for fact in write.audit:
            previous = self.head["audit_hash"]
            try:
                link = next_entry(fact, at_ms=write.at_ms, seq=self.head["audit_seq"] + 1, previous=previous)
            except (TypeError, ValueError) as error:
                raise RegistryError(f"operation {write.op_id} holds what is no JSON: {error}") from error
            self.head["audit_seq"], self.head["audit_hash"] = link.seq, link.hash
            self.put("audit", documents.audit_document(link))

    def done(self) -> None:
        """It is not refused: what follows begins from here."""
        before = self.before
        before.head, before.fleet = self.head, self.fleet
        before.agents |= self.agents
        before.clusters |= self.clusters
        before.journal |= self.journal
        for collection, document in self.made:
            before.made.setdefault(collection, {})[document["_key"]] = document


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


def _put(db: Database, collection: str, made: list[Document]) -> None:
    if made:
        run(db, _PUT, documents=made, **{"@collection": collection})
