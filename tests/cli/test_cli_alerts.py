"""`reconciler alerts`, as people run it: tests through real sinks, silences, and what is kept."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from reconciler.adapters.sqlite.alertbook import SqliteAlertBook
from reconciler.model.alert import AlertChange, AlertGroup, Answer, Verdict
from tests.adapters.sqlite.test_alertbook import told
from tests.alerting.builders import alert

from .conftest import Program

SECRET = "a-secret-path-of-a-receiver"
FLEET = """\
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: fleet}
spec:
  alerts:
    - {name: on-call, match: {severity: critical}, webhook: {urlEnv: ONCALL_URL}}
    - {name: chat, slack: {urlEnv: CHAT_URL}}
"""


class Receiver(HTTPServer):
    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.code = 200
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{SECRET}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.code)
        self.end_headers()
        self.wfile.write(f"said by {self.path}".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def routed(fleet: Program) -> Program:
    (fleet.folder / "fleet.yaml").write_text(FLEET)
    fleet.commit("Say who is told")
    return fleet


def test_a_test_goes_through_the_real_sink_and_says_what_was_answered(routed: Program, receiver: Receiver) -> None:
    done = routed("alerts", "test", "on-call", code=0, ONCALL_URL=receiver.url)
    assert "sent" in done.out
    (body,) = receiver.bodies
    assert body["route"] == "on-call"
    assert "This is a test" in json.dumps(body)
    receiver.code = 404
    refused = routed("alerts", "test", "on-call", "-o", "json", code=1, ONCALL_URL=receiver.url)
    (route,) = json.loads(refused.out)["routes"]
    assert (route["result"], route["route"]) == ("refused", "on-call")
    assert "404" in route["answer"]
    assert SECRET not in refused.out + refused.err + done.out


def test_all_routes_are_tested_and_one_that_cannot_be_used_is_named(routed: Program, receiver: Receiver) -> None:
    done = routed("alerts", "test", code=1, ONCALL_URL=receiver.url)
    assert "CHAT_URL is not set" in done.out
    assert len(receiver.bodies) == 1


def test_a_route_that_is_not_there_is_said(routed: Program, fleet: Program) -> None:
    done = routed("alerts", "test", "on-cal", code=1)
    assert "there is no alert route 'on-cal'" in done.err
    assert "chat, on-call" in done.err


def test_a_silence_is_kept_listed_audited_and_ended(routed: Program) -> None:
    made = json.loads(
        routed(
            "alerts", "silence", "demo/hello", "-l", "team=a", "--for", "2h", "--reason", "a new model", "-o", "json",
            code=0,
        ).out
    )  # fmt: skip
    listed = json.loads(routed("alerts", "-o", "json", code=0).out)
    assert [(one["id"], one["agent"], one["labels"]) for one in listed["silences"]] == [
        (made["id"], "demo/hello", {"team": "a"})
    ]
    assert "a new model" in routed("alerts", code=0).out
    routed("alerts", "silence", "--all", "--for", "5m", "--reason", "x", code=0)
    assert "1 silence ended" in routed("alerts", "unsilence", made["id"], code=0).out
    assert "there is no silence" in routed("alerts", "unsilence", made["id"], code=1).err
    assert "1 silence ended" in routed("alerts", "unsilence", "--all", code=0).out
    assert json.loads(routed("alerts", "list", "-o", "json", code=0).out)["silences"] == []
    audit = routed("audit", "-o", "json", code=0).out
    actions = [json.loads(line)["action"] for line in audit.splitlines()]
    assert actions == ["silence", "silence", "unsilence", "unsilence"]
    assert "a new model" in audit


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (("demo/helo",), "no agent demo/helo is declared or on record, did you mean demo/hello?"),
        (("-n", "dmo"), "no agent is in the namespace dmo, did you mean demo?"),
        (("--cluster", "locl"), "no cluster locl is declared, did you mean local?"),
        (("--name", "AgentUnwell"), "there is no alert AgentUnwell"),
        (("-l", "team=nobody"), "no agent has these labels"),
    ],
)
def test_a_silence_of_nothing_is_told(routed: Program, said: tuple[str, ...], told: str) -> None:
    assert told in routed("alerts", "silence", *said, "--for", "2h", "--reason", "x", code=0).err


def test_silences_outlive_an_apply_and_an_apply_outlives_them(routed: Program) -> None:
    routed("alerts", "silence", "--name", "AgentUnhealthy", "--for", "2h", "--reason", "x", code=0)
    routed("apply", "--auto-approve", code=0)
    routed("alerts", "silence", "-n", "demo", "--for", "2h", "--reason", "y", code=0)
    assert len(json.loads(routed("alerts", "-o", "json", code=0).out)["silences"]) == 2
    assert "No changes" in routed("plan", code=0).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["silence", "demo/hello", "--reason", "x"], "a silence needs an end"),
        (["silence", "demo/hello", "--for", "1h"], "a silence needs a reason"),
        (["silence", "--for", "1h", "--reason", "x"], "say which alerts, or --all"),
        (["silence", "demo/hello", "--all", "--for", "1h", "--reason", "x"], "say which alerts, or --all"),
        (["silence", "demo/hello", "--for", "500d", "--reason", "x"], "from 1s to 365d can be meant"),
        (["silence", "demo/hello", "--for", "soon", "--reason", "x"], "is not a duration"),
        (["silence", "-l", "team", "--for", "1h", "--reason", "x"], "is not KEY=VALUE"),
        (["unsilence"], "name a silence or an agent"),
    ],
)
def test_mistakes_are_said(fleet: Program, arguments: list[str], said: str) -> None:
    assert said in fleet("alerts", *arguments, code=1).err


def test_what_is_kept_is_listed_with_who_was_told_and_what_waits(routed: Program) -> None:
    assert "No daemon has kept alerts" in routed("alerts", code=0).err
    known, quiet = alert("demo/hello", text=f"it said password={SECRET}"), alert("demo/other", "warning")

    async def keep() -> None:
        book = await SqliteAlertBook.open(routed.folder / ".reconciler" / "alerts.db")
        group = AlertGroup(route="on-call", key="k", told_ms=1, told={known.key: known})
        await book.commit(AlertChange(alerts=(known, quiet), groups=(group,), notifications=(told(1), told(2))))
        queued = await book.next("on-call")
        assert queued is not None
        await book.tried(queued, Answer(verdict=Verdict.LATER, text="503"))
        await book.close()

    asyncio.run(keep())
    routed("alerts", "silence", "demo/other", "--for", "1h", "--reason", "known", code=0)
    text = routed("alerts", code=0).out
    assert "silenced by" in text
    listed = json.loads(routed("alerts", "-o", "json", code=0).out)
    assert [(one["key"], one["told"]) for one in listed["alerts"]] == [(known.key, True), (quiet.key, False)]
    (route,) = listed["routes"]
    assert (route["queued"], route["attempts"], route["problem"]) == (2, 1, "503")
