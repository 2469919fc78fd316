"""The doubt in our own eyes: when most of a fleet fails at once, remedies stop and one alert goes out.

Of a fleet in shards each daemon sees a part. What it counts it lets the others know with the lease of its seat
(daemon.sharding), which all of them read anyhow: each judges the fleet, at most a few seconds behind. What a daemon
that is gone has counted ends with its lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from typing import Protocol

from reconciler.alerting.raising import FLEET, PART
from reconciler.daemon.measures import Measures
from reconciler.daemon.telling import Teller
from reconciler.health.budgets import AT_ONCE_MS, Suspicion, Tally, suspect, tally
from reconciler.model.alert import Alert, Covers, Severity
from reconciler.model.health import Assessment
from reconciler.ports import Clock

_TELLS = "sees "


class Peers(Protocol):
    """The daemons that look after the rest of a fleet."""

    @property
    def seat(self) -> str:
        """What this one of them is called."""

    @property
    def others(self) -> tuple[str, ...]:
        """What each of the others says."""

    def say(self, text: str) -> None:
        """Let the others know."""


@dataclass(slots=True, kw_only=True)
class Doubting:
    """One daemon's doubt. `raise_` takes what people have to know; no `peers`: it sees the whole fleet."""

    clock: Clock
    tell: Teller
    measures: Measures
    raise_: Callable[[Alert], None]
    peers: Peers | None = None
    _began: float | None = None
    """When it judged first (monotonic)."""
    _now: Suspicion | None = None
    _alarm: Alert | None = None

    def stopped(self, running: Iterable[Assessment]) -> bool:
        """Whether remedies stop, by how the agents fare that are looked at here."""
        now_ms, before, monotonic = self.clock.now_ms(), self._now, self.clock.monotonic()
        self._began = monotonic if self._began is None else self._began
        own = tally(running, now_ms=now_ms, young=(monotonic - self._began) * 1000 < AT_ONCE_MS)
        if self.peers is not None:
            self.peers.say(said(own))
        self._now = now = suspect(own, self._others(), before=before)
        self.measures.doubts(now.remedies_stop)
        text = self._text(now)
        if now.remedies_stop != (before is not None and before.remedies_stop):
            event, level = ("remedies-stop", "error") if now.remedies_stop else ("remedies-go-on", "info")
            reason = text if now.remedies_stop else ""
            self.tell.say(level, event, red=now.seen.red, agents=now.seen.measured, reason=reason)
        self._raise(now, text, now_ms)
        return now.remedies_stop

    def _others(self) -> Iterator[Tally]:
        for text in self.peers.others if self.peers is not None else ():
            found = heard(text)
            if found is not None:
                yield found

    def _text(self, now: Suspicion) -> str:
        whose = " that this daemon looks after" if now.alone else ""
        return (
            f"{now.seen.red} of {now.seen.measured} agents{whose} fail at once: "
            "more likely they cannot be seen from here than are ill"
        )

    def _raise(self, now: Suspicion, text: str, now_ms: int) -> None:
        name = PART if now.alone else FLEET
        if self._alarm is not None and (not now.remedies_stop or (now.alarms and self._alarm.name != name)):
            self.raise_(replace(self._alarm, resolved=True, at_ms=now_ms))
            self._alarm = None
        if now.alarms and self._alarm is None:
            seat = self.peers.seat if now.alone and self.peers is not None else ""
            self._alarm = Alert(
                key=f"{name} {seat}".strip(), name=name, severity=Severity.CRITICAL, at_ms=now_ms,
                text=f"{text}; nothing is done to them meanwhile", covers=Covers.AGENTS, daemon=seat,
            )  # fmt: skip
            self.raise_(self._alarm)


def said(one: Tally) -> str:
    """A tally as a lease says it."""
    return _TELLS + " ".join(map(str, astuple(one)))


def heard(text: str) -> Tally | None:
    """What another daemon said; None where that is none, or of a version that says it otherwise."""
    numbers = text.removeprefix(_TELLS).split()
    if not text.startswith(_TELLS) or len(numbers) != len(astuple(Tally())) or not all(map(str.isdecimal, numbers)):
        return None
    measured, red, fresh, ill = map(int, numbers)
    return Tally(measured=measured, red=red, fresh=fresh, ill=ill)
