"""Looking into objects of which nothing is known: what is not of the shape asked for counts as not there.

May live here: total functions over JSON values. Must not: know what any field means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """The mapping at a path; {} where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def maps(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def text(value: Any) -> str:
    """A text; "" where it is none."""
    return value if isinstance(value, str) else ""


def texts(value: Any) -> list[str] | None:
    """A list of texts; None where something else stands there."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return list(value)
    return None


def whole(value: Any) -> int | None:
    """A whole number; None where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def strings(value: Any) -> dict[str, str]:
    """The entries of a mapping from text to text."""
    return {key: item for key, item in mapping(value).items() if isinstance(item, str)}


def has(value: Any, wanted: Any) -> bool:
    """Whether all of `wanted` stands in `value`; maps may hold more."""
    if isinstance(wanted, Mapping):
        return isinstance(value, Mapping) and all(has(value.get(key), item) for key, item in wanted.items())
    return bool(value == wanted)
