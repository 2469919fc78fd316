"""Alerts as people and programs read them: what is active, what waits to be sent, and silences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.cli.output import table
from reconciler.cli.views.records import age, moment
from reconciler.model.alert import Alert, Silence, Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of alerts. Not `known` where no daemon has kept any; silences are known all the same.

    `held` says of alerts that somebody is not told of them, and why; `told` are keys of which somebody was.
    """

    known: bool
    now_ms: int
    silences: tuple[Silence, ...] = ()
    active: tuple[Alert, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    waiting: tuple[Waiting, ...] = ()
    receivers: Mapping[str, str] = field(default_factory=dict)

    def status(self, alert: Alert) -> str:
        """Whether anybody knows of an alert."""
        if alert.key in self.held:
            return self.held[alert.key]
        return "told" if alert.key in self.told else "not told yet, or to nobody"


def as_text(kept: Kept) -> str:
    """Tables, those that have no rows left out."""
    parts = []
    if kept.active:
        rows = [
            (one.severity.value, one.name, str(one.agent or one.cluster or "-"), age(one.at_ms, kept.now_ms),
             kept.status(one), one.text)
            for one in sorted(kept.active, key=lambda one: (-one.severity.rank, one.at_ms, one.key))
        ]  # fmt: skip
        parts.append(table(("SEVERITY", "ALERT", "OF", "SINCE", "STATUS", "WHAT"), rows))
    else:
        parts.append("No alert is active." if kept.known else "Nothing is known of alerts here.")
    if kept.waiting:
        lines = [
            (one.route, kept.receivers.get(one.route, "gone"), str(one.queued),
             age(one.oldest_ms, kept.now_ms) if one.queued else "-", str(one.attempts), str(one.sent),
             str(one.refused), str(one.dropped), one.problem or "-")
            for one in kept.waiting
        ]  # fmt: skip
        headers = ("ROUTE", "RECEIVER", "QUEUED", "OLDEST", "ATTEMPTS", "SENT", "REFUSED", "DROPPED", "PROBLEM")
        parts.append(table(headers, lines))
    if kept.silences:
        quiet = [
            (one.id, matching(one), moment(one.until_ms), one.author, one.reason)
            for one in sorted(kept.silences, key=lambda one: (one.until_ms, one.id))
        ]
        parts.append(table(("SILENCE", "OF", "UNTIL", "BY", "REASON"), quiet))
    return "\n\n".join(parts)


def matching(silence: Silence) -> str:
    """Which alerts a silence is for."""
    parts = [silence.name, str(silence.agent or ""), silence.namespace and f"namespace={silence.namespace}"]
    parts += [silence.cluster and f"cluster={silence.cluster}"]
    parts += [f"{key}={value}" for key, value in sorted(silence.labels.items())]
    return ",".join(part for part in parts if part) or "all"


def as_json(kept: Kept) -> dict[str, Any]:
    """The same as JSON values."""
    return {
        "known": kept.known,
        "alerts": [
            {
                "key": one.key, "name": one.name, "severity": one.severity.value,
                "agent": str(one.agent) if one.agent is not None else None, "cluster": one.cluster or None,
                "since": moment(one.at_ms), "text": one.text, "told": one.key in kept.told,
                "held": kept.held.get(one.key),
            }
            for one in kept.active
        ],
        "routes": [
            {
                "route": one.route, "receiver": kept.receivers.get(one.route), "queued": one.queued,
                "oldest": moment(one.oldest_ms) or None, "attempts": one.attempts, "sent": one.sent,
                "refused": one.refused, "dropped": one.dropped, "problem": one.problem or None,
            }
            for one in kept.waiting
        ],
        "silences": [silence_json(one) for one in kept.silences],
    }  # fmt: skip


def silence_json(one: Silence) -> dict[str, Any]:
    return {
        "id": one.id, "author": one.author, "reason": one.reason, "since": moment(one.since_ms),
        "until": moment(one.until_ms), "name": one.name or None, "agent": str(one.agent) if one.agent else None,
        "namespace": one.namespace or None, "cluster": one.cluster or None, "labels": dict(one.labels),
    }  # fmt: skip
