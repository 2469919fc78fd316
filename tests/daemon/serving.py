"""A daemon's HTTP interface on a free port, with a registry of its own and a daemon behind it that only says things."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.daemon.http import Inside, Listening, served
from reconciler.daemon.http.access import Callers, read_callers
from reconciler.daemon.http.limits import Limits
from reconciler.daemon.http.signatures import Secrets
from reconciler.daemon.loop import Mode
from reconciler.daemon.measures import Measures
from reconciler.daemon.telling import Teller
from reconciler.engine.world import Stores
from reconciler.model.fleet import Declaration
from reconciler.model.health import Assessment
from reconciler.model.identity import AgentName
from reconciler.model.plan import Plan
from reconciler.model.registry import FleetRecord, Record
from reconciler.spec import read_fleet
from tests.contracts.values import fact, record, revision, write
from tests.doubles.clock import ShiftedClock
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld, open_registry
from tests.engine.fleets import NOTHING, OPTIONS, agent

READER, WRITER = "reader-" + "r" * 30, "writer-" + "w" * 30
SECRET, OLD_SECRET = "a present secret of a webhook", "the secret that was before it"
MANY = Limits(rate=1e6, burst=1_000_000, connections=512, connections_each=512)
"""No client is slowed down: for tests that ask a lot and look at something else."""


def hashed(token: str) -> str:
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def callers() -> Callers:
    lines = f"rita read {hashed(READER)}\nwalt read,write {hashed(WRITER)}\ncert.example read,write certificate"
    return read_callers(lines, "test")


@dataclass(slots=True)
class Daemon:
    """What the interface sees, and what it asked for."""

    registry: SqliteRegistry
    world: GivenWorld
    clock: ShiftedClock
    measures: Measures = field(default_factory=Measures)
    address: str = ""
    why: str = ""
    mode: Mode = Mode.APPLY
    plan: Plan | None = None
    declared: Declaration | None = None
    assessed: dict[AgentName, Assessment] = field(default_factory=dict)
    fetched: int = 0
    alone: bool = True
    looked: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    scheme: str = "http"

    def inside(self) -> Inside:
        return Inside(
            world=self.world,
            measures=self.measures,
            tell=Teller(clock=self.clock, write=self.lines.append, as_json=True),
            options=replace(OPTIONS, holder="this daemon"),
            mode=self.mode,
            not_ready=lambda: self.why,
            leads=lambda: True,
            declared=lambda: self.declared,
            plan=lambda: self.plan,
            assessed=lambda: self.assessed,
            fetch=self._fetch,
            alone=lambda: self.alone,
            look=self.looked.append,
        )

    def _fetch(self) -> None:
        self.fetched += 1

    async def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        token: str = READER,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | None = None,
    ) -> tuple[int, Any]:
        """Status and JSON value or text."""
        status, body, _ = await self.whole(path, method, token=token, headers=headers, json=json, data=data)
        return status, body

    async def whole(
        self,
        path: str,
        method: str = "GET",
        *,
        token: str = READER,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        url = f"{self.scheme}://{self.address}{path}"
        async with (
            aiohttp.ClientSession() as client,
            client.request(method, url, headers=sent, json=json, data=io.BytesIO(data) if data else data) as answer,
        ):
            text = await answer.text()
            kind = answer.content_type
            value = (await answer.json(content_type=None)) if kind.endswith("json") and text else text
            return answer.status, value, answer.headers


async def open_daemon(folder: Path) -> Daemon:
    """A daemon whose registry holds three agents, of which two have a history."""
    clock = ShiftedClock()
    registry = await open_registry(folder, clock)
    source = MemorySource()
    source.commit({"fleet.yaml": NOTHING, "agents/support/triage.yaml": agent("triage")})
    daemon = Daemon(registry, GivenWorld(source, clock, Stores(registry=registry, clusters={})), clock)
    now = await source.revision("")
    daemon.declared = read_fleet(now, await source.blobs(now))
    await fill(registry)
    return daemon


def plain(name: str, **more: Any) -> Record:
    """A record of an agent that runs, with nothing special."""
    made = record(AgentName.parse(name))
    bare = replace(made, quarantine=None, override=None, good=None, behind=(), home="", inventory=(), protect=False)
    return replace(bare, **more)


async def fill(registry: SqliteRegistry) -> None:
    names = ("support/triage", "support/knowledge", "research/miner")
    records = [plain(name, labels={"team": name.partition("/")[0]}) for name in names]
    triage = AgentName.parse("support/triage")
    history = tuple(revision(number, triage, "ready") for number in (1, 2, 3))
    scaled = plain("research/scaled", labels={}, document={"autoscaling": {"min": 1, "max": 3}})
    await registry.commit(
        write(
            *records,
            scaled,
            fleet=FleetRecord(name="acme", version=1),
            revisions=history,
            audit=(fact("create", triage),),
        )
    )
    await registry.commit(write(audit=(fact("update", triage), fact("update", AgentName.parse("research/miner")))))


@asynccontextmanager
async def serving(
    daemon: Daemon, *, limits: Limits | None = None, known: Callers | None = None, **more: Any
) -> AsyncIterator[Daemon]:
    """Serve it while the block lasts."""
    chosen = known if known is not None else callers()
    listening = Listening(
        address="127.0.0.1:0",
        callers=lambda: chosen,
        secrets=lambda: Secrets(keys=(SECRET, OLD_SECRET)),
        limits=limits or Limits(),
    )
    async with served(replace(listening, **more), daemon.inside()) as daemon.address:
        yield daemon
