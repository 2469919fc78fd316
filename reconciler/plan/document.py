"""A plan as a JSON document: what `-o json` prints and plan files hold. Secrets were masked when the plan was made."""

from __future__ import annotations

from typing import Any

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
)
from reconciler.model.source import Position, Provenance

FORMAT_VERSION = "1.0"


def plan_document(plan: Plan) -> dict[str, Any]:
    """The whole plan in JSON values, keys in a fixed order, no time stamp."""
    return {
        "format_version": FORMAT_VERSION,
        "fleet": plan.fleet,
        "commit": plan.revision.commit,
        "ref": plan.revision.ref,
        "workingTree": plan.revision.working_tree,
        **({"dirty": list(plan.revision.dirty)} if plan.revision.dirty else {}),
        "partial": plan.partial,
        "policy": policy_document(plan),
        "completeness": [{"source": item.source, "problem": item.problem} for item in plan.completeness],
        "summary": summary(plan),
        "idle": list(plan.idle),
        "changes": [change_document(change) for change in plan.changes],
        "drift": [_drift(item) for item in plan.drift],
        "holds": [_hold(hold) for hold in plan.holds],
        "blastRadius": [
            {"template": item.template, "changed": [str(name) for name in item.changed], "total": item.total}
            for item in plan.blast_radius
        ],
        "diagnostics": [
            {
                "severity": item.severity,
                "code": item.code,
                "message": item.message,
                "position": str(item.position),
                "hint": item.hint,
            }
            for item in plan.diagnostics
        ],
    }


def policy_document(plan: Plan) -> dict[str, Any]:
    """What the operator allowed when the plan was made."""
    policy = plan.policy
    return {
        "maxDeletes": policy.max_deletes,
        "allowEmpty": policy.allow_empty,
        "acceptRewind": policy.accept_rewind,
        "targets": [str(name) for name in policy.targets],
        "clusters": list(policy.clusters),
        "acceptClusters": list(policy.accept_clusters),
        "forgetClusters": list(policy.forget_clusters),
        "destroy": policy.destroy,
        **({"ignoreWindows": True} if policy.ignore_windows else {}),
    }


def summary(plan: Plan) -> dict[str, int]:
    """How many agents each kind of action takes, as the last line of the text view counts them."""
    return {
        "create": plan.count(Action.CREATE),
        "update": plan.count(Action.UPDATE, Action.REPLACE),
        "scale": plan.count(Action.SCALE),
        "recover": plan.count(Action.RECOVER),
        "adopt": plan.count(Action.ADOPT),
        "delete": plan.count(Action.DELETE),
        "agents": plan.agents,
    }


def change_document(change: Change) -> dict[str, Any]:
    """One change."""
    return {
        "agent": str(change.name),
        "action": change.action,
        "wave": change.wave,
        "after": [str(name) for name in change.after],
        "reasons": [
            {"code": reason.code, "text": reason.text, "origin": _origin(reason.origin)} for reason in change.reasons
        ],
        "risks": list(change.risks),
        "replicas": list(change.replicas),
        "replicasText": change.replicas_text,
        "attributes": [attribute_document(item) for item in change.attributes],
        "unchanged": change.hidden,
        "drift": [_drift(item) for item in change.drift],
        "objects": [_object(item) for item in change.objects],
        "placement": [{"cluster": item.cluster, "replicas": item.replicas} for item in change.placement],
        "behind": list(change.behind),
        "fingerprint": change.fingerprint,
    }


def attribute_document(item: AttributeChange) -> dict[str, Any]:
    """One attribute; an added or removed one lacks `before` or `after`, a masked one says `sensitive`."""
    sides = (("before", item.before), ("after", item.after))
    result: dict[str, Any] = {"path": format_path(item.path)}
    result |= {key: value for key, value in sides if value is not Missing.FIELD}
    if Masked.SENSITIVE in (item.before, item.after):
        result["sensitive"] = True
    result["origin"] = _origin(item.origin)
    if item.forces_replacement:
        result["forcesReplacement"] = True
    return result


def _origin(origin: Provenance | None) -> dict[str, Any] | None:
    if origin is None:
        return None
    return {"layer": origin.layer, "position": _position(origin.position)}


def _position(position: Position | None) -> str:
    return f"{position.path}:{position.line}" if position else ""


def _ref(ref: ObjectRef) -> dict[str, str]:
    return {"group": ref.group, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def _object(item: ObjectChange) -> dict[str, Any]:
    return {
        "cluster": item.cluster,
        "object": _ref(item.ref),
        "verb": item.verb,
        "hash": item.manifest.hash if item.manifest else "",
        "force": list(item.force),
    }


def _drift(item: Drift) -> dict[str, Any]:
    return {
        "cluster": item.cluster,
        "object": _ref(item.ref),
        "path": item.path,
        "manager": item.manager,
        "want": item.before,
        "found": item.after,
        "undone": item.undone,
    }


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "code": hold.code,
        "agents": [str(name) for name in hold.agents],
        "action": hold.action,
        "text": hold.text,
        "lift": hold.lift,
        "blocksExit": hold.blocks_exit,
        **({"origin": _position(hold.origin)} if hold.origin else {}),
        **({"untilMs": hold.until_ms} if hold.until_ms else {}),
    }
