"""The history of health in two collections: changes a document each, points of many agents in a document.

Writes run inside a transaction that the caller holds; readings see one state of the database each.
"""

from __future__ import annotations

from collections.abc import Sequence

from arango.database import Database

from reconciler.adapters.arango import documents
from reconciler.adapters.arango.documents import Document
from reconciler.adapters.arango.schema import HEALTH_CHANGES, HEALTH_POINTS
from reconciler.adapters.arango.statements import run
from reconciler.adapters.stored import series
from reconciler.model.health import HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import FINE_MS, HOUR_MS, HealthChange, HealthPoint, Retention

_PUT = 'FOR d IN @documents INSERT d INTO @@collection OPTIONS {overwriteMode: "replace"}'
_HELD = "FOR d IN health_points FILTER d._key IN @keys RETURN {key: d._key, op: d.op, body: d.body}"
_SINCE = "FOR d IN health_changes FILTER d.at_ms >= @since RETURN d.body"
_LAST_OF_EACH = """
FOR last IN (FOR d IN health_changes COLLECT agent = d.agent AGGREGATE at = MAX(d.at_ms) RETURN {agent: agent, at: at})
  FOR d IN health_changes FILTER d.agent == last.agent AND d.at_ms == last.at RETURN d.body
"""
_SINCE_OF = "FOR d IN health_changes FILTER d.agent == @agent AND d.at_ms >= @since RETURN d.body"
_LAST_OF = "FOR d IN health_changes FILTER d.agent == @agent SORT d.at_ms DESC LIMIT 1 RETURN d.body"
_POINT = "{span: d.span, start: d.start, part: d.part, body: d.body}"
_BETWEEN = "d.start >= @since AND d.start < @until"
_POINTS = f"FOR d IN health_points FILTER d.span == @span AND {_BETWEEN} RETURN {_POINT}"
_POINTS_OF = f"FOR d IN health_points FILTER d.span == @span AND d.part == @part AND {_BETWEEN} RETURN {_POINT}"
_OLD_POINTS = (
    "FOR d IN health_points FILTER d.span == @span AND d.start < @before SORT d.start LIMIT @most "
    "REMOVE d IN health_points RETURN 1"
)
_OLD_CHANGES = """
FOR d IN health_changes FILTER d.at_ms < @before
  LET later = FIRST(FOR e IN health_changes FILTER e.agent == d.agent AND e.at_ms > d.at_ms LIMIT 1 RETURN 1)
  FILTER later == 1 OR d.state == @unknown
  SORT d.at_ms LIMIT @most RETURN d._key
"""


def record(db: Database, changes: Sequence[HealthChange], points: Sequence[HealthPoint], op_id: str) -> None:
    """Put changes and points; points of documents that this very write was at already are there."""
    _put(db, HEALTH_CHANGES, list({d["_key"]: d for d in map(documents.health_change_document, changes)}.values()))
    rows = {documents.health_points_key(place): (place, new) for place, new in series.placed(points).items()}
    held = {row["key"]: row for row in run(db, _HELD, keys=list(rows))} if rows else {}
    made: list[Document] = []
    for key, (place, new) in rows.items():
        known = held.get(key)
        marks = series.marked(known["op"] if known is not None else "", op_id)
        if marks is None:
            continue
        row = series.joined(series.unpack(documents.bytes_of(known["body"])) if known else {}, new)
        made.append(documents.health_points_document(place, marks, row))
    _put(db, HEALTH_POINTS, made)


def changes(db: Database, name: AgentName | None, since_ms: int) -> tuple[HealthChange, ...]:
    """Those since then, and the last of each agent."""
    if name is None:
        bodies = [*run(db, _SINCE, since=since_ms), *run(db, _LAST_OF_EACH)]
    else:
        agent = documents.agent_term(name)
        bodies = [*run(db, _SINCE_OF, agent=agent, since=since_ms), *run(db, _LAST_OF, agent=agent)]
    found = map(series.decode_change, bodies)
    return series.by_agent({(change.agent, change.at_ms): change for change in found}.values())


def points(db: Database, name: AgentName | None, between: tuple[int, int], span_ms: int) -> tuple[HealthPoint, ...]:
    wanted = {"span": span_ms, "since": between[0], "until": between[1]}
    rows = run(db, _POINTS, **wanted) if name is None else run(db, _POINTS_OF, part=series.part_of(name), **wanted)
    packed = (((row["span"], row["start"], row["part"]), documents.bytes_of(row["body"])) for row in rows)
    return series.points_in(packed, name)


def prune(db: Database, retention: Retention, now_ms: int, most: int) -> int:
    """Take away what is too old, `most` documents at most; a change only where a later one is there, or it says
    `unknown`.
    """
    gone = 0
    for span_ms, kept_ms in ((FINE_MS, retention.fine_ms), (HOUR_MS, retention.hours_ms)):
        gone += len(run(db, _OLD_POINTS, span=span_ms, before=now_ms - kept_ms - span_ms, most=most - gone))
    before_ms = now_ms - retention.changes_ms
    keys = run(db, _OLD_CHANGES, before=before_ms, unknown=HealthState.UNKNOWN.value, most=most - gone)
    run(db, "FOR key IN @keys REMOVE key IN health_changes", keys=keys)
    return gone + len(keys)


def _put(db: Database, collection: str, made: list[Document]) -> None:
    if made:
        run(db, _PUT, documents=made, **{"@collection": collection})
