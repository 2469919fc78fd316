"""How many records meet a query, in all or by what they have at a path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.adapters.sqlite import bounds, compiling
from reconciler.adapters.sqlite.compiling import Sql
from reconciler.adapters.sqlite.projection import COLUMNS, FLAG_COLUMNS, NO_NUMBER, NO_TEXT, path_range
from reconciler.adapters.sqlite.searching import Search, conjuncts, from_driver
from reconciler.model.query import EVERYTHING, And, GroupCount, Value


class Count(Search):
    """Counts of one query on one connection, inside a read transaction."""

    def counts(self, by: str) -> tuple[GroupCount, ...]:
        """How many records meet the query, in all or by their values at a path."""
        matching = self._matching()
        if not by:
            ((number,),) = self.run(Sql("SELECT count(*) ") + matching)
            return (GroupCount(value=None, count=number),)
        if by in COLUMNS:
            column = f"s.{COLUMNS[by]}"
            rows = self.run(Sql(f"SELECT {column}, count(*) ") + matching + f" GROUP BY {column} ORDER BY {column}")
            return tuple(GroupCount(value=_column_value(by, value), count=number) for value, number in rows)
        return self._counts_of_facts(by, matching)

    def _matching(self) -> Sql:
        parts = conjuncts(self.query.where)
        drivers = [self.driver(part) for part in parts]
        found = {number: driver for number, driver in enumerate(drivers) if driver is not None}
        if not found:
            return Sql("FROM search s WHERE ") + compiling.condition(self.query.where, self)
        number = min(found, key=lambda at: found[at].count)
        covered: Sequence[int] = (number,) if found[number].exact else ()
        driver = found[number]
        if driver.count > bounds.FEW:
            covered, driver = self.shortest(found)
        rest = [part for at, part in enumerate(parts) if at not in covered]
        return from_driver(driver) + compiling.condition(And(tuple(rest)), self)

    def _counts_of_facts(self, by: str, matching: Sql) -> tuple[GroupCount, ...]:
        numbers = self.paths(by)
        first, last = path_range(numbers[0]) if numbers else (0, -1)
        if self.query.where == EVERYTHING:
            return self._counts_of_all(numbers[0] if numbers else 0)
        met = Sql("WITH met AS MATERIALIZED (SELECT s.record ") + matching + ") "
        rows = self.run(
            met
            + Sql(
                "SELECT v.type, v.value, count(*) FROM met CROSS JOIN facts f ON f.record = met.record "
                "AND f.value BETWEEN ? AND ? JOIN vals v ON v.id = f.value GROUP BY v.id ORDER BY v.type, v.value",
                (first, last),
            )
        )
        ((missing,),) = self.run(
            met
            + Sql(
                "SELECT count(*) FROM met WHERE NOT EXISTS "
                "(SELECT 1 FROM facts f WHERE f.record = met.record AND f.value BETWEEN ? AND ?)",
                (first, last),
            )
        )
        return _groups(rows, missing)

    def _counts_of_all(self, path: int) -> tuple[GroupCount, ...]:
        """By value, in the order of the index of values."""
        rows = self.run(
            Sql(
                "SELECT v.type, v.value, count(*) FROM vals v CROSS JOIN facts f ON f.value = v.id "
                "WHERE v.path = ? GROUP BY v.type, v.value ORDER BY v.type, v.value",
                (path,),
            )
        )
        return _groups(rows, self.missing(path))


def _groups(rows: Iterable[tuple[int, Value, int]], missing: int) -> tuple[GroupCount, ...]:
    groups = [GroupCount(value=None, count=missing)] if missing else []
    groups += [GroupCount(value=bool(v) if kind == 1 else v, count=number) for kind, v, number in rows]
    return tuple(groups)


def _column_value(path: str, value: Value) -> Value | None:
    if path in FLAG_COLUMNS:
        return bool(value)
    return None if value in (NO_TEXT, NO_NUMBER) else value
