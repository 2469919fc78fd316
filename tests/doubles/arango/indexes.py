"""Indexes as sorted lists: persistent (unique, sparse, over array members with `[*]`), ttl, edge. Real structures, so
that a query by an index costs what it should, and so that a query without one is seen to cost more.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from tests.doubles.arango.values import NULL_KEY, TOP, Key, Value, key


class Row:
    """One version of a document. `tick` orders rows by when they were written; `doc` is never changed in place."""

    __slots__ = ("doc", "key", "rev", "tick")

    def __init__(self, key: str, rev: str, tick: int, doc: dict[str, Value]) -> None:
        self.key = key
        self.rev = rev
        self.tick = tick
        self.doc = doc


Entry = tuple[Key, int, Row]  # no two have the same key and tick: rows are never compared
_FEW = 50  # so many times more entries than new ones: they are put in one by one


@dataclass(frozen=True, slots=True)
class FieldPath:
    """`a.b`, or `a[*].b` over the members of an array."""

    text: str
    before: tuple[str, ...]
    after: tuple[str, ...] = ()
    expands: bool = False

    @classmethod
    def parse(cls, text: str) -> FieldPath:
        head, star, tail = text.partition("[*]")
        before = tuple(head.split("."))
        if not star:
            return cls(text, before)
        return cls(text, before, tuple(tail.removeprefix(".").split(".")) if tail else (), expands=True)

    def keys(self, doc: Value) -> list[Key]:
        found = _dig(doc, self.before)
        if not self.expands:
            return [key(found)]
        if not isinstance(found, list):
            return [NULL_KEY]
        unique = {key(_dig(one, self.after)) for one in found}
        return sorted(unique) or [NULL_KEY]


def _dig(value: Value, path: tuple[str, ...]) -> Value:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


@dataclass(slots=True)
class Index:
    """What `/_api/index` shows in `definition`, and its entries in order."""

    id: int
    definition: dict[str, Any]
    fields: tuple[FieldPath, ...]
    unique: bool = False
    sparse: bool = False
    entries: list[Entry] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.definition["type"])

    @property
    def name(self) -> str:
        return str(self.definition["name"])

    def keys(self, doc: dict[str, Value]) -> list[Key]:
        if len(self.fields) == 1:
            found: list[Key] = [(one,) for one in self.fields[0].keys(doc)]
        else:
            found = [tuple(one) for one in product(*(path.keys(doc) for path in self.fields))]
        if self.sparse:
            return [one for one in found if NULL_KEY not in one]
        return found

    def load(self, rows: list[Row]) -> None:
        self.entries = sorted((one, row.tick, row) for row in rows for one in self.keys(row.doc))

    def add(self, rows: list[Row]) -> None:
        fresh = [(one, row.tick, row) for row in rows for one in self.keys(row.doc)]
        if len(fresh) > 1 + len(self.entries) // _FEW:
            self.entries += fresh
            self.entries.sort()
        else:
            for entry in fresh:
                insort(self.entries, entry)

    def remove(self, rows: list[Row]) -> None:
        if len(rows) > 1 + len(self.entries) // _FEW:
            gone = {row.tick for row in rows}
            self.entries = [entry for entry in self.entries if entry[1] not in gone]
            return
        for row in rows:
            for one in self.keys(row.doc):
                del self.entries[bisect_left(self.entries, (one, row.tick))]

    def span(self, low: Key, high: Key) -> tuple[int, int]:
        """Where entries with low <= key < high stand."""
        return bisect_left(self.entries, (low,)), bisect_left(self.entries, (high,))

    def exact(self, sought: Key) -> Iterator[Row]:
        """Rows whose key is `sought`, whole."""
        start, end = self.span(sought, (*sought, TOP))
        for place in range(start, end):
            yield self.entries[place][2]

    def selectivity(self) -> float:
        """The share of different keys, as the server estimates it; exact here."""
        if self.unique or not self.entries:
            return 1
        distinct = 1 + sum(one[0] != other[0] for one, other in zip(self.entries, self.entries[1:], strict=False))
        return distinct / len(self.entries)
