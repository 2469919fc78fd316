"""The horizontal autoscaler: cpu and memory of the processes against their targets, between min and max.

Other metrics (pods, object, external) need a metrics API that one machine does not have: the condition ScalingActive
says so, and min and max are still kept. Sources: pkg/controller/podautoscaler of Kubernetes 1.36.
"""

from __future__ import annotations

import copy
import logging
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reconciler.adapters.embedded.controllers import pods as pod_facts
from reconciler.adapters.embedded.controllers.arithmetic import Sample, replicas_by
from reconciler.adapters.embedded.controllers.view import View
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.adapters.embedded.times import stamp
from reconciler.model.errors import ClusterError
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import PodUsage
from reconciler.model.units import stored_amount

Body = dict[str, Any]
MANAGER = "horizontal-pod-autoscaler"
PERIOD_SECONDS = 5.0
"""How often it looks; Kubernetes looks every 15 s."""
_DOWN_WINDOW, _UP_WINDOW = 300, 0
_MAX_HISTORY = 512
_UNKNOWN_METRIC = "the embedded cluster measures cpu and memory of processes only, no metrics API serves {names}"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the metrics ask for; `replicas` is None when none of them could be read, and `problem` says why."""

    replicas: int | None
    current: tuple[Body, ...] = ()
    reason: str = ""
    problem: str = ""


def wish(autoscaler: Body, *, current: int, pods: list[Body], usage: dict[ObjectRef, PodUsage]) -> Wish:
    """The most that any readable metric asks for."""
    asked: list[int] = []
    seen: list[Body] = []
    unreadable: list[str] = []
    problem = ""
    for metric in autoscaler["spec"].get("metrics") or [_DEFAULT_METRIC]:
        source = metric.get("resource") or metric.get("containerResource")
        if metric.get("type") not in ("Resource", "ContainerResource") or source is None:
            unreadable.append(_metric_name(metric))
            continue
        found = _resource(source, current, pods, usage)
        if isinstance(found, str):
            problem = found
        else:
            asked.append(found[0])
            seen.append({"type": "Resource", "resource": {"name": source["name"], "current": found[1]}})
    if unreadable:
        problem = _UNKNOWN_METRIC.format(names=", ".join(sorted(unreadable)))
    reason = "FailedGetResourceMetric" if not unreadable else "InvalidMetricSourceType"
    return Wish(
        replicas=max(asked, default=None), current=tuple(seen), reason=reason if problem else "", problem=problem
    )


_DEFAULT_METRIC: Body = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}


def _metric_name(metric: Body) -> str:
    kind = str(metric.get("type", "?")).lower()
    return f"{kind} {metric.get(kind, {}).get('metric', {}).get('name', '?')}"


def _resource(source: Body, current: int, pods: list[Body], usage: dict[ObjectRef, PodUsage]) -> tuple[int, Body] | str:
    """Replicas asked for and the measure to show, or why it cannot be said."""
    name, target = str(source["name"]), source.get("target", {})
    if name not in ("cpu", "memory"):
        return f"resource {name} is not measured here"
    percent = target.get("averageUtilization")
    try:
        value = stored_amount(str(target.get("averageValue", ""))) if percent is None else Fraction(0)
    except ValueError as error:
        return str(error)
    samples: list[Sample] = []
    requested = Fraction(0)
    for pod in pods:
        metadata = pod["metadata"]
        sample = usage.get(ObjectRef(group="", kind="Pod", namespace=metadata["namespace"], name=metadata["name"]))
        request = _requested(pod, name)
        if request is None and percent is not None:
            return f"missing request for {name} in pod {metadata['name']}"
        wanted = value if percent is None else (request or 0) * Fraction(int(percent), 100)
        most = value if percent is None else (request or 0) * Fraction(max(100, int(percent)), 100)
        ready = pod_facts.is_ready(pod)
        if sample is not None and ready:
            requested += request or 0
        samples.append(Sample(used=_used(sample, name), wanted=wanted, most=most, ready=ready))
    measured = [one.used for one in samples if one.used is not None and one.ready]
    if not measured:
        return "no ready pod has been measured yet"
    used = sum(measured, Fraction(0))
    average = used / len(measured)
    shown: Body = {"averageValue": f"{int(average * 1000)}m" if name == "cpu" else str(int(average))}
    if percent is not None and requested:
        shown["averageUtilization"] = int(used / requested * 100)
    return replicas_by(current, samples), shown


def _used(sample: PodUsage | None, name: str) -> Fraction | None:
    if sample is None:
        return None
    return Fraction(sample.cpu).limit_denominator(1_000_000) if name == "cpu" else Fraction(sample.memory)


def _requested(pod: Body, name: str) -> Fraction | None:
    total = Fraction(0)
    for container in pod["spec"].get("containers", ()):
        text = container.get("resources", {}).get("requests", {}).get(name)
        if text is None:
            return None
        total += stored_amount(str(text))
    return total


class Autoscaler:
    """Looks at all HorizontalPodAutoscalers every `PERIOD_SECONDS`, at new ones at once. Remembers what was asked."""

    def __init__(self, store: ObjectStore, view: View) -> None:
        self._store = store
        self._view = view
        self._asked: dict[str, deque[tuple[float, int]]] = {}
        self._seen: frozenset[str] = frozenset()
        self.due = 0.0

    def run(self, now: float) -> None:
        """Scale what is due. `now` is seconds since 1970."""
        refs = self._view.refs("autoscaling", "HorizontalPodAutoscaler")
        waits = self.due - PERIOD_SECONDS <= now < self.due  # earlier still: the clock was set back
        if waits and all(self._key(ref) in self._seen for ref in refs):
            return
        self.due = now + PERIOD_SECONDS
        usage = self._store.usage() if refs else {}
        alive = set()
        for ref in refs:
            body = self._view.get(ref)
            if body is None:
                continue
            alive.add(str(body["metadata"]["uid"]))
            try:
                self._scale(ref, body, usage, now)
            except ClusterError as error:
                log.warning("%s: %s", ref, error.message)
            except Exception:
                log.exception("%s: could not be scaled; the others go on", ref)
        self._seen = frozenset(self._key(ref) for ref in refs)
        self._asked = {key: kept for key, kept in self._asked.items() if key in alive}

    def _key(self, ref: ObjectRef) -> str:
        """An autoscaler and its settings: changed ones are looked at at once. Its target's being there counts too."""
        body = self._view.get(ref) or {"metadata": {}, "spec": {}}
        target = self._view.get(_target(ref, body))
        spec = body["spec"]
        parts = (body["metadata"].get("uid", ""), spec.get("minReplicas"), spec.get("maxReplicas"), target is not None)
        return repr(parts)

    def _scale(self, ref: ObjectRef, body: Body, usage: dict[ObjectRef, PodUsage], now: float) -> None:
        spec, before = body["spec"], body.get("status", {})
        target = self._view.get(_target(ref, body))
        if target is None:
            able = ("False", "FailedGetScale", f"{_target(ref, body)} is not there")
            status = {**before, "conditions": [_condition(before, "AbleToScale", *able, now)]}
            self._store.patch_status(ref, status, manager=MANAGER)
            return
        current = int(target["spec"].get("replicas", 1))
        low, high = int(spec.get("minReplicas", 1)), int(spec.get("maxReplicas", 1))
        sets = self._view.children(target["metadata"]["uid"], "ReplicaSet")
        pods = [pod for each in sets for pod in self._view.children(each["metadata"]["uid"], "Pod")]
        asked = wish(body, current=current, pods=[pod for pod in pods if pod_facts.is_active(pod)], usage=usage)
        wanted = current
        if current and asked.replicas is not None:
            wanted = self._stable(body, current, asked.replicas, now)
        desired = min(max(wanted, low), high) if current else 0  # none at all: autoscaling is switched off
        if desired != current:
            changed = copy.deepcopy(target)
            changed["spec"]["replicas"] = desired
            self._store.update(changed, manager=MANAGER, subresource="scale")
        self._store.patch_status(ref, _status(body, current, desired, asked, now=now), manager=MANAGER)

    def _stable(self, body: Body, current: int, asked: int, now: float) -> int:
        """What is asked, held back by the stabilization windows and the scaling policies."""
        behavior = body["spec"].get("behavior", {})
        uid = str(body["metadata"]["uid"])
        history = self._asked.setdefault(uid, deque(maxlen=_MAX_HISTORY))
        while history and history[-1][0] > now:  # the clock was set back: it would be the latest for as long
            history.pop()
        if not history:
            history.append((now, current))  # it begins where it is
        history.append((now, asked))
        down, up = behavior.get("scaleDown") or {}, behavior.get("scaleUp") or {}
        recent_down = _within(history, now, down.get("stabilizationWindowSeconds", _DOWN_WINDOW))
        recent_up = _within(history, now, up.get("stabilizationWindowSeconds", _UP_WINDOW))
        wanted = current
        if min(recent_up) > current:
            wanted = min(*recent_up, current + _step(up, current, growing=True))
        elif max(recent_down) < current:
            wanted = max(*recent_down, current - _step(down, current, growing=False))
        return wanted


