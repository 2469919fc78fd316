"""Values of AQL: JSON, its total order, truth, and conversions. Knows nothing of documents or queries.

Strings are ordered by an approximation of ICU's root collation: exact for ASCII, by base letter and then by accent for
the rest. It is there so that code that counts on the order of bytes is found out.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Value = Any  # JSON: None, bool, int, float, str, list, dict
Key = tuple[Any, ...]

TOP: Key = (9,)  # greater than the key of any value
NULL_KEY: Key = (0,)
_SAFE = 2**53
_I64 = 2**63


def number(value: float) -> int | float | None:
    """A result of arithmetic as the server would store and print it: 2.0 is 2, what is no number is null."""
    if isinstance(value, int):
        return value if -_I64 <= value < _I64 else float(value)
    if math.isnan(value) or math.isinf(value):
        return None
    return int(value) if value.is_integer() and abs(value) < _SAFE else value


def _constant(text: str) -> Value:
    raise ValueError(f"{text} is no JSON")


def loads(text: str | bytes) -> Value:
    """Parse JSON. Raises ValueError."""
    return json.loads(text, parse_float=lambda digits: number(float(digits)), parse_constant=_constant)


def dumps(value: Value) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# -- order -----------------------------------------------------------------------------------------------------------

_PUNCTUATION = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$"
_PRIMARY = {
    **{code: chr(code) for code in range(32)},
    ord(" "): "\x20",
    **{ord(mark): chr(0x21 + place) for place, mark in enumerate(_PUNCTUATION)},
    **{ord("0") + digit: chr(0x50 + digit) for digit in range(10)},
    **{ord("a") + letter: chr(0x60 + letter) for letter in range(26)},
    **{ord("A") + letter: chr(0x60 + letter) for letter in range(26)},
}
_TERTIARY = {ord("a") + letter: "0" for letter in range(26)} | {ord("A") + letter: "1" for letter in range(26)}


@lru_cache(maxsize=200_000)
def collation(text: str) -> Key:
    """The key by which a string is ordered; different strings have different keys."""
    if text.isascii():
        return (3, text.translate(_PRIMARY), "", text.translate(_TERTIARY), text)
    parts = unicodedata.normalize("NFD", text)
    base = "".join(char for char in parts if not unicodedata.combining(char))
    accents = "".join(char for char in parts if unicodedata.combining(char))
    return (3, base.casefold().translate(_PRIMARY), accents, base.translate(_TERTIARY), text)


class _Later(str):
    """A name of an attribute, ordered the other way round: who has the earlier name has more than null there."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


def key(value: Value) -> Key:
    """The place of a value in the order null < bool < number < string < array < object; the same for equal values."""
    if isinstance(value, str):
        return collation(value)
    if value is None:
        return NULL_KEY
    if isinstance(value, bool):
        return (1, value)
    if isinstance(value, int | float):
        return (2, value)
    if isinstance(value, dict):
        return (5, tuple((_Later(name), key(value[name])) for name in sorted(value) if value[name] is not None))
    return (4, tuple(key(one) for one in value))


_SIMPLE = (str, int, float)


def equal(left: Value, right: Value) -> bool:
    kind, other = type(left), type(right)
    if kind is other and kind is not list and kind is not dict:
        return bool(left == right)
    if kind in _SIMPLE and other in _SIMPLE:  # int and float; a string is neither
        return bool(left == right)
    if kind is other:
        return key(left) == key(right)
    return False


def less(left: Value, right: Value) -> bool:
    if type(left) in (int, float) and type(right) in (int, float):
        return bool(left < right)
    return key(left) < key(right)


def less_equal(left: Value, right: Value) -> bool:
    return not less(right, left)


def contains(values: Value, sought: Value) -> bool:
    return isinstance(values, list) and any(equal(sought, one) for one in values)


# -- conversions -----------------------------------------------------------------------------------------------------


def truth(value: Value) -> bool:
    if isinstance(value, list | dict):
        return True
    return bool(value)


def to_number(value: Value) -> int | float:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        try:
            found = number(float(value)) if value.strip() == value or value.strip() else 0
            whole = int(value) if value.strip().lstrip("+-").isdigit() else found
        except ValueError:
            return 0
        return whole if whole is not None else 0
    if isinstance(value, list) and len(value) == 1:
        return to_number(value[0])
    return 0


def to_string(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return dumps(value)


def kind_of(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def arithmetic(operator: str, left: Value, right: Value, warn: Callable[[int, str], None]) -> Value:  # noqa: PLR0911
    """`+ - * / %` as AQL does them: operands become numbers, a division by zero is null and a warning."""
    a, b = to_number(left), to_number(right)
    if operator in "/%" and b == 0:
        warn(1562, "division by zero")
        return None
    try:
        match operator:
            case "+":
                return number(a + b)
            case "-":
                return number(a - b)
            case "*":
                return number(a * b)
            case "/":
                return number(a / b)
            case _:
                return number(math.fmod(a, b) if isinstance(a, float) or isinstance(b, float) else _modulo(a, b))
    except OverflowError:
        return None


def _modulo(a: int, b: int) -> int:
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest
