"""make_plan: all agents decided, guarded, ordered.

May live here: the assembly of a Plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from reconciler.model.agent import Agent
from reconciler.model.fleet import FleetSpec
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found, LiveSet, Observation, Unreadable
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
from reconciler.model.registry import Approval, Record, RegistrySnapshot
from reconciler.plan import aside, away, guard, windows
from reconciler.plan.agents import Reach, Verdict, Wanted, decide
from reconciler.plan.approval import lifting
from reconciler.plan.fingerprint import fingerprint
from reconciler.plan.foreign import claimed, is_meant
from reconciler.plan.inputs import PlanInput
from reconciler.plan.memory import PlanCache, View
from reconciler.plan.objects import sort_key, stray, surplus, unknown_because
from reconciler.plan.order import deletion_waves, waves
from reconciler.plan.scaling import Autoscalers
from reconciler.spec.build import agent_name

__all__ = ["PlanCache", "PlanInput", "make_plan"]


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
        self.levels: dict[AgentName, int] = {}
        self.strangers: dict[str, str] = {}
        self.unseen: dict[tuple[str, str], list[AgentName]] = {}
        self.approvals: tuple[Approval, ...] = ()

    def plan(self) -> Plan:
        given = self.given
        fleet = given.declaration.fleet
        match given.registry:
            case Found(RegistrySnapshot() as snapshot) if fleet is not None:
                self.records = snapshot.records
                self.approvals = snapshot.fleet.approvals if snapshot.fleet is not None else ()
                self._plan(fleet, snapshot)
            case Unreadable(reason=reason) if fleet is not None:
                names = tuple(sorted(given.declaration.agents))
                text = f"the registry cannot be read, so nothing is planned: {reason}"
                self._hold(HoldCode.UNREADABLE, names, text, "restore the registry, then plan again")
            case _ if fleet is None:
                names = tuple(sorted({*given.declaration.agents, *given.declaration.frozen_agents}))
                text = "fleet.yaml cannot be used, so nothing is planned"
                self._hold(HoldCode.INVALID, names, text, "mend fleet.yaml; `reconciler validate` shows the place")
            case _:
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
            idle=tuple(sorted(cluster.name for cluster in fleet.clusters if cluster.runs_nothing)) if fleet else (),
            policy=self.policy,
        )

    def _plan(self, fleet: FleetSpec, snapshot: RegistrySnapshot) -> None:
        given, policy = self.given, self.policy
        self.cache.standing.refresh(self.records, given.declaration.agents)
        strangers = self.strangers = guard.strangers(given.identities, snapshot.fleet, policy.accept_clusters)
        observations: dict[str, Observation[LiveSet]] = {
            **given.observations,
            **{cluster: Unreadable(reason=text) for cluster, text in strangers.items()},
        }
        if not policy.destroy:
            self.holds += [hold for hold in guard.invalid(given.declaration) if self._targeted(hold.agents)]
            self.holds += [hold for hold in given.placement_holds if self._targeted(hold.agents)]
            self._declared(fleet, observations)
            notes = away.notes(given, self.records, snapshot.clusters, {change.name for change in self.changes})
            self.holds += [hold for hold in notes if self._targeted(hold.agents)]
        self._departures(fleet, observations)
        self.holds += guard.unseen(self.unseen, strangers, given.placed)
        others = guard.elsewhere(self.unseen, strangers, self.records)
        self.holds += [hold for hold in others if self._targeted(hold.agents)]
        bound = windows.bound(self.changes, fleet.windows, self.records, given.now_ms, ignored=policy.ignore_windows)
        self.changes = list(bound.changes)
        self.holds += bound.holds
        self._cycles()
        self._dependents()

    def _declared(self, fleet: FleetSpec, observations: Mapping[str, Observation[LiveSet]]) -> None:
        given, policy = self.given, self.policy
        skipped = {name for hold in given.placement_holds for name in hold.agents}
        if policy.targets:
            skipped |= given.declaration.agents.keys() - set(policy.targets)
        view = View(
            given=given,
            fleet=fleet.name,
            records=self.records,
            observations=observations,
            skipped=frozenset(skipped),
            terms=(
                fleet.name,
                policy.targets,
                policy.clusters,
                policy.forget_clusters,
                tuple(sorted(given.clusters.items())),
            ),
        )

        scope = Reach(
            fleet=fleet.name,
            autoscalers=Autoscalers(observations),
            clusters=policy.clusters,
            forget=policy.forget_clusters,
            health=given.clusters,
        )

        def judged(agent: Agent, record: Record | None) -> Verdict:
            wanted = Wanted(
                agent=agent,
                placed=given.placed.get(agent.name, ()),
                reservations=given.reservations.get(agent.name, ()),
                desired=given.desired.get(agent.name, {}),
                home=given.homes.get(agent.name, ""),
            )
            return decide(wanted, record, observations, scope)

        self.cache.refresh(view, judged)
        for name in sorted(self.cache.verdicts):
            self._take(name, self.cache.verdicts[name])
        if policy.targets:
            held = [*guard.invalid(given.declaration), *given.placement_holds]
            agents, records = given.declaration.agents, self.records
            self.holds += aside.needed(policy.targets, agents, lambda one: judged(one, records.get(one.name)), held)
        else:
            self.left += [stray(cluster, ref, fleet.name) for cluster, ref in sorted(self.cache.strays)]
        self._suspended()
        by_hand = guard.overridden(self.cache.standing.by_hand, self.records, given.now_ms)
        self.holds += [hold for hold in by_hand if self._targeted(hold.agents)]

    def _take(self, name: AgentName, verdict: Verdict) -> None:
        if verdict.change is not None:
            self.changes.append(verdict.change)
        self.holds += verdict.holds
        self.left += verdict.left
        for unknown in verdict.unseen:
            self.unseen.setdefault(unknown, []).append(name)

    def _targeted(self, names: Iterable[AgentName]) -> bool:
        return not self.policy.targets or any(name in self.policy.targets for name in names)

    def _reached(self, record: Record) -> bool:
        """Whether a plan for some clusters only reaches all of an agent: one is deleted as a whole, or not at all."""
        clusters = self.policy.clusters
        return not clusters or all(entry.cluster in clusters for entry in record.inventory)

    def _hold(self, code: HoldCode, names: tuple[AgentName, ...], text: str, lift: str, *, blocks: bool = True) -> None:
        self.holds.append(Hold(code=code, agents=names, action=None, text=text, lift=lift, blocks_exit=blocks))

    def _suspended(self) -> None:
        """Suspended agents are no trouble, but nobody should wonder why they do not run."""
        for name in self.cache.standing.by_hand:
            if self.records[name].suspended and self._targeted((name,)):
                lift = f"`reconciler resume {name}` ends it"
                self._hold(HoldCode.SUSPENDED, (name,), f"{name} is suspended by hand", lift, blocks=False)

    def _departures(self, fleet: FleetSpec, observations: Mapping[str, Observation[LiveSet]]) -> None:
        names = sorted(self.records if self.policy.destroy else self.cache.standing.undeclared)
        going, holds = guard.departures(names, self.given.declaration, self.records, self.policy)
        going = [record for record in going if self._targeted((record.name,)) and self._reached(record)]
        self.holds += [hold for hold in holds if self._targeted(hold.agents)]
        hold = guard.deletions(
            going,
            self.records,
            self.given.declaration,
            policy=self.policy,
            rewound=self.given.rewound,
            budget=fleet.deletions,
        )
        allowed = None
        if hold is not None:
            allowed = lifting(hold, self.given.declaration.revision, self.approvals, self.given.now_ms)
            if allowed is None:
                self.holds.append(hold)
                return
        for record in going:
            self._delete(record, fleet.name, observations, allowed)
        if self.policy.targets:
            leaving = {record.name for record in going}
            self.holds += aside.needing(leaving, {name: self._depended(name) for name in self.records if leaving})

    def _delete(
        self,
        record: Record,
        fleet: str,
        observations: Mapping[str, Observation[LiveSet]],
        allowed: Approval | None,
    ) -> None:
        """Delete an agent wherever it can be seen; where it cannot it stays on record until it can."""
        blind: dict[str, str] = {}
        forgotten = {entry.cluster for entry in record.inventory if entry.cluster in self.policy.forget_clusters}
        inventory = [entry for entry in record.inventory if entry.cluster not in forgotten]
        for entry in inventory:
            if problem := unknown_because(observations.get(entry.cluster), entry.cluster, entry.ref):
                blind.setdefault(entry.cluster, problem)
        for item in blind.items():
            self.unseen.setdefault(item, []).append(record.name)
        if blind and not forgotten and all(entry.cluster in blind for entry in inventory):
            return
        objects = []
        for entry in inventory:
            observation = observations.get(entry.cluster)
            if entry.cluster in blind or not isinstance(observation, Found):
                continue
            live = observation.value.objects.get(entry.ref)
            if live is None or not is_meant(live, entry.uid, fleet):
                continue
            if owner := claimed(live, fleet):
                text = f"{record.name}: {entry.ref} on {entry.cluster} belongs to {owner}"
                self._hold(HoldCode.FOREIGN_OWNER, (record.name,), text, "take it from the other tool, then plan again")
                return
            objects.append(surplus(entry.cluster, entry.ref, live))
        objects.sort(key=lambda change: sort_key(change.cluster, change.ref), reverse=True)
        code = ReasonCode.DESTROY if self.policy.destroy else ReasonCode.REMOVED_FROM_GIT
        text = "asked for by destroy" if self.policy.destroy else "declared nowhere any more"
        if allowed is not None:
            text += f"; approved by {allowed.author}" + (f": {allowed.reason}" if allowed.reason else "")
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
                untouched=tuple(sorted({*blind, *forgotten})),
                behind=tuple(sorted(blind)),
                forgotten=tuple(sorted(forgotten)),
            )
        )

    def _cycles(self) -> None:
        """Find every wave; agents that wait for each other are held, for no order would be right."""
        doing = [change.name for change in self.changes if change.action is not Action.DELETE]
        self.levels, cyclic = waves(self.given.declaration.agents, doing)
        if cyclic:
            names = tuple(sorted(cyclic))
            text = f"a cycle in dependsOn: {guard.names_text(names)} wait for each other"
            self._hold(HoldCode.INVALID, names, text, "take one of them out of the other's dependsOn")
            self.changes = [change for change in self.changes if change.name not in cyclic]

    def _dependents(self) -> None:
        """Agents whose dependency is not there yet and is held wait for it; one that runs already is no obstacle."""
        held = {name for hold in self.holds if hold.blocks_exit for name in hold.agents}
        coming = {change.name for change in self.changes}
        absent = {name for name in held if name not in self.records and name not in coming}
        waiting: dict[AgentName, list[AgentName]] = {}
        dependents: dict[AgentName, list[Change]] = {}
        for change in self.changes:
            for other in change.after if change.action is not Action.DELETE else ():
                dependents.setdefault(other, []).append(change)
        queue = sorted(absent)
        while queue:
            missing = queue.pop()
            for change in dependents.get(missing, ()):
                if change.name not in waiting and change.name not in self.records:
                    queue.append(change.name)
                waiting.setdefault(change.name, []).append(missing)
        self.changes = [change for change in self.changes if change.name not in waiting]
        for name, others in sorted(waiting.items()):
            text = f"{name} waits for {guard.names_text(sorted(others))}, which is held"
            self._hold(HoldCode.DEPENDENCY, (name,), text, "lift what holds the other")

    def _ordered(self) -> list[Change]:
        """Changes by wave and name; deletions after all else, in reverse of their dependencies."""
        if not self.changes:
            return []
        levels = self.levels
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
            Completeness(source=cluster, problem=self.strangers.get(cluster) or _problem(observation))
            for cluster, observation in sorted(given.observations.items())
            if not self.policy.clusters or cluster in self.policy.clusters
        ]
        problem = f"unreadable ({given.registry.reason})" if isinstance(given.registry, Unreadable) else ""
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


def _problem(observation: Observation[LiveSet]) -> str:
    match observation:
        case Found(value=live):
            parts = [
                f"{kind} in {namespace or 'all namespaces'}: {reason}"
                for (kind, namespace), reason in sorted(live.unreadable.items())
            ]
            return "; ".join(parts)
        case Unreadable(reason=reason):
            return f"unreadable ({reason})"
    return "not observed"
