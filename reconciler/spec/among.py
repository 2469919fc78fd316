"""Agents judged among each other: clusters that placements select, agents that others depend on.

May live here: rules over the agents and the fleet of one revision. Must not: judge one agent alone, or read files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.model.agent import Agent, ClusterSelector
from reconciler.model.fleet import FleetSpec
from reconciler.model.identity import AgentName
from reconciler.model.source import Diagnostic
from reconciler.spec.nearest import Suggestions
from reconciler.spec.resolve import Source, placed
from reconciler.spec.shape import Problem
from reconciler.spec.validate import selects

_Edges = Mapping[AgentName, Sequence[AgentName]]
MAX_SHOWN = 12


def judged(
    agents: Collection[Agent], *, declared: Collection[AgentName], fleet: FleetSpec | None, source: Source
) -> dict[AgentName, tuple[Diagnostic, ...]]:
    """The agents that cannot stand beside the others as they are, and why.

    An agent that depends on an invalid one stays valid: that one is `declared`, and left as it is.
    """
    found: dict[AgentName, list[Problem]] = {}
    for name, problem in (*_placements(agents, fleet), *_dependencies(agents, declared), *_services(agents)):
        found.setdefault(name, []).append(problem)
    layers = {agent.name: agent.layers for agent in agents if agent.name in found} if found else {}
    return {name: tuple(placed(problems, layers[name], source)) for name, problems in found.items()}


def _placements(agents: Iterable[Agent], fleet: FleetSpec | None) -> Iterator[tuple[AgentName, Problem]]:
    """Placements that select no cluster. Agents on one template share the selector, so each is judged once."""
    if fleet is None:
        return
    verdicts: dict[int, bool] = {}
    names = [cluster.name for cluster in fleet.clusters]
    hint = f"the fleet has {', '.join(names[:MAX_SHOWN])}" + (" and others" if len(names) > MAX_SHOWN else "")
    for agent in agents:
        selector: ClusterSelector = agent.spec.placement.clusters
        if selector.everything:
            continue
        if id(selector) not in verdicts:
            verdicts[id(selector)] = any(selects(selector, cluster) for cluster in fleet.clusters)
        if not verdicts[id(selector)]:
            message = "the placement selects no cluster"
            path = ("placement", "clusters")
            yield agent.name, Problem(code="no-cluster", message=message, path=path, hint=hint, key=True)


def _services(agents: Collection[Agent]) -> Iterator[tuple[AgentName, Problem]]:
    """A Service's name begins with a letter: that of `9a` is called `a-9a`, which may be another agent's."""
    names = {agent.name for agent in agents}
    for name in names:
        other = AgentName(namespace=name.namespace, name=f"a-{name.name}")
        if name.name[0].isdigit() and other in names:
            message = f"its Service would be called {other.name}, as that of the agent {other}"
            yield name, Problem(code="same-service", message=message, path=(), hint="call one of them otherwise")


def _dependencies(agents: Iterable[Agent], declared: Collection[AgentName]) -> Iterator[tuple[AgentName, Problem]]:
    suggestions = Suggestions(map(str, declared))
    edges = {agent.name: agent.spec.depends_on for agent in agents if agent.spec.depends_on}
    for name, others in edges.items():
        for index, other in enumerate(others):
            if other not in declared:
                path = ("dependsOn", f"[{index}]")
                hint = suggestions.hint(str(other))
                message = f"unknown agent '{other}' in dependsOn"
                yield name, Problem(code="unknown-dependency", message=message, path=path, hint=hint)
    for circle in circles(edges):
        shown = [str(member) for member in circle.chain]
        if len(shown) > MAX_SHOWN:
            shown = [*shown[: MAX_SHOWN // 2], "...", *shown[-MAX_SHOWN // 2 :]]
        problem = Problem(
            code="dependency-cycle",
            message=f"dependsOn goes in a circle: {' -> '.join(shown)}",
            path=("dependsOn",),
        )
        for name in circle.members:
            yield name, problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """Agents that all wait for each other. `chain` is a shortest way round, its first member again at the end."""

    members: tuple[AgentName, ...]
    chain: tuple[AgentName, ...]


def circles(edges: _Edges) -> list[Circle]:
    """All groups of agents that wait for each other, sorted. Linear in agents and edges, without recursion."""
    found = []
    inner = {name: [other for other in others if other in edges] for name, others in edges.items()}
    for group in _components(inner):
        members = sorted(group)
        start = members[0]
        if len(members) > 1 or start in edges[start]:
            inside = {name: [other for other in edges[name] if other in group] for name in group}
            found.append(Circle(members=tuple(members), chain=_round(start, inside)))
    return sorted(found, key=lambda circle: circle.members)


def _components(edges: _Edges) -> Iterator[set[AgentName]]:
    """Strongly connected components (R. Tarjan, 1972), with an explicit stack."""
    order: dict[AgentName, int] = {}
    low: dict[AgentName, int] = {}
    open_: dict[AgentName, None] = {}
    for root in edges:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        open_[root] = None
        work = [(root, iter(edges[root]))]
        while work:
            name, others = work[-1]
            for other in others:
                if other not in order:
                    order[other] = low[other] = len(order)
                    open_[other] = None
                    work.append((other, iter(edges[other])))
                    break
                if other in open_:
                    low[name] = min(low[name], order[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == order[name]:
                    group = set()
                    while name not in group:
                        group.add(open_.popitem()[0])
                    yield group


def _round(start: AgentName, edges: _Edges) -> tuple[AgentName, ...]:
    """A shortest way from `start` back to it, both ends included. There is one: `edges` are strongly connected."""
    came: dict[AgentName, AgentName] = {}
    level = [start]
    while start not in came:
        beyond = []
        for here in level:
            for there in edges[here]:
                if there not in came:
                    came[there] = here
                    beyond.append(there)
        level = beyond
    chain = [start, came[start]]
    while chain[-1] != start:
        chain.append(came[chain[-1]])
    return tuple(reversed(chain))
