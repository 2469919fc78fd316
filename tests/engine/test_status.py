"""Status of live objects, as kstatus computes it, and what pods say of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reconciler.engine.pods import is_of_template, summary, trouble
from reconciler.engine.status import Status, StatusState, combine, object_status

Body = dict[str, Any]
C, P, F = StatusState.CURRENT, StatusState.IN_PROGRESS, StatusState.FAILED


def deployment(
    wanted: int = 2,
    *,
    generation: int = 3,
    observed: int = 3,
    conditions: Sequence[Body] = (),
    deleted: bool = False,
    **counts: int,
) -> Body:
    metadata: Body = {"generation": generation}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status = {"observedGeneration": observed, "conditions": list(conditions), **counts}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": wanted}, "status": status}


def counts(total: int = 2, updated: int = 2, ready: int = 2, available: int = 2) -> Body:
    return {"replicas": total, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": available}


@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        (deployment(**counts()), C, ""),
        (deployment(0), C, ""),
        (deployment(observed=2, **counts()), P, "generation 3"),
        (deployment(**counts(updated=1)), P, "1 of 2 pods are of the new revision"),
        (deployment(**counts(total=3)), P, "1 old pods are still ending"),
        (deployment(**counts(available=1)), P, "1 of 2 pods are available"),
        (deployment(**counts(ready=1)), P, "1 of 2 pods are ready"),
        (deployment(), P, "0 of 2 pods are of the new revision"),
        (deployment(deleted=True, **counts()), StatusState.TERMINATING, "being deleted"),
        (
            deployment(conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]),
            F,
            "ProgressDeadlineExceeded",
        ),
        (
            deployment(
                conditions=[
                    {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
                    {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"},
                ]
            ),
            F,
            "ProgressDeadlineExceeded; FailedCreate: exceeded quota",
        ),
        (
            deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": "quota"}], **counts()),
            P,
            "quota",
        ),
        ({"kind": "Deployment", "metadata": {"generation": 1}, "spec": {}}, P, "has not seen it"),
        ({"kind": "ConfigMap", "metadata": {}}, C, ""),
        ({"kind": "Service", "metadata": {}, "spec": {"type": "ClusterIP"}}, C, ""),
        ({"kind": "Service", "metadata": {}, "spec": {"type": "LoadBalancer"}}, P, "no address"),
        ({"kind": "Pod", "metadata": {}, "status": {"phase": "Succeeded"}}, C, "ended well"),
        ({"kind": "Pod", "metadata": {}, "status": {"phase": "Failed", "message": "evicted"}}, F, "evicted"),
        ({"kind": "Pod", "metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}, C, ""),
        ({"kind": "Pod", "metadata": {}, "status": {"phase": "Pending"}}, P, "Pending"),
        ({"kind": "Widget", "metadata": {}, "status": {"conditions": [{"type": "Stalled", "status": "True"}]}}, F, ""),
        ({"kind": "Widget", "metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}, P, ""),
        ({"kind": "Widget", "metadata": {}}, C, ""),
        ({"kind": "Widget", "metadata": {}, "status": {"conditions": "odd"}}, C, ""),
        ({"kind": "Deployment", "metadata": {}, "spec": {"replicas": "many"}}, StatusState.UNKNOWN, "understood"),
        (None, StatusState.NOT_FOUND, "not there"),
    ],
)
def test_status_of_an_object(body, state, words):
    found = object_status(body)
    assert found.state is state
    assert words in found.message


def test_ready_counts_only_pods_of_the_new_revision():
    found = object_status(deployment(3, **counts(total=4, updated=1, ready=3, available=3)))
    assert (found.ready, found.wanted) == (1, 3)


def test_a_whole_is_as_bad_as_its_worst_part_and_replicas_add_up():
    parts = [Status(state=C, ready=2, wanted=2), Status(state=P, message="waits", ready=1, wanted=3)]
    assert combine(parts) == Status(state=P, message="waits", ready=3, wanted=5)
    assert combine([*parts, Status(state=F, message="broke")]).message == "broke"
    assert combine([]).state is C


def pod(
    state: Body | None = None,
    *,
    last: Body | None = None,
    ready: bool = False,
    restarts: int = 0,
    conditions: Sequence[Body] = (),
    **status: str,
) -> Body:
    container: Body = {"name": "agent", "state": state or {"running": {}}, "ready": ready, "restartCount": restarts}
    if last:
        container["lastState"] = {"terminated": last}
    listed = [{"type": "Ready", "status": "True" if ready else "False"}, *conditions]
    shown = {"phase": "Running", **status, "containerStatuses": [container], "conditions": listed}
    return {"metadata": {"name": "triage-1"}, "status": shown}


CRASHED = {"exitCode": 3, "reason": "Error"}
NOT_FOUND = {"exitCode": 128, "reason": "StartError", "message": "exec: no-such-program: not found"}


@pytest.mark.parametrize(
    ("body", "words", "fatal", "crashed"),
    [
        (pod({"waiting": {"reason": "CrashLoopBackOff"}}, last=CRASHED), "CrashLoopBackOff", True, True),
        (pod({"waiting": {"reason": "CrashLoopBackOff"}}, last=CRASHED), "exit code 3", True, True),
        (pod({"terminated": NOT_FOUND}), "no-such-program", True, False),
        (pod({"waiting": {"reason": "RunContainerError", "message": "no shell"}}), "no shell", True, False),
        (
            pod({"waiting": {"reason": "CreateContainerConfigError", "message": "secret support/key is not there"}}),
            "secret support/key",
            False,
            False,
        ),
        (pod({"waiting": {"reason": "ImagePullBackOff"}}), "ImagePullBackOff", False, False),
        (pod({"terminated": CRASHED}), "exit code 3", False, True),
        (pod({"terminated": {"exitCode": 137, "signal": 9, "reason": "OOMKilled"}}), "out of memory", False, True),
        (
            pod({}, conditions=[{"type": "PodScheduled", "status": "False", "message": "no node has 64Gi"}]),
            "no node has 64Gi",
            False,
            False,
        ),
    ],
)
def test_what_troubles_a_pod(body, words, fatal, crashed):
    found = trouble(body)
    assert found is not None
    assert words in found.text
    assert (found.fatal, found.crashed) == (fatal, crashed)


@pytest.mark.parametrize(
    "body",
    [
        pod(ready=True),
        pod(),
        pod({"waiting": {"reason": "ContainerCreating"}}),
        pod({"terminated": {"exitCode": 0, "reason": "Completed"}}),
        pod(ready=True, restarts=4, last=NOT_FOUND),
        pod({"running": {}}, restarts=1, last=NOT_FOUND),
        {"metadata": {"name": "new"}},
        {"metadata": {"name": "odd"}, "status": {"containerStatuses": "none"}},
    ],
)
def test_a_pod_that_is_well_or_merely_young_has_no_trouble(body):
    assert trouble(body) is None


def test_text_of_a_hostile_message_is_bounded():
    found = trouble(pod({"waiting": {"reason": "RunContainerError", "message": "x" * 100_000}}))
    assert found is not None
    assert len(found.text) <= 400


def test_pods_are_counted_by_state():
    ending = pod(ready=True)
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    bodies = [
        pod(),
        pod({"waiting": {"reason": "CrashLoopBackOff"}}, last=CRASHED),
        ending,
        pod(ready=True),
        pod(ready=True),
        pod({"waiting": {}}, phase="Pending"),
    ]
    assert summary(bodies) == "2 ready, 1 starting, 1 pending, 1 ending, 1 CrashLoopBackOff"
    assert summary([]) == ""


def template(**changes: Any) -> Body:
    container = {"name": "agent", "image": "a:1", "env": [{"name": "LOG", "value": "info"}], **changes}
    return {"metadata": {"annotations": {"config-hash": "1"}}, "spec": {"containers": [container]}}


def made_of(given: Body) -> Body:
    """A pod of that template, with what a cluster adds."""
    own = given["spec"]["containers"][0]
    container = {**own, "env": [*own.get("env", []), {"name": "INJECTED", "value": "1"}], "volumeMounts": []}
    annotations = {**given["metadata"]["annotations"], "added": "by-the-cluster"}
    return {
        "metadata": {"annotations": annotations},
        "spec": {"containers": [container, {"name": "sidecar", "image": "s"}]},
    }


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"image": "a:2"}, False),
        ({"command": ["run"]}, False),
        ({"args": ["--fast"]}, False),
        ({"resources": {"limits": {"memory": "1Gi"}}}, False),
        ({"env": [{"name": "LOG", "value": "debug"}]}, False),
        ({"env": []}, True),
    ],
)
def test_a_pod_is_told_from_those_of_another_revision(changes, same):
    now = {"spec": {"template": template(**changes)}}
    assert is_of_template(made_of(template()), now) is same


def test_a_changed_configuration_alone_makes_another_revision():
    now = template()
    now["metadata"]["annotations"] = {"config-hash": "2"}
    assert not is_of_template(made_of(template()), {"spec": {"template": now}})
