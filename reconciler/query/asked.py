"""A question as it is asked from outside, by options or by parameters, and the one query that comes out of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.model.errors import UsageError
from reconciler.model.query import EVERYTHING, And, Comparator, Compare, Expression, Or, Query
from reconciler.query.checking import read_order, read_query
from reconciler.query.selectors import Requirement, selecting


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of one question. `limit` 0: all of the answer."""

    where: str = ""
    order_by: str = ""
    limit: int = 0
    after: str = ""
    count_by: str = ""
    explain: bool = False

    @property
    def anything(self) -> bool:
        """Whether more was asked than a listing shows anyway."""
        return self != Asked()


def query_of(
    asked: Asked, *, namespace: str, names: Iterable[str], selector: Iterable[Requirement], now_ms: int
) -> Query:
    """All that was asked as one query. Raises UsageError."""
    read = read_query(asked.where, now_ms=now_ms)
    if read.order and asked.order_by:
        raise UsageError("the order is said twice", hint="give either `order by` within --where, or --order-by")
    order = read_order(asked.order_by) if asked.order_by else read.order
    parts: list[Expression] = []
    if namespace:
        parts.append(Compare("namespace", Comparator.EQUAL, namespace))
    wanted = tuple(named(name) for name in sorted(set(names)))
    if wanted:
        parts.append(Or(wanted))
    parts.extend(selecting(selector).parts)
    if read.where != EVERYTHING:
        parts.append(read.where)
    return Query(parts[0] if len(parts) == 1 else And(tuple(parts)), order)


def named(text: str) -> Expression:
    """The agents of a name, with its namespace or without."""
    namespace, slash, name = text.partition("/")
    if not slash:
        return Compare("name", Comparator.EQUAL, text)
    return And((Compare("namespace", Comparator.EQUAL, namespace), Compare("name", Comparator.EQUAL, name)))
