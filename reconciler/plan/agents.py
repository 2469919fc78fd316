"""The decision for one agent: which change it needs, if any, and what holds it.

May live here: action, objects, attributes of one agent. Must not: know budgets, order or other agents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from reconciler.model.agent import Agent, PlacementPolicy
from reconciler.model.identity import AgentName
from reconciler.model.objects import OPTIONAL_KINDS, Found, LiveSet, Manifest, Observation
from reconciler.model.plan import (
    Action,
    AttributeChange,
    Change,
    Drift,
    Hold,
    HoldCode,
    ObjectChange,
    ReasonCode,
    Verb,
)
from reconciler.model.registry import (
    AgentState,
    ClusterHealth,
    InventoryEntry,
    PlacedReplicas,
    Record,
    Reservation,
)
from reconciler.model.source import Provenance
from reconciler.plan import scaling
from reconciler.plan.attributes import Inherited, compare, created, masked, risks
from reconciler.plan.fingerprint import fingerprint
from reconciler.plan.foreign import claimed, is_meant
from reconciler.plan.guard import when
from reconciler.plan.judgement import ObjectVerdict, Terms, judge
from reconciler.plan.objects import sort_key, surplus, unknown_because, vanished
from reconciler.plan.reasons import Facts, reasons_of
from reconciler.plan.scaling import Autoscalers
from reconciler.render import render
from reconciler.spec.provenance import origin

UNFINISHED_STATES = frozenset(
    {AgentState.DEPLOYING, AgentState.REGISTERED, AgentState.TERMINATING, AgentState.RECOVERING}
)
"""States in which an apply stopped in the middle, a deletion of what is declared again included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One agent as it is to be."""

    agent: Agent
    placed: tuple[PlacedReplicas, ...]
    reservations: tuple[Reservation, ...]
    desired: Mapping[str, tuple[Manifest, ...]]
    home: str = ""
    declared: int | None = None
    """Replicas that the files ask for, where more are kept while an autoscaler goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What holds for all agents of a plan: their fleet, the clusters that it is for (none: all) and those to forget,
    how clusters are, and what autoscalers there are.
    """

    fleet: str
    autoscalers: Autoscalers
    clusters: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    health: Mapping[str, ClusterHealth] = field(default_factory=dict)
    inherited: Inherited = field(default_factory=dict)
    """Work that agents of one plan share."""

    def leaves_out(self, cluster: str) -> bool:
        """Whether a plan was asked for that is not for this cluster."""
        return bool(self.clusters) and cluster not in self.clusters


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`change` has wave 0 and no `after` yet. `left` is drift that is reported and not undone."""

    change: Change | None = None
    holds: tuple[Hold, ...] = ()
    left: tuple[Drift, ...] = ()
    unseen: tuple[tuple[str, str], ...] = ()
    """(cluster, why it cannot be seen) where something is to be done: then nothing is done there."""

    @property
    def says(self) -> bool:
        """Whether there is anything to tell."""
        return self.change is not None or bool(self.holds or self.left or self.unseen)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    changes: tuple[ObjectChange, ...]
    codes: frozenset[ReasonCode]
    drift: tuple[Drift, ...]
    foreign: tuple[str, ...]
    problems: Mapping[str, str]
    """Clusters on which something is to be done that cannot be seen, and why not."""
    untouched: tuple[str, ...]
    behind: tuple[str, ...]
    forgotten: tuple[str, ...]
    live_replicas: int


def decide(
    wanted: Wanted, record: Record | None, observations: Mapping[str, Observation[LiveSet]], reach: Reach
) -> Verdict:
    """What one declared agent needs. A cluster that cannot be seen holds back what is to be done there, and no more."""
    agent = wanted.agent
    name = agent.name
    if record and record.quarantine and record.quarantine.spec_hash == agent.spec_hash:
        return Verdict(holds=(_quarantined(record),))
    owed = _owed(wanted)
    wanted = _kept(wanted, record, observations, reach.fleet)
    found = _objects(wanted, record, observations, reach, owed)
    unseen = tuple(sorted(found.problems.items()))
    if found.foreign:
        text = f"{name}: {found.foreign[0]}"
        lift = "say `adopt: true` in the agent to take it over, or remove it from the other tool"
        return Verdict(holds=(_hold(name, HoldCode.FOREIGN_OWNER, text, lift),), unseen=unseen)
    if found.behind and not found.changes and wanted.desired.keys() <= set(found.behind):
        return Verdict(unseen=unseen)  # nothing of it is as it is wanted anywhere: none of it is on record
    change = _change(wanted, record, found, reach)
    left = tuple(item for item in found.drift if not item.undone)
    return Verdict(change=change, left=left, unseen=unseen)


