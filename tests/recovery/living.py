"""A daemon over real agent processes, in this process: what it says, what it raises, and what its agents answer."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.adapters.embedded.lifecycle import end_everything
from reconciler.bootstrap import Session
from reconciler.daemon.measures import Measures
from reconciler.daemon.service import Service, Settings
from reconciler.daemon.telling import Teller
from reconciler.model.alert import Alert
from reconciler.model.identity import AgentName
from reconciler.model.objects import PORTS_ANNOTATION, Found, Scope
from reconciler.model.registry import Record
from reconciler.model.source import JsonObject
from tests.engine.fleets import OPTIONS, PROCESSES, FleetRepo, agent, record, stores_of

SWEEP_S = 0.3
PROGRAM = """\
import http.server, os, sys, time

began, sick = time.monotonic(), False
after = float(os.environ.get("SICK_AFTER", "inf"))
if os.path.exists(os.environ.get("DIE_IF", "")):
    sys.exit(3)
while os.path.exists(os.environ.get("WAIT_IF", "")):
    time.sleep(0.05)


class Agent(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global sick
        if self.path == "/sicken":
            sick = True
        if self.path == "/die":
            os._exit(7)
        ill = sick or time.monotonic() - began > after
        self.send_response(500 if ill and self.path == "/healthz" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Agent).serve_forever()
"""
"""An agent that stays up and is ready, and answers its health check with 500 once it is asked to, or after a while."""
BODY = """\
  command: [python3, programs/agent.py]
  replicas: {replicas}
  env:
    - {{name: SICK_AFTER, value: "{sick_after}"}}
    - {{name: DIE_IF, value: "{die_if}"}}
    - {{name: WAIT_IF, value: "{wait_if}"}}
  ports: [{{name: http, port: 8080}}]
  probes: {{readiness: {{http: {{path: /ready, port: http}}, period: 1s}}}}
  health:
    interval: 1s
    failureThreshold: 2
    checks: [{{name: answers, connectivity: {{http: {{path: /healthz, port: http}}, timeout: 2s}}}}]
  recovery: {{ladder: [{ladder}], backoff: {{initial: 1s, factor: 2, max: 5m}}, attempts: {attempts}}}
  rollout: {{maxSurge: 1, maxUnavailable: 0, timeout: 60s, terminationGrace: 1s}}
"""


def patient(
    name: str = "triage",
    *,
    replicas: int = 1,
    sick_after: str = "inf",
    die_if: str = "/nowhere",
    wait_if: str = "/nowhere",
    ladder: str = "restart, rollback, quarantine",
    attempts: int = 3,
    more: str = "",
) -> str:
    body = BODY.format(
        replicas=replicas, sick_after=sick_after, die_if=die_if, wait_if=wait_if, ladder=ladder, attempts=attempts
    )
    return agent(name, body + more)


class Living:
    """A fleet, and the daemon that looks after it."""

    def __init__(self, repo: FleetRepo, world: Session, **settings: Any) -> None:
        self.repo, self.world = repo, world
        self.lines: list[dict[str, Any]] = []
        self.alerts: list[Alert] = []
        self.measures = Measures()
        self.stop = asyncio.Event()
        self.prober = world.prober()
        self.service = Service(
            world=world,
            settings=replace(Settings(poll_s=0.2, sweep_s=SWEEP_S), **settings),
            options=replace(OPTIONS, actor="daemon", holder="this daemon"),
            prober=self.prober,
            tell=Teller(clock=world.clock, write=lambda text: self.lines.append(json.loads(text)), as_json=True),
            measures=self.measures,
            jitter=lambda: 0.0,
            raise_=self.alerts.append,
        )

    def told(self, event: str, **facts: object) -> list[dict[str, Any]]:
        def holds(line: dict[str, Any]) -> bool:
            return line["event"] == event and all(line.get(key) == value for key, value in facts.items())

        return [line for line in self.lines if holds(line)]

    def remedies(self) -> list[tuple[str, str]]:
        return [(line["remedy"], line["outcome"]) for line in self.told("remedy-ended")]

    async def until(self, look: Callable[[], object], within_s: float = 90.0) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not look():  # noqa: ASYNC110 - what is waited for is another's doing, and sets no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError("\n".join(map(str, self.lines))) from None

    async def until_ready(self, name: str = "triage", count: int = 1) -> None:
        """Until so many pods are there, ready, and all answer as healthy, and what brought them up has ended."""
        await self.until(lambda: self.told("change-ended", agent=f"support/{name}"))
        async with asyncio.timeout(90):
            while not (len(await self.healthy(name)) == count == len(await self.pods(name))):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def pods(self, name: str = "triage") -> dict[str, JsonObject]:
        answer = await (await stores_of(self.world)).clusters["local"].observe(Scope(kinds=(("", "v1", "Pod"),)))
        assert isinstance(answer, Found)
        return {
            ref.name: live.body
            for ref, live in sorted(answer.value.objects.items())
            if live.metadata["labels"].get("agents.codevald.io/agent") == name
        }

    async def healthy(self, name: str = "triage") -> list[str]:
        pods = await self.pods(name)
        return [pod for pod, body in pods.items() if _is_ready(body) and await ask(body, "/healthz") == 200]

    async def record(self, name: str = "triage") -> Record:
        return await record(self.world, f"support/{name}")

    async def audit(self, name: str = "triage") -> list[str]:
        registry = (await stores_of(self.world)).registry
        facts = [entry.fact async for entry in registry.audit(name=AgentName(namespace="support", name=name))]
        return [fact.message for fact in facts if fact.action == "recover"]


def _is_ready(pod: JsonObject) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))


def pid_of(pod: JsonObject) -> int:
    found = re.match(r"process://(\d+)/", pod["status"]["containerStatuses"][0].get("containerID", ""))
    return int(found[1]) if found else 0


async def ask(pod: JsonObject, path: str) -> int:
    """The status that a pod's agent answers; 0 where it does not."""
    port = json.loads(pod["metadata"]["annotations"].get(PORTS_ANNOTATION, "{}")).get("8080")

    def get() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return int(error.code)
        except OSError:
            return 0

    return await asyncio.to_thread(get) if port else 0


@asynccontextmanager
async def living(folder: Path, files: dict[str, str], **settings: Any) -> AsyncIterator[Living]:
    """A daemon that looks after a new fleet of these files."""
    repo = FleetRepo(folder, PROCESSES)
    repo.commit({"programs/agent.py": PROGRAM, **files})
    try:
        async with await repo.session() as world, running(Living(repo, world, **settings)) as daemon:
            yield daemon
    finally:
        end_everything(repo.root / ".reconciler", repo.root)


@asynccontextmanager
async def running(daemon: Living) -> AsyncIterator[Living]:
    task = asyncio.create_task(daemon.service.run(daemon.stop))
    try:
        yield daemon
    finally:
        daemon.stop.set()
        await asyncio.wait_for(task, 60)
        await daemon.prober.close()


async def command(daemon: Living, *arguments: str) -> str:
    """What a command prints that somebody types beside the daemon."""

    def ran() -> str:
        line = [sys.executable, "-m", "reconciler.cli", *arguments]
        return subprocess.run(line, cwd=daemon.repo.root, capture_output=True, text=True, check=True).stdout

    return await asyncio.to_thread(ran)


def seconds_since(began: float) -> float:
    return time.monotonic() - began
