"""Which agents belong together, and who looks after them: the same for everybody, balanced, and steady."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.identity import AgentName
from reconciler.model.shards import assigned, shard_of

SEATS = st.frozensets(st.integers(0, 20), min_size=1, max_size=9)


def test_an_agents_shard_is_the_same_in_every_version() -> None:
    names = [AgentName(namespace="support", name=name) for name in ("triage", "knowledge", "miner", "x")]
    assert [shard_of(name, 8) for name in names] == [0, 5, 0, 1]


def test_agents_are_spread_over_shards() -> None:
    counts = Counter(shard_of(AgentName(namespace="a", name=f"n{number}"), 8) for number in range(8000))
    assert min(counts.values()) > 900
    assert len(counts) == 8


@given(count=st.integers(1, 64), seats=SEATS)
def test_every_shard_has_a_seat_that_is_taken_and_no_two_seats_differ_by_more_than_one(count, seats) -> None:
    found = assigned(count, seats)
    loads = Counter(found.values())
    assert sorted(found) == list(range(count))
    assert set(found.values()) <= seats
    assert max(loads.values()) - min(loads[seat] for seat in seats) <= 1


@given(count=st.integers(1, 64), seats=SEATS, other=st.integers(21, 30))
def test_who_comes_or_goes_moves_few_others(count, seats, other) -> None:
    before, after = assigned(count, seats), assigned(count, {*seats, other})
    moved = sum(before[shard] != after[shard] for shard in before)
    assert moved <= 3 * -(-count // (len(seats) + 1)) + 2


def test_nobody_there_looks_after_nothing() -> None:
    assert assigned(4, []) == {}


@pytest.mark.parametrize("seats", [[3, 1, 2], [1, 2, 3], [2, 2, 3, 1]])
def test_the_order_in_which_seats_are_told_says_nothing(seats) -> None:
    assert assigned(8, seats) == assigned(8, [1, 2, 3])
