"""A simulated cluster: the embedded cluster's real store and controllers, and a kubelet that only says what pods do.

What a pod does is told by its image: see `Program`. It takes simulated time to start, to become ready and to end.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from reconciler.adapters.embedded import storage_sql
from reconciler.adapters.embedded.capacity import MACHINE_NODE, unlimited_capacity
from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.adapters.embedded.controllers import loop as controllers
from reconciler.adapters.embedded.controllers.view import View
from reconciler.adapters.embedded.kubelet.container import WELL_SECONDS, backoff
from reconciler.adapters.embedded.kubelet.status import ContainerFacts, pod_status, waiting
from reconciler.adapters.embedded.storage_sql import Database
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.adapters.embedded.times import stamp
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import Capacity, Found, Observation, Scope
from tests.doubles.simulated_time import SimulatedClock

P = ParamSpec("P")
R = TypeVar("R")
Body = dict[str, Any]
KUBELET = "kubelet"


class Program(StrEnum):
    """What a container does, as a word in its image's tag."""

    WELL = "well"
    CRASHES = "crashes"
    """It ends a second after it was started, each time."""
    UNREADY = "unready"
    """It runs, and never becomes ready."""
    MISSING = "missing"
    """There is no such image."""
    SICK = "sick"
    """It runs and is ready, and never answers who asks it how it is."""

    @classmethod
    def of(cls, image: str) -> Program:
        return next((program for program in cls if program in image.rpartition(":")[2]), cls.WELL)


class _InPlace:
    """Calls that would be a thread's, made at once."""

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    def close(self) -> None:
        pass


def _in_memory() -> Database:
    """A store's database that no other process opens: what an API server keeps is not lost when a client dies."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    storage_sql._prepare(connection, Path(":memory:"))
    return Database(Path(":memory:"), connection)


class SimulatedCluster(EmbeddedCluster):
    """Implements ports.Cluster. `nodes` plays everything that acts in it."""

    def __init__(self, name: str, clock: SimulatedClock, chance: random.Random, *, network: str = "10.0") -> None:
        database = _in_memory()
        self.store = ObjectStore(database, clock=clock.seconds)
        with database.write():
            for namespace in ("default", "kube-system"):
                self.store._ensure_namespace(namespace)
        super().__init__(
            name,
            Path(name),
            store=self.store,
            watcher=database,
            run="processes",
            ensure_supervisor=lambda _folder: None,
        )
        self._lane = _InPlace()  # type: ignore[assignment]
        self._watched = True
        self.no_nodes = False
        self.nodes = SimulatedNodes(self.store, clock, chance, network=network)
        self._news = asyncio.Event()
        self.nodes.wrote = self.written

    def written(self) -> None:
        """Somebody wrote: who watches is told, and controllers look."""
        self._news.set()
        self._news = asyncio.Event()
        self.nodes.news.set()

    async def capacity(self) -> Observation[Capacity]:
        return Found(Capacity(nodes=(), resting=0) if self.no_nodes else unlimited_capacity())

    def hand(self, work: Callable[[ObjectStore], None]) -> None:
        """What somebody does with kubectl."""
        work(self.store)
        self.written()

    async def _changes(self, scope: Scope, since: int) -> AsyncGenerator[ObjectRef, None]:
        kinds = {(group, kind) for group, _, kind in scope.kinds}
        while True:
            news = self._news
            events = self.store.events(since, 1000)
            for ref in dict.fromkeys(event.ref for event in events):
                if (ref.group, ref.kind) in kinds:
                    yield ref
            if events:
                since = events[-1].resource_version
            else:
                await news.wait()

    async def _supervise(self, ref: ObjectRef) -> None:
        pass

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        before = self.nodes.writes()
        try:
            return function(*args, **kwargs)
        finally:
            if self.nodes.writes() != before:
                self.written()


@dataclass(slots=True)
class _Life:
    """One pod's container, and when something happens to it next (simulated monotonic time; None: nothing)."""

    program: Program
    facts: ContainerFacts
    due: float | None
    then: Callable[[float], None] = lambda _now: None
    began: float = 0.0
    failures: int = 0
    ending: bool = False
    dirty: bool = True
    address: str = ""
    hangs: bool = False
    """It runs, and answers nobody."""


