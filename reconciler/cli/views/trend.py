"""What the history of health comes to, for people: a table of agents, and the changes of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reconciler.cli.views.diagnostics import plural
from reconciler.cli.views.records import age, moment
from reconciler.health.plain import window
from reconciler.model.health import HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import HealthChange
from reconciler.model.trend import Availability, Course, Forecast, LatencyTrend, Spans, Trend

HEADERS = ("AGENT", "HEALTH", "FLAPS", "1H", "24H", "7D", "LATENCY", "SLOPE", "LIMIT", "OUTAGES", "DETECT", "RECOVER")
_WHOLE = 0.99
"""Where so much of a window is known it counts as known."""


def trend_rows(states: Mapping[AgentName, HealthState], trends: Mapping[AgentName, Trend]) -> Iterator[tuple[str, ...]]:
    """A row for each agent, whose state is what was found now; `-` for what nothing is on record of."""
    for name, state in states.items():
        trend = trends.get(name)
        if trend is None:
            yield (str(name), state.value, *["-"] * (len(HEADERS) - 2))
            continue
        outages = trend.outages
        yield (
            str(name),
            state.value,
            "yes" if trend.flapping else "no",
            *(available(one) for one in trend.availability),
            _latency(trend.latency),
            _slope(trend.latency),
            limit_told(trend.latency, trend.at_ms),
            f"{outages.count}{'+' if outages.lasting else ''}",
            _spans(outages.detect),
            _spans(outages.recover),
        )


def available(one: Availability) -> str:
    """`99.95%`, with how much of the window is known where that is not all of it; `-` where nothing is."""
    if one.share is None:
        return "-"
    told = f"{int(one.share * 10_000) / 100:g}%"  # downwards: what was down for a second is not at 100 %
    known_ms = one.up_ms + one.down_ms
    return told if known_ms >= _WHOLE * one.window_ms else f"{told} of {age(0, known_ms)}"


def _latency(one: LatencyTrend) -> str:
    return "-" if one.now_ms is None else f"p{one.percent} {one.now_ms:.0f}ms"


def _slope(one: LatencyTrend) -> str:
    match one.course:
        case Course.RISING | Course.FALLING:
            return f"{one.slope or 0:+.1f}ms/h"
        case Course.STEADY:
            return "steady"
        case Course.UNSURE:
            return "too little data" if one.now_ms is not None else "-"


def limit_told(one: LatencyTrend, now_ms: int) -> str:
    """When the declared limit of latency is met."""
    bound = f" ({one.limit.ms}ms)" if one.limit is not None else ""
    match one.forecast:
        case Forecast.AHEAD:
            return f"in {age(now_ms, one.reached_ms or now_ms)}{bound}"
        case Forecast.REACHED:
            return f"met{bound}"
        case Forecast.NEVER:
            return f"never{bound}"
        case Forecast.UNSURE:
            return f"too little data{bound}"
        case Forecast.NO_LIMIT:
            return "none"


def _spans(one: Spans) -> str:
    if not one.count:
        return "-"
    mean, longest = age(0, one.mean_ms), age(0, one.max_ms)
    return mean if mean == longest else f"{mean}, {longest} at most"


def change_rows(changes: Sequence[HealthChange], now_ms: int) -> list[tuple[str, ...]]:
    """Changes of one agent, newest first: when, to what, for how long, and what was seen."""
    ends = [change.at_ms for change in changes[1:]] + [now_ms]
    rows: list[tuple[str, ...]] = []
    for change, end in zip(changes, ends, strict=True):
        state = change.state.value + (", flapping" if change.flapping else "")
        rows.append((moment(change.at_ms), state, age(change.at_ms, end), change.text or "-"))
    return rows[::-1]


def trend_lines(trend: Trend) -> Iterator[str]:
    """What the history of one agent comes to, in sentences."""
    known = [one for one in trend.availability if one.share is not None]
    if known:
        shares = ", ".join(f"{available(one)} in {window(one.window_ms)}" for one in known)
        yield f"Available: {shares}. Time of which nothing is known is left out."
    outages = trend.outages
    if outages.count:
        told = [f"{plural(outages.count, 'outage')} in {window(outages.window_ms)}"]
        if outages.detect.count:
            told.append(f"found within {_spans(outages.detect)}")
        if outages.recover.count:
            told.append(f"over after {_spans(outages.recover)}")
        yield "; ".join(told) + (". It lasts." if outages.lasting else ".")
    if trend.flapping:
        yield "It flaps: its state changes so often that each change says little."
