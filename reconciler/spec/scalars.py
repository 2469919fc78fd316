"""YAML 1.2 core scalars: what a plain scalar means. Nothing here knows documents or positions.

Source: YAML 1.2.2, section 10.3.2 (core schema). Numbers that JSON cannot carry (.inf, .nan, integers beyond 64 bits)
are refused rather than rounded.
"""

from __future__ import annotations

import re

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+\Z", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+\Z", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", re.ASCII)
_NOT_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z", re.ASCII)
_FIRST = frozenset("0123456789+-.")
TELLING = _FIRST | {word[0] for word in (*_NULLS, *_BOOLS) if word}
"""What a plain scalar begins with that may be no text."""
MAX_NUMBER = 40
MAX_INTEGER = 2**63 - 1

Scalar = str | int | float | bool | None


def plain(text: str) -> Scalar:
    """The value of a plain (unquoted) scalar. Raises ValueError for a number that cannot be represented exactly."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] not in _FIRST:
        return text
    return _number(text)


def _number(text: str) -> str | int | float:
    if len(text) > MAX_NUMBER:
        if text.lstrip("+-").isdigit():
            raise ValueError(f"a number of {len(text)} digits is too long; quote it if it is text")
        return text
    if _INT.match(text):
        return _bounded(int(text), text)
    if _OCTAL.match(text):
        return _bounded(int(text, 0), text)
    if _HEX.match(text):
        return _bounded(int(text, 0), text)
    if _NOT_JSON.match(text):
        raise ValueError(f"{text} is not a number that can be kept; quote it if it is text")
    if _FLOAT.match(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"{text} is too large a number; quote it if it is text")
        return value
    return text


def _bounded(value: int, text: str) -> int:
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError(f"{text} does not fit into 64 bits; quote it if it is text")
    return value