@dataclass(slots=True)
class SimulatedNodes:
    """Controllers and kubelet of one cluster, one pass whenever something was written or a moment has come."""

    store: ObjectStore
    clock: SimulatedClock
    chance: random.Random
    wrote: Callable[[], None] = lambda: None
    slow: float = 1.0
    """How much longer than usual pods take."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    created: list[tuple[float, ObjectRef]] = field(default_factory=list)
    """Pods that came to be, and when."""
    network: str = "10.0"
    """What all addresses of its pods begin with."""
    _lives: dict[ObjectRef, tuple[str, _Life]] = field(default_factory=dict)
    _view: View = field(default_factory=View)
    _controllers: controllers.Controllers | None = None
    _addresses: int = 0

    async def run(self) -> None:
        """Until cancelled."""
        self._controllers = controllers.Controllers(self.store, self._view, clock=self.clock.seconds)
        while True:
            self.news.clear()
            before = self.writes()
            changed, pause = self._controllers.run()
            for ref in sorted(changed):
                if ref.kind == "Pod":
                    self._look_at(ref)
            due = self._act()
            if self.writes() != before:
                self.wrote()
                await asyncio.sleep(self.chance.uniform(0.05, 0.4))
                continue
            try:
                async with asyncio.timeout(max(0.001, min(pause, due))):
                    await self.news.wait()
            except TimeoutError:
                continue

    def writes(self) -> int:
        """Grows with each write; cheaper to ask than the store's version."""
        return self.store._db._connection.total_changes

    def pods(self) -> list[ObjectRef]:
        """Pods whose process runs."""
        return sorted(ref for ref, (_uid, life) in self._lives.items() if "running" in life.facts.state)

    def crash(self, ref: ObjectRef) -> None:
        """The process of a pod ends with SIGKILL."""
        self._ended(self._lives[ref][1], self.clock.monotonic(), 137)
        self.news.set()

    def hang(self, ref: ObjectRef, *, hangs: bool) -> None:
        """The process of a pod answers nobody any more, or does again."""
        if ref in self._lives:
            self._lives[ref][1].hangs = hangs

    def answers(self, address: str) -> bool:
        """Whether who listens at an address answers."""
        lives = (life for _uid, life in self._lives.values() if life.address == address)
        return any(
            "running" in life.facts.state and not life.hangs and life.program is not Program.SICK for life in lives
        )

    def hanging(self) -> list[ObjectRef]:
        """Pods that answer nobody."""
        return sorted(ref for ref, (_uid, life) in self._lives.items() if life.hangs)

    def _look_at(self, ref: ObjectRef) -> None:
        body = self._view.get(ref)
        known = self._lives.get(ref)
        if known is not None and (body is None or body["metadata"]["uid"] != known[0]):
            del self._lives[ref]
            known = None
        if body is None:
            return
        now = self.clock.monotonic()
        if known is None:
            known = self._lives[ref] = body["metadata"]["uid"], self._born(body, now)
            self.created.append((now, ref))
        life = known[1]
        if body["metadata"].get("deletionTimestamp") and not life.ending:
            life.ending, life.dirty = True, True
            life.due = now + self.chance.uniform(0.1, 2.0)

    def _born(self, body: Body, now: float) -> _Life:
        spec = body["spec"]["containers"][0]
        life = _Life(Program.of(spec["image"]), ContainerFacts(name=spec["name"], image=spec["image"]), None)
        self._addresses += 1
        life.address = f"{self.network}.{self._addresses // 250 % 250}.{self._addresses % 250}"
        self._at(life, now + self.chance.uniform(0.2, 2.0) * self.slow, lambda at: self._started(life, at))
        return life

    def _at(self, life: _Life, due: float | None, then: Callable[[float], None] = lambda _now: None) -> None:
        life.due, life.then, life.dirty = due, then, True

    def _started(self, life: _Life, now: float) -> None:
        if life.program is Program.MISSING:
            life.facts.state = waiting("ImagePullBackOff", "there is no such image")
            return self._at(life, None)
        life.began = now
        life.facts.state = {"running": {"startedAt": stamp(self.clock.seconds())}}
        life.facts.started = True
        match life.program:
            case Program.CRASHES:
                return self._at(life, now + 1.0, lambda at: self._ended(life, at, 1))
            case Program.UNREADY:
                return self._at(life, None)
            case _:
                later = now + self.chance.uniform(0.3, 2.0) * self.slow
                return self._at(life, later, lambda _at: self._ready(life))

    def _ready(self, life: _Life) -> None:
        life.facts.ready = True
        self._at(life, None)

    def _ended(self, life: _Life, now: float, code: int) -> None:
        life.hangs = False
        end = {"exitCode": code, "reason": "Error", "finishedAt": stamp(self.clock.seconds())}
        life.facts.ready = life.facts.started = False
        life.facts.last = {"terminated": end}
        life.failures = 1 if now - life.began > WELL_SECONDS else life.failures + 1
        pause = backoff(life.failures)
        life.facts.state = waiting("CrashLoopBackOff", f"back-off {pause:g}s") if pause else {"terminated": end}
        self._at(life, now + max(pause, 0.2), lambda at: self._restarted(life, at))

    def _restarted(self, life: _Life, now: float) -> None:
        life.facts.restarts += 1
        self._started(life, now)

    def _act(self) -> float:
        """Do what is due, write what changed, and answer in how many seconds more is due."""
        now = self.clock.monotonic()
        for ref, (uid, life) in sorted(self._lives.items()):
            if life.due is not None and life.due <= now + 1e-6:
                if life.ending:
                    life.due, life.dirty = None, False
                    self.store.remove(ref, uid)
                    continue
                life.then(now)
            if life.dirty:
                life.dirty = False
                self._write(ref, uid, life)
        return min((life.due - now for _uid, life in self._lives.values() if life.due is not None), default=3600.0)

    def _write(self, ref: ObjectRef, uid: str, life: _Life) -> None:
        live = self.store.get(ref)
        if live is None or live["metadata"]["uid"] != uid:
            return
        if not live["spec"].get("nodeName"):
            live["spec"]["nodeName"] = MACHINE_NODE
            live = self.store.update(live, manager=KUBELET)
        status = pod_status(live, [life.facts], [], terminating=life.ending, message="", now=self.clock.seconds())
        status |= {"podIP": life.address, "podIPs": [{"ip": life.address}]}
        self.store.patch_status(ref, status, manager=KUBELET, uid=uid)
