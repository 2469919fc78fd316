"""What is the embedded cluster's own: its supervisor, running nothing, capacity, samples, logs, the warm copy."""

import asyncio
from contextlib import aclosing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded import capacity, storage_sql
from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.errors import ClusterUnavailable, OutcomeUnknown, PreconditionFailed
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    AnyState,
    Found,
    LogOptions,
    Manifest,
    MustBeAbsent,
    PodUsage,
    Scope,
    Unreadable,
    Usage,
)

Body = dict[str, Any]
POD = ObjectRef(group="", kind="Pod", namespace="team", name="web-1")


def config(name: str = "settings", **data: str) -> Body:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "team"}, "data": data}


def deployment(replicas: int = 2) -> Body:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "team"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "a:1"}]},
            },
        },
    }


def pod(name: str = "web-1", **requests: str) -> Body:
    resources = {"requests": requests} if requests else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {
            "nodeName": "this-machine",
            "containers": [{"name": "app", "image": "a:1", "resources": resources}],
        },
    }


def manifest(body: Body) -> Manifest:
    group = body["apiVersion"].rpartition("/")[0]
    ref = ObjectRef(group=group, kind=body["kind"], namespace="team", name=body["metadata"]["name"])
    return Manifest(ref=ref, body=body, hash="", agent=AgentName(namespace="team", name="web"))


@pytest.fixture
def woken() -> list[Path]:
    return []


@pytest.fixture
async def cluster(tmp_path, woken):
    opened = EmbeddedCluster.open("local", tmp_path, run="processes", ensure_supervisor=woken.append)
    yield opened
    await opened.close()


@pytest.fixture
async def idle(tmp_path, woken):
    opened = EmbeddedCluster.open("idle", tmp_path, run="nothing", ensure_supervisor=woken.append)
    yield opened
    await opened.close()


@pytest.fixture
def store(tmp_path):
    opened = ObjectStore.open(tmp_path / "cluster.db")
    yield opened
    opened.close()


async def test_the_supervisor_is_woken_for_workloads_only(cluster, woken, tmp_path):
    await cluster.apply(manifest(config()), AnyState())
    await cluster.delete(manifest(config()).ref, AnyState())
    assert woken == []
    await cluster.apply(manifest(deployment()), AnyState())
    assert woken == [tmp_path]
    await cluster.delete(manifest(deployment()).ref, AnyState())
    assert woken == [tmp_path] * 2


@pytest.mark.parametrize("error", [PermissionError("no"), ClusterUnavailable("no")])
async def test_a_supervisor_that_cannot_start_is_told(tmp_path, error):
    def fail(_: Path) -> None:
        raise error

    cluster = EmbeddedCluster.open("local", tmp_path, run="processes", ensure_supervisor=fail)
    with pytest.raises(OutcomeUnknown, match="its supervisor cannot be started: no"):
        await cluster.apply(manifest(deployment()), AnyState())
    assert isinstance(await cluster.get(manifest(deployment()).ref), Found)
    await cluster.close()


async def test_nothing_runs_and_says_so(idle, woken):
    first = await idle.apply(manifest(deployment()), AnyState())
    assert woken == []
    assert first.status["readyReplicas"] == 2
    assert first.status["observedGeneration"] == first.metadata["generation"]
    available = next(one for one in first.status["conditions"] if one["type"] == "Available")
    assert (available["status"], available["reason"]) == ("True", "NothingRuns")
    assert await idle.apply(manifest(deployment()), AnyState()) == first
    scaled = await idle.apply(manifest(deployment(5)), AnyState())
    assert scaled.status["availableReplicas"] == 5
    assert scaled.status["observedGeneration"] == 2
    found = await idle.observe(Scope(kinds=(("", "v1", "Pod"),)))
    assert isinstance(found, Found)
    assert not found.value.objects


async def test_nothing_has_room_for_anything(idle):
    found = await idle.capacity()
    assert isinstance(found, Found)
    (node,) = found.value.nodes
    assert node.name == "nothing-runs"
    assert node.free["cpu"].value >= 10**6


async def test_pods_take_of_the_machine_what_they_request(cluster, store):
    store.create(pod("one", cpu="250m", memory="64Mi"), manager="m")
    store.create(pod("two", cpu="250m"), manager="m")
    store.create(pod("ended", cpu="250m"), manager="m")
    store.patch_status(
        ObjectRef(group="", kind="Pod", namespace="team", name="ended"), {"phase": "Failed"}, manager="c"
    )
    found = await cluster.capacity()
    assert isinstance(found, Found)
    (node,) = found.value.nodes
    assert node.name == "this-machine"
    used = {name: node.allocatable[name].value - node.free[name].value for name in node.allocatable}
    assert used == {"cpu": Fraction(1, 2), "memory": 64 * 2**20, "pods": 2}
    assert node.allocatable["pods"].value == 250


def test_what_is_free_is_never_below_nothing():
    (node,) = capacity.machine_capacity([pod(cpu="100k")]).nodes
    assert node.free["cpu"].value == 0


def test_the_largest_init_container_counts_where_it_is_more():
    body = pod(cpu="1")
    body["spec"]["initContainers"] = [{"name": "i", "resources": {"requests": {"cpu": "3", "memory": "1Mi"}}}]
    assert capacity.pod_requests(body) == {"cpu": Fraction(3), "memory": Fraction(2**20)}


async def test_samples_are_those_of_the_namespaces(cluster, store):
    store.create(pod(), manager="m")
    store.put_usage(POD, 0.5, 100)
    assert await cluster.usage(Scope()) == Found(Usage(pods={POD: PodUsage(cpu=0.5, memory=100)}))
    assert await cluster.usage(Scope(namespaces=frozenset({"other"}))) == Found(Usage(pods={}))


