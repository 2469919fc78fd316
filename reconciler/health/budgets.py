"""What may be done in a whole fleet: how many remedies at once and in a while, and when we doubt our own eyes. Pure.

May live here: counting. Must not: know what a remedy is for, or how it is done.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import AgentName

RED_PERCENT = 55
"""When more of a fleet than this fails at once, it is more likely that we cannot see than that all are ill."""
RED_LEAST = 5
"""Of fewer agents nothing can be told."""
AT_ONCE_MS = 10 * 60 * 1000
"""What began to fail within this time failed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many remedies may be under way, and begin within `window_ms`: a share of the agents there, and no fewer than
    the least. The same holds for the fleet and for each cluster.
    """

    at_once_percent: int = 5
    at_once_least: int = 3
    window_percent: int = 20
    window_least: int = 10
    window_ms: int = 10 * 60 * 1000

    def at_once(self, agents: int) -> int:
        """How many may be under way among `agents`."""
        return max(self.at_once_least, math.ceil(agents * self.at_once_percent / 100))

    def in_window(self, agents: int) -> int:
        """How many may begin within the window among `agents`."""
        return max(self.window_least, math.ceil(agents * self.window_percent / 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A remedy that an agent is to have, on `clusters`. `critical`: nothing of it serves."""

    agent: AgentName
    clusters: tuple[str, ...]
    critical: bool
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A remedy that was begun."""

    clusters: tuple[str, ...]
    at_ms: int
    under_way: bool


def admit(
    wants: Iterable[Want], spent: Iterable[Spent], sizes: Mapping[str, int], limits: Limits, *, now_ms: int
) -> tuple[tuple[AgentName, ...], Mapping[AgentName, str]]:
    """Who may begin now, and of the others why they wait.

    `sizes` counts agents by cluster, and under "" those of the fleet. Those of which nothing serves come first, then
    those that are ill for longest.
    """
    begun: Counter[str] = Counter()
    at_once: Counter[str] = Counter()
    for item in spent:
        for place in ("", *item.clusters):
            at_once[place] += item.under_way
            begun[place] += item.under_way or 0 <= now_ms - item.at_ms < limits.window_ms
    admitted: list[AgentName] = []
    refused: dict[AgentName, str] = {}
    for want in sorted(wants, key=lambda want: (not want.critical, want.since_ms, want.agent)):
        places = ("", *sorted(set(want.clusters)))
        why = next((text for place in places if (text := _full(place, at_once, begun, sizes, limits))), "")
        if why:
            refused[want.agent] = why
            continue
        admitted.append(want.agent)
        at_once.update(places)
        begun.update(places)
    return tuple(admitted), refused


def _full(
    place: str, at_once: Mapping[str, int], begun: Mapping[str, int], sizes: Mapping[str, int], limits: Limits
) -> str:
    agents, where = sizes.get(place, 0), f"on {place}" if place else "in the fleet"
    most = limits.at_once(agents)
    if at_once.get(place, 0) >= most:
        return f"{most} remedies are under way {where}, as many as may be"
    most = limits.in_window(agents)
    if begun.get(place, 0) >= most:
        return f"{most} remedies were begun {where} in the last {limits.window_ms // 60_000} minutes, as many as may be"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How some agents fare: how many were `measured`, of these how many failed their last measurement (`red`), began to
    of late (`fresh`), and are unhealthy by their own thresholds (`ill`).
    """

    measured: int = 0
    red: int = 0
    fresh: int = 0
    ill: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            measured=self.measured + other.measured,
            red=self.red + other.red,
            fresh=self.fresh + other.fresh,
            ill=self.ill + other.ill,
        )


def tally(assessments: Iterable[Assessment], *, now_ms: int, young: bool = False) -> Tally:
    """Count a whole sweep. What fails because of what it depends on is explained, and says nothing of the observer.

    An observer that is `young` knows of what fell at once before it began only by when it did: however long ago.
    """
    measured = red = ill = 0
    since: list[int] = []
    for found in assessments:
        critical = [check for check in found.checks if check.critical and (check.failures or check.successes)]
        if found.upstream or not critical:
            continue
        measured += 1
        failing = [check for check in critical if check.failures]
        red += bool(failing)
        since += [max(check.since_ms for check in failing)] if failing else []
        ill += any(check.state is HealthState.UNHEALTHY for check in failing)
    fresh = _most_at_once(since) if young else sum(now_ms - at_ms < AT_ONCE_MS for at_ms in since)
    return Tally(measured=measured, red=red, fresh=fresh, ill=ill)


def _most_at_once(times: list[int]) -> int:
    """How many of these times lie together at most."""
    times.sort()
    first = most = 0
    for number, at_ms in enumerate(times, 1):
        while at_ms - times[first] >= AT_ONCE_MS:
            first += 1
        most = max(most, number - first)
    return most


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """Whether the observer is suspected: then `remedies_stop`, and once most are unhealthy by their own thresholds
    `alarms`. `seen` is what it is judged by: the fleet, or where `alone` what one observer of several sees.
    """

    remedies_stop: bool
    alarms: bool
    seen: Tally
    alone: bool = False


def suspect(own: Tally, others: Iterable[Tally] = (), *, before: Suspicion | None) -> Suspicion:
    """Judge what this observer sees, with what `others` see of the rest of the fleet.

    It is suspected when most of the fleet fails, and also when most of its own part does and the others see nothing of
    that. Only what began to fail of late raises a suspicion; one that stands lasts for as long as most fail.
    """
    stands = before is not None and before.remedies_stop
    fleet = sum(others, own)
    for seen, alone in ((fleet, False), (own, True)):
        if _most(seen.red if stands else seen.fresh, seen.measured):
            return Suspicion(remedies_stop=True, alarms=_most(seen.ill, seen.measured), seen=seen, alone=alone)
    return Suspicion(remedies_stop=False, alarms=False, seen=fleet)


def _most(red: int, measured: int) -> bool:
    return red >= RED_LEAST and red * 100 > RED_PERCENT * measured
