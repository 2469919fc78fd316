"""Functions of AQL on arrays."""

from __future__ import annotations

from typing import Any

from tests.doubles.arango.aql.context import Context
from tests.doubles.arango.aql.table import FUNCTIONS, MANY, expects_array, spoken
from tests.doubles.arango.values import (
    Value,
    contains,
    equal,
    key,
    to_number,
    to_string,
    truth,
)


@spoken(1, 1, "LENGTH", "COUNT")
def length(_context: Context, value: Value) -> Value:
    if isinstance(value, list | dict):
        return len(value)
    if value is None:
        return 0
    return len(to_string(value)) if not isinstance(value, bool) else int(value)


@spoken(1, 1)
def first(context: Context, values: Value) -> Value:
    if not expects_array(context, "FIRST", values):
        return None
    return values[0] if values else None


@spoken(1, 1)
def last(context: Context, values: Value) -> Value:
    if not expects_array(context, "LAST", values):
        return None
    return values[-1] if values else None


@spoken(2, 3)
def nth(_context: Context, values: Value, place: Value) -> Value:
    at = int(to_number(place))
    return values[at] if isinstance(values, list) and 0 <= at < len(values) else None


def distinct(values: list[Value]) -> list[Value]:
    seen: dict[Any, Value] = {}
    for one in values:
        seen.setdefault(key(one), one)
    return list(seen.values())


@spoken(1, 1)
def unique(context: Context, values: Value) -> Value:
    return distinct(values) if expects_array(context, "UNIQUE", values) else None


@spoken(1, 1)
def aql_sorted(context: Context, values: Value) -> Value:
    return sorted(values, key=key) if expects_array(context, "SORTED", values) else None


@spoken(1, 1)
def sorted_unique(context: Context, values: Value) -> Value:
    return sorted(distinct(values), key=key) if expects_array(context, "SORTED_UNIQUE", values) else None


@spoken(1, 1, "COUNT_DISTINCT", "COUNT_UNIQUE")
def count_distinct(context: Context, values: Value) -> Value:
    return len(distinct(values)) if expects_array(context, "COUNT_DISTINCT", values) else None


@spoken(2, 3)
def append(_context: Context, values: Value, more: Value, only_new: Value = False) -> Value:  # noqa: FBT002
    start = [] if values is None else values
    if not isinstance(start, list):
        return None
    extra = [] if more is None else more if isinstance(more, list) else [more]
    if not truth(only_new):
        return [*start, *extra]
    return [*start, *(one for one in distinct(extra) if not contains(start, one))]


@spoken(2, 3)
def push(context: Context, values: Value, one: Value, only_new: Value = False) -> Value:  # noqa: FBT002
    if values is None:
        return [one]
    return append(context, values, [one], only_new)


@spoken(2, 3)
def unshift(_context: Context, values: Value, one: Value, only_new: Value = False) -> Value:  # noqa: FBT002
    start = [] if values is None else values
    return start if truth(only_new) and contains(start, one) else [one, *start]


@spoken(1, 1)
def pop(_context: Context, values: Value) -> Value:
    return values[:-1] if isinstance(values, list) else None


@spoken(1, 1)
def shift(_context: Context, values: Value) -> Value:
    return values[1:] if isinstance(values, list) else None


@spoken(2, 3)
def remove_value(_context: Context, values: Value, one: Value, limit: Value = None) -> Value:
    left_to_do = len(values) if limit is None else int(to_number(limit))
    made = []
    for each in values or []:
        if left_to_do > 0 and equal(each, one):
            left_to_do -= 1
        else:
            made.append(each)
    return made


@spoken(2, 2)
def remove_values(_context: Context, values: Value, others: Value) -> Value:
    return [one for one in values or [] if not contains(others, one)]


@spoken(2, 2)
def remove_nth(_context: Context, values: Value, place: Value) -> Value:
    at = int(to_number(place))
    at = at + len(values) if at < 0 else at
    return [one for number_, one in enumerate(values) if number_ != at]


@spoken(2, 3)
def position(_context: Context, values: Value, sought: Value, index: Value = False) -> Value:  # noqa: FBT002
    place = next((at for at, one in enumerate(values or []) if equal(one, sought)), -1)
    return place if truth(index) else place >= 0


FUNCTIONS["CONTAINS_ARRAY"] = FUNCTIONS["POSITION"]


@spoken(2, 3)
def aql_slice(_context: Context, values: Value, start: Value, count: Value = None) -> Value:
    first_, size = int(to_number(start)), len(values)
    first_ = max(size + first_, 0) if first_ < 0 else first_
    if count is None:
        return values[first_:]
    wanted = int(to_number(count))
    return values[first_ : first_ + wanted] if wanted >= 0 else values[first_:wanted]


@spoken(1, 2)
def flatten(_context: Context, values: Value, depth: Value = 1) -> Value:
    def flat(parts: list[Value], levels: float) -> list[Value]:
        made = []
        for one in parts:
            made.extend(flat(one, levels - 1) if isinstance(one, list) and levels > 0 else [one])
        return made

    return flat(values, to_number(depth))


@spoken(2, MANY)
def union(_context: Context, *arrays: Value) -> Value:
    return [one for values in arrays for one in values]


@spoken(2, MANY)
def union_distinct(_context: Context, *arrays: Value) -> Value:
    return distinct([one for values in arrays for one in values])


@spoken(2, MANY)
def intersection(_context: Context, first_: Value, *others: Value) -> Value:
    return [one for one in distinct(first_) if all(contains(values, one) for values in others)]


@spoken(2, MANY)
def minus(_context: Context, first_: Value, *others: Value) -> Value:
    return [one for one in distinct(first_) if not any(contains(values, one) for values in others)]


@spoken(2, MANY)
def outersection(_context: Context, *arrays: Value) -> Value:
    every = [one for values in arrays for one in distinct(values)]
    return [one for one in distinct(every) if sum(equal(one, other) for other in every) == 1]
