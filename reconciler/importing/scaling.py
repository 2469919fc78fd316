"""Replicas, the autoscaler and the disruption budget, as an agent says them.

May live here: HorizontalPodAutoscalers and PodDisruptionBudgets of the agent's name. Must not: know Deployments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.importing.container import span
from reconciler.importing.families import Family
from reconciler.importing.notes import Draft
from reconciler.importing.reading import mapping, maps, strings, text, whole

Body = Mapping[str, Any]


def autoscaling(draft: Draft, family: Family) -> dict[str, Any] | None:
    """The autoscaler; None where there is none that an agent could say. Metrics are one value: all of them, or none."""
    if family.autoscaler is None:
        return None
    spec = mapping(family.autoscaler.body, "spec")
    metrics = [_metric(metric) for metric in maps(spec.get("metrics"))]
    if not spec.get("metrics"):  # autoscaling/v1 has no others, and servers take 80 where nothing is said
        metrics = [{"cpu": f"{whole(spec.get('targetCPUUtilizationPercentage')) or 80}%"}]
    least, most = whole(spec.get("minReplicas")), whole(spec.get("maxReplicas"))
    if None in metrics or most is None:
        draft.left(
            "HorizontalPodAutoscaler spec.metrics",
            "an agent cannot say one of these metrics, so the autoscaler stays as it is and keeps the replicas",
        )
        return None
    made: dict[str, Any] = {"min": 1 if least is None else least, "max": most, "metrics": metrics}
    if behavior := _behavior(mapping(spec.get("behavior"))):
        made["behavior"] = behavior
    return made


def _metric(metric: Body) -> dict[str, Any] | None:
    """One metric; None for one that an agent cannot say."""
    kind = text(metric.get("type"))
    body = mapping(metric.get(kind[:1].lower() + kind[1:]))
    target = mapping(body.get("target"))
    percent, average, total = (target.get(key) for key in ("averageUtilization", "averageValue", "value"))
    identifier = mapping(body.get("metric"))
    selector = mapping(identifier.get("selector"))
    name = text(identifier.get("name"))
    amounts = {"average": str(average)} if average is not None else {"value": str(total)} if total is not None else {}
    match kind:
        case "Resource" if body.get("name") in ("cpu", "memory"):
            share = f"{percent}%" if percent is not None else {"average": str(average)}
            return {str(body["name"]): share} if percent is not None or average is not None else None
        case "Pods" if name and not selector and average is not None:
            return {"pods": {"name": name, "average": str(average)}}
        case "Object" if name and not selector and amounts:
            described = mapping(body.get("describedObject"))
            thing = {key: text(described.get(key)) for key in ("apiVersion", "kind", "name")}
            return {"object": {"name": name, "object": thing, **amounts}}
        case "External" if name and not selector.get("matchExpressions") and amounts:
            labels = strings(selector.get("matchLabels"))
            return {"external": {"name": name, **({"selector": labels} if labels else {}), **amounts}}
    return None


def _behavior(behavior: Body) -> dict[str, Any]:
    found = {}
    for way in ("scaleUp", "scaleDown"):
        rules = mapping(behavior.get(way))
        made: dict[str, Any] = {}
        if (window := whole(rules.get("stabilizationWindowSeconds"))) is not None:
            made["stabilization"] = span(window)
        if text(rules.get("selectPolicy")) not in ("", "Max"):
            made["selectPolicy"] = rules["selectPolicy"]
        policies = [_policy(policy) for policy in maps(rules.get("policies"))]
        if policies:
            made["policies"] = policies
        if made:
            found[way] = made
    return found


def _policy(policy: Body) -> dict[str, Any]:
    kind = "pods" if policy.get("type") == "Pods" else "percent"
    return {kind: policy.get("value"), "period": span(whole(policy.get("periodSeconds")) or 0)}


def disruption(family: Family) -> dict[str, Any] | None:
    """What the budget of the agent's name allows."""
    spec = mapping(family.budget.body if family.budget else {}, "spec")
    return next(({key: spec[key]} for key in ("minAvailable", "maxUnavailable") if spec.get(key) is not None), None)
