"""Which pods of an agent a remedy is for, and which of them may end now. Pure: bodies of objects in, pods out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reconciler.engine.pods import FATAL_WAITING
from reconciler.engine.status import conditions_by_type
from reconciler.model.agent import AgentSpec, Dimension
from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import ObjectRef
from reconciler.model.source import JsonObject
from reconciler.placement.shares import Share

TELLING = frozenset({Dimension.CONNECTIVITY, Dimension.RESOURCES, Dimension.PLUGIN, Dimension.LIFECYCLE})
"""Dimensions of checks that a remedy on pods may mend."""
HASH_LABEL = "pod-template-hash"
STAMP_MS = 1000
"""Times of objects are whole seconds."""
AGAIN, AGAIN_WITHIN_MS = 2, 5 * 60 * 1000
"""A process that was started again so often, the last time so lately, crashes: no kubelet waits longer than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What a measurement says of an agent's pods, by name: which failed a check, and of those which do not answer.

    `all_of_them`: something failed that does not tell pods apart.
    """

    failed: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    all_of_them: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ward:
    """An agent's pods on one cluster, those that are ending left out. `unwell` in the order in which they are mended.

    `restarting` are those that the cluster starts again by itself: a new process was not what they needed. `starting`
    may be well yet, and would only begin anew.
    """

    pods: Mapping[ObjectRef, JsonObject]
    unwell: tuple[ObjectRef, ...]
    restarting: frozenset[ObjectRef]
    starting: frozenset[ObjectRef]
    serving: frozenset[ObjectRef]


def complaint(assessment: Assessment) -> Complaint:
    """What the checks of one measurement complain of."""
    failing = [
        check
        for check in assessment.checks
        if check.critical and check.dimension in TELLING and check.state is HealthState.UNHEALTHY
    ]
    vague = [check for check in failing if not check.pods and check.dimension is not Dimension.LIFECYCLE]
    return Complaint(
        failed=frozenset(pod for check in failing for pod in check.pods),
        silent=frozenset(pod for c in failing if c.dimension is Dimension.CONNECTIVITY for pod in c.pods),
        all_of_them=bool(vague),
    )


def ward(
    pods: Mapping[ObjectRef, JsonObject],
    deployment: JsonObject,
    said: Complaint,
    *,
    since_ms: int,
    now_ms: int,
    starts_ms: int,
) -> Ward:
    """Sort the pods that a Deployment made. `since_ms` is when the illness began, `starts_ms` how long they may take to
    be ready.
    """
    own = {ref: pod for ref, pod in sorted(pods.items()) if is_made_by(pod, deployment) and not is_ending(pod)}
    serving = frozenset(ref for ref, pod in own.items() if is_ready(pod) and ref.name not in said.silent)
    unwell = [
        ref for ref, pod in own.items() if said.all_of_them or ref.name in said.failed or not is_ready(pod)
    ]  # fmt: skip
    restarting = {ref for ref in unwell if is_restarting(own[ref], since_ms=since_ms, now_ms=now_ms)}
    starting = {ref for ref in unwell if is_starting(own[ref], now_ms=now_ms, within_ms=starts_ms)}
    return Ward(
        pods=own,
        unwell=tuple(sorted(unwell, key=lambda ref: (ref in serving, ref))),
        restarting=frozenset(restarting),
        starting=frozenset(starting - restarting),
        serving=serving,
    )


def together_with(found: Ward) -> tuple[ObjectRef, ...]:
    """All pods on the nodes on which one is unwell: where a node is to blame, they share it."""
    nodes = {_node(found.pods[ref]) for ref in found.unwell}
    others = [ref for ref, pod in found.pods.items() if ref not in found.unwell and _node(pod) in nodes]
    return (*(ref for ref in found.unwell if ref not in found.starting), *others)


def may_end(todo: Sequence[ObjectRef], serving: Collection[ObjectRef], floor: int) -> tuple[ObjectRef, ...]:
    """Which of `todo` may end now: one at a time while others serve, all at once where none does.

    One that serves may end while at least `floor` others serve, or where it is the only one.
    """
    for ref in todo:
        others = len([one for one in serving if one != ref])
        if ref not in serving:
            return (ref,) if serving else tuple(todo)
        if not others or others >= floor:
            return (ref,)
    return ()


def floor_of(spec: AgentSpec, replicas: int, share: Share) -> int:
    """How many of a cluster's `replicas` have to serve: what is declared, its share of a count, else all but one."""
    least, most = (spec.disruption.min_available, spec.disruption.max_unavailable) if spec.disruption else (None, None)
    if least is not None:
        return share.at_least(least) if isinstance(least, int) else _percent(least, replicas)
    away = 1 if most is None else share.at_most(most) if isinstance(most, int) else _percent(most, replicas)
    return max(0, replicas - max(1, away))


