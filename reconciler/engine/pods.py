"""What pods say of a rollout: which are of the new revision, and what troubles them. Pure: bodies in, facts out.

Field names and reasons are those of core/v1 PodStatus, as the kubelet writes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.engine.status import conditions_by_type
from reconciler.model.source import JsonObject

FATAL_WAITING = frozenset({"CrashLoopBackOff", "RunContainerError", "StartError", "InvalidImageName"})
"""Waiting does not help: the process cannot start, or has ended again and again."""
PATIENT_WAITING = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"}
)
"""Somebody can still help (a secret, an image): shown while the rollout waits, the reason when its time is over."""
FATAL_TERMINATED = frozenset({"StartError", "ContainerCannotRun"})
MAX_MESSAGE = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a pod is not ready, for people. `fatal`: waiting longer cannot help. `crashed`: its log says more."""

    pod: str
    text: str
    fatal: bool
    crashed: bool = False


def trouble(pod: JsonObject) -> Trouble | None:
    """What is wrong with a pod; None while it is well, or merely young."""
    status: Mapping[str, Any] = pod.get("status") or {}
    name = str(pod.get("metadata", {}).get("name", ""))
    for container in (*_statuses(status, "initContainerStatuses"), *_statuses(status, "containerStatuses")):
        found = _container_trouble(name, container)
        if found:
            return found
    scheduled = conditions_by_type(status).get("PodScheduled", {})
    if scheduled.get("status") == "False":
        text = f"{scheduled.get('reason') or 'Unschedulable'}: {scheduled.get('message') or 'no node takes it'}"
        return Trouble(pod=name, text=text[:MAX_MESSAGE], fatal=False)
    if status.get("phase") == "Failed":
        text = str(status.get("message") or status.get("reason") or "it has failed")
        return Trouble(pod=name, text=text[:MAX_MESSAGE], fatal=False)
    return None


def _statuses(status: Mapping[str, Any], key: str) -> tuple[Mapping[str, Any], ...]:
    listed = status.get(key)
    found: Iterable[Any] = listed if isinstance(listed, list | tuple) else ()
    return tuple(item for item in found if isinstance(item, Mapping))


def _container_trouble(pod: str, container: Mapping[str, Any]) -> Trouble | None:
    waiting = _state(container, "state", "waiting")
    ended = _state(container, "state", "terminated") or _state(container, "lastState", "terminated")
    reason = str(waiting.get("reason") or "")
    runs = container.get("ready") or "running" in (container.get("state") or {})  # what did not start may have by now
    if reason in FATAL_WAITING or (ended.get("reason") in FATAL_TERMINATED and not runs):
        return Trouble(pod=pod, text=_text(reason, waiting, ended), fatal=True, crashed=_has_run(ended))
    if reason in PATIENT_WAITING:
        return Trouble(pod=pod, text=_text(reason, waiting, {}), fatal=False)
    if _state(container, "state", "terminated") and ended.get("exitCode"):
        return Trouble(pod=pod, text=_text("", {}, ended), fatal=False, crashed=_has_run(ended))
    return None


def _has_run(ended: Mapping[str, Any]) -> bool:
    return bool(ended) and ended.get("reason") not in FATAL_TERMINATED


def _state(container: Mapping[str, Any], key: str, which: str) -> Mapping[str, Any]:
    value = (container.get(key) or {}).get(which)
    return value if isinstance(value, Mapping) else {}


def _text(reason: str, waiting: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    """`CrashLoopBackOff: the process ended with exit code 3 (no such module)`."""
    parts = []
    if ended:
        how = f"signal {ended['signal']}" if ended.get("signal") else f"exit code {ended.get('exitCode', '?')}"
        said = str(ended.get("message") or "").strip()
        if ended.get("reason") in FATAL_TERMINATED:
            parts.append(said or f"the process could not start ({how})")
        else:
            why = str(ended.get("reason") or "")
            oom = " (out of memory)" if why == "OOMKilled" else ""
            parts.append(f"the process ended with {how}{oom}" + (f": {said}" if said else ""))
    elif waiting.get("message"):
        parts.append(str(waiting["message"]).strip())
    text = f"{reason}: {parts[0]}" if reason and parts else reason or "".join(parts)
    return text[:MAX_MESSAGE]


def is_of_template(pod: JsonObject, deployment: JsonObject) -> bool:
    """Whether a pod was made of the Deployment's present template.

    Compares what a rollout can change: the template's annotations, and per container image, command, arguments,
    environment and resources. Both bodies must be live ones, so that both are in the server's canonical form.
    A mutating webhook that rewrites images makes this False; then troubles show only when the time is over.
    """
    template: Mapping[str, Any] = deployment.get("spec", {}).get("template", {})
    have: Mapping[str, Any] = pod.get("metadata", {}).get("annotations") or {}
    want: Mapping[str, Any] = template.get("metadata", {}).get("annotations") or {}
    if any(have.get(key) != value for key, value in want.items()):
        return False
    running = {item.get("name"): item for item in pod.get("spec", {}).get("containers") or ()}
    return all(
        item.get("name") in running and _same_container(item, running[item.get("name")])
        for item in template.get("spec", {}).get("containers") or ()
    )


_COMPARED = ("image", "command", "args", "resources")


def _same_container(want: Mapping[str, Any], have: Mapping[str, Any]) -> bool:
    if any((want.get(key) or None) != (have.get(key) or None) for key in _COMPARED):
        return False
    present = {item.get("name"): item for item in have.get("env") or ()}
    return all(present.get(item.get("name")) == item for item in want.get("env") or ())


def summary(pods: Iterable[JsonObject]) -> str:
    """Pods by state, e.g. `2 ready, 1 starting, 1 CrashLoopBackOff`."""
    counts = Counter(_word(pod) for pod in pods)
    order = sorted(counts.items(), key=lambda item: (_ORDER.get(item[0], len(_ORDER)), item[0]))
    return ", ".join(f"{count} {word}" for word, count in order)


_ORDER = {word: index for index, word in enumerate(("ready", "starting", "pending", "ending"))}


def _word(pod: JsonObject) -> str:
    status: Mapping[str, Any] = pod.get("status") or {}
    if pod.get("metadata", {}).get("deletionTimestamp"):
        return "ending"
    found = trouble(pod)
    if found:
        return found.text.split(":", 1)[0][:40]
    if conditions_by_type(status).get("Ready", {}).get("status") == "True":
        return "ready"
    return "starting" if status.get("phase") == "Running" else "pending"
