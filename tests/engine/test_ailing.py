"""Which pods a remedy is for: whose they are, who serves, whom the cluster starts again by itself, and who may end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.ailing import Complaint, complaint, floor_of, may_end, together_with, told, ward
from reconciler.model.agent import Dimension, Disruption
from reconciler.model.health import Assessment, CheckState, HealthState
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.source import JsonObject
from reconciler.placement.shares import Share
from tests.placement.builders import PLAIN

DEPLOYMENT: JsonObject = {"kind": "Deployment", "metadata": {"name": "triage", "namespace": "support"}}
SINCE = 1_795_000_000_000
"""2026-11-18, in the morning."""
NOW = SINCE + 90_000_000


def ref(name: str) -> ObjectRef:
    return ObjectRef(group="", kind="Pod", namespace="support", name=name)


def pod(
    *, ready: bool = True, digest: str = "abc", owner: str = "triage-abc", node: str = "n1", **status: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": {"pod-template-hash": digest},
            "ownerReferences": [{"kind": "ReplicaSet", "name": owner, "controller": True}],
        },
        "spec": {"nodeName": node},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}], **status},
    }


def crashed(at: str, which: str = "lastState", *, times: int = 1) -> JsonObject:
    ended = {which: {"terminated": {"finishedAt": at, "exitCode": 3}}, "restartCount": times}
    return pod(ready=False, containerStatuses=[ended])


def check(name: str = "answers", dimension: Dimension = Dimension.CONNECTIVITY, *pods: str, **more: Any) -> CheckState:
    facts: dict[str, Any] = {"state": HealthState.UNHEALTHY, "text": "", "pods": pods}
    return CheckState(name=name, dimension=dimension, **facts | more)


def assessed(*checks: CheckState) -> Assessment:
    return Assessment(
        agent=AgentName.parse("support/triage"),
        at_ms=SINCE,
        state=HealthState.UNHEALTHY,
        is_healthy=False,
        requires_recovery=True,
        critical=False,
        checks=checks,
    )


def test_a_complaint_tells_who_is_silent_from_who_uses_too_much_and_who_only_slow_or_not_critical_is() -> None:
    said = complaint(
        assessed(
            check("answers", Dimension.CONNECTIVITY, "p1"),
            check("memory", Dimension.RESOURCES, "p2"),
            check("fast", Dimension.PERFORMANCE, "p3"),
            check("other", Dimension.CONNECTIVITY, "p4", critical=False),
            check("pods", Dimension.LIFECYCLE),
        )
    )
    assert said == Complaint(failed=frozenset({"p1", "p2"}), silent=frozenset({"p1"}))
    assert complaint(assessed(check("mine", Dimension.PLUGIN))).all_of_them


def test_pods_of_others_and_those_that_are_ending_are_left_out() -> None:
    ending = pod()
    ending["metadata"] |= {"deletionTimestamp": "2026-11-26T06:00:00Z"}
    orphan = pod()
    orphan["metadata"] |= {"ownerReferences": []}
    pods = {
        ref("own"): pod(),
        ref("of-another"): pod(owner="triage-extra-abc"),
        ref("of-another-hash"): pod(digest="xyz"),
        ref("ending"): ending,
        ref("orphan"): orphan,
    }
    found = ward(pods, DEPLOYMENT, Complaint(all_of_them=True), since_ms=SINCE, now_ms=NOW, starts_ms=0)
    assert found.unwell == (ref("own"),)


def test_those_that_do_not_serve_come_first() -> None:
    pods = {ref("a"): pod(), ref("b"): pod(), ref("c"): pod(ready=False), ref("d"): pod()}
    said = Complaint(failed=frozenset({"a", "b"}), silent=frozenset({"b"}))
    found = ward(pods, DEPLOYMENT, said, since_ms=SINCE, now_ms=NOW, starts_ms=0)
    assert found.unwell == (ref("b"), ref("c"), ref("a"))
    assert found.serving == {ref("a"), ref("d")}
    assert found.restarting == frozenset()


@pytest.mark.parametrize(
    ("body", "restarting"),
    [
        (pod(ready=False, containerStatuses=[{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]), True),
        (pod(ready=False, containerStatuses=[{"state": {"waiting": {"reason": "ContainerCreating"}}}]), False),
        (crashed("2026-11-19T12:00:00Z"), True),
        (crashed("2026-11-17T12:00:00Z"), False),
        (crashed("2026-11-19T12:00:00Z", "state"), True),
        (crashed("no time at all"), False),
        (crashed("2026-11-17T12:00:00Z", times=9), False),
        (pod(ready=False), False),
    ],
)
def test_who_has_crashed_since_is_the_clusters_to_start_again(body: JsonObject, *, restarting: bool) -> None:
    found = ward({ref("p"): body}, DEPLOYMENT, Complaint(), since_ms=SINCE, now_ms=NOW, starts_ms=0)
    assert (ref("p") in found.restarting) is restarting
    assert found.unwell == (ref("p"),)


def test_one_that_crashed_again_and_again_of_late_is_so_from_before_the_illness_too() -> None:
    body = crashed("2026-11-19T12:00:00Z", times=2)
    later = SINCE + 10**9
    for now, restarting in ((1_795_089_700_000, True), (later, False)):
        found = ward({ref("p"): body}, DEPLOYMENT, Complaint(), since_ms=later, now_ms=now, starts_ms=0)
        assert (ref("p") in found.restarting) is restarting


def starting(*, began: str, lost: str = "", ready: bool = False) -> JsonObject:
    body = pod(ready=ready, containerStatuses=[{"state": {"running": {"startedAt": began}}}])
    body["status"]["conditions"][0]["lastTransitionTime"] = lost or began
    return body


@pytest.mark.parametrize(
    ("body", "may_come"),
    [
        (starting(began="2026-11-19T11:59:00Z"), True),
        (starting(began="2026-11-19T11:57:00Z"), False),
        (starting(began="2026-11-19T11:59:00Z", lost="2026-11-19T11:59:30Z"), False),
        (starting(began="2026-11-19T11:59:00Z", ready=True), False),
        (pod(ready=False) | {"metadata": pod()["metadata"] | {"creationTimestamp": "2026-11-19T11:59:00Z"}}, True),
        (pod(ready=False) | {"metadata": pod()["metadata"] | {"creationTimestamp": "2026-11-19T11:50:00Z"}}, False),
    ],
)
def test_who_has_not_had_its_time_to_become_ready_is_left_to_it(body: JsonObject, *, may_come: bool) -> None:
    noon = 1_795_089_600_000
    said = Complaint(failed=frozenset({"p"}))
    found = ward({ref("p"): body}, DEPLOYMENT, said, since_ms=NOW, now_ms=noon, starts_ms=120_000)
    assert (ref("p") in found.starting) is may_come
    assert found.unwell == (ref("p"),)
    assert together_with(found) == (() if may_come else (ref("p"),))


def test_all_on_a_node_with_an_unwell_one_go_together() -> None:
    pods = {ref("a"): pod(node="n1"), ref("b"): pod(node="n1", ready=False), ref("c"): pod(node="n2")}
    found = ward(pods, DEPLOYMENT, Complaint(), since_ms=SINCE, now_ms=NOW, starts_ms=0)
    assert together_with(found) == (ref("b"), ref("a"))


@given(st.integers(0, 8), st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)), st.integers(0, 8))
def test_what_may_end_never_takes_the_last_that_serves_while_it_is_not_alone(
    count: int, ill: set[int], serve: set[int], floor: int
) -> None:
    todo = [ref(str(i)) for i in sorted(ill) if i < count]
    serving = {ref(str(i)) for i in serve if i < count}
    batch = may_end(todo, serving, floor)
    assert set(batch) <= set(todo)
    left = serving - set(batch)
    if serving:
        assert len(batch) <= 1
    if serving & set(batch):
        assert len(left) >= floor or not left
    if not serving:
        assert batch == tuple(todo)


@pytest.mark.parametrize(
    ("disruption", "floor"),
    [
        (None, 3),
        (Disruption(min_available=2), 2),
        (Disruption(min_available="60%"), 3),
        (Disruption(max_unavailable=2), 2),
        (Disruption(max_unavailable="30%"), 2),
        (Disruption(max_unavailable=0), 3),
    ],
)
def test_how_many_have_to_serve_is_what_is_declared_else_all_but_one(disruption: Disruption, floor: int) -> None:
    assert floor_of(replace(PLAIN, disruption=disruption), 4, Share.alone(4)) == floor


def test_where_clusters_share_a_count_an_unwell_pod_that_serves_may_still_end() -> None:
    disruption = Disruption(min_available=3)
    assert floor_of(replace(PLAIN, disruption=disruption), 2, Share(replicas=2, counts=(2, 2))) == 1


def test_many_names_are_cut() -> None:
    assert told(ref(f"p{i}") for i in range(5)) == "p0, p1, p2 and 2 more"
