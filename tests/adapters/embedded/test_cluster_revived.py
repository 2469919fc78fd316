"""A supervisor that was killed, as by a restart of the machine, is missed by whoever looks at the cluster next."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters.embedded import cluster
from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.adapters.embedded.lifecycle import end_everything, ensure_running, is_locked, read_said
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState, Found, Manifest, Scope

REF = ObjectRef(group="apps", kind="Deployment", namespace="demo", name="sleeper")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    folder.mkdir()
    yield folder
    end_everything(folder, tmp_path)


def opened(state: Path) -> EmbeddedCluster:
    return EmbeddedCluster.open(
        "local", state, run="processes", ensure_supervisor=lambda folder: ensure_running(folder, state.parent)
    )


def deployment(replicas: int) -> Manifest:
    labels = {"app": "sleeper"}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sleeper", "namespace": "demo"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "none", "command": ["sleep", "600"]}]},
            },
        },
    }
    return Manifest(ref=REF, body=body, hash="", agent=AgentName(namespace="demo", name="sleeper"))


def kill_supervisor(state: Path) -> None:
    said = read_said(state)
    assert said is not None
    os.kill(said.pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while is_locked(state) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_locked(state)


async def test_looking_at_a_cluster_brings_its_supervisor_back(state: Path) -> None:
    first = opened(state)
    await first.apply(deployment(1), AnyState())
    await first.close()
    kill_supervisor(state)
    second = opened(state)
    assert isinstance(await second.observe(Scope()), Found)
    assert is_locked(state)
    await second.close()


async def test_whoever_has_looked_all_along_brings_it_back_as_well(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.0)
    opened_once = opened(state)
    await opened_once.apply(deployment(1), AnyState())
    assert isinstance(await opened_once.observe(Scope()), Found)
    kill_supervisor(state)
    assert isinstance(await opened_once.observe(Scope()), Found)
    assert is_locked(state)
    await opened_once.close()


@pytest.mark.parametrize(("phase", "started"), [("Running", True), ("Succeeded", False)])
async def test_a_pod_that_has_not_ended_brings_it_back_when_nothing_is_deployed_any_more(
    state: Path, phase: str, *, started: bool
) -> None:
    asked: list[Path] = []
    looking = EmbeddedCluster.open("local", state, run="processes", ensure_supervisor=asked.append)
    ref = ObjectRef(group="", kind="Pod", namespace="demo", name="sleeper")
    store = ObjectStore.open(state / cluster.DATABASE)
    spec = {"containers": [{"name": "c", "image": "none"}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sleeper", "namespace": "demo"}, "spec": spec}
    uid = store.apply(body, manager="test", force=True)["metadata"]["uid"]
    store.patch_status(ref, {"phase": phase}, manager="kubelet")
    assert isinstance(await looking.observe(Scope()), Found)
    assert asked == ([state] if started else [])
    store.remove(ref, uid)
    store.close()
    await looking.close()


async def test_looking_at_a_cluster_with_nothing_to_run_starts_nothing(state: Path) -> None:
    looking = opened(state)
    assert isinstance(await looking.observe(Scope()), Found)
    assert not is_locked(state)
    await looking.close()
