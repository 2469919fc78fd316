"""What can be read of a daemon: the fleet, agents by query, revisions, health, plan and audit, page after page."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.daemon.http.__main__ import described
from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Hold, HoldCode
from tests.contracts.values import write
from tests.daemon.serving import WRITER, Daemon, open_daemon, serving
from tests.daemon.test_wakes import change, plan

TRIAGE = AgentName.parse("support/triage")
API = "/api/v1"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = await open_daemon(tmp_path)
    async with serving(daemon):
        yield daemon
    await daemon.registry.close()


def assessment(name: str, state: HealthState = HealthState.HEALTHY) -> Assessment:
    return Assessment(
        agent=AgentName.parse(name), at_ms=1_800_000_000_000, state=state, is_healthy=state is HealthState.HEALTHY,
        requires_recovery=False, critical=False, checks=(),
    )  # fmt: skip


def names(body: Any) -> list[str]:
    return [f"{item['namespace']}/{item['name']}" for item in body["items"]]


async def pages(server: Daemon, path: str) -> list[Any]:
    """All items of a list, a page after another."""
    found: list[Any] = []
    after = ""
    while True:
        joint = "&" if "?" in path else "?"
        status, body = await server.ask(path + (f"{joint}continue={after}" if after else ""))
        assert status == 200, body
        found += body["items"]
        after = body["continue"]
        if not after:
            return found


async def test_the_fleet_is_told_as_a_whole(server: Daemon) -> None:
    server.assessed = {TRIAGE: assessment("support/triage")}
    server.plan = replace(plan(change()), agents=1)
    status, body = await server.ask(f"{API}/fleet")
    assert (status, body["fleet"], body["role"], body["ready"]) == (200, "acme", "leader", True)
    assert body["agents"] == {
        "declared": 1, "onRecord": 4, "byState": {"registered": 4}, "byHealth": {"healthy": 1},
    }  # fmt: skip
    assert [cluster["name"] for cluster in body["clusters"]] == ["local"]


async def test_agents_are_found_by_the_query_language_of_the_command_line(server: Daemon) -> None:
    status, body = await server.ask(f"{API}/agents?where=labels.team %3D support&orderBy=name desc")
    assert (status, names(body)) == (200, ["support/triage", "support/knowledge"])
    assert names((await server.ask(f"{API}/agents?selector=team in (research)&namespace=research"))[1]) == [
        "research/miner"
    ]


async def test_pages_hold_every_agent_once(server: Daemon) -> None:
    found = await pages(server, f"{API}/agents?limit=1&orderBy=name")
    assert [item["name"] for item in found] == ["knowledge", "miner", "scaled", "triage"]


@pytest.mark.parametrize(
    ("query", "parameter", "start"),
    [("where=state %3D", "where", 7), ("selector=a%3D%3D%3Db", "selector", 0), ("orderBy=nonsense.x", "orderBy", 9)],
)
async def test_a_query_that_cannot_be_meant_is_told_with_its_place(
    server: Daemon, query: str, parameter: str, start: int
) -> None:
    status, body, headers = await server.whole(f"{API}/agents?{query}")
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert body["type"] == "urn:reconciler:problem:bad-query"
    assert (body["place"]["parameter"], body["place"]["start"]) == (parameter, start)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=ten",
        "nonsense=1",
        "limit=1&limit=2",
        "continue=xyz",
        "namespace=..",
        "where=" + "a" * 4097,
    ],
)
async def test_parameters_that_cannot_be_meant_are_refused(server: Daemon, query: str) -> None:
    status, body = await server.ask(f"{API}/agents?{query}")
    assert (status, body["status"]) == (400, 400)


async def test_one_agent_is_its_record_and_no_other_is_there(server: Daemon) -> None:
    status, body = await server.ask(f"{API}/agents/support/triage")
    assert (status, body["state"], body["labels"]) == (200, "registered", {"team": "support"})
    assert "document" not in body
    status, body = await server.ask(f"{API}/agents/support/nobody")
    assert (status, body["type"]) == (404, "urn:reconciler:problem:no-agent")


async def test_revisions_come_newest_first_and_in_pages(server: Daemon) -> None:
    found = await pages(server, f"{API}/agents/support/triage/revisions?limit=2")
    assert [item["revision"] for item in found] == [3, 2, 1]
    assert (await server.ask(f"{API}/agents/support/nobody/revisions"))[0] == 404


async def test_a_token_of_another_list_is_refused(server: Daemon) -> None:
    token = (await server.ask(f"{API}/agents/support/triage/revisions?limit=1"))[1]["continue"]
    server.assessed = {TRIAGE: assessment("support/triage")}
    assert (await server.ask(f"{API}/health?continue={token}"))[0] == 400
    assert (await server.ask(f"{API}/agents?continue={token}"))[0] == 400


async def test_health_is_what_the_last_sweep_found(server: Daemon) -> None:
    assert (await server.ask(f"{API}/agents/support/triage/health"))[0] == 404
    server.assessed = {
        TRIAGE: assessment("support/triage", HealthState.DEGRADED),
        AgentName.parse("research/miner"): assessment("research/miner"),
    }
    status, body = await server.ask(f"{API}/agents/support/triage/health")
    assert (status, body["state"], body["healthy"], body["at"]) == (200, "degraded", False, "2027-01-15T08:00:00Z")
    assert body["trend"] is None
    assert [item["agent"] for item in await pages(server, f"{API}/health?limit=1")] == [
        "research/miner",
        "support/triage",
    ]
    assert [item["agent"] for item in await pages(server, f"{API}/health?state=degraded")] == ["support/triage"]


async def test_a_plan_is_told_in_pages_and_a_token_of_an_older_one_is_refused(server: Daemon) -> None:
    assert (await server.ask(f"{API}/plan"))[0] == 404
    changes = tuple(replace(change(AgentName(namespace="a", name=f"a{i}")), fingerprint=str(i)) for i in range(3))
    hold = Hold(code=HoldCode.DELETION_BUDGET, agents=(TRIAGE,), action=Action.DELETE, text="over", lift="raise it")
    server.plan = replace(plan(*changes), holds=(hold,))
    status, first = await server.ask(f"{API}/plan?limit=2")
    assert (status, [item["agent"] for item in first["changes"]]) == (200, ["a/a0", "a/a1"])
    assert (first["summary"]["update"], first["held"][0]["code"], first["cut"]) == (3, "deletion-budget", [])
    status, second = await server.ask(f"{API}/plan?limit=2&continue={first['continue']}")
    assert ([item["agent"] for item in second["changes"]], second["continue"]) == (["a/a2"], "")
    server.plan = plan(*changes[1:])
    assert (await server.ask(f"{API}/plan?limit=2&continue={first['continue']}"))[0] == 400


async def test_a_token_that_was_made_up_for_a_plan_is_refused(server: Daemon) -> None:
    changes = tuple(replace(change(AgentName(namespace="a", name=f"a{i}")), fingerprint=str(i)) for i in range(3))
    server.plan = plan(*changes)
    real = base64.urlsafe_b64decode((await server.ask(f"{API}/plan?limit=2"))[1]["continue"] + "==").decode()
    for place in ("x", "-1", "9" * 400, "\u00b2"):
        made_up = base64.urlsafe_b64encode(f"{real[:-1]}{place}".encode()).decode().rstrip("=")
        status, body = await server.ask(f"{API}/plan?continue={made_up}")
        assert (status, body["type"]) == (400, "urn:reconciler:problem:bad-continue")


async def test_the_audit_log_is_read_on_from_where_one_was(server: Daemon) -> None:
    status, body = await server.ask(f"{API}/audit?limit=2")
    assert (status, [item["seq"] for item in body["items"]], body["more"]) == (200, [1, 2], True)
    status, body = await server.ask(f"{API}/audit?limit=2&since=2")
    assert ([item["seq"] for item in body["items"]], body["more"]) == ([3], False)
    of_one = (await server.ask(f"{API}/audit?agent=support/triage"))[1]["items"]
    assert [item["action"] for item in of_one] == ["create", "update"]
    assert (await server.ask(f"{API}/audit?agent=triage"))[0] == 400


async def test_what_did_not_change_is_not_sent_again(server: Daemon) -> None:
    status, _, headers = await server.whole(f"{API}/agents")
    tag = headers["ETag"]
    assert (status, headers["Cache-Control"]) == (200, "private, no-cache")
    assert (await server.ask(f"{API}/agents", headers={"If-None-Match": f'"x", W/{tag}'}))[0] == 304
    known = (await server.registry.get(TRIAGE)).value  # type: ignore[union-attr]
    await server.registry.commit(write(replace(known, version=known.version + 1, message="other")))
    assert (await server.ask(f"{API}/agents", headers={"If-None-Match": tag}))[0] == 200


async def test_until_the_fleet_is_known_nothing_is_told_of_it(server: Daemon) -> None:
    server.declared, server.why = None, "the fleet or its registry cannot be opened"
    status, body, headers = await server.whole(f"{API}/agents")
    assert (status, body["detail"], headers["Retry-After"]) == (503, server.why, "5")


async def test_every_answer_is_as_the_document_says(server: Daemon) -> None:
    status, document = await server.ask("/openapi.json", token=WRITER)
    assert status == 200
    assert document == json.loads(described())
    server.plan, server.assessed = plan(change()), {TRIAGE: assessment("support/triage")}
    for path, operations in document["paths"].items():
        if "get" not in operations or not path.startswith(API):
            continue
        status, body = await server.ask(path.format(namespace="support", name="triage"))
        schema = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert status == 200
        whole = {**schema, "components": document["components"]}
        Draft202012Validator(whole).validate(body)
