"""What a kubelet keeps of pods that are gone: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded.controllers.view import View
from reconciler.adapters.embedded.kubelet.kubelet import Kubelet
from reconciler.adapters.embedded.kubelet.pod import Pod
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.identity import ObjectRef

WITHIN_S = 20.0
REF = ObjectRef(group="", kind="Pod", namespace="ns", name="p")
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "ns"},
    "spec": {
        "nodeName": "this-machine",
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "none:1", "command": ["sleep", "1000"]}],
    },
}


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Without the garbage collector: what goes, goes because nobody holds it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not there():  # noqa: ASYNC110 - what is looked at tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("uncollected")
async def test_a_pod_that_is_gone_leaves_nothing_to_the_garbage_collector(tmp_path: Path) -> None:
    store, view = ObjectStore.open(tmp_path / "cluster.db"), View()
    kubelet = Kubelet(store, view, state=tmp_path, fleet=tmp_path, inherited={"PATH": os.environ["PATH"]})
    before = {id(each) for each in pods()}
    try:
        store.create(POD, manager="test")
        kubelet.look(view.refresh(store))
        await until(lambda: "running" in state(store))
        assert [each.name for each in pods() if id(each) not in before] == ["ns/p"]
        store.delete(REF)
        kubelet.look(view.refresh(store))
        await until(lambda: store.get(REF) is None and not kubelet.busy())
        kubelet.look(view.refresh(store))
        await until(lambda: not [each for each in pods() if id(each) not in before])
    finally:
        await kubelet.close()
        store.close()


def pods() -> list[Pod]:
    return [each for each in gc.get_objects() if isinstance(each, Pod)]


def state(store: ObjectStore) -> dict[str, Any]:
    body = store.get(REF) or {}
    return next((each["state"] for each in body.get("status", {}).get("containerStatuses", ())), {})
