"""The verbs of the object store: versions, subresources, deletion with dependents, events, samples."""

import stat
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded import storage_sql
from reconciler.adapters.embedded.store import EventType, Expired, ObjectStore
from reconciler.model.errors import ClusterUnavailable, PreconditionFailed, Rejected
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import MustBe, PodUsage

Body = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "cluster.db"


@pytest.fixture
def store(path):
    opened = ObjectStore.open(path)
    yield opened
    opened.close()


def config(name: str = "settings", *, owners: tuple[Body, ...] = (), **data: str) -> Body:
    metadata: Body = {"name": name, "namespace": "team"}
    if owners:
        metadata["ownerReferences"] = [
            {
                "apiVersion": one["apiVersion"],
                "kind": one["kind"],
                "name": one["metadata"]["name"],
                "uid": one["metadata"]["uid"],
            }
            for one in owners
        ]
    body: Body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    return {**body, "data": data} if data else body


def pod(name: str = "pod", *, node: str = "this-machine", owners: tuple[Body, ...] = ()) -> Body:
    body = config(name, owners=owners)
    spec: Body = {"containers": [{"name": "app", "image": "a:1"}]}
    return {**body, "kind": "Pod", "spec": {**spec, "nodeName": node} if node else spec}


def deployment(replicas: int = 1) -> Body:
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


def ref(kind: str, name: str, namespace: str = "team", group: str = "") -> ObjectRef:
    return ObjectRef(group=group, kind=kind, namespace=namespace, name=name)


WEB = ref("Deployment", "web", group="apps")
SETTINGS = ref("ConfigMap", "settings")


def test_the_file_is_private_and_keeps_its_identity(path):
    store = ObjectStore.open(path)
    uid = store.uid
    store.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = ObjectStore.open(path)
    version = again.resource_version()
    assert again.uid == uid
    again.close()
    third = ObjectStore.open(path)
    assert third.resource_version() == version
    third.close()


def test_a_namespace_is_made_on_first_use(store):
    store.create(config(), manager="m")
    made = store.get(ref("Namespace", "team", namespace=""))
    assert made is not None
    assert made["status"] == {"phase": "Active"}
    assert "generation" not in made["metadata"]


def test_creating_twice_fails(store):
    store.create(config(), manager="m")
    with pytest.raises(PreconditionFailed, match="ConfigMap team/settings already exists"):
        store.create(config(), manager="m")


def test_names_can_be_generated(store):
    body = config()
    body["metadata"] = {"generateName": "web-", "namespace": "team"}
    names = {store.create(body, manager="m")["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


def test_what_the_server_sets_cannot_be_set(store):
    body = config()
    body["metadata"] |= {"uid": "mine", "creationTimestamp": "1999-01-01T00:00:00Z", "generation": 9}
    made = store.create(body, manager="m")
    assert made["metadata"]["uid"] != "mine"
    assert not made["metadata"]["creationTimestamp"].startswith("1999")
    assert "generation" not in made["metadata"]


def test_an_update_of_an_older_version_fails(store):
    first = store.create(config(a="1"), manager="m")
    store.update({**first, "data": {"a": "2"}}, manager="m")
    with pytest.raises(PreconditionFailed, match="the object has been modified"):
        store.update({**first, "data": {"a": "3"}}, manager="m")
    found = store.get(SETTINGS)
    assert found is not None
    assert found["data"] == {"a": "2"}


def test_an_update_of_what_is_gone_fails(store):
    with pytest.raises(PreconditionFailed, match="is not there"):
        store.update(config(a="1"), manager="m")


def test_an_update_without_a_change_writes_nothing(store):
    made = store.create(config(a="1"), manager="m")
    assert store.update(made, manager="another") == made


def test_status_and_spec_are_written_apart(store):
    made = store.create({**deployment(), "status": {"replicas": 9}}, manager="m")
    assert "status" not in made
    patched = store.patch_status(WEB, {"replicas": 1, "readyReplicas": 0}, manager="controller")
    assert patched["status"] == {"replicas": 1}
    assert patched["metadata"]["generation"] == 1
    assert [(e["manager"], e.get("subresource")) for e in patched["metadata"]["managedFields"]] == [
        ("controller", "status"),
        ("m", None),
    ]
    scaled = store.update(
        {**patched, "spec": {**patched["spec"], "replicas": 3}, "status": {"replicas": 7}}, manager="kubectl"
    )
    assert scaled["status"] == {"replicas": 1}
    assert scaled["metadata"]["generation"] == 2
    by_status = store.update({**scaled, "spec": {}, "status": {"replicas": 3}}, manager="c", subresource="status")
    assert by_status["spec"] == scaled["spec"]
    assert by_status["status"] == {"replicas": 3}


def test_a_status_leaves_the_rest_as_it_is_and_one_of_zeros_is_empty(store):
    made = store.create(deployment(), manager="m")
    patched = store.patch_status(WEB, {"replicas": 1, "conditions": []}, manager="c")
    assert patched["status"] == {"replicas": 1}
    gone = store.patch_status(WEB, {"replicas": 0}, manager="c")
    assert gone == store.get(WEB)
    assert gone["status"] == {}
    for written in (patched, gone):
        assert {**written, "metadata": {}, "status": {}} == {**made, "metadata": {}, "status": {}}
        assert written["metadata"]["uid"] == made["metadata"]["uid"]
    assert [entry["manager"] for entry in gone["metadata"]["managedFields"]] == ["m"]


def test_an_unchanged_status_writes_nothing(store):
    store.create(deployment(), manager="m")
    first = store.patch_status(WEB, {"replicas": 1}, manager="c")
    version = store.resource_version()
    assert store.patch_status(WEB, {"replicas": 1}, manager="c") == first
    assert store.resource_version() == version


def test_a_status_for_what_is_not_there_is_none(store):
    assert store.patch_status(WEB, {"replicas": 1}, manager="c") is None
    store.create(deployment(), manager="m")
    assert store.patch_status(WEB, {"replicas": 1}, manager="c", uid="another") is None


def test_an_unknown_status_field_is_refused(store):
    store.create(deployment(), manager="m")
    with pytest.raises(Rejected, match=r"\.status\.ready: field not declared"):
        store.patch_status(WEB, {"ready": True}, manager="c")


def test_an_unknown_subresource_is_refused(store):
    made = store.create(deployment(), manager="m")
    with pytest.raises(Rejected, match="subresource"):
        store.update(made, manager="m", subresource="eviction")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"apiVersion": "v1", "kind": "ConfigMap"},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 5}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "../x"}},
        {"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}},
        {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "b"}},
        {"apiVersion": 1, "kind": [], "metadata": {"name": "a"}},
        "text",
    ],
)
def test_what_is_no_object_is_refused_and_writes_nothing(store, body):
    version = store.resource_version()
    for verb in (store.create, store.apply, store.update):
        with pytest.raises(Rejected):
            verb(body, manager="m")
    assert store.resource_version() == version


