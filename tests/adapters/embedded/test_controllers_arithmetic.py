"""The numbers of a rollout: never too few available, never too many pods, and it always comes to its end."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.embedded.controllers.arithmetic import (
    Bounds,
    Count,
    Sample,
    bounds,
    replicas_by,
    rolling_step,
    scaled,
)

small = st.integers(min_value=0, max_value=12)
limits_given = st.tuples(small, small).filter(any).map(lambda pair: Bounds(surge=pair[0], unavailable=pair[1]))


@st.composite
def counts(draw: st.DrawFn) -> Count:
    replicas = draw(small)
    return Count(replicas=replicas, available=draw(st.integers(min_value=0, max_value=replicas)))


@pytest.mark.parametrize(
    ("value", "total", "up", "expected"),
    [
        (3, 10, True, 3),
        ("25%", 10, True, 3),
        ("25%", 10, False, 2),
        ("0%", 10, True, 0),
        ("100%", 7, False, 7),
        ("1%", 1, True, 1),
    ],
)
def test_a_share_is_rounded_as_told(value: int | str, total: int, up: bool, expected: int) -> None:
    assert scaled(value, total, up=up) == expected


@pytest.mark.parametrize("value", ["", "%", "x%", "1.5%", "-1%", "25", True, "²%"])
def test_what_is_no_share_is_refused(value: int | str) -> None:
    with pytest.raises(ValueError, match="neither a number nor a percentage"):
        scaled(value, 4, up=True)


def test_bounds_are_never_both_zero() -> None:
    assert bounds(0, "10%", desired=3) == Bounds(surge=0, unavailable=1)
    assert bounds("25%", "25%", desired=4) == Bounds(surge=1, unavailable=1)
    assert bounds("25%", "25%", desired=1) == Bounds(surge=1, unavailable=0)
    assert bounds(1, 5, desired=2) == Bounds(surge=1, unavailable=2)


@given(desired=small, limits=limits_given, new=counts(), olds=st.lists(counts(), max_size=4))
def test_one_step_never_goes_over_the_surge_nor_gives_up_what_is_needed(
    desired: int, limits: Bounds, new: Count, olds: list[Count]
) -> None:
    told, old_told = rolling_step(desired, limits, new, olds)
    before = new.replicas + sum(old.replicas for old in olds)
    after = told + sum(old_told)
    assert after <= max(before, desired + limits.surge)
    assert all(0 <= count <= old.replicas for count, old in zip(old_told, olds, strict=True))
    available = new.available + sum(old.available for old in olds)
    kept = min(new.available, told) + sum(min(old.available, count) for old, count in zip(olds, old_told, strict=True))
    floor = max(0, desired - limits.unavailable)
    scaled_down = new.available - min(new.available, told)  # the wish itself got smaller
    assert kept + scaled_down >= min(available, floor)


@settings(max_examples=60)
@given(desired=small, limits=limits_given, start=small, data=st.data())
def test_a_rollout_comes_to_its_end_whatever_becomes_ready_when(
    desired: int, limits: Bounds, start: int, data: st.DataObject
) -> None:
    """Old pods are all available; each turn any number of new ones become so, at least one."""
    new, old = Count(replicas=0, available=0), Count(replicas=start, available=start)
    for _ in range(200):
        told, (old_told,) = rolling_step(desired, limits, new, [old])
        assert told + old_told <= max(new.replicas + old.replicas, desired + limits.surge)
        ready = min(new.available, told)
        if ready < told:
            ready += data.draw(st.integers(min_value=1, max_value=told - ready))
        if (told, old_told, ready) == (desired, 0, desired):
            return
        new, old = Count(replicas=told, available=ready), Count(replicas=old_told, available=old_told)
    raise AssertionError(f"it stands still at {new} and {old}")


def test_pods_that_are_not_available_go_first() -> None:
    broken, well = Count(replicas=2, available=0), Count(replicas=3, available=3)
    assert rolling_step(3, Bounds(surge=1, unavailable=0), Count(replicas=1, available=1), [well, broken])[1] == (2, 0)


def pods(number: int, used: int | None, *, ready: bool = True, wanted: int = 50) -> list[Sample]:
    """Pods that use so much each, and should use `wanted`; each requests 100."""
    amount = None if used is None else Fraction(used)
    return [Sample(used=amount, wanted=Fraction(wanted), most=Fraction(100), ready=ready)] * number


@pytest.mark.parametrize(
    ("current", "samples", "expected"),
    [
        (2, pods(2, 90), 4),
        (2, pods(2, 52), 2),
        (4, pods(4, 10), 1),
        (3, pods(3, 0), 0),
        (3, pods(3, 10, wanted=0), 3),
        (3, [], 3),
        (10, pods(10, 54), 10),
        (10, pods(10, 56), 12),
        (4, pods(5, 50), 4),  # a rollout has one more: that is no growth
        (10, [*pods(5, 75), *pods(5, 500, ready=False)], 10),  # an overload, and half of them start
        (10, [*pods(6, 50), *pods(4, 0, ready=False)], 10),
        (3, [*pods(2, 100), *pods(1, None)], 4),  # more, though one that is not measured may be idle
        (3, [*pods(2, 0), *pods(1, None)], 2),  # fewer, though one that is not measured may be busy
        (4, [*pods(1, 0), *pods(3, None)], 4),
    ],
)
def test_usage_over_what_is_wanted_decides_replicas(current: int, samples: list[Sample], expected: int) -> None:
    assert replicas_by(current, samples) == expected
