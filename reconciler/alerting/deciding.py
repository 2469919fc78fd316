"""Who is told what, now: from active alerts and what routes were told before to notifications.

One pure function over one frozen outlook. An alert is told once, `wait` after it began; what joins its group later is
told with the next message, at most every `interval`; what goes on is told again every `repeat`; and whoever was told
that something began is told that it is over. A route holds at most MAX_GROUPS groups at once: of a flood the rest is
told as one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.alerting.causes import held_back
from reconciler.alerting.matching import fact, matches, silenced
from reconciler.alerting.wording import worded, worst
from reconciler.model.alert import Alert, AlertGroup, Notice, Notification, Route, Silence
from reconciler.model.identity import AgentName

MAX_GROUPS = 20
REST = "~rest"
"""The group of all that is told as one in a flood."""
MAX_LISTED = 50
MAX_LISTED_WHOLE = 1000
"""For receivers that keep alerts themselves, each by itself."""
MAX_NAMED = 10
WHOLE = frozenset({"alertmanager"})
LASTS = 3
"""Repetitions after which a receiver that keeps alerts may take one for over: two may be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a route is told where it does not say so itself; times in milliseconds."""

    by: tuple[str, ...] = ("name", "namespace")
    wait_ms: int = 10_000
    interval_ms: int = 60_000
    repeat_ms: int = 4 * 3_600_000


PACES: Mapping[str, Pace] = {
    "pagerduty": Pace(by=("alert",)),  # it groups by itself, and each incident is to end by itself
    "alertmanager": Pace(by=(), wait_ms=0, interval_ms=5_000, repeat_ms=300_000),  # so does this, and it forgets
}
Key = tuple[str, str]


def pace_of(route: Route) -> Pace:
    """What a route says, else what suits its receiver."""
    said, usual = route.said, PACES.get(route.said.receiver, Pace())
    return Pace(
        by=usual.by if said.group_by is None else said.group_by,
        wait_ms=usual.wait_ms if said.wait is None else said.wait.ms,
        interval_ms=usual.interval_ms if said.interval is None else said.interval.ms,
        repeat_ms=usual.repeat_ms if said.repeat is None else said.repeat.ms,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """All that is decided by. `unsent` are groups of which something is still to be sent: they are not repeated.
    `elsewhere` are keys of active alerts that another daemon tells of: here they only stand for others.
    """

    fleet: str
    active: Mapping[str, Alert]
    routes: Sequence[Route]
    silences: Sequence[Silence]
    groups: Mapping[Key, AlertGroup]
    now_ms: int
    unsent: Collection[Key] = frozenset()
    elsewhere: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What routes have been told once the notifications are out, when to decide again (None: when something changes),
    and which alerts are kept from some route, with why.
    """

    groups: Mapping[Key, AlertGroup]
    notifications: tuple[Notification, ...]
    due_ms: int | None
    held: Mapping[str, str]


def decide(look: Outlook) -> Decision:
    """What is to be told now."""
    quiet = {key: found for key, alert in look.active.items() if (found := silenced(alert, look.silences, look.now_ms))}
    held = dict.fromkeys(look.elsewhere, "another daemon tells of it")
    held |= {key: _said(silence) for key, silence in quiet.items()}
    known: dict[str, dict[str, AlertGroup]] = defaultdict(dict)
    for (route_id, key), group in look.groups.items():
        known[route_id][key] = group
    groups: dict[Key, AlertGroup] = {}
    notifications: list[Notification] = []
    due = [silence.until_ms for silence in quiet.values()]
    for route in look.routes:
        alerts = [alert for alert in look.active.values() if matches(route, alert)]
        over = held_back(alerts)
        for key, root in over.items():
            held.setdefault(key, f"it comes from {root.agent or root.cluster or root.name}")
        muted = over.keys() | quiet.keys() | set(look.elsewhere)
        one = _OneRoute(look=look, route=route, pace=pace_of(route), stands=_stands(over, look.active), muted=muted)
        one.decide([alert for alert in alerts if alert.key not in muted], known[route.id], {one.key for one in alerts})
        groups |= {(route.id, key): group for key, group in one.groups.items()}
        notifications += one.notifications
        due += one.due
    return Decision(
        groups=groups,
        notifications=tuple(notifications),
        due_ms=min(due, default=None),
        held=dict(sorted(held.items())),
    )


def _said(silence: Silence) -> str:
    return f"silenced by {silence.author}" + (f": {silence.reason}" if silence.reason else "")


def _stands(over: Mapping[str, Alert], active: Mapping[str, Alert]) -> dict[str, list[AgentName]]:
    """By the key of each alert that stands for others the agents of those."""
    stands: dict[str, set[AgentName]] = defaultdict(set)
    for key, root in over.items():
        agent = active[key].agent
        if agent is not None and agent != root.agent:
            stands[root.key].add(agent)
    return {key: sorted(agents) for key, agents in stands.items()}


