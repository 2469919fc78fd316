"""Queries to SQL: conditions, orders and places as fragments with their values apart. Nothing is run here.

Every value of a query is bound; what stands in a statement is made of constants of this module and of numbers that
we counted ourselves. Conditions are two-valued: no column of `search` is null, and the rest is EXISTS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from reconciler.adapters.sqlite.projection import (
    COLUMNS,
    FLAG_COLUMNS,
    NO_NUMBER,
    NO_TEXT,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    path_range,
)
from reconciler.model.query import (
    ORDER_CHARACTERS,
    And,
    Comparator,
    Compare,
    Contains,
    Exists,
    Expression,
    Like,
    Not,
    OneOf,
    Or,
    Order,
    Value,
    Words,
)
from reconciler.query.facts import rank
from reconciler.query.patterns import Wild, like_parts

ALWAYS_PRESENT = frozenset({"namespace", "name", "id", "state", "replicas", "revision", "suspended", "protect"})
ValueAtom = Compare | OneOf | Like | Contains


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of a statement, and the values of its question marks."""

    text: str
    values: tuple[Any, ...] = ()

    def __add__(self, other: Sql | str) -> Sql:
        if isinstance(other, str):
            return Sql(self.text + other, self.values)
        return Sql(self.text + other.text, self.values + other.values)


def joined(word: str, parts: Iterable[Sql], nothing: str) -> Sql:
    """Parts in parentheses, between them a word."""
    parts = list(parts)
    if not parts:
        return Sql(nothing)
    return Sql(
        "(" + f" {word} ".join(part.text for part in parts) + ")", tuple(v for part in parts for v in part.values)
    )


TRUE, FALSE = Sql("1"), Sql("0")


class Stored(Protocol):
    """What compiling asks about the file: it is small, and changes with the data."""

    def paths(self, path: str, *, below: bool = False) -> Sequence[int]:
        """The id of a path, and of those below it; none where no record has a value there."""

    def values(self, atom: ValueAtom, path: int) -> Sequence[int] | None:
        """Ids of the values at a path that meet an atom; None where they are too many to name."""


def condition(where: Expression, stored: Stored) -> Sql:  # noqa: PLR0911 - one for each kind of expression
    """An expression about the row `s` of `search`."""
    match where:
        case And(parts):
            return joined("AND", (condition(part, stored) for part in parts), "1")
        case Or(parts):
            return joined("OR", (condition(part, stored) for part in parts), "0")
        case Not(part):
            return Sql("NOT ") + condition(part, stored)
        case Words():
            return Sql("EXISTS (SELECT 1 FROM words WHERE words MATCH ? AND rowid = s.record)", (match_text(where),))
        case Exists(path):
            return _exists(path, stored)
        case Compare() | OneOf() | Like() | Contains():
            if where.path in COLUMNS:
                return column_condition(where)
            return _probe(where, stored)
        case _:
            assert_never(where)


def match_text(where: Words) -> str:
    """The FTS5 query of some words: each a string in quotes, of letters and digits only."""
    return " AND ".join([*(f'"{word}"' for word in where.words), *(f'"{prefix}" *' for prefix in where.prefixes)])


def _exists(path: str, stored: Stored) -> Sql:
    if path in COLUMNS:
        if path in ALWAYS_PRESENT:
            return TRUE
        missing = NO_TEXT if path in TEXT_COLUMNS else NO_NUMBER
        return Sql(f"s.{COLUMNS[path]} <> ?", (missing,))
    return Sql("EXISTS (SELECT 1 FROM facts f WHERE f.record = s.record AND ") + within(path, stored) + ")"


MAX_RANGES = 16


def within(path: str, stored: Stored) -> Sql:
    """Whether the value of row `f` of `facts` stands at a path or below it."""
    ranges = merged(path_range(number) for number in stored.paths(path, below=True))
    if len(ranges) <= MAX_RANGES:
        return joined("OR", (Sql("f.value BETWEEN ? AND ?", pair) for pair in ranges), "0")
    return Sql(
        "(f.value >> 32) IN (SELECT id FROM paths WHERE path = ? OR (path >= ? AND path < ?))",
        (path, f"{path}.", f"{path}/"),
    )


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, neighbours made one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and found[-1][1] + 1 >= first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def _probe(atom: ValueAtom, stored: Stored) -> Sql:
    """Whether one record has a fact that meets an atom."""
    numbers = stored.paths(atom.path)
    if not numbers:
        return FALSE
    ids = stored.values(atom, numbers[0])
    if ids is not None:
        if not ids:
            return FALSE
        return Sql("EXISTS (SELECT 1 FROM facts f WHERE f.record = s.record AND f.value ") + _among(ids) + ")"
    start = Sql(
        "EXISTS (SELECT 1 FROM facts f CROSS JOIN vals v ON v.id = f.value WHERE f.record = s.record "
        "AND f.value BETWEEN ? AND ? AND ",
        path_range(numbers[0]),
    )
    return start + value_condition(atom) + ")"


