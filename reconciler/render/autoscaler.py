"""The HorizontalPodAutoscaler: who owns the number of replicas where it changes with the load."""

from __future__ import annotations

from typing import Any

from reconciler.model.agent import AgentSpec, Autoscaling, Metric, MetricType, ScalingRules
from reconciler.placement.shares import Share
from reconciler.render.metadata import Names


def autoscaler(names: Names, spec: AgentSpec, *, share: Share) -> dict[str, Any] | None:
    """The autoscaler of one cluster; None without one, and while nothing runs.

    What is placed on the cluster is the minimum; the maximum is divided in the same proportion (rounded up).
    """
    scaling = spec.autoscaling
    if scaling is None or share.replicas == 0:
        return None
    body: dict[str, Any] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": names.name},
        "minReplicas": share.replicas,
        "maxReplicas": max(share.replicas, -(-scaling.max * share.replicas // share.total)),
        "metrics": [_metric(metric) for metric in scaling.metrics],
    }
    if behavior := _behavior(scaling):
        body["behavior"] = behavior
    return {**names.head("autoscaling", "v2", "HorizontalPodAutoscaler"), "spec": body}


def _metric(metric: Metric) -> dict[str, Any]:
    target = _target(metric)
    match metric.type:
        case MetricType.CPU | MetricType.MEMORY:
            return {"type": "Resource", "resource": {"name": metric.type.value, "target": target}}
        case MetricType.PODS:
            return {"type": "Pods", "pods": {"metric": _identifier(metric), "target": target}}
        case MetricType.OBJECT:
            described = {key: value for key, value in (metric.object or {}).items() if value}
            return {
                "type": "Object",
                "object": {"describedObject": described, "metric": _identifier(metric), "target": target},
            }
        case MetricType.EXTERNAL:
            return {"type": "External", "external": {"metric": _identifier(metric), "target": target}}


def _identifier(metric: Metric) -> dict[str, Any]:
    if metric.selector:
        return {"name": metric.name, "selector": {"matchLabels": dict(metric.selector)}}
    return {"name": metric.name}


def _target(metric: Metric) -> dict[str, Any]:
    if metric.utilization is not None:
        return {"type": "Utilization", "averageUtilization": metric.utilization}
    if metric.average is not None:
        return {"type": "AverageValue", "averageValue": metric.average.canonical()}
    if metric.value is not None:
        return {"type": "Value", "value": metric.value.canonical()}
    raise ValueError(f"the {metric.type} metric {metric.name!r} has no target")


def _behavior(scaling: Autoscaling) -> dict[str, Any]:
    both = {"scaleUp": scaling.scale_up, "scaleDown": scaling.scale_down}
    return {key: _rules(rules) for key, rules in both.items() if rules is not None}


def _rules(rules: ScalingRules) -> dict[str, Any]:
    body: dict[str, Any] = {"selectPolicy": rules.select_policy}
    if rules.stabilization is not None:
        body["stabilizationWindowSeconds"] = rules.stabilization.whole_seconds()
    if rules.policies:
        body["policies"] = [
            {"type": policy.type, "value": policy.value, "periodSeconds": max(1, policy.period.whole_seconds())}
            for policy in rules.policies
        ]
    return body
