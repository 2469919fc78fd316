"""A question as it is asked from outside, by options or by parameters, and the one query that comes out of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.model.errors import UsageError
from reconciler.model.query import EVERYTHING, And, Comparator, Compare, Expression, OneOf, Or, Query
from reconciler.query import tokens
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
    # What follows a page is asked of the moment that the page was: `ago(...)` means the same on all of them.
    read = read_query(asked.where, now_ms=tokens.moment(asked.after) or now_ms)
    if read.order and asked.order_by:
        raise UsageError("the order is said twice", hint="give either `order by` within --where, or --order-by")
    order = read_order(asked.order_by) if asked.order_by else read.order
    parts: list[Expression] = []
    if namespace:
        parts.append(Compare("namespace", Comparator.EQUAL, namespace))
    wanted = _named(names)
    if wanted:
        parts.append(Or(wanted))
    parts.extend(selecting(selector).parts)
    if read.where != EVERYTHING:
        parts.append(read.where)
    return Query(parts[0] if len(parts) == 1 else And(tuple(parts)), order, read.now_ms)


def _named(names: Iterable[str]) -> tuple[Expression, ...]:
    """The agents of names, each with its namespace or without. As few conditions as can be: no registry takes any
    number of them, and a list of values may be long.
    """
    of: dict[str | None, list[str]] = {}
    for text in sorted(set(names)):
        namespace, slash, name = text.partition("/")
        of.setdefault(namespace if slash else None, []).append(name if slash else text)
    return tuple(_in_namespace(namespace, some) for namespace, some in of.items())


def named(text: str) -> Expression:
    """The agents of a name, with its namespace or without."""
    (one,) = _named((text,))
    return one


def _in_namespace(namespace: str | None, names: Sequence[str]) -> Expression:
    one = Compare("name", Comparator.EQUAL, names[0]) if len(names) == 1 else OneOf("name", tuple(names))
    return one if namespace is None else And((Compare("namespace", Comparator.EQUAL, namespace), one))
