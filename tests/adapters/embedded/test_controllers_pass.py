"""The pass of the controllers over a real store: what it writes again, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded.controllers.loop import Controllers
from reconciler.adapters.embedded.controllers.view import View
from reconciler.adapters.embedded.store import ObjectStore
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
