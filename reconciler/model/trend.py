"""What the history of an agent's health comes to: availability, latency and where it leads, outages. Values only;
health.trends computes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.health import HealthState
from reconciler.model.identity import AgentName


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """How long an agent served in the last `window_ms`, and how long it did not. Of the rest nothing is known, and it
    counts for neither: nobody looked, or nothing could be measured, or there was no such agent yet.
    """

    window_ms: int
    up_ms: int
    down_ms: int

    @property
    def unknown_ms(self) -> int:
        return self.window_ms - self.up_ms - self.down_ms

    @property
    def share(self) -> float | None:
        """Of the time that is known, 0 to 1; None where none is."""
        known = self.up_ms + self.down_ms
        return self.up_ms / known if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a spec says of latency: so many percent of calls take `ms` at most."""

    percent: int
    ms: int


class Course(StrEnum):
    """Where a latency is going, as far as what was measured tells."""

    UNSURE = "unsure"
    """Too little was measured."""
    STEADY = "steady"
    """Neither way for sure: the confidence interval of the slope holds 0."""
    RISING = "rising"
    FALLING = "falling"


class Forecast(StrEnum):
    """Whether the declared limit is met at this slope."""

    NO_LIMIT = "no-limit"
    UNSURE = "unsure"
    """Too little was measured to say."""
    NEVER = "never"
    """It does not rise for sure, or so slowly that it takes longer than anything that can be told from this."""
    AHEAD = "ahead"
    """At `reached_ms`."""
    REACHED = "reached"
    """It is met already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTrend:
    """A percentile of latency over the points that were looked at: where its line stands now, and how it goes on.

    `now_ms` is the percentile on that line at the present, in milliseconds; None where nothing was measured. `slope`,
    in milliseconds an hour, lies between `slope_low` and `slope_high` with 95 % confidence.
    """

    percent: int
    points: int
    course: Course
    forecast: Forecast
    now_ms: float | None = None
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None
    limit: Limit | None = None
    reached_ms: int | None = None
    """When the limit is met, as a wall clock says it; only for a forecast that is `ahead`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Some spans of time: how many are known, their mean and the longest."""

    count: int = 0
    mean_ms: int = 0
    max_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outages:
    """How often an agent stopped serving in `window_ms`, and how long it took to find out and to recover.

    `detect` is the most that it can have been: from the last time that it was seen well. `recover` runs from there to
    when it served again; an outage that is not over, or whose end nobody saw, counts in neither.
    """

    window_ms: int
    count: int
    lasting: bool
    detect: Spans
    recover: Spans


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """All of it, for one agent as of `at_ms`. `seen_ms` is when it was last looked at, 0 for never."""

    agent: AgentName
    at_ms: int
    state: HealthState
    since_ms: int
    seen_ms: int
    flapping: bool
    availability: tuple[Availability, ...]
    latency: LatencyTrend
    outages: Outages
