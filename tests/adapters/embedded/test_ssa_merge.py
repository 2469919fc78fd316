"""Laws of server-side apply over generated configurations."""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.embedded import fieldset, ssa
from reconciler.adapters.embedded.schema_tables import KINDS
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.errors import FieldConflict, Rejected
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import MustBeAbsent

Body = dict[str, Any]
REF = ObjectRef(group="apps", kind="Deployment", namespace="team", name="web")
CONFIG = ObjectRef(group="", kind="ConfigMap", namespace="team", name="settings")

_text = st.sampled_from(["", "a", "b"])
_keys = st.sampled_from(["x", "y", "z"])
_env = st.lists(st.fixed_dictionaries({"name": _keys, "value": _text}), max_size=3, unique_by=lambda one: one["name"])
_ports = st.lists(
    st.fixed_dictionaries({"containerPort": st.sampled_from([80, 81])}, optional={"hostPort": st.just(0)}),
    max_size=2,
    unique_by=lambda one: one["containerPort"],
)
_container = st.fixed_dictionaries(
    {"name": st.just("app"), "image": st.sampled_from(["a:1", "a:2"])},
    optional={
        "env": _env,
        "ports": _ports,
        "args": st.lists(_text, max_size=2),
        "resources": st.sampled_from([{}, {"limits": {"cpu": "1000m"}}, {"requests": {"memory": "0.5Gi"}}]),
    },
)
_spec = st.fixed_dictionaries(
    {"containers": st.lists(_container, min_size=1, max_size=1)},
    optional={
        "nodeSelector": st.dictionaries(_keys, _text, max_size=2),
        "terminationGracePeriodSeconds": st.integers(0, 2),
        "volumes": st.just([{"name": "v"}]),
        "hostNetwork": st.booleans(),
    },
)
_extra = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 3),
        "minReadySeconds": st.integers(0, 1),
        "paused": st.booleans(),
        "strategy": st.sampled_from([{}, {"type": "RollingUpdate"}, {"rollingUpdate": {"maxSurge": 2}}]),
    },
)


def _body(pod: Body, extra: Body, annotations: dict[str, str]) -> Body:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "team", "annotations": annotations},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod},
            **extra,
        },
    }


deployments = st.builds(_body, _spec, _extra, st.dictionaries(_keys, _text, max_size=2))
data = st.dictionaries(_keys, _text, max_size=3)


@contextmanager
def opened() -> Iterator[ObjectStore]:
    with tempfile.TemporaryDirectory() as folder:
        store = ObjectStore.open(Path(folder) / "cluster.db", clock=lambda: 0.0)
        try:
            yield store
        finally:
            store.close()


def config(values: dict[str, str]) -> Body:
    body: Body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "team"}}
    return {**body, "data": values} if values else body


def essence(body: Body) -> Body:
    """What a client put there: without uid, versions, times and generation."""
    result = copy.deepcopy(body)
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        result["metadata"].pop(key, None)
    return result


@settings(max_examples=25, deadline=None)
@given(deployments)
def test_applying_again_changes_nothing(body: Body) -> None:
    with opened() as store:
        said = copy.deepcopy(body)
        first = store.apply(body, manager="ours", expect=MustBeAbsent())
        version = store.resource_version()
        assert store.apply(body, manager="ours") == first
        assert store.resource_version() == version
        assert store.get(REF) == first
        assert body == said


@settings(max_examples=25, deadline=None)
@given(deployments, deployments)
def test_applying_another_gives_what_it_alone_would_give(one: Body, other: Body) -> None:
    """A sole manager's object depends on the last configuration only."""
    with opened() as store, opened() as fresh:
        store.apply(one, manager="ours")
        changed = store.apply(other, manager="ours")
        alone = fresh.apply(other, manager="ours")
        assert essence(changed) == essence(alone)


@settings(max_examples=20, deadline=None)
@given(data, data)
def test_two_managers_of_other_fields_do_not_meet(ours: dict[str, str], theirs: dict[str, str]) -> None:
    with opened() as store:
        theirs = {f"their-{key}": value for key, value in theirs.items()}
        store.apply(config(ours), manager="ours")
        both = store.apply(config(theirs), manager="theirs")
        assert both.get("data", {}) == {**ours, **theirs}
        assert store.apply(config(ours), manager="ours") == both


