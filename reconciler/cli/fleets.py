"""The fleet that a command works on: found from a folder, read, and opened. All that commands know of bootstrap."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from reconciler.cli.command import invocation
from reconciler.cli.output import meant, note
from reconciler.cli.settings import Settings
from reconciler.model.agent import Agent
from reconciler.model.checks import Finding
from reconciler.model.errors import NothingCommitted, UsageError
from reconciler.model.events import ApplyEvent
from reconciler.model.fleet import ArangoRegistry, Declaration, FleetSpec, SqliteRegistry
from reconciler.model.identity import AgentName
from reconciler.model.objects import ClusterIdentity, Found, Observation, Unreadable
from reconciler.model.plan import Plan, Policy
from reconciler.model.registry import Record, RegistrySnapshot
from reconciler.ports import Clock, Cluster, Movable, Registry

if TYPE_CHECKING:
    from reconciler.bootstrap import FleetLocation
    from reconciler.bootstrap import Session as World
    from reconciler.engine.apply import ApplyOptions
    from reconciler.engine.locks import ApplyLock
    from reconciler.engine.operate import Hand
    from reconciler.engine.reconcile import PlanningCache
    from reconciler.engine.sweep import Sweep
    from reconciler.engine.wellness import Noter
    from reconciler.engine.world import Stores

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What to plan: a ref (None: what is checked out), or the files as they are; and what the operator allows."""

    ref: str | None = None
    working_tree: bool = False
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        if self.ref is not None and self.working_tree:
            raise UsageError("--ref and --working-tree exclude each other")
        if self.ref is not None and (not self.ref.strip() or self.ref.startswith("-") or not self.ref.isprintable()):
            raise UsageError(f"{self.ref[:60]!r} is not a ref", hint="a commit, branch or tag, like main or 3f2c1ab")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyRequest:
    """How to apply: changes at once, seconds a rollout (None: as its agent says), seconds to wait for another apply.

    `spends` is the digest of the saved plan that this is, "" where it is none.
    """

    parallelism: int
    timeout: float | None
    lock_timeout: float
    spends: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings say."""
        return cls(
            parallelism=settings.number("parallelism"),
            timeout=settings.seconds("timeout"),
            lock_timeout=settings.seconds("lockTimeout") or 0.0,
        )

    def spending(self, digest: str) -> Self:
        """The same, for a saved plan that is used up by it."""
        return replace(self, spends=digest)


class Session:
    """A fleet that is open: its world, and what was read and planned of it in this run."""

    def __init__(self, world: World, cache: PlanningCache) -> None:
        self.world = world
        self.cache = cache

    @property
    def clock(self) -> Clock:
        return self.world.clock

    async def plan(self, request: PlanRequest, *, noting: bool = False) -> Plan:
        """Make a plan; `noting` writes down which clusters were found unwell, or well again.

        Raises what the source and the registry raise, and UsageError for an unknown target.
        """
        from reconciler.engine.reconcile import compute_plan

        noter = self._noter() if noting else None
        plan = await compute_plan(
            self.world, policy=request.policy, ref=request.ref or "", cache=self.cache, noter=noter
        )
        await self._known(request.policy, await self.declaration(request.ref))
        return plan

    async def _known(self, policy: Policy, declaration: Declaration) -> None:
        """Raises UsageError for a target or cluster that neither the files nor the registry know."""
        if declaration.fleet is None:
            return
        clusters = [cluster.name for cluster in declaration.fleet.clusters]
        for cluster in (*policy.clusters, *policy.accept_clusters):
            if cluster not in clusters:
                raise UsageError(f"no cluster {cluster} is declared", hint=f"there is: {', '.join(clusters)}")
        for cluster in policy.forget_clusters:
            if cluster in clusters:
                hint = "take it out of fleet.yaml and commit that first; what is there would be forgotten, not deleted"
                raise UsageError(f"cluster {cluster} is declared", hint=hint)
        known = {*declaration.agents, *declaration.frozen_agents}
        missing = [name for name in policy.targets if name not in known]
        if missing or policy.forget_clusters:
            answer = await (await self.stores()).registry.snapshot()
            if not isinstance(answer, Found):
                return  # the plan says that it cannot be read
            _check_on_record(policy.forget_clusters, answer.value)
            known |= set(answer.value.records)
        for name in missing:
            if name not in known:
                hint = meant(str(name), map(str, known), "`reconciler get agents` lists those on record")
                raise UsageError(f"no agent {name} is declared or on record", hint=hint)

    async def declaration(self, ref: str | None = None) -> Declaration:
        """What a revision declares. Raises SourceError."""
        from reconciler.engine.reconcile import declare

        return await declare(self.world, await self.world.source.revision(ref or ""), self.cache)

    async def stores(self) -> OpenStores:
        """Registry and clusters, as the fleet.yaml that is checked out says. Raises ReconcilerError."""
        declaration = self.cache.declaration or await self.declaration()
        if declaration.fleet is None:
            raise UsageError("fleet.yaml cannot be used", hint="`reconciler validate` says why")
        stores = await self.world.stores(declaration.fleet)
        return OpenStores(
            fleet=declaration.fleet, registry=stores.registry, clusters=stores.clusters, clock=self.clock, both=stores
        )

    async def apply(self, plan: Plan, request: ApplyRequest, stop: asyncio.Event) -> AsyncIterator[ApplyEvent]:
        """Do a plan; see engine.apply."""
        from reconciler.engine.apply import apply
        from reconciler.engine.reconcile import replanner

        options = self._options(request)
        stores = (await self.stores()).both
        replan = replanner(self.world, plan, self.cache)
        async for event in apply(plan, stores, self.clock, options=options, replan=replan, stop=stop):
            yield event

    def roll_back(
        self, name: AgentName, request: ApplyRequest, stop: asyncio.Event, *, to: int | None, reason: str
    ) -> AsyncIterator[ApplyEvent]:
        """Return one agent to an earlier revision; see engine.operate.rollback."""
        from reconciler.engine.operate import rollback

        return rollback(self.world, name, to=to, reason=reason, options=self._options(request), stop=stop)

    def _noter(self) -> Noter:
        from reconciler.engine.wellness import Noter

        return Noter(actor=whoami(), retry=self.world.retry)

    def _options(self, request: ApplyRequest) -> ApplyOptions:
        from reconciler.engine.apply import ApplyOptions

        return ApplyOptions(
            actor=whoami(),
            holder=holder_name(),
            parallelism=request.parallelism,
            timeout_s=request.timeout,
            lock_wait_s=request.lock_timeout,
            on_wait=note,
            retry=self.world.retry,
            spends=request.spends,
        )

    def hand(self, stores: OpenStores, actor: str) -> Hand:
        """Who writes wishes into records, and where."""
        from reconciler.engine.operate import Hand

        return Hand(registry=stores.registry, clock=self.clock, actor=actor, retry=self.world.retry)

    async def sweep(
        self, stores: OpenStores, agents: Mapping[AgentName, Agent], records: Mapping[AgentName, Record]
    ) -> Sweep:
        """Measure agents once, and write down which clusters were found unwell, or well again; see engine.sweep."""
        from reconciler.engine.sweep import note_sweep, sweep

        prober = self.world.prober()
        try:
            found = await sweep(stores.both, agents, prober, self.clock, previous={}, records=records, at_once=True)
        finally:
            await prober.close()
        await note_sweep(stores.both, found, self.clock, self._noter())
        return found

    async def examine_registry(self) -> list[Finding]:
        """What a look at the server of the registry finds; nothing for one in a file. Raises ReconcilerError."""
        return await self.world.examine_registry(await self._declared_registry())

    async def _declared_registry(self) -> SqliteRegistry | ArangoRegistry:
        declaration = self.cache.declaration or await self.declaration()
        if declaration.fleet is None:
            raise UsageError("fleet.yaml cannot be used", hint="`reconciler validate` says why")
        return declaration.fleet.registry

    async def keeper(
        self, declared: SqliteRegistry | ArangoRegistry | None = None, *, to_fill: bool = False
    ) -> Movable:
        """The fleet's registry, or another one that is declared; whoever takes it closes it."""
        declared = declared or await self._declared_registry()
        state_folder()
        return await self.world.open_registry(declared, to_fill=to_fill)

    def locked(self, registry: Registry, wait_s: float) -> AbstractAsyncContextManager[ApplyLock]:
        """Keep every apply away from a registry."""
        from reconciler.engine.locks import apply_lock

        return apply_lock(registry, self.clock, holder=holder_name(), wait_s=wait_s, on_wait=note)


