"""The pass of the controllers over a real store: what it writes again, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded.controllers.loop import Controllers
from reconciler.adapters.embedded.controllers.view import View
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.errors import ClusterUnavailable
from reconciler.model.identity import ObjectRef

DEPLOYMENT = ObjectRef(group="apps", kind="Deployment", namespace="ns", name="a")
SET = ("apps", "ReplicaSet")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    opened = ObjectStore.open(tmp_path / "cluster.db", clock=lambda: 1_000_000.0)
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"app": "a"}}, "template": template, "replicas": 2}
    head: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "ns"}}
    opened.apply({**head, "spec": spec}, manager="test")
    yield opened
    opened.close()


@pytest.fixture
def controllers(store: ObjectStore) -> Controllers:
    made = Controllers(store, View(), clock=lambda: 1_000_000.0)
    made.run()
    return made


def replica_set(store: ObjectStore) -> ObjectRef:
    (body,) = store.list(*SET)[0]
    return ObjectRef(group="apps", kind="ReplicaSet", namespace="ns", name=body["metadata"]["name"])


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet"])
def test_a_status_that_somebody_wrote_over_is_written_again(
    store: ObjectStore, controllers: Controllers, kind: str
) -> None:
    ref = DEPLOYMENT if kind == "Deployment" else replica_set(store)
    before = (store.get(ref) or {})["status"]
    assert before["replicas"] == 2
    store.patch_status(ref, {"replicas": 7}, manager="somebody")
    controllers.run()
    assert (store.get(ref) or {})["status"] == before


def test_a_look_that_finds_every_status_right_writes_nothing_and_locks_nobody_out(
    store: ObjectStore, controllers: Controllers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(store, "patch_status", lambda ref, *_rest, **_options: asked.append(ref))
    set_ref = replica_set(store)
    body = store.get(set_ref) or {}
    body["metadata"].setdefault("annotations", {})["looked"] = "at"
    store.update(body, manager="somebody")
    changed, _pause = controllers.run()
    assert set_ref in changed
    assert asked == []


@pytest.mark.parametrize("verb", ["events", "get"])
def test_what_could_not_be_read_is_seen_by_the_next_look(
    store: ObjectStore, controllers: Controllers, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr("reconciler.adapters.embedded.controllers.view._BATCH", 1)
    for ref, wanted in ((DEPLOYMENT, 3), (replica_set(store), 1)):
        body = store.get(ref) or {}
        body["spec"]["replicas"] = wanted
        store.update(body, manager="somebody")
    reads = iter((True, False))
    real = getattr(store, verb)

    def once(*arguments: Any) -> Any:
        if verb == "get" or not next(reads):
            raise ClusterUnavailable("the disk is gone")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store, verb, once)
        with pytest.raises(ClusterUnavailable):
            controllers.run()
    changed, _pause = controllers.run()
    assert DEPLOYMENT in changed
    assert (store.get(replica_set(store)) or {})["spec"]["replicas"] == 3


def test_what_changed_is_told_although_the_pass_failed_after_it_was_seen(
    store: ObjectStore, controllers: Controllers, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = store.get(DEPLOYMENT) or {}
    body["spec"]["replicas"] = 3
    store.update(body, manager="somebody")

    def failing(_now: float) -> None:
        raise ClusterUnavailable("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(controllers._autoscaler, "run", failing)
        with pytest.raises(ClusterUnavailable):
            controllers.run()
    changed, _pause = controllers.run()
    assert sum(ref.kind == "Pod" for ref in changed) == 1
    assert controllers.run()[0] == set(), "and once is enough"
