"""The chain as a file, and checkpoints: what was changed anywhere in a file is found at its line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.model.audit import GENESIS, AuditVerdict, next_entry, verify_chain
from reconciler.model.auditfile import from_line, to_line, verify_lines, whole_lines
from reconciler.model.checkpoint import Checkpoint, compared, from_file, signed_bytes, to_file
from reconciler.model.identity import AgentName
from reconciler.model.registry import AuditEntry, AuditFact

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text("abc-", min_size=1, max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
FACTS = st.builds(
    AuditFact,
    actor=TEXT,
    action=TEXT,
    agent=st.none() | st.builds(AgentName, namespace=NAMES, name=NAMES),
    commit=TEXT,
    message=TEXT,
    diff=st.dictionaries(TEXT, JSON, max_size=3),
)


def chain(facts: list[AuditFact]) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    for seq, fact in enumerate(facts, 1):
        entries.append(next_entry(fact, at_ms=seq, seq=seq, previous=entries[-1].hash if entries else GENESIS))
    return entries


CHAINS = st.lists(FACTS, min_size=1, max_size=6).map(chain)


def lines_of(entries: list[AuditEntry]) -> list[bytes]:
    return [to_line(entry).encode() for entry in entries]


@given(CHAINS)
def test_an_entry_comes_back_from_its_line(entries: list[AuditEntry]) -> None:
    lines = lines_of(entries)
    assert [from_line(line) for line in lines] == entries
    assert verify_lines(lines) == verify_chain(entries) == AuditVerdict(count=len(entries), head=entries[-1].hash)


def test_anybody_can_check_a_line_by_what_is_documented() -> None:
    fact = AuditFact(actor="ada", action="update", agent=AgentName(namespace="n", name="a"), diff={"z": 1, "a": "ü"})
    value = json.loads(to_line(next_entry(fact, at_ms=7, seq=1, previous=GENESIS)))
    told = value.pop("hash")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == told


@given(CHAINS, st.data())
def test_any_byte_that_changes_is_found_at_its_line(entries: list[AuditEntry], data: st.DataObject) -> None:
    lines = lines_of(entries)
    at = data.draw(st.integers(0, len(lines) - 1), "line")
    place = data.draw(st.integers(0, len(lines[at]) - 1), "place")
    changed = bytearray(lines[at])
    kind = data.draw(st.sampled_from(["replace", "remove", "insert"]))
    byte = data.draw(st.integers(0, 255))
    if kind == "replace":
        assume(changed[place] != byte)
        changed[place] = byte
    elif kind == "remove":
        del changed[place]
    else:
        changed.insert(place, byte)
    lines[at] = bytes(changed)
    verdict = verify_lines(lines)
    assert (verdict.broken_seq, verdict.count) == (at + 1, at)
    assert verdict.reason


@given(CHAINS, st.data())
def test_lines_taken_out_put_in_or_moved_are_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    lines = lines_of(entries)
    at = data.draw(st.integers(0, len(lines) - 1))
    removed = verify_lines([*lines[:at], *lines[at + 1 :]])
    if at + 1 < len(lines):
        assert removed.broken_seq == at + 1
    else:
        assert removed.count == at, "a tail that was cut is found by what was kept: its head, or a checkpoint"
    assert verify_lines([*lines[: at + 1], lines[at], *lines[at + 1 :]]).broken_seq == at + 2
    other = data.draw(st.integers(0, len(lines) - 1))
    assume(at != other)
    lines[at], lines[other] = lines[other], lines[at]
    assert verify_lines(lines).broken_seq == min(at, other) + 1


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff\xfe",
        b'{"seq":1}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        to_line(next_entry(AuditFact(actor="a", action="b", agent=None), at_ms=1, seq=1, previous=GENESIS))
        .replace('"seq":1', '"seq":1,"seq":1')
        .encode(),
    ],
)
def test_what_is_no_entry_is_said_to_be(line: bytes) -> None:
    verdict = verify_lines([line])
    assert (verdict.broken_seq, verdict.count) == (1, 0)
    assert "line 1 was changed" in verdict.reason


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(1, 7))
def test_lines_are_whole_however_a_file_is_read(parts: list[bytes], size: int) -> None:
    data = b"\n".join(parts)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    expected = data.split(b"\n")
    assert list(whole_lines(chunks)) == (expected[:-1] if not expected[-1] else expected)


# checkpoints


def held(entries: list[AuditEntry], seq: int) -> Checkpoint:
    return Checkpoint(fleet="acme", seq=seq, hash=entries[seq - 1].hash if seq else GENESIS, at_ms=9)


def verdict_of(entries: list[AuditEntry], checkpoint: Checkpoint) -> AuditVerdict:
    seen: list[AuditEntry] = []
    verdict = verify_lines(lines_of(entries), seen, at=checkpoint.seq)
    return compared(checkpoint, verdict, seen[0].hash if seen else "")


@given(CHAINS, st.data())
def test_a_chain_that_went_on_still_holds_its_checkpoints(entries: list[AuditEntry], data: st.DataObject) -> None:
    checkpoint = held(entries, data.draw(st.integers(0, len(entries))))
    assert verdict_of(entries, checkpoint).sound


@given(CHAINS, st.data())
def test_a_chain_written_anew_does_not(entries: list[AuditEntry], data: st.DataObject) -> None:
    seq = data.draw(st.integers(1, len(entries)))
    at = data.draw(st.integers(0, seq - 1))
    facts = [entry.fact for entry in entries]
    facts[at] = replace(facts[at], actor=facts[at].actor + "x")
    forged = chain(facts)
    assert verify_chain(forged).sound, "by itself nobody can tell"
    verdict = verdict_of(forged, held(entries, seq))
    assert (verdict.sound, verdict.broken_seq) == (False, seq)
    assert "written anew" in verdict.reason


@given(CHAINS, st.data())
def test_a_tail_cut_off_before_a_checkpoint_is_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    seq = data.draw(st.integers(1, len(entries)))
    left = data.draw(st.integers(0, seq - 1))
    verdict = verdict_of(entries[:left], held(entries, seq))
    assert (verdict.sound, verdict.broken_seq, verdict.count) == (False, left + 1, left)
    assert "it was cut" in verdict.reason


def test_a_chain_that_breaks_later_is_broken_there() -> None:
    entries = chain([AuditFact(actor="ada", action=str(number), agent=None) for number in range(4)])
    entries[3] = replace(entries[3], at_ms=77)
    assert verdict_of(entries, held(entries, 2)).broken_seq == 4
    entries[0] = replace(entries[0], at_ms=77)
    assert verdict_of(entries, held(entries, 2)).broken_seq == 1


def test_the_file_of_a_checkpoint_comes_back() -> None:
    checkpoint = Checkpoint(fleet="acme", seq=3, hash="ab" * 32, at_ms=9)
    assert from_file(to_file(checkpoint, "signature")) == (checkpoint, "signature")
    assert signed_bytes(checkpoint) == (b'{"at_ms":9,"fleet":"acme","hash":"' + b"ab" * 32 + b'","seq":3,"version":1}')


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no checkpoint"),
        (b"\xff", "no checkpoint"),
        (b"[" * 60_000, "no checkpoint"),
        (b" " * 100_000, "too long"),
        (b'{"checkpoint":{},"signature":""}', "no checkpoint"),
        (b'{"checkpoint":{"fleet":"a","seq":1,"hash":"","at_ms":1,"version":2},"signature":""}', "version 2"),
    ],
)
def test_what_is_no_checkpoint_is_said_to_be(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_file(data)


@pytest.mark.parametrize("depth", range(900, 1010, 10))
def test_an_entry_nested_without_end_is_said_to_be(depth: int) -> None:
    """Where reading it still goes, and writing it again does not, too."""
    diff = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
    fact = b'{"action":"a","actor":"b","agent":null,"commit":"","diff":' + diff + b',"message":""}'
    verdict = verify_lines([b'{"at_ms":1,"fact":' + fact + b',"hash":"h","previous":"p","seq":1}'])
    assert verdict.broken_seq == 1
