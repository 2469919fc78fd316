"""Deployments: a pure function from one and its ReplicaSets to what is to be written, as Kubernetes decides it.

Sources: pkg/controller/deployment (sync.go, rolling.go, recreate.go, progress.go) of Kubernetes 1.36.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reconciler.adapters.embedded.controllers import pods as pod_facts
from reconciler.adapters.embedded.controllers.arithmetic import Bounds, Count, bounds, rolling_step
from reconciler.adapters.embedded.controllers.replicasets import REVISION, SetState, make_set, same_template
from reconciler.adapters.embedded.times import seconds, stamp

Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSet:
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSet:
    """`replicas`, and the revision and minReadySeconds to carry with it."""

    body: Body
    replicas: int
    revision: int
    min_ready_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSet:
    body: Body


Effect = CreateSet | ScaleSet | DeleteSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to write. `revision` goes into the Deployment's annotation (0: as it is); `wake` is when to look again."""

    effects: tuple[Effect, ...]
    status: Body
    revision: int
    wake: float | None


def decide(deployment: Body, sets: list[SetState], *, now: float) -> Decision:
    """What a Deployment's controller does next. `sets`: the ReplicaSets that it owns; `now`: seconds since 1970."""
    sets = sorted(sets, key=lambda state: state.age)
    new = next((state for state in sets if same_template(state.body, deployment["spec"]["template"])), None)
    olds = [state for state in sets if state is not new]
    spec = deployment["spec"]
    if pod_facts.is_terminating(deployment):
        effects: list[Effect] = []
    elif spec.get("paused"):
        effects = _scale_paused(deployment, new, olds)
    elif spec.get("strategy", {}).get("type") == "Recreate":
        effects = _recreate(deployment, new, olds)
    else:
        effects = _roll(deployment, new, olds)
    effects += _clean(deployment, olds) if not spec.get("paused") else []
    status = make_status(deployment, new, sets, created=_created(effects), now=now)
    wakes = [state.next_available for state in sets if state.next_available is not None]
    deadline = _deadline(deployment, status)
    if deadline is not None and deadline > now:
        wakes.append(deadline)
    revision = 0 if spec.get("paused") and new is None else _revision(new, olds)
    return Decision(effects=tuple(effects), status=status, revision=revision, wake=min(wakes, default=None))


def limits_of(deployment: Body) -> Bounds:
    """Surge and unavailability of a Deployment, in pods."""
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    return bounds(rolling.get("maxSurge", "25%"), rolling.get("maxUnavailable", "25%"), desired=_desired(deployment))


def _desired(deployment: Body) -> int:
    return max(0, int(deployment["spec"].get("replicas", 1)))


def _revision(new: SetState | None, olds: list[SetState]) -> int:
    """The new set's revision: one more than that of any old one, kept while it is the highest."""
    highest = max((state.revision for state in olds), default=0)
    return new.revision if new is not None and new.revision > highest else highest + 1


def _roll(deployment: Body, new: SetState | None, olds: list[SetState]) -> list[Effect]:
    desired = _desired(deployment)
    counts = [_count(old) for old in olds]
    fresh = _count(new) if new else Count(replicas=0, available=0)
    told, old_told = rolling_step(desired, limits_of(deployment), fresh, counts)
    effects = [_set_new(deployment, new, olds, told)]
    effects += [_scale(old, count) for old, count in zip(olds, old_told, strict=True)]
    return [effect for effect in effects if effect is not None]


def _recreate(deployment: Body, new: SetState | None, olds: list[SetState]) -> list[Effect]:
    scaled = [effect for old in olds if (effect := _scale(old, 0)) is not None]
    if scaled:
        return scaled
    if any(pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") for old in olds for pod in old.pods):
        return []  # ending pods count: the new ones come when the last has gone
    made = _set_new(deployment, new, olds, _desired(deployment))
    return [made] if made else []


def _scale_paused(deployment: Body, new: SetState | None, olds: list[SetState]) -> list[Effect]:
    """A paused Deployment only scales: the newest set that has pods, or is the template's own, takes the difference."""
    active = [state for state in [*olds, *([new] if new else [])] if state.replicas]
    target = active[-1] if active else new or (olds[-1] if olds else None)
    if target is None:
        return []
    wanted = _desired(deployment) - sum(state.replicas for state in active if state is not target)
    effect = _scale(target, max(0, wanted))
    return [effect] if effect else []


def _set_new(deployment: Body, new: SetState | None, olds: list[SetState], replicas: int) -> Effect | None:
    revision = _revision(new, olds)
    if new is None:
        return CreateSet(body=make_set(deployment, replicas=replicas, revision=revision))
    wait = int(deployment["spec"].get("minReadySeconds", 0))
    if (replicas, revision, wait) == (new.replicas, new.revision, int(new.body["spec"].get("minReadySeconds", 0))):
        return None
    return ScaleSet(body=new.body, replicas=replicas, revision=revision, min_ready_seconds=wait)


def _scale(state: SetState, replicas: int) -> Effect | None:
    if replicas == state.replicas:
        return None
    wait = int(state.body["spec"].get("minReadySeconds", 0))
    return ScaleSet(body=state.body, replicas=replicas, revision=state.revision, min_ready_seconds=wait)


def _clean(deployment: Body, olds: list[SetState]) -> list[Effect]:
    """Old sets without pods beyond revisionHistoryLimit, oldest revision first."""
    limit = int(deployment["spec"].get("revisionHistoryLimit", 10))
    empty = [old for old in olds if not old.replicas and not old.pods and not pod_facts.is_terminating(old.body)]
    excess = sorted(empty, key=lambda old: (old.revision, old.name))[: max(0, len(olds) - limit)]
    return [DeleteSet(body=old.body) for old in excess]


def _count(state: SetState) -> Count:
    return Count(replicas=state.replicas, available=min(state.available, state.replicas))


def _created(effects: list[Effect]) -> str:
    return next((str(effect.body["metadata"]["name"]) for effect in effects if isinstance(effect, CreateSet)), "")


def make_status(deployment: Body, new: SetState | None, sets: list[SetState], *, created: str, now: float) -> Body:
    """A Deployment's status as Kubernetes writes it. `created`: the name of a ReplicaSet that is about to be made."""
    desired = _desired(deployment)
    total = sum(state.active for state in sets)
    available = sum(state.available for state in sets)
    before: Body = deployment.get("status", {})
    counts = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": total,
        "updatedReplicas": new.active if new else 0,
        "readyReplicas": sum(state.ready for state in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, max(total, desired) - available),
        "terminatingReplicas": sum(1 for state in sets for pod in state.pods if pod_facts.is_terminating(pod)),
    }
    status: Body = {key: value for key, value in counts.items() if value}
    name = created or (new.name if new else "")
    conditions = [
        _available(deployment, before, available, now=now),
        _progressing(deployment, before, counts, name=name, created=bool(created), now=now),
        _failure(before, sets, now=now),
    ]
    status["conditions"] = [condition for condition in conditions if condition is not None]
    return status


