"""Change windows: when changes that come from Git may go out. Times of day on the clock of a place, as people say them.

May live here: what a window is, and when it is open. What that means for a change is in plan/windows. The table of time
zones is data of this machine, as Unicode's is; whoever reads it here is told nothing of what time it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOURS_24 = 24 * 60
"""The end of a day in minutes, where a window may end."""
AHEAD_DAYS = 15
"""So far an opening is looked for. Windows come again every week; more than that only for the days clocks change."""
SEEN_MS = (AHEAD_DAYS - 1) * 86_400_000
"""So far all openings and closings of all zones are among those that were looked for."""
_SECOND = timedelta(seconds=1)


class Effect(StrEnum):
    """What a window does while it is open."""

    ALLOW = "allow"
    """Changes go out in it, and at no other time, unless in another one that allows them."""
    DENY = "deny"
    """No change goes out in it, whatever allows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Open from minute `start` of each of `days` (0 is Monday) to minute `end`, of the next day where that is no later.

    Concerns the agents of `namespaces` that have all of `labels`; empty means all.
    """

    name: str
    effect: Effect = Effect.ALLOW
    days: frozenset[int] = frozenset(range(7))
    start: int = 0
    end: int = HOURS_24
    timezone: str = "UTC"
    namespaces: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)

    def concerns(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether an agent's changes are bound to this."""
        there = not self.namespaces or namespace in self.namespaces
        return there and all(labels.get(key) == value for key, value in self.labels.items())

    def spans(self, now_ms: int) -> list[tuple[int, int]]:
        """From when to when (Unix milliseconds, the end not included) it is open, from a day ago to AHEAD_DAYS ahead.

        A time that comes twice, when clocks are put back: what allows begins and ends with the first, what denies ends
        with the second, which is the safe side of both. A time that does not come, when clocks are put forward: it is
        the moment of that. A window that has no time left by this does not open on that day.
        """
        zone = ZoneInfo(self.timezone)
        today = datetime.fromtimestamp(now_ms / 1000, zone).date()
        found = []
        for day in (today + timedelta(days=ahead) for ahead in range(-2, AHEAD_DAYS + 1)):
            if day.weekday() in self.days:
                over = day if self.end > self.start else day + timedelta(days=1)
                start = instant(day, self.start, zone)
                end = instant(over, self.end, zone, last=self.effect is Effect.DENY)
                if start < end:
                    found.append((start, end))
        return found


def instant(day: date, minute: int, zone: ZoneInfo, *, last: bool = False) -> int:
    """When the clocks of `zone` show a minute of a day, in Unix milliseconds.

    The first time, or the `last`, where it comes twice; where it does not come, when the clocks are put past it.
    """
    shown = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)  # noqa: DTZ001 - as a clock shows it
    at = shown.replace(tzinfo=zone, fold=int(last)).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) != shown:
        at = _put_forward(shown, zone)
    return round(at.timestamp() * 1000)


def _put_forward(shown: datetime, zone: ZoneInfo) -> datetime:
    """When the clocks were put past a time that they never showed."""
    early, late = (shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    was = early.astimezone(zone).utcoffset()  # read with the offset of later it is a time before that moment
    while late - early > _SECOND:
        middle = early + ((late - early) // 2 // _SECOND) * _SECOND
        if middle.astimezone(zone).utcoffset() == was:
            early = middle
        else:
            late = middle
    return late


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Whether changes may go out now. `by` names the windows that say so.

    `until_ms` is when that may be otherwise: it is closed until then, or open; None where no end is in sight.
    """

    open: bool
    by: tuple[Window, ...]
    until_ms: int | None


def opening(windows: Sequence[Window], now_ms: int) -> Opening:
    """What `windows` say together, all of which concern one agent. Without any it is always open."""
    spans = [(window, window.spans(now_ms)) for window in windows]
    now = _open_at(spans, now_ms)
    seen = now_ms + SEEN_MS
    later = sorted({moment for _window, some in spans for span in some for moment in span if now_ms < moment < seen})
    until = next((moment for moment in later if _open_at(spans, moment)[0] != now[0]), None)
    return Opening(open=now[0], by=now[1], until_ms=until)


def _open_at(spans: Iterable[tuple[Window, list[tuple[int, int]]]], at_ms: int) -> tuple[bool, tuple[Window, ...]]:
    """Whether it is open at a moment, and because of which windows; closed for lack of one is all that would allow."""
    said: dict[tuple[Effect, bool], list[Window]] = {}
    for window, some in spans:
        here = any(start <= at_ms < end for start, end in some)
        said.setdefault((window.effect, here), []).append(window)
    if denying := said.get((Effect.DENY, True)):
        return False, tuple(denying)
    if allowing := said.get((Effect.ALLOW, True)):
        return True, tuple(allowing)
    missed = said.get((Effect.ALLOW, False), [])
    return not missed, tuple(missed)
