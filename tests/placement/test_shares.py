"""Dividing what is declared for a whole agent: what holds of every division, and some that people can check."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.registry import PlacedReplicas
from reconciler.placement.shares import Share, shares
from tests.placement.builders import rule

counts = st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any)
amounts = st.integers(0, 200)


def each(where: list[int]) -> list[Share]:
    """The shares of clusters with so many replicas; those with none are left out, for there nothing is asked."""
    return [Share(replicas=one, counts=tuple(where)) for one in where if one]


@pytest.mark.parametrize(
    ("where", "least", "shared"),
    [
        ([4], 3, [3]),
        ([4], 5, [5]),
        ([2, 2], 3, [1, 1]),  # two of each would let no node be drained
        ([2, 2], 2, [1, 1]),
        ([3, 3], 3, [2, 2]),
        ([8, 1, 1], 7, [7, 0, 0]),
        ([1, 1], 1, [0, 0]),
        ([2, 2], 4, [2, 2]),  # said by whoever wrote it
        ([2, 2], 5, [3, 3]),
        ([4, 0], 3, [3]),
        ([5, 3], 0, [0, 0]),
    ],
)
def test_how_many_stay_on_each(where: list[int], least: int, shared: list[int]) -> None:
    assert [share.at_least(least) for share in each(where)] == shared


@pytest.mark.parametrize(
    ("where", "most", "shared"),
    [
        ([4], 9, [9]),
        ([2, 2], 2, [1, 1]),
        ([2, 2, 2], 2, [1, 1, 1]),
        ([8, 1, 1], 3, [1, 1, 1]),
        ([6, 2], 4, [3, 1]),
        ([2, 2], 0, [0, 0]),
    ],
)
def test_how_many_may_be_away_of_each(where: list[int], most: int, shared: list[int]) -> None:
    assert [share.at_most(most) for share in each(where)] == shared


@given(counts, amounts)
def test_no_cluster_keeps_all_of_its_pods_unless_that_is_declared(where: list[int], least: int) -> None:
    whole, parts = sum(where), each(where)
    given_out = [share.at_least(least) for share in parts]
    if least < whole:
        assert all(0 <= stay < share.replicas for stay, share in zip(given_out, parts, strict=True))
        assert sum(given_out) >= min(least, whole - len(parts)), "as many as declared, where that can be"
    else:
        assert all(stay >= share.replicas for stay, share in zip(given_out, parts, strict=True))
        assert sum(given_out) >= least


@given(counts, amounts, st.sampled_from([0, 1]))
def test_no_more_are_away_than_declared_where_that_can_be(where: list[int], most: int, least: int) -> None:
    parts = each(where)
    given_out = [share.at_most(most, least=least) for share in parts]
    assert all(away >= min(least, most) for away in given_out)
    assert sum(given_out) <= max(most, least * len(parts) if most else 0)


@given(counts, amounts)
def test_equal_clusters_are_given_the_same_whatever_their_order(where: list[int], count: int) -> None:
    turned = where[::-1]
    for share, other in zip(each(where), reversed(each(turned)), strict=True):
        assert (share.at_least(count), share.at_most(count)) == (other.at_least(count), other.at_most(count))


def test_what_runs_whole_everywhere_shares_nothing() -> None:
    placed = (PlacedReplicas(cluster="eu", replicas=4), PlacedReplicas(cluster="us", replicas=4))
    assert {share.at_least(3) for share in shares(rule("all"), placed).values()} == {3}
    assert {share.at_least(3) for share in shares(rule("spread"), placed).values()} == {2}
