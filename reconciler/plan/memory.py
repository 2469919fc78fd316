"""What a plan remembers from the last one, so that one changed agent of ten thousand costs little.

May live here: finding what differs between two inputs, by identity first. Must not: decide anything of its own; a plan
with a warm memory equals one with a cold memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.model.agent import Agent
from reconciler.model.differing import differing
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import TRACKING_ANNOTATION, Found, LiveObject, LiveSet, Observation
from reconciler.model.registry import Record
from reconciler.plan.agents import Verdict
from reconciler.plan.foreign import other_tool
from reconciler.plan.inputs import PlanInput
from reconciler.plan.scaling import AUTOSCALER, target

Decide = Callable[[Agent, Record | None], Verdict]
Place = tuple[str, ObjectRef]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One input as it was judged: `records` of the snapshot, `observations` without clusters that are not ours.

    `skipped` are agents that something else holds already; `terms` is all that concerns every agent alike.
    """

    given: PlanInput
    fleet: str
    records: Mapping[AgentName, Record]
    observations: Mapping[str, Observation[LiveSet]]
    skipped: frozenset[AgentName]
    terms: tuple[Any, ...]

    def objects(self) -> dict[str, Mapping[ObjectRef, LiveObject]]:
        """Live objects of the clusters that could be read."""
        return {name: seen.value.objects for name, seen in self.observations.items() if isinstance(seen, Found)}

    def conditions(self) -> dict[str, Any]:
        """How far each cluster could be read."""
        return {name: dict(o.value.unreadable) if isinstance(o, Found) else o for name, o in self.observations.items()}


@dataclass(slots=True)
class Standing:
    """What a plan says of agents by their records alone, looked for again only where a record or an agent changed.

    `undeclared` are on record and not among the agents; `by_hand` are both, and suspended or scaled by hand.
    """

    records: Mapping[AgentName, Record] = field(default_factory=dict)
    agents: Mapping[AgentName, Agent] = field(default_factory=dict)
    undeclared: set[AgentName] = field(default_factory=set)
    by_hand: set[AgentName] = field(default_factory=set)

    def refresh(self, records: Mapping[AgentName, Record], agents: Mapping[AgentName, Agent]) -> None:
        """Bring both sets up to date."""
        for name in {*differing(self.records, records), *differing(self.agents, agents)}:
            record, declared = records.get(name), name in agents
            by_hand = record is not None and declared and (record.suspended or record.override is not None)
            _mark(self.undeclared, name, so=record is not None and not declared)
            _mark(self.by_hand, name, so=by_hand)
        self.records, self.agents = records, agents


def _mark(names: set[AgentName], name: AgentName, *, so: bool) -> None:
    if so:
        names.add(name)
    else:
        names.discard(name)


