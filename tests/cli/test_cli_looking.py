"""What is said of one agent from its record and what a cluster shows. No cluster runs here."""

from __future__ import annotations

from typing import Any

from reconciler.cli.looking import Sight, presence
from reconciler.cli.views.records import record_json, running
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import ADDRESS_ANNOTATION, PORTS_ANNOTATION, LiveObject
from reconciler.model.registry import AgentState, Good, PlacedReplicas, Quarantine, Record

HELLO = AgentName(namespace="demo", name="hello")


def record(**more: Any) -> Record:
    fields: dict[str, Any] = {
        "id": "1", "name": HELLO, "version": 1, "state": AgentState.RUNNING, "labels": {}, "document": {},
        "spec_hash": "new", "lineage": (), "source_path": "agents/demo/hello.yaml", "commit": "c2", "revision": 3,
        "placement": (PlacedReplicas(cluster="local", replicas=1),), "reservations": (), "inventory": (),
    }  # fmt: skip
    return Record(**(fields | more))


def live(kind: str, body: dict[str, Any], *, name: str = "hello") -> tuple[str, LiveObject]:
    ref = ObjectRef(group="apps" if kind == "Deployment" else "", kind=kind, namespace="demo", name=name)
    return "local", LiveObject(ref=ref, uid="u", resource_version="1", body=body)


def test_a_deployment_that_is_gone_leaves_its_replicas_wanted() -> None:
    assert Sight(agents={}).of(record()).text == "0/1"
    there = presence([live("Deployment", {"spec": {"replicas": 2}, "status": {"readyReplicas": 2}})])
    assert Sight(agents={HELLO: there}).of(record()).text == "2/2"
    both = (PlacedReplicas(cluster="local", replicas=2), PlacedReplicas(cluster="other", replicas=3))
    assert Sight(agents={HELLO: there}).of(record(placement=both)).text == "2/5"
    assert Sight(agents={}, unreadable={"local": "no"}).of(record()).text == "?"


def test_after_a_rollback_the_revision_that_runs_is_told_beside_the_one_that_failed() -> None:
    good = Good(number=2, commit="c1", spec_hash="old", document={}, manifests={})
    held = Quarantine(spec_hash="new", since_ms=1, reason="boom")
    back = record(good=good, quarantine=held, spec_hash="old", commit="c1")
    assert running(back) == (2, "c1")
    assert record_json(back)["revision"] == 2
    assert record_json(back)["lastTried"] == 3
    left = record(good=good, quarantine=held)
    assert running(left) == (3, "c2")
    assert record_json(left)["lastTried"] == 3


def test_addresses_are_those_of_services_and_pods() -> None:
    service = {
        "metadata": {"annotations": {ADDRESS_ANNOTATION: '{"http": "127.0.0.1:4000", "8080": "127.0.0.1:4000"}'}}
    }
    pod = {
        "metadata": {"annotations": {PORTS_ANNOTATION: '{"8080": 4100}'}},
        "status": {"podIP": "127.0.0.1", "phase": "Running"},
    }
    seen = presence([live("Service", service), live("Pod", pod, name="hello-1")])
    assert [(one.cluster, one.service, dict(one.ports)) for one in seen.addresses] == [
        ("local", "hello", {"8080": "127.0.0.1:4000", "http": "127.0.0.1:4000"})
    ]
    assert dict(seen.pods[0].ports) == {"8080": "127.0.0.1:4100"}


def test_annotations_that_make_no_sense_are_no_addresses() -> None:
    service = {"metadata": {"annotations": {ADDRESS_ANNOTATION: "[1, {"}}}
    pod = {"metadata": {"annotations": {PORTS_ANNOTATION: '["8080"]'}}, "status": {}}
    seen = presence([live("Service", service), live("Pod", pod)])
    assert seen.addresses == ()
    assert dict(seen.pods[0].ports) == {}
