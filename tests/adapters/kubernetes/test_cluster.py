"""The cluster over answers that a real server gives on no demand: what is absent, unreadable, done or unknown."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from reconciler.adapters.kubernetes.transport import CONNECTIONS
from reconciler.model.errors import ClusterUnavailable, NotAllowed, OutcomeUnknown, PreconditionFailed, Rejected
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import (
    OPTIONAL_KINDS,
    Absent,
    AnyState,
    Found,
    LiveSet,
    LogOptions,
    MustBe,
    MustBeAbsent,
    Observation,
    Scope,
    Unreadable,
)
from tests.adapters.kubernetes.conftest import Reach, until
from tests.adapters.kubernetes.objects import CONFIGS, ONE_KIND, SETTINGS, config, listed, manifest, ref
from tests.doubles.clock import FakeClock
from tests.doubles.scripted_server import Answer, ScriptedServer, endless, raw, reset, said, silence, status, torn

HTML = "<html><body>404 Not Found</body></html>"
NOT_FOUND = status(404, 'configmaps "settings" not found', reason="NotFound", name="settings", kind="configmaps")
NO_OBJECTS: list[Any] = [
    {},
    {"metadata": {}},
    {"metadata": {"name": "settings", "namespace": "team"}},
    {"kind": "Status", "status": "Success", "metadata": {}},
    config("another"),
    config(namespace="elsewhere"),
    [],
    "<html>please log in</html>",
]


def found(answer: Observation[LiveSet]) -> LiveSet:
    assert isinstance(answer, Found)
    return answer.value


async def test_an_object_is_found(server: ScriptedServer, reach: Reach):
    server.on(f"GET {SETTINGS}", said(config(a="1")))
    answer = await reach().get(ref())
    assert isinstance(answer, Found)
    assert (answer.value.ref, answer.value.uid, answer.value.resource_version) == (ref(), "uid-settings", "5")
    assert answer.value.body["data"] == {"a": "1"}


async def test_only_an_api_server_says_that_an_object_is_absent(server: ScriptedServer, reach: Reach):
    server.on(f"GET {SETTINGS}", NOT_FOUND)
    cluster = reach()
    assert await cluster.get(ref()) == Absent()
    for other in (said(HTML, code=404), status(404, "the server could not find the requested resource"), reset):
        server.on(f"GET {SETTINGS}", other)
        assert isinstance(await cluster.get(ref()), Unreadable)


@pytest.mark.parametrize("body", NO_OBJECTS)
async def test_an_answer_that_is_not_the_object_is_no_answer(server: ScriptedServer, reach: Reach, body: Any):
    for method in ("GET", "PATCH"):
        server.on(f"{method} {SETTINGS}", said(body))
    cluster = reach()
    assert isinstance(await cluster.get(ref()), Unreadable)
    with pytest.raises(OutcomeUnknown):
        await cluster.apply(manifest(), AnyState())
    with pytest.raises(OutcomeUnknown):
        await cluster.apply(manifest(), MustBe(uid="uid-settings"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(500, "etcd is away"), "etcd is away"),
        (status(403, 'User "us" cannot get resource "configmaps"'), "grant it in RBAC"),
        (status(401), "does not accept our credentials"),
        (status(410, "too old", reason="Expired"), "too old"),
        (raw(b'{"metadata":{"name":"\xff"}}'), "no object"),
        (raw(b'{"a":' * 100_000), "no object"),
    ],
)
async def test_what_cannot_be_read_says_why(server: ScriptedServer, reach: Reach, answer: Answer, words: str):
    server.on(f"GET {SETTINGS}", answer)
    read = await reach().get(ref())
    assert isinstance(read, Unreadable)
    assert words in read.reason


async def test_a_list_in_pages_is_one_list(server: ScriptedServer, reach: Reach):
    server.on(
        f"GET {CONFIGS}",
        said(listed(config("a"), config("b"), more="next/&= page")),
        said(listed(config("c"), more="last")),
        said(listed(config("d"))),
    )
    objects = found(await reach().observe(ONE_KIND)).objects
    assert [one.name for one in objects] == ["a", "b", "c", "d"]
    assert [one.query.get("continue") for one in server.seen] == [None, "next/&= page", "last"]


@pytest.mark.parametrize(
    "second",
    [
        status(500, "etcd is away"),
        reset,
        torn(listed(config("b")), after=60),
        said({"kind": "Status", "status": "Success", "metadata": {}}),
        said({"metadata": {"resourceVersion": "5"}}),
        said({"kind": "ConfigMapList", "metadata": {}, "items": []}),
        said({"kind": "ConfigMapList", "metadata": {"resourceVersion": "5"}}),
        said(listed({"metadata": {}})),
        said(listed(5)),
        said(listed(config("b"), more="again")),
        raw(json.dumps(listed(config("b"))).encode()[:-3]),
        raw(b'{"kind":"ConfigMapList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"\xff"}}]}'),
        said("<html></html>"),
        said(HTML, code=404),
    ],
)
async def test_a_list_with_a_page_that_failed_is_no_list(server: ScriptedServer, reach: Reach, second: Answer):
    server.on(f"GET {CONFIGS}", said(listed(config("a"), more="again")), second)
    answer = await reach().observe(ONE_KIND)
    assert isinstance(answer, Unreadable)
    assert "list configmaps" in answer.reason


async def test_a_list_whose_version_went_while_it_was_read_is_read_anew(server: ScriptedServer, reach: Reach):
    server.on(
        f"GET {CONFIGS}",
        said(listed(config("a"), config("gone"), more="next")),
        status(410, "The provided continue parameter is too old", reason="Expired"),
        said(listed(config("a"), version=20)),
    )
    assert [one.name for one in found(await reach().observe(ONE_KIND)).objects] == ["a"]
    assert "continue" not in server.seen[-1].query


async def test_a_list_whose_version_always_goes_is_unreadable(server: ScriptedServer, reach: Reach):
    server.on(f"GET {CONFIGS}", *[said(listed(more="x")), status(410, "too old", reason="Expired")] * 2)
    assert isinstance(await reach().observe(ONE_KIND), Unreadable)
    assert len(server.seen) == 4


async def test_a_list_that_goes_on_for_ever_is_given_up(
    server: ScriptedServer, reach: Reach, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("reconciler.adapters.kubernetes.listing.MOST_PAGES", 5)
    server.on(f"GET {CONFIGS}", *[said(listed(config(str(number)), more=str(number))) for number in range(9)])
    answer = await reach().observe(ONE_KIND)
    assert isinstance(answer, Unreadable)
    assert "no end" in answer.reason


TWO_KINDS = Scope(kinds=(("", "v1", "ConfigMap"), ("", "v1", "Service")))
SERVICES = "/api/v1/services"
MAY_NOT = status(403, 'services is forbidden: User "us" cannot list resource "services"', reason="Forbidden")


@pytest.mark.parametrize(
    "answer",
    [MAY_NOT, status(500), reset, silence, said(HTML, code=404)],
    ids=["403", "500", "reset", "silence", "404"],
)
async def test_a_kind_that_cannot_be_read_does_not_hide_the_others(
    server: ScriptedServer, reach: Reach, answer: Answer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("reconciler.adapters.kubernetes.transport.REQUEST_S", 0.2)
    server.on(f"GET {CONFIGS}", said(listed(config())))
    server.on(f"GET {SERVICES}", answer)
    live = found(await reach().observe(TWO_KINDS))
    assert set(live.objects) == {ref()}
    assert set(live.unreadable) == {("Service", "")}


async def test_a_namespace_that_cannot_be_read_does_not_hide_the_others(server: ScriptedServer, reach: Reach):
    server.on("GET /api/v1/namespaces/team/configmaps", said(listed(config())))
    server.on("GET /api/v1/namespaces/other/configmaps", MAY_NOT)
    live = found(await reach().observe(Scope(kinds=ONE_KIND.kinds, namespaces=frozenset({"team", "other"}))))
    assert set(live.objects) == {ref()}
    assert set(live.unreadable) == {("ConfigMap", "other")}


async def test_where_nothing_may_be_read_each_kind_says_so(server: ScriptedServer, reach: Reach):
    """The server is there and well: the others of its objects are not unreadable for want of a connection."""
    for path in (CONFIGS, SERVICES):
        server.on(f"GET {path}", MAY_NOT)
    assert set(found(await reach().observe(TWO_KINDS)).unreadable) == {("ConfigMap", ""), ("Service", "")}


async def test_a_server_that_answers_nothing_is_unreadable(server: ScriptedServer, reach: Reach):
    for path in (CONFIGS, SERVICES):
        server.on(f"GET {path}", status(503, "starting"))
    assert isinstance(await reach().observe(TWO_KINDS), Unreadable)


WIDGETS = Scope(kinds=(("example.com", "v1", "Widget"),))
WIDGET = ObjectRef(group="example.com", kind="Widget", namespace="team", name="w")
GROUP = {"name": "example.com", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}
KINDS = {"kind": "APIResourceList", "resources": [{"name": "widgets", "kind": "Widget", "namespaced": True}]}


async def test_a_kind_that_is_installed_is_discovered_once(server: ScriptedServer, reach: Reach):
    server.on("GET /apis", said({"kind": "APIGroupList", "groups": [GROUP]}))
    server.on("GET /apis/example.com/v1", said(KINDS))
    server.on("GET /apis/example.com/v1/widgets", said(listed(config("w"), kind="WidgetList")))
    server.on("GET /apis/example.com/v1/namespaces/team/widgets/w", said(config("w")))
    cluster = reach()
    for _ in range(2):
        assert set(found(await cluster.observe(WIDGETS)).objects) == {WIDGET}
        assert isinstance(await cluster.get(WIDGET), Found)
    assert server.count("GET /apis") == 1


@pytest.mark.parametrize(
    ("groups", "kinds"),
    [
        ([], KINDS),
        ([GROUP | {"versions": [{"version": "v2"}], "preferredVersion": {"version": "v2"}}], KINDS),
        ([GROUP], {"kind": "APIResourceList", "resources": [{"name": "gears", "kind": "Gear"}]}),
    ],
)
async def test_a_kind_that_is_not_installed_has_no_objects(
    server: ScriptedServer, reach: Reach, groups: Any, kinds: Any
):
    server.on("GET /apis", said({"kind": "APIGroupList", "groups": groups}))
    server.on("GET /apis/example.com/v1", said(kinds))
    server.on("GET /apis/example.com/v2", said({"kind": "APIResourceList", "resources": []}))
    cluster = reach()
    assert found(await cluster.observe(WIDGETS)) == LiveSet(objects={})
    assert await cluster.get(WIDGET) == Absent()


@pytest.mark.parametrize(
    ("groups", "kinds"),
    [
        (said(HTML, code=404), said(KINDS)),
        (said({}), said(KINDS)),
        (said({"kind": "Status", "metadata": {}}), said(KINDS)),
        (status(500), said(KINDS)),
        (MAY_NOT, said(KINDS)),
        (said({"kind": "APIGroupList", "groups": [GROUP]}), said(HTML, code=404)),
        (said({"kind": "APIGroupList", "groups": [GROUP]}), said({"kind": "APIResourceList"})),
        (said({"kind": "APIGroupList", "groups": [GROUP]}), status(503, "its own server is away")),
    ],
)
async def test_discovery_that_fails_makes_nothing_absent(
    server: ScriptedServer, reach: Reach, groups: Answer, kinds: Answer
):
    server.on("GET /apis", groups)
    server.on("GET /apis/example.com/v1", kinds)
    cluster = reach()
    answer = await cluster.observe(WIDGETS)
    assert isinstance(answer, Unreadable) or found(answer).unreadable
    assert isinstance(await cluster.get(WIDGET), Unreadable)


async def test_who_the_cluster_is(server: ScriptedServer, reach: Reach):
    anchor = {"metadata": {"name": "kube-system", "uid": "u", "resourceVersion": "1"}}
    server.on("GET /api/v1/namespaces/kube-system", said(anchor))
    server.on("GET /version", said({"gitVersion": "v1.36.3"}))
    server.on("GET /apis", said({"groups": []}))
    answer = await reach().identity()
    assert isinstance(answer, Found)
    assert (answer.value.uid, answer.value.version, answer.value.apis) == ("u", "v1.36.3", frozenset())


@pytest.mark.parametrize(
    ("anchor", "version"),
    [
        (said(HTML, code=404), said({"gitVersion": "v1"})),
        (said({"metadata": {}}), said({"gitVersion": "v1"})),
        (said({"metadata": {"name": "kube-system", "uid": "u", "resourceVersion": "1"}}), said("<html></html>")),
        (status(404, "not found", name="kube-system", kind="namespaces"), said({"gitVersion": "v1"})),
    ],
)
async def test_who_the_cluster_is_may_be_unreadable(
    server: ScriptedServer, reach: Reach, anchor: Answer, version: Answer
):
    server.on("GET /api/v1/namespaces/kube-system", anchor)
    server.on("GET /version", version)
    server.on("GET /apis", said({"groups": []}))
    assert isinstance(await reach().identity(), Unreadable)


@pytest.mark.parametrize(("seconds", "waits"), [("1", True), ("30", False)])
async def test_a_cluster_that_asks_us_to_wait_is_there(server: ScriptedServer, reach: Reach, seconds: str, waits: bool):
    """Its agents may be well: nothing is failed over for that."""
    for path in ("/api/v1/namespaces/kube-system", "/version", "/apis"):
        server.on(f"GET {path}", status(429, "busy", headers={"Retry-After": seconds}))
    clock = FakeClock()
    read = await reach(clock=clock).identity()
    assert isinstance(read, Unreadable)
    assert read.refused
    assert "asks us to wait" in read.reason
    assert bool(clock.slept) is waits


async def test_who_the_cluster_is_does_not_wait_behind_slow_answers(server: ScriptedServer, reach: Reach):
    server.on(f"GET {SETTINGS}", silence)
    anchor = {"metadata": {"name": "kube-system", "uid": "u", "resourceVersion": "1"}}
    server.on("GET /api/v1/namespaces/kube-system", said(anchor))
    server.on("GET /version", said({"gitVersion": "v1.36.3"}))
    server.on("GET /apis", said({"groups": []}))
    cluster = reach()
    slow = [asyncio.create_task(cluster.get(ref())) for _ in range(CONNECTIONS + 1)]
    try:
        await until(lambda: server.count(f"GET {SETTINGS}") == CONNECTIONS)
        assert isinstance(await cluster.identity(), Found)
    finally:
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_what_must_not_be_there_is_looked_for_before_it_is_created(server: ScriptedServer, reach: Reach):
    server.on(f"GET {SETTINGS}", NOT_FOUND)
    server.on(f"PATCH {SETTINGS}", said(config(), code=201))
    assert (await reach().apply(manifest(), MustBeAbsent())).uid == "uid-settings"
    assert [one.method for one in server.seen] == ["GET", "PATCH"]
    assert dict(server.seen[1].query) == {"fieldManager": "reconciler", "force": "false"}
    server.on(f"GET {SETTINGS}", said(config()))
    with pytest.raises(PreconditionFailed, match="is there already"):
        await reach().apply(manifest(), MustBeAbsent())
    assert server.count(f"PATCH {SETTINGS}") == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (status(500), ClusterUnavailable),
        (reset, ClusterUnavailable),
        (said(HTML, code=404), ClusterUnavailable),
        (status(410, "too old"), ClusterUnavailable),
        (said({}), ClusterUnavailable),
        (status(403, 'User "us" cannot get resource "configmaps"'), NotAllowed),
    ],
)
async def test_a_look_that_fails_creates_nothing(
    server: ScriptedServer, reach: Reach, answer: Answer, kind: type[Exception]
):
    """And it fails in one of the ways that whoever applies knows to go on from."""
    server.on(f"GET {SETTINGS}", answer)
    with pytest.raises(kind):
        await reach().apply(manifest(), MustBeAbsent())
    assert server.count(f"PATCH {SETTINGS}") == 0


async def test_what_came_to_be_between_look_and_creation_is_given_back(server: ScriptedServer, reach: Reach):
    server.on(f"GET {SETTINGS}", NOT_FOUND)
    server.on(f"PATCH {SETTINGS}", said(config(uid="theirs")), said(config(uid="theirs", version=6)))
    with pytest.raises(PreconditionFailed, match="is there already"):
        await reach().apply(manifest(a="1"), MustBeAbsent())
    given_back = json.loads(server.seen[-1].body)
    assert "data" not in given_back
    assert given_back["metadata"]["uid"] == "theirs"


async def test_what_our_own_apply_made_after_its_answer_was_lost_is_not_given_back(
    server: ScriptedServer, reach: Reach
):
    made = config(a="1")
    made["metadata"]["managedFields"] = [
        {"manager": "reconciler", "operation": "Apply", "fieldsV1": {"f:data": {"f:a": {}}}},
        {"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    server.on(f"GET {SETTINGS}", NOT_FOUND)
    server.on(f"PATCH {SETTINGS}", said(made))
    assert (await reach().apply(manifest(a="1"), MustBeAbsent())).uid == "uid-settings"
    assert server.count(f"PATCH {SETTINGS}") == 1


async def test_a_kind_that_is_taken_away_is_looked_for_anew(server: ScriptedServer, reach: Reach):
    group, version, kind = OPTIONAL_KINDS[0]
    served = {"name": group, "versions": [{"version": version}], "preferredVersion": {"version": version}}
    exports = {"kind": "APIResourceList", "resources": [{"name": "serviceexports", "kind": kind, "namespaced": True}]}
    server.on("GET /apis", said({"kind": "APIGroupList", "groups": [served]}))
    server.on(f"GET /apis/{group}/{version}", said(exports))
    server.on(f"GET /apis/{group}/{version}/serviceexports", said(listed(kind="ServiceExportList")))
    cluster, scope = reach(), Scope(kinds=((group, version, kind),))
    assert found(await cluster.observe(scope)).unreadable == {}
    server.on("GET /apis", said({"kind": "APIGroupList", "groups": []}))
    server.on(f"GET /apis/{group}/{version}/serviceexports", raw(b"404 page not found", code=404))
    assert isinstance(await cluster.observe(scope), Unreadable), "a proxy might have said so"
    assert found(await cluster.observe(scope)).objects == {}


async def test_preconditions_are_inside_of_the_request(server: ScriptedServer, reach: Reach):
    server.on(f"PATCH {SETTINGS}", said(config()))
    server.on(f"DELETE {SETTINGS}", said({"kind": "Status", "status": "Success", "details": {"uid": "u"}}))
    cluster = reach()
    await cluster.apply(manifest(), MustBe(uid="u", resource_version="7"), force=True)
    await cluster.delete(ref(), MustBe(uid="u", resource_version="8"))
    await cluster.delete(ref(), AnyState())
    applied, deleted, any_state = (json.loads(one.body) for one in server.seen)
    assert (applied["metadata"]["uid"], applied["metadata"]["resourceVersion"]) == ("u", "7")
    assert deleted["preconditions"] == {"uid": "u", "resourceVersion": "8"}
    assert "preconditions" not in any_state
    assert {deleted["propagationPolicy"], any_state["propagationPolicy"]} == {"Background"}
    assert server.seen[0].query["force"] == "true"


@pytest.mark.parametrize(
    ("expect", "answer", "kind"),
    [
        (MustBe(uid="u"), NOT_FOUND, PreconditionFailed),
        (MustBe(uid="u"), status(409, "the UID in the precondition"), PreconditionFailed),
        (MustBe(uid="u"), status(422, "no", causes=[{"field": "metadata.uid"}]), PreconditionFailed),
        (AnyState(), status(404, "no", name="team", kind="namespaces"), NotAllowed),
        (AnyState(), said(HTML, code=404), ClusterUnavailable),
        (AnyState(), said("", code=302), ClusterUnavailable),
        (AnyState(), status(403, 'User "us" cannot patch resource "configmaps"'), NotAllowed),
        (AnyState(), torn(config(), after=10), OutcomeUnknown),
        (AnyState(), endless, OutcomeUnknown),
    ],
)
async def test_an_apply_fails_as_it_did(
    server: ScriptedServer,
    reach: Reach,
    expect: Any,
    answer: Answer,
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("reconciler.adapters.kubernetes.transport.MAX_BODY", 2**20)
    server.on(f"PATCH {SETTINGS}", answer)
    with pytest.raises(kind):
        await reach().apply(manifest(), expect)


async def test_a_namespace_that_is_missing_is_told_with_how_to_make_it_and_says_nothing_against_the_object(
    server: ScriptedServer, reach: Reach
):
    server.on(f"PATCH {SETTINGS}", status(404, 'namespaces "team" not found', name="team", kind="namespaces"))
    with pytest.raises(NotAllowed, match="there is no namespace team on double") as caught:
        await reach().apply(manifest(), AnyState())
    assert caught.value.hint == "kubectl create namespace team"


@pytest.mark.parametrize(
    ("expect", "answer", "kind"),
    [
        (MustBe(uid="u"), NOT_FOUND, PreconditionFailed),
        (MustBe(uid="u"), status(409, "the UID in the precondition"), PreconditionFailed),
        (AnyState(), said(HTML, code=404), ClusterUnavailable),
        (AnyState(), status(403, 'User "us" cannot delete resource "configmaps"'), NotAllowed),
        (AnyState(), said("<html>please log in</html>"), OutcomeUnknown),
        (AnyState(), raw(b"\xff"), OutcomeUnknown),
        (AnyState(), raw(b""), OutcomeUnknown),
        (AnyState(), reset, OutcomeUnknown),
        (AnyState(), status(504), OutcomeUnknown),
    ],
)
async def test_a_delete_fails_as_it_did(
    server: ScriptedServer, reach: Reach, expect: Any, answer: Answer, kind: type[Exception]
):
    server.on(f"DELETE {SETTINGS}", answer)
    with pytest.raises(kind):
        await reach().delete(ref(), expect)


async def test_a_delete_of_what_is_not_there_is_no_error(server: ScriptedServer, reach: Reach):
    server.on(f"DELETE {SETTINGS}", NOT_FOUND)
    await reach().delete(ref(), AnyState())


async def test_a_kind_that_the_server_does_not_have_cannot_be_written(server: ScriptedServer, reach: Reach):
    server.on("GET /apis", said({"kind": "APIGroupList", "groups": []}))
    with pytest.raises(Rejected, match=r"double has no kind Widget\.example\.com"):
        await reach().delete(WIDGET, AnyState())


async def test_a_log_is_read_line_by_line(server: ScriptedServer, reach: Reach):
    pod = {"metadata": {"name": "p", "namespace": "team", "uid": "u", "resourceVersion": "1"}}
    pod["spec"] = {"containers": [{"name": "agent"}, {"name": "sidecar"}]}  # type: ignore[dict-item]
    server.on("GET /api/v1/namespaces/team/pods/p", said(pod))
    server.on("GET /api/v1/namespaces/team/pods/p/log", raw(b"one\ntw\xffo\n\nthree"))
    at = ObjectRef(group="", kind="Pod", namespace="team", name="p")
    assert [line async for line in reach().logs(at, LogOptions(tail=5))] == ["one", "tw�o", "", "three"]
    assert dict(server.seen[-1].query) == {"container": "agent", "tailLines": "5"}


async def test_a_pod_that_is_not_there_has_no_log(server: ScriptedServer, reach: Reach):
    server.on("GET /api/v1/namespaces/team/pods/p", status(404, "not found", name="p", kind="pods"))
    at = ObjectRef(group="", kind="Pod", namespace="team", name="p")
    with pytest.raises(Rejected):
        [line async for line in reach().logs(at, LogOptions())]


async def test_opening_a_cluster_asks_nothing_and_closing_it_may_be_repeated(server: ScriptedServer, reach: Reach):
    cluster = reach()
    assert cluster.name == "double"
    await cluster.close()
    await cluster.close()
    assert server.seen == []
