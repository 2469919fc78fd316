"""Following a kind: a list once, then events; what is lost, torn, late or false; and when the copy is answered from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from reconciler.adapters.kubernetes import watching
from reconciler.adapters.kubernetes.cluster import KubernetesCluster
from reconciler.adapters.kubernetes.resources import BUILT_IN
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import AnyState, Found, LiveObject, MustBe, Scope
from tests.adapters.kubernetes.conftest import Reach, until
from tests.adapters.kubernetes.objects import (
    CONFIGS,
    KIND,
    ONE_KIND,
    SETTINGS,
    bookmark,
    config,
    event,
    listed,
    manifest,
    ref,
)
from tests.doubles.clock import FakeClock
from tests.doubles.scripted_server import Answer, ScriptedServer, raw, reset, said, silence, status, stream

LIST, WATCH = f"GET {CONFIGS}", f"GET {CONFIGS}?watch"
SETTINGS_READ = f"GET {SETTINGS}"
QUIET = stream(then="silence")
CONFIG = BUILT_IN["", "ConfigMap"]


class Following:
    """What a listener was told, and what the cluster answers meanwhile."""

    def __init__(self, cluster: KubernetesCluster, server: ScriptedServer) -> None:
        self.cluster = cluster
        self.server = server
        self.told: list[str] = []

    async def objects(self, scope: Scope = ONE_KIND) -> dict[str, LiveObject]:
        """Names and objects as a read finds them."""
        answer = await self.cluster.observe(scope)
        assert isinstance(answer, Found)
        assert answer.value.unreadable == {}
        return {one.name: live for one, live in answer.value.objects.items()}

    async def becomes(self, **versions: int) -> None:
        """Wait until reads find exactly these names at these versions."""
        async with asyncio.timeout(30):
            while await self._versions() != versions:  # noqa: ASYNC110 - it is the server's to become so
                await asyncio.sleep(0.001)

    async def _versions(self) -> dict[str, int]:
        return {name: int(live.resource_version) for name, live in (await self.objects()).items()}

    def watched_from(self) -> list[str]:
        """The versions that watches were begun from."""
        return [one.query["resourceVersion"] for one in self.server.seen if "watch" in one.query]

    async def asked(self, request: str, times: int) -> None:
        await until(lambda: self.server.count(request) >= times)


@asynccontextmanager
async def following(cluster: KubernetesCluster, server: ScriptedServer) -> AsyncIterator[Following]:
    made = Following(cluster, server)

    async def listen() -> None:
        async with aclosing(cluster.changes(ONE_KIND)) as changes:
            async for one in changes:
                made.told.append(one.name)

    task = asyncio.create_task(listen())
    try:
        await until(lambda: server.count(WATCH))
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_kind_is_listed_once_and_then_followed(server: ScriptedServer, reach: Reach):
    server.on(LIST, said(listed(config("a", 3), config("b", 4), version=10)))
    server.on(
        WATCH,
        stream(
            event("ADDED", config("c", 11)),
            event("MODIFIED", config("a", 12)),
            event("DELETED", config("b", 13)),
            bookmark(20),
            then="silence",
        ),
    )
    async with following(reach(), server) as here:
        await here.becomes(a=12, c=11)
        await until(lambda: {"a", "b", "c"} <= set(here.told))
        assert server.count(LIST) == 1
        assert server.seen[1].query["resourceVersion"] == "10"
        assert server.seen[1].query["allowWatchBookmarks"] == "true"
        assert int(server.seen[1].query["timeoutSeconds"]) > 0


async def test_a_list_whose_watch_does_not_open_is_soon_not_answered_from(server: ScriptedServer, reach: Reach):
    server.on(LIST, said(listed(config("a", 3), version=10)), said(listed(config("a", 11), version=12)))
    server.on(WATCH, silence)
    clock = FakeClock()
    async with following(reach(clock=clock), server) as here:
        await here.becomes(a=3)
        clock.advance(watching.OPENING_S + 1)
        await here.becomes(a=11)


@pytest.mark.parametrize(
    "end",
    [
        {"then": "end"},
        {"then": "reset"},
        {"more": [event("ERROR", {"kind": "Status", "code": 500, "message": "etcd is away"})]},
        {"more": [b'{"type":"MODIF']},
    ],
    ids=["its end", "a reset", "an error", "half a line"],
)
async def test_a_watch_that_ended_goes_on_from_the_last_version(
    server: ScriptedServer, reach: Reach, end: dict[str, Any]
):
    lines = [event("ADDED", config("b", 11)), bookmark(15), *end.get("more", [])]
    server.on(LIST, said(listed(config("a", 3), version=10)), said(listed(config("a", 3), config("b", 11), version=15)))
    server.on(
        WATCH, stream(*lines, then=end.get("then", "end")), stream(event("ADDED", config("c", 16)), then="silence")
    )
    async with following(reach(clock=FakeClock()), server) as here:
        await here.becomes(a=3, b=11, c=16)
        if end == {"more": [b'{"type":"MODIF']}:  # what was to come cannot be known: everything is listed again
            assert server.count(LIST) >= 2
        else:
            assert here.watched_from()[:2] == ["10", "15"]


@pytest.mark.parametrize(
    "gone",
    [
        status(410, "too old resource version", reason="Expired"),
        stream(event("ERROR", {"kind": "Status", "code": 410, "message": "too old", "reason": "Expired"})),
    ],
    ids=["answer", "event"],
)
async def test_a_version_that_is_no_longer_kept_lists_anew(server: ScriptedServer, reach: Reach, gone: Answer):
    server.on(
        LIST, said(listed(config("a", 3), config("b", 4))), said(listed(config("a", 3), config("c", 30), version=40))
    )
    server.on(WATCH, gone, QUIET)
    async with following(reach(clock=FakeClock()), server) as here:
        await here.becomes(a=3, c=30)
        await until(lambda: {"b", "c"} <= set(here.told))
        await here.asked(WATCH, 2)
        assert here.watched_from()[:2] == ["10", "40"]


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"garbage",
        b"{}",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":null}',
        b'{"type":"ADDED","object":{"metadata":{}}}',
        b'{"type":"ADDED","object":{"metadata":{"name":"\xff","uid":"u","resourceVersion":"12"}}}',
        b'{"type":"NEWS","object":{}}',
        b'{"type":"BOOKMARK","object":{"metadata":{}}}',
        b'{"type":"ERROR","object":5}',
        b'{"type":"ADDED","object":' + b'{"a":' * 100_000,
    ],
)
async def test_a_line_that_cannot_be_understood_lists_anew(server: ScriptedServer, reach: Reach, line: bytes):
    server.on(LIST, said(listed(config("a", 3))), said(listed(config("a", 30), version=40)))
    server.on(WATCH, stream(line, then="silence"), QUIET)
    async with following(reach(clock=FakeClock()), server) as here:
        await here.becomes(a=30)
        await here.asked(WATCH, 2)
        assert server.count(LIST) >= 2


async def test_empty_lines_mean_nothing(server: ScriptedServer, reach: Reach):
    server.on(LIST, said(listed(config("a", 3))))
    server.on(WATCH, stream(b"", b"  ", event("ADDED", config("b", 11)), then="silence"))
    async with following(reach(), server) as here:
        await here.becomes(a=3, b=11)
        assert server.count(LIST) == 1


async def test_an_event_that_comes_again_changes_nothing(server: ScriptedServer, reach: Reach):
    server.on(LIST, said(listed(config("a", 3))))
    twice = event("MODIFIED", config("a", 11))
    server.on(WATCH, stream(twice, twice, event("ADDED", config("b", 12)), then="silence"))
    async with following(reach(), server) as here:
        await here.becomes(a=11, b=12)


async def test_an_event_that_comes_late_changes_nothing(server: ScriptedServer, reach: Reach):
    server.on(LIST, said(listed(config("a", 3, uid="first"))))
    server.on(
        WATCH,
        stream(
            event("DELETED", config("a", 11, uid="first")),
            event("ADDED", config("a", 12, uid="second")),
            event("MODIFIED", config("a", 9, uid="first")),
            event("DELETED", config("a", 11, uid="first")),
            event("MODIFIED", config("a", 10, uid="first")),
            event("ADDED", config("b", 13)),
            then="silence",
        ),
    )
    async with following(reach(), server) as here:
        await here.becomes(a=12, b=13)
        assert (await here.objects())["a"].uid == "second"


async def test_what_was_deleted_does_not_come_back_late(server: ScriptedServer, reach: Reach):
    """An answer to a read that was under way when the object was deleted."""
    let_go = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return await said(config("settings", 5))(request)

    server.on(LIST, said(listed(config("settings", 5))))
    server.on(SETTINGS_READ, slow)
    server.on(WATCH, stream(let_see := asyncio.Event(), event("DELETED", config("settings", 11)), then="silence"))
    async with following(reach(), server) as here:
        reading = asyncio.create_task(here.cluster.get(ref()))
        await here.asked(SETTINGS_READ, 1)
        let_see.set()
        await here.becomes()
        let_go.set()
        assert isinstance(await reading, Found)
        assert await here.objects() == {}


async def test_own_writes_are_read_before_their_events_come(server: ScriptedServer, reach: Reach):
    server.on(LIST, said(listed(config("other", 3))))
    server.on(WATCH, QUIET)
    server.on(f"PATCH {SETTINGS}", said(config("settings", 12, a="1")), said(config("settings", 13, a="2")))
    server.on(f"DELETE {SETTINGS}", said({"kind": "Status", "details": {"uid": "uid-settings"}}))
    async with following(reach(), server) as here:
        await here.becomes(other=3)
        await here.cluster.apply(manifest(a="1"), AnyState())
        assert set(await here.objects()) == {"other", "settings"}
        await here.cluster.apply(manifest(a="2"), AnyState())
        assert (await here.objects())["settings"].resource_version == "13"
        await here.cluster.delete(ref(), MustBe(uid="uid-settings"))
        assert set(await here.objects()) == {"other"}
        assert server.count(LIST) == 1


async def test_own_writes_during_a_list_are_not_lost_to_it(server: ScriptedServer, reach: Reach):
    """The list shows the world as it was when it was asked for, which is before the write."""
    gate = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await said(listed(config("gone", 4), config("other", 3), version=10))(request)

    server.on(LIST, said(listed(config("gone", 4), config("other", 3), version=8)), slow)
    server.on(WATCH, status(410, "too old"), QUIET)
    server.on(f"PATCH {SETTINGS}", said(config("settings", 12)))
    gone = "/api/v1/namespaces/team/configmaps/gone"
    server.on(f"DELETE {gone}", said({"kind": "Status", "details": {"uid": "uid-gone"}}))
    async with following(reach(clock=FakeClock()), server) as here:
        await here.asked(LIST, 2)
        await here.cluster.apply(manifest(), AnyState())
        await here.cluster.delete(ref("gone"), MustBe(uid="uid-gone"))
        gate.set()
        await here.asked(WATCH, 2)
        await until(lambda: here.cluster._watches.copy_of(CONFIG, "") is not None)
        assert set(await here.objects()) == {"other", "settings"}


async def test_a_copy_is_not_answered_from_while_the_watch_is_down(server: ScriptedServer, reach: Reach):
    server.on(LIST, said(listed(config("a", 3))), said(listed(config("a", 30), version=40)))
    let_go = asyncio.Event()

    async def lost(request: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return await reset(request)

    server.on(WATCH, lost, status(503, "starting"))
    async with following(reach(), server) as here:
        await here.asked(WATCH, 1)
        let_go.set()
        await here.asked(WATCH, 2)
        assert (await here.objects())["a"].resource_version == "30"


async def test_a_copy_that_heard_nothing_for_long_is_not_answered_from(server: ScriptedServer, reach: Reach):
    clock = FakeClock()
    server.on(LIST, said(listed(config("a", 3))), said(listed(config("a", 30), version=40)))
    server.on(WATCH, stream(bookmark(11), then="silence"))
    async with following(reach(clock=clock), server) as here:
        await here.becomes(a=3)
        clock.advance(watching.SILENCE_S + 1)
        assert (await here.objects())["a"].resource_version == "30"


async def test_a_watch_that_is_silent_lists_anew(server: ScriptedServer, reach: Reach, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "SILENCE_S", 0.2)
    server.on(LIST, said(listed(config("a", 3))), said(listed(config("a", 3), version=11)))
    server.on(WATCH, stream(bookmark(11), then="silence"), stream(event("ADDED", config("b", 12)), then="silence"))
    async with following(reach(), server) as here:
        await here.asked(WATCH, 2)
        await until(lambda: "b" in here.told)
        assert here.watched_from()[:2] == ["10", "11"]
        assert server.count(LIST) == 2


async def test_a_cluster_that_came_out_of_a_backup_is_seen_as_it_is_now(
    server: ScriptedServer, reach: Reach, monkeypatch: pytest.MonkeyPatch
):
    """Its versions begin anew further back, and a server tells nothing of what is older than we ask for."""
    monkeypatch.setattr(watching, "SILENCE_S", 0.2)
    before = listed(config("kept", 90), config("lost", 95, uid="lost"), version=100)
    after = listed(config("kept", 40), config("gone", 30, uid="gone"), version=50)
    later = listed(config("kept", 40), config("gone", 30, uid="gone"), config("new", 51), version=60)
    server.on(LIST, said(before), said(after), said(later))
    server.on(
        WATCH,
        stream(event("DELETED", config("gone", 110, uid="gone")), then="silence"),
        stream(event("ADDED", config("new", 51)), then="silence"),
    )
    server.on(f"PATCH {SETTINGS}", said(config("settings", 105)))
    async with following(reach(), server) as here:
        await until(lambda: here.cluster._watches.copy_of(CONFIG, "") is not None)
        await here.cluster.apply(manifest(), AnyState())
        await here.asked(WATCH, 2)
        monkeypatch.setattr(watching, "SILENCE_S", 3600)
        await here.becomes(kept=40, gone=30, new=51)
        assert {"kept", "lost", "gone", "settings", "new"} <= set(here.told)


@pytest.mark.parametrize(
    "answer",
    [raw(b""), stream(), status(410, "too old"), status(500), reset, stream(event("ERROR", {"code": 410}))],
    ids=["nothing", "no line", "410", "500", "reset", "410 event"],
)
async def test_a_watch_that_ends_at_once_each_time_is_not_begun_without_a_pause(
    server: ScriptedServer, reach: Reach, answer: Answer
):
    clock = FakeClock()
    server.on(LIST, said(listed(config("a", 3))))
    server.on(WATCH, answer)
    async with following(reach(clock=clock), server):
        await until(lambda: len(clock.slept) >= 10)
        assert server.count(WATCH) <= 2 * len(clock.slept) + 2  # a read that was reset is sent once more
        assert max(clock.slept) == watching.MOST_PAUSE_S
        assert min(clock.slept) >= watching.FIRST_PAUSE_S


async def test_a_watch_that_was_well_for_a_while_is_begun_again_at_once(server: ScriptedServer, reach: Reach):
    """As each is, after some minutes, by the server: others that did badly before are forgotten."""
    clock = FakeClock()
    server.on(LIST, said(listed(config("a", 3))))

    async def well(request: web.Request) -> web.StreamResponse:
        clock.advance(watching.SERVER_S)
        return await stream(bookmark(11))(request)

    server.on(WATCH, *[status(500)] * 5, well, QUIET)
    async with following(reach(clock=clock), server) as here:
        await here.asked(WATCH, 7)
        assert len(clock.slept) == 5


async def test_a_server_that_refuses_our_token_once_is_watched_with_the_new_one(server: ScriptedServer, reach: Reach):
    server.on(LIST, said(listed(config("a", 3))))
    server.on(WATCH, status(401), stream(event("ADDED", config("b", 11)), then="silence"))
    async with following(reach(clock=FakeClock()), server) as here:
        await here.becomes(a=3, b=11)


async def test_several_who_listen_cost_one_watch(server: ScriptedServer, reach: Reach):
    server.on(LIST, said(listed(config("a", 3))))
    server.on(WATCH, QUIET)
    cluster = reach()
    streams = [cluster.changes(ONE_KIND) for _ in range(5)]
    await until(lambda: server.count(WATCH))
    server.on(f"PATCH {SETTINGS}", said(config("settings", 12)))
    waiting = [asyncio.create_task(anext(one)) for one in streams]
    await until(lambda: cluster._watches.copy_of(CONFIG, "") is not None)
    await cluster.apply(manifest(), AnyState())
    assert {one.name for one in await asyncio.gather(*waiting)} <= {"a", "settings"}
    for one in streams:
        await one.aclose()
    assert (server.count(LIST), server.count(WATCH)) == (1, 1)


async def test_a_listener_hears_of_its_namespaces_only(server: ScriptedServer, reach: Reach):
    where = "/api/v1/namespaces/team/configmaps"
    server.on(f"GET {where}", said(listed(config("a", 3))))
    server.on(f"GET {where}?watch", stream(event("ADDED", config("b", 11)), then="silence"))
    scope = Scope(kinds=(KIND,), namespaces=frozenset({"team"}))
    async with aclosing(reach().changes(scope)) as changes:
        assert {(await anext(changes)).name, (await anext(changes)).name} == {"a", "b"}
    assert server.unexpected == []


async def test_closing_ends_a_watch_that_is_not_there_yet(server: ScriptedServer, reach: Reach):
    server.on("GET /apis", status(500))
    cluster = reach()
    changes = cluster.changes(Scope(kinds=(("example.com", "v1", "Widget"),)))
    waiting = asyncio.create_task(anext(changes))
    await until(lambda: server.count("GET /apis"))
    await cluster.close()
    asked = len(server.seen)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await changes.aclose()
    assert len(server.seen) == asked


async def test_a_kind_that_is_not_there_yet_is_asked_for_until_the_server_answers(server: ScriptedServer, reach: Reach):
    group = {"name": "example.com", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}
    kinds = {"kind": "APIResourceList", "resources": [{"name": "widgets", "kind": "Widget"}]}
    server.on("GET /apis", status(500), status(503), said({"kind": "APIGroupList", "groups": [group]}))
    server.on("GET /apis/example.com/v1", said(kinds))
    server.on("GET /apis/example.com/v1/widgets", said(listed(kind="WidgetList")))
    server.on("GET /apis/example.com/v1/widgets?watch", stream(event("ADDED", config("w", 11)), then="silence"))
    async with aclosing(reach(clock=FakeClock()).changes(Scope(kinds=(("example.com", "v1", "Widget"),)))) as changes:
        assert await anext(changes) == ObjectRef(group="example.com", kind="Widget", namespace="team", name="w")


async def test_who_ends_a_watch_and_is_told_to_end_itself_meanwhile_does() -> None:
    """Else a program that is to stop would go on, since the watch's end was taken for the answer to both."""
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def slow_to_end() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await let_go.wait()

    task = asyncio.create_task(slow_to_end())
    await begun.wait()
    ending = asyncio.create_task(watching.ended(task))
    await asyncio.sleep(0)
    ending.cancel()
    let_go.set()
    await asyncio.wait([ending, task])
    assert ending.cancelled()
    assert task.cancelled()
