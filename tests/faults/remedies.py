"""The fault harness for remedies: one step of a ladder taken on real stores, with something going wrong at one call.

The same method as in harness: a reference run numbers the calls that a remedy makes through the ports; each is replayed
with each fault; what a daemon does anyhow follows (plan, apply, sweep, the next step) until nothing is left to do. Only
who is ill is said by the scenario, by the pods that are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from reconciler.daemon.measures import Measures
from reconciler.daemon.recovering import Recovering
from reconciler.daemon.sweeping import Swept
from reconciler.daemon.telling import Teller
from reconciler.engine.apply import ApplyOptions, locked
from reconciler.engine.reconcile import compute_plan
from reconciler.engine.run import Run
from reconciler.engine.sweep import Sweep
from reconciler.engine.world import Retry, Stores, World
from reconciler.model.agent import Dimension, Remedy
from reconciler.model.errors import ReconcilerError
from reconciler.model.events import ChangeFinished
from reconciler.model.fleet import Declaration
from reconciler.model.health import Assessment, CheckState, HealthState, HttpProbe, ProbeRequest
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState, Found, Precondition, Scope
from reconciler.model.plan import Policy
from reconciler.model.recovery import RecoveryState
from reconciler.model.registry import Record
from reconciler.spec import read_fleet
from tests.doubles.faulty import Crash, Fault, Faults, FaultySource, Ledger
from tests.doubles.pods_cluster import PodsCluster
from tests.doubles.prober import TableProber
from tests.doubles.source import MemorySource
from tests.doubles.world import GivenWorld
from tests.faults.harness import CLOCK_MS, LEASE_OVER_S, Shelf, one_pass
from tests.faults.scenarios import agent

NAME = AgentName.parse("support/triage")
FLEET = """\
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {{name: acme}}
spec: {{clusters: [{clusters}]}}
"""
CARE = """\
  health: {{failureThreshold: 1, checks: [{{name: answers, connectivity: {{http: {{path: /healthz, port: http}}}}}}]}}
  recovery: {{ladder: [{ladder}], attempts: {attempts}, backoff: {{initial: 1s, max: 1s}}}}
  placement: {{policy: failover, clusters: {{names: [{clusters}]}}}}
"""
ROUNDS = 12
SWEEP_S = 30.0
PODS, FAR = 20, 100
"""So many pods a process may see made on a cluster; numbers of pods tell processes, clusters and images apart."""


class Living(PodsCluster):
    """Pods follow their Deployment: those of another image are replaced, and those of one that is gone go."""

    def begin(self, first: int) -> None:
        """Number the pods that are made from now on."""
        self.made = first

    def _apply(self, ref: ObjectRef, body: dict[str, Any], **options: Any) -> Any:
        applied = super()._apply(ref, body, **options)
        if ref.kind == "Deployment":
            for pod in self.of(ref.name):
                if image_of(pod) != image_of(applied["spec"]["template"]):
                    self._store.delete(_ref(pod), AnyState(), grace=False)
                    self.add(applied)
        return applied

    async def delete(self, ref: ObjectRef, expect: Precondition) -> None:
        await super().delete(ref, expect)
        if ref.kind == "Deployment":
            await self._call(self._end, ref.name)

    def _end(self, name: str) -> None:
        for pod in self.of(name):
            self._store.delete(_ref(pod), AnyState(), grace=False)

    async def pods(self) -> dict[int, str]:
        """Images by the numbers of pods."""
        found = await self._call(self.of, NAME.name)
        return {int(pod["metadata"]["name"].rpartition("-")[2]): image_of(pod) for pod in found}


def image_of(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def _ref(pod: dict[str, Any]) -> ObjectRef:
    meta = pod["metadata"]
    return ObjectRef(group="", kind="Pod", namespace=meta["namespace"], name=meta["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailment:
    """A remedy, and an agent that needs it: `sick` says of a cluster, a pod's number and its image whether it is."""

    remedy: Remedy
    ladder: str
    attempts: int
    sick: Callable[[str, int, str], bool]
    keeps: tuple[int, ...] = ()
    """The pods that are left as they are."""
    clusters: tuple[str, ...] = ("eu-1",)
    tags: tuple[str, ...] = ("1",)
    """Images that were rolled out, one after the other."""

    def file(self, tag: str) -> str:
        care = CARE.format(ladder=self.ladder, attempts=self.attempts, clusters=", ".join(self.clusters))
        return agent(NAME.name, tag=tag, replicas=3) + care

    @property
    def fleet(self) -> str:
        return FLEET.format(
            clusters=", ".join(f"{{name: {one}, embedded: {{run: processes}}}}" for one in self.clusters)
        )


