"""Which routes there are, and what goes to which; which silences hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from reconciler.model.agent import Agent, AlertRoute
from reconciler.model.alert import Alert, Route, Severity, Silence
from reconciler.model.fleet import Declaration
from reconciler.model.identity import AgentName

LABEL = "labels."


def routes_of(declared: Declaration, before: Sequence[Route] = ()) -> tuple[Route, ...]:
    """The routes of a fleet and of its agents, by id. Equal routes of several agents are one.

    Agents that are declared and cannot be used now keep the routes that they had `before`; so does all of them where
    fleet.yaml cannot be used.
    """
    if declared.fleet is None:
        return tuple(before)
    fleet = [Route(id=one.name, said=one) for one in declared.fleet.alerts]
    shared: dict[str, tuple[AlertRoute, set[AgentName]]] = {}
    for name, said in _of_agents(declared.agents.values()):
        shared.setdefault(f"{said.name}~{_digest(said)}", (said, set()))[1].add(name)
    if declared.frozen_agents or declared.frozen_paths:
        for route in before:
            kept = (route.agents or frozenset()) - declared.agents.keys()
            if kept:
                shared.setdefault(route.id, (route.said, set()))[1].update(kept)
    agents = [Route(id=id_, said=said, agents=frozenset(names)) for id_, (said, names) in shared.items()]
    return tuple(sorted(fleet + agents, key=lambda route: route.id))


def _of_agents(agents: Iterable[Agent]) -> Iterable[tuple[AgentName, AlertRoute]]:
    for agent in agents:
        for said in agent.spec.alerts:
            yield agent.name, said


def _digest(said: AlertRoute) -> str:
    """What tells two routes of one name apart: where they lead, and which alerts take them."""
    told = json.dumps([dict(said.match), said.receiver, dict(said.settings)], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def matches(route: Route, alert: Alert) -> bool:
    """Whether an alert goes to a route: severity at least, and all else that it names equal."""
    if route.agents is not None and alert.agent not in route.agents:
        return False
    return all(_meets(field, wanted, alert) for field, wanted in route.said.match.items())


def _meets(field: str, wanted: str, alert: Alert) -> bool:
    if field == "severity":
        return alert.severity.rank >= Severity(wanted).rank
    return fact(alert, field) == wanted


def fact(alert: Alert, field: str) -> str:
    """One of the facts of an alert that routes match and groups are made by; "" where it has none."""
    if field.startswith(LABEL):
        return alert.labels.get(field.removeprefix(LABEL), "")
    return _FACTS[field](alert)


_FACTS: Mapping[str, Callable[[Alert], str]] = {
    "alert": lambda alert: alert.key,
    "name": lambda alert: alert.name,
    "severity": lambda alert: alert.severity.value,
    "cluster": lambda alert: alert.cluster,
    "agent": lambda alert: str(alert.agent or ""),
    "namespace": lambda alert: alert.agent.namespace if alert.agent is not None else "",
}


def silenced(alert: Alert, silences: Iterable[Silence], now_ms: int) -> Silence | None:
    """The silence that holds for an alert now; of several the one that lasts longest."""
    holding = [one for one in silences if one.since_ms <= now_ms < one.until_ms and _quiet(one, alert)]
    return max(holding, key=lambda one: (one.until_ms, one.id), default=None)


def _quiet(silence: Silence, alert: Alert) -> bool:
    wanted: Mapping[str, str] = {
        "name": silence.name,
        "cluster": silence.cluster,
        "namespace": silence.namespace,
        "agent": str(silence.agent or ""),
        **{LABEL + key: value for key, value in silence.labels.items()},
    }
    return all(fact(alert, field) == value for field, value in wanted.items() if value)
