"""The fault harness: one commit applied on real stores, with something going wrong at one numbered call.

Method: Sieve (OSDI'22), Acto (SOSP'23). A reference run numbers the calls that cross the ports; each is then replayed
with each fault, passes follow until nothing is left to do, and oracles compare the end with the reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.journal import ref_of
from reconciler.engine.passes import apply_plan
from reconciler.engine.reconcile import compute_plan
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
    """Apply what stands before, without faults, into `folder`; answers the repository with the change committed."""
    source = MemorySource()
    source.commit(scenario.before)

    async def work() -> None:
        async with _Stores(folder, CLOCK_MS) as stores:
            await _pass(GivenWorld(source, stores.clock, stores.plain), "before")
            for body in scenario.theirs:
                manifest = Manifest(ref=ref_of(body), body=body, hash="", agent=AgentName.parse("some/body"))
                await stores.cluster.apply(manifest, AnyState(), manager="kubectl")

    asyncio.run(work())
    source.commit(scenario.change)
    return source


def replay(source: MemorySource, prepared: Path, folder: Path, *, at: int = 0, fault: Fault | None = None) -> End:
    """Copy the prepared stores, apply the change with `fault` at call number `at`, and pass until quiet."""
    shutil.copytree(prepared, folder)
    try:
        return asyncio.run(_replay(source, folder, Faults(at, fault)))
    finally:
        shutil.rmtree(folder)


async def _replay(source: MemorySource, folder: Path, faults: Faults) -> End:
    ledger = Ledger()
    now_ms = CLOCK_MS + 60_000
    async with _Stores(folder, now_ms) as stores:
        quiet_faults = Faults()
        old = Revision(commit=source.commits[-2], ref="main")
        faulty = GivenWorld(FaultySource(source, faults, old), stores.clock, stores.faulty(faults, ledger))
        with contextlib.suppress(Crash, ReconcilerError):
            await _pass(faulty, "first")
        now_ms = stores.clock.now_ms()
    clock_ms = now_ms + round(LEASE_OVER_S * 1000)
    async with _Stores(folder, clock_ms) as stores:  # a new process
        world = GivenWorld(source, stores.clock, stores.faulty(quiet_faults, ledger))
        passes = 1
        while passes < PASSES and not await _quiet(world, stores.registry):
            with contextlib.suppress(ReconcilerError):
                await _pass(world, f"pass {passes}")
            passes += 1
        return await _end(world, stores, ledger, faults, passes)


async def _pass(world: World, holder: str) -> Plan:
    plan = await compute_plan(world, policy=Policy())
    options = ApplyOptions(actor="harness", holder=holder, retry=Retry(jitter=lambda: 0.5))
    async for _event in apply_plan(world, plan, options=options, stop=asyncio.Event()):
        pass
    return plan


async def _quiet(world: World, registry: SqliteRegistry) -> bool:
    plan = await compute_plan(world, policy=Policy())
    answer = await registry.snapshot()
    seen = isinstance(answer, Found) and answer.value.fleet is not None
    at = answer.value.fleet.commit if isinstance(answer, Found) and answer.value.fleet else ""
    return seen and at == plan.revision.commit and not plan.changes and not await registry.open_journal()


class _Stores:
    """Real stores on a folder, with a fake clock; an asynchronous context, so that they are closed."""

    def __init__(self, folder: Path, now_ms: int) -> None:
        self._folder = folder
        self.clock = FakeClock(now_ms)

    async def __aenter__(self) -> Self:
        self.registry = await open_registry(self._folder, self.clock)
        self.cluster = open_cluster(NeverReadyCluster, self._folder)
        self.plain = Stores(registry=self.registry, clusters={"local": self.cluster})
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.cluster.close()
        await self.registry.close()

    def faulty(self, faults: Faults, ledger: Ledger) -> Stores:
        cluster = FaultyCluster(self.cluster, faults, ledger)
        return Stores(registry=FaultyRegistry(self.registry, faults), clusters={"local": cluster})


async def _end(world: World, stores: _Stores, ledger: Ledger, faults: Faults, passes: int) -> End:
    plan = await compute_plan(world, policy=Policy())
    verdict = await stores.registry.verify_audit()
    objects, records = await _state(stores)
    return End(
        objects=objects,
        records=records,
        open_journal=len(await stores.registry.open_journal()),
        audit=verdict.reason,
        plan_changes=len(plan.changes),
        passes=passes,
        created_twice=tuple(sorted(str(ref) for ref, uids in ledger.created.items() if len(uids) > 1)),
        deleted_twice=tuple(sorted({uid for uid in ledger.deleted if ledger.deleted.count(uid) > 1})),
        calls=tuple(faults.calls),
    )


async def _state(stores: _Stores) -> tuple[Any, Any]:
    live = await stores.cluster.observe(Scope())
    answer = await stores.registry.snapshot()
    assert isinstance(live, Found)
    assert isinstance(answer, Found)
    objects = {
        str(ref): (
            {key: value for key, value in (item.body.get("spec") or {}).items() if not key.startswith("clusterIP")},
            item.body.get("data"),
            item.metadata.get("annotations"),
            item.metadata.get("labels"),
        )
        for ref, item in sorted(live.value.objects.items())
    }
    held = {(str(ref), item.uid) for ref, item in live.value.objects.items()}
    return objects, dict(_records(answer.value, held))


def _records(snapshot: RegistrySnapshot, held: set[tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    for name, record in snapshot.records.items():
        owned = {(str(item.ref), item.uid) for item in record.inventory}
        assert owned <= held, f"{name} has objects on record that are not there: {owned - held}"
        yield (
            str(name),
            (
                record.state,
                record.spec_hash,
                record.placement,
                record.reservations,
                sorted((str(item.ref), item.hash) for item in record.inventory),
                record.quarantine.spec_hash if record.quarantine else "",
                record.good.spec_hash if record.good else "",
                record.message if record.quarantine is None else "",
            ),
        )
