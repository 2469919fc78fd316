"""The words of a notification: its title and text, by our template or the route's own."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model.agent import AlertRoute
from reconciler.model.alert import Alert, Notice, Severity
from reconciler.model.alerttext import filled

TITLE = "[$status] $name $agent ($fleet)"
TEXT = "$alerts"
MAX_TITLE = 200
MAX_TEXT = 8_000
MAX_LINE = 600
MAX_LINES = 25


def worded(
    said: AlertRoute, fleet: str, firing: Sequence[Notice], resolved: Sequence[Notice], *, more: int = 0
) -> tuple[str, str]:
    """Title and text of a notification. `more` are alerts that are not among the given ones."""
    shown = firing or resolved
    first = shown[0].alert
    values = {
        "status": "firing" if firing else "resolved",
        "fleet": fleet,
        "route": said.name,
        "severity": worst([one.alert for one in shown]).value,
        "count": str(len(shown) + (more if firing else 0)),
        "name": first.name,
        "agent": _whom(shown, more),
        "namespace": first.agent.namespace if first.agent is not None else "",
        "cluster": first.cluster,
        "summary": _flat(first.text),
        "alerts": "\n".join(_lines(firing, resolved, more)),
    }
    title = filled(said.title or TITLE, values)
    text = filled(said.text or TEXT, values)
    return _cut(" ".join(title.split()), MAX_TITLE), _cut(text, MAX_TEXT)


def worst(alerts: Sequence[Alert]) -> Severity:
    """The most urgent severity of alerts, of which there is one at least."""
    return max((alert.severity for alert in alerts), key=lambda severity: severity.rank)


def _whom(shown: Sequence[Notice], more: int) -> str:
    first = shown[0].alert
    others = len(shown) - 1 + more
    whom = str(first.agent) if first.agent is not None else first.cluster
    return f"{whom} and {others} more".strip() if others else whom


def _lines(firing: Sequence[Notice], resolved: Sequence[Notice], more: int) -> list[str]:
    lines = [_line(one) for one in firing]
    lines += [f"over: {_line(one)}" for one in resolved]
    hidden = more + max(0, len(lines) - MAX_LINES)
    return lines[:MAX_LINES] + ([f"and {hidden} more"] if hidden else [])


def _line(notice: Notice) -> str:
    alert = notice.alert
    whom = str(alert.agent) if alert.agent is not None else alert.cluster
    line = f"{alert.severity.value}: {alert.name} {whom}".rstrip() + f": {_flat(alert.text)}"
    if notice.stands_for:
        names = ", ".join(map(str, notice.stands_for)) + (f" and {notice.more} more" if notice.more else "")
        line += f" [alerts of {names} come from this and are not told]"
    return _cut(line, MAX_LINE)


def _flat(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def one_line(alert: Alert) -> str:
    """An alert in a line."""
    return _line(Notice(alert=alert))