def _owed(wanted: Wanted) -> set[str]:
    """Clusters on which fewer replicas are placed than on others, where the rule wants all everywhere: they take
    nothing new now.
    """
    if wanted.agent.spec.placement.policy is not PlacementPolicy.ALL:
        return set()
    most = max((share.replicas for share in wanted.placed), default=0)
    return {share.cluster for share in wanted.placed if share.replicas < most}


def _kept(
    wanted: Wanted, record: Record | None, observations: Mapping[str, Observation[LiveSet]], fleet: str
) -> Wanted:
    """The agent with as many replicas as run now, where its autoscaler goes and the files ask for fewer."""
    placed = scaling.kept(wanted.agent, wanted.placed, record.inventory if record else (), observations)
    if placed == wanted.placed:
        return wanted
    declared = sum(share.replicas for share in wanted.placed)
    exported = frozenset(
        cluster for cluster, items in wanted.desired.items() if any(item.ref.kind == "ServiceExport" for item in items)
    )
    desired = render(wanted.agent, placed, fleet=fleet, exported=exported)
    return dataclasses.replace(wanted, placed=placed, desired=desired, declared=declared)


def _hold(name: AgentName, code: HoldCode, text: str, lift: str) -> Hold:
    return Hold(code=code, agents=(name,), action=None, text=text, lift=lift)


def _quarantined(record: Record) -> Hold:
    """Nobody works on it until it changes or somebody resumes it, also where others change what runs: who repairs it by
    hand is not worked against.
    """
    quarantine = record.quarantine
    left = "; what runs is left as it is, drift too" if record.inventory else ""
    since = when(quarantine.since_ms) if quarantine else ""
    reason = quarantine.reason if quarantine else ""
    return Hold(
        code=HoldCode.QUARANTINED,
        agents=(record.name,),
        action=Action.UPDATE,
        text=f"{record.name}: this spec failed and is quarantined since {since}: {reason}{left}",
        lift=f"change the agent, or `reconciler resume {record.name}` to try it again",
    )


def _objects(
    wanted: Wanted,
    record: Record | None,
    observations: Mapping[str, Observation[LiveSet]],
    reach: Reach,
    owed: set[str],
) -> _Findings:
    held = record.inventory if record else ()
    forgotten = {entry.cluster for entry in held if entry.cluster in reach.forget}
    inventory = {(entry.cluster, entry.ref): entry for entry in held if entry.cluster not in forgotten}
    seen = {(cluster, manifest.ref) for cluster, manifests in wanted.desired.items() for manifest in manifests}
    gone = [e for key, e in inventory.items() if key not in seen and not reach.leaves_out(e.cluster)]
    retaking = {entry.cluster for entry in gone if entry.ref.kind == scaling.AUTOSCALER}
    verdicts: list[tuple[str, ObjectVerdict]] = []
    problems: dict[str, str] = {}
    behind = {cluster for cluster, ref in inventory if (cluster, ref) not in seen and reach.leaves_out(cluster)} | owed
    replicas = 0
    for cluster, manifests in wanted.desired.items():
        terms = Terms(
            fleet=reach.fleet,
            adopt=wanted.agent.spec.adopt,
            retakes=cluster in retaking,
            minimum=scaling.minimum_of(manifests) if wanted.agent.spec.autoscaling else 0,
            autoscaled=partial(reach.autoscalers.scale, cluster, scaling.deployment_of(wanted.agent)),
        )
        observation = observations.get(cluster)
        for manifest in manifests:
            entry = inventory.get((cluster, manifest.ref))
            if reach.leaves_out(cluster):
                behind |= {cluster} if entry is None or entry.hash != manifest.hash else set()
                continue
            unknown = unknown_because(observation, cluster, manifest.ref)
            if unknown or not isinstance(observation, Found):
                more = cluster in owed and not isinstance(observation, Found)
                if more or entry is None or entry.hash != manifest.hash:
                    problems.setdefault(cluster, unknown)
                continue
            there = observation.value.objects.get(manifest.ref)
            if there is not None and wanted.agent.spec.autoscaling and manifest.ref.kind == "Deployment":
                replicas += scaling.replicas_of(there)
            verdicts.append((cluster, judge(cluster, manifest, there, entry, terms)))
    removed, claims = _surplus(gone, observations, reach.fleet, problems)
    if (behind | problems.keys()) & wanted.desired.keys():  # nobody leaves for where he has not arrived
        behind |= {change.cluster for change in removed if change.cluster not in wanted.desired}
        removed = [change for change in removed if change.cluster in wanted.desired]
    kept = [verdict for cluster, verdict in verdicts if cluster not in problems]
    removed = [change for change in removed if change.cluster not in problems]
    changes = [verdict.change for verdict in kept if verdict.change is not None]
    changes.sort(key=lambda change: sort_key(change.cluster, change.ref))
    # An autoscaler goes before its replicas are taken back: until then it would write them again.
    first = [change for change in removed if change.ref.kind == scaling.AUTOSCALER]
    codes = {_code(verdict) for verdict in kept if verdict.code is not None}
    applied = record.document if record else {}
    concerned = wanted.desired.keys() | {cluster for cluster, _ in inventory}
    return _Findings(
        changes=(*first, *changes, *(change for change in removed if change not in first)),
        codes=frozenset(code for code in (*codes, ReasonCode.OBJECT_SURPLUS if removed else None) if code is not None),
        drift=tuple(masked(item, wanted.agent, applied) for verdict in kept for item in verdict.drift),
        foreign=tuple(verdict.foreign for verdict in kept if verdict.foreign) + claims,
        problems=problems,
        untouched=tuple(
            sorted(
                cluster
                for cluster in concerned | forgotten
                if cluster in problems or reach.leaves_out(cluster) or not isinstance(observations.get(cluster), Found)
            )
        ),
        behind=tuple(sorted(behind | problems.keys())),
        forgotten=tuple(sorted(forgotten)),
        live_replicas=replicas,
    )


