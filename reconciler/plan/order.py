"""The one ordering function: waves from `wave` and `dependsOn`, ties broken by name.

Source of the method: Kahn's topological sort over required edges. Cycles are refused when a fleet is read; one that
gets here all the same is broken by leaving its agents in the wave that they ask for.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName


def waves(agents: Mapping[AgentName, Agent]) -> dict[AgentName, int]:
    """The wave of each agent: at least its own `wave`, and one more than that of all it depends on."""
    asking = {name: agent for name, agent in agents.items() if agent.spec.depends_on}
    result = {name: agent.spec.wave for name, agent in agents.items()}
    waiting = {name: sum(other in agents for other in agent.spec.depends_on) for name, agent in asking.items()}
    dependents: dict[AgentName, list[AgentName]] = {}
    for name, agent in asking.items():
        for other in agent.spec.depends_on:
            if other in agents:
                dependents.setdefault(other, []).append(name)
    ready = sorted(name for name in dependents if not waiting.get(name))
    while ready:
        here = ready.pop()
        for name in dependents.get(here, ()):
            result[name] = max(result[name], result[here] + 1)
            waiting[name] -= 1
            if not waiting[name]:
                ready.append(name)
    return result


def deletion_waves(depends_on: Mapping[AgentName, tuple[AgentName, ...]], first: int) -> dict[AgentName, int]:
    """Waves for agents that go, from `first` on: an agent goes before what it depends on. Ties by name.

    `depends_on` maps each leaving agent to the agents that it depends on.
    """
    depth: dict[AgentName, int] = {}
    waiting = dict.fromkeys(depends_on, 0)
    for others in depends_on.values():
        for other in others:
            if other in waiting:
                waiting[other] += 1
    ready = sorted(name for name, count in waiting.items() if not count)
    for name in ready:
        depth[name] = first
    while ready:
        here = ready.pop()
        for other in depends_on[here]:
            if other in waiting:
                depth[other] = max(depth.get(other, first), depth[here] + 1)
                waiting[other] -= 1
                if not waiting[other]:
                    ready.append(other)
    return {name: depth.get(name, first) for name in depends_on}
