"""The syntax tree of AQL, as frozen values. No meaning here: see compile.py and execute.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any


@dataclass(frozen=True, slots=True)
class Bind:
    """`@name`"""

    name: str


@dataclass(frozen=True, slots=True)
class BindCollection:
    """`@@name`; `name` is the key among the bind parameters, with its one `@`."""

    name: str


@dataclass(frozen=True, slots=True)
class Ref:
    """A variable, or a collection."""

    name: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """`target.name`; the name may be a bind parameter."""

    target: Expr
    name: str | Bind


@dataclass(frozen=True, slots=True)
class Subscript:
    """`target[index]`"""

    target: Expr
    index: Expr


@dataclass(frozen=True, slots=True)
class Expansion:
    """`target[* FILTER ... LIMIT ... RETURN ...]`, and what follows it for each member."""

    target: Expr
    levels: int
    filter: Expr | None
    limit: tuple[Expr, Expr] | None
    projection: Expr | None
    follows: Expr  # over Ref(CURRENT_MEMBER)


@dataclass(frozen=True, slots=True)
class Array:
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Object:
    items: tuple[tuple[str | Expr, Expr], ...]


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary:
    """Also IN, NOT IN, LIKE, NOT LIKE, `..`."""

    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Quantified:
    """`left ANY == right`"""

    quantifier: str
    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Ternary:
    condition: Expr
    yes: Expr | None
    no: Expr


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Subquery:
    query: Query


Expr = (
    Literal
    | Bind
    | BindCollection
    | Ref
    | Attribute
    | Subscript
    | Expansion
    | Array
    | Object
    | Unary
    | Binary
    | Quantified
    | Ternary
    | Call
    | Subquery
)


@dataclass(frozen=True, slots=True)
class For:
    variable: str
    source: Expr
    options: Object | None


@dataclass(frozen=True, slots=True)
class Filter:
    condition: Expr


@dataclass(frozen=True, slots=True)
class Let:
    variable: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Sort:
    criteria: tuple[tuple[Expr, Expr | bool], ...]  # expression and whether ascending


@dataclass(frozen=True, slots=True)
class Limit:
    offset: Expr
    count: Expr


@dataclass(frozen=True, slots=True)
class Collect:
    groups: tuple[tuple[str, Expr], ...]
    aggregates: tuple[tuple[str, Expr], ...]
    into: str | None
    projection: Expr | None
    keep: tuple[str, ...] | None
    count_into: str | None
    options: Object | None


@dataclass(frozen=True, slots=True)
class Return:
    value: Expr
    distinct: bool


@dataclass(frozen=True, slots=True)
class Modify:
    """INSERT, UPDATE, REPLACE, REMOVE. `document` is the document or its key; `patch` what UPDATE has after WITH."""

    kind: str
    document: Expr
    patch: Expr | None
    collection: Expr
    options: Object | None


@dataclass(frozen=True, slots=True)
class Upsert:
    search: Expr
    insert: Expr
    kind: str  # UPDATE or REPLACE
    patch: Expr
    collection: Expr
    options: Object | None


Clause = For | Filter | Let | Sort | Limit | Collect | Return | Modify | Upsert


@dataclass(frozen=True, slots=True)
class Query:
    clauses: tuple[Clause, ...]


CURRENT_MEMBER = "$member"  # the member that what follows `[*]` is applied to; no name that can be written