def _code(verdict: ObjectVerdict) -> ReasonCode | None:
    """Why an object is changed. One of a kind that not every cluster has is new because this one has it."""
    kind = verdict.change.ref.kind if verdict.change is not None else ""
    optional = verdict.code is ReasonCode.NEW and any(kind == known for _, _, known in OPTIONAL_KINDS)
    return ReasonCode.EXPORTED if optional else verdict.code


def _surplus(
    gone: Sequence[InventoryEntry],
    observations: Mapping[str, Observation[LiveSet]],
    fleet: str,
    problems: dict[str, str],
) -> tuple[list[ObjectChange], tuple[str, ...]]:
    """Objects of ours that are wanted no more, in the order of deletion; and who claims some.

    One that is gone already (an apply that stopped half-way) is deleted too, by its uid: that makes sure of it, and
    takes it off the record.
    """
    removed, claims = [], []
    for entry in gone:
        observation = observations.get(entry.cluster)
        unknown = unknown_because(observation, entry.cluster, entry.ref)
        if unknown or not isinstance(observation, Found):
            problems.setdefault(entry.cluster, unknown)
            continue
        found = observation.value.objects.get(entry.ref)
        if found is None or not is_meant(found, entry.uid, fleet):
            if entry.uid:
                removed.append(vanished(entry.cluster, entry.ref, entry.uid))
            continue
        if owner := claimed(found, fleet):
            claims.append(f"{entry.ref} on {entry.cluster} belongs to {owner}")
        else:
            removed.append(surplus(entry.cluster, entry.ref, found))
    return sorted(removed, key=lambda change: sort_key(change.cluster, change.ref), reverse=True), tuple(claims)


