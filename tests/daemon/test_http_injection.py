"""Attempts to inject over HTTP, through every parameter, path and body that holds text: it is compared, or refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from tests.contracts.values import ODD
from tests.daemon.serving import MANY, WRITER, Daemon, open_daemon, serving

API = "/api/v1"
AGENT = f"{API}/agents/support/triage"
TEXTS = [text[:500] for text in ODD]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = await open_daemon(tmp_path)
    async with serving(daemon, limits=MANY):
        yield daemon
    await daemon.registry.close()


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def whole(server: Daemon) -> list[Any]:
    return [item async for item in server.registry.export()]


async def test_what_is_asked_is_only_compared(server: Daemon) -> None:
    before = await whole(server)
    for text in TEXTS:
        named = '"' + text.replace('"', '""') + '"'
        for where in (
            f"message = {literal(text)} or spec.image contains {literal(text)} or labels.team in ({literal(text)})",
            f"labels.{named} = x",
        ):
            status, body = await server.ask(f"{API}/agents?where={quote(where, safe='')}")
            assert (status, body.get("items")) == (200, []), (where, body)
        status, body = await server.ask(f"{API}/agents?orderBy={quote(f'labels.{named} desc', safe='')}")
        assert (status, len(body["items"])) == (200, 4), body
    assert await whole(server) == before


PATHS = (
    "/agents?where={}", "/agents?orderBy={}", "/agents?selector={}", "/agents?namespace={}", "/agents?continue={}",
    "/agents?limit={}", "/agents/{}/triage", "/agents/support/{}", "/agents/support/{}/revisions",
    "/agents/support/{}/health", "/audit?agent={}", "/audit?agent=support/{}", "/audit?since={}", "/health?state={}",
    "/health?continue={}", "/plan?continue={}", "/{}",
)  # fmt: skip


async def test_what_is_no_question_is_refused_and_nothing_else(server: Daemon) -> None:
    before = await whole(server)
    for path in PATHS:
        for text in TEXTS:
            status, body = await server.ask(API + path.format(quote(text, safe="")))
            assert status in (200, 400, 404), (path, text, body)
            if status == 200 and text.strip():  # what is only space asks for nothing
                assert not body.get("items"), (path, text, body)
    assert await whole(server) == before


async def test_reasons_are_kept_and_told_as_they_are(server: Daemon) -> None:
    """Of who changes something by hand: in the record, in the audit, and over HTTP again."""
    since = len([entry async for entry in server.registry.audit()])
    kept: list[str] = []
    for text in TEXTS:
        status, body = await server.ask(
            f"{AGENT}/scale", "POST", token=WRITER, json={"replicas": 6, "for": "2h", "reason": text}
        )
        if status == 422:
            assert not text.isprintable(), "only what would break lines is refused"
            continue
        assert (status, body["override"]["reason"]) == (200, text), body
        kept.append(text)
    found = await server.registry.get(AgentName.parse("support/triage"))
    assert isinstance(found, Found)
    assert found.value.override is not None
    assert found.value.override.reason == kept[-1]
    _, told = await server.ask(f"{API}/audit?since={since}")
    assert [item["message"] for item in told["items"]] == kept
    assert await server.registry.integrity() == ()
    assert (await server.registry.verify_audit()).sound


async def test_ids_of_requests_and_bodies_are_only_compared(server: Daemon) -> None:
    before = await whole(server)
    for text in TEXTS:
        sent = text.encode("ascii", "ignore").decode()[:60]
        status, _ = await server.ask(
            f"{AGENT}/scale", "POST", token=WRITER, json={"replicas": text}, headers={"Idempotency-Key": sent}
        )
        assert status in (400, 422)
        for body in ({"commit": text, "agents": [text]}, {"commit": text, "code": text, "reason": text}):
            assert (await server.ask(f"{API}/approvals", "POST", token=WRITER, json=body))[0] in (400, 404, 409, 422)
        assert (await server.ask(f"{AGENT}/rollback", "POST", token=WRITER, json={"to": text}))[0] in (400, 422)
    assert await whole(server) == before