@settings(max_examples=20, deadline=None)
@given(data, data)
def test_applied_then_dropped_is_as_if_never_applied(ours: dict[str, str], theirs: dict[str, str]) -> None:
    with opened() as store:
        before = store.apply(config(ours), manager="ours")
        store.apply(config(theirs), manager="theirs", force=True)
        store.apply(config(ours), manager="ours", force=True)
        store.apply(config({}), manager="theirs")
        after = store.get(CONFIG)
        assert after is not None
        assert after.get("data", {}) == before.get("data", {})
        owners = [entry for entry in after["metadata"].get("managedFields", []) if entry["manager"] == "ours"]
        assert owners == before["metadata"].get("managedFields", [])


@settings(max_examples=25, deadline=None)
@given(deployments, deployments)
def test_a_conflict_names_what_forcing_would_take(one: Body, other: Body) -> None:
    with opened() as store:
        store.apply(one, manager="theirs")
        before = store.get(REF)
        owners: dict[str, str] = {}
        try:
            store.apply(other, manager="ours")
        except FieldConflict as conflict:
            owners = conflict.owners
        assert set(owners.values()) <= {"theirs"}
        assert not owners or store.get(REF) == before
        forced = store.apply(other, manager="ours", force=True)
        for entry in forced["metadata"]["managedFields"]:
            if entry["manager"] == "theirs":
                assert not set(owners) & set(fieldset.paths(entry["fieldsV1"]))
        again = store.apply(other, manager="ours")
        assert store.apply(other, manager="ours") == again


def _names(items: list[Body]) -> list[str]:
    return [item["name"] for item in items]


@pytest.mark.parametrize(
    ("left", "right", "merged"),
    [
        ("abc", "abc", "abc"),
        ("abc", "cba", "cba"),
        ("abc", "b", "abc"),
        ("ab", "xaby", "xaby"),
        ("acb", "ab", "acb"),
        ("a", "", "a"),
        ("", "ba", "ba"),
        ("abcd", "dxb", "acdxb"),
    ],
)
def test_order_of_merged_lists(left: str, right: str, merged: str) -> None:
    node = KINDS["apps", "Deployment"].node.fields["spec"].fields["template"].fields["spec"].fields["containers"]
    result = ssa.merge([{"name": name} for name in left], [{"name": name} for name in right], node)
    assert _names(result) == list(merged)


def test_managed_fields_may_not_be_applied() -> None:
    with opened() as store:
        body = config({})
        body["metadata"]["managedFields"] = [{"manager": "x"}]
        with pytest.raises(Rejected, match="managedFields must be nil"):
            store.apply(body, manager="ours")


def test_an_update_owns_what_it_changed_containers_too() -> None:
    with opened() as store:
        body = config({"a": "1"})
        body["metadata"]["labels"] = {"app": "x"}
        created = store.create(body, manager="kubectl-create")
        (entry,) = created["metadata"]["managedFields"]
        assert entry["operation"] == "Update"
        assert entry["fieldsV1"] == {
            "f:data": {".": {}, "f:a": {}},
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        }


def test_a_created_object_owns_its_defaults() -> None:
    with opened() as store:
        pod = {"containers": [{"name": "app", "image": "a:1"}]}
        created = store.create(_body(pod, {}, {}), manager="kubectl-create")
        (entry,) = created["metadata"]["managedFields"]
        fields = entry["fieldsV1"]["f:spec"]
        assert "." not in fields
        assert {"f:replicas", "f:progressDeadlineSeconds", "f:strategy", "f:selector", "f:template"} <= set(fields)
        assert fields["f:strategy"]["f:rollingUpdate"] == {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}
        assert "." not in fields["f:strategy"]


def test_client_side_creation_meets_server_side_apply() -> None:
    """A field that an Update manager wrote is shared when it is the same, and conflicts when it is not."""
    with opened() as store:
        store.create(config({"a": "1"}), manager="kubectl-create")
        same = store.apply(config({"a": "1"}), manager="ours")
        assert [e["manager"] for e in same["metadata"]["managedFields"]] == ["ours", "kubectl-create"]
        with pytest.raises(FieldConflict) as caught:
            store.apply(config({"a": "2"}), manager="ours")
        assert caught.value.owners == {".data.a": "kubectl-create"}
