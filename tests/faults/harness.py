"""The fault harness: one commit applied on real stores, with something going wrong at one numbered call.

Method: Sieve (OSDI'22), Acto (SOSP'23). A reference run numbers the calls that cross the ports; each is then replayed
with each fault, passes follow until nothing is left to do, and oracles compare the end with the reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.journal import ref_of
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import compute_plan
from reconciler.engine.wellness import Noter
from reconciler.engine.world import Retry, Stores, World
from reconciler.model.errors import ReconcilerError
from reconciler.model.identity import AgentName
from reconciler.model.objects import AnyState, Found, Manifest, Scope
from reconciler.model.plan import Plan, Policy
from reconciler.model.registry import RegistrySnapshot
from reconciler.model.source import Revision
from tests.doubles.clock import FakeClock
from tests.doubles.faulty import Crash, Fault, Faults, FaultyCluster, FaultyRegistry, FaultySource, Ledger
from tests.doubles.never_ready import NeverReadyCluster
from tests.doubles.source import MemorySource
from tests.doubles.weather import Sky, WeatherCluster
from tests.doubles.world import GivenWorld, open_cluster, open_registry
from tests.faults.scenarios import Scenario

PASSES = 6
LEASE_OVER_S = 31.0
CLOCK_MS = 1_800_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a run ended: what is in the stores, without what differs from run to run, and what happened to objects."""

    objects: Any
    records: Any
    open_journal: int
    audit: str
    plan_changes: int
    passes: int
    created_twice: tuple[str, ...]
    deleted_twice: tuple[str, ...]
    calls: tuple[str, ...]


def prepare(scenario: Scenario, folder: Path) -> MemorySource:
    """Apply what stands before, without faults, into `folder`, and let happen what is told of it since; answers the
    repository with the change committed.
    """
    source = MemorySource()
    source.commit(scenario.before)

    async def work() -> None:
        async with Shelf(scenario.clusters, folder, CLOCK_MS) as stores:
            world = GivenWorld(source, stores.clock, stores.plain)
            await one_pass(world, "before")
            for chapter in scenario.since:
                source.commit(chapter.commit)
                stores.clock.advance(chapter.wait_s)
                stores.turn(chapter.away)
                await one_pass(world, "since")
            for body in scenario.theirs:
                manifest = Manifest(ref=ref_of(body), body=body, hash="", agent=AgentName.parse("some/body"))
                await stores.clusters[scenario.clusters[0]].apply(manifest, AnyState(), manager="kubectl")

    asyncio.run(work())
    source.commit(scenario.change)
    return source


def replay(
    scenario: Scenario, source: MemorySource, prepared: Path, folder: Path, *, at: int = 0, fault: Fault | None = None
) -> End:
    """Copy the prepared stores, apply the change with `fault` at call number `at`, and pass until quiet."""
    shutil.copytree(prepared, folder)
    try:
        return asyncio.run(_replay(scenario, source, folder, Faults(at, fault)))
    finally:
        shutil.rmtree(folder)


async def _replay(scenario: Scenario, source: MemorySource, folder: Path, faults: Faults) -> End:
    ledger = Ledger()
    now_ms = CLOCK_MS + scenario.lasts_ms
    async with Shelf(scenario.clusters, folder, now_ms) as stores:
        stores.turn(scenario.away)
        quiet_faults = Faults()
        old = Revision(commit=source.commits[-2], ref="main")
        faulty = GivenWorld(FaultySource(source, faults, old), stores.clock, stores.faulty(faults, ledger))
        with contextlib.suppress(Crash, ReconcilerError):
            await one_pass(faulty, "first")
        now_ms = stores.clock.now_ms()
    clock_ms = now_ms + round(LEASE_OVER_S * 1000)
    async with Shelf(scenario.clusters, folder, clock_ms) as stores:  # a new process
        stores.turn(scenario.away)
        world = GivenWorld(source, stores.clock, stores.faulty(quiet_faults, ledger))
        passes = 1
        while passes < PASSES and not await _quiet(world, stores.registry):
            with contextlib.suppress(ReconcilerError):
                await one_pass(world, f"pass {passes}")
            passes += 1
        return await _end(world, stores, ledger, faults, passes)


async def one_pass(world: World, holder: str) -> Plan:
    """Plan and apply once."""
    retry = Retry(jitter=lambda: 0.5)
    plan = await compute_plan(world, policy=Policy(), noter=Noter(actor="harness", retry=retry))
    options = ApplyOptions(actor="harness", holder=holder, retry=retry)
    async for _event in apply_plan(world, plan, options=options, stop=asyncio.Event()):
        pass
    return plan


