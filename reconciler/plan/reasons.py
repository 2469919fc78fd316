"""Why an agent is changed, in typed reasons with words for people.

May live here: reasons and their texts. Must not: decide what is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.model.agent import Agent
from reconciler.model.identity import FieldPath, format_path
from reconciler.model.plan import AttributeChange, Reason, ReasonCode
from reconciler.model.registry import AgentState, ClusterHealth, PlacedReplicas, Record
from reconciler.model.source import Provenance
from reconciler.plan.guard import when
from reconciler.spec.provenance import origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What there is to do of an agent. `codes` are those of its objects, `home` where a failover took it from.

    `caught_up`: clusters that were left out before and are not any more. `health` says how clusters are. `lifted`: its
    record says that it is quarantined, and it is not any more.
    """

    agent: Agent
    record: Record | None
    placed: tuple[PlacedReplicas, ...]
    home: str
    codes: frozenset[ReasonCode]
    health: Mapping[str, ClusterHealth]
    attributes: tuple[AttributeChange, ...]
    moved: bool
    unfinished: bool
    lifted: bool
    caught_up: tuple[str, ...]
    forgotten: tuple[str, ...] = ()


def reasons_of(facts: Facts) -> tuple[Reason, ...]:
    """Why an agent is changed, the first cause first."""
    agent, record = facts.agent, facts.record
    if record is None:
        extra = [ReasonCode.FOREIGN_OBJECT] if ReasonCode.FOREIGN_OBJECT in facts.codes else []
        first = Reason(code=ReasonCode.NEW, text="declared in Git, not in the registry", origin=_own(agent))
        return (first, *(Reason(code=code, text=_TEXTS[code]) for code in extra))
    reasons = []
    if facts.attributes:
        reasons.append(_because(agent, facts.attributes))
    shown = any(attribute.path[0] in ("replicas", "suspend") for attribute in facts.attributes)
    if facts.moved and (moving := _failed_over(facts, record)):
        reasons.append(moving)
    elif facts.moved and not shown:
        reasons.append(_moved_reason(agent, record, facts.placed))
    if facts.caught_up:
        text = f"{' and '.join(facts.caught_up)} can be reached again: what was left out there is done"
        reasons.append(Reason(code=ReasonCode.CAUGHT_UP, text=text))
    if facts.forgotten:
        text = f"{' and '.join(facts.forgotten)} is gone for good: what was on record there is forgotten"
        reasons.append(Reason(code=ReasonCode.FORGOTTEN, text=text))
    told = bool(facts.attributes or facts.moved or facts.caught_up or facts.forgotten)
    codes = facts.codes - {ReasonCode.NEW, ReasonCode.UNFINISHED}
    if facts.unfinished or (ReasonCode.UNFINISHED in facts.codes and not (told or codes)):
        going = record.recovery.under_way if record.recovery else None
        text = f"its {going.remedy} is under way, or stopped in the middle" if going else _TEXTS[ReasonCode.UNFINISHED]
        reasons.append(Reason(code=ReasonCode.UNFINISHED, text=text))
    reasons += [
        Reason(code=code, text=_TEXTS[code])
        for code in sorted(codes)
        if code not in (ReasonCode.OBJECT_MISSING, ReasonCode.OBJECT_SURPLUS, ReasonCode.EXPORTED) or not told
    ]
    if not reasons and facts.lifted:
        text = "its quarantine is over, and it is looked at once more"
        reasons.append(Reason(code=ReasonCode.RESUMED, text=text))
    if not reasons:
        reasons.append(Reason(code=ReasonCode.RENDERING_CHANGED, text=_TEXTS[ReasonCode.RENDERING_CHANGED]))
    return tuple(reasons)


def _failed_over(facts: Facts, record: Record) -> Reason | None:
    """Why an agent leaves a cluster, or goes back to it, by the policy failover; None for any other move."""
    now = " and ".join(item.cluster for item in facts.placed)
    was = " and ".join(item.cluster for item in record.placement)
    if record.home and not facts.home and now == record.home:
        text = f"{now} is well again: it goes back there from {was}"
        return Reason(code=ReasonCode.FAILED_BACK, text=text)
    left = record.home or facts.home in (item.cluster for item in record.placement)
    if facts.home and left and now != was:
        health = facts.health.get(was)
        why = f" ({health.reason})" if health is not None and health.reason else ""
        return Reason(code=ReasonCode.FAILED_OVER, text=f"{was} is unwell{why}: it fails over to {now}")
    return None


_TEXTS = {
    ReasonCode.UNFINISHED: "an earlier apply did not finish",
    ReasonCode.DRIFT: "changed outside of Git",
    ReasonCode.OBJECT_MISSING: "an object is gone from the cluster",
    ReasonCode.OBJECT_SURPLUS: "an object is not wanted any more",
    ReasonCode.FOREIGN_OBJECT: "exists already and is taken over",
    ReasonCode.IMMUTABLE_FIELD: "a field that cannot be changed differs",
    ReasonCode.EXPORTED: "its Service is exported to other clusters",
    ReasonCode.RENDERING_CHANGED: "this version of the program renders it differently",
}


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


def _moved_reason(agent: Agent, record: Record, placed: tuple[PlacedReplicas, ...]) -> Reason:
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
    avoid = record.recovery.avoid if record.recovery is not None else ()
    if left := [share.cluster for share in record.placement if share.cluster in avoid]:
        text = f"it was unhealthy on {' and '.join(left)}, and leaves for {' and '.join(p.cluster for p in placed)}"
        return Reason(code=ReasonCode.PLACEMENT_CHANGED, text=text)
    if {share.cluster for share in record.placement} == {share.cluster for share in placed}:
        runs, declared = (sum(share.replicas for share in shares) for shares in (record.placement, placed))
        if runs != declared:
            text = f"{runs} were kept, {declared} are declared"
            return Reason(code=ReasonCode.REPLICAS_CHANGED, text=text, origin=origin(agent, ("replicas",)))
    return Reason(code=ReasonCode.PLACEMENT_CHANGED, text="its placement changed")
