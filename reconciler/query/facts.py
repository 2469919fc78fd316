"""What a record can be asked about: its facts by path, and its words. A total function of the record."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reconciler.model.query import Value
from reconciler.model.registry import Record
from reconciler.model.units import Duration, Quantity
from reconciler.query.paths import MAPS, MAX_PATH, SPEC, Kind, joined
from reconciler.query.words import words_of

VERSION = 1
"""Of what this module and `words` make of a record. Registries that keep it make it anew when this has grown."""

_PERCENT = re.compile(r"[0-9]{1,3}%\Z", re.ASCII)
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one record. `values`: by path, each once, smallest first; never empty. `words`: tokens of full text."""

    values: Mapping[str, tuple[Value, ...]]
    words: frozenset[str]


def facts_of(record: Record) -> Facts:
    """The facts of a record.

    Text that is empty, a time of 0 and null are no facts of the record itself; labels and specs keep empty text.
    """
    found: dict[str, list[Value]] = {}
    for path, value in _of_record(record):
        found.setdefault(path, []).append(value)
    _add_document(found, record.document)
    values = {path: tuple(some) if len(some) == 1 else _sorted(some) for path, some in found.items()}
    return Facts(values, words_of(record.document))


def _sorted(some: list[Value]) -> tuple[Value, ...]:
    return tuple(value for _, value in sorted({rank(value) for value in some}))


def rank(value: Value | None) -> tuple[int, Value]:
    """What values of any type are ordered by: nothing < false < true < numbers < text."""
    match value:
        case None:
            return (0, False)
        case bool():
            return (1, value)
        case str():
            return (3, value)
        case _:
            return (2, value)


def clean(text: str) -> str:
    """Text as facts have it: what no registry may be able to compare is replaced."""
    if text.isascii() and "\x00" not in text:
        return text
    return _NOT_TEXT.sub("\ufffd", text)


def number(value: float) -> float:
    """A number as facts have it: the nearest double, and one zero only."""
    try:
        return float(value) + 0.0
    except OverflowError:
        return math.copysign(sys.float_info.max, value)


def _of_record(record: Record) -> Iterator[tuple[str, Value]]:
    revision, commit = record.revision, record.commit
    if record.good is not None and record.good.spec_hash == record.spec_hash:
        revision, commit = record.good.number, record.good.commit
    replicas = sum(placed.replicas for placed in record.placement)
    yield from (("replicas", number(replicas)), ("revision", number(revision)))
    yield from (("suspended", record.suspended), ("protect", record.protect))
    texts = {
        "id": record.id, "namespace": record.name.namespace, "name": record.name.name, "state": record.state.value,
        "commit": commit, "source": record.source_path, "message": record.message, "home": record.home,
    }  # fmt: skip
    times = {"created": record.created_ms, "updated": record.updated_ms, "lastSeen": record.last_seen_ms}
    if record.quarantine is not None:
        texts["health.quarantine.reason"] = record.quarantine.reason
        times["health.quarantine.since"] = record.quarantine.since_ms
    if record.override is not None:
        override = record.override
        texts |= {"override.author": override.author, "override.reason": override.reason}
        times |= {"override.since": override.since_ms, "override.until": override.until_ms}
        yield "override.replicas", number(override.replicas)
    yield from ((path, clean(text)) for path, text in texts.items() if text)
    yield from ((path, number(ms)) for path, ms in times.items() if ms)
    yield from (("cluster", clean(placed.cluster)) for placed in record.placement if placed.replicas)
    yield from (("template", clean(name)) for name in record.lineage)
    yield from (("behind", clean(name)) for name in record.behind)
    yield from ((joined(("labels", clean(key))), clean(value)) for key, value in record.labels.items())


def _add_document(found: dict[str, list[Value]], document: Mapping[str, Any]) -> None:
    """Add the facts of a spec, as every write does. No recursion: documents may be as deep as they like."""
    stack: list[tuple[str, Kind | None, Any]] = [("spec", None, document)]
    while stack:
        path, inherited, value = stack.pop()
        if isinstance(value, str):
            text = _measured(clean(value), inherited or SPEC.get(path, Kind.ANY))
            found.setdefault(path, []).append(text)
        elif isinstance(value, dict) or value is document:
            inner = MAPS.get(path)
            for key, below in value.items():
                whole = f"{path}.{_key(key)}"
                if len(whole) <= MAX_PATH:
                    stack.append((whole, inner, below))
        elif isinstance(value, bool):
            found.setdefault(path, []).append(value)
        elif isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):  # JSON has no others
            found.setdefault(path, []).append(number(value))
        elif isinstance(value, list | tuple):
            stack.extend((path, inherited, item) for item in value)


@lru_cache(maxsize=4096)
def _key(key: str) -> str:
    return joined((clean(key),))


@lru_cache(maxsize=4096)
def _read(text: str, kind: Kind) -> float | None:
    try:
        if kind is Kind.QUANTITY:
            return number(float(Quantity.parse(text).value))
        return number(Duration.parse(text).ms)
    except (ValueError, OverflowError):
        return None


def _measured(text: str, kind: Kind) -> Value:
    """Text of a spec in the unit of its path. What does not read as that stays as it is."""
    if kind in (Kind.QUANTITY, Kind.DURATION):
        measured = _read(text, kind)
        return text if measured is None else measured
    if kind is Kind.PERCENT and _PERCENT.match(text):
        return number(int(text[:-1]))
    return text