def test_an_object_that_is_too_large_is_refused(store):
    body = config()
    body["data"] = {"a": "x" * 1_100_000}
    with pytest.raises(Rejected, match="Too long"):
        store.apply(body, manager="m")
    assert store.get(SETTINGS) is None


class TestDeletion:
    def test_dependents_go_with_their_last_owner(self, store):
        one, two = (store.create(config(name, a="1"), manager="m") for name in ("one", "two"))
        child = store.create(config("child", owners=(one, two)), manager="m")
        store.create(config("grandchild", owners=(child,)), manager="m")
        store.delete(ref("ConfigMap", "one"))
        kept = store.get(ref("ConfigMap", "child"))
        assert [owner["name"] for owner in kept["metadata"]["ownerReferences"]] == ["two"]
        store.delete(ref("ConfigMap", "two"))
        assert store.list("", "ConfigMap")[0] == []

    def test_a_running_pod_stays_until_it_is_removed(self, store):
        owner = store.create(config(), manager="m")
        made = store.create(pod(owners=(owner,)), manager="m")
        store.delete(SETTINGS)
        waiting = store.get(ref("Pod", "pod"))
        assert waiting["metadata"]["deletionTimestamp"]
        assert waiting["metadata"]["deletionGracePeriodSeconds"] == 30
        store.delete(ref("Pod", "pod"))
        assert store.get(ref("Pod", "pod")) == waiting
        store.remove(ref("Pod", "pod"), "another")
        assert store.get(ref("Pod", "pod")) == waiting
        store.remove(ref("Pod", "pod"), made["metadata"]["uid"])
        store.remove(ref("Pod", "pod"), made["metadata"]["uid"])
        assert store.get(ref("Pod", "pod")) is None

    def test_a_pod_without_a_node_or_that_ended_goes_at_once(self, store):
        store.create(pod("unscheduled", node=""), manager="m")
        store.create(pod("ended"), manager="m")
        store.patch_status(ref("Pod", "ended"), {"phase": "Succeeded"}, manager="c")
        store.create(pod("running"), manager="m")
        store.delete(ref("Pod", "unscheduled"))
        store.delete(ref("Pod", "ended"))
        store.delete(ref("Pod", "running"), grace=False)
        assert store.list("", "Pod")[0] == []

    def test_finalizers_hold_an_object(self, store):
        body = config(a="1")
        body["metadata"]["finalizers"] = ["example.com/wait"]
        store.create(body, manager="m")
        store.delete(SETTINGS)
        held = store.get(SETTINGS)
        assert held["metadata"]["deletionTimestamp"]
        del held["metadata"]["finalizers"]
        store.update(held, manager="m")
        assert store.get(SETTINGS) is None

    def test_a_namespace_takes_all_in_it_along(self, store):
        store.create(config(), manager="m")
        store.create(pod(node=""), manager="m")
        store.delete(ref("Namespace", "team", namespace=""))
        assert store.list("", "ConfigMap") == ([], store.resource_version())
        assert store.list("", "Pod")[0] == []

    def test_a_child_of_nobody_is_collected(self, store):
        owner = store.create(config(), manager="m")
        store.delete(SETTINGS)
        store.create(config("orphan", owners=(owner,)), manager="m")
        assert store.get(ref("ConfigMap", "orphan")) is None

    def test_preconditions(self, store):
        made = store.create(config(), manager="m")
        with pytest.raises(PreconditionFailed):
            store.delete(SETTINGS, MustBe(uid="another"))
        store.delete(SETTINGS, MustBe(uid=made["metadata"]["uid"]))
        store.delete(SETTINGS)
        with pytest.raises(PreconditionFailed):
            store.delete(SETTINGS, MustBe(uid=made["metadata"]["uid"]))