def _among(ids: Sequence[int]) -> Sql:
    return Sql("= ?", (ids[0],)) if len(ids) == 1 else Sql(f"IN ({', '.join('?' * len(ids))})", tuple(ids))


def driving(ids: Sequence[int]) -> Sql:
    """The records that have one of some values."""
    return Sql("SELECT record FROM facts WHERE value ") + _among(ids)


def driving_values(atom: ValueAtom, path: int) -> Sql:
    """The records that have a value that meets an atom, where those are many."""
    return (
        Sql("SELECT f.record FROM vals v CROSS JOIN facts f ON f.value = v.id WHERE v.path = ? AND ", (path,))
        + value_condition(atom)
    )  # fmt: skip


def value_condition(atom: ValueAtom) -> Sql:
    """An atom about the row `v` of `vals`, whose path is decided."""
    match atom:
        case Compare(_, comparator, value):
            return Sql(f"v.type = ? AND v.value {comparator.value} ?", (rank(value)[0], value))
        case OneOf(_, values):
            by_type: dict[int, list[Value]] = {}
            for one in values:
                by_type.setdefault(rank(one)[0], []).append(one)
            return joined(
                "OR",
                (Sql("(v.type = ? AND v.value ", (kind,)) + _bound(some) + ")" for kind, some in by_type.items()),
                "0",
            )
        case Like(_, pattern):
            return Sql("v.type = 3 AND ") + _like("v.value", pattern)
        case Contains(_, value) if isinstance(value, str):
            return Sql("v.type = 3 AND instr(v.value, ?) > 0", (value,))
        case Contains(_, value):
            return Sql("v.type = ? AND v.value = ?", (rank(value)[0], value))
        case _:
            assert_never(atom)


def column_condition(atom: ValueAtom) -> Sql:
    """An atom about a column of the row `s` of `search`."""
    column = f"s.{COLUMNS[atom.path]}"
    match atom:
        case Compare(path, comparator, value):
            return _compared(path, column, comparator, value)
        case OneOf(path, values):
            fitting = [value for value in values if _fits(path, value)]
            return Sql(f"{column} ") + _bound(fitting) if fitting else FALSE
        case Like(path, pattern) if path in TEXT_COLUMNS:
            return Sql(f"({column} <> '' AND ") + _like(column, pattern) + ")"
        case Contains(path, value) if isinstance(value, str) and path in TEXT_COLUMNS:
            return Sql(f"(instr({column}, ?) > 0 AND {column} <> '')", (value,))
        case Contains(path, value):
            return _compared(path, column, Comparator.EQUAL, value)
        case _:
            return FALSE


def _bound(values: Sequence[Value]) -> Sql:
    return Sql(f"IN ({', '.join('?' * len(values))})", tuple(values))


def _fits(path: str, value: Value) -> bool:
    """Whether a column can hold a value: of its type, and not the one that stands for none."""
    if isinstance(value, str):
        return path in TEXT_COLUMNS and value != NO_TEXT
    return path in (FLAG_COLUMNS if isinstance(value, bool) else NUMBER_COLUMNS)


def _compared(path: str, column: str, comparator: Comparator, value: Value) -> Sql:
    if value == NO_TEXT and path in TEXT_COLUMNS:
        return Sql(f"{column} <> ''") if comparator in (Comparator.GREATER, Comparator.GREATER_OR_EQUAL) else FALSE
    if not _fits(path, value):
        return FALSE
    compared = Sql(f"{column} {comparator.value} ?", (value,))
    if comparator in (Comparator.LESS, Comparator.LESS_OR_EQUAL) and path not in FLAG_COLUMNS:
        return Sql(f"({column} > ? AND ", (NO_TEXT if path in TEXT_COLUMNS else NO_NUMBER,)) + compared + ")"
    return compared


def _like(column: str, pattern: str) -> Sql:
    """GLOB, and the range in which all of what it meets lies: an index can be entered by that."""
    found = Sql(f"{column} GLOB ?", (glob(pattern),))
    prefix = literal_prefix(pattern)
    if not prefix:
        return found
    found += Sql(f" AND {column} >= ?", (prefix,))
    last = ord(prefix[-1])
    if last < 0x10FFFF:
        found += Sql(f" AND {column} < ?", (prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1),))
    return found


def literal_prefix(pattern: str) -> str:
    """What all text of the form of a pattern begins with."""
    found = ""
    for part in like_parts(pattern):
        if isinstance(part, Wild):
            break
        found += part
    return found


