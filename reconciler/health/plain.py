"""Changes and trends as plain JSON values: what the command line prints and an HTTP interface answers. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from reconciler.model.series import DAY_MS, HOUR_MS, HealthChange
from reconciler.model.trend import Availability, LatencyTrend, Outages, Spans, Trend


def trend_json(trend: Trend) -> dict[str, Any]:
    """A trend in JSON values: times as RFC 3339, spans in seconds, shares from 0 to 1, null for what is not known."""
    return {
        "agent": str(trend.agent),
        "state": trend.state.value,
        "since": _moment(trend.since_ms),
        "lastSeen": _moment(trend.seen_ms),
        "flapping": trend.flapping,
        "availability": {window(one.window_ms): _availability(one) for one in trend.availability},
        "latency": _latency(trend.latency),
        "outages": _outages(trend.outages),
    }


def change_json(change: HealthChange) -> dict[str, Any]:
    """A change in JSON values."""
    return {
        "at": _moment(change.at_ms),
        "state": change.state.value,
        "was": change.was.value,
        "text": change.text,
        "flapping": change.flapping,
        "lastWell": _moment(change.well_ms),
        "ill": [mark.name for mark in change.checks if mark.state == "unhealthy"],
    }


def window(ms: int) -> str:
    """The name of a window: `1h`, `24h`, `7d`."""
    return f"{ms // DAY_MS}d" if ms > DAY_MS and not ms % DAY_MS else f"{ms // HOUR_MS}h"


def _availability(one: Availability) -> dict[str, Any]:
    return {
        "share": None if one.share is None else round(one.share, 6),
        "upSeconds": one.up_ms / 1000,
        "downSeconds": one.down_ms / 1000,
        "unknownSeconds": one.unknown_ms / 1000,
    }


def _latency(one: LatencyTrend) -> dict[str, Any]:
    return {
        "percentile": one.percent,
        "ms": _rounded(one.now_ms),
        "points": one.points,
        "course": one.course.value,
        "slopeMsPerHour": _rounded(one.slope),
        "slopeInterval": None if one.slope is None else [_rounded(one.slope_low), _rounded(one.slope_high)],
        "limit": None if one.limit is None else {"percentile": one.limit.percent, "ms": one.limit.ms},
        "forecast": one.forecast.value,
        "limitMetAt": _moment(one.reached_ms or 0),
    }


def _outages(one: Outages) -> dict[str, Any]:
    return {
        "window": window(one.window_ms),
        "count": one.count,
        "lasting": one.lasting,
        "timeToDetect": _spans(one.detect),
        "timeToRecover": _spans(one.recover),
    }


def _spans(one: Spans) -> dict[str, Any]:
    known = bool(one.count)
    return {
        "count": one.count,
        "meanSeconds": one.mean_ms / 1000 if known else None,
        "maxSeconds": one.max_ms / 1000 if known else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _moment(at_ms: int) -> str | None:
    if not at_ms:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