def _step(rules: Body, current: int, *, growing: bool) -> int:
    """How many replicas one look may add or take away. A policy's period is taken as one look each."""
    if rules.get("selectPolicy") == "Disabled":
        return 0
    policies = rules.get("policies")
    if not policies:
        return max(4, current) if growing else current
    steps = [
        int(policy["value"]) if policy.get("type") == "Pods" else -(-current * int(policy["value"]) // 100)
        for policy in policies
    ]
    return min(steps) if rules.get("selectPolicy") == "Min" else max(steps)


def _within(history: deque[tuple[float, int]], now: float, window: int) -> list[int]:
    return [asked for at, asked in history if at >= now - window] or [history[-1][1]]


def _target(ref: ObjectRef, body: Body) -> ObjectRef:
    target = body.get("spec", {}).get("scaleTargetRef", {})
    group = str(target.get("apiVersion", "")).rpartition("/")[0]
    name, kind = str(target.get("name", "")), str(target.get("kind", ""))
    return ObjectRef(group=group, kind=kind, namespace=ref.namespace, name=name)


def _status(body: Body, current: int, desired: int, asked: Wish, *, now: float) -> Body:
    before: Body = body.get("status", {})
    active = ("False", asked.reason, asked.problem) if asked.problem else ("True", "ValidMetricFound", "usage was read")
    if not current:
        active = ("False", "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
    low, high = int(body["spec"].get("minReplicas", 1)), int(body["spec"].get("maxReplicas", 1))
    limited = asked.replicas is not None and not low <= asked.replicas <= high
    bound = (
        ("True", "TooManyReplicas" if desired == high else "TooFewReplicas", "held at the bound") if limited else None
    )
    conditions = [
        _condition(before, "AbleToScale", "True", "SucceededGetScale", "the scale of the target was read", now),
        _condition(before, "ScalingActive", *active, now),
        _condition(before, "ScalingLimited", *(bound or ("False", "DesiredWithinRange", "within the range")), now),
    ]
    status: Body = {"currentReplicas": current, "desiredReplicas": desired, "conditions": conditions}
    if asked.current:
        status["currentMetrics"] = list(asked.current)
    if desired != current:
        status["lastScaleTime"] = stamp(now)
    elif before.get("lastScaleTime"):
        status["lastScaleTime"] = before["lastScaleTime"]
    return status


def _condition(before: Body, kind: str, value: str, reason: str, message: str, now: float) -> Body:
    old = next((entry for entry in before.get("conditions", ()) if entry["type"] == kind), None)
    moved = old["lastTransitionTime"] if old and old["status"] == value else stamp(now)
    return {"type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": moved}