async def test_a_store_that_fails_is_unreadable_never_absent(cluster):
    cluster._store.close()
    for answer in (
        await cluster.get(POD),
        await cluster.observe(Scope()),
        await cluster.capacity(),
        await cluster.usage(Scope()),
        await cluster.identity(),
    ):
        assert isinstance(answer, Unreadable)
        assert "cluster.db" in answer.reason


async def test_errors_name_the_cluster(cluster):
    await cluster.apply(manifest(config()), AnyState())
    with pytest.raises(PreconditionFailed) as caught:
        await cluster.apply(manifest(config()), MustBeAbsent())
    assert caught.value.cluster == "local"


async def test_an_unchanged_store_gives_the_very_same_answer(cluster, store):
    store.create(config("a"), manager="m")
    first = await cluster.observe(Scope())
    assert (await cluster.observe(Scope())).value is first.value
    store.create(config("b"), manager="m")
    second = await cluster.observe(Scope())
    refs = list(second.value.objects)
    assert [ref.name for ref in refs] == ["a", "b"]
    assert second.value.objects[refs[0]] is first.value.objects[refs[0]]
    assert len(first.value.objects) == 1


async def test_kinds_may_join_later_without_missing_a_deletion(cluster, store):
    configs, both = (("", "v1", "ConfigMap"),), (("", "v1", "ConfigMap"), ("", "v1", "Pod"))
    store.create(config("a"), manager="m")
    await cluster.observe(Scope(kinds=configs))
    store.delete(ObjectRef(group="", kind="ConfigMap", namespace="team", name="a"))
    store.create(pod(), manager="m")
    found = await cluster.observe(Scope(kinds=both))
    assert [ref.kind for ref in found.value.objects] == ["Pod"]


async def test_what_came_back_is_not_lost_to_a_deletion_that_another_kind_has_yet_to_see(cluster, store):
    await cluster.apply(manifest(config()), AnyState())
    await cluster.apply(manifest(deployment()), AnyState())
    ref = manifest(deployment()).ref
    only = Scope(kinds=(("apps", "v1", "Deployment"),))
    assert isinstance(await cluster.observe(Scope()), Found)
    store.delete(ref)
    store.apply(deployment(), manager="test")
    assert ref in (await cluster.observe(only)).value.objects
    store.apply(config("other"), manager="test")
    assert ref in (await cluster.observe(Scope())).value.objects


async def test_the_copy_is_read_anew_when_changes_have_expired(cluster, store, monkeypatch):
    store.create(config("a"), manager="m")
    await cluster.observe(Scope())
    monkeypatch.setattr(storage_sql, "KEPT_CHANGES", 2)
    monkeypatch.setattr(storage_sql, "TRIM_EVERY", 1)
    store.delete(ObjectRef(group="", kind="ConfigMap", namespace="team", name="a"))
    for name in "bcde":
        store.create(config(name), manager="m")
    found = await cluster.observe(Scope())
    assert [ref.name for ref in found.value.objects] == ["b", "c", "d", "e"]


async def test_changes_by_another_process_are_seen(cluster, store):
    async with aclosing(cluster.changes(Scope(namespaces=frozenset({"team"})))) as changes:
        store.create({**config("x"), "metadata": {"name": "x", "namespace": "elsewhere"}}, manager="m")
        store.create(config("y"), manager="m")
        ref = await asyncio.wait_for(anext(changes), 30)
    assert (ref.namespace, ref.name) == ("team", "y")


class TestLogs:
    @pytest.fixture
    def log(self, tmp_path, store):
        store.create(pod(), manager="m")
        folder = tmp_path / "logs" / "team" / "web-1"
        folder.mkdir(parents=True)
        return folder / "app.log"

    async def read(self, cluster, **options: Any) -> list[str]:
        return [line async for line in cluster.logs(POD, LogOptions(**options))]

    async def test_nothing_logged_yet(self, cluster, log):
        assert await self.read(cluster) == []

    async def test_rotated_lines_come_first(self, cluster, log):
        log.with_name("app.log.1").write_text("one\ntwo\n")
        log.write_bytes(b"three\r\n\xff\nunfinished")
        assert await self.read(cluster) == ["one", "two", "three", "\ufffd", "unfinished"]
        assert await self.read(cluster, tail=2) == ["\ufffd", "unfinished"]
        assert await self.read(cluster, tail=0) == []

    async def test_the_run_before(self, cluster, log):
        log.with_name("app.log.previous").write_text("one\ntwo\n")
        log.write_text("now\n")
        assert await self.read(cluster, previous=True, tail=1) == ["two"]

    async def test_endless_lines_are_cut(self, cluster, log):
        log.write_bytes(b"x" * 200_000)
        lines = await self.read(cluster)
        assert all(len(line) <= 65_536 for line in lines)

    async def test_following_through_a_rotation_until_the_pod_ends(self, cluster, log, store):
        log.write_text("one\n")
        found: list[str] = []

        async def follow() -> None:
            async for line in cluster.logs(POD, LogOptions(follow=True)):
                found.append(line)  # noqa: PERF401 - read while it grows

        async def until(*lines: str) -> None:
            while found != list(lines):  # noqa: ASYNC110 - a plain list has no event
                await asyncio.sleep(0.01)

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            await until("one")
            with log.open("a") as file:
                file.write("two\nthr")
            await until("one", "two")
            with log.open("a") as file:
                file.write("ee\n")
            await until("one", "two", "three")
            log.rename(log.with_name("app.log.1"))
            log.write_text("four\n")
            await until("one", "two", "three", "four")
            store.delete(POD, grace=False)
        assert found == ["one", "two", "three", "four"]
