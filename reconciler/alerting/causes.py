"""Inhibition: which alerts need not be told to a route, because it is told of what they come from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from reconciler.model.alert import Alert, Covers
from reconciler.model.identity import AgentName


def held_back(alerts: Iterable[Alert]) -> dict[str, Alert]:
    """Of the alerts that go to one route those that another one of them stands for, by key, and which one that is.

    The one that stands for others is never held back itself: of agents that blame each other in a circle the first by
    name is told.
    """
    given = sorted(alerts, key=lambda alert: alert.key)
    by_agent: dict[AgentName, list[Alert]] = defaultdict(list)
    for alert in given:
        if alert.agent is not None:
            by_agent[alert.agent].append(alert)
    roots = {name: root for name in by_agent if (root := _root(name, by_agent)) != name}
    covering = [alert for alert in given if alert.covers is not Covers.NOTHING]
    held: dict[str, Alert] = {}
    for alert in given:
        over = _covered(alert, covering)
        if over is None and alert.agent in roots and alert.cause in by_agent:
            over = by_agent[roots[alert.agent]][0]
            over = _covered(over, covering) or over
        if over is not None:
            held[alert.key] = over
    return held


def _root(name: AgentName, by_agent: Mapping[AgentName, list[Alert]]) -> AgentName:
    """The agent that an agent's trouble comes from: itself, where anything of it comes from nowhere else."""
    path = [name]
    while (cause := _cause(path[-1], by_agent)) is not None:
        if cause in path:
            return min(path[path.index(cause) :])
        path.append(cause)
    return path[-1]


def _cause(name: AgentName, by_agent: Mapping[AgentName, list[Alert]]) -> AgentName | None:
    causes = [alert.cause for alert in by_agent[name]]
    known = [cause for cause in causes if cause is not None and cause in by_agent and cause != name]
    return min(known) if len(known) == len(causes) else None


def _covered(alert: Alert, covering: Iterable[Alert]) -> Alert | None:
    """The alert that covers another one. What covers all agents is told whatever becomes of a cluster."""
    if alert.agent is None:
        return None
    for other in covering:
        if other.key == alert.key:
            continue
        if other.covers is Covers.AGENTS or (alert.cluster and alert.cluster == other.cluster):
            return other
    return None
