"""What can be changed over HTTP: as the engine does it by hand, under the caller's name, and by nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.daemon.http import Inside, Listening, served
from reconciler.daemon.http.access import Callers
from reconciler.daemon.http.repeats import Repeats
from reconciler.daemon.loop import Mode
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.plan import Action, Hold, HoldCode
from reconciler.model.registry import AuditEntry, Record
from reconciler.plan.approval import approvable
from tests.daemon.serving import MANY, READER, WRITER, Daemon, callers, open_daemon, serving
from tests.daemon.test_service import Fleet, running
from tests.daemon.test_wakes import plan
from tests.daemon.waiting import until
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld
from tests.engine.fleets import NOTHING, agent

TRIAGE = AgentName.parse("support/triage")
AT = "/api/v1/agents/support/triage"
CHANGES = [f"{AT}/{name}" for name in ("scale", "unscale", "suspend", "resume", "rollback")] + ["/api/v1/approvals"]


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = await open_daemon(tmp_path)
    yield made
    await made.registry.close()


@pytest.fixture
async def server(daemon: Daemon) -> AsyncIterator[Daemon]:
    async with serving(daemon):
        yield daemon


async def change(server: Daemon, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await server.ask(path, "POST", token=WRITER, json=body, headers=sent)


async def triage(server: Daemon) -> Record:
    found = await server.registry.get(TRIAGE)
    assert isinstance(found, Found)
    return found.value


async def entries(server: Daemon) -> list[AuditEntry]:
    return [entry async for entry in server.registry.audit(since=3)]


async def test_replicas_are_set_under_the_name_of_who_asked(server: Daemon) -> None:
    status, body = await change(server, f"{AT}/scale", {"replicas": 6, "for": "2h", "reason": "launch day"})
    assert (status, body["override"]["replicas"], body["override"]["author"]) == (200, 6, "walt, over HTTP")
    known = await triage(server)
    assert known.override is not None
    assert known.override.until_ms - known.override.since_ms == 2 * 3600 * 1000
    (entry,) = await entries(server)
    assert (entry.fact.actor, entry.fact.action, entry.fact.message) == ("walt, over HTTP", "scale", "launch day")
    assert server.looked == ["walt wishes something of support/triage"]
    assert any('"changed-over-http"' in line and "walt" in line for line in server.lines)
    assert (await change(server, f"{AT}/unscale"))[1]["override"] is None


async def test_an_agent_is_stopped_and_started(server: Daemon) -> None:
    assert (await change(server, f"{AT}/suspend", {"reason": "the model is down"}))[1]["suspended"] is True
    assert (await change(server, f"{AT}/resume"))[1]["suspended"] is False
    assert [entry.fact.action for entry in await entries(server)] == ["suspend", "resume"]


async def test_replicas_that_an_autoscaler_owns_are_left_to_it(server: Daemon) -> None:
    status, body = await change(server, "/api/v1/agents/research/scaled/scale", {"replicas": 6})
    assert (status, body["type"]) == (409, "urn:reconciler:problem:refused")
    assert "autoscaler" in body["detail"]
    assert await entries(server) == []


@pytest.mark.parametrize("path", CHANGES)
async def test_nobody_changes_anything_without_the_right_to(server: Daemon, path: str) -> None:
    for token, expected in (("", 401), (READER, 403), ("guess", 401)):
        assert (await server.ask(path, "POST", token=token, json={}))[0] == expected
    assert await entries(server) == []


@pytest.mark.parametrize("path", CHANGES)
async def test_where_nobody_is_known_nothing_is_changed_and_the_reason_told(daemon: Daemon, path: str) -> None:
    async with serving(daemon, known=Callers(certificates={}), anonymous=True):
        status, body = await daemon.ask(path, "POST", token="", json={"replicas": 1})
    assert (status, body["type"]) == (403, "urn:reconciler:problem:no-callers")


@pytest.mark.parametrize(
    "sent", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
async def test_no_page_elsewhere_changes_anything(server: Daemon, sent: dict[str, str]) -> None:
    status, body = await server.ask(f"{AT}/suspend", "POST", token=WRITER, headers=sent, json={})
    assert (status, body["type"]) == (403, "urn:reconciler:problem:other-origin")


async def test_one_that_only_plans_changes_nothing(daemon: Daemon) -> None:
    daemon.mode = Mode.PLAN_ONLY
    async with serving(daemon):
        assert (await change(daemon, f"{AT}/suspend"))[0] == 409


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, 422), ({"replicas": -1}, 422), ({"replicas": 10_001}, 422), ({"replicas": "6"}, 422),
        ({"replicas": 1.5}, 422), ({"replicas": 1e300}, 422),
        ({"replicas": True}, 422), ({"replicas": 1, "for": "soon"}, 422), ({"replicas": 1, "for": "0s"}, 422),
        ({"replicas": 1, "for": "2h\n"}, 422),
        ({"replicas": 1, "more": 1}, 422), ({"replicas": 1, "reason": "x" * 501}, 422),
        ({"replicas": 1, "reason": "a\nb"}, 422), ({"replicas": 1, "reason": "\0"}, 422), ([], 422),
        ("x", 422), (None, 422),
    ],
)  # fmt: skip
async def test_what_cannot_be_meant_is_refused(server: Daemon, body: Any, expected: int) -> None:
    assert (await change(server, f"{AT}/scale", body))[0] == expected
    assert await entries(server) == []


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (b"{", "application/json", 400), (b"\xff", "application/json", 400), (b"[" * 10_000, "application/json", 400),
        (b'{"replicas": 1}', "text/plain", 415), (b"replicas=1", "application/x-www-form-urlencoded", 415),
        (b'{"replicas": 1, "reason": "\\ud800"}', "application/json", 400), (b"x" * 20_000, "application/json", 413),
        (b"", "application/json", 400),
    ],
)  # fmt: skip
async def test_what_is_no_such_document_is_refused(server: Daemon, data: bytes, kind: str, expected: int) -> None:
    sent = {"Content-Type": kind}
    assert (await server.ask(f"{AT}/scale", "POST", token=WRITER, data=data, headers=sent))[0] == expected


async def test_what_is_not_there_is_not_changed(server: Daemon) -> None:
    for name in ("scale", "suspend", "rollback"):
        assert (
            await change(server, f"/api/v1/agents/support/nobody/{name}", {"replicas": 1} if name == "scale" else {})
        )[0] == 404


async def test_a_request_that_is_repeated_is_done_once(server: Daemon) -> None:
    body = {"replicas": 6, "for": "2h"}
    first = await change(server, f"{AT}/scale", body, Idempotency_Key="k-1")
    again = await server.whole(f"{AT}/scale", "POST", token=WRITER, json=body, headers={"Idempotency-Key": "k-1"})
    assert (again[0], again[1], again[2]["Idempotent-Replayed"]) == (*first, "true")
    assert len(await entries(server)) == 1
    other = await change(server, f"{AT}/scale", {"replicas": 7}, Idempotency_Key="k-1")
    assert (other[0], other[1]["type"]) == (409, "urn:reconciler:problem:key-reused")
    assert (await change(server, f"{AT}/scale", {"replicas": 7}, Idempotency_Key="k 2"))[0] == 400
    assert (await change(server, f"{AT}/scale", {"replicas": 7}, Idempotency_Key=""))[0] == 400


async def test_what_failed_is_not_remembered(server: Daemon) -> None:
    path = "/api/v1/agents/research/scaled/scale"
    found = [await change(server, path, {"replicas": 6}, Idempotency_Key="k") for _ in range(2)]
    assert [status for status, _ in found] == [409, 409]


async def test_repeated_requests_that_come_at_once_wait_for_the_first_and_memory_is_bounded() -> None:
    from aiohttp import web

    now, done, go = [0.0], list[str](), asyncio.Event()
    repeats = Repeats(monotonic=lambda: now[0], age_s=10, most=3)

    async def work() -> web.Response:
        done.append("x")
        await go.wait()
        return web.Response(text="done")

    both = [asyncio.create_task(repeats.once("a", ["k"], ("r", "p", b""), work)) for _ in range(2)]
    await asyncio.sleep(0)
    go.set()
    assert [(await one).body for one in both] == [b"done", b"done"]
    assert len(done) == 1
    for number in range(10):
        await repeats.once("a", [f"k{number}"], ("r", "p", b""), work)
    assert len(repeats) == 3
    now[0] = 11.0
    await repeats.once("a", ["k"], ("r", "p", b""), work)
    assert len(repeats) == 1


async def test_what_outlasts_its_caller_is_done_once_all_the_same() -> None:
    """A caller that was told "too slow" asks again with its key, as it is there for."""
    from aiohttp import web

    done, go = list[str](), asyncio.Event()
    repeats = Repeats(monotonic=lambda: 0.0, age_s=10, most=3)

    async def work() -> web.Response:
        done.append("x")
        await go.wait()
        return web.Response(text="done")

    first = asyncio.create_task(repeats.once("a", ["k"], ("r", "p", b""), work))
    while not done:  # noqa: ASYNC110 - it begins by itself
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    again = asyncio.create_task(repeats.once("a", ["k"], ("r", "p", b""), work))
    await asyncio.sleep(0)
    go.set()
    assert (await again).body == b"done"
    assert done == ["x"]


async def test_a_daemon_that_stands_by_takes_nobody_back(server: Daemon) -> None:
    """What it knows of Git is as old as itself: it would place by clusters and limits of then."""
    status, body = await change(server, f"{AT}/rollback")
    assert (status, body["type"]) == (409, "urn:reconciler:problem:no-plan")


async def test_what_a_plan_holds_is_approved_by_what_it_shows(server: Daemon) -> None:
    assert (await change(server, "/api/v1/approvals", {"approval": "0" * 12}))[0] == 409
    hold = Hold(code=HoldCode.DELETION_BUDGET, agents=(TRIAGE,), action=Action.DELETE, text="1 delete", lift="raise it")
    server.plan = replace(plan(), holds=(hold,))
    (key,) = approvable(server.plan)
    assert (await server.ask("/api/v1/plan"))[1]["held"][0]["approval"] == key
    status, body = await change(
        server, "/api/v1/approvals", {"approval": key, "reason": "the team is gone", "for": "1h"}
    )
    assert (status, body["agents"], body["author"]) == (200, ["support/triage"], "walt, over HTTP")
    assert server.looked == [f"walt approved {key}"]
    (entry,) = await entries(server)
    assert (entry.fact.action, entry.fact.commit) == ("approve", "c1")
    assert (await change(server, "/api/v1/approvals", {"approval": "0" * 12}))[0] == 409


async def test_a_way_back_that_cannot_be_gone_is_told_before_it_begins(server: Daemon) -> None:
    server.plan = plan()
    status, body = await change(server, f"{AT}/rollback", {"to": 9})
    assert (status, body["type"]) == (409, "urn:reconciler:problem:refused")
    assert "no revision 9" in body["detail"]


async def test_a_way_back_is_that_of_the_fleet_that_the_daemon_follows_whatever_other_branches_say(
    server: Daemon,
) -> None:
    """The default branch has another fleet.yaml, with other clusters and another registry, or one that is broken."""
    source = server.world.source
    assert isinstance(source, MemorySource)
    source.commit({"fleet.yaml": "nonsense"})
    server.plan = plan()
    status, body = await change(server, f"{AT}/rollback", {"to": 9})
    assert (status, body["detail"]) == (409, "support/triage has no revision 9")


async def when(server: Daemon, holds: Callable[[Any], bool]) -> Any:
    """The agent as it is told, once that holds."""
    async with asyncio.timeout(60):
        while True:
            body = (await server.ask(AT))[1]
            if holds(body):
                return body


async def test_an_agent_of_a_daemon_that_runs_goes_back_and_one_that_is_scaled_is_brought_there(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, MemorySource(), Mode.APPLY)
    fleet.source.commit({"fleet.yaml": NOTHING, "agents/triage.yaml": agent("triage")})
    async with running(fleet):
        await until(lambda: fleet.told("change-ended", outcome="applied"))
        fleet.source.commit({"agents/triage.yaml": agent("triage", image="acme/agent:2")})
        fleet.service.fetch.now()
        await until(lambda: len(fleet.told("change-ended", outcome="applied")) == 2)
        server = Daemon(await fleet.registry(), GivenWorld(fleet.source, fleet.clock, None), fleet.clock)  # type: ignore[arg-type]
        known = callers()
        listening = Listening(address="127.0.0.1:0", callers=lambda: known, limits=MANY)
        async with served(listening, Inside.of(fleet.service)) as server.address:
            status, body, headers = await server.whole(f"{AT}/rollback", "POST", token=WRITER, json={"reason": "worse"})
            assert (status, body.get("follow"), headers.get("Location")) == (202, AT, AT), body
            body = await when(server, lambda found: found["quarantine"] is not None and found["state"] != "recovering")
            assert (body["revision"], body["lastTried"]) == (1, 2)
            assert "rolled back by hand by walt, over HTTP: worse" in body["quarantine"]["reason"]
            assert (await change(server, f"{AT}/resume"))[0] == 200
            await when(server, lambda found: found["revision"] == 3 and found["state"] == "running")
            assert (await change(server, f"{AT}/scale", {"replicas": 3}))[0] == 200
            await when(server, lambda found: found["placement"] == {"local": 3})
            assert (await server.ask("/api/v1/plan"))[0] == 200
