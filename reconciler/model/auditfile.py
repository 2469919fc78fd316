"""The audit chain as a file: one entry a line, each with its hash, so that it can be checked by itself, anywhere.

A line is the canonical JSON (UTF-8, keys sorted, no spaces) of at_ms, fact, hash, previous and seq. The hash is that of
the same JSON without `hash`. May hold pure functions over lines only; files are read and written elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from reconciler.model.audit import GENESIS, AuditVerdict, fact_json, link_fault
from reconciler.model.identity import AgentName
from reconciler.model.registry import AuditEntry, AuditFact

MAX_LINE = 64 * 1024 * 1024
"""In bytes: an entry is a few hundred, one with a long system message in its diff a few hundred thousand."""


class _Fact(msgspec.Struct, forbid_unknown_fields=True):
    actor: str
    action: str
    agent: str | None
    commit: str
    message: str
    diff: dict[str, Any]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    at_ms: int
    fact: _Fact
    hash: str
    previous: str
    seq: int


_decoder = msgspec.json.Decoder(_Line)


def to_line(entry: AuditEntry) -> str:
    """An entry as a line, without the line feed. Raises ValueError or TypeError for what is no JSON."""
    value = {
        "at_ms": entry.at_ms,
        "fact": fact_json(entry.fact),
        "hash": entry.hash,
        "previous": entry.previous,
        "seq": entry.seq,
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=dict)


def from_line(line: bytes) -> AuditEntry:
    """Read a line. Raises ValueError when it is not exactly what `to_line` writes of an entry."""
    if len(line) > MAX_LINE:
        raise ValueError(f"it is longer than {MAX_LINE // 1024 // 1024} MiB")
    try:
        found = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from error
    fact = found.fact
    entry = AuditEntry(
        seq=found.seq,
        at_ms=found.at_ms,
        fact=AuditFact(
            actor=fact.actor,
            action=fact.action,
            agent=None if fact.agent is None else AgentName.parse(fact.agent),
            commit=fact.commit,
            message=fact.message,
            diff=fact.diff,
        ),
        previous=found.previous,
        hash=found.hash,
    )
    try:
        written = to_line(entry).encode()
    except RecursionError as error:
        raise ValueError(f"it cannot be read: {error}") from error
    if written != line:
        raise ValueError("it is not written as it was exported")
    return entry


def verify_lines(lines: Iterable[bytes], seen: list[AuditEntry] | None = None, *, at: int = 0) -> AuditVerdict:
    """Check a whole exported chain, from its first entry; entries come without line feeds.

    Into `seen` goes the sound entry number `at`, if there is one: whoever knows its hash can compare.
    """
    count, head = 0, GENESIS
    for line in lines:
        try:
            entry = from_line(line)
            reason = link_fault(entry, seq=count + 1, previous=head)
        except ValueError as error:
            reason = f"line {count + 1} was changed: {error}"
        if reason:
            return AuditVerdict(count=count, head=head, broken_seq=count + 1, reason=reason)
        count, head = count + 1, entry.hash
        if seen is not None and count == at:
            seen.append(entry)
    return AuditVerdict(count=count, head=head)


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines out of pieces of a file, without line feeds; what follows the last one, if anything, is a line too.

    A line that is too long comes as far as it has come: no memory is spent on the rest.
    """
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > MAX_LINE:
            yield rest
            return
    if rest:
        yield rest
