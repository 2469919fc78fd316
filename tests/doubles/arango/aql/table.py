"""The table of AQL's functions: name, least and most arguments, and what it does to values.

What is not in the table is not spoken. Functions get the query's context first, for warnings and for the time.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.doubles.arango.aql.context import Context
from tests.doubles.arango.values import Value

MANY = 1000
Function = Callable[..., Value]
FUNCTIONS: dict[str, tuple[int, int, Function]] = {}


def spoken(least: int, most: int, *names: str) -> Callable[[Function], Function]:
    """Put a function into the table, under `names` or under its own."""

    def add(function: Function) -> Function:
        for name in names or (function.__name__.upper().removeprefix("AQL_"),):
            FUNCTIONS[name] = (least, most, function)
        return function

    return add


def expects_array(context: Context, name: str, value: Value) -> bool:
    if isinstance(value, list):
        return True
    context.warn(1542, f"invalid argument type in call to function '{name}()'")
    return False