AILMENTS = (
    Ailment(
        remedy=Remedy.RESTART, ladder="restart", attempts=4, keeps=(3,),
        sick=lambda _cluster, number, _image: number in {1, 2},
    ),
    Ailment(
        remedy=Remedy.RESCHEDULE, ladder="reschedule", attempts=4, clusters=("eu-1", "us-1"),
        sick=lambda cluster, _number, _image: cluster == "eu-1",
    ),
    Ailment(
        remedy=Remedy.ROLLBACK, ladder="rollback, quarantine", attempts=2, tags=("1", "2"),
        sick=lambda _cluster, _number, image: image.endswith(":2"),
    ),
    Ailment(remedy=Remedy.QUARANTINE, ladder="quarantine", attempts=1, keeps=(1, 2, 3), sick=lambda *_: True),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How it ended. `agent` is what is on record without what differs from run to run, `objects` what is there."""

    settled: bool
    agent: Any
    objects: Any
    sick: int
    turns: int
    """How often the specs of Deployments were written."""
    kept: tuple[int, ...]
    """Pods that were there when it fell ill, and are still."""
    taken: int
    open_journal: int
    audit: str
    deleted: tuple[str, ...]
    calls: tuple[str, ...]


class Daemon:
    """What a daemon does for one agent: implements what Recovering asks of Acting, with work done at once."""

    def __init__(self, case: Case, shelf: Shelf, world: World, stores: Stores) -> None:
        self.ailment, self.shelf, self.world, self.stores = case.ailment, shelf, world, stores
        self.declared = case.declared
        self.busy: frozenset[AgentName] = frozenset()
        self.options = ApplyOptions(actor="harness", holder="daemon", retry=Retry(jitter=lambda: 0.5))
        self.recovering = Recovering(
            world=world, prober=TableProber(self._answer), measures=Measures(), acting=cast(Any, self),
            tell=Teller(clock=shelf.clock, write=lambda _text: None), raise_=lambda _alert: None,
            chance=lambda: 0.0, _looks={NAME: 9},
        )  # fmt: skip
        self._images: dict[int, tuple[str, str]] = {}

    async def beside(
        self,
        _stores: Stores,
        fleet: str,
        _name: AgentName,
        _hash: str,
        work: Callable[[Run], Awaitable[ChangeFinished]],
    ) -> bool:
        """See Acting."""
        async with locked(
            self.stores, self.shelf.clock, fleet=fleet, commit="", options=self.options, stop=asyncio.Event(),
            emit=lambda _event: None,
        ) as run:  # fmt: skip
            await work(run)
        return True

    def _answer(self, request: ProbeRequest) -> str:
        assert isinstance(request, HttpProbe)
        cluster, image = self._images[int(request.host.rpartition(".")[2])]
        return "HTTP 500" if self.ailment.sick(cluster, int(request.host.rpartition(".")[2]), image) else ""

    async def sick(self) -> int:
        """How many pods are."""
        self._images = {
            number: (name, image)
            for name in self.ailment.clusters
            for number, image in (await cast("Living", self.shelf.inner(name)).pods()).items()
        }
        return sum(self.ailment.sick(name, number, image) for number, (name, image) in self._images.items())

    def first_pods(self) -> tuple[int, ...]:
        """The numbers of those, seen last, that were made before it fell ill."""
        return tuple(sorted(number for number in self._images if number % FAR <= PODS))

    async def record(self) -> Record:
        found = await self.shelf.registry.get(NAME)
        assert isinstance(found, Found)
        return found.value

    async def sweep(self) -> None:
        """Look at the agent, and take the step that follows. Raises what crosses the ports."""
        self.shelf.clock.advance(SWEEP_S)
        now, ill = self.shelf.clock.now_ms(), bool(await self.sick())
        state = HealthState.UNHEALTHY if ill else HealthState.HEALTHY
        check = CheckState(
            name="answers", dimension=Dimension.CONNECTIVITY, state=state, text="it does not answer",
            failures=int(ill), successes=int(not ill), since_ms=now,
        )  # fmt: skip
        one = Assessment(
            agent=NAME, at_ms=now, state=state, is_healthy=not ill, requires_recovery=ill, critical=ill, checks=(check,)
        )
        answer = await self.shelf.registry.snapshot()
        assert isinstance(answer, Found)
        swept = Swept(
            declared=self.declared, stores=self.stores,
            records=answer.value.records, found=Sweep(assessments={NAME: one}, assessed=frozenset({NAME})), before={},
            fleet=answer.value.fleet,
        )  # fmt: skip
        await self.recovering.heard(swept)
        await self.recovering._step(swept)

    async def settled(self) -> bool:
        """Whether nothing is left to do for it: it is well, or left to people, and the plan is empty."""
        state = (await self.record()).recovery or RecoveryState(spec_hash="")
        if not (state.left or state.well_ms) or await self.shelf.registry.open_journal():
            return False
        return not (await compute_plan(self.world, policy=Policy())).changes


@dataclass(slots=True)
class Case:
    """One ailment, prepared in a folder: the agent runs, and falls ill."""

    ailment: Ailment
    folder: Path
    source: MemorySource = field(default_factory=MemorySource)
    declared: Declaration = field(init=False)

    def prepare(self) -> None:
        """Bring the agent up."""
        self.source.commit({"fleet.yaml": self.ailment.fleet})
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        async with self._shelf(self.folder, CLOCK_MS, phase=0) as shelf:
            world = GivenWorld(self.source, shelf.clock, shelf.plain)
            for tag in self.ailment.tags:
                self.source.commit({"agents/triage.yaml": self.ailment.file(tag)})
                await one_pass(world, "before")
            now = await self.source.revision("")
            self.declared = read_fleet(now, await self.source.blobs(now))

    def _shelf(self, folder: Path, now_ms: int, phase: int) -> _Numbered:
        return _Numbered(self.ailment.clusters, folder, now_ms, phase)

    def replay(self, folder: Path, *, at: int = 0, fault: Fault | None = None) -> End:
        """Copy what was prepared, take the step with `fault` at call number `at`, and go on until it is settled."""
        shutil.copytree(self.folder, folder)
        try:
            return asyncio.run(self._replay(folder, Faults(at, fault)))
        finally:
            shutil.rmtree(folder)

    async def _replay(self, folder: Path, faults: Faults) -> End:
        ledger = Ledger()
        async with self._shelf(folder, CLOCK_MS + 60_000, phase=1) as shelf:
            stores = shelf.faulty(faults, ledger)
            world = GivenWorld(FaultySource(self.source, faults, await self.source.revision("")), shelf.clock, stores)
            with contextlib.suppress(Crash, ReconcilerError):
                await Daemon(self, shelf, world, stores).sweep()
            now_ms = shelf.clock.now_ms()
        async with self._shelf(folder, now_ms + round(LEASE_OVER_S * 1000), phase=2) as shelf:  # a new process
            stores = shelf.faulty(Faults(), ledger)
            daemon = Daemon(self, shelf, GivenWorld(self.source, shelf.clock, stores), stores)
            rounds = 0
            while rounds < ROUNDS and not await daemon.settled():
                await one_pass(daemon.world, "daemon")
                await daemon.sweep()
                rounds += 1
            return await _end(daemon, ledger, faults, settled=rounds < ROUNDS)


class _Numbered(Shelf):
    """Stores whose pods have other numbers in each process and on each cluster."""

    def __init__(self, names: tuple[str, ...], folder: Path, now_ms: int, phase: int) -> None:
        super().__init__(names, folder, now_ms, Living)
        self._phase = phase

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        for index, name in enumerate(self.clusters):
            cast("Living", self.inner(name)).begin(FAR * index + PODS * self._phase)
        return self


async def _end(daemon: Daemon, ledger: Ledger, faults: Faults, *, settled: bool) -> End:
    record, registry = await daemon.record(), daemon.shelf.registry
    objects = await _objects(daemon.shelf)
    state = record.recovery or RecoveryState(spec_hash="")
    return End(
        settled=settled,
        agent=(
            record.state, record.spec_hash, record.placement, record.reservations,
            sorted((item.cluster, str(item.ref), item.hash) for item in record.inventory),
            record.quarantine.spec_hash if record.quarantine else "", record.good.spec_hash if record.good else "",
            state.left, state.avoid,
        ),
        objects=objects,
        turns=sum(turns for _spec, _data, turns in objects.values()),
        sick=await daemon.sick(),
        kept=daemon.first_pods(),
        taken=len(state.taken),
        open_journal=len(await registry.open_journal()),
        audit=(await registry.verify_audit()).reason,
        deleted=tuple(ledger.deleted),
        calls=tuple(faults.calls),
    )  # fmt: skip


async def _objects(shelf: Shelf) -> dict[str, tuple[Any, Any, int]]:
    """What is on the clusters, and how often the spec of each Deployment was changed."""
    found = {}
    for name in shelf.clusters:
        live = await shelf.inner(name).observe(Scope())
        assert isinstance(live, Found)
        for ref, item in live.value.objects.items():
            spec = {key: value for key, value in (item.body.get("spec") or {}).items() if key != "clusterIPs"}
            spec.pop("clusterIP", None)
            turns = int(item.metadata["generation"]) if ref.kind == "Deployment" else 0
            found[f"{ref} on {name}"] = (spec, item.body.get("data"), turns)
    return found
