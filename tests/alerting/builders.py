"""Alerts, routes and decisions for tests, complete with the least that they need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.alerting import Decision, Outlook, decide
from reconciler.model.agent import AlertRoute
from reconciler.model.alert import Alert, AlertGroup, Notification, Route, Severity, Silence
from reconciler.model.identity import AgentName
from reconciler.model.units import Duration

START_MS = 1_800_000_000_000
S = 1000
MIN = 60 * S
HOUR = 60 * MIN


def name(text: str) -> AgentName:
    return AgentName.parse(text)


def alert(agent: str = "support/triage", severity: str = "critical", **more: Any) -> Alert:
    """An agent's; `agent` "" for one of the fleet."""
    kind = more.pop("name", "AgentUnhealthy")
    cause = more.pop("cause", None)
    return Alert(
        **{
            "key": f"{kind} {agent}".strip(),
            "name": kind,
            "severity": Severity(severity),
            "text": "nothing of it serves",
            "at_ms": START_MS,
            "agent": name(agent) if agent else None,
            "cause": name(cause) if cause else None,
            **more,
        }
    )


def route(called: str = "on-call", receiver: str = "webhook", **more: Any) -> Route:
    """A route of the fleet; times as they are written."""
    agents = more.pop("agents", None)
    said: dict[str, Any] = {
        key: Duration.parse(value) if key in {"wait", "interval", "repeat"} else value for key, value in more.items()
    }
    settings = said.pop("settings", {"urlEnv": "ONCALL_URL"})
    return Route(id=called, said=AlertRoute(name=called, receiver=receiver, settings=settings, **said), agents=agents)


def silence(until_ms: int = START_MS + HOUR, **more: Any) -> Silence:
    given: dict[str, Any] = {
        "id": "s1",
        "author": "ann",
        "reason": "we know",
        "since_ms": START_MS,
        "until_ms": until_ms,
    }
    return Silence(**given | more)


@dataclass
class Story:
    """Decides again and again, each time after what was decided before."""

    routes: Sequence[Route] = field(default_factory=lambda: (route(),))
    silences: Sequence[Silence] = ()
    fleet: str = "acme"
    now_ms: int = START_MS
    active: Mapping[str, Alert] = field(default_factory=dict)
    groups: Mapping[tuple[str, str], AlertGroup] = field(default_factory=dict)
    told: list[Notification] = field(default_factory=list)
    last: Decision | None = None

    def now(self, *alerts: Alert, after_ms: int = 0) -> Sequence[Notification]:
        """These are active `after_ms` later; answers what is told then."""
        self.active = {one.key: one for one in alerts}
        return self.later(after_ms)

    def later(self, ms: int, unsent: Iterable[tuple[str, str]] = ()) -> Sequence[Notification]:
        """Nothing changed; time went by."""
        self.now_ms += ms
        self.last = decide(
            Outlook(
                fleet=self.fleet, active=self.active, routes=self.routes, silences=self.silences, groups=self.groups,
                now_ms=self.now_ms, unsent=frozenset(unsent),
            )
        )  # fmt: skip
        self.groups = self.last.groups
        self.told += self.last.notifications
        return self.last.notifications

    def raised_at(self, one: Alert) -> Alert:
        return replace(one, at_ms=self.now_ms)


def keys(notification: Notification) -> tuple[list[str], list[str]]:
    """What fires and what is over, by key."""
    return (
        [one.alert.key for one in notification.firing],
        [one.alert.key for one in notification.resolved],
    )