def _available(deployment: Body, before: Body, available: int, *, now: float) -> Body:
    if available >= _desired(deployment) - limits_of(deployment).unavailable:
        wanted = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        wanted = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    return _condition(before, "Available", *wanted, now=now)


def _progressing(
    deployment: Body, before: Body, counts: dict[str, int], *, name: str, created: bool, now: float
) -> Body | None:
    """Source: syncRolloutStatus in progress.go, and DeploymentTimedOut. A new generation lifts a missed deadline."""
    current = condition_of(before, "Progressing")
    wanted, again = _progress(deployment, before, counts, current, name=name, created=created, now=now)
    return current if wanted is None else _condition(before, "Progressing", *wanted, now=now, again=again)


def _progress(  # noqa: PLR0911 - a table: the first line that fits
    deployment: Body,
    before: Body,
    counts: dict[str, int],
    current: Body | None,
    *,
    name: str,
    created: bool,
    now: float,
) -> tuple[tuple[str, str, str] | None, bool]:
    """Status, reason and message (None: as it is), and whether its time moves even when they are the same."""
    spec, desired = deployment["spec"], _desired(deployment)
    reason = current.get("reason", "") if current else ""
    if spec.get("paused"):
        return ("Unknown", "DeploymentPaused", "Deployment is paused"), False
    if created:
        return ("True", "NewReplicaSetCreated", f'Created new replica set "{name}"'), True
    if reason == "DeploymentPaused":
        return ("Unknown", "DeploymentResumed", "Deployment is resumed"), False
    if reason == "NewReplicaSetAvailable" and counts["replicas"] == counts["updatedReplicas"]:
        return None, False
    if counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == desired:
        return ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'), False
    late = reason == "ProgressDeadlineExceeded"
    fresh = late and before.get("observedGeneration") != counts["observedGeneration"]
    if current is None or fresh or _moved(before, counts):
        return ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'), True
    since = seconds(current.get("lastUpdateTime", ""))
    ended = reason == "NewReplicaSetAvailable"  # that time is the last rollout's: nothing is late by it
    if not late and not ended and now >= since + spec.get("progressDeadlineSeconds", 600):
        return ("False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.'), False
    return None, False


def _moved(before: Body, counts: dict[str, int]) -> bool:
    """Whether a rollout has come further. Source: DeploymentProgressing in util/deployment_util.go."""
    old = before.get("replicas", 0) - before.get("updatedReplicas", 0)
    return bool(
        counts["updatedReplicas"] > before.get("updatedReplicas", 0)
        or counts["replicas"] - counts["updatedReplicas"] < old
        or counts["readyReplicas"] > before.get("readyReplicas", 0)
        or counts["availableReplicas"] > before.get("availableReplicas", 0)
    )


def _failure(before: Body, sets: list[SetState], *, now: float) -> Body | None:
    for state in sets:
        found = condition_of(state.body.get("status", {}), "ReplicaFailure")
        if found:
            return _condition(before, "ReplicaFailure", "True", found["reason"], found["message"], now=now)
    return None


def _deadline(deployment: Body, status: Body) -> float | None:
    """When the rollout has taken too long, unless something moves until then."""
    current = condition_of(status, "Progressing")
    if not current or current["status"] != "True" or current["reason"] == "NewReplicaSetAvailable":
        return None
    return seconds(current["lastUpdateTime"]) + float(deployment["spec"].get("progressDeadlineSeconds", 600))


def condition_of(status: Body, kind: str) -> Body | None:
    return next((entry for entry in status.get("conditions", ()) if entry.get("type") == kind), None)


def _condition(
    before: Body, kind: str, value: str, reason: str, message: str, *, now: float, again: bool = False
) -> Body:
    """A condition, with its times kept where nothing changed; `again` moves lastUpdateTime."""
    old = condition_of(before, kind)
    if old and not again and (old["status"], old["reason"], old.get("message", "")) == (value, reason, message):
        return old
    moved = old["lastTransitionTime"] if old and old["status"] == value else stamp(now)
    times = {"lastUpdateTime": stamp(now), "lastTransitionTime": moved}
    return {"type": kind, "status": value, "reason": reason, "message": message, **times}


__all__ = ["REVISION", "CreateSet", "Decision", "DeleteSet", "Effect", "ScaleSet", "decide", "limits_of", "make_status"]
