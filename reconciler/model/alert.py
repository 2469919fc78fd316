"""Alerts: what people have to be told. Values only; who raises them knows nothing of where they go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.model.agent import AlertRoute
from reconciler.model.identity import AgentName


class Severity(StrEnum):
    """How soon somebody should look; in this order."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The more urgent, the greater."""
        return list(Severity).index(self)


class Covers(StrEnum):
    """Which other alerts one stands for: whoever hears of it need not hear of them."""

    NOTHING = "nothing"
    CLUSTER = "cluster"
    """Those of agents that run on its cluster alone."""
    AGENTS = "agents"
    """Those of all agents: what looks at them is suspected, or all of them fell at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A state that people have to know of: raised when it begins, and with `resolved` when it is over.

    `key` says which state it is (`AgentUnhealthy support/triage`): the same key is the same alert, however often it is
    raised. `name` is its kind, of a small fixed set. `labels` are those of its agent, for routes. `cause` is the agent
    that it comes from, where that is another one: whoever hears of the cause need not hear of this. `daemon` is the
    one of several daemons that it is about: an alert of that name of another one is another alert.
    """

    key: str
    name: str
    severity: Severity
    text: str
    at_ms: int
    agent: AgentName | None = None
    cluster: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cause: AgentName | None = None
    resolved: bool = False
    details: Mapping[str, str] = field(default_factory=dict)
    covers: Covers = Covers.NOTHING
    daemon: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """For a while nobody is told of alerts that match all that is said here; what is "" or empty matches any.

    Somebody said so, for a reason, until `until_ms`. It ends by itself.
    """

    id: str
    author: str
    reason: str
    since_ms: int
    until_ms: int
    name: str = ""
    agent: AgentName | None = None
    namespace: str = ""
    cluster: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route as it stands: `id` tells it from all others of the fleet, `agents` are those that it is for (None: all).

    Agents that inherit one and the same route share it.
    """

    id: str
    said: AlertRoute
    agents: frozenset[AgentName] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertGroup:
    """What one route was told of one group of alerts. `told` has each alert as it was told, until its end was too.

    `pending_ms`: since when there is something new to tell, 0 for nothing. `told_ms`: when it was last told, 0 for
    never.
    """

    route: str
    key: str
    pending_ms: int = 0
    told_ms: int = 0
    told: Mapping[str, Alert] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One alert in a notification. `stands_for`: agents whose alerts are held back because of it, `more` besides."""

    alert: Alert
    stands_for: tuple[AgentName, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What one route is told at once: a group of alerts that are active, and that are over.

    `id` is the same however often it is sent, so that a receiver can tell a repetition; `group` is the same for all
    that is told of one group. `replaced` are alerts as they were told before, which are told differently now. The
    lists are bounded: `more_firing` and `more_resolved` say how many are not in them.
    """

    id: str
    route: str
    name: str
    """The route's, for people."""
    group: str
    key: str
    """What the group's alerts have in common."""
    fleet: str
    at_ms: int
    severity: Severity
    title: str
    text: str
    firing: tuple[Notice, ...] = ()
    resolved: tuple[Notice, ...] = ()
    replaced: tuple[Alert, ...] = ()
    more_firing: int = 0
    more_resolved: int = 0
    lasts_ms: int = 0
    """How long what fires counts as active for a receiver that hears no more of it."""

    @property
    def over(self) -> bool:
        """Whether nothing of the group is active any more."""
        return not self.firing


class Verdict(StrEnum):
    """What became of one attempt to send."""

    SENT = "sent"
    REFUSED = "refused"
    """The receiver will not take it, however often it is sent."""
    LATER = "later"
    """It may take it later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver answered. `text` is for people and holds no secrets. `again_s`: how long it asks to be left."""

    verdict: Verdict
    text: str
    again_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A notification that is still to be sent; `number` gives the order, `attempts` and `problem` what was tried."""

    number: int
    notification: Notification
    attempts: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What one route has not been sent yet, and what became of all that it was to be sent."""

    route: str
    queued: int = 0
    oldest_ms: int = 0
    attempts: int = 0
    problem: str = ""
    sent: int = 0
    refused: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """All that outlives a process: alerts that are active, by key, and what routes were told of them."""

    active: Mapping[str, Alert] = field(default_factory=dict)
    groups: Mapping[tuple[str, str], AlertGroup] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChange:
    """What is to be written at once: alerts and groups that are new or other, those that are gone, and what to send."""

    alerts: tuple[Alert, ...] = ()
    gone_alerts: tuple[str, ...] = ()
    groups: tuple[AlertGroup, ...] = ()
    gone_groups: tuple[tuple[str, str], ...] = ()
    notifications: tuple[Notification, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.alerts or self.gone_alerts or self.groups or self.gone_groups or self.notifications)