def glob(pattern: str) -> str:
    """A pattern of `like` as GLOB has it: that one knows case."""
    parts = []
    for part in like_parts(pattern):
        if isinstance(part, Wild):
            parts.append("*" if part is Wild.ANY_TEXT else "?")
        else:
            parts.append(f"[{part}]" if part in "*?[" else part)
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that is ordered by: an expression, and how the value of a place at it is written."""

    sql: Sql
    descending: bool
    place: Any

    def ordering(self) -> Sql:
        return self.sql + (" DESC" if self.descending else "")

    def behind(self) -> Sql:
        return self.sql + Sql(" < ?" if self.descending else " > ?", (self.place,))

    def level(self) -> Sql:
        return self.sql + Sql(" IS ?", (self.place,))


def keys(
    orders: Iterable[Order], places: Sequence[Value | None] | None, name: tuple[str, str], stored: Stored
) -> list[Key]:
    """What rows are ordered by, and the values there of a place (`places` None: of none). `name` closes it."""
    found: list[Key] = []
    for number, order in enumerate(orders):
        value = places[number] if places is not None else None
        found.extend(_keys(order, value, stored))
    found.append(Key(Sql("s.namespace"), descending=False, place=name[0]))
    found.append(Key(Sql("s.name"), descending=False, place=name[1]))
    return found


def _keys(order: Order, value: Value | None, stored: Stored) -> list[Key]:
    if order.path in COLUMNS:
        missing: Value = NO_TEXT if order.path in TEXT_COLUMNS else NO_NUMBER
        column = Sql(f"s.{COLUMNS[order.path]}")
        if order.path in ("message", "source"):
            column = Sql(f"substr(s.{COLUMNS[order.path]}, 1, {ORDER_CHARACTERS})")
        return [Key(column, order.descending, missing if value is None else value)]
    numbers = stored.paths(order.path)
    first, last = path_range(numbers[0]) if numbers else (0, -1)
    smallest = (
        "FROM facts f CROSS JOIN vals v ON v.id = f.value "
        "WHERE f.record = s.record AND f.value BETWEEN ? AND ? ORDER BY v.type, v.value LIMIT 1)"
    )
    cut = f"CASE v.type WHEN 3 THEN substr(v.value, 1, {ORDER_CHARACTERS}) ELSE v.value END"
    return [
        Key(Sql(f"coalesce((SELECT v.type {smallest}, 0)", (first, last)), order.descending, rank(value)[0]),
        Key(Sql(f"coalesce((SELECT {cut} {smallest}, 0)", (first, last)), order.descending,
            0 if value is None else value),
    ]  # fmt: skip


def behind(some: Sequence[Key]) -> Sql:
    """Rows that come behind a place. The first part of it is one that an index can be entered by."""
    first = some[0]
    entry = first.sql + Sql(" <= ?" if first.descending else " >= ?", (first.place,))
    exact = some[-1].behind()
    for key in reversed(some[:-1]):
        exact = Sql("(") + key.behind() + " OR (" + key.level() + " AND " + exact + "))"
    return Sql("(") + entry + " AND " + exact + ")"


def smallest(path: int, value: int) -> Sql:
    """Whether the smallest value of row `s` at a path is this one (by their ids; 0: it has none)."""
    if not value:
        return Sql("NOT EXISTS (SELECT 1 FROM facts f WHERE f.record = s.record AND f.value BETWEEN ? AND ?)",
                   path_range(path))  # fmt: skip
    return Sql(
        "EXISTS (SELECT 1 FROM facts f WHERE f.record = s.record AND f.value = ?) AND NOT EXISTS ("
        "SELECT 1 FROM facts f CROSS JOIN vals w ON w.id = f.value WHERE f.record = s.record "
        "AND f.value BETWEEN ? AND ? AND f.value <> ? "
        "AND (w.type, w.value) < (SELECT v.type, v.value FROM vals v WHERE v.id = ?))",
        (value, *path_range(path), value, value),
    )


def union(statements: Iterable[Sql]) -> Sql:
    """The rows of all statements."""
    first, *rest = (Sql("SELECT record FROM (") + statement + ")" for statement in statements)
    for one in rest:
        first = first + " UNION ALL " + one
    return first


def met_by_all(statements: Iterable[tuple[Sql, bool]]) -> Sql:
    """The records that are in all statements; with each whether it has them in order. Because an order is asked for,
    SQLite goes through those side by side, and sorts only the others. As a part of another statement it needs a limit.
    """
    first, *rest = (one if in_order else Sql("SELECT record FROM (") + one + ")" for one, in_order in statements)
    for one in rest:
        first = first + " INTERSECT " + one
    return first + " ORDER BY 1"


def these(records: Sequence[int]) -> Sql:
    """Records that were found before."""
    return Sql("SELECT value AS record FROM json_each(?)", (f"[{','.join(map(str, records))}]",))
