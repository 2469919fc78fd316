"""The Deployment controller as a pure function, driven by a cluster in miniature."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.embedded.controllers import disruption
from reconciler.adapters.embedded.controllers.deployments import (
    CreateSet,
    Decision,
    DeleteSet,
    ScaleSet,
    condition_of,
    decide,
    limits_of,
)
from reconciler.adapters.embedded.controllers.pods import deletion_rank, matches
from reconciler.adapters.embedded.controllers.replicasets import (
    REVISION,
    SetState,
    make_pod,
    measure,
    missing,
    set_status,
    surplus,
    template_hash,
)
from reconciler.adapters.embedded.times import stamp

Body = dict[str, Any]
START = 1_000_000.0


class Miniature:
    """A Deployment, its sets and its pods, without a store: effects are carried out at once, pods when asked."""

    def __init__(self, **spec: Any) -> None:
        self.now = START
        self.uids = itertools.count(1)
        template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}}
        self.deployment: Body = {
            "metadata": {"name": "a", "namespace": "ns", "uid": "d", "generation": 1, "annotations": {}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "a"}}, "template": template, **spec},
        }
        self.sets: list[Body] = []
        self.pods: dict[str, list[Body]] = {}

    def image(self, image: str) -> None:
        self.deployment = copy.deepcopy(self.deployment)
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        self.deployment["metadata"]["generation"] += 1

    def change(self, **spec: Any) -> None:
        self.deployment = copy.deepcopy(self.deployment)
        self.deployment["spec"] |= spec
        self.deployment["metadata"]["generation"] += 1

    def states(self) -> list[SetState]:
        return [measure(each, self.pods[each["metadata"]["uid"]], now=self.now) for each in self.sets]

    def step(self) -> Decision:
        decision = decide(self.deployment, self.states(), now=self.now)
        for effect in decision.effects:
            match effect:
                case CreateSet(body=body):
                    made = copy.deepcopy(body)
                    made["metadata"] |= {"uid": f"s{next(self.uids)}", "creationTimestamp": stamp(self.now)}
                    self.sets.append(made)
                    self.pods[made["metadata"]["uid"]] = []
                case ScaleSet(body=body, replicas=replicas, revision=revision):
                    body["spec"]["replicas"] = replicas
                    body["metadata"]["annotations"][REVISION] = str(revision)
                case DeleteSet(body=body):
                    self.sets = [each for each in self.sets if each is not body]
        self.deployment["status"] = decision.status
        for state in self.states():
            pods = self.pods[state.body["metadata"]["uid"]]
            for _ in range(missing(state)):
                pod = copy.deepcopy(make_pod(state.body))
                pod["metadata"] |= {"name": f"p{next(self.uids)}", "creationTimestamp": stamp(self.now)}
                pods.append(pod)
            for gone in surplus(state, max(0, -missing(state))):
                pods.remove(gone)
        return decision

    def settle(self, *, ready: bool = True) -> Decision:
        """Step until nothing changes; pods become ready between steps."""
        before: Any = None
        for _ in range(100):
            decision = self.step()
            if ready:
                self.make_ready()
            seen = copy.deepcopy((self.deployment, self.sets, self.pods))
            if seen == before:
                return decision
            before = seen
        raise AssertionError("it does not settle")

    def make_ready(self, count: int = 1000) -> None:
        for pod in [pod for pods in self.pods.values() for pod in pods if "status" not in pod][:count]:
            condition = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(self.now)}
            pod["status"] = {"phase": "Running", "conditions": [condition]}

    def replicas(self) -> dict[str, int]:
        """Pods by image."""
        found: dict[str, int] = {}
        for pod in [pod for pods in self.pods.values() for pod in pods]:
            image = pod["spec"]["containers"][0]["image"]
            found[image] = found.get(image, 0) + 1
        return found

    def available(self) -> int:
        return sum(state.available for state in self.states())

    def progressing(self) -> Body:
        return condition_of(self.deployment["status"], "Progressing") or {}


def test_a_new_deployment_becomes_one_set_and_its_pods() -> None:
    here = Miniature()
    first = here.step()
    assert here.progressing()["reason"] == "NewReplicaSetCreated"
    assert first.revision == 1
    assert condition_of(first.status, "Available") == {
        "type": "Available",
        "status": "False",
        "reason": "MinimumReplicasUnavailable",
        "message": "Deployment does not have minimum availability.",
        "lastUpdateTime": stamp(START),
        "lastTransitionTime": stamp(START),
    }
    status = here.settle().status
    assert here.replicas() == {"one": 3}
    counts = {key: value for key, value in status.items() if key != "conditions"}
    assert counts == {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
    }
    assert here.progressing()["reason"] == "NewReplicaSetAvailable"


def test_a_settled_deployment_is_left_alone() -> None:
    here = Miniature()
    here.settle()
    here.now += 3600
    before = copy.deepcopy(here.deployment["status"])
    decision = here.step()
    assert decision.effects == ()
    assert decision.status == before
    assert decision.wake is None


@settings(max_examples=40, deadline=None)
@given(
    replicas=st.integers(min_value=1, max_value=8),
    surge=st.sampled_from([0, 1, 3, "25%", "100%"]),
    unavailable=st.sampled_from([0, 1, 2, "25%", "50%"]),
    data=st.data(),
)
def test_an_update_keeps_its_bounds_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, data: st.DataObject
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    here = Miniature(replicas=replicas, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    here.settle()
    limits = limits_of(here.deployment)
    here.image("two")
    for _ in range(200):
        here.step()
        assert here.available() >= replicas - limits.unavailable
        assert sum(here.replicas().values()) <= replicas + limits.surge
        if here.replicas() == {"two": replicas} and here.available() == replicas:
            break
        here.make_ready(data.draw(st.integers(min_value=1, max_value=replicas)))
    here.settle()
    assert here.replicas() == {"two": replicas}
    assert here.progressing()["reason"] == "NewReplicaSetAvailable"


def test_an_update_that_never_gets_ready_stops_at_its_bounds_and_misses_its_deadline() -> None:
    here = Miniature(progressDeadlineSeconds=60, strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    here.settle()
    here.image("broken")
    wake = here.settle(ready=False).wake
    assert here.replicas() == {"one": 3, "broken": 1}
    assert wake == START + 60
    here.now += 60
    here.settle(ready=False)
    assert here.progressing()["status"] == "False"
    assert here.progressing()["reason"] == "ProgressDeadlineExceeded"


def test_going_back_uses_the_old_set_again_and_lifts_the_missed_deadline() -> None:
    here = Miniature(progressDeadlineSeconds=60)
    here.settle()
    here.image("broken")
    here.settle(ready=False)
    here.now += 61
    here.settle(ready=False)
    here.image("one")
    here.step()
    assert here.progressing()["status"] == "True"
    assert here.settle().revision == 3
    assert here.replicas() == {"one": 3}
    assert len(here.sets) == 2


def test_going_back_long_after_a_rollout_ended_misses_no_deadline() -> None:
    """The status may be written before the old set has a pod: the deadline of the rollout before says nothing then."""
    here = Miniature(progressDeadlineSeconds=60)
    here.settle()
    here.image("two")
    here.settle()
    here.now += 3600
    here.image("one")
    here.step()
    assert here.progressing()["status"] == "True"
    here.settle()
    assert here.progressing()["reason"] == "NewReplicaSetAvailable"
    assert here.replicas() == {"one": 3}


def test_recreate_ends_all_old_pods_before_it_starts_new_ones() -> None:
    here = Miniature(strategy={"type": "Recreate"})
    here.settle()
    here.image("two")
    here.step()
    assert here.replicas() == {}
    lingering = {"metadata": {"name": "x", "deletionTimestamp": stamp(START)}, "status": {"phase": "Running"}}
    here.pods[here.sets[0]["metadata"]["uid"]].append(lingering)
    assert here.step().effects == ()
    here.pods[here.sets[0]["metadata"]["uid"]].clear()
    here.settle()
    assert here.replicas() == {"two": 3}


def test_a_paused_deployment_scales_and_does_not_roll() -> None:
    here = Miniature()
    here.settle()
    here.image("two")
    here.change(paused=True, replicas=5)
    here.settle()
    assert here.replicas() == {"one": 5}
    assert here.progressing()["reason"] == "DeploymentPaused"
    here.change(paused=False)
    here.settle()
    assert here.replicas() == {"two": 5}


def test_old_sets_are_kept_up_to_the_history_limit() -> None:
    here = Miniature(revisionHistoryLimit=2)
    for image in ("a", "b", "c", "d"):
        here.image(image)
        here.settle()
    images = [each["spec"]["template"]["spec"]["containers"][0]["image"] for each in here.sets]
    assert sorted(images) == ["b", "c", "d"]


def test_a_pod_counts_as_available_when_it_has_been_ready_for_min_ready_seconds() -> None:
    here = Miniature(minReadySeconds=10, replicas=1)
    decision = here.settle()
    assert here.available() == 0
    assert decision.wake == START + 11  # stamps are whole seconds: one more, so that it is really ten
    here.now += 11
    here.settle()
    assert here.deployment["status"]["availableReplicas"] == 1


def test_equal_templates_have_equal_hashes_whatever_the_order_of_keys() -> None:
    assert template_hash({"a": 1, "b": {"c": 2, "d": 3}}) == template_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert template_hash({"a": 1}) != template_hash({"a": 2})


def test_the_least_useful_pods_go_first() -> None:
    def pod(name: str, phase: str, *, ready: bool, restarts: int = 0, created: float = START) -> Body:
        status = {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"restartCount": restarts}],
        }
        return {"metadata": {"name": name, "creationTimestamp": stamp(created)}, "status": status}

    pods = [
        pod("old", "Running", ready=True),
        pod("young", "Running", ready=True, created=START + 5),
        pod("restarted", "Running", ready=True, restarts=3),
        pod("unready", "Running", ready=False),
        pod("pending", "Pending", ready=False),
    ]
    assert [each["metadata"]["name"] for each in sorted(pods, key=deletion_rank)] == [
        "pending",
        "unready",
        "restarted",
        "young",
        "old",
    ]


def test_a_set_that_cannot_make_pods_says_why_once() -> None:
    here = Miniature(replicas=1)
    here.settle()
    (state,) = here.states()
    status = set_status(state, failure="no room", now=stamp(START))
    state.body["status"] = status
    assert set_status(state, failure="no room", now=stamp(START + 60)) == status


def test_selectors_select_as_on_a_cluster() -> None:
    expressions = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["x"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    assert matches({"matchExpressions": expressions}, {"a": "1", "c": ""})
    assert not matches({"matchExpressions": expressions}, {"a": "3", "c": ""})
    assert not matches({"matchExpressions": [{"key": "a", "operator": "Near"}]}, {"a": "1"})
    assert not matches({}, {"a": "1"})
    assert not matches(None, {"a": "1"})


def test_a_disruption_budget_counts() -> None:
    here = Miniature()
    here.settle()
    pods = [pod for pods in here.pods.values() for pod in pods]
    budget: Body = {
        "metadata": {"generation": 2},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "minAvailable": "50%"},
    }
    expected = {
        "currentHealthy": 3,
        "desiredHealthy": 2,
        "disruptionsAllowed": 1,
        "expectedPods": 3,
        "observedGeneration": 2,
    }
    assert disruption.make_status(budget, pods) == expected
    budget["spec"] = {"selector": {"matchLabels": {"app": "a"}}, "maxUnavailable": 1}
    assert disruption.make_status(budget, pods) == expected
