"""From changes and points on record to what they come to. Pure: the present is given.

Availability is weighed by time: an agent is what its last change says until the next one, and `unknown` where nobody
looked (a change says so), before the first change, and from GRACE_MS after the last look on.

The slope of latency is the median of the slopes between all pairs of points (Theil 1950; Sen, "Estimates of the
Regression Coefficient Based on Kendall's Tau", Journal of the American Statistical Association 63, 1968), which one
slow hour does not move. Its confidence interval is Sen's: of n points there are N = n(n-1)/2 slopes, C = 1.96 *
sqrt(n(n-1)(2n+5)/18), and the bounds are the slopes number (N-C)/2 and (N+C)/2 + 1 in ascending order. The line runs
through the medians of both coordinates (Conover, "Practical Nonparametric Statistics", 1980).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from reconciler.model.agent import Dimension, Health
from reconciler.model.health import HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import DAY_MS, FINE_MS, HOUR_MS, UP, HealthChange, HealthPoint
from reconciler.model.trend import Availability, Course, Forecast, LatencyTrend, Limit, Outages, Spans, Trend

WINDOWS_MS = (HOUR_MS, DAY_MS, 7 * DAY_MS)
HISTORY_MS = WINDOWS_MS[-1]
LATENCY_MS = DAY_MS
"""How far back the slope looks."""
GRACE_MS = 3 * FINE_MS
"""So long after the last look that is on record an agent counts as looked at: points are written every five minutes,
when they are whole."""
LEAST_POINTS = 6
MOST_POINTS = 48
"""There are as many slopes as pairs of points: the newest so many are looked at."""
HORIZON_MS = 30 * DAY_MS
"""Whoever looks back a day says nothing of what comes later than this."""
DEFAULT_PERCENT = 95
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which an agent was in one state."""

    begin_ms: int
    end_ms: int
    state: HealthState


def stretches(changes: Sequence[HealthChange], *, seen_ms: int, now_ms: int) -> Iterator[Stretch]:
    """What an agent was when, from its first change to the present; `changes` ascend by time."""
    for change, after in zip(changes, [*changes[1:], None], strict=True):
        end = min(now_ms, after.at_ms if after is not None else max(seen_ms, change.at_ms) + GRACE_MS)
        if end > change.at_ms:
            yield Stretch(change.at_ms, end, change.state)


def availability(known: Iterable[Stretch], *, window_ms: int, now_ms: int) -> Availability:
    """How long it served in the window that ends now, by what it was when."""
    up = down = 0
    for one in known:
        length = one.end_ms - max(one.begin_ms, now_ms - window_ms)
        if length <= 0 or one.state is HealthState.UNKNOWN:
            continue
        if one.state in UP:
            up += length
        else:
            down += length
    return Availability(window_ms=window_ms, up_ms=up, down_ms=down)


def outages(changes: Sequence[HealthChange], *, window_ms: int, now_ms: int) -> Outages:
    """Times to detect and to recover of what was found in the window that ends now; `changes` ascend by time.

    What was so already before the first of them is left out, with its recovery: that it is ill of something else by
    now is no other outage.
    """
    count = 0
    detect: list[int] = []
    recover: list[int] = []
    fell: HealthChange | None = None
    for change in changes:
        if change.state is HealthState.UNHEALTHY:
            if fell is None:
                fell = change
                if _is_found(fell, now_ms - window_ms):
                    count += 1
                    if change.well_ms:
                        detect.append(change.at_ms - change.well_ms)
        elif fell is not None:
            if change.state in UP and _is_found(fell, now_ms - window_ms):
                recover.append(change.at_ms - fell.at_ms)
            fell = None
    return Outages(
        window_ms=window_ms,
        count=count,
        lasting=fell is not None,
        detect=_spans(detect),
        recover=_spans(recover),
    )


def _is_found(fell: HealthChange, since_ms: int) -> bool:
    """Whether an outage began with a change, after `since_ms`."""
    return fell.was is not HealthState.UNHEALTHY and fell.at_ms > since_ms


def _spans(lengths: Sequence[int]) -> Spans:
    if not lengths:
        return Spans()
    return Spans(count=len(lengths), mean_ms=round(sum(lengths) / len(lengths)), max_ms=max(lengths))


def limit_of(health: Health) -> Limit | None:
    """The declared limit of latency that is looked ahead to: of p95, else of p99, else of p50, the lowest."""
    checks = [check for check in health.checks if check.dimension is Dimension.PERFORMANCE]
    for percent, bounds in (
        (95, [check.p95 for check in checks]),
        (99, [check.p99 for check in checks]),
        (50, [check.p50 for check in checks]),
    ):
        said = [bound.ms for bound in bounds if bound is not None]
        if said:
            return Limit(percent=percent, ms=min(said))
    return None