async def _quiet(world: World, registry: SqliteRegistry) -> bool:
    plan = await compute_plan(world, policy=Policy())
    answer = await registry.snapshot()
    seen = isinstance(answer, Found) and answer.value.fleet is not None
    at = answer.value.fleet.commit if isinstance(answer, Found) and answer.value.fleet else ""
    return seen and at == plan.revision.commit and not plan.changes and not await registry.open_journal()


class Shelf:
    """Real stores on a folder, with a fake clock; an asynchronous context, so that they are closed."""

    def __init__(
        self, names: Sequence[str], folder: Path, now_ms: int, kind: type[NeverReadyCluster] = NeverReadyCluster
    ) -> None:
        self._names, self._folder, self._kind = names, folder, kind
        self.clock = FakeClock(now_ms)

    async def __aenter__(self) -> Self:
        self.registry = await open_registry(self._folder, self.clock)
        self.clusters = {
            name: WeatherCluster(open_cluster(self._kind, self._folder / name, name)) for name in self._names
        }
        self.plain = Stores(registry=self.registry, clusters=dict(self.clusters))
        return self

    async def __aexit__(self, *_error: object) -> None:
        for cluster in self.clusters.values():
            await cast("NeverReadyCluster", cluster.inner).close()
        await self.registry.close()

    def inner(self, name: str) -> NeverReadyCluster:
        """A cluster itself."""
        return cast("NeverReadyCluster", self.clusters[name].inner)

    def turn(self, away: Collection[str]) -> None:
        """Let some clusters be away, and the others be well."""
        for name, cluster in self.clusters.items():
            cluster.sky = Sky.AWAY if name in away else Sky.WELL

    def faulty(self, faults: Faults, ledger: Ledger) -> Stores:
        faulty = {name: FaultyCluster(cluster, faults, ledger) for name, cluster in self.clusters.items()}
        return Stores(registry=FaultyRegistry(self.registry, faults), clusters=dict(faulty))


async def _end(world: World, stores: Shelf, ledger: Ledger, faults: Faults, passes: int) -> End:
    plan = await compute_plan(world, policy=Policy())
    verdict = await stores.registry.verify_audit()
    objects, records = await state_of(stores)
    return End(
        objects=objects,
        records=records,
        open_journal=len(await stores.registry.open_journal()),
        audit=verdict.reason,
        plan_changes=len(plan.changes),
        passes=passes,
        created_twice=tuple(
            sorted(f"{ref} on {cluster}" for (cluster, ref), uids in ledger.created.items() if len(uids) > 1)
        ),
        deleted_twice=tuple(sorted({uid for uid in ledger.deleted if ledger.deleted.count(uid) > 1})),
        calls=tuple(faults.calls),
    )


async def state_of(stores: Shelf) -> tuple[Any, Any]:
    """Objects and records, without what differs from run to run."""
    answer = await stores.registry.snapshot()
    assert isinstance(answer, Found)
    objects: dict[str, Any] = {}
    held = set()
    for name, cluster in stores.clusters.items():
        live = await cluster.inner.observe(Scope())
        assert isinstance(live, Found)
        for ref, item in sorted(live.value.objects.items()):
            held.add((name, str(ref), item.uid))
            objects[f"{ref} on {name}"] = (
                {key: value for key, value in (item.body.get("spec") or {}).items() if not key.startswith("clusterIP")},
                item.body.get("data"),
                item.metadata.get("annotations"),
                item.metadata.get("labels"),
            )
    return objects, dict(_records(answer.value, held))


def _records(snapshot: RegistrySnapshot, held: set[tuple[str, str, str]]) -> Iterator[tuple[str, Any]]:
    for name, record in snapshot.records.items():
        owned = {(item.cluster, str(item.ref), item.uid) for item in record.inventory}
        assert owned <= held, f"{name} has objects on record that are not there: {owned - held}"
        yield (
            str(name),
            (
                record.state,
                record.spec_hash,
                record.placement,
                record.reservations,
                sorted((item.cluster, str(item.ref), item.hash) for item in record.inventory),
                (record.behind, record.home),
                record.quarantine.spec_hash if record.quarantine else "",
                record.good.spec_hash if record.good else "",
                record.message if record.quarantine is None else "",
            ),
        )
