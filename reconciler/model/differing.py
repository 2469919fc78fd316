"""What differs between two mappings, at the speed of C: ten thousand lookups by name cost more than a whole warm plan.

May live here: comparing mappings as they are, and making one from another. Must not: know what they map.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import compress, count
from operator import is_not
from typing import Any, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def differing(
    before: Mapping[Key, Value], now: Mapping[Key, Value], same: Callable[[Value, Value], bool] | None = None
) -> list[Key]:
    """Keys that only one of both has, and those whose values are different objects and not `same`; each once.

    Exact for any two mappings, and fast where one was made from the other: where keys are the same objects in the same
    order, but for one stretch in which some came or went.
    """
    if before is now:
        return []
    old, new = list(before), list(now)
    if old == new:  # the same objects are passed over without being compared
        return _unlike(new, before.values(), now.values(), same)
    head = _shared(old, new)
    tail = min(_shared(old[::-1], new[::-1]), len(old) - head, len(new) - head)
    values, others = list(before.values()), list(now.values())
    left = dict(zip(old[head : len(old) - tail], values[head:], strict=False))
    right = dict(zip(new[head : len(new) - tail], others[head:], strict=False))
    both = [key for key in left if key in right]
    return [
        *_unlike(new[:head], values[:head], others[:head], same),
        *_unlike(both, [left[key] for key in both], [right[key] for key in both], same),
        *(key for key in left if key not in right),
        *(key for key in right if key not in left),
        *_unlike(new[len(new) - tail :], values[len(old) - tail :], others[len(new) - tail :], same),
    ]


def _shared(old: Sequence[Key], new: Sequence[Key]) -> int:
    """With how many of the same objects both begin."""
    return next(compress(count(), map(is_not, old, new)), min(len(old), len(new)))


def _unlike(
    keys: Sequence[Key], old: Collection[Value], new: Collection[Value], same: Callable[[Value, Value], bool] | None
) -> list[Key]:
    """Keys whose values, in order of the keys, are other objects."""
    if same is None:
        return list(compress(keys, map(is_not, old, new)))
    others = compress(zip(keys, old, new, strict=True), map(is_not, old, new))
    return [key for key, a, b in others if not same(a, b)]


def patched(
    before: Mapping[Key, Value], changes: Mapping[Key, Value | None], order: Callable[[Key], Any]
) -> dict[Key, Value]:
    """`before`, which is sorted by `order`, with values exchanged, sorted in, or (for None) taken out."""
    result = dict(before)
    came: list[tuple[Key, Value]] = []
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif key in result:
            result[key] = value
        else:
            came.append((key, value))
    if not came:
        return result
    keys, values = list(result), list(result.values())
    for key, value in came:
        at = bisect_left(keys, order(key), key=order)
        keys.insert(at, key)
        values.insert(at, value)
    return dict(zip(keys, values, strict=True))
