"""make_plan: all agents decided, guarded, ordered.

May live here: the assembly of a Plan, and the cache that saves deciding again what has not changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import is_
from typing import Any

from reconciler.model.agent import Agent
from reconciler.model.fleet import FleetSpec
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found, LiveSet, Manifest, Observation, Unreadable
from reconciler.model.plan import (
    Action,
    BlastRadius,
    Change,
    Completeness,
    Drift,
    Hold,
    HoldCode,
    Plan,
    Reason,
    ReasonCode,
)
from reconciler.model.registry import AgentState, Record, RegistrySnapshot
from reconciler.plan import guard
from reconciler.plan.agents import Verdict, Wanted, decide
from reconciler.plan.fingerprint import fingerprint
from reconciler.plan.inputs import PlanInput
from reconciler.plan.objects import sort_key, surplus, unreadable
from reconciler.plan.order import deletion_waves, waves
from reconciler.spec.build import agent_name

__all__ = ["PlanCache", "PlanInput", "make_plan"]

_Nothing = Verdict()


@dataclass(slots=True)
class PlanCache:
    """Verdicts of agents that needed nothing, by the identity of all that they were judged by."""

    quiet: dict[AgentName, tuple[Any, ...]] = field(default_factory=dict)
    waves: tuple[Mapping[AgentName, Agent] | None, dict[AgentName, int]] = (None, {})


def make_plan(given: PlanInput, cache: PlanCache | None = None) -> Plan:
    """The plan that brings what was observed to what is declared.

    Never raises for anything in its input: what cannot be planned is held, with the reason. `cache` only saves work.
    """
    return _Planner(given, cache if cache is not None else PlanCache()).plan()


class _Planner:
    def __init__(self, given: PlanInput, cache: PlanCache) -> None:
        self.given, self.cache = given, cache
        self.policy = given.policy
        self.holds: list[Hold] = []
        self.changes: list[Change] = []
        self.left: list[Drift] = []
        self.records: Mapping[AgentName, Record] = {}

    def plan(self) -> Plan:
        given = self.given
        fleet = given.declaration.fleet
        match given.registry:
            case Found(RegistrySnapshot() as snapshot) if fleet is not None:
                self.records = snapshot.records
                self._plan(fleet, snapshot)
            case Unreadable(reason=reason) if fleet is not None:
                names = tuple(sorted(given.declaration.agents))
                text = f"the registry cannot be read, so nothing is planned: {reason}"
                self._hold(HoldCode.UNREADABLE, names, text, "restore the registry, then plan again")
            case Found() | Unreadable():
                pass
            case _ if fleet is not None:
                self._plan(fleet, RegistrySnapshot(seq=0, fleet=None, records={}))
        return Plan(
            fleet=fleet.name if fleet else "",
            revision=given.declaration.revision,
            completeness=self._completeness(),
            changes=tuple(self._ordered()),
            holds=tuple(sorted(self.holds, key=lambda hold: (hold.code, hold.agents, hold.text))),
            blast_radius=self._radius(),
            diagnostics=given.declaration.diagnostics,
            drift=tuple(sorted(self.left, key=lambda item: (item.cluster, item.ref, item.path))),
            partial=bool(self.policy.targets or self.policy.clusters),
            agents=len(given.declaration.agents) + len(given.declaration.frozen_agents),
            policy=self.policy,
        )

    def _plan(self, fleet: FleetSpec, snapshot: RegistrySnapshot) -> None:
        given, policy = self.given, self.policy
        strangers = guard.strangers(given.identities, snapshot.fleet)
        for text in strangers.values():
            lift = "point it at the right cluster; for a rebuilt one, remove its pin from the registry"
            self._hold(HoldCode.OTHER_CLUSTER, (), text, lift)
        observations: dict[str, Observation[LiveSet]] = {
            **given.observations,
            **{cluster: Unreadable(reason=text) for cluster, text in strangers.items()},
        }
        if not policy.destroy:
            self.holds += guard.invalid(given.declaration)
            self.holds += [hold for hold in given.placement_holds if self._targeted(hold.agents)]
            self._declared(fleet, observations)
        self._departures(fleet, observations)
        self._dependents()

    def _declared(self, fleet: FleetSpec, observations: Mapping[str, Observation[LiveSet]]) -> None:
        given = self.given
        held = {name for hold in given.placement_holds for name in hold.agents}
        targets = frozenset(self.policy.targets)
        tokens = (*self.policy.clusters, *map(self._token, observations.values()))
        for name, agent in given.declaration.agents.items():
            if name in held or (targets and name not in targets):
                continue
            record = self.records.get(name)
            desired = given.desired.get(name, {})
            key = (agent, record, desired, given.placed.get(name), *tokens)
            known = self.cache.quiet.get(name)
            if known is not None and len(known) == len(key) and all(map(is_, known, key)):
                continue
            verdict = self._decide(agent, record, desired, observations, fleet)
            if verdict == _Nothing:
                self.cache.quiet[name] = key
            else:
                self.cache.quiet.pop(name, None)
                self._take(verdict)
        self._suspended()

    @staticmethod
    def _token(observation: Observation[LiveSet]) -> object:
        return observation.value.objects if isinstance(observation, Found) else observation

    def _decide(
        self,
        agent: Agent,
        record: Record | None,
        desired: Mapping[str, tuple[Manifest, ...]],
        observations: Mapping[str, Observation[LiveSet]],
        fleet: FleetSpec,
    ) -> Verdict:
        wanted = Wanted(
            agent=agent,
            placed=self.given.placed.get(agent.name, ()),
            reservations=self.given.reservations.get(agent.name, ()),
            desired=desired,
        )
        return decide(wanted, record, observations, fleet=fleet.name, clusters=self.policy.clusters)

    def _take(self, verdict: Verdict) -> None:
        if verdict.change is not None:
            self.changes.append(verdict.change)
        self.holds += verdict.holds
        self.left += verdict.left

    def _targeted(self, names: Iterable[AgentName]) -> bool:
        return not self.policy.targets or any(name in self.policy.targets for name in names)

    def _hold(self, code: HoldCode, names: tuple[AgentName, ...], text: str, lift: str, *, blocks: bool = True) -> None:
        self.holds.append(Hold(code=code, agents=names, action=None, text=text, lift=lift, blocks_exit=blocks))

    def _suspended(self) -> None:
        """Suspended agents are no trouble, but nobody should wonder why they do not run."""
        for name, record in self.records.items():
            if record.suspended and name in self.given.declaration.agents and self._targeted((name,)):
                lift = f"`reconciler resume {name}` ends it"
                self._hold(HoldCode.SUSPENDED, (name,), f"{name} is suspended by hand", lift, blocks=False)

    def _departures(self, fleet: FleetSpec, observations: Mapping[str, Observation[LiveSet]]) -> None:
        going, holds = guard.departures(self.given.declaration, self.records, self.policy)
        going = [record for record in going if self._targeted((record.name,))]
        self.holds += [hold for hold in holds if self._targeted(hold.agents)]
        hold = guard.deletions(
            going,
            self.records,
            self.given.declaration,
            policy=self.policy,
            rewound=self.given.rewound,
            budget=fleet.deletions,
        )
        if hold is not None:
            self.holds.append(hold)
            return
        for record in going:
            self._delete(record, observations)

    def _delete(self, record: Record, observations: Mapping[str, Observation[LiveSet]]) -> None:
        objects = []
        for entry in record.inventory:
            observation = observations.get(entry.cluster)
            problem = guard.unreadable_text(entry.cluster, observation)
            if not problem and isinstance(observation, Found):
                problem = unreadable(observation.value, entry.ref)
            if problem or not isinstance(observation, Found):
                text = f"{record.name} is not deleted: {entry.cluster} cannot be read ({problem})"
                self._hold(HoldCode.UNREADABLE, (record.name,), text, "restore access, then plan again")
                return
            live = observation.value.objects.get(entry.ref)
            if live is not None and entry.uid in ("", live.uid):
                objects.append(surplus(entry.cluster, entry.ref, live))
        objects.sort(key=lambda change: sort_key(change.cluster, change.ref), reverse=True)
        code = ReasonCode.DESTROY if self.policy.destroy else ReasonCode.REMOVED_FROM_GIT
        text = "asked for by destroy" if self.policy.destroy else "declared nowhere any more"
        self.changes.append(
            Change(
                name=record.name,
                action=Action.DELETE,
                wave=0,
                after=(),
                reasons=(Reason(code=code, text=text),),
                attributes=(),
                hidden=0,
                drift=(),
                objects=tuple(objects),
                risks=(),
                replicas=(sum(placed.replicas for placed in record.placement), 0),
                replicas_text="",
                fingerprint=fingerprint(
                    record.name,
                    Action.DELETE,
                    before=record.spec_hash,
                    after="",
                    objects=tuple(objects),
                    placement=(),
                ),
                record_version=record.version,
            )
        )

    def _dependents(self) -> None:
        """Agents whose dependency is not there yet and is held wait for it; one that runs already is no obstacle."""
        held = {name for hold in self.holds if hold.blocks_exit for name in hold.agents}
        absent = {name for name in held if name not in self.records or self.records[name].state is AgentState.GONE}
        waiting = True
        while waiting:
            waiting = False
            for change in list(self.changes):
                missing = sorted(name for name in change.after if name in absent)
                if change.action is not Action.DELETE and missing:
                    self.changes.remove(change)
                    text = f"{change.name} waits for {guard.names_text(missing)}, which is held"
                    self._hold(HoldCode.DEPENDENCY, (change.name,), text, "lift what holds the other")
                    if change.action in (Action.CREATE, Action.ADOPT):
                        absent.add(change.name)
                        waiting = True

    def _ordered(self) -> list[Change]:
        """Changes by wave and name; deletions after all else, in reverse of their dependencies."""
        if not self.changes:
            return []
        agents = self.given.declaration.agents
        if self.cache.waves[0] is not agents:
            self.cache.waves = (agents, waves(agents))
        levels = self.cache.waves[1]
        changed = {change.name for change in self.changes}
        kept = [
            dataclasses.replace(
                change, wave=levels[change.name], after=tuple(name for name in change.after if name in changed)
            )
            for change in self.changes
            if change.action is not Action.DELETE
        ]
        going = [change for change in self.changes if change.action is Action.DELETE]
        first = max((change.wave for change in kept), default=-1) + 1
        last = deletion_waves({change.name: self._depended(change.name) for change in going}, first)
        kept += [dataclasses.replace(change, wave=last[change.name]) for change in going]
        return sorted(kept, key=lambda change: (change.wave, change.name))

    def _depended(self, name: AgentName) -> tuple[AgentName, ...]:
        names = self.records[name].document.get("dependsOn") or ()
        return tuple(agent_name(str(other), name.namespace) for other in names)

    def _completeness(self) -> tuple[Completeness, ...]:
        given = self.given
        found = [
            Completeness(source=cluster, problem=_problem(cluster, observation))
            for cluster, observation in sorted(given.observations.items())
        ]
        problem = given.registry.reason if isinstance(given.registry, Unreadable) else ""
        return (*found, Completeness(source="registry", problem=problem))

    def _radius(self) -> tuple[BlastRadius, ...]:
        """Templates that this plan's changes come from, with how many agents each reaches."""
        reached: dict[str, set[AgentName]] = {}
        for change in self.changes:
            if self.records.get(change.name) is None:
                continue
            for attribute in change.attributes:
                layer = attribute.origin.layer if attribute.origin else ""
                if layer.startswith("template "):
                    reached.setdefault(layer.removeprefix("template "), set()).add(change.name)
        total = len(self.given.declaration.agents) + len(self.given.declaration.frozen_agents)
        return tuple(
            BlastRadius(template=template, changed=tuple(sorted(names)), total=total)
            for template, names in sorted(reached.items())
        )


def _problem(cluster: str, observation: Observation[LiveSet]) -> str:
    problem = guard.unreadable_text(cluster, observation)
    if not problem and isinstance(observation, Found):
        parts = [
            f"{kind} in {namespace or 'all namespaces'}: {reason}"
            for (kind, namespace), reason in sorted(observation.value.unreadable.items())
        ]
        return "; ".join(parts)
    return problem
