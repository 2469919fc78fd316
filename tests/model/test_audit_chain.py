"""The audit chain: any entry that is changed, taken out, moved or put in is found at its place."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.audit import GENESIS, AuditVerdict, link_hash, next_entry, verify_chain
from reconciler.model.identity import AgentName
from reconciler.model.registry import AuditEntry, AuditFact

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FACTS = st.builds(
    AuditFact,
    actor=TEXT,
    action=TEXT,
    agent=st.none() | st.builds(AgentName, namespace=TEXT, name=TEXT),
    commit=TEXT,
    message=TEXT,
    diff=st.dictionaries(
        TEXT, st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=2), max_size=3
    ),
)


def chain(facts: list[AuditFact]) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    for seq, fact in enumerate(facts, 1):
        entries.append(next_entry(fact, at_ms=seq, seq=seq, previous=entries[-1].hash if entries else GENESIS))
    return entries


CHAINS = st.lists(FACTS, min_size=1, max_size=6).map(chain)


def numbered(entries: list[AuditEntry]) -> list[AuditEntry]:
    return [replace(entry, seq=seq) for seq, entry in enumerate(entries, 1)]


def test_the_hash_is_that_of_the_documented_bytes() -> None:
    fact = AuditFact(actor="ada", action="update", agent=AgentName(namespace="n", name="a"), diff={"z": 1, "a": "ü"})
    text = json.dumps(
        {
            "at_ms": 7,
            "fact": {"action": "update", "actor": "ada", "agent": "n/a", "commit": "", "diff": {"a": "ü", "z": 1}}
            | {"message": ""},
            "previous": GENESIS,
            "seq": 1,
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    assert link_hash(seq=1, at_ms=7, fact=fact, previous=GENESIS) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_is_no_json_has_no_hash(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON|surrogates"):
        next_entry(AuditFact(actor="", action="", agent=None, diff={"a": value}), at_ms=0, seq=1, previous=GENESIS)


@given(CHAINS)
def test_a_chain_that_nobody_touched_is_sound(entries: list[AuditEntry]) -> None:
    last = entries[-1]
    assert verify_chain(entries, expected=(last.seq, last.hash)) == AuditVerdict(count=len(entries), head=last.hash)
    assert verify_chain(entries).sound


def test_an_empty_chain_is_sound_where_nothing_was_written() -> None:
    assert verify_chain([]) == verify_chain([], expected=(0, GENESIS)) == AuditVerdict(count=0, head=GENESIS)


@given(CHAINS, st.data())
def test_a_changed_entry_is_found_at_its_place(entries: list[AuditEntry], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(entries) - 1))
    entry = entries[at]
    entries[at] = data.draw(
        st.sampled_from(
            [
                replace(entry, at_ms=entry.at_ms + 1),
                replace(entry, hash="f" * 64),
                replace(entry, previous="f" * 64),
                replace(entry, fact=replace(entry.fact, actor=entry.fact.actor + "x")),
                replace(entry, fact=replace(entry.fact, diff={**entry.fact.diff, "new key": 1})),
            ]
        )
    )
    verdict = verify_chain(entries)
    assert (verdict.broken_seq, verdict.count) == (at + 1, at)
    assert verdict.reason


@given(CHAINS, st.data())
def test_an_entry_taken_out_or_put_in_is_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(entries) - 1))
    expected = (len(entries), entries[-1].hash)
    less = entries[:at] + entries[at + 1 :]
    more = [*entries[:at], entries[at], *entries[at:]]
    for forged in (less, numbered(less), more, numbered(more)):
        verdict = verify_chain(forged, expected=expected)
        assert not verdict.sound
        assert verdict.broken_seq in {at + 1, at + 2}


@given(CHAINS.filter(lambda entries: len(entries) > 1), st.data())
def test_entries_that_changed_places_are_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(entries) - 2))
    entries[at], entries[at + 1] = entries[at + 1], entries[at]
    for forged in (entries, numbered(entries)):
        assert verify_chain(forged).broken_seq == at + 1


def test_a_chain_written_anew_differs_from_what_was_kept() -> None:
    facts = [AuditFact(actor="ada", action=str(number), agent=None) for number in range(3)]
    kept = chain(facts)[-1]
    forged = chain([replace(fact, actor="eve") for fact in facts])
    assert verify_chain(forged).sound, "by itself nobody can tell"
    verdict = verify_chain(forged, expected=(kept.seq, kept.hash))
    assert (verdict.broken_seq, verdict.sound) == (3, False)
    longer = chain([*facts, facts[0]])
    assert verify_chain(longer, expected=(kept.seq, kept.hash)).reason == (
        "the chain does not end in the entry that was written last (3)"
    )
