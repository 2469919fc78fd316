"""Functions of AQL on numbers and times."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from tests.doubles.arango.aql.context import Context
from tests.doubles.arango.aql.table import FUNCTIONS, expects_array, spoken
from tests.doubles.arango.values import (
    Value,
    key,
    number,
    to_number,
)


def _numbers(values: Value) -> list[int | float]:
    return [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]


@spoken(1, 1)
def aql_min(context: Context, values: Value) -> Value:
    if not expects_array(context, "MIN", values):
        return None
    found = [one for one in values if one is not None]
    return min(found, key=key) if found else None


@spoken(1, 1)
def aql_max(context: Context, values: Value) -> Value:
    if not expects_array(context, "MAX", values):
        return None
    return max(values, key=key) if values else None


@spoken(1, 1)
def aql_sum(context: Context, values: Value) -> Value:
    if not expects_array(context, "SUM", values):
        return None
    found = [one for one in values if one is not None]
    if len(_numbers(found)) != len(found):
        return None
    return number(sum(found))


@spoken(1, 1, "AVERAGE", "AVG")
def average(context: Context, values: Value) -> Value:
    total, found = aql_sum(context, values), [one for one in values or [] if one is not None]
    return None if total is None or not found else number(total / len(found))


@spoken(1, 1)
def product(_context: Context, values: Value) -> Value:
    return number(math.prod(_numbers(values))) if isinstance(values, list) else None


for _name, _round in {"FLOOR": math.floor, "CEIL": math.ceil, "ABS": abs}.items():
    FUNCTIONS[_name] = (1, 1, lambda _context, value, how=_round: number(how(to_number(value))))


@spoken(1, 1)
def aql_round(_context: Context, value: Value) -> Value:
    return number(math.floor(to_number(value) + 0.5))


@spoken(1, 1)
def sqrt(_context: Context, value: Value) -> Value:
    amount = to_number(value)
    return None if amount < 0 else number(math.sqrt(amount))


@spoken(2, 2)
def aql_pow(_context: Context, base: Value, exponent: Value) -> Value:
    return number(to_number(base) ** to_number(exponent))


@spoken(2, 3)
def aql_range(_context: Context, first: Value, last: Value, step: Value = None) -> Value:
    low, high = to_number(first), to_number(last)
    width = to_number(step) if step is not None else (1 if low <= high else -1)
    if width == 0 or (width > 0) != (low <= high):
        return [low] if low == high else None
    return [number(low + place * width) for place in range(int((high - low) / width) + 1)]


@spoken(0, 0)
def date_now(context: Context) -> Value:
    return context.now_ms


@spoken(1, 1)
def date_timestamp(context: Context, value: Value) -> Value:
    moment = _moment(context, value)
    return None if moment is None else round(moment.timestamp() * 1000)


@spoken(1, 1)
def date_iso8601(context: Context, value: Value) -> Value:
    moment = _moment(context, value)
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _moment(context: Context, value: Value) -> datetime | None:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000, UTC)
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError):
        context.warn(1572, "invalid date value")
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