@dataclass(slots=True, kw_only=True)
class _OneRoute:
    """Decides for one route. `muted`: active alerts that it is not told of now, though they are none the less active.

    `stands` names the agents whose alerts an alert stands for.
    """

    look: Outlook
    route: Route
    pace: Pace
    stands: Mapping[str, Sequence[AgentName]]
    muted: Collection[str]
    groups: dict[str, AlertGroup] = field(default_factory=dict)
    notifications: list[Notification] = field(default_factory=list)
    due: list[int] = field(default_factory=list)

    def decide(self, told: Sequence[Alert], before: Mapping[str, AlertGroup], matched: Collection[str]) -> None:
        """`told` are the alerts that the route is to know of, `matched` the keys of all that are its own."""
        sorted_in = self._sorted_in(told, before)
        for key in sorted(before.keys() | sorted_in.keys()):
            group = _clamped(before.get(key) or AlertGroup(route=self.route.id, key=key), self.look.now_ms)
            after = self._group(group, sorted_in.get(key, []), matched)
            if after is not None:
                self.groups[key] = after

    def _sorted_in(self, told: Sequence[Alert], before: Mapping[str, AlertGroup]) -> dict[str, list[Alert]]:
        """Alerts by group, the most urgent first. Who was told of as one of a flood stays that until it is over."""
        flood = before[REST].told if REST in before else {}
        open_ = set(before) - {REST}
        found: dict[str, list[Alert]] = defaultdict(list)
        for alert in sorted(told, key=lambda one: (-one.severity.rank, one.at_ms, one.key)):
            key = "/".join(fact(alert, name) for name in self.pace.by)
            if alert.daemon:  # receivers know a group by its key: another daemon's must not end this one's
                key = f"{key}/{alert.daemon}"
            if alert.key in flood or (key not in open_ and len(open_) >= MAX_GROUPS):
                key = REST
            else:
                open_.add(key)
            found[key].append(alert)
        return found

    def _group(self, group: AlertGroup, now: Sequence[Alert], matched: Collection[str]) -> AlertGroup | None:
        """One group after this decision, None when it is at an end."""
        present = {alert.key for alert in now}
        kept = {key: alert for key, alert in group.told.items() if key in matched and key in self.muted}
        gone = [alert for key, alert in sorted(group.told.items()) if not (key in present or key in kept)]
        if gone and not self.route.said.tells_ends:
            left = {key: alert for key, alert in group.told.items() if key in present or key in kept}
            group, gone = replace(group, told=left), []
        if not (now or gone):
            return replace(group, pending_ms=0) if kept else None
        group, due = self._when(group, news=bool(gone) or any(_is_news(one, group.told.get(one.key)) for one in now))
        if self.look.now_ms < due:
            self.due.append(due)
            return group
        self.notifications.append(self._notification(group, now, gone))
        if now:
            self.due.append(self.look.now_ms + self.pace.repeat_ms)
        after = {alert.key: alert for alert in now} | kept
        return replace(group, pending_ms=0, told_ms=self.look.now_ms, told=after) if after else None

    def _when(self, group: AlertGroup, *, news: bool) -> tuple[AlertGroup, int]:
        """When a group is to be told of next."""
        now_ms = self.look.now_ms
        if not news:
            due = group.told_ms + self.pace.repeat_ms
            if (group.route, group.key) in self.look.unsent:  # what it was told last has not even arrived
                due = max(due, now_ms + self.pace.interval_ms)
            return replace(group, pending_ms=0), due
        group = replace(group, pending_ms=group.pending_ms or now_ms)
        if not group.told_ms:
            return group, group.pending_ms + self.pace.wait_ms
        return group, group.told_ms + self.pace.interval_ms

    def _notification(self, group: AlertGroup, now: Sequence[Alert], gone: Sequence[Alert]) -> Notification:
        said, look = self.route.said, self.look
        most = MAX_LISTED_WHOLE if said.receiver in WHOLE else MAX_LISTED
        firing = tuple(self._notice(alert) for alert in now[:most])
        resolved = tuple(Notice(alert=replace(alert, resolved=True)) for alert in gone[:most])
        hidden = len(now) - len(firing)
        title, text = worded(said, look.fleet, firing, resolved, more=hidden)
        name = f"{look.fleet}/{self.route.id}/{group.key}"
        was = [(group.told[alert.key], alert) for alert in now[:most] if alert.key in group.told]
        return Notification(
            id=hashlib.sha256(f"{name}\0{look.now_ms}".encode()).hexdigest()[:32],
            route=self.route.id,
            name=said.name,
            group=hashlib.sha256(name.encode()).hexdigest()[:32],
            key=group.key,
            fleet=look.fleet,
            at_ms=look.now_ms,
            severity=worst([one.alert for one in firing or resolved]),
            title=title,
            text=text,
            firing=firing,
            resolved=resolved,
            replaced=tuple(before for before, alert in was if _identity(before) != _identity(alert)),
            more_firing=hidden,
            more_resolved=len(gone) - len(resolved),
            lasts_ms=LASTS * self.pace.repeat_ms,
        )

    def _notice(self, alert: Alert) -> Notice:
        agents = self.stands.get(alert.key, ())
        return Notice(alert=alert, stands_for=tuple(agents[:MAX_NAMED]), more=max(0, len(agents) - MAX_NAMED))


def _is_news(alert: Alert, told: Alert | None) -> bool:
    return told is None or alert.severity.rank > told.severity.rank


def _clamped(group: AlertGroup, now_ms: int) -> AlertGroup:
    """A group without times that lie ahead: the machine's clock was set back."""
    if max(group.pending_ms, group.told_ms) <= now_ms:
        return group
    return replace(group, pending_ms=min(group.pending_ms, now_ms), told_ms=min(group.told_ms, now_ms))


def _identity(alert: Alert) -> tuple[object, ...]:
    """What a receiver that keeps alerts by their labels knows one by."""
    return alert.severity, alert.cluster, tuple(sorted(alert.labels.items()))
