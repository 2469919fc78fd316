"""The whole way with real processes: from a commit to running agents, broken, mended, and taken down again."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from reconciler.adapters.embedded.lifecycle import end_everything, is_locked
from reconciler.model.errors import ReconcilerError
from reconciler.model.events import Outcome
from reconciler.model.objects import Found, Scope
from reconciler.model.plan import Policy
from reconciler.model.registry import AgentState
from tests.engine.fleets import PROCESSES, FleetRepo, agent, applied, finished, plan_of, record, snapshot, stores_of

SERVER = """\
  command: [python3, -c, "{program}"]
  replicas: 2
  ports: [{{name: http, port: 8080}}]
  probes: {{readiness: {{http: {{path: /, port: http}}, period: 1s}}}}
  rollout: {{maxSurge: 1, maxUnavailable: 0, timeout: 30s}}
"""
SERVES = (
    "import os, http.server as h; "
    "h.HTTPServer((os.environ['HOST'], int(os.environ['PORT'])), h.SimpleHTTPRequestHandler).serve_forever()"
)
BROKEN = "import sys; print('no such module'); sys.exit(3)"


@pytest.fixture
def repo(tmp_path):
    made = FleetRepo(tmp_path / "fleet", PROCESSES)
    yield made
    end_everything(made.root / ".reconciler", made.root)


async def pods(world):
    cluster = (await stores_of(world)).clusters["local"]
    answer = await cluster.observe(Scope(kinds=(("", "v1", "Pod"),)))
    assert isinstance(answer, Found)
    return [live.body for live in answer.value.objects.values()]


def ready(pod) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))


async def test_create_kill_break_roll_back_and_destroy(repo):
    repo.commit({"agents/triage.yaml": agent("triage", SERVER.format(program=SERVES))})
    async with await repo.session() as world:
        events = await applied(world)
        print(events)
        assert finished(events)["support/triage"].outcome is Outcome.APPLIED
        assert finished(events)["support/triage"].ready == 2