def _check_on_record(clusters: Iterable[str], snapshot: RegistrySnapshot) -> None:
    """Raises UsageError for a cluster of which there is nothing to forget."""
    known = set(snapshot.fleet.cluster_uids if snapshot.fleet else ()) | set(snapshot.clusters)
    known |= {entry.cluster for record in snapshot.records.values() for entry in record.inventory}
    for cluster in clusters:
        if cluster not in known:
            hint = meant(cluster, known, f"on record are: {', '.join(sorted(known)) or 'none'}")
            raise UsageError(f"nothing is on record on a cluster {cluster}", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStores:
    """Where an open fleet lives. A cluster that cannot be opened is Unreadable."""

    fleet: FleetSpec
    registry: Registry
    clusters: Mapping[str, Cluster | Unreadable]
    clock: Clock
    both: Stores

    async def who(self, name: str) -> Observation[ClusterIdentity]:
        """Who a cluster is, if it says so soon."""
        from reconciler.engine.observe import ask_who

        cluster = self.clusters[name]
        return cluster if isinstance(cluster, Unreadable) else await ask_who(cluster, self.both.patience)

    async def refuse_spent(self, digest: str) -> None:
        """Raises UsageError when the saved plan with this digest was applied before."""
        answer = await self.registry.snapshot()
        fleet = answer.value.fleet if isinstance(answer, Found) else None
        if fleet is not None and digest in fleet.spent_plans:
            raise UsageError(
                "this plan has been applied already: a plan is spent once it is applied",
                hint="make a new one with `reconciler plan --out FILE`",
            )


def holder_name() -> str:
    """Who this process is where it holds a lease: nobody else may have this name, and in containers those of users,
    machines and processes are the same in several places.
    """
    import secrets

    return f"{whoami()}, process {os.getpid()}, {secrets.token_hex(4)}"


def whoami() -> str:
    """Who runs this, for the audit: user and machine."""
    import getpass
    import platform

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{platform.node() or 'unknown'}"


def locate() -> FleetLocation:
    """Where the fleet lies: found from where the command works, up to the Git root. Raises FleetNotFound."""
    from reconciler.bootstrap import find_fleet

    location = find_fleet(invocation().folder())
    invocation().state_folder = location.state_dir
    return location


@asynccontextmanager
async def opened(*, working_tree: bool | None = None) -> AsyncIterator[Session]:
    """The fleet, opened for one command: as it is committed, or with `working_tree` as its files are.

    Who says neither looks at what runs, or acts on it. What runs may come from files that were never committed, and
    must be reached then as well. Raises FleetNotFound, SourceError.
    """
    location = locate()
    from reconciler.bootstrap import open_fleet
    from reconciler.engine.reconcile import PlanningCache

    async with AsyncExitStack() as open_now:
        world = await open_now.enter_async_context(await open_fleet(location, working_tree=bool(working_tree)))
        session = Session(world, PlanningCache())
        if working_tree is None and not location.followed and not await _committed(session):
            note("Nothing of this fleet is committed: its files are read as they are.")
            world = await open_now.enter_async_context(await open_fleet(location, working_tree=True))
            session = Session(world, PlanningCache())
        yield session


async def _committed(session: Session) -> bool:
    """Whether the commit that is checked out has a fleet. Raises SourceError."""
    from reconciler.bootstrap import FLEET_FILE

    try:
        await session.declaration()
    except NothingCommitted:
        return False
    return FLEET_FILE in session.cache.spec.files


def run(work: Coroutine[object, object, T]) -> T:
    """Run one command's asynchronous work to its end."""
    return asyncio.run(work)


async def declared(request: PlanRequest) -> Declaration:
    """What a revision declares, without opening any store."""
    async with opened(working_tree=request.working_tree) as session:
        return await session.declaration(request.ref)


async def read_working_tree() -> Declaration:
    """What the files declare as they are, committed or not; nothing of the engine is needed for it."""
    return (await read_files())[0]


async def read_files() -> tuple[Declaration, frozenset[str]]:
    """As `read_working_tree`, with the paths of the files that were read for it."""
    from reconciler.bootstrap import open_fleet
    from reconciler.spec import SpecCache, read_fleet

    async with await open_fleet(locate(), working_tree=True) as world:
        revision = await world.source.revision("")
        cache = SpecCache()
        return read_fleet(revision, await world.source.blobs(revision), cache=cache), frozenset(cache.files)


def git_prefix(location: FleetLocation) -> str:
    """Where the fleet's folder lies in its repository; "" for the root, or without a repository."""
    if location.followed:
        return location.followed.fleet_dir
    return "" if location.root == location.git_root else location.root.relative_to(location.git_root).as_posix()


def state_folder() -> Path:
    """Where the state of the embedded parts lies, made if need be. Raises ReconcilerError."""
    from reconciler.bootstrap import made_state

    folder = locate().state_dir
    made_state(folder)
    return folder
