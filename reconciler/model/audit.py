"""The audit chain: how a link is hashed and how a chain is checked, the same for every registry.

May hold pure functions over AuditFact and AuditEntry only. The link's hash is the hex SHA-256 of the canonical JSON
(UTF-8, keys sorted, no spaces) of the entry without `hash`: at_ms, fact, previous, seq. The first entry's `previous`
is GENESIS.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reconciler.model.registry import AuditEntry, AuditFact

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """What a check of the chain found: `count` sound entries, and the first broken one with the reason.

    `broken_seq` is None for a sound chain. `head` is the hash of the last sound entry: whoever keeps it elsewhere
    can later tell that the whole chain was written anew.
    """

    count: int
    head: str
    broken_seq: int | None = None
    reason: str = ""

    @property
    def sound(self) -> bool:
        return self.broken_seq is None


def fact_json(fact: AuditFact) -> dict[str, Any]:
    """The fact as it enters the hash."""
    return {
        "actor": fact.actor,
        "action": fact.action,
        "agent": None if fact.agent is None else str(fact.agent),
        "commit": fact.commit,
        "message": fact.message,
        "diff": fact.diff,
    }


def link_hash(*, seq: int, at_ms: int, fact: AuditFact, previous: str) -> str:
    """The hash of one link. Raises ValueError or TypeError for a fact that is no JSON (NaN, lone surrogates)."""
    value = {"seq": seq, "at_ms": at_ms, "fact": fact_json(fact), "previous": previous}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def next_entry(fact: AuditFact, *, at_ms: int, seq: int, previous: str) -> AuditEntry:
    """The entry that follows `previous` (GENESIS for the first, whose `seq` is 1)."""
    return AuditEntry(
        seq=seq,
        at_ms=at_ms,
        fact=fact,
        previous=previous,
        hash=link_hash(seq=seq, at_ms=at_ms, fact=fact, previous=previous),
    )


def link_fault(entry: AuditEntry, *, seq: int, previous: str) -> str:
    """Why `entry` is not the sound link number `seq` after the hash `previous`; "" when it is."""
    if entry.seq != seq:
        return f"entry {seq} is missing: entry {entry.seq} follows entry {seq - 1}"
    if entry.previous != previous:
        return f"entry {seq} does not continue entry {seq - 1}: one was replaced, moved or put in"
    if link_hash(seq=entry.seq, at_ms=entry.at_ms, fact=entry.fact, previous=entry.previous) != entry.hash:
        return f"entry {seq} was changed after it was written"
    return ""


def verify_chain(entries: Iterable[AuditEntry], *, expected: tuple[int, str] | None = None) -> AuditVerdict:
    """Check a whole chain from its first entry.

    `expected` is the (seq, hash) that the registry keeps apart for the last entry; it finds entries cut off the end.
    """
    count, head = 0, GENESIS
    for entry in entries:
        reason = link_fault(entry, seq=count + 1, previous=head)
        if reason:
            return AuditVerdict(count=count, head=head, broken_seq=count + 1, reason=reason)
        count, head = count + 1, entry.hash
    verdict = AuditVerdict(count=count, head=head)
    return verdict if expected is None else check_end(verdict, expected)


def check_end(verdict: AuditVerdict, expected: tuple[int, str]) -> AuditVerdict:
    """A chain that is sound as far as it goes, held against the (seq, hash) that is kept apart for its last entry."""
    count, head, last = verdict.count, verdict.head, expected[0]
    if not verdict.sound or expected == (count, head):
        return verdict
    if count < last:
        reason = f"entries {count + 1} to {last} are missing at the end"
        return AuditVerdict(count=count, head=head, broken_seq=count + 1, reason=reason)
    reason = f"the chain does not end in the entry that was written last ({last})"
    return AuditVerdict(count=count, head=head, broken_seq=max(1, min(count, last)), reason=reason)
