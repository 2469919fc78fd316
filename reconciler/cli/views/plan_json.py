"""A plan for programs: one JSON document with a format version, no time stamp, secrets masked as they came in."""

from __future__ import annotations

from typing import Any

import msgspec

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

FORMAT_VERSION = "1.0"


def render_json(plan: Plan) -> str:
    """The plan as indented JSON. Keys in camelCase; agents as `namespace/name`; manifests are left out."""
    document = {
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
        "summary": _summary(plan),
        "changes": [_change(change) for change in plan.changes],
        "drift": [_drift(item) for item in plan.drift],
        "held": [_hold(hold) for hold in plan.holds],
        "blastRadius": [
            {"template": item.template, "changed": [str(name) for name in item.changed], "total": item.total}
            for item in plan.blast_radius
        ],
        "diagnostics": [_diagnostic(item) for item in plan.diagnostics],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _summary(plan: Plan) -> dict[str, int]:
    return {str(action): plan.count(action) for action in Action} | {
        "held": sum(len(hold.agents) for hold in plan.holds)
    }


def _change(change: Change) -> dict[str, Any]:
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
        "drift": [_drift(item) for item in change.drift],
        "fingerprint": change.fingerprint,
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {"code": str(reason.code), "text": reason.text, "origin": _origin(reason.origin)}


def _origin(origin: Provenance | None) -> dict[str, Any] | None:
    if origin is None:
        return None
    return {"layer": origin.layer, "revision": origin.revision, "position": _position(origin.position)}


def _position(position: Position | None) -> dict[str, Any] | None:
    if position is None:
        return None
    return {"path": position.path, "line": position.line, "column": position.column}


def _sides(before: Any, after: Any) -> dict[str, Any]:
    """Which sides there are; a masked one is said to be, so that nobody takes the mask for the value."""
    sides: dict[str, Any] = {}
    for name, side in (("before", before), ("after", after)):
        if side is not Missing.FIELD:
            sides[name] = str(side) if isinstance(side, Masked) else side
    masked = [name for name, side in (("before", before), ("after", after)) if isinstance(side, Masked)]
    return sides | ({"masked": masked} if masked else {})


def _attribute(item: AttributeChange) -> dict[str, Any]:
    return {
        "path": format_path(item.path),
        **_sides(item.before, item.after),
        "origin": _origin(item.origin),
        "forcesReplacement": item.forces_replacement,
    }


def _ref(ref: ObjectRef) -> dict[str, str]:
    return {"group": ref.group, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def _object(item: ObjectChange) -> dict[str, Any]:
    return {"cluster": item.cluster, "object": _ref(item.ref), "verb": str(item.verb), "force": list(item.force)}


def _drift(item: Drift) -> dict[str, Any]:
    return {
        "cluster": item.cluster,
        "object": _ref(item.ref),
        "path": item.path,
        "manager": item.manager,
        **_sides(item.before, item.after),
        "undone": item.undone,
    }


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "code": str(hold.code),
        "agents": [str(name) for name in hold.agents],
        "action": str(hold.action) if hold.action else None,
        "text": hold.text,
        "lift": hold.lift,
        "blocksExit": hold.blocks_exit,
        **({"untilMs": hold.until_ms} if hold.until_ms else {}),
        "origin": _position(hold.origin),
    }


def _diagnostic(item: Diagnostic) -> dict[str, Any]:
    return {
        "severity": str(item.severity),
        "code": item.code,
        "message": item.message,
        "position": _position(item.position),
        "hint": item.hint,
    }