def latency_trend(
    fine: Sequence[HealthPoint], hours: Sequence[HealthPoint], limit: Limit | None, *, now_ms: int
) -> LatencyTrend:
    """Where latency goes: by the points of hours where there are enough of them, else by those of five minutes."""
    percent = limit.percent if limit else DEFAULT_PERCENT
    series = _series(hours, percent, now_ms)
    if len(series) < LEAST_POINTS:
        series = max(_series(fine, percent, now_ms), series, key=len)
    if len(series) < LEAST_POINTS:
        forecast = Forecast.UNSURE if limit else Forecast.NO_LIMIT
        now = series[-1][1] if series else None
        points = len(series)
        return LatencyTrend(
            percent=percent, points=points, course=Course.UNSURE, forecast=forecast, now_ms=now, limit=limit
        )
    slope, low, high = theil_sen(series)
    line_now = median(y for _, y in series) - slope * median(x for x, _ in series)
    course = Course.RISING if low > 0 else Course.FALLING if high < 0 else Course.STEADY
    forecast, reached_ms = _forecast(line_now, slope, course, limit, now_ms)
    return LatencyTrend(
        percent=percent,
        points=len(series),
        course=course,
        forecast=forecast,
        now_ms=max(0.0, line_now),
        slope=slope,
        slope_low=low,
        slope_high=high,
        limit=limit,
        reached_ms=reached_ms,
    )


def _series(points: Sequence[HealthPoint], percent: int, now_ms: int) -> list[tuple[float, float]]:
    """(hours from now, milliseconds) of the points that measured something, ascending; each stands at its middle."""
    found = []
    for point in points[-MOST_POINTS:]:
        value = point.latencies.percentile_ms(percent)
        middle_ms = point.start_ms + point.span_ms / 2
        if value is not None and middle_ms > now_ms - LATENCY_MS - point.span_ms:
            found.append(((middle_ms - now_ms) / HOUR_MS, value))
    return found


def theil_sen(series: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The slope of at least two points at different x, and the bounds of its 95 % confidence interval."""
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(series, 2) if x2 != x1)
    n = len(series)
    spread = _Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    last = len(slopes) - 1
    low = min(last, max(0, round((len(slopes) - spread) / 2) - 1))
    high = max(0, min(last, round((len(slopes) + spread) / 2)))
    return median(slopes), slopes[low], slopes[high]


def _forecast(
    now: float, slope: float, course: Course, limit: Limit | None, now_ms: int
) -> tuple[Forecast, int | None]:
    if limit is None:
        return Forecast.NO_LIMIT, None
    if now >= limit.ms:
        return Forecast.REACHED, None
    if course is not Course.RISING:
        return Forecast.NEVER, None
    ahead_ms = (limit.ms - now) / slope * HOUR_MS
    return (Forecast.NEVER, None) if ahead_ms > HORIZON_MS else (Forecast.AHEAD, now_ms + round(ahead_ms))


def trend_of(
    agent: AgentName,
    changes: Sequence[HealthChange],
    *,
    fine: Sequence[HealthPoint],
    hours: Sequence[HealthPoint],
    limit: Limit | None,
    now_ms: int,
) -> Trend | None:
    """What the history of one agent comes to; None where there is none. All of it ascends by time.

    `changes` are all of HISTORY_MS, and at least the last one; points are those of LATENCY_MS.
    """
    if not changes:
        return None
    last = changes[-1]
    looks = [point.last_ms for point in (*fine[-1:], *hours[-1:])]
    looks += [change.at_ms for change in changes if change.state is not HealthState.UNKNOWN]
    seen_ms = max(looks, default=0)
    gone = last.state is not HealthState.UNKNOWN and now_ms > seen_ms + GRACE_MS
    was = [*_before(changes[0], now_ms), *stretches(changes, seen_ms=seen_ms, now_ms=now_ms)]
    return Trend(
        agent=agent,
        at_ms=now_ms,
        state=HealthState.UNKNOWN if gone else last.state,
        since_ms=seen_ms if gone else _since(changes),
        seen_ms=seen_ms,
        flapping=last.flapping and not gone,
        availability=tuple(availability(was, window_ms=window, now_ms=now_ms) for window in WINDOWS_MS),
        latency=latency_trend(fine, hours, limit, now_ms=now_ms),
        outages=outages(changes, window_ms=HISTORY_MS, now_ms=now_ms),
    )


def _before(first: HealthChange, now_ms: int) -> Iterator[Stretch]:
    """What it was before the first change that is given: the one before that is older than all windows."""
    if first.at_ms > now_ms - HISTORY_MS:
        yield Stretch(now_ms - HISTORY_MS, first.at_ms, first.was)


def _since(changes: Sequence[HealthChange]) -> int:
    """Since when the last state lasts: changes that only tell of another cause do not count."""
    since = changes[-1].at_ms
    for change in reversed(changes):
        if change.state is not changes[-1].state:
            break
        since = change.at_ms
    return since
