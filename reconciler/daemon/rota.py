"""When each agent is swept next: every one by its own interval, a large fleet spread over it. No clock of its own.

Agents of one namespace go together: pods are listed by namespace, and spreading must not list any twice. An agent that
others depend on is swept at least as often as they are, so that it is known first what explains them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import KeysView, Mapping
from dataclasses import dataclass

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName

LEAST_S = 1.0
"""Nobody is swept more often, whatever is declared."""
SLOT_AGENTS = 500
"""So many agents are no work worth spreading: they are swept together."""
SLOT_S = 2.0
"""The least between two looks at the clusters that come of spreading alone."""


@dataclass(slots=True)
class _Entry:
    interval_s: float
    due: float
    phase: float = 0.0
    """When in the interval its turn comes, from the second round on."""


class Rota:
    """Who is due when. `every_s`: how often, whatever agents declare; None: as they do. Times are the caller's."""

    def __init__(self, every_s: float | None) -> None:
        self._every_s = every_s
        self._entries: dict[AgentName, _Entry] = {}
        self._agents: Mapping[AgentName, Agent] = {}
        self._began: float | None = None

    @property
    def names(self) -> KeysView[AgentName]:
        """All of them, sorted."""
        return self._entries.keys()

    def keep(self, agents: Mapping[AgentName, Agent], now: float) -> None:
        """Sweep exactly these agents from now on. Whoever is new is due at once."""
        if agents == self._agents:
            return
        self._agents = agents
        self._began = now if self._began is None else self._began
        intervals = _intervals(agents, self._every_s)
        phases = _phases(intervals)
        entries: dict[AgentName, _Entry] = {}
        for name in sorted(agents):
            interval_s, entry = intervals[name], self._entries.get(name)
            due = now if entry is None else entry.due
            if entry is not None and entry.interval_s != interval_s:
                due = min(due, now + interval_s)
            entries[name] = _Entry(interval_s, due, phases[name])
        self._entries = entries

    def pause(self, now: float) -> float | None:
        """Seconds until somebody is due; None when there is nobody."""
        if not self._entries:
            return None
        return max(0.0, min(entry.due for entry in self._entries.values()) - now)

    def due(self, now: float) -> tuple[list[AgentName], int]:
        """Who is due, each told once, and how many turns passed by unused: one that comes late is followed by none."""
        names: list[AgentName] = []
        missed = 0
        for name, entry in self._entries.items():
            if entry.due <= now:
                names.append(name)
                missed += int((now - entry.due) // entry.interval_s)
                entry.due = self._next(entry, now)
        return names, missed

    def _next(self, entry: _Entry, now: float) -> float:
        """The next of an agent's own moments that is at least half an interval away: they do not wander."""
        first = (self._began or 0.0) + entry.phase
        turns = -(-(now + entry.interval_s / 2 - first) // entry.interval_s)
        return first + max(0.0, turns) * entry.interval_s


def _phases(intervals: Mapping[AgentName, float]) -> dict[AgentName, float]:
    """Where in its interval each agent's moment is: namespaces one after the other, by how many agents they have."""
    sharing = Counter(intervals.values())
    before: Counter[float] = Counter()
    found: dict[AgentName, float] = {}
    groups: dict[tuple[str, float], list[AgentName]] = {}
    for name, interval_s in intervals.items():
        groups.setdefault((name.namespace, interval_s), []).append(name)
    for (_namespace, interval_s), names in sorted(groups.items()):
        slots = max(1, min(-(-sharing[interval_s] // SLOT_AGENTS), int(interval_s // SLOT_S)))
        slot = before[interval_s] * slots // sharing[interval_s]
        before[interval_s] += len(names)
        for name in names:
            found[name] = slot * interval_s / slots
    return found


def _intervals(agents: Mapping[AgentName, Agent], every_s: float | None) -> dict[AgentName, float]:
    if every_s is not None:
        return dict.fromkeys(agents, every_s)
    found = {name: max(LEAST_S, agent.spec.health.interval.seconds) for name, agent in agents.items()}
    # towards those depended on, the shortest first: each is lowered once
    pending = sorted(found, key=found.__getitem__, reverse=True)
    pending = [name for name in pending if agents[name].spec.depends_on]
    while pending:
        name = pending.pop()
        for other in agents[name].spec.depends_on:
            if found.get(other, 0.0) > found[name]:
                found[other] = found[name]
                pending.append(other)
    return found
