"""A query as AQL, and what the server makes of it. All values are bind parameters; so are paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from arango.database import Database, StandardDatabase

from reconciler.adapters.arango import documents, terms
from reconciler.adapters.arango.documents import RECORD
from reconciler.adapters.arango.schema import FIXED_ORDERS
from reconciler.adapters.arango.statements import one, run
from reconciler.model.query import (
    MAX_PAGE,
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
    Page,
    Query,
    QueryError,
    QueryPlan,
    Value,
    Words,
)
from reconciler.query import tokens
from reconciler.query.evaluator import place
from reconciler.query.facts import facts_of

_BY_NAME = ("ns_key", "name_key")
FEW = 1000
"""So many records may be read to answer: an order with an index is not gone by then."""
MOST_DRIVERS = 8
MOST_VALUES = 32


@dataclass(slots=True)
class _Statement:
    """Text that grows, and the values that it names."""

    values: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any) -> str:
        """A parameter for a value; the same one for an equal text."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"@{name}"

    def where(self, where: Expression) -> str:  # noqa: C901, PLR0911 - one for each kind of expression
        """An expression, in brackets where it needs them: true or false, never null."""
        match where:
            case Compare(path, Comparator.EQUAL, value):
                return self._has(path, value)
            case Compare(path, comparator, value):
                return self._some(path, self._range(comparator, value))
            case OneOf(path, values) if len(values) > MOST_VALUES:
                # As one condition: the server takes only so many that stand in one another, as those of a chain do.
                several = self.bind([terms.pair(path, value) for value in values])
                return f"LENGTH(d.pairs[* FILTER CURRENT IN {several}]) > 0"
            case OneOf(path, values):
                return "(" + " OR ".join([self._has(path, value) for value in values] or ["false"]) + ")"
            case Like(path, pattern):
                return self._some(path, f"REGEX_TEST(CURRENT, {self.bind(terms.like_regex(pattern))})")
            case Contains(path, value):
                return self._contains(path, value)
            case Exists(path):
                return f"{self.bind(path)} IN d.paths[*]"
            case Words(words, prefixes):
                found = [f"{self.bind(word)} IN d.words[*]" for word in words]
                starts = (f"STARTS_WITH(CURRENT, {self.bind(prefix)})" for prefix in prefixes)
                found += [f"LENGTH(d.words[* FILTER {starting}]) > 0" for starting in starts]
                return "(" + " AND ".join(found or ["true"]) + ")"
            case And(parts):
                return "(" + " AND ".join([self.where(part) for part in parts] or ["true"]) + ")"
            case Or(parts):
                return "(" + " OR ".join([self.where(part) for part in parts] or ["false"]) + ")"
            case Not(part):
                return f"NOT ({self.where(part)})"
            case _:
                assert_never(where)

    def _has(self, path: str, value: Value) -> str:
        return f"{self.bind(terms.pair(path, value))} IN d.pairs[*]"

    def _some(self, path: str, condition: str) -> str:
        return f"LENGTH(d.facts[{self.bind(path)}][* FILTER {condition}]) > 0"

    def _range(self, comparator: Comparator, value: Value) -> str:
        text = terms.term(value)
        kind = terms.kind_of(text)
        bound = self.bind(text)
        if comparator in (Comparator.LESS, Comparator.LESS_OR_EQUAL):
            return f"CURRENT >= {self.bind(kind)} AND CURRENT {comparator.value} {bound}"
        return f"CURRENT {comparator.value} {bound} AND CURRENT < {self.bind(terms.BEHIND[kind])}"

    def _contains(self, path: str, value: Value) -> str:
        if not isinstance(value, str):
            return self._has(path, value)
        inside = f"CURRENT >= {self.bind(terms.TEXT)} AND CURRENT < {self.bind(terms.BEHIND[terms.TEXT])}"
        if value:
            inside += f" AND CONTAINS(CURRENT, {self.bind(terms.spelled(value.encode()))})"
        return self._some(path, inside)

    def by(self, order: Order) -> str:
        """The attribute that an order goes by. Those with an index are written out, or it would not be used."""
        return f"d.order.{order.path}" if order.path in FIXED_ORDERS else f"d.order[{self.bind(order.path)}]"

    def behind(self, orders: Sequence[Order], after: tokens.Place) -> str:
        """Whether a document comes behind a place."""
        keys = [(self.by(by), by.descending, terms.order_term(key)) for by, key in zip(orders, after.keys, strict=True)]
        names = zip(_BY_NAME, terms.name_terms(after.namespace, after.name), strict=True)
        keys += [(f"d.{attribute}", False, text) for attribute, text in names]
        told = "false"
        for attribute, descending, text in reversed(keys):
            value = self.bind(text)
            told = f"({attribute} {'<' if descending else '>'} {value} OR ({attribute} == {value} AND {told}))"
        return told


@dataclass(frozen=True, slots=True)
class _Driver:
    """A condition that every answer meets and that an index serves: one of `values` stands in the list `attribute`."""

    index: str
    attribute: str
    values: tuple[str, ...]

    def met(self, statement: _Statement) -> str:
        """The condition as AQL."""
        return "(" + " OR ".join(f"{statement.bind(value)} IN d.{self.attribute}[*]" for value in self.values) + ")"


