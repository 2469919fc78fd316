"""Fleets for tests of the engine: a Git repository in a temporary folder, changed by commits, and its session."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path

from reconciler.bootstrap import Session, find_fleet, open_fleet
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import compute_plan
from reconciler.engine.world import Retry, World
from reconciler.model.events import ApplyEvent, ApplyFinished, ChangeFinished
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.plan import Plan, Policy
from reconciler.model.registry import Record, RegistrySnapshot
from reconciler.ports import Clock

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
NOTHING = """\
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec:
  clusters:
    - {name: local, embedded: {run: nothing}}
"""
PROCESSES = NOTHING.replace("run: nothing", "run: processes")
OPTIONS = ApplyOptions(actor="tester", holder="tester (a test)", retry=Retry(jitter=lambda: 0.0))


def agent(name: str, body: str = "", *, namespace: str = "support", image: str = "acme/agent:1") -> str:
    """An agent's file; `body` is further YAML below `spec`, indented by two."""
    return (
        "apiVersion: agents.codevald.io/v1\nkind: Agent\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  description: {name}\n  image: {image}\n{body}"
    )


class FleetRepo:
    """A repository with a fleet, and what can be done to it."""

    def __init__(self, root: Path, fleet: str = NOTHING) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run([*GIT, "init", "-q", "-b", "main"], cwd=root, check=True)
        self.commit({"fleet.yaml": fleet, ".gitignore": ".reconciler/\n"})

    def commit(self, files: Mapping[str, str | None]) -> None:
        """Write files (None deletes one) and commit them."""
        for path, text in files.items():
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                target.unlink()
            else:
                target.write_text(text)
        subprocess.run(["git", "add", "-A"], cwd=self.root, check=True)
        subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "change"], cwd=self.root, check=True)

    def rewind(self) -> None:
        """Take the last commit off the branch, as a force-push does."""
        subprocess.run(["git", "reset", "-q", "--hard", "HEAD~1"], cwd=self.root, check=True)

    async def session(self, clock: Clock | None = None) -> Session:
        return await open_fleet(find_fleet(self.root), clock=clock)


async def plan_of(world: World, policy: Policy | None = None) -> Plan:
    return await compute_plan(world, policy=policy or Policy())


async def applied(
    world: World,
    plan: Plan | None = None,
    *,
    options: ApplyOptions = OPTIONS,
    stop: asyncio.Event | None = None,
    policy: Policy | None = None,
) -> list[ApplyEvent]:
    """Plan, where no plan is given, apply, and answer all events."""
    made = plan if plan is not None else await plan_of(world, policy)
    return [event async for event in apply_plan(world, made, options=options, stop=stop or asyncio.Event())]


def finished(events: list[ApplyEvent]) -> dict[str, ChangeFinished]:
    return {str(event.agent): event for event in events if isinstance(event, ChangeFinished)}


def end(events: list[ApplyEvent]) -> ApplyFinished:
    last = events[-1]
    assert isinstance(last, ApplyFinished)
    return last


async def snapshot(world: World) -> RegistrySnapshot:
    declaration_fleet = (await _fleet(world)).fleet
    assert declaration_fleet is not None
    answer = await (await world.stores(declaration_fleet)).registry.snapshot()
    assert isinstance(answer, Found)
    return answer.value


async def _fleet(world: World):
    from reconciler.spec import read_fleet

    revision = await world.source.revision("")
    return read_fleet(revision, await world.source.blobs(revision))


async def stores_of(world: World):
    fleet = (await _fleet(world)).fleet
    assert fleet is not None
    return await world.stores(fleet)


async def record(world: World, name: str) -> Record:
    return (await snapshot(world)).records[AgentName.parse(name)]