def is_ready(pod: JsonObject) -> bool:
    """Whether a pod is ready by its own status."""
    return bool(conditions_by_type(pod.get("status") or {}).get("Ready", {}).get("status") == "True")


def is_made_by(pod: JsonObject, deployment: JsonObject) -> bool:
    """Whether the ReplicaSet that made a pod is the Deployment's: its name is made of the Deployment's and the hash."""
    metadata = pod.get("metadata", {})
    digest = (metadata.get("labels") or {}).get(HASH_LABEL)
    wanted = f"{deployment.get('metadata', {}).get('name')}-{digest}"
    return any(
        owner.get("controller") and owner.get("kind") == "ReplicaSet" and owner.get("name") == wanted
        for owner in metadata.get("ownerReferences") or ()
    )


def is_restarting(pod: JsonObject, *, since_ms: int, now_ms: int) -> bool:
    """Whether a pod's cluster is about to start a process of it again, has done so since, or does so over and over."""
    return any(
        _waiting(container) in FATAL_WAITING
        or bool((container.get("state") or {}).get("terminated"))
        or _ended_ms(container) > since_ms
        or (int(container.get("restartCount") or 0) >= AGAIN and now_ms - _ended_ms(container) < AGAIN_WITHIN_MS)
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
    )


def is_starting(pod: JsonObject, *, now_ms: int, within_ms: int) -> bool:
    """Whether a pod that is not ready may become so yet: it never was since its processes began, no longer ago."""
    if is_ready(pod):
        return False
    status = pod.get("status") or {}
    began = max((_began(container) for container in status.get("containerStatuses") or ()), default=0)
    lost = _ms(conditions_by_type(status).get("Ready", {}).get("lastTransitionTime"))
    if began and lost > began + STAMP_MS:
        return False  # it was ready, and is not any more
    return now_ms - (began or _ms(pod.get("metadata", {}).get("creationTimestamp"))) < within_ms


def _began(container: Mapping[str, Any]) -> int:
    return _ms(((container.get("state") or {}).get("running") or {}).get("startedAt"))


def _waiting(container: Mapping[str, Any]) -> str:
    return str(((container.get("state") or {}).get("waiting") or {}).get("reason") or "")


def _ended_ms(container: Mapping[str, Any]) -> int:
    """When a process of a container ended last; 0 for never."""
    return max(_ms(((container.get(which) or {}).get("terminated") or {}).get("finishedAt")) for which in _STATES)


_STATES = ("state", "lastState")


def _ms(text: object) -> int:
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000) if text else 0
    except ValueError:
        return 0


def is_ending(pod: JsonObject) -> bool:
    """Whether a pod was told to go; it may be ready for a while yet."""
    return bool(pod.get("metadata", {}).get("deletionTimestamp"))


def _node(pod: JsonObject) -> str:
    return str(pod.get("spec", {}).get("nodeName") or "")


def _percent(text: str, replicas: int) -> int:
    """Rounded up, as a PodDisruptionBudget counts."""
    return math.ceil(int(text.removesuffix("%")) * replicas / 100)


def told(refs: Iterable[ObjectRef]) -> str:
    """`triage-1, triage-2`, for people."""
    names = sorted(ref.name for ref in refs)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
