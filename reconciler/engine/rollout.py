"""Watching a rollout: from applied to ready, with progress, or to the reason why not. Decides nothing about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from reconciler.engine.bells import rung
from reconciler.engine.observe import read
from reconciler.engine.pods import Trouble, is_of_template, summary, trouble
from reconciler.engine.run import Replan, Run, together
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
RUNG_POLL_S = 1.0
"""How often somebody looks whom events wake: pods ring for nobody, and an event may be lost."""
SILENT_S = 30.0
"""How long a rollout waits for a cluster that says nothing: a restarted API server is back by then."""
MISSED_FOR_S = 3.0
"""So long a missed deadline has to be told before it counts. A controller tells that of the rollout before, and finds
it missed again by that one's time, until it sees a set of pods move that is there already: one that is gone back to.
Source: DeploymentTimedOut in pkg/controller/deployment/util of Kubernetes 1.36.
"""
LOG_LINES = 5
LOG_S = 5.0
"""How long one of them is waited for: where kubelets cannot be reached the way back must not wait for their silence."""
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
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Clusters that did not answer, and why."""


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
    """Watch `targets` until all are current, one fails, `timeout_s` is over or the run is stopped. Raises Replan where
    one is there no more.

    Only pods that it brings up can fail a rollout early: old ones may be what it is there to replace, and one of the
    same template that was there before (when it only scales) failed by itself. The evidence against new ones is what
    a kubelet calls CrashLoopBackOff: the process has ended, was started again at once, and has ended again.
    """
    with run.bells.listening((target.cluster, target.ref) for target in targets) as bell:
        return await _watch(run, agent, targets, bell, timeout_s=timeout_s)


async def _watch(
    run: Run, agent: AgentName, targets: Sequence[Target], bell: asyncio.Event | None, *, timeout_s: float
) -> RolloutResult:
    until = run.clock.monotonic() + timeout_s
    pause = FIRST_POLL_S if bell is None else RUNG_POLL_S
    told: tuple[int, int, str] | None = None
    silent: dict[str, float] = {}
    missed: float | None = None
    while True:
        if bell is not None:
            bell.clear()  # before the look: what changes during it is looked at again
        began = run.clock.monotonic()
        last = began >= until or (missed is not None and began - missed >= MISSED_FOR_S)
        look = await _look(run, targets, live=last)
        silent = await _wait_for_silent(run, look, silent)
        status = look.status
        if status.state is StatusState.CURRENT and not look.unreadable:
            return RolloutResult(end=RolloutEnd.READY, ready=status.ready, wanted=status.wanted)
        if (status.ready, status.wanted, look.text) != told:
            told = (status.ready, status.wanted, look.text)
            run.emit(RolloutProgress(agent=agent, ready=status.ready, wanted=status.wanted, text=look.text))
        missed = (began if missed is None else missed) if status.state is StatusState.FAILED else None
        failed = missed is not None and began - missed >= MISSED_FOR_S
        end = await _ended(run, look, failed=failed, over=began >= until, timeout_s=timeout_s)
        if end is not None:
            return end
        await run.lock.keep()
        await rung(bell, run.clock, min(pause, max(0.0, until - run.clock.monotonic()) + 0.001))
        pause = pause if bell is not None else min(MOST_POLL_S, pause * POLL_GROWTH)


async def _wait_for_silent(run: Run, look: _Look, silent: Mapping[str, float]) -> dict[str, float]:
    """Since when each cluster that is silent is. Raises OutOfReach for one that has been for too long."""
    now = run.clock.monotonic()
    since = {cluster: silent.get(cluster, now) for cluster in look.unreadable}
    for cluster, start in since.items():
        if now - start >= SILENT_S:
            await run.see(run.reach(cluster))
    return since


async def _ended(run: Run, look: _Look, *, failed: bool, over: bool, timeout_s: float) -> RolloutResult | None:
    status = look.status

    def result(end: RolloutEnd, reason: str) -> RolloutResult:
        return RolloutResult(end=end, ready=status.ready, wanted=status.wanted, reason=reason)

    fatal = next((item for item in look.troubles if item[2].fatal), None)
    if fatal is not None:
        return result(RolloutEnd.FAILED, await _explain(*fatal))
    if failed:
        return result(RolloutEnd.FAILED, await _why(look, status.message))
    if run.stop.is_set():
        return result(RolloutEnd.INTERRUPTED, "interrupted while it rolled out")
    if not over:
        return None
    if look.unreadable:
        return result(RolloutEnd.UNREADABLE, "; ".join(look.unreadable.values()))
    return result(RolloutEnd.FAILED, await _why(look, f"not ready after {timeout_s:g} s: {status.message}"))


async def _why(look: _Look, text: str) -> str:
    return f"{text}; {await _explain(*look.troubles[0])}" if look.troubles else text


async def _explain(cluster: Cluster, pod: ObjectRef, found: Trouble) -> str:
    """`pod NAME: reason`, and below it the last lines that a crashed process wrote."""
    text = f"pod {found.pod}: {found.text}"
    lines = await _last_lines(cluster, pod) if found.crashed else []
    return "\n".join([text, *(f"    {line}" for line in lines)])


