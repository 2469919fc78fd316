"""Notifications as they are decided, for tests of sinks."""

from __future__ import annotations

from typing import Any

from reconciler.model.alert import Alert, Notification
from tests.alerting.builders import MIN, S, Story, alert, route

HOSTILE = '<!channel> & "quotes" \u202e\x1b[31m $100 \u00fc\U0001f600'
AGENT = alert(
    "support/triage",
    text=HOSTILE,
    labels={"team": "a", "app.kubernetes.io/part-of": "x"},
    cluster="eu",
    details={"k": "v"},
)
OTHER = alert("support/knowledge", "warning", cause="x/y")
FLEET = alert("", name="PassesFailing")


def firing(receiver: str, *alerts: Alert, **more: Any) -> Notification:
    """What a route of a receiver is told when these begin."""
    return _story(receiver, alerts, more).told[-1]


def ended(receiver: str, *alerts: Alert, **more: Any) -> Notification:
    """What it is told when they are over."""
    story = _story(receiver, alerts, more)
    story.now(after_ms=5 * MIN)
    return story.told[-1]


def worse(receiver: str) -> Notification:
    """What it is told when one gets worse."""
    story = _story(receiver, (alert("support/triage", "warning"),), {})
    story.now(alert("support/triage", "critical"), after_ms=5 * MIN)
    return story.told[-1]


def _story(receiver: str, alerts: tuple[Alert, ...], more: dict[str, Any]) -> Story:
    story = Story(routes=[route("on-call", receiver, **more)])
    story.now(*(alerts or (AGENT,)))
    story.later(10 * S)
    return story
