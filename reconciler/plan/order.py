"""The one ordering function: waves from `wave` and `dependsOn`, ties broken by name.

Cycles are refused when a fleet is read; the agents of one that gets here all the same are named, to be held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName


def waves(agents: Mapping[AgentName, Agent], names: Iterable[AgentName]) -> tuple[dict[AgentName, int], set[AgentName]]:
    """The wave of each of `names`, and the agents that stand in a cycle.

    A wave is at least the agent's own `wave`, and one more than that of all it depends on, whether these change or
    not: so an agent's wave follows from what is declared alone. Looks at no more agents than it must.
    """
    levels: dict[AgentName, int] = {}
    cyclic: set[AgentName] = set()
    for name in names:
        _climb(agents, name, levels, cyclic)
    return levels, cyclic


def _climb(
    agents: Mapping[AgentName, Agent], start: AgentName, levels: dict[AgentName, int], cyclic: set[AgentName]
) -> None:
    """Depth first, with a stack of our own: chains may be as long as the fleet."""
    trail: dict[AgentName, None] = {}
    stack = [start]
    while stack:
        name = stack[-1]
        if name in levels:
            trail.pop(name, None)
            stack.pop()
            continue
        spec = agents[name].spec
        known = [other for other in spec.depends_on if other in agents]
        if name not in trail:
            trail[name] = None
            open_ = [other for other in known if other not in levels]
            stack += [other for other in open_ if other not in trail]
            for other in open_:
                if other in trail:
                    path = list(trail)
                    cyclic.update(path[path.index(other) :])
            if open_:
                continue
        levels[name] = max([spec.wave, *(levels[other] + 1 for other in known if other in levels)])


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
