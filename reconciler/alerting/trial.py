"""Notifications that say that they are a test: what `alerts test` sends through a route."""

from __future__ import annotations

from dataclasses import replace

from reconciler.alerting.deciding import Outlook, decide
from reconciler.model.alert import Alert, Notification, Route, Severity
from reconciler.model.units import Duration

TEST = "AlertTest"
KEEPS = frozenset({"pagerduty", "alertmanager"})
"""Receivers in which an alert stays until it is said to be over: they are told that too."""
AT_ONCE = Duration.of_ms(0)


def trial(route: Route, fleet: str, author: str, now_ms: int) -> tuple[Notification, ...]:
    """What a route is sent for a test; to a receiver that keeps alerts also that it is over."""
    text = f"This is a test by {author}. Nothing is wrong."
    alert = Alert(key=f"{TEST} {route.id} {now_ms}", name=TEST, severity=Severity.INFO, text=text, at_ms=now_ms)
    said = replace(route.said, match={}, tells_ends=True, wait=AT_ONCE, interval=AT_ONCE)
    now = Outlook(
        fleet=fleet,
        active={alert.key: alert},
        routes=[replace(route, agents=None, said=said)],
        silences=(),
        groups={},
        now_ms=now_ms,
    )
    begun = decide(now)
    if route.said.receiver not in KEEPS:
        return begun.notifications
    return (
        *begun.notifications,
        *decide(replace(now, active={}, groups=begun.groups, now_ms=now_ms + 1)).notifications,
    )
