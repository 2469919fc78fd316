"""From a route and an environment to a sink, or to words that teach and hold no secret."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.adapters.alerts import open_sink
from reconciler.adapters.alerts.sinks import PagerDutySink
from reconciler.adapters.alerts.through_apprise import AppriseSink
from reconciler.model.agent import AlertRoute
from reconciler.model.alert import Answer, Verdict
from reconciler.model.errors import UsageError
from tests.adapters.alerts.told import ended, firing
from tests.doubles.clock import FakeClock

SECRET = "sk-T0pS3cret"


def opened(receiver: str, settings: dict[str, Any], environment: dict[str, str]) -> Any:
    return open_sink(AlertRoute(name="on-call", receiver=receiver, settings=settings), environment, FakeClock())


@pytest.mark.parametrize(
    ("receiver", "settings", "value", "said"),
    [
        ("webhook", {"urlEnv": "V"}, SECRET, "no address that begins with http:// or https://"),
        ("webhook", {"urlEnv": "V"}, f"file:///etc/{SECRET}", "no address that begins with"),
        ("webhook", {"urlEnv": "V"}, f"http://host:99999/{SECRET}", "no address"),
        ("webhook", {"urlEnv": "V"}, f"http://host/{SECRET}\nX-Evil: 1", "no address"),
        ("slack", {"urlEnv": "V"}, "", "the environment variable V is not set"),
        ("alertmanager", {"urlEnv": "V"}, f"//{SECRET}", "no address"),
        ("pagerduty", {"routingKeyEnv": "V"}, SECRET, "no routing key (32 letters and digits)"),
        ("email", {"smtpEnv": "V", "to": ["a@b.example"]}, f"http://{SECRET}@host", "begins with smtp:// or smtps://"),
        ("apprise", {"urlEnv": "V"}, "", "is not set"),
    ],
)
def test_what_cannot_be_used_is_said_without_being_shown(
    receiver: str, settings: dict[str, Any], value: str, said: str
) -> None:
    with pytest.raises(UsageError) as error:
        opened(receiver, settings, {"V": value} if value else {})
    assert said in error.value.message
    assert "on-call" in error.value.message
    assert SECRET not in error.value.message + error.value.hint


@pytest.mark.parametrize(("receiver", "field"), [("webhook", "secretEnv"), ("alertmanager", "tokenEnv")])
@pytest.mark.parametrize("name", ["ARANGO_PASSWORD", "RECONCILER_API_TOKEN"])
def test_no_route_can_have_a_credential_of_the_daemon_sent_to_its_receiver(
    receiver: str, field: str, name: str
) -> None:
    with pytest.raises(UsageError, match="may be a credential of the daemon") as error:
        opened(receiver, {"urlEnv": "U", field: name}, {"U": "https://chat.example/", name: SECRET})
    assert SECRET not in error.value.message + error.value.hint


def test_an_unknown_receiver_is_said() -> None:
    with pytest.raises(UsageError, match="no receiver 'pigeon'"):
        opened("pigeon", {}, {})


async def test_pagerdutys_address_is_its_own_unless_another_is_named() -> None:
    key = "0" * 32
    sink = opened("pagerduty", {"routingKeyEnv": "K"}, {"K": key})
    assert isinstance(sink, PagerDutySink)
    assert sink.url == "https://events.pagerduty.com/v2/enqueue"
    other = opened("pagerduty", {"routingKeyEnv": "K", "urlEnv": "U"}, {"K": key, "U": "https://eu.example/v2"})
    assert other.url == "https://eu.example/v2"
    assert key not in repr(sink)


def test_apprise_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(UsageError, match="Apprise is not installed") as error:
        opened("apprise", {"urlEnv": "V"}, {"V": f"json://host/{SECRET}"})
    assert "reconciler[apprise]" in error.value.hint
    assert SECRET not in error.value.message


class FakeApprise:
    """As much of Apprise as is used: documented methods of the class of that name."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []
        self.answer: object = True

    def add(self, address: str) -> bool:
        return address.startswith("json://")

    async def async_notify(self, **told: str) -> object:
        self.told.append(told)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_apprise_is_told_and_what_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", SimpleNamespace(Apprise=FakeApprise))
    sink = opened("apprise", {"urlEnv": "V"}, {"V": f"json://host/{SECRET}"})
    assert isinstance(sink, AppriseSink)
    begun = firing("apprise")
    assert await sink.send(begun) == Answer(verdict=Verdict.SENT, text="sent")
    await sink.send(ended("apprise"))
    assert [one["notify_type"] for one in sink.notifier.told] == ["failure", "success"]
    assert (sink.notifier.told[0]["title"], sink.notifier.told[0]["body"]) == (begun.title, begun.text)
    sink.notifier.answer = False
    assert (await sink.send(begun)).verdict is Verdict.LATER
    sink.notifier.answer = RuntimeError(SECRET)
    answer = await sink.send(begun)
    assert answer == Answer(verdict=Verdict.LATER, text="Apprise failed: RuntimeError")
    await sink.close()
    with pytest.raises(UsageError, match="does not know this address"):
        opened("apprise", {"urlEnv": "V"}, {"V": SECRET})
