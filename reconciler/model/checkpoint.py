"""A checkpoint: where the audit chain ended at a time, signed. Whoever keeps it can tell later that the chain of today
still holds what it held then.

May hold the value, its bytes and its file; signatures are made and checked elsewhere. What is signed is the canonical
JSON (UTF-8, keys sorted, no spaces) of at_ms, fleet, hash, seq and version.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import msgspec

from reconciler.model.audit import GENESIS, AuditVerdict

NAMESPACE = "reconciler-audit-checkpoint"
"""What the signature is said to be for, so that one of another purpose does not pass for it."""
MAX_FILE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Entry `seq` of the chain of `fleet` had `hash` at `at_ms`; 0 and GENESIS while nothing was written."""

    fleet: str
    seq: int
    hash: str
    at_ms: int
    version: int = 1


class _File(msgspec.Struct, forbid_unknown_fields=True):
    checkpoint: Checkpoint
    signature: str


def signed_bytes(checkpoint: Checkpoint) -> bytes:
    """What is signed of it."""
    return json.dumps(asdict(checkpoint), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def to_file(checkpoint: Checkpoint, signature: str) -> bytes:
    """The file of a checkpoint."""
    value = {"checkpoint": asdict(checkpoint), "signature": signature}
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def from_file(data: bytes) -> tuple[Checkpoint, str]:
    """Checkpoint and signature, not checked yet. Raises ValueError for anything else."""
    if len(data) > MAX_FILE:
        raise ValueError("it is too long for a checkpoint")
    try:
        found = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is no checkpoint: {error}") from error
    if found.checkpoint.version != 1:
        raise ValueError(f"it has version {found.checkpoint.version}, and this program knows version 1")
    return found.checkpoint, found.signature


def compared(checkpoint: Checkpoint, verdict: AuditVerdict, found: str) -> AuditVerdict:
    """The verdict on a chain, held against a checkpoint. `found` is the hash of its entry number `checkpoint.seq`,
    "" where there is none.
    """
    if checkpoint.seq == 0:
        found = GENESIS
    if found == checkpoint.hash or (verdict.broken_seq is not None and verdict.broken_seq <= checkpoint.seq):
        return verdict
    if not found:
        reason = f"the chain ends with entry {verdict.count}, and the checkpoint saw entry {checkpoint.seq}: it was cut"
        return AuditVerdict(count=verdict.count, head=verdict.head, broken_seq=verdict.count + 1, reason=reason)
    reason = f"entry {checkpoint.seq} is not the one that the checkpoint saw: it or one before it was written anew"
    return AuditVerdict(count=0, head=GENESIS, broken_seq=checkpoint.seq, reason=reason)