async def _last_lines(cluster: Cluster, pod: ObjectRef) -> list[str]:
    """What a crashed process wrote last. One that was started again since may have written nothing yet."""
    for previous in (False, True):
        options = LogOptions(tail=LOG_LINES, previous=previous)
        with suppress(ReconcilerError, TimeoutError):  # the log is a help, no more
            async with asyncio.timeout(LOG_S):
                lines = [line.rstrip("\n")[:MAX_LOG_LINE] async for line in cluster.logs(pod, options)]
            if any(line.strip() for line in lines):
                return lines[-LOG_LINES:]
    return []


async def _look(run: Run, targets: Sequence[Target], *, live: bool) -> _Look:
    """Look at all. With `live` no copy will do: nothing is taken back for what a watch has not told yet."""
    seen = await together(_look_at(run, target, live=live) for target in targets)
    troubles = sorted((item for one in seen for item in one.troubles), key=lambda item: (not item[2].fatal, item[1]))
    whole = combine(one.status for one in seen)
    text = "; ".join(one.text for one in seen if one.text) or whole.message
    unreadable = {cluster: why for one in seen for cluster, why in one.unreadable.items()}
    return _Look(status=whole, troubles=tuple(troubles), text=text, unreadable=unreadable)


async def _look_at(run: Run, target: Target, *, live: bool) -> _Look:
    cluster = run.reach(target.cluster)
    answer = await (run.get(cluster, target.ref) if live else _deployment(run, cluster, target.ref))
    match answer:
        case Unreadable(reason=reason):
            why = f"{target.cluster} does not answer: {reason}"
            return _Look(status=Status(state=StatusState.UNKNOWN, message=why), unreadable={target.cluster: why})
        case Absent():
            return await _missed(run, cluster, target)
        case Found(value=seen) if target.applied is not None and seen.uid != target.applied.uid:
            return await _missed(run, cluster, target)
        case Found(value=seen) if _is_older(seen, target.applied):
            return _Look(status=Status(state=StatusState.IN_PROGRESS, message="what was applied is not seen yet"))
        case Found(value=seen):
            status = object_status(seen.body)
    if status.state is StatusState.CURRENT:
        return _Look(status=status)
    pods = await pods_of(run, cluster, seen.body)
    troubles = tuple((cluster, pod, found) for pod, found in _troubles(pods, seen.body, target.known))
    return _Look(status=status, troubles=troubles, text=summary(pods.values()) or status.message)


async def _deployment(run: Run, cluster: Cluster, ref: ObjectRef) -> Observation[LiveObject]:
    """One Deployment, as it is or was moments ago: a rollout that is watched costs no request then."""
    kinds = tuple(kind for kind in RENDERED_KINDS if (kind[0], kind[2]) == (ref.group, ref.kind))
    scope = Scope(kinds=kinds, namespaces=frozenset({ref.namespace}), names=frozenset({ref.name}))
    match await run.look(cluster, scope):
        case Found(value=found) if ref in found.objects:
            return Found(found.objects[ref])
        case Found(value=found) if found.unreadable:
            return Unreadable(reason=next(iter(found.unreadable.values())))
        case Unreadable() as answer:
            return answer
        case _:
            return Absent()


async def _missed(run: Run, cluster: Cluster, target: Target) -> _Look:
    """A read that does not show the object that rolls out: it is older than our apply, or somebody took it away.

    Raises Replan for the latter: waiting would not bring it back, and its spec has done nothing wrong.
    """
    ref, applied = target.ref, target.applied
    match await run.get(cluster, ref):
        case Absent():
            raise Replan(f"{ref} on {cluster.name} was deleted while it rolled out")
        case Found(value=live) if applied is not None and live.uid != applied.uid:
            raise Replan(f"{ref} on {cluster.name} became another object while it rolled out")
        case _:
            return _Look(status=Status(state=StatusState.IN_PROGRESS, message="what was applied is not seen yet"))


def _is_older(live: LiveObject, applied: LiveObject | None) -> bool:
    """Whether a read shows the object as it was before our apply: in an earlier generation."""
    if applied is None:
        return False
    generations = (int(item.metadata.get("generation") or 0) for item in (live, applied))
    return next(generations) < next(generations)


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


async def pods_of(run: Run, cluster: Cluster, deployment: JsonObject) -> Mapping[ObjectRef, JsonObject]:
    """Bodies of the pods that a Deployment selects; none when they cannot be read (its status still says enough)."""
    scope = pod_scope(deployment)
    if scope is None:
        return {}
    match await read(cluster.observe(scope), cluster, run.patience):
        case Found(value=found):
            return {ref: live.body for ref, live in sorted(found.objects.items())}
        case _:
            return {}


def pod_scope(deployment: JsonObject) -> Scope | None:
    """Where the pods of a Deployment are; None when it selects by no labels."""
    labels = (deployment.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
    namespace = deployment.get("metadata", {}).get("namespace", "")
    return Scope(kinds=POD_KINDS, namespaces=frozenset({namespace}), labels=labels) if labels else None
