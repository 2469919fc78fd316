"""What receivers over HTTP are posted, one function a receiver: a notification in, JSON out. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from reconciler.model.alert import Alert, Notice, Notification, Severity

WEBHOOK_VERSION = 1
MAX_SUMMARY = 1024
"""Of PagerDuty."""
MAX_HEADER = 150
"""Of a header block of Slack."""
MAX_SECTION = 3000
"""Of a section block of Slack."""
MAX_LABEL = 1024
_COLOURS = {Severity.INFO: ":large_blue_circle:", Severity.WARNING: ":warning:", Severity.CRITICAL: ":rotating_light:"}


def moment(at_ms: int) -> str:
    """A time as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def webhook(told: Notification) -> dict[str, Any]:
    """Our own format: docs/alerts.md lists the fields. What is added later is added beside them."""
    return {
        "version": WEBHOOK_VERSION,
        "id": told.id,
        "group": told.group,
        "fleet": told.fleet,
        "route": told.name,
        "status": "resolved" if told.over else "firing",
        "severity": told.severity.value,
        "at": moment(told.at_ms),
        "title": told.title,
        "text": told.text,
        "alerts": [_plain(one) for one in (*told.firing, *told.resolved)],
        "more": told.more_firing + told.more_resolved,
    }


def _plain(notice: Notice) -> dict[str, Any]:
    alert = notice.alert
    return {
        "key": alert.key,
        "name": alert.name,
        "status": "resolved" if alert.resolved else "firing",
        "severity": alert.severity.value,
        "agent": str(alert.agent) if alert.agent is not None else None,
        "cluster": alert.cluster or None,
        "daemon": alert.daemon or None,
        "text": alert.text,
        "since": moment(alert.at_ms),
        "labels": dict(sorted(alert.labels.items())),
        "details": dict(sorted(alert.details.items())),
        "cause": str(alert.cause) if alert.cause is not None else None,
        "standsFor": {"agents": [str(name) for name in notice.stands_for], "more": notice.more},
    }


def slack(told: Notification) -> dict[str, Any]:
    """A message of an incoming webhook: a text for notifications, and blocks."""
    sign = ":white_check_mark:" if told.over else _COLOURS[told.severity]
    title, text = _cut(told.title, MAX_HEADER - len(sign) - 1), _escaped(told.text)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": f"{sign} {title}", "emoji": True}}
    ]
    if text.strip():
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, MAX_SECTION)}})
    where = f"{_escaped(told.fleet)}, route {_escaped(told.name)}, {moment(told.at_ms)}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _cut(where, MAX_SECTION)}]})
    return {"text": _escaped(told.title), "blocks": blocks}


def _escaped(text: str) -> str:
    """Text for Slack: what would be a mention or a link there is only letters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def pagerduty(told: Notification, routing_key: str) -> dict[str, Any]:
    """An event of the Events API v2: a group is an incident, resolved when nothing of it is active any more."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if told.over else "trigger",
        "dedup_key": told.group,
    }
    if told.over:
        return event
    first = told.firing[0].alert
    payload: dict[str, Any] = {
        "summary": _cut(told.title, MAX_SUMMARY) or first.name,
        "source": str(first.agent or first.cluster or f"{told.fleet} {first.daemon}".strip()),
        "severity": told.severity.value,
        "timestamp": moment(told.at_ms),
        "group": told.fleet,
        "class": first.name,
        "custom_details": {"text": told.text, "alerts": [_plain(one) for one in told.firing], "more": told.more_firing},
    }
    if first.cluster:
        payload["component"] = first.cluster
    return event | {"payload": payload, "client": "reconciler"}


def alertmanager(told: Notification) -> list[dict[str, Any]]:
    """The postableAlerts of the API v2: each alert by itself. What is told with other labels now ends as it was."""
    now = told.at_ms
    active = [_postable(one, told.fleet, now) | {"endsAt": moment(now + told.lasts_ms)} for one in told.firing]
    over = [_postable(one, told.fleet, now) | {"endsAt": moment(now)} for one in told.resolved]
    replaced = [_postable(Notice(alert=one), told.fleet, now) | {"endsAt": moment(now)} for one in told.replaced]
    return active + over + replaced


def _postable(notice: Notice, fleet: str, now_ms: int) -> dict[str, Any]:
    """None begins after its end: Alertmanager would refuse all of the message for it, where a clock was set back."""
    alert = notice.alert
    annotations = {"summary": _cut(alert.text, MAX_LABEL)} | {f"detail_{key}": v for key, v in alert.details.items()}
    if notice.stands_for:
        annotations["stands_for"] = ", ".join(map(str, notice.stands_for)) + (
            f" and {notice.more} more" if notice.more else ""
        )
    return {"labels": _labels(alert, fleet), "annotations": annotations, "startsAt": moment(min(alert.at_ms, now_ms))}


def _labels(alert: Alert, fleet: str) -> dict[str, str]:
    """Labels by which Alertmanager knows the alert. Empty ones are as good as none there, and are left out."""
    labels = {
        "alertname": alert.name,
        "fleet": fleet,
        "severity": alert.severity.value,
        "cluster": alert.cluster,
        "daemon": alert.daemon,
        "namespace": alert.agent.namespace if alert.agent is not None else "",
        "agent": alert.agent.name if alert.agent is not None else "",
        "alert": alert.key,
    }
    labels |= {f"label_{_label(key)}": value for key, value in sorted(alert.labels.items())}
    return {key: _cut(value, MAX_LABEL) for key, value in labels.items() if value}


def _label(key: str) -> str:
    """A key of Kubernetes as a label name of Prometheus."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in key)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
