"""How a query is answered: what is gone through, and in which order; then the statement, run in a read transaction.

Two ways. **drive**: the records that meet one condition are looked up, held against the others, and sorted. **walk**:
the order has an index, which is followed until the page is full. What few meet drives at once, and what few meet of
several conditions whose lists can be gone through side by side. Otherwise the walk is tried, with as much patience as
driving would cost, and where it finds too little what fewest meet drives after all. An order by a path that
is no column is walked too: through the values that stand there, one after another, and the agents of each by name.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from reconciler.adapters.sqlite import bounds, compiling
from reconciler.adapters.sqlite.compiling import Sql, ValueAtom
from reconciler.adapters.sqlite.projection import COLUMNS
from reconciler.model.query import (
    EVERYTHING,
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
    Query,
    QueryPlan,
    Value,
    Words,
)
from reconciler.query.facts import rank
from reconciler.query.tokens import Place

_INDEXES = {
    "state": "search_by_state", "replicas": "search_by_replicas", "revision": "search_by_revision",
    "created": "search_by_created", "updated": "search_by_updated", "lastSeen": "search_by_last_seen",
    "name": "search_by_name", "namespace": "search_by_namespace",
}  # fmt: skip
_ENTERED = {*_INDEXES, "id", "commit"}
"""Columns with an index that a comparison can enter."""
_USED = re.compile(r"USING (?:COVERING )?INDEX (\w+)")


@dataclass(frozen=True, slots=True)
class Driver:
    """Records that meet a condition, or more of them where not `exact`; each once where `unique`, and by number where
    `in_order`. `count`: how many, at most bounds.FEW + 1.
    """

    sql: Sql
    count: int
    exact: bool = True
    unique: bool = False
    in_order: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """A statement that answers, and how."""

    sql: Sql
    notes: tuple[str, ...]
    steps: int | None = None
    """That it may take; None: all that it needs."""
    before: Sql | None = None
    """What was looked up for it, once."""
    groups: bool = False
    """Its order is a path's: rows come by its values, and the statement answers only where those are too many."""