def _drivers(where: Expression) -> list[_Driver]:  # noqa: PLR0911 - one for each kind of expression
    match where:
        case And(parts):
            return [driver for part in parts for driver in _drivers(part)]
        case Compare(path, Comparator.EQUAL, value):
            return [_Driver("by_pair", "pairs", (terms.pair(path, value),))]
        case Contains(path, value) if not isinstance(value, str):
            return [_Driver("by_pair", "pairs", (terms.pair(path, value),))]
        case OneOf(path, values) if 0 < len(values) <= MOST_VALUES:
            return [_Driver("by_pair", "pairs", tuple(terms.pair(path, value) for value in values))]
        case Exists(path):
            return [_Driver("by_path", "paths", (path,))]
        case Words(words, _):
            return [_Driver("by_word", "words", (word,)) for word in words]
        case _:
            return []


@dataclass(frozen=True, slots=True)
class _Access:
    """How a statement gets at records: by a condition that few meet, or else in an order that has an index."""

    driver: _Driver | None = None
    index: str = ""

    def loop(self, statement: _Statement) -> str:
        hint = self.driver.index if self.driver else self.index
        first = f" FILTER {self.driver.met(statement)}" if self.driver else ""
        options = f' OPTIONS {{indexHint: "{hint}"}}' if hint else ""
        return f"FOR d IN agents{options}{first} FILTER d.live == true"


def _access(db: Database, query: Query) -> _Access:
    """The condition that the fewest records meet, if they are few; counted no further than that."""
    drivers = _drivers(query.where)[:MOST_DRIVERS]
    if drivers:
        statement = _Statement()
        few = statement.bind(FEW)
        counts = [
            f'LENGTH(FOR d IN agents OPTIONS {{indexHint: "{driver.index}"}} '
            f"FILTER {driver.met(statement)} LIMIT {few} RETURN 1)"
            for driver in drivers
        ]
        numbers = one(db, f"RETURN [{', '.join(counts)}]", **statement.values)
        least = min(range(len(drivers)), key=numbers.__getitem__)
        if numbers[least] < FEW:
            return _Access(driver=drivers[least])
    return _Access(index=_order_index(query.order))


def _order_index(order: Sequence[Order]) -> str:
    match order:
        case ():
            return "by_name"
        case (Order(path, False),) if path in FIXED_ORDERS:
            return f"by_{path}"
        case _:
            return ""


def _found(statement: _Statement, access: _Access, query: Query, limit: int, after: tokens.Place | None) -> str:
    found = access.loop(statement)
    if query.where != And():
        found += f" FILTER {statement.where(query.where)}"
    if after is not None:
        found += f" FILTER {statement.behind(query.order, after)}"
    sort = [f"{statement.by(order)}{' DESC' if order.descending else ''}" for order in query.order]
    sort = ["d.live", *sort, *(f"d.{attribute}" for attribute in _BY_NAME)]
    return f"{found} SORT {', '.join(sort)} LIMIT {statement.bind(limit)}"


def check_limit(limit: int) -> None:
    """Raises QueryError for a page of no size, or one that is too large."""
    if not 1 <= limit <= MAX_PAGE:
        raise QueryError(f"a page has 1 to {MAX_PAGE} agents, not {limit}")


def find(db: Database, query: Query, limit: int, after: tokens.Place | None) -> Page:
    """A page of an answer, and the change sequence at which it was read: one statement sees one moment."""
    statement = _Statement()
    found = _found(statement, _access(db, query), query, limit + 1, after)
    head = 'FIRST(FOR c IN counters FILTER c._key == "head" RETURN c.seq)'
    answer = one(db, f"RETURN {{seq: {head}, rows: ({found} RETURN {RECORD})}}", **statement.values)
    records = tuple(documents.record_of(row) for row in answer["rows"][:limit])
    follows = ""
    if len(answer["rows"]) > limit:
        follows = tokens.written(place(query.order, facts_of(records[-1]), records[-1]), query)
    return Page(records=records, next=follows, seq=answer["seq"])


def count(db: Database, query: Query, by: str) -> tuple[GroupCount, ...]:
    """How many records a query answers, by their values at a path."""
    statement = _Statement()
    access = replace(_access(db, Query(query.where)), index="")
    filters = f"{access.loop(statement)} FILTER {statement.where(query.where)}"
    if not by:
        (number,) = run(db, f"{filters} COLLECT WITH COUNT INTO number RETURN number", **statement.values)
        return (GroupCount(value=None, count=number),)
    values = f"d.facts[{statement.bind(by)}]"
    rows = run(
        db,
        f"{filters} FOR found IN (LENGTH({values}) > 0 ? {values} : [null]) "
        "COLLECT term = found WITH COUNT INTO number SORT term RETURN {term: term, number: number}",
        **statement.values,
    )
    return tuple(
        GroupCount(value=None if row["term"] is None else terms.value_of(row["term"]), count=row["number"])
        for row in rows
    )


def explain(db: StandardDatabase, query: Query, limit: int, after: tokens.Place | None) -> QueryPlan:
    """How the server would answer now."""
    statement = _Statement()
    access = _access(db, query)
    text = f"{_found(statement, access, query, limit + 1, after)} RETURN d"
    plan: Any = db.aql.explain(text, bind_vars=statement.values)
    nodes = plan["nodes"]
    used = [index["name"] for node in nodes if node["type"] == "IndexNode" for index in node["indexes"]]
    narrow = access.driver is not None and access.driver.index in used
    ordered = access.index in used and not any(node["type"] == "SortNode" for node in nodes)
    notes = []
    if not narrow and query.where != And():
        notes.append(f"no equality, `exists` or word that every answer must meet is met by fewer than {FEW} agents")
    if not narrow and not ordered:
        notes.append(f"only orders by name and, ascending, by {', '.join(FIXED_ORDERS)} have an index")
    return QueryPlan(statement=text, indexes=tuple(dict.fromkeys(used)), scans=bool(notes), notes=tuple(notes))
