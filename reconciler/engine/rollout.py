"""Watching a rollout: from applied to ready, with progress, or to the reason why not. Decides nothing about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.engine.pods import Trouble, is_of_template, summary, trouble
from reconciler.engine.run import Run
from reconciler.engine.status import Status, StatusState, combine, object_status
from reconciler.model.errors import ReconcilerError
from reconciler.model.events import RolloutProgress
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    RENDERED_KINDS,
    Absent,
    Found,
    LiveObject,
    LogOptions,
    Observation,
    Scope,
    Unreadable,
)
from reconciler.model.source import JsonObject
from reconciler.ports import Cluster

POD_KINDS = (("", "v1", "Pod"),)
FIRST_POLL_S, MOST_POLL_S, POLL_GROWTH = 0.05, 0.5, 1.4
LOG_LINES = 5
MAX_LOG_LINE = 200


class RolloutEnd(StrEnum):
    """How a rollout ended."""

    READY = "ready"
    FAILED = "failed"
    """Waiting longer could not have helped, or its time is over."""
    UNREADABLE = "unreadable"
    """A cluster did not answer when the time was over: nothing is known against the spec."""
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutResult:
    """`reason` is for people, with the last lines of a crashed process where there are any."""

    end: RolloutEnd
    ready: int
    wanted: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One look at everything that rolls out."""

    status: Status
    troubles: tuple[tuple[Cluster, ObjectRef, Trouble], ...] = ()
    text: str = ""
    unreadable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is watched. `applied` is the answer to our apply, where there was one: nothing older counts as seen.

    `known` are uids of pods that were there before: none of them fails it early.
    """

    cluster: str
    ref: ObjectRef
    applied: LiveObject | None = None
    known: frozenset[str] = frozenset()


async def watch(run: Run, agent: AgentName, targets: Sequence[Target], *, timeout_s: float) -> RolloutResult:
    """Watch `targets` until all are current, one fails, `timeout_s` is over or the run is stopped.

    Only pods that it brings up can fail a rollout early: old ones may be what it is there to replace, and one of the
    same template that was there before (when it only scales) failed by itself. The evidence against new ones is what
    a kubelet calls CrashLoopBackOff: the process has ended, was started again at once, and has ended again.
    """
    until = run.clock.monotonic() + timeout_s
    pause = FIRST_POLL_S
    told: tuple[int, int, str] | None = None
    while True:
        look = await _look(run, targets)
        status = look.status
        if status.state is StatusState.CURRENT and not look.unreadable:
            return RolloutResult(end=RolloutEnd.READY, ready=status.ready, wanted=status.wanted)
        if (status.ready, status.wanted, look.text) != told:
            told = (status.ready, status.wanted, look.text)
            run.emit(RolloutProgress(agent=agent, ready=status.ready, wanted=status.wanted, text=look.text))
        end = await _ended(run, look, over=run.clock.monotonic() >= until, timeout_s=timeout_s)
        if end is not None:
            return end
        await run.lock.keep()
        await run.clock.sleep(min(pause, max(0.0, until - run.clock.monotonic()) + 0.001))
        pause = min(MOST_POLL_S, pause * POLL_GROWTH)


async def _ended(run: Run, look: _Look, *, over: bool, timeout_s: float) -> RolloutResult | None:
    status = look.status

    def result(end: RolloutEnd, reason: str) -> RolloutResult:
        return RolloutResult(end=end, ready=status.ready, wanted=status.wanted, reason=reason)

    fatal = next((item for item in look.troubles if item[2].fatal), None)
    if fatal is not None:
        return result(RolloutEnd.FAILED, await _explain(*fatal))
    if status.state is StatusState.FAILED:
        return result(RolloutEnd.FAILED, await _why(look, status.message))
    if run.stop.is_set():
        return result(RolloutEnd.INTERRUPTED, "interrupted while it rolled out; the next apply goes on with it")
    if not over:
        return None
    if look.unreadable:
        return result(RolloutEnd.UNREADABLE, look.unreadable)
    return result(RolloutEnd.FAILED, await _why(look, f"not ready after {timeout_s:g} s: {status.message}"))


async def _why(look: _Look, text: str) -> str:
    return f"{text}; {await _explain(*look.troubles[0])}" if look.troubles else text


async def _explain(cluster: Cluster, pod: ObjectRef, found: Trouble) -> str:
    """`pod NAME: reason`, and below it the last lines that a crashed process wrote."""
    text = f"pod {found.pod}: {found.text}"
    if not found.crashed:
        return text
    try:
        lines = [line.rstrip("\n")[:MAX_LOG_LINE] async for line in cluster.logs(pod, LogOptions(tail=LOG_LINES))]
    except ReconcilerError:
        return text  # the log is a help, no more
    return "\n".join([text, *(f"    {line}" for line in lines[-LOG_LINES:])])


async def _look(run: Run, targets: Sequence[Target]) -> _Look:
    statuses: list[Status] = []
    troubles: list[tuple[Cluster, ObjectRef, Trouble]] = []
    texts: list[str] = []
    unreadable = ""
    for target in targets:
        cluster = run.reach(target.cluster)
        answer = await _deployment(cluster, target.ref)
        match answer:
            case Unreadable(reason=reason):
                unreadable = f"{target.cluster} does not answer: {reason}"
                statuses.append(Status(state=StatusState.UNKNOWN, message=unreadable))
                continue
            case Absent():
                statuses.append(object_status(None))
                continue
            case Found(value=live) if _is_older(live, target.applied):
                statuses.append(Status(state=StatusState.IN_PROGRESS, message="what was applied is not seen yet"))
                continue
            case Found(value=live):
                statuses.append(object_status(live.body))
        if statuses[-1].state is StatusState.CURRENT:
            continue
        pods = await pods_of(cluster, live.body)
        troubles.extend((cluster, pod, found) for pod, found in _troubles(pods, live.body, target.known))
        texts.append(summary(pods.values()) or statuses[-1].message)
    troubles.sort(key=lambda item: (not item[2].fatal, item[1]))
    whole = combine(statuses)
    text = "; ".join(text for text in texts if text) or whole.message
    return _Look(status=whole, troubles=tuple(troubles), text=text, unreadable=unreadable)


async def _deployment(cluster: Cluster, ref: ObjectRef) -> Observation[LiveObject]:
    """One Deployment, as it is or was moments ago: a rollout that is watched costs no request then."""
    kinds = tuple(kind for kind in RENDERED_KINDS if (kind[0], kind[2]) == (ref.group, ref.kind))
    scope = Scope(kinds=kinds, namespaces=frozenset({ref.namespace}), names=frozenset({ref.name}))
    match await cluster.observe(scope):
        case Found(value=found) if ref in found.objects:
            return Found(found.objects[ref])
        case Found(value=found) if found.unreadable:
            return Unreadable(reason=next(iter(found.unreadable.values())))
        case Unreadable() as answer:
            return answer
        case _:
            return Absent()


def _is_older(live: LiveObject, applied: LiveObject | None) -> bool:
    """Whether a read shows the object as it was before our apply: another one, or an earlier generation."""
    if applied is None:
        return False
    generations = (int(item.metadata.get("generation") or 0) for item in (live, applied))
    return live.uid != applied.uid or next(generations) < next(generations)


def _troubles(
    pods: Mapping[ObjectRef, JsonObject], deployment: JsonObject, known: frozenset[str]
) -> Iterable[tuple[ObjectRef, Trouble]]:
    """What troubles pods of the present template. One that was there before is named, and fails nothing by itself."""
    for ref, body in pods.items():
        if body.get("metadata", {}).get("deletionTimestamp") or not is_of_template(body, deployment):
            continue
        found = trouble(body)
        if found is not None:
            there = body.get("metadata", {}).get("uid") in known
            yield ref, replace(found, fatal=found.fatal and not there)


async def pods_of(cluster: Cluster, deployment: JsonObject) -> Mapping[ObjectRef, JsonObject]:
    """Bodies of the pods that a Deployment selects; none when they cannot be read (its status still says enough)."""
    scope = pod_scope(deployment)
    if scope is None:
        return {}
    match await cluster.observe(scope):
        case Found(value=found):
            return {ref: live.body for ref, live in sorted(found.objects.items())}
        case _:
            return {}


def pod_scope(deployment: JsonObject) -> Scope | None:
    """Where the pods of a Deployment are; None when it selects by no labels."""
    labels = (deployment.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
    namespace = deployment.get("metadata", {}).get("namespace", "")
    return Scope(kinds=POD_KINDS, namespaces=frozenset({namespace}), labels=labels) if labels else None
