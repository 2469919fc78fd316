"""Values as documents, and documents as values. What is searched or ordered by stands in attributes of its own.

Bodies are JSON text, or deflated JSON in base64: the server keeps them as they are, whatever their numbers and keys.
Keys that are not ours to choose are hashed, because the server allows few characters in them.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from reconciler.adapters.arango.terms import searchable, term
from reconciler.adapters.stored import codec, series
from reconciler.adapters.stored.codec import DAMAGED_HINT, UNREADABLE
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.registry import (
    AgentRevision,
    AgentState,
    AuditEntry,
    AuditFact,
    ClusterHealth,
    FleetRecord,
    JournalEntry,
    Lease,
    Record,
)
from reconciler.model.series import HealthChange

Document = dict[str, Any]
HEAD = "head"
FLEET = "fleet"


def agent_key(name: AgentName) -> str:
    return f"{name.namespace}:{name.name}"


def agent_term(name: AgentName) -> str:
    """What is ordered as names are, whatever the server's language."""
    return term(f"{name.namespace}\0{name.name}")


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def ordered(number: int) -> str:
    """A key that sorts as its number does."""
    return f"{number:020d}"


def record_document(record: Record, columns: codec.RecordColumns, seq: int) -> Document:
    return {
        "_key": agent_key(record.name),
        "seq": seq,
        "body": columns.body.decode(),
        "document": _text(columns.document),
        "manifests": None if columns.manifests is None else _text(columns.manifests),
        "shared": columns.shared,
        **told_of(record),
    }


def told_of(record: Record) -> Document:
    """What stands beside a record's body, so that the server can check it and search by it."""
    return {
        "ns": record.name.namespace,
        "name": record.name.name,
        "id": record.id,
        "version": record.version,
        "state": record.state.value,
        "live": record.state is not AgentState.GONE,
        **aged(record),
        **searchable(record),
    }


def aged(record: Record) -> Document:
    """What says how old a record is, and which revisions it needs."""
    good = (record.good.number,) if record.good is not None else ()
    needs = [] if record.state is AgentState.GONE else sorted({record.revision, *good})
    return {"updated_ms": record.updated_ms, "needs": needs}


RECORD = (
    "{ns: d.ns, name: d.name, live: d.live, body: d.body, "
    "document: d.document, manifests: d.manifests, shared: d.shared}"
)
"""What `record_of` needs of a document `d`."""


def record_of(row: Document) -> Record:
    manifests = row["manifests"]
    return codec.decode_record(
        row["body"], bytes_of(row["document"]), None if manifests is None else bytes_of(manifests), row["shared"]
    )


def name_of(row: Document) -> AgentName:
    return AgentName(namespace=row["ns"], name=row["name"])


def change_document(name: AgentName, seq: int) -> Document:
    return {"_key": ordered(seq), "seq": seq, "ns": name.namespace, "name": name.name}


def operation_document(op_id: str, *, seq: int, digest: bytes, position: int) -> Document:
    return {"_key": hashed(op_id), "op_id": op_id, "seq": seq, "digest": digest.hex(), "position": position}


def fleet_document(fleet: FleetRecord) -> Document:
    return {"_key": FLEET, "version": fleet.version, "body": codec.encode(fleet).decode()}


def cluster_document(health: ClusterHealth) -> Document:
    body = codec.encode(health).decode()
    return {"_key": hashed(health.cluster), "name": health.cluster, "version": health.version, "body": body}


def journal_document(entry: JournalEntry, position: int) -> Document:
    return {
        "_key": hashed(entry.id),
        "id": entry.id,
        "phase": entry.phase.value,
        "position": position,
        "at_ms": entry.at_ms,
        "body": codec.encode(entry).decode(),
    }


def revision_document(revision: AgentRevision) -> Document:
    return {
        "_key": f"{agent_key(revision.agent)}:{ordered(revision.number)}",
        "agent": agent_term(revision.agent),
        "number": revision.number,
        "of": agent_key(revision.agent),
        "at_ms": revision.at_ms,
        "body": codec.encode(revision).decode(),
    }


def audit_document(entry: AuditEntry) -> Document:
    return {
        "_key": ordered(entry.seq),
        "seq": entry.seq,
        "at_ms": entry.at_ms,
        "agent": codec.agent_key(entry.fact.agent),
        "fact": codec.encode(entry.fact).decode(),
        "previous": entry.previous,
        "hash": entry.hash,
    }


def audit_of(row: Document) -> AuditEntry:
    return codec.decode_audit((row["seq"], row["at_ms"], row["fact"], row["previous"], row["hash"]))


def witness_of(row: Document) -> AuditEntry:
    """For checking: whatever was made of an entry, it becomes one that the chain can be held against."""
    seq, at_ms, fact, previous, hash_, agent = (row.get(name) for name in _LINK)
    kept = isinstance(previous, str) and isinstance(hash_, str) and isinstance(seq, int) and isinstance(at_ms, int)
    if kept and isinstance(fact, str):
        return codec.witness_audit((seq, at_ms, fact.encode(errors="replace"), previous, hash_, agent))
    unreadable = AuditFact(actor="", action="", agent=None)
    return AuditEntry(seq=seq if isinstance(seq, int) else 0, at_ms=0, fact=unreadable, previous=str(previous), hash="")


_LINK = ("seq", "at_ms", "fact", "previous", "hash", "agent")


def health_change_document(change: HealthChange) -> Document:
    return {
        "_key": f"{agent_key(change.agent)}:{ordered(change.at_ms)}",
        "agent": agent_term(change.agent),
        "at_ms": change.at_ms,
        "state": change.state.value,
        "body": codec.encode(change).decode(),
    }


def health_points_key(place: series.Place) -> str:
    span, start, part = place
    return f"{span}:{part}:{ordered(start)}"


def health_points_document(place: series.Place, marks: str, row: Mapping[str, series.Flat]) -> Document:
    span, start, part = place
    body = _text(series.pack(row))
    return {"_key": health_points_key(place), "span": span, "start": start, "part": part, "op": marks, "body": body}


def lease_document(lease: Lease) -> Document:
    return {
        "_key": hashed(lease.name),
        "name": lease.name,
        "holder": lease.holder,
        "epoch": lease.epoch,
        "expires_ms": lease.expires_ms,
        "says": lease.says,
    }


@contextmanager
def reading(place: str, doing: str) -> Iterator[None]:
    """Documents that are not as we write them are damage, and said to be. Raises RegistryError."""
    try:
        yield
    except (*UNREADABLE, binascii.Error, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(f"{place}: cannot {doing}: a document is damaged: {error!r}", hint=DAMAGED_HINT) from error


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def bytes_of(text: str) -> bytes:
    return b64decode(text, validate=True)
