"""The history of health in the file: changes a row each, points of many agents in a row. Each function gets a
connection, and runs inside a transaction that the caller holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from reconciler.adapters.stored import codec, series
from reconciler.model.health import HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import FINE_MS, HOUR_MS, HealthChange, HealthPoint, Retention

PUT_CHANGE = "INSERT OR REPLACE INTO health_changes VALUES (?, ?, ?)"
PUT_POINTS = "INSERT OR REPLACE INTO health_points VALUES (?, ?, ?, ?, ?)"
_HELD = "SELECT op_id, body FROM health_points WHERE span_ms = ? AND part = ? AND start_ms = ?"
_LAST_OF_EACH = """
WITH RECURSIVE each (agent) AS (
    SELECT min(agent) FROM health_changes
    UNION ALL SELECT (SELECT min(agent) FROM health_changes WHERE agent > each.agent) FROM each WHERE agent IS NOT NULL
)
SELECT (SELECT body FROM health_changes AS held WHERE held.agent = each.agent ORDER BY at_ms DESC LIMIT 1)
FROM each WHERE agent IS NOT NULL
"""
"""One look into the index for each agent, however many changes it has."""


def record(
    connection: sqlite3.Connection, changes: Sequence[HealthChange], points: Sequence[HealthPoint], op_id: str
) -> None:
    """Put changes and points; points of rows that this very write was at already are there."""
    connection.executemany(PUT_CHANGE, [change_row(change) for change in changes])
    for place, new in series.placed(points).items():
        span_ms, start_ms, part = place
        held = connection.execute(_HELD, (span_ms, part, start_ms)).fetchone()
        marks = series.marked(held[0] if held is not None else "", op_id)
        if marks is None:
            continue
        row = series.joined(series.unpack(held[1]) if held is not None else {}, new)
        connection.execute(PUT_POINTS, (span_ms, part, start_ms, marks, series.pack(row)))


def change_row(change: HealthChange) -> tuple[str, int, bytes]:
    return str(change.agent), change.at_ms, codec.encode(change)


def changes(connection: sqlite3.Connection, name: AgentName | None, since_ms: int) -> tuple[HealthChange, ...]:
    """Those since then, and the last of each agent."""
    if name is None:
        rows = connection.execute("SELECT body FROM health_changes WHERE at_ms >= ?", (since_ms,)).fetchall()
        rows += connection.execute(_LAST_OF_EACH).fetchall()
    else:
        rows = connection.execute(
            "SELECT body FROM health_changes WHERE agent = ? AND at_ms >= ?", (str(name), since_ms)
        ).fetchall()
        rows += connection.execute(
            "SELECT body FROM health_changes WHERE agent = ? ORDER BY at_ms DESC LIMIT 1", (str(name),)
        )
    found = [series.decode_change(body) for (body,) in rows]
    return series.by_agent({(change.agent, change.at_ms): change for change in found}.values())


def points(
    connection: sqlite3.Connection, name: AgentName | None, between: tuple[int, int], span_ms: int
) -> tuple[HealthPoint, ...]:
    only = "" if name is None else "AND part = ?"
    values = () if name is None else (series.part_of(name),)
    rows = connection.execute(
        "SELECT span_ms, start_ms, part, body FROM health_points "  # noqa: S608 - `only` is one of two constants
        f"WHERE span_ms = ? AND start_ms >= ? AND start_ms < ? {only}",
        (span_ms, *between, *values),
    )
    return series.points_in(((row[:3], row[3]) for row in rows), name)


def prune(connection: sqlite3.Connection, retention: Retention, now_ms: int, most: int) -> int:
    """Take away what is too old, `most` rows at most; a change only where a later one is there, or it is `unknown`."""
    gone = 0
    for span_ms, kept_ms in ((FINE_MS, retention.fine_ms), (HOUR_MS, retention.hours_ms)):
        gone += connection.execute(
            "DELETE FROM health_points WHERE rowid IN (SELECT rowid FROM health_points "
            "WHERE span_ms = ? AND start_ms < ? ORDER BY start_ms LIMIT ?)",
            (span_ms, now_ms - kept_ms - span_ms, most - gone),
        ).rowcount
    old = connection.execute(
        "SELECT agent, at_ms FROM health_changes AS old WHERE at_ms < ? AND ("
        "EXISTS (SELECT 1 FROM health_changes AS later WHERE later.agent = old.agent AND later.at_ms > old.at_ms) "
        "OR json_extract(CAST(body AS TEXT), '$.state') = ?) ORDER BY at_ms LIMIT ?",
        (now_ms - retention.changes_ms, HealthState.UNKNOWN.value, most - gone),
    ).fetchall()
    connection.executemany("DELETE FROM health_changes WHERE agent = ? AND at_ms = ?", old)
    return gone + len(old)
