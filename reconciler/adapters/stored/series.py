"""Points of many agents in one row: a row for each span of time and each of PARTS parts that agents are dealt to.

A row of its own for each point would be ten million rows for ten thousand agents. What is kept for an agent is a flat
list of whole numbers: count, up, last look from the start on, latencies (count, sum, longest), then index and number
of each mark of the histogram.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping

import msgspec

from reconciler.adapters.stored.codec import DAMAGED_HINT, UNREADABLE
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.series import SPANS, HealthChange, HealthPoint, Latencies, added_marks, start_of

PARTS = 256
REMEMBERED = 8
"""So many of the last writes at a row are told from new ones."""
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


def placed(points: Iterable[HealthPoint]) -> dict[Place, dict[str, Flat]]:
    """Points by the rows that they belong to: of their own spans, and of those that these are part of."""
    found: dict[Place, dict[str, Flat]] = {}
    for point in points:
        part, name = part_of(point.agent), str(point.agent)
        for span in SPANS:
            if span >= point.span_ms:
                start = start_of(point.start_ms, span)
                row = found.setdefault((span, start, part), {})
                row[name] = added(row.get(name), _flat(point, start))
    return found


def marked(held: str, op_id: str) -> str | None:
    """What a row says of the writes that were at it last, with one more; None where that one was there before.

    Several daemons write to the same rows: the others have been there before one repeats what it got no answer to.
    """
    marks = held.split()
    mine = hashlib.blake2b(op_id.encode(), digest_size=6).hexdigest()
    return None if mine in marks else " ".join([*marks, mine][-REMEMBERED:])


def joined(held: Mapping[str, Flat], new: Mapping[str, Flat]) -> dict[str, Flat]:
    """A row with more points in it."""
    return dict(held) | {name: added(held.get(name), one) for name, one in new.items()}


def added(one: Flat | None, other: Flat) -> Flat:
    """What model.series.merged makes of two points, without making them: a flush is twenty thousand of these."""
    if one is None:
        return other
    return (
        one[0] + other[0], one[1] + other[1], max(one[2], other[2]),
        one[3] + other[3], one[4] + other[4], max(one[5], other[5]),
        *added_marks(one[_FIXED:], other[_FIXED:]),
    )  # fmt: skip


def _flat(point: HealthPoint, start_ms: int) -> Flat:
    taken = point.latencies
    return (
        point.count, point.up, point.last_ms - start_ms, taken.count, taken.sum_us, taken.max_us,
        *taken.marks,
    )  # fmt: skip


def _point(agent: AgentName, place: Place, row: Flat) -> HealthPoint:
    """Raises RegistryError for a row that is none."""
    if len(row) < _FIXED or len(row) % 2:
        raise RegistryError(f"points of {agent} are damaged", hint=DAMAGED_HINT)
    span_ms, start_ms, _part = place
    count, up, last, many, total, longest = row[:_FIXED]
    return HealthPoint(
        agent=agent,
        start_ms=start_ms,
        span_ms=span_ms,
        count=count,
        up=up,
        last_ms=start_ms + last,
        latencies=Latencies(count=many, sum_us=total, max_us=longest, marks=row[_FIXED:]),
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
    found: dict[str, list[HealthPoint]] = {} if name is None else {str(name): []}
    names: dict[str, AgentName] = {} if name is None else {str(name): name}
    for place, body in sorted(rows):
        row = unpack(body)
        for agent in row if name is None else found.keys() & row.keys():
            if agent not in names:
                names[agent], found[agent] = AgentName.parse(agent), []
            found[agent].append(_point(names[agent], place, row[agent]))
    return tuple(point for agent in sorted(found, key=names.__getitem__) for point in found[agent])


def by_agent(changes: Iterable[HealthChange]) -> tuple[HealthChange, ...]:
    """Changes by agent, then by time."""
    return tuple(sorted(changes, key=lambda change: (change.agent, change.at_ms)))
