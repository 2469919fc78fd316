"""The whole way with real processes: from a commit to running agents, killed, broken, and taken down again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from typing import Any

import pytest

from reconciler.adapters.embedded.lifecycle import end_everything, is_locked
from reconciler.model.events import Outcome
from reconciler.model.objects import Found, Scope
from reconciler.model.plan import HoldCode, Policy
from reconciler.model.registry import AgentState
from reconciler.model.source import JsonObject
from tests.engine.fleets import (
    PROCESSES,
    FleetRepo,
    agent,
    applied,
    end,
    finished,
    plan_of,
    record,
    snapshot,
    stores_of,
)

SERVER = """\
  command: [python3, -c, "{program}"]
  replicas: 2
  ports: [{{name: http, port: 8080}}]
  probes: {{readiness: {{http: {{path: /, port: http}}, period: 1s}}}}
  rollout: {{maxSurge: 1, maxUnavailable: 0, timeout: 60s}}
"""
SERVES = (
    "import os, http.server as h; "
    "h.HTTPServer((os.environ['HOST'], int(os.environ['PORT'])), h.SimpleHTTPRequestHandler).serve_forever()"
)
BROKEN = "import sys; print('no such module'); sys.exit(3)"
PATIENCE_S = 60.0


@pytest.fixture
def repo(tmp_path):
    made = FleetRepo(tmp_path / "fleet", PROCESSES)
    yield made
    end_everything(made.root / ".reconciler", made.root)


async def pods(world: Any) -> dict[str, JsonObject]:
    answer = await (await stores_of(world)).clusters["local"].observe(Scope(kinds=(("", "v1", "Pod"),)))
    assert isinstance(answer, Found)
    return {str(ref): live.body for ref, live in answer.value.objects.items()}


def is_ready(pod) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))


def pid_of(pod) -> int:
    """The embedded cluster's container ids say `process://PID/...`."""
    found = re.match(r"process://(\d+)/", pod["status"]["containerStatuses"][0].get("containerID", ""))
    return int(found[1]) if found else 0


async def test_from_a_commit_to_nothing_left_running(repo):
    repo.commit({"agents/triage.yaml": agent("triage", SERVER.format(program=SERVES))})
    async with await repo.session() as world:
        events = await applied(world)
        created = finished(events)["support/triage"]
        assert (created.outcome, created.ready, created.wanted) == (Outcome.APPLIED, 2, 2)
        assert (await plan_of(world)).changes == ()

        before = await pods(world)
        name, victim = min(before.items())
        os.kill(pid_of(victim), signal.SIGKILL)
        await _until(world, lambda now: name in now and is_ready(now[name]) and pid_of(now[name]) != pid_of(victim))

        repo.commit({"agents/triage.yaml": agent("triage", SERVER.format(program=BROKEN))})
        broken = finished(await applied(world))["support/triage"]
        assert broken.outcome is Outcome.ROLLED_BACK
        assert "no such module" in broken.reason
        kept = await record(world, "support/triage")
        assert kept.state is AgentState.RUNNING
        assert kept.quarantine is not None
        assert sum(map(is_ready, (await pods(world)).values())) == 2
        held = await plan_of(world)
        assert held.changes == ()
        assert [hold.code for hold in held.holds] == [HoldCode.QUARANTINED]

        gone = await applied(world, policy=Policy(destroy=True))
        assert (end(gone).applied, end(gone).failed) == (1, 0)
        assert (await snapshot(world)).records == {}
        assert await pods(world) == {}
    await _ended(repo)


async def test_a_command_that_does_not_exist_is_taken_back_with_the_reason(repo):
    repo.commit({"agents/triage.yaml": agent("triage", "  command: [no-such-program-here]\n")})
    async with await repo.session() as world:
        undone = finished(await applied(world))["support/triage"]
        assert undone.outcome is Outcome.UNDONE
        assert "no-such-program-here" in undone.reason
        assert (await record(world, "support/triage")).state is AgentState.QUARANTINED
        assert await pods(world) == {}


async def _until(world, holds) -> None:
    until = time.monotonic() + PATIENCE_S
    while not holds(await pods(world)):
        assert time.monotonic() < until, "it did not come back"
        await asyncio.sleep(0.1)


async def _ended(repo) -> None:
    until = time.monotonic() + PATIENCE_S
    while is_locked(repo.root / ".reconciler"):
        assert time.monotonic() < until, "the supervisor has not ended"
        await asyncio.sleep(0.1)