class TestEvents:
    def test_every_write_is_told_once_and_in_order(self, store):
        since = store.resource_version()
        made = store.create(config(a="1"), manager="m")
        store.apply(config(b="1"), manager="other")
        store.apply(config(b="1"), manager="other")
        store.delete(SETTINGS)
        events = [event for event in store.events(since) if event.ref == SETTINGS]
        assert [event.type for event in events] == [EventType.ADDED, EventType.MODIFIED, EventType.DELETED]
        assert {event.uid for event in events} == {made["metadata"]["uid"]}
        versions = [event.resource_version for event in events]
        assert versions == sorted(versions)
        assert versions[0] == int(made["metadata"]["resourceVersion"])
        assert store.events(versions[-1]) == []
        assert len(store.events(since, 2)) == 2

    def test_old_events_expire(self, store, monkeypatch):
        monkeypatch.setattr(storage_sql, "KEPT_CHANGES", 4)
        monkeypatch.setattr(storage_sql, "TRIM_EVERY", 1)
        since = store.resource_version()
        for number in range(9):
            store.apply(config(a=str(number)), manager="m")
        with pytest.raises(Expired):
            store.events(since)
        assert len(store.events(store.resource_version() - 4)) == 4
        assert store.delta({("", "ConfigMap"): since}) is None

    def test_waiting_ends_with_a_write_of_another_connection(self, store, path):
        since = store.resource_version()
        assert not store.wait(since, 0.0)
        other = ObjectStore.open(path)
        other.create(config(), manager="m")
        other.close()
        assert store.wait(since, 5.0)


def test_samples_of_pods_go_with_their_pods(store):
    store.create(pod(), manager="m")
    version = store.resource_version()
    store.put_usage(ref("Pod", "pod"), 0.25, 1024)
    store.put_usage(ref("Pod", "pod"), 0.5, 2048)
    assert store.usage() == {ref("Pod", "pod"): PodUsage(cpu=0.5, memory=2048)}
    assert store.resource_version() == version
    store.delete(ref("Pod", "pod"), grace=False)
    assert store.usage() == {}


def test_objects_of_one_shape_share_their_sets(store, path):
    for number in range(20):
        store.apply(config(f"c{number}", a="1"), manager="m")
    other = ObjectStore.open(path)
    objects, _ = other.list("", "ConfigMap")
    sets = [one["metadata"]["managedFields"][0]["fieldsV1"] for one in objects]
    assert sets[0] == {"f:data": {"f:a": {}}}
    assert all(one is sets[0] for one in sets)
    other.close()


def test_a_failed_write_leaves_no_trace_in_what_is_shared(store):
    with pytest.raises(Rejected):
        store.apply(config("Bad_Name", unheard="1"), manager="m")
    made = store.apply(config(unheard="1"), manager="m")
    assert store.get(SETTINGS) == made


def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    path = tmp_path / "cluster.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(ClusterUnavailable, match=r"cluster\.db"):
        ObjectStore.open(path)


def test_a_store_of_a_newer_version_is_left_alone(store, path):
    store._db._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ClusterUnavailable, match="newer version"):
        ObjectStore.open(path)


def test_a_locked_store_is_unavailable_and_names_the_object(store, path, monkeypatch):
    store._db._connection.execute("PRAGMA busy_timeout = 10")
    other = ObjectStore.open(path)
    with other._db.write(), pytest.raises(ClusterUnavailable, match="ConfigMap team/settings") as caught:
        store.create(config(), manager="m")
    assert caught.value.ref == SETTINGS
    other.close()
    store.create(config(), manager="m")
