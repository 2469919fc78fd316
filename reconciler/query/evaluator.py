"""What a query answers, decided record by record. This is the reference: registries are held to it by tests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import assert_never

from reconciler.model.query import (
    ORDER_CHARACTERS,
    And,
    Comparator,
    Compare,
    Contains,
    Exists,
    Expression,
    GroupCount,
    Like,
    Not,
    OneOf,
    Or,
    Order,
    Query,
    Value,
    Words,
)
from reconciler.model.registry import AgentState, Record
from reconciler.query.facts import Facts, facts_of, rank
from reconciler.query.patterns import Wild, like_parts
from reconciler.query.tokens import Place


def matches(where: Expression, facts: Facts) -> bool:  # noqa: PLR0911 - one for each kind of expression
    """Whether a record with these facts meets an expression."""
    match where:
        case Compare(path, comparator, value):
            return any(_stands(found, comparator, value) for found in facts.values.get(path, ()))
        case OneOf(path, values):
            return any(_equal(found, value) for found in facts.values.get(path, ()) for value in values)
        case Like(path, pattern):
            form = like_regex(pattern)
            return any(isinstance(found, str) and form.fullmatch(found) for found in facts.values.get(path, ()))
        case Contains(path, value):
            return any(_contains(found, value) for found in facts.values.get(path, ()))
        case Exists(path):
            return path in facts.values or any(known.startswith(f"{path}.") for known in facts.values)
        case Words(words, prefixes):
            return facts.words.issuperset(words) and all(
                any(word.startswith(prefix) for word in facts.words) for prefix in prefixes
            )
        case And(parts):
            return all(matches(part, facts) for part in parts)
        case Or(parts):
            return any(matches(part, facts) for part in parts)
        case Not(part):
            return not matches(part, facts)
        case _:
            assert_never(where)


def _same_type(one: Value, other: Value) -> bool:
    return rank(one)[0] == rank(other)[0]


def _equal(found: Value, value: Value) -> bool:
    return _same_type(found, value) and found == value


def _contains(found: Value, value: Value) -> bool:
    if isinstance(value, str):
        return isinstance(found, str) and value in found
    return _equal(found, value)


def _stands(found: Value, comparator: Comparator, value: Value) -> bool:
    if not _same_type(found, value):
        return False
    one, other = rank(found), rank(value)
    match comparator:
        case Comparator.EQUAL:
            return one == other
        case Comparator.LESS:
            return one < other
        case Comparator.LESS_OR_EQUAL:
            return one <= other
        case Comparator.GREATER:
            return one > other
        case Comparator.GREATER_OR_EQUAL:
            return one >= other


@lru_cache(maxsize=256)
def like_regex(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern of `like`. It takes each piece at its first place, and never looks back."""
    pieces = [""]
    for part in like_parts(pattern):
        if part is Wild.ANY_TEXT:
            pieces.append("")
        else:
            pieces[-1] += "." if part is Wild.ONE_CHARACTER else re.escape(part)
    first, *rest = pieces
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    return re.compile(first + "".join(f"(?>.*?{piece})" for piece in middle if piece) + ".*" + last, re.DOTALL)


def place(order: Iterable[Order], facts: Facts, record: Record) -> Place:
    """Where a record stands in an order."""
    keys = []
    for one in order:
        value = facts.values.get(one.path, (None,))[0]
        keys.append(value[:ORDER_CHARACTERS] if isinstance(value, str) else value)
    return Place(tuple(keys), record.name.namespace, record.name.name)


def find(records: Iterable[Record], query: Query, *, after: Place | None = None) -> list[Record]:
    """All live records of an answer, in order, from behind a place on."""
    found: list[tuple[Place, Record]] = []
    for record in records:
        if record.state is not AgentState.GONE:
            facts = facts_of(record)
            if matches(query.where, facts):
                found.append((place(query.order, facts, record), record))
    found.sort(key=lambda item: (item[0].namespace, item[0].name))
    for number in reversed(range(len(query.order))):
        found.sort(key=partial(_rank_of, number), reverse=query.order[number].descending)
    return [record for where, record in found if after is None or _behind(query.order, where, after)]


def _rank_of(number: int, item: tuple[Place, Record]) -> tuple[int, Value]:
    return rank(item[0].keys[number])


def _behind(order: Iterable[Order], one: Place, other: Place) -> bool:
    for by, mine, its in zip(order, one.keys, other.keys, strict=True):
        if rank(mine) != rank(its):
            return (rank(mine) > rank(its)) is not by.descending
    return (one.namespace, one.name) > (other.namespace, other.name)


def count(records: Iterable[Record], query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
    """How many live records a query answers, by their values at a path."""
    counts: Counter[tuple[int, Value]] = Counter()
    values: dict[tuple[int, Value], Value | None] = {}
    for record in records:
        facts: Facts = facts_of(record)
        if record.state is AgentState.GONE or not matches(query.where, facts):
            continue
        for value in facts.values.get(by, (None,)) if by else (None,):
            counts[rank(value)] += 1
            values[rank(value)] = value
    if not by:
        return (GroupCount(value=None, count=counts.total()),)
    return tuple(GroupCount(value=values[key], count=counts[key]) for key in sorted(counts))
