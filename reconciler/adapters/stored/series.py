"""Points of many agents in one row: a row for each span of time and each of PARTS parts that agents are dealt to.

A row of its own for each point would be ten million rows for ten thousand agents. What is kept for an agent is a flat
list of whole numbers: count, up, last look from the start on, latencies (count, sum, longest), then index and number
of each mark of the histogram.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import msgspec

from reconciler.adapters.stored.codec import DAMAGED_HINT, UNREADABLE
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.series import SPANS, HealthChange, HealthPoint, Latencies, merged, widened

PARTS = 256
_FIXED = 6
Flat = tuple[int, ...]
Place = tuple[int, int, int]
"""Span, start and part of a row."""

_flats = msgspec.json.Decoder(dict[str, Flat])
_change = msgspec.json.Decoder(HealthChange)


def decode_change(body: str | bytes) -> HealthChange:
    return _change.decode(body)


def part_of(name: AgentName) -> int:
    """Which part an agent belongs to, always and everywhere."""
    return zlib.crc32(str(name).encode()) % PARTS


def placed(points: Iterable[HealthPoint]) -> dict[Place, dict[str, HealthPoint]]:
    """Points by the rows that they belong to: their own spans, and those that these are part of."""
    found: dict[Place, dict[str, HealthPoint]] = {}
    for point in points:
        part, name = part_of(point.agent), str(point.agent)
        for span in SPANS:
            if span >= point.span_ms:
                one = point if span == point.span_ms else widened(point, span)
                row = found.setdefault((span, one.start_ms, part), {})
                row[name] = merged(row[name], one) if name in row else one
    return found


def joined(place: Place, held: Mapping[str, Flat], new: Mapping[str, HealthPoint]) -> dict[str, Flat]:
    """A row with more points in it."""
    both = dict(held)
    for name, point in new.items():
        old = both.get(name)
        both[name] = flat(point if old is None else merged(point_of(place, name, old), point))
    return both


def flat(point: HealthPoint) -> Flat:
    taken = point.latencies
    return (
        point.count, point.up, point.last_ms - point.start_ms, taken.count, taken.sum_us, taken.max_us,
        *(number for mark in taken.marks for number in mark),
    )  # fmt: skip


def point_of(place: Place, name: str, row: Flat) -> HealthPoint:
    """Raises RegistryError for a row that is none."""
    if len(row) < _FIXED or len(row) % 2:
        raise RegistryError(f"points of {name} are damaged", hint=DAMAGED_HINT)
    span_ms, start_ms, _part = place
    count, up, last, many, total, longest = row[:_FIXED]
    marks = tuple(zip(row[_FIXED::2], row[_FIXED + 1 :: 2], strict=True))
    return HealthPoint(
        agent=AgentName.parse(name),
        start_ms=start_ms,
        span_ms=span_ms,
        count=count,
        up=up,
        last_ms=start_ms + last,
        latencies=Latencies(count=many, sum_us=total, max_us=longest, marks=marks),
    )


def pack(row: Mapping[str, Flat]) -> bytes:
    return zlib.compress(msgspec.json.encode(row), 1)


def unpack(body: bytes) -> dict[str, Flat]:
    """Raises RegistryError for bytes that are damaged."""
    try:
        return _flats.decode(zlib.decompress(body))
    except (zlib.error, *UNREADABLE) as error:
        raise RegistryError(f"points are damaged: {error}", hint=DAMAGED_HINT) from error


def points_in(rows: Iterable[tuple[Place, bytes]], name: AgentName | None) -> tuple[HealthPoint, ...]:
    """The points of one agent, or of all, that are in rows; by agent, then by time."""
    found: list[HealthPoint] = []
    for place, body in rows:
        row = unpack(body)
        if name is None:
            found += [point_of(place, agent, one) for agent, one in row.items()]
        elif str(name) in row:
            found.append(point_of(place, str(name), row[str(name)]))
    return tuple(sorted(found, key=lambda point: (point.agent, point.start_ms)))


def by_agent(changes: Iterable[HealthChange]) -> tuple[HealthChange, ...]:
    """Changes by agent, then by time."""
    return tuple(sorted(changes, key=lambda change: (change.agent, change.at_ms)))
