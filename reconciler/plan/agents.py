"""The decision for one agent: which change it needs, if any, and what holds it.

May live here: action, reasons, attributes of one agent. Must not: know budgets, order or other agents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName, FieldPath, format_path
from reconciler.model.objects import Found, LiveSet, Manifest, Observation
from reconciler.model.plan import (
    Action,
    AttributeChange,
    Change,
    Drift,
    Hold,
    HoldCode,
    ObjectChange,
    Reason,
    ReasonCode,
    Verb,
)
from reconciler.model.registry import AgentState, InventoryEntry, PlacedReplicas, Record, Reservation
from reconciler.model.source import Provenance
from reconciler.plan import scaling
from reconciler.plan.attributes import OriginOf, compare, masked, risks
from reconciler.plan.fingerprint import fingerprint
from reconciler.plan.guard import when
from reconciler.plan.objects import ObjectVerdict, Terms, claimed, judge, sort_key, surplus, unknown_because, vanished
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
    declared: int | None = None
    """Replicas that the files ask for, where more are kept while an autoscaler goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`change` has wave 0 and no `after` yet. `left` is drift that is reported and not undone."""

    change: Change | None = None
    holds: tuple[Hold, ...] = ()
    left: tuple[Drift, ...] = ()
    unseen: tuple[tuple[str, str], ...] = ()
    """(cluster, why it cannot be seen) where something is to be done: then nothing is."""

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
    live_replicas: int


def decide(
    wanted: Wanted,
    record: Record | None,
    observations: Mapping[str, Observation[LiveSet]],
    *,
    fleet: str,
    clusters: tuple[str, ...],
    autoscalers: Autoscalers | None = None,
) -> Verdict:
    """What one declared agent needs. `autoscalers` are those of `observations`."""
    agent = wanted.agent
    name = agent.name
    if record and record.quarantine and record.quarantine.spec_hash == agent.spec_hash:
        return Verdict(holds=(_quarantined(record),))
    wanted = _kept(wanted, record, observations, fleet)
    known = autoscalers or Autoscalers(observations)
    found = _objects(wanted, record, observations, known, fleet=fleet, clusters=clusters)
    if found.problems:
        return Verdict(unseen=tuple(sorted(found.problems.items())))
    if found.foreign:
        text = f"{name}: {found.foreign[0]}"
        lift = "say `adopt: true` in the agent to take it over, or remove it from the other tool"
        return Verdict(holds=(_hold(name, HoldCode.FOREIGN_OWNER, text, lift),))
    change = _change(wanted, record, found)
    left = tuple(item for item in found.drift if not item.undone)
    return Verdict(change=change, left=left)


def _kept(
    wanted: Wanted, record: Record | None, observations: Mapping[str, Observation[LiveSet]], fleet: str
) -> Wanted:
    """The agent with as many replicas as run now, where its autoscaler goes and the files ask for fewer."""
    placed = scaling.kept(wanted.agent, wanted.placed, record.inventory if record else (), observations)
    if placed == wanted.placed:
        return wanted
    declared = sum(share.replicas for share in wanted.placed)
    desired = render(wanted.agent, placed, fleet=fleet)
    return dataclasses.replace(wanted, placed=placed, desired=desired, declared=declared)


def _hold(name: AgentName, code: HoldCode, text: str, lift: str) -> Hold:
    return Hold(code=code, agents=(name,), action=None, text=text, lift=lift)


def _quarantined(record: Record) -> Hold:
    quarantine = record.quarantine
    since = when(quarantine.since_ms) if quarantine else ""
    reason = quarantine.reason if quarantine else ""
    return Hold(
        code=HoldCode.QUARANTINED,
        agents=(record.name,),
        action=Action.UPDATE,
        text=f"{record.name}: this spec failed and is quarantined since {since}: {reason}",
        lift=f"change the agent, or `reconciler resume {record.name}` to try it again",
    )


def _objects(
    wanted: Wanted,
    record: Record | None,
    observations: Mapping[str, Observation[LiveSet]],
    autoscalers: Autoscalers,
    *,
    fleet: str,
    clusters: tuple[str, ...],
) -> _Findings:
    inventory = {(entry.cluster, entry.ref): entry for entry in record.inventory} if record else {}
    here = {c: manifests for c, manifests in wanted.desired.items() if not clusters or c in clusters}
    seen = {(cluster, manifest.ref) for cluster, manifests in wanted.desired.items() for manifest in manifests}
    gone = [e for key, e in inventory.items() if key not in seen and (not clusters or e.cluster in clusters)]
    retaking = {entry.cluster for entry in gone if entry.ref.kind == scaling.AUTOSCALER}
    verdicts: list[ObjectVerdict] = []
    problems: dict[str, str] = {}
    replicas = 0
    for cluster, manifests in here.items():
        terms = Terms(
            fleet=fleet,
            adopt=wanted.agent.spec.adopt,
            retakes=cluster in retaking,
            minimum=scaling.minimum_of(manifests) if wanted.agent.spec.autoscaling else 0,
            autoscaled=partial(autoscalers.scale, cluster, scaling.deployment_of(wanted.agent)),
        )
        observation = observations.get(cluster)
        for manifest in manifests:
            entry = inventory.get((cluster, manifest.ref))
            unknown = unknown_because(observation, cluster, manifest.ref)
            if unknown or not isinstance(observation, Found):
                if entry is None or entry.hash != manifest.hash:
                    problems.setdefault(cluster, unknown)
                continue
            there = observation.value.objects.get(manifest.ref)
            if there is not None and wanted.agent.spec.autoscaling and manifest.ref.kind == "Deployment":
                replicas += scaling.replicas_of(there)
            verdicts.append(judge(cluster, manifest, there, entry, terms))
    removed, claims = _surplus(gone, observations, fleet, problems)
    changes = [verdict.change for verdict in verdicts if verdict.change is not None]
    changes.sort(key=lambda change: sort_key(change.cluster, change.ref))
    # An autoscaler goes before its replicas are taken back: until then it would write them again.
    first = [change for change in removed if change.ref.kind == scaling.AUTOSCALER]
    codes = {verdict.code for verdict in verdicts if verdict.code is not None}
    return _Findings(
        changes=(*first, *changes, *(change for change in removed if change not in first)),
        codes=frozenset(codes | ({ReasonCode.OBJECT_SURPLUS} if removed else set())),
        drift=tuple(masked(item, wanted.agent) for verdict in verdicts for item in verdict.drift),
        foreign=tuple(verdict.foreign for verdict in verdicts if verdict.foreign) + claims,
        problems=problems,
        live_replicas=replicas,
    )


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
        if found is None or entry.uid not in ("", found.uid):
            if entry.uid:
                removed.append(vanished(entry.cluster, entry.ref, entry.uid))
            continue
        if owner := claimed(found, fleet):
            claims.append(f"{entry.ref} on {entry.cluster} belongs to {owner}")
        else:
            removed.append(surplus(entry.cluster, entry.ref, found))
    return sorted(removed, key=lambda change: sort_key(change.cluster, change.ref), reverse=True), tuple(claims)


def _change(wanted: Wanted, record: Record | None, found: _Findings) -> Change | None:
    agent = wanted.agent
    attributes: tuple[AttributeChange, ...] = ()
    hidden = 0
    if record is None or record.spec_hash != agent.spec_hash:
        attributes, hidden = compare(
            record.document if record else {},
            agent.document,
            sensitive=frozenset(agent.sensitive),
            origin=(lambda path: origin(agent, path)) if record else _default_or_not(agent),
        )
    unfinished = record is not None and record.state in UNFINISHED_STATES
    moved = record is not None and _moved(record.placement, wanted.placed)
    if record is not None and not found.changes and not unfinished and not moved and not attributes:
        return None
    action = _action(record, attributes, found, moved=moved)
    reasons = _reasons(wanted, record, attributes, found, moved=moved, unfinished=unfinished)
    before, after = _replicas(record, wanted, found)
    return Change(
        name=agent.name,
        action=action,
        wave=0,
        after=tuple(sorted(agent.spec.depends_on)),
        reasons=reasons,
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
    )


def _moved(before: tuple[PlacedReplicas, ...], after: tuple[PlacedReplicas, ...]) -> bool:
    return {(p.cluster, p.replicas) for p in before} != {(p.cluster, p.replicas) for p in after}


def _action(record: Record | None, attributes: tuple[AttributeChange, ...], found: _Findings, *, moved: bool) -> Action:
    if record is None or ReasonCode.FOREIGN_OBJECT in found.codes:
        return Action.ADOPT if ReasonCode.FOREIGN_OBJECT in found.codes else Action.CREATE
    if any(change.verb is Verb.REPLACE for change in found.changes):
        return Action.REPLACE
    if attributes:
        only = {attribute.path[0] for attribute in attributes}
        return Action.SCALE if only <= {"replicas", "suspend"} else Action.UPDATE
    if moved:
        spreads = any(c.ref.kind == "Deployment" and c.verb in (Verb.CREATE, Verb.DELETE) for c in found.changes)
        return Action.UPDATE if spreads else Action.SCALE
    repairs = bool(found.codes - {ReasonCode.OBJECT_SURPLUS}) or not found.changes
    return Action.RECOVER if repairs else Action.UPDATE


def _reasons(
    wanted: Wanted,
    record: Record | None,
    attributes: tuple[AttributeChange, ...],
    found: _Findings,
    *,
    moved: bool,
    unfinished: bool,
) -> tuple[Reason, ...]:
    agent = wanted.agent
    if record is None:
        extra = [ReasonCode.FOREIGN_OBJECT] if ReasonCode.FOREIGN_OBJECT in found.codes else []
        first = Reason(code=ReasonCode.NEW, text="declared in Git, not in the registry", origin=_own(agent))
        return (first, *(Reason(code=code, text=_TEXTS[code]) for code in extra))
    reasons = []
    if attributes:
        reasons.append(_because(agent, attributes))
    if moved and not any(attribute.path[0] in ("replicas", "suspend") for attribute in attributes):
        reasons.append(_moved_reason(wanted, record))
    if unfinished:
        reasons.append(Reason(code=ReasonCode.UNFINISHED, text=_TEXTS[ReasonCode.UNFINISHED]))
    reasons += [
        Reason(code=code, text=_TEXTS[code])
        for code in sorted(found.codes - {ReasonCode.NEW, ReasonCode.UNFINISHED})
        if code not in (ReasonCode.OBJECT_MISSING, ReasonCode.OBJECT_SURPLUS) or not (attributes or moved)
    ]
    if not reasons:
        reasons.append(Reason(code=ReasonCode.RENDERING_CHANGED, text=_TEXTS[ReasonCode.RENDERING_CHANGED]))
    return tuple(reasons)


_TEXTS = {
    ReasonCode.UNFINISHED: "an earlier apply did not finish",
    ReasonCode.DRIFT: "changed outside of Git",
    ReasonCode.OBJECT_MISSING: "an object is gone from the cluster",
    ReasonCode.OBJECT_SURPLUS: "an object is not wanted any more",
    ReasonCode.FOREIGN_OBJECT: "exists already and is taken over",
    ReasonCode.IMMUTABLE_FIELD: "a field that cannot be changed differs",
    ReasonCode.RENDERING_CHANGED: "this version of the program renders it differently",
}


_DEFAULT = Provenance(layer="default", revision="", position=None)


def _default_or_not(agent: Agent) -> OriginOf:
    """For a new agent only what is a default matters: places of all its fields would cost ten times as much."""
    written = {key for layer in agent.layers for key in layer.document.value.get("spec") or ()}
    return lambda path: None if path[0] in written else _DEFAULT


def _own(agent: Agent) -> Provenance:
    return Provenance(layer="agent", revision=agent.layers[-1].document.revision, position=agent.position)


def _because(agent: Agent, attributes: tuple[AttributeChange, ...]) -> Reason:
    """Why the spec changed: a template, when all that changed was written in templates."""
    first = next((item.origin for item in attributes if item.origin and item.origin.position), None)
    templates = sorted({item.origin.layer for item in attributes if item.origin})
    paths: list[FieldPath] = [attribute.path for attribute in attributes]
    where = first if first and first.position else _own(agent)
    if templates and all(layer.startswith("template ") for layer in templates):
        return Reason(code=ReasonCode.TEMPLATE_CHANGED, text=f"{', '.join(templates)} changed", origin=where)
    if all(path[0] == "replicas" for path in paths):
        return Reason(code=ReasonCode.REPLICAS_CHANGED, text="replicas changed", origin=where)
    if all(path[0] == "suspend" for path in paths):
        code = ReasonCode.SUSPENDED if agent.spec.suspend else ReasonCode.RESUMED
        return Reason(code=code, text=f"{code} in Git", origin=where)
    return Reason(code=ReasonCode.SPEC_CHANGED, text=f"{format_path(paths[0])} changed", origin=where)


def _moved_reason(wanted: Wanted, record: Record) -> Reason:
    agent = wanted.agent
    override = record.override
    if override is not None:
        until = f" until {when(override.until_ms)}" if override.until_ms else ""
        because = f": {override.reason}" if override.reason else ""
        text = f"scaled by hand to {override.replicas} by {override.author}{until}{because}"
        return Reason(code=ReasonCode.OVERRIDE, text=text)
    if record.suspended:
        return Reason(code=ReasonCode.SUSPENDED, text=f"suspended by hand; `reconciler resume {agent.name}` ends it")
    if record.state is AgentState.SUSPENDED:
        return Reason(code=ReasonCode.RESUMED, text="resumed")
    if {p.cluster for p in record.placement} == {p.cluster for p in wanted.placed}:
        runs, declared = (sum(p.replicas for p in placed) for placed in (record.placement, wanted.placed))
        if runs != declared:
            text = f"{runs} were kept, {declared} are declared"
            return Reason(code=ReasonCode.REPLICAS_CHANGED, text=text, origin=origin(agent, ("replicas",)))
    return Reason(code=ReasonCode.PLACEMENT_CHANGED, text="its placement changed")


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
