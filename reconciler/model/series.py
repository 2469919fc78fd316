"""The history of health: changes of an agent's state, and points that measurements are rolled up to. Values only.

Everything in a point can be merged exactly, in any order: counts, sums and maxima as they are, latencies as a histogram
whose bounds are the same everywhere. Percentiles are read from the histogram when somebody asks, and are never merged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from reconciler.model.agent import Dimension
from reconciler.model.health import HealthState
from reconciler.model.identity import AgentName

FINE_MS = 300_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SPANS = (FINE_MS, HOUR_MS)
"""How long the spans are that points are kept for; each fine one is part of an hour."""
ACCURACY = 0.05
"""A percentile read from a histogram is off by this share of it at most."""
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(GAMMA)
UP = frozenset({HealthState.HEALTHY, HealthState.DEGRADED})
"""States of an agent that serves: no critical check has failed long enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckMark:
    """How one check stood when a change was written down: a daemon that starts again goes on from there."""

    name: str
    dimension: Dimension
    state: HealthState
    critical: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChange:
    """An agent's health became `state` at `at_ms`; before, it `was` another one, or ill of something else.

    `unknown` is what it becomes when nobody looks at it any more. `well_ms`, of a change for the worse: when what made
    it so was last seen well, 0 where that was never: the illness began after that, and was found at `at_ms`.
    `turns` is what health.flapping remembers.
    """

    agent: AgentName
    at_ms: int
    state: HealthState
    was: HealthState
    text: str = ""
    """What was seen, for people."""
    well_ms: int = 0
    flapping: bool = False
    turns: int = 0
    checks: tuple[CheckMark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """How long answers took, in microseconds: how many, their sum, the longest, and a histogram.

    `marks` are an index, how many, the next index, how many, and so on, ascending: index i counts what is over
    GAMMA ** (i - 1) and up to GAMMA ** i. That is the sketch of Masson, Rim and Lee, "DDSketch: A Fast and
    Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", PVLDB 12(12), 2019, with a relative error of
    ACCURACY.
    """

    count: int = 0
    sum_us: int = 0
    max_us: int = 0
    marks: tuple[int, ...] = ()

    @property
    def mean_ms(self) -> float | None:
        """None where nothing was measured."""
        return self.sum_us / self.count / 1000 if self.count else None

    def percentile_ms(self, percent: int) -> float | None:
        """The nearest-rank percentile, within ACCURACY of it; None where nothing was measured."""
        rank, seen = max(1, math.ceil(self.count * percent / 100)), 0
        for at in range(1, len(self.marks), 2):
            seen += self.marks[at]
            if seen >= rank:
                index = self.marks[at - 1]
                return min(2 * GAMMA**index / (GAMMA + 1), self.max_us) / 1000
        return None


def latencies_of(values_ms: Iterable[float]) -> Latencies:
    """A histogram of measurements; what took less than a microsecond counts as one."""
    values = [max(1, round(1000 * value)) for value in values_ms]
    marks: dict[int, int] = {}
    for value in values:
        index = math.ceil(math.log(value) / _LOG_GAMMA)
        marks[index] = marks.get(index, 0) + 1
    return Latencies(count=len(values), sum_us=sum(values), max_us=max(values, default=0), marks=flat_marks(marks))


def merged_latencies(one: Latencies, other: Latencies) -> Latencies:
    """Both together: exactly what `latencies_of` makes of the measurements of both."""
    if not one.count or not other.count:
        return one if one.count else other
    return Latencies(
        count=one.count + other.count,
        sum_us=one.sum_us + other.sum_us,
        max_us=max(one.max_us, other.max_us),
        marks=added_marks(one.marks, other.marks),
    )


def added_marks(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Two histograms together."""
    marks = dict(zip(one[::2], one[1::2], strict=True))
    for index, many in zip(other[::2], other[1::2], strict=True):
        marks[index] = marks.get(index, 0) + many
    return flat_marks(marks)


def flat_marks(marks: Mapping[int, int]) -> tuple[int, ...]:
    """How many by index, as they stand in `Latencies`."""
    return tuple(chain.from_iterable(sorted(marks.items())))


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPoint:
    """What was measured of an agent in the `span_ms` from `start_ms` on, which is a multiple of it.

    `count` sweeps measured something, of which `up` found it serving, the last of them at `last_ms`.
    """

    agent: AgentName
    start_ms: int
    span_ms: int
    count: int
    up: int
    last_ms: int
    latencies: Latencies = field(default_factory=Latencies)


def start_of(at_ms: int, span_ms: int) -> int:
    """When the span began that a moment lies in."""
    return at_ms - at_ms % span_ms


def widened(point: HealthPoint, span_ms: int) -> HealthPoint:
    """A point as part of the longer span that it lies in."""
    return replace(point, start_ms=start_of(point.start_ms, span_ms), span_ms=span_ms)


def merged(one: HealthPoint, other: HealthPoint) -> HealthPoint:
    """Two points of the same agent and span together."""
    return replace(
        one,
        count=one.count + other.count,
        up=one.up + other.up,
        last_ms=max(one.last_ms, other.last_ms),
        latencies=merged_latencies(one.latencies, other.latencies),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long history is kept: changes, points of five minutes, points of an hour. Of each agent that is looked at
    the last change stays, whatever its age.
    """

    changes_ms: int = 30 * DAY_MS
    fine_ms: int = DAY_MS
    hours_ms: int = 30 * DAY_MS