def _change(wanted: Wanted, record: Record | None, found: _Findings, reach: Reach) -> Change | None:
    agent = wanted.agent
    attributes: tuple[AttributeChange, ...] = ()
    hidden = 0
    sensitive = frozenset(agent.sensitive)
    if record is None:
        attributes = created(agent.document, sensitive=sensitive, origins=_defaults(agent), inherited=reach.inherited)
    elif record.spec_hash != agent.spec_hash:
        attributes, hidden = compare(
            record.document, agent.document, sensitive=sensitive, origin=lambda path: origin(agent, path)
        )
    unfinished = record is not None and record.state in UNFINISHED_STATES
    moved = record is not None and _moved(record.placement, wanted.placed)
    caught_up = tuple(sorted(set(record.behind) - {*found.behind, *found.forgotten})) if record else ()
    lifted = record is not None and record.state is AgentState.QUARANTINED  # what is quarantined still got no further
    due = found.changes or unfinished or lifted or moved or attributes or caught_up or found.forgotten
    if record is not None and not due:
        return None
    facts = Facts(
        agent=agent,
        record=record,
        placed=wanted.placed,
        home=wanted.home,
        codes=found.codes,
        health=reach.health,
        attributes=attributes,
        moved=moved,
        unfinished=unfinished,
        lifted=lifted,
        caught_up=caught_up,
        forgotten=found.forgotten,
    )
    action = _action(facts, found)
    before, after = _replicas(record, wanted, found)
    return Change(
        name=agent.name,
        action=action,
        wave=0,
        after=tuple(sorted(agent.spec.depends_on)),
        reasons=reasons_of(facts),
        attributes=attributes,
        hidden=hidden,
        drift=tuple(item for item in found.drift if item.undone),
        objects=found.changes,
        risks=risks(record.document, agent.document) if record and attributes else (),
        replicas=(before, after),
        replicas_text=_replicas_text(wanted, found),
        fingerprint=fingerprint(
            agent.name,
            action,
            before=record.spec_hash if record else "",
            after=agent.spec_hash,
            objects=found.changes,
            placement=wanted.placed,
        ),
        record_version=record.version if record else 0,
        agent=agent,
        placement=wanted.placed,
        reservations=wanted.reservations,
        desired=wanted.desired,
        untouched=found.untouched,
        behind=found.behind,
        forgotten=found.forgotten,
        home=wanted.home,
    )


def _moved(before: tuple[PlacedReplicas, ...], after: tuple[PlacedReplicas, ...]) -> bool:
    return {(p.cluster, p.replicas) for p in before} != {(p.cluster, p.replicas) for p in after}


def _action(facts: Facts, found: _Findings) -> Action:
    if facts.record is None or ReasonCode.FOREIGN_OBJECT in found.codes:
        return Action.ADOPT if ReasonCode.FOREIGN_OBJECT in found.codes else Action.CREATE
    if any(change.verb is Verb.REPLACE for change in found.changes):
        return Action.REPLACE
    if facts.attributes:
        only = {attribute.path[0] for attribute in facts.attributes}
        return Action.SCALE if only <= {"replicas", "suspend"} else Action.UPDATE
    if facts.moved:
        spreads = any(c.ref.kind == "Deployment" and c.verb in (Verb.CREATE, Verb.DELETE) for c in found.changes)
        return Action.UPDATE if spreads else Action.SCALE
    repairs = bool(found.codes - {ReasonCode.OBJECT_SURPLUS, ReasonCode.EXPORTED}) or not found.changes
    return Action.RECOVER if repairs and not (facts.caught_up or facts.forgotten) else Action.UPDATE


_DEFAULT = Provenance(layer="default", revision="", position=None)


def _defaults(agent: Agent) -> dict[str, Provenance]:
    """The fields of an agent that nobody wrote."""
    written = {key for layer in agent.layers for key in layer.document.value.get("spec") or ()}
    return {key: _DEFAULT for key in agent.document if key not in written}


def _replicas(record: Record | None, wanted: Wanted, found: _Findings) -> tuple[int | None, int | None]:
    before = sum(placed.replicas for placed in record.placement) if record else 0
    if wanted.agent.spec.autoscaling or _scaled_by_others(found):
        return (before if record else None, None)
    return before, sum(placed.replicas for placed in wanted.placed)


def _scaled_by_others(found: _Findings) -> list[Drift]:
    """Replica counts that another manager holds: what we want of them is not what will be."""
    return [
        item
        for item in found.drift
        if not item.undone and item.ref.kind == "Deployment" and item.path == "spec.replicas"
    ]


def _replicas_text(wanted: Wanted, found: _Findings) -> str:
    bounds = wanted.agent.spec.autoscaling
    if bounds is not None:
        live = f", live {found.live_replicas}" if found.live_replicas else ""
        return f"autoscaled {bounds.min}-{bounds.max}{live}"
    if wanted.declared is not None:
        live = str(sum(share.replicas for share in wanted.placed))
        return f"live {live} are kept while the autoscaler goes; {wanted.declared} are declared"
    return "; ".join(f"{item.after} on {item.cluster}, left to {item.manager}" for item in _scaled_by_others(found))
