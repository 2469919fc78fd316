"""Values to rows and back: JSON by msgspec, straight into the frozen dataclasses.

A record's document and its manifests to roll back to are most of its bytes and seldom read: they are kept deflated and
are decoded when somebody looks inside.
"""

from __future__ import annotations

import gc
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.lazy import LazyJson
from reconciler.model.registry import (
    AgentRevision,
    AgentState,
    AuditEntry,
    AuditFact,
    ClusterHealth,
    FleetRecord,
    JournalEntry,
    Record,
    Write,
)
from reconciler.model.source import JsonObject

DAMAGED_HINT = "restore the registry from a backup or an export"
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What comes of decoding bytes that are not what was written."""

Row = tuple[Any, ...]
Bodies = dict[str, tuple[JsonObject, ...]]

_record = msgspec.json.Decoder(Record)
_fleet = msgspec.json.Decoder(FleetRecord)
_cluster = msgspec.json.Decoder(ClusterHealth)
_journal = msgspec.json.Decoder(JournalEntry)
_revision = msgspec.json.Decoder(AgentRevision)
_fact = msgspec.json.Decoder(AuditFact)
_bodies = msgspec.json.Decoder(Bodies)


class _Packed(LazyJson):
    """A mapping kept deflated."""

    __slots__ = ()
    what = ""

    def decode(self) -> Mapping[str, Any]:
        """Raises RegistryError for bytes that are damaged."""
        try:
            return self._decoded(zlib.decompress(self.data))
        except (zlib.error, *UNREADABLE) as error:
            raise RegistryError(f"{self.what} are damaged: {error}", hint=DAMAGED_HINT) from error

    def _decoded(self, data: bytes) -> Mapping[str, Any]:
        return msgspec.json.decode(data, type=dict[str, Any])


class LazyDocument(_Packed):
    """The document of a record: most plans find by its hash that they need not look inside."""

    __slots__ = ()
    what = "the specs of agents on record"


class LazyBodies(_Packed):
    """The manifests of a last good revision, by cluster."""

    __slots__ = ()
    what = "manifests to roll back to"

    def _decoded(self, data: bytes) -> Mapping[str, Any]:
        return _bodies.decode(data)


def _packed(value: Mapping[str, Any]) -> bytes:
    return value.data if isinstance(value, _Packed) else zlib.compress(encode(value), 1)


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """`body` has neither the record's document nor, in `good`, manifests; where `shared`, the document of `good` equals
    the record's and is left out too.
    """

    body: bytes
    document: bytes
    manifests: bytes | None = None
    shared: bool = False


def _hook(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_encoder = msgspec.json.Encoder(enc_hook=_hook)


def encode(value: Any) -> bytes:
    """JSON of a value. Raises TypeError or ValueError when it is none."""
    return _encoder.encode(value)


def record_columns(record: Record) -> RecordColumns:
    """A record as it is stored. One that is gone gives back its reservations."""
    if record.state is AgentState.GONE:
        record = replace(record, reservations=())
    good, document = record.good, _packed(record.document)
    record = replace(record, document={})
    if good is None:
        return RecordColumns(encode(record), document)
    shared = good.spec_hash == record.spec_hash and _packed(good.document) == document
    slim = replace(good, manifests={}, document={} if shared else good.document)
    return RecordColumns(encode(replace(record, good=slim)), document, _packed(good.manifests), shared)


def decode_record(body: bytes, document: bytes, manifests: bytes | None, shared: int) -> Record:
    """A record from its columns. Completes the value just decoded in place: ten thousand copies are a tenth second."""
    record = _record.decode(body)
    object.__setattr__(record, "document", LazyDocument(document))
    if record.good is not None:
        if manifests is not None:
            object.__setattr__(record.good, "manifests", LazyBodies(manifests))
        if shared:
            object.__setattr__(record.good, "document", record.document)
    return record


def decode_fleet(body: bytes) -> FleetRecord:
    return _fleet.decode(body)


def decode_cluster(body: bytes) -> ClusterHealth:
    return _cluster.decode(body)


def decode_journal(body: bytes) -> JournalEntry:
    return _journal.decode(body)


def decode_revision(body: bytes) -> AgentRevision:
    return _revision.decode(body)


def decode_audit(row: Row) -> AuditEntry:
    """From (seq, at_ms, fact, previous, hash)."""
    seq, at_ms, fact, previous, hash_ = row[:5]
    return AuditEntry(seq=seq, at_ms=at_ms, fact=_fact.decode(fact), previous=previous, hash=hash_)


def witness_audit(row: Row) -> AuditEntry:
    """From (seq, at_ms, fact, previous, hash, agent), for checking: a row that cannot be read has an empty fact.

    The `agent` column is no part of the chain but repeats the fact; where it does not, the row counts as unreadable.
    So does one with more in it than its fact, which nobody would see.
    """
    try:
        entry = decode_audit(row)
    except UNREADABLE:
        entry = None
    if entry is not None and agent_key(entry.fact.agent) == row[5] and encode(entry.fact) == row[2]:
        return entry
    unreadable = AuditFact(actor="", action="", agent=None)
    return AuditEntry(seq=row[0], at_ms=row[1], fact=unreadable, previous=row[3], hash=row[4])


def agent_key(name: AgentName | None) -> str | None:
    return None if name is None else str(name)


def digest(write: Write, columns: list[RecordColumns]) -> bytes:
    """What tells a repeated Write from another one that took its op_id. Records come encoded, to do it once."""
    rest = replace(write, records=(), at_ms=0)
    hasher = hashlib.sha256(encode(rest))
    for column in columns:
        for part in (column.body, column.document, column.manifests or b"", b"shared" if column.shared else b""):
            hasher.update(len(part).to_bytes(8, "big"))
            hasher.update(part)
    return hasher.digest()


@contextmanager
def bulk() -> Iterator[None]:
    """Pause the garbage collector while records are decoded: they hold no cycles, and it would double the time.

    What is alive at the end is frozen, or the collector would walk all of it at once when it wakes. Frozen values
    are still freed when nothing refers to them.
    """
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.freeze()
            gc.enable()
