"""Questions to the registry: what a query asks (checked already), and what a registry answers. Values only.

A record is asked about by its **facts**: for each path, such as `labels.team` or `spec.resources.limits.memory`, the
values that stand there, several below a list. A comparison holds where one of them meets it; what is not there meets
none. Nothing is unknown: `Not` of what does not hold holds. reconciler/query says what the facts of a record are, and
decides what a query answers; every registry answers as it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.errors import UsageError
from reconciler.model.registry import Record

Value = str | bool | float
"""What a fact is, and what it is compared to. Values of two types are never equal and never ordered; where types meet
in an order, false < true < numbers < text. Python finds that True equals 1.0: tell values apart with their type.

A number is a JSON double: whole numbers beyond 2**53 are the nearest of those, in records and queries alike. Text is
ordered by its UTF-8 bytes, which is the order of its code points, and holds neither NUL nor a lone surrogate."""


class Comparator(StrEnum):
    EQUAL = "="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Compare:
    """Some value at `path` is of the type of `value` and stands so to it."""

    path: str
    comparator: Comparator
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """Some value at `path` equals one of `values`."""

    path: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """Some text at `path` is, as a whole and in its case, of the form of `pattern`.

    In it `%` stands for any text, `_` for one character (code point), and a backslash takes the next character as it
    is; the pattern does not end in a lone one.
    """

    path: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Contains:
    """Some text at `path` has `value` inside, or some number or bool there equals it."""

    path: str
    value: Value


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value at `path` or below it."""

    path: str


@dataclass(frozen=True, slots=True)
class Words:
    """All of `words` (tokens, as reconciler/query/words.py makes them) are among the record's, and one of the record's
    begins with each of `prefixes`.
    """

    words: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class And:
    """All of `parts`: everything, where there are none."""

    parts: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """One of `parts`: nothing, where there are none."""

    parts: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    part: Expression


Atom = Compare | OneOf | Like | Contains | Exists | Words
Expression = Atom | And | Or | Not
EVERYTHING = And()


@dataclass(frozen=True, slots=True)
class Order:
    """By the smallest value at `path`, of whatever type; records without one come first, or last when descending."""

    path: str
    descending: bool = False


ORDER_CHARACTERS = 256
"""Text is ordered by so many of its first characters: what orders must fit into a page's token."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which live records, in which order. Equal ones follow namespace and name, ascending, whatever the order is."""

    where: Expression = EVERYTHING
    order: tuple[Order, ...] = ()
    now_ms: int = 0
    """The moment that times in it were counted from, as `ago(2h)` is; 0 where none was."""


MAX_PAGE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of an answer, as the registry was at change sequence `seq`.

    `next` asks for what follows, "" at the end. It names a place in the order and not a number of records, so a record
    that stays in the answer and keeps its place is neither skipped nor told twice, whatever is written between.
    """

    records: tuple[Record, ...]
    next: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCount:
    """How many records have `value` at the path that was counted by; None: have nothing there.

    A record with several values counts once in the group of each.
    """

    value: Value | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """How a registry would answer: the statement (values stand apart from it), the indexes that it goes by.

    `scans`: the work grows with the number of all records, not with that of the answer. `notes` say why, for people.
    """

    statement: str
    indexes: tuple[str, ...]
    scans: bool
    notes: tuple[str, ...] = ()


class QueryError(UsageError):
    """A query that cannot be meant. `start` and `length` say where in `text` (characters); `hint` what to do.

    The message shows the line with the place marked below.
    """

    def __init__(self, problem: str, *, text: str = "", start: int = 0, length: int = 1, hint: str = "") -> None:
        self.problem, self.text, self.start, self.length = problem, text, start, max(1, length)
        super().__init__(problem + _marked(text, start, max(1, length)), hint=hint)


_SHOWN = 100
"""Characters of a query that a message shows, around the place."""


def _marked(text: str, start: int, length: int) -> str:
    if not text:
        return ""
    first = max(0, start - _SHOWN // 2) if len(text) > _SHOWN else 0
    shown = "".join(c if c.isprintable() else " " for c in text[first : first + _SHOWN])
    at = start - first
    before, after = "..." if first else "", "..." if first + _SHOWN < len(text) else ""
    carets = "^" * max(1, min(length, len(shown) - at))
    return f"\n  {before}{shown}{after}\n  {' ' * (len(before) + at)}{carets}"