class Search:
    """One query on one connection, inside a read transaction: what is looked up here must still hold for the answer."""

    def __init__(self, connection: sqlite3.Connection, query: Query, after: Place | None = None) -> None:
        self._connection, self.query, self._after = connection, query, after
        self._named: dict[int, Sequence[int] | None] = {}
        self._counted: dict[Sql, tuple[int, int]] = {}
        self._notes: list[str] = []
        self._slow = 0
        self.last = Sql("")

    # What compiling asks.

    def paths(self, path: str, *, below: bool = False) -> Sequence[int]:
        text, values = "SELECT id FROM paths WHERE path = ?", [path]
        if below:
            text += " OR (path >= ? AND path < ?)"
            values += [f"{path}.", f"{path}/"]
        return [number for (number,) in self._connection.execute(text, values)]

    def values(self, atom: ValueAtom, path: int) -> Sequence[int] | None:
        if id(atom) not in self._named:
            sql = Sql("SELECT v.id FROM vals v WHERE v.path = ? AND ", (path,)) + compiling.value_condition(atom)
            rows = self.run(sql + f" LIMIT {bounds.NAMED_VALUES + 1}")
            self._named[id(atom)] = None if len(rows) > bounds.NAMED_VALUES else [number for (number,) in rows]
            self._note_scan(atom, path)
        return self._named[id(atom)]

    def _note_scan(self, atom: ValueAtom, path: int) -> None:
        inside = isinstance(atom, Contains) and isinstance(atom.value, str)
        if (inside or (isinstance(atom, Like) and not compiling.literal_prefix(atom.pattern))) and self.count(
            Sql("SELECT 1 FROM vals WHERE path = ?", (path,))
        ) > bounds.FEW:
            self._notes.append(f"looks at every text that stands at {atom.path}")

    def missing(self, path: int) -> int:
        """How many records have nothing at a path (by its id; 0 for one that none has)."""
        ((number,),) = self.run(
            Sql("SELECT (SELECT count(*) FROM search) - coalesce((SELECT records FROM paths WHERE id = ?), 0)", (path,))
        )
        return int(number)

    def run(self, sql: Sql) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.text, sql.values).fetchall()

    def count(self, sql: Sql, *, most: int | None = None) -> int:
        """Rows of a statement, as far as `most`, or bounds.FEW + 1; none is counted again that was counted so far."""
        bound = bounds.FEW + 1 if most is None else most
        far, known = self._counted.get(sql, (0, 0))
        if bound > far and known == far:
            ((known,),) = self.run(Sql("SELECT count(*) FROM (") + sql + Sql(" LIMIT ?)", (bound,)))
            self._counted[sql] = bound, known
        return min(int(known), bound)

    # Ways to go.

    def driver(self, where: Expression) -> Driver | None:
        """The records to look at for a condition; None where that is most of them, or nobody can say."""
        match where:
            case Not() | And(()) | Or(()):
                return None
            case And(parts):
                found = [driver for part in parts if (driver := self.driver(part)) is not None]
                best = min(found, key=lambda driver: driver.count, default=None)
                return best and replace(best, exact=False)
            case Or(parts):
                each = [self.driver(part) for part in parts]
                drivers = [driver for driver in each if driver is not None]
                if len(drivers) < len(each):
                    return None
                sql = compiling.union(driver.sql for driver in drivers)
                return Driver(sql, sum(one.count for one in drivers), exact=all(one.exact for one in drivers))
            case _:
                driving = self._driving(where)
                return driving and replace(driving, count=self.count(driving.sql))

    def _driving(self, atom: Expression) -> Driver | None:  # noqa: PLR0911 - one for each kind of condition
        match atom:
            case Words():
                text = compiling.match_text(atom)
                return Driver(Sql("SELECT rowid AS record FROM words WHERE words MATCH ?", (text,)), 0, unique=True)
            case Exists(path):
                if path in COLUMNS:
                    return None
                return Driver(Sql("SELECT f.record FROM facts f WHERE ") + compiling.within(path, self), 0)
            case Compare(path) | OneOf(path) | Like(path) | Contains(path) if path in COLUMNS:
                entered = path in _ENTERED and not isinstance(atom, Contains)
                if not entered or (isinstance(atom, Like) and not compiling.literal_prefix(atom.pattern)):
                    return None
                column = compiling.column_condition(atom)
                return Driver(Sql("SELECT s.record FROM search s WHERE ") + column, 0, unique=True)
            case Compare(path) | OneOf(path) | Like(path) | Contains(path):
                numbers = self.paths(path)
                ids = self.values(atom, numbers[0]) if numbers else ()
                if ids is None:
                    return Driver(compiling.driving_values(atom, numbers[0]), 0)
                if not ids:
                    return Driver(Sql("SELECT s.record FROM search s WHERE 0"), 0, unique=True)
                one = len(ids) == 1
                return Driver(compiling.driving(ids), 0, unique=one, in_order=one)
            case _:
                return None

    def choose(self, limit: int, *, impatient: bool = True) -> Chosen:
        """The statement that answers (namespace, name) in order, one more than `limit`."""
        parts = conjuncts(self.query.where)
        drivers = [self.driver(part) for part in parts]
        found = [(number, driver) for number, driver in enumerate(drivers) if driver is not None]
        index = self._index()
        number, best = min(found, key=lambda item: item[1].count, default=(0, None))
        entered = index == "search_by_namespace" and any(map(_is_namespace, parts))
        if best is not None and best.count <= bounds.FEW and not (entered and _is_namespace(parts[number])):
            return self._driven(parts, number, best, limit)
        if impatient and not entered and (met := self._met(parts, dict(found), limit)) is not None:
            return met
        if index and (impatient or not found or entered):
            chosen = self._chosen(f"FROM search s INDEXED BY {index} WHERE ", parts, limit)
            if entered or self.query.where == EVERYTHING:
                return chosen
            note = f"follows {index} until the page is full: no condition is met by fewer than {bounds.FEW} agents"
            return Chosen(chosen.sql, (*chosen.notes, note), steps=self._patience([one for _, one in found], limit))
        groups = impatient and len(self._orders()) == 1 and self._orders()[0].path not in COLUMNS
        if found:
            chosen, note = self._fewest(parts, dict(found), limit)
        else:
            chosen = self._chosen("FROM search s NOT INDEXED WHERE ", parts, limit)
            no_order = self.query.where == EVERYTHING
            note = "looks at every agent: " + ("the order has no index" if no_order else "no condition has an index")
        return Chosen(chosen.sql, (*chosen.notes, note), groups=groups)

    def _fewest(self, parts: Sequence[Expression], drivers: dict[int, Driver], limit: int) -> tuple[Chosen, str]:
        """A statement that goes through what meets the part that fewest meet, and others that are about as rare."""
        covered, driver = self.shortest(drivers)
        rest = [part for number, part in enumerate(parts) if number not in covered]
        chosen = self._chosen(from_driver(driver), rest, limit)
        if len(covered) < 2:
            return chosen, f"looks at all agents that meet one condition, more than {bounds.FEW}"
        return (
            chosen,
            f"goes through all agents that meet {len(covered)} conditions, each of which more than {bounds.FEW} meet",
        )

    def shortest(self, drivers: dict[int, Driver]) -> tuple[Sequence[int], Driver]:
        """The records to look at where no part is met by few, and which parts need not be looked at again for them."""
        number, least = self._rarest(drivers)
        if not drivers[number].exact:
            return (), drivers[number]
        beside = [at for at, driver in drivers.items() if at == number or self._goes_beside(driver, least)]
        if len(beside) < 2:
            return beside, drivers[number]
        lists = compiling.met_by_all((drivers[at].sql, drivers[at].in_order) for at in beside)
        # Without a limit the order would count for a whim.
        return beside, Driver(lists + " LIMIT -1", least, unique=True)

    def _rarest(self, drivers: dict[int, Driver]) -> tuple[int, int]:
        """The part that fewest meet, and how many do: none is counted much further than that."""
        bound = bounds.FEW
        while True:
            bound *= 4
            counts = {number: self.count(driver.sql, most=bound) for number, driver in drivers.items()}
            number = min(counts, key=counts.__getitem__)
            if counts[number] < bound:
                return number, counts[number]

    def _goes_beside(self, driver: Driver, least: int) -> bool:
        """Whether to go through what a condition meets costs less than to look up whether each of `least` meets it."""
        most = bounds.SIDE_BY_SIDE * least
        return driver.exact and driver.in_order and self.count(driver.sql, most=most + 1) <= most

    def _met(self, parts: Sequence[Expression], drivers: dict[int, Driver], limit: int) -> Chosen | None:
        """A statement that looks up what meets several conditions at once, where that is few; else None."""
        lists = {
            number: driver
            for number, driver in drivers.items()
            if driver.exact and (driver.in_order or self.count(driver.sql, most=bounds.SORTED + 1) <= bounds.SORTED)
        }
        if len(lists) < 2:
            return None
        before = compiling.met_by_all((driver.sql, driver.in_order) for driver in lists.values())
        before += Sql(" LIMIT ?", (bounds.FEW + 1,))
        found = [record for (record,) in self.run(before)]
        if len(found) > bounds.FEW:
            return None
        rest = [part for number, part in enumerate(parts) if number not in lists]
        chosen = self._chosen(from_driver(Driver(compiling.these(found), len(found), unique=True)), rest, limit)
        note = f"goes through all agents that meet {len(lists)} conditions, each of which more than {bounds.FEW} meet"
        return replace(chosen, notes=(*chosen.notes, note), before=before)

    def _patience(self, drivers: Sequence[Driver], limit: int) -> int | None:
        """Steps that a walk may take: as many as it would cost to look up what meets the rarest condition. None at all
        where so few meet it that it is likely to look at about as many agents before the page is full.
        """
        if not drivers:
            return None
        bound = max(1, min(bounds.PATIENCE // bounds.STEPS_EACH, bounds.SORTED + 1))
        least = min(self.count(one.sql, most=bound) for one in drivers)
        ((agents,),) = self.run(Sql("SELECT coalesce(max(record), 0) FROM search"))
        likely = (limit + 1) * agents // max(least, 1)
        return bounds.STEPS_EACH * least if least >= bound or 2 * likely <= least else 0

    def _driven(self, parts: Sequence[Expression], number: int, driver: Driver, limit: int) -> Chosen:
        """A statement that goes through what meets one part."""
        rest = [part for at, part in enumerate(parts) if at != number or not driver.exact]
        return self._chosen(from_driver(driver), rest, limit)

    def _chosen(self, source: Sql | str, parts: Sequence[Expression], limit: int) -> Chosen:
        orders = self._orders()
        name = (self._after.namespace, self._after.name) if self._after else ("", "")
        keys = compiling.keys(orders, self._places(), name, self)
        sql = Sql("SELECT s.namespace, s.name ") + source + compiling.condition(And(tuple(parts)), self)
        if self._after is not None:
            sql = sql + " AND " + compiling.behind(keys)
        for number, key in enumerate(keys):
            sql = sql + (", " if number else " ORDER BY ") + key.ordering()
        return Chosen(sql + Sql(" LIMIT ?", (limit + 1,)), tuple(dict.fromkeys(self._notes)))

    def _orders(self) -> Sequence[Order]:
        """What is left of the order when it says nothing that its end does not say."""
        orders = self.query.order
        return () if [(order.path, order.descending) for order in orders] == [("namespace", False)] else orders

    def _places(self) -> Sequence[Value | None] | None:
        return None if self._after is None or not self._orders() else self._after.keys

    def _index(self) -> str | None:
        """The index that has the order, if one has."""
        orders = self._orders()
        if not orders:
            return "search_by_namespace"
        if len(orders) > 1 or (orders[0].descending and orders[0].path in ("name", "namespace")):
            return None
        return _INDEXES.get(orders[0].path)

    # Answers.

    def names(self, limit: int) -> list[tuple[str, str]]:
        """Who is on the page, and one more when there is more."""
        chosen = self.choose(limit)
        rows = self._in_groups(limit) if chosen.groups else self._within_patience(chosen)
        return self._names(self.choose(limit, impatient=False).sql) if rows is None else rows

    def _in_groups(self, limit: int) -> list[tuple[str, str]] | None:
        """The rows, one value of the order's path after another; None where those are too many, or not the order."""
        order = self.query.order[0]
        if self._after is not None and _is_cut(self._after.keys[0]):
            return None
        path = next(iter(self.paths(order.path)), 0)
        found: list[tuple[str, str]] = []
        groups = self._values_in_order(path, order)
        for number, (value_id, value) in enumerate(groups):
            if number >= bounds.MAX_GROUPS or self._slow > bounds.SLOW_GROUPS or _is_cut(value):
                return None
            resumed = self._after is not None and number == 0 and rank(value) == rank(self._after.keys[0])
            found += self._group(path, value_id, limit + 1 - len(found), resumed=resumed)
            if len(found) > limit:
                break
        return found

    def _values_in_order(self, path: int, order: Order) -> list[tuple[int, Value | None]]:
        """Ids and values at a path, as far as they are looked at, from the place on; (0, None) stands for none."""
        start = self._after.keys[0] if self._after else None
        sql = Sql("SELECT id, type, value FROM vals WHERE path = ?", (path,))
        if start is not None:
            sql += Sql(f" AND (type, value) {'<=' if order.descending else '>='} (?, ?)", (rank(start)[0], start))
        down = " DESC" if order.descending else ""
        at_end = self._after is not None and start is None and order.descending
        rows = [] if at_end else self.run(sql + f" ORDER BY type{down}, value{down} LIMIT {bounds.MAX_GROUPS + 1}")
        values: list[tuple[int, Value | None]] = [(n, bool(v) if kind == 1 else v) for n, kind, v in rows]
        if not self.missing(path):
            return values
        if order.descending:
            return [*values, (0, None)]
        return values if start is not None else [(0, None), *values]

    def _group(self, path: int, value_id: int, limit: int, *, resumed: bool) -> list[tuple[str, str]]:
        """Records whose smallest value at a path is this one, by name; behind the place where `resumed`."""
        driven = from_driver(Driver(compiling.driving([value_id]), 0, unique=True))
        walk = Sql("FROM search s INDEXED BY search_by_namespace WHERE ")
        end = Sql(" AND ") + compiling.condition(self.query.where, self)
        if resumed and self._after is not None:
            end += Sql(" AND (s.namespace, s.name) > (?, ?)", (self._after.namespace, self._after.name))
        end += Sql(" ORDER BY s.namespace, s.name LIMIT ?", (limit,))
        start, smallest = Sql("SELECT s.namespace, s.name "), compiling.smallest(path, value_id)
        rows = None
        if not value_id or self.count(compiling.driving([value_id])) > bounds.FEW:
            self.last = start + walk + smallest + end
            rows = self._within_patience(Chosen(self.last, (), steps=bounds.PATIENCE if value_id else None))
            self._slow += rows is None
        if rows is None:
            self.last = start + driven + smallest + end
            rows = self._names(self.last)
        return rows

    def _names(self, sql: Sql) -> list[tuple[str, str]]:
        return self._connection.execute(sql.text, sql.values).fetchall()

    def _within_patience(self, chosen: Chosen) -> list[tuple[str, str]] | None:
        """The rows; None where a walk took too long that another way could spare."""
        if chosen.steps is None:
            return self._names(chosen.sql)
        if not chosen.steps:
            return None
        tick = min(bounds.TICK, chosen.steps)
        left = chosen.steps // tick

        def ticked() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        self._connection.set_progress_handler(ticked, tick)
        try:
            return self._names(chosen.sql)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return None
        finally:
            self._connection.set_progress_handler(None, 0)

    def plan(self, limit: int) -> QueryPlan:
        """How `names` goes, which is tried: only that says whether a walk ends in time."""
        chosen = self.choose(limit)
        if chosen.groups and self._in_groups(limit) is not None and self.last.text:
            note = f"goes through the values of {self.query.order[0].path} until the page is full"
            chosen = Chosen(self.last, () if self.query.where == EVERYTHING else (note,))
        elif self._within_patience(chosen) is None:
            chosen = self.choose(limit, impatient=False)
        indexes: dict[str, None] = {}
        statements = [chosen.sql] if chosen.before is None else [chosen.before, chosen.sql]
        details = [row[-1] for sql in statements for row in self.run(Sql(f"EXPLAIN QUERY PLAN {sql.text}", sql.values))]
        for detail in details:
            indexes |= dict.fromkeys(_USED.findall(detail))
            if "VIRTUAL TABLE INDEX" in detail and "json_each" not in detail:
                indexes["words (FTS5)"] = None
            elif detail.startswith("SEARCH f USING PRIMARY KEY"):
                indexes["facts (primary key)"] = None
        return QueryPlan(
            statement="; ".join(sql.text for sql in statements),
            indexes=tuple(indexes),
            scans=bool(chosen.notes),
            notes=chosen.notes,
        )


def from_driver(driver: Driver) -> Sql:
    """Rows of `search` for the records of a driver, each once. CROSS JOIN keeps SQLite from turning it around."""
    records = driver.sql if driver.unique else Sql("SELECT DISTINCT record FROM (") + driver.sql + ")"
    return Sql("FROM (") + records + ") d CROSS JOIN search s ON s.record = d.record WHERE "


def conjuncts(where: Expression) -> list[Expression]:
    """Conditions that must all hold, as far as they can be told apart."""
    if isinstance(where, And):
        return [one for part in where.parts for one in conjuncts(part)]
    return [where]


def _is_cut(value: Value | None) -> bool:
    """Whether other text may stand at the same place in an order as this: text that goes on, or may have been cut."""
    return isinstance(value, str) and len(value) >= ORDER_CHARACTERS


def _is_namespace(part: Expression) -> bool:
    """Whether an index by namespace is entered by this."""
    match part:
        case Compare("namespace", Comparator.EQUAL, _):
            return True
        case _:
            return False
