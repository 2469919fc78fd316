"""Alerts: what people have to be told. Values only; who raises them knows nothing of where they go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.model.identity import AgentName


class Severity(StrEnum):
    """How soon somebody should look; in this order."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A state that people have to know of: raised when it begins, and with `resolved` when it is over.

    `key` says which state it is (`AgentUnhealthy support/triage`): the same key is the same alert, however often it is
    raised. `name` is its kind, of a small fixed set. `labels` are those of its agent, for routes. `cause` is the agent
    that it comes from, where that is another one: whoever hears of the cause need not hear of this.
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
