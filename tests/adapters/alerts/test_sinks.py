"""What receivers really get, held against what they publish that they take."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from reconciler.adapters.alerts import open_sink
from reconciler.adapters.alerts.sinks import signature
from reconciler.model.agent import AlertRoute
from reconciler.model.alert import Notification, Verdict
from tests.adapters.alerts.told import AGENT, FLEET, HOSTILE, OTHER, ended, firing, worse
from tests.alerting.builders import HOUR, START_MS, alert
from tests.doubles.clock import FakeClock
from tests.doubles.scripted_server import ScriptedServer, said

SCHEMAS = Path(__file__).parent / "schemas"
KEY = "0123456789abcdef0123456789ABCDEF"
SETTINGS: dict[str, dict[str, str]] = {
    "webhook": {"urlEnv": "URL"},
    "slack": {"urlEnv": "URL"},
    "pagerduty": {"routingKeyEnv": "KEY", "urlEnv": "URL"},
    "alertmanager": {"urlEnv": "URL", "tokenEnv": "TOKEN"},
}
PUBLISHED = {
    "webhook": "webhook",
    "slack": "slack-message",
    "pagerduty": "pagerduty-events-v2",
    "alertmanager": "alertmanager-postable-alerts",
}


FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def schema(receiver: str) -> Draft202012Validator:
    read = json.loads((SCHEMAS / f"{PUBLISHED[receiver]}.json").read_text())
    Draft202012Validator.check_schema(read)
    return Draft202012Validator(read, format_checker=FORMATS)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        for path in ("/hook", "/hook/api/v2/alerts"):
            server.on(f"POST {path}", said({}))
        yield server


async def posted(server: ScriptedServer, receiver: str, notification: Notification) -> Any:
    """Send it through the real sink to a real server, and answer what came."""
    environment = {"URL": f"{server.url}/hook", "KEY": KEY, "TOKEN": "a-token"}
    route = AlertRoute(name="on-call", receiver=receiver, settings=SETTINGS[receiver])
    sink = open_sink(route, environment, FakeClock())
    try:
        answer = await sink.send(notification)
    finally:
        await sink.close()
    assert answer.verdict is Verdict.SENT
    assert server.unexpected == []
    return json.loads(server.seen[-1].body)


MANY = tuple(alert(f"team/a{number:04}", text=HOSTILE * 40) for number in range(1200))


@pytest.mark.parametrize("receiver", sorted(SETTINGS))
@pytest.mark.parametrize("which", ["one", "several", "fleet", "flood", "over", "worse"])
async def test_what_is_posted_is_what_the_receiver_publishes_that_it_takes(
    server: ScriptedServer, receiver: str, which: str
) -> None:
    told = {
        "one": lambda: firing(receiver, AGENT),
        "several": lambda: firing(receiver, AGENT, OTHER, FLEET, group_by=()),
        "fleet": lambda: firing(receiver, FLEET),
        "flood": lambda: firing(receiver, *MANY, group_by=()),
        "over": lambda: ended(receiver, AGENT, OTHER),
        "worse": lambda: worse(receiver),
    }[which]()
    schema(receiver).validate(await posted(server, receiver, told))


@pytest.mark.parametrize(
    ("receiver", "wrong"),
    [
        ("pagerduty", {"routing_key": KEY, "event_action": "trigger"}),
        ("pagerduty", {"routing_key": KEY, "event_action": "resolve"}),
        ("slack", {"text": "x", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]}),
        ("alertmanager", [{"labels": {"alertname": "x", "app.kubernetes.io/name": "y"}}]),
        ("alertmanager", [{"labels": {"alertname": "x"}, "startsAt": "yesterday"}]),
    ],
)
def test_the_schemas_refuse_what_receivers_refuse(receiver: str, wrong: object) -> None:
    with pytest.raises(ValidationError):
        schema(receiver).validate(wrong)


async def test_a_webhook_gets_the_whole_story_and_its_delivery_twice_is_the_same(server: ScriptedServer) -> None:
    told = firing("webhook", AGENT, OTHER, group_by=())
    first = await posted(server, "webhook", told)
    again = await posted(server, "webhook", told)
    assert first == again
    assert [one["agent"] for one in first["alerts"]] == ["support/triage", "support/knowledge"]
    assert first["alerts"][0]["labels"]["team"] == "a"
    assert {one.headers["X-Reconciler-Delivery"] for one in server.seen} == {told.id}
    assert all("X-Reconciler-Signature" not in one.headers for one in server.seen)


def test_a_signature_is_of_the_time_and_the_very_bytes() -> None:
    """The example of docs/alerts.md."""
    signed = signature("key", "1800000000", b'{"version":1}')
    assert signed == "v1=daa11db61d163f50134877d6d8ffdf3de99b16b3f1d997e30441dd563860f7e3"
    assert signed != signature("key", "1800000001", b'{"version":1}')
    assert signed != signature("key", "1800000000", b'{"version": 1}')


async def test_slack_reads_no_mention_or_link_out_of_an_agents_words(server: ScriptedServer) -> None:
    text = json.dumps(await posted(server, "slack", firing("slack", AGENT)))
    assert "<!channel>" not in text
    assert "&lt;!channel&gt;" in text


async def test_an_incident_of_pagerduty_begins_and_ends_under_one_key(server: ScriptedServer) -> None:
    begun = await posted(server, "pagerduty", firing("pagerduty", AGENT))
    over = await posted(server, "pagerduty", ended("pagerduty", AGENT))
    assert (begun["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert begun["dedup_key"] == over["dedup_key"]
    assert begun["payload"]["severity"] == "critical"
    assert begun["payload"]["source"] == "support/triage"


async def test_alertmanager_is_told_when_an_alert_ends_and_of_the_end_of_what_it_was_before(
    server: ScriptedServer,
) -> None:
    (begun,) = await posted(server, "alertmanager", firing("alertmanager", AGENT))
    (over,) = await posted(server, "alertmanager", ended("alertmanager", AGENT))
    assert begun["labels"] == over["labels"]
    assert begun["labels"]["label_app_kubernetes_io_part_of"] == "x"
    assert begun["endsAt"] > over["startsAt"]
    now, before = await posted(server, "alertmanager", worse("alertmanager"))
    assert (now["labels"]["severity"], before["labels"]["severity"]) == ("critical", "warning")
    assert before["endsAt"] < now["endsAt"]
    assert server.seen[-1].headers["Authorization"] == "Bearer a-token"


async def test_alertmanager_tells_daemons_of_one_fleet_apart(server: ScriptedServer) -> None:
    labels = []
    for seat in ("0-of-2", "1-of-2"):
        own = alert("", name="PassesFailing", key=f"PassesFailing {seat}", daemon=seat)
        (told,) = await posted(server, "alertmanager", firing("alertmanager", own))
        labels.append(told["labels"])
    assert [one["daemon"] for one in labels] == ["0-of-2", "1-of-2"]
    assert {one["alertname"] for one in labels} == {"PassesFailing"}


async def test_alertmanager_is_told_of_no_alert_that_begins_after_its_end(server: ScriptedServer) -> None:
    """The clock was set back since it began; for one such alert all of a message would be refused."""
    (over,) = await posted(server, "alertmanager", ended("alertmanager", alert(at_ms=START_MS + HOUR)))
    assert over["startsAt"] <= over["endsAt"]