@dataclass(slots=True)
class PlanCache:
    """Verdicts that are still true. Give the same one to every plan of one fleet.

    `verdicts` holds agents that needed something; `owners` says whose each object is, by cluster; `strays` are live
    objects that carry our mark and are nobody's.
    """

    standing: Standing = field(default_factory=Standing)
    last: View | None = None
    verdicts: dict[AgentName, Verdict] = field(default_factory=dict)
    owners: dict[str, dict[ObjectRef, AgentName]] = field(default_factory=dict)
    strays: set[Place] = field(default_factory=set)

    def refresh(self, view: View, decide: Decide) -> None:
        """Bring `verdicts` and `strays` up to date with `view`, asking `decide` for no more agents than need it."""
        last, self.last = self.last, None  # what fails half-way is forgotten
        changed = _changed(last, view, self.owners) if last is not None else None
        if last is None or changed is None:
            self._from_nothing(view, decide)
        else:
            self._again(last, view, decide, *changed)
        self.last = view

    def _from_nothing(self, view: View, decide: Decide) -> None:
        self.verdicts, self.strays, self.owners = {}, set(), {name: {} for name in view.observations}
        for name, record in view.records.items():
            for entry in record.inventory:
                self.owners.setdefault(entry.cluster, {})[entry.ref] = name
        agents = view.given.declaration.agents
        for name in agents:
            self._judge(name, view, decide)
            if name in self.verdicts:
                self._own(name, _desired(name, view))
        for cluster, objects in view.objects().items():
            known = self.owners[cluster]
            self._sift(view, ((cluster, ref) for ref in objects if ref not in known))

    def _again(
        self, last: View, view: View, decide: Decide, names: Iterable[AgentName], places: Iterable[Place]
    ) -> None:
        touched = set(places)
        for name in names:
            for cluster, ref in _places(name, last):
                touched.add((cluster, ref))
                if self.owners.get(cluster, {}).get(ref) == name:
                    del self.owners[cluster][ref]
        for name in names:
            touched.update(_places(name, view))
            self._own(name, _places(name, view))
            self._judge(name, view, decide)
        self._sift(view, touched)

    def _own(self, name: AgentName, places: Iterable[Place]) -> None:
        for cluster, ref in places:
            self.owners.setdefault(cluster, {})[ref] = name

    def _judge(self, name: AgentName, view: View, decide: Decide) -> None:
        agent = view.given.declaration.agents.get(name)
        self.verdicts.pop(name, None)
        if agent is not None and name not in view.skipped:
            verdict = decide(agent, view.records.get(name))
            if verdict.says:
                self.verdicts[name] = verdict

    def _sift(self, view: View, places: Iterable[Place]) -> None:
        objects = view.objects()
        for place in places:
            cluster, ref = place
            live = objects.get(cluster, {}).get(ref)
            if live is not None and ref not in self.owners.get(cluster, {}) and _ours(live, view.fleet):
                self.strays.add(place)
            else:
                self.strays.discard(place)


def _ours(live: LiveObject, fleet: str) -> bool:
    """Whether an object carries this fleet's mark, and is no other tool's and nobody's part."""
    mark = (live.metadata.get("annotations") or {}).get(TRACKING_ANNOTATION)
    return isinstance(mark, str) and mark.endswith(f":{fleet}") and not other_tool(live, fleet)


def _desired(name: AgentName, view: View) -> list[Place]:
    wanted = view.given.desired.get(name, {})
    return [(cluster, manifest.ref) for cluster, manifests in wanted.items() for manifest in manifests]


def _places(name: AgentName, view: View) -> list[Place]:
    record = view.records.get(name)
    held = [(entry.cluster, entry.ref) for entry in record.inventory] if record else []
    return held + _desired(name, view)


def _changed(
    last: View, view: View, owners: Mapping[str, Mapping[ObjectRef, AgentName]]
) -> tuple[list[AgentName], list[Place]] | None:
    """Agents and objects that may be judged differently than last time; None where everything may."""
    if last.terms != view.terms or last.conditions() != view.conditions():
        return None
    before, now = last.given, view.given
    names: set[AgentName] = set(last.skipped ^ view.skipped)
    names.update(differing(before.declaration.agents, now.declaration.agents))
    names.update(differing(last.records, view.records, _same_record))
    names.update(differing(before.desired, now.desired))
    names.update(differing(before.placed, now.placed, tuple.__eq__))
    names.update(differing(before.homes, now.homes, str.__eq__))
    places: list[Place] = []
    old = last.objects()
    for cluster, objects in view.objects().items():
        for ref in differing(old[cluster], objects, _same_object):
            places.append((cluster, ref))
            names.update(_concerned(ref, (old[cluster].get(ref), objects.get(ref)), owners.get(cluster, {})))
    return sorted(names), places


def _concerned(
    ref: ObjectRef, sides: Iterable[LiveObject | None], owners: Mapping[ObjectRef, AgentName]
) -> Iterable[AgentName]:
    """Whose verdict an object is part of: its agent's, and for anybody's autoscaler the agent's that it scales."""
    refs = {ref}
    if ref.kind == AUTOSCALER:
        refs |= {found for live in sides if live is not None and (found := target(live)) is not None}
    return [owner for one in refs if (owner := owners.get(one)) is not None]


def _same_record(before: Record, now: Record) -> bool:
    """Records count their own writes."""
    return before.version == now.version and before.id == now.id


def _same_object(before: LiveObject, now: LiveObject) -> bool:
    return before.uid == now.uid and before.resource_version == now.resource_version
