"""A query as a person would type it: what the parser must read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from reconciler.model.query import And, Compare, Contains, Exists, Expression, Like, Not, OneOf, Or, Query, Value, Words
from tests.query.strategies import DURATION_PATHS, PERCENT_PATHS, TIME_PATHS


def written(query: Query) -> str:
    """The text of a query."""
    where = "" if query.where == And() else expression(query.where)
    orders = ", ".join(f"{order.path} desc" if order.descending else order.path for order in query.order)
    return f"{where} order by {orders}" if orders else where


def expression(where: Expression) -> str:  # noqa: PLR0911 - one for each kind
    match where:
        case Compare(path, comparator, value):
            return f"{path} {comparator} {literal(path, value)}"
        case OneOf(path, values):
            return f"{path} in ({', '.join(literal(path, value) for value in values)})"
        case Like(path, pattern):
            return f"{path} like {quoted(pattern)}"
        case Contains(path, value):
            return f"{path} contains {literal(path, value)}"
        case Exists(path):
            return f"exists {path}"
        case Words(words, prefixes):
            return f"words '{' '.join((*words, *(prefix + '*' for prefix in prefixes)))}'"
        case And(parts):
            return "(" + " and ".join(map(expression, parts)) + ")"
        case Or(parts):
            return "(" + " or ".join(map(expression, parts)) + ")"
        case Not(part):
            return f"not ({expression(part)})"


def literal(path: str, value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case _ if path in TIME_PATHS:
            return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)).isoformat()
        case _ if path in DURATION_PATHS:
            return f"{int(value)}ms"
        case _ if path in PERCENT_PATHS:
            return f"{int(value)}%"
        case _:
            return repr(value)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
