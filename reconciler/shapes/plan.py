"""A plan: one JSON document with a format version, no time stamp, secrets masked as they came in."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from reconciler.model.identity import ObjectRef, format_path
from reconciler.model.plan import (
    Action,
    AttributeChange,
    Change,
    Drift,
    Hold,
    Masked,
    Missing,
    ObjectChange,
    Plan,
    Reason,
)
from reconciler.model.source import Diagnostic, Position, Provenance
from reconciler.plan.approval import key

FORMAT_VERSION = "1.0"


class PositionShape(TypedDict):
    path: str
    line: int
    column: int


class OriginShape(TypedDict):
    layer: str
    revision: str
    position: PositionShape | None


class ReasonShape(TypedDict):
    code: str
    text: str
    origin: OriginShape | None


class Sides(TypedDict):
    """The sides that there are; a masked one is said to be, so that nobody takes the mask for the value."""

    before: NotRequired[Any]
    after: NotRequired[Any]
    masked: NotRequired[list[str]]


class AttributeShape(Sides):
    path: str
    origin: OriginShape | None
    forcesReplacement: bool


class RefShape(TypedDict):
    group: str
    kind: str
    namespace: str
    name: str


class ObjectShape(TypedDict):
    cluster: str
    object: RefShape
    verb: str
    force: list[str]


class DriftShape(Sides):
    cluster: str
    object: RefShape
    path: str
    manager: str
    undone: bool


class ReplicasShape(TypedDict):
    before: int | None
    after: int | None
    text: str


class PlacedShape(TypedDict):
    cluster: str
    replicas: int


class ChangeShape(TypedDict):
    agent: str
    action: str
    wave: int
    after: list[str]
    reasons: list[ReasonShape]
    attributes: list[AttributeShape]
    hiddenAttributes: int
    risks: list[str]
    replicas: ReplicasShape
    placement: list[PlacedShape]
    behind: list[str]
    objects: list[ObjectShape]
    drift: list[DriftShape]
    fingerprint: str


class HoldShape(TypedDict):
    code: str
    agents: list[str]
    action: str | None
    text: str
    lift: str
    blocksExit: bool
    untilMs: NotRequired[int]
    origin: PositionShape | None
    approval: NotRequired[str]
    """By what it is approved, where it can be."""


class DiagnosticShape(TypedDict):
    severity: str
    code: str
    message: str
    position: PositionShape | None
    hint: str


class BlastShape(TypedDict):
    template: str
    changed: list[str]
    total: int


class RevisionOfPlanShape(TypedDict):
    commit: str
    ref: str
    workingTree: bool
    dirty: list[str]


class CompletenessShape(TypedDict):
    source: str
    complete: bool
    problem: str


class PlanShape(TypedDict):
    """Keys in camelCase; agents as `namespace/name`; manifests are left out."""

    formatVersion: str
    fleet: str
    revision: RevisionOfPlanShape
    complete: bool
    completeness: list[CompletenessShape]
    partial: bool
    agents: int
    idleClusters: list[str]
    summary: dict[str, int]
    changes: list[ChangeShape]
    drift: list[DriftShape]
    held: list[HoldShape]
    blastRadius: list[BlastShape]
    diagnostics: list[DiagnosticShape]


def plan_json(plan: Plan) -> PlanShape:
    """The whole plan."""
    return {
        "formatVersion": FORMAT_VERSION,
        "fleet": plan.fleet,
        "revision": {
            "commit": plan.revision.commit,
            "ref": plan.revision.ref,
            "workingTree": plan.revision.working_tree,
            "dirty": list(plan.revision.dirty),
        },
        "complete": not any(item.problem for item in plan.completeness),
        "completeness": [
            {"source": item.source, "complete": not item.problem, "problem": item.problem} for item in plan.completeness
        ],
        "partial": plan.partial,
        "agents": plan.agents,
        "idleClusters": list(plan.idle),
        "summary": summary_json(plan),
        "changes": [change_json(change) for change in plan.changes],
        "drift": [drift_json(item) for item in plan.drift],
        "held": [hold_json(hold, plan) for hold in plan.holds],
        "blastRadius": [
            {"template": item.template, "changed": [str(name) for name in item.changed], "total": item.total}
            for item in plan.blast_radius
        ],
        "diagnostics": [diagnostic_json(item) for item in plan.diagnostics],
    }


def summary_json(plan: Plan) -> dict[str, int]:
    """How many changes there are of each action, and how many agents are held."""
    return {str(action): plan.count(action) for action in Action} | {
        "held": sum(len(hold.agents) for hold in plan.holds)
    }


def change_json(change: Change) -> ChangeShape:
    """What is done to one agent."""
    return {
        "agent": str(change.name),
        "action": str(change.action),
        "wave": change.wave,
        "after": [str(name) for name in change.after],
        "reasons": [_reason(reason) for reason in change.reasons],
        "attributes": [_attribute(item) for item in change.attributes],
        "hiddenAttributes": change.hidden,
        "risks": [str(risk) for risk in change.risks],
        "replicas": {"before": change.replicas[0], "after": change.replicas[1], "text": change.replicas_text},
        "placement": [{"cluster": item.cluster, "replicas": item.replicas} for item in change.placement],
        "behind": list(change.behind),
        "objects": [_object(item) for item in change.objects],
        "drift": [drift_json(item) for item in change.drift],
        "fingerprint": change.fingerprint,
    }


def _reason(reason: Reason) -> ReasonShape:
    return {"code": str(reason.code), "text": reason.text, "origin": _origin(reason.origin)}


def _origin(origin: Provenance | None) -> OriginShape | None:
    if origin is None:
        return None
    return {"layer": origin.layer, "revision": origin.revision, "position": _position(origin.position)}


def _position(position: Position | None) -> PositionShape | None:
    if position is None:
        return None
    return {"path": position.path, "line": position.line, "column": position.column}


def _sides(before: Any, after: Any) -> Sides:
    sides: Sides = {}
    if before is not Missing.FIELD:
        sides["before"] = str(before) if isinstance(before, Masked) else before
    if after is not Missing.FIELD:
        sides["after"] = str(after) if isinstance(after, Masked) else after
    masked = [name for name, side in (("before", before), ("after", after)) if isinstance(side, Masked)]
    if masked:
        sides["masked"] = masked
    return sides


def _attribute(item: AttributeChange) -> AttributeShape:
    return {
        "path": format_path(item.path),
        **_sides(item.before, item.after),
        "origin": _origin(item.origin),
        "forcesReplacement": item.forces_replacement,
    }


def _ref(ref: ObjectRef) -> RefShape:
    return {"group": ref.group, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def _object(item: ObjectChange) -> ObjectShape:
    return {"cluster": item.cluster, "object": _ref(item.ref), "verb": str(item.verb), "force": list(item.force)}


def drift_json(item: Drift) -> DriftShape:
    """A field that is not as it was applied."""
    return {
        "cluster": item.cluster,
        "object": _ref(item.ref),
        "path": item.path,
        "manager": item.manager,
        **_sides(item.before, item.after),
        "undone": item.undone,
    }


def hold_json(hold: Hold, plan: Plan) -> HoldShape:
    """What a plan leaves out, and what lifts it."""
    made: HoldShape = {
        "code": str(hold.code),
        "agents": [str(name) for name in hold.agents],
        "action": str(hold.action) if hold.action else None,
        "text": hold.text,
        "lift": hold.lift,
        "blocksExit": hold.blocks_exit,
        "origin": _position(hold.origin),
    }
    if hold.until_ms:
        made["untilMs"] = hold.until_ms
    if found := "" if plan.partial else key(hold, plan.revision):
        made["approval"] = found
    return made


def diagnostic_json(item: Diagnostic) -> DiagnosticShape:
    """A finding in a file."""
    return {
        "severity": str(item.severity),
        "code": item.code,
        "message": item.message,
        "position": _position(item.position),
        "hint": item.hint,
    }
