"""From a source to a plan: read, place, render, observe, compare. The stages are pure; this feeds them.

PlanningCache only saves work: each of its parts is keyed by what it was made of, and a plan with a warm cache equals
one with a cold cache.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from reconciler.engine.exports import Exports
from reconciler.engine.observe import Observed, observe
from reconciler.engine.run import Replanner
from reconciler.engine.wellness import Look, Noter, note
from reconciler.engine.world import Stores, World
from reconciler.model.agent import Agent
from reconciler.model.differing import differing
from reconciler.model.fleet import Declaration, FleetSpec
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Manifest, Scope, Unreadable
from reconciler.model.plan import Action, Change, Hold, Plan, Policy
from reconciler.model.registry import (
    ClusterHealth,
    ClusterState,
    FleetRecord,
    PlacedReplicas,
    Record,
    RegistrySnapshot,
)
from reconciler.model.source import Revision
from reconciler.placement import PlacementRequest, PlacementResult, place
from reconciler.placement.wellness import since
from reconciler.plan import PlanCache, PlanInput, guard, make_plan
from reconciler.render.render import Renderer
from reconciler.spec import SpecCache, read_fleet

IN_BULK = 100_000
"""New objects from which on the collector is spared them."""
Desired = Mapping[AgentName, Mapping[str, tuple[Manifest, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rendered:
    """What was rendered last, and of what."""

    agents: Mapping[AgentName, Agent]
    placed: Mapping[AgentName, tuple[PlacedReplicas, ...]]
    exports: Exports
    desired: Desired


@dataclass(slots=True)
class PlanningCache:
    """What one process remembers between plans of one fleet. Give the same one to every plan."""

    spec: SpecCache = field(default_factory=SpecCache)
    plan: PlanCache = field(default_factory=PlanCache)
    placed: PlacementResult | None = None
    renderer: Renderer | None = None
    rendered: _Rendered | None = None
    declaration: Declaration | None = None


async def compute_plan(
    world: World,
    *,
    policy: Policy,
    ref: str = "",
    cache: PlanningCache | None = None,
    leaving: frozenset[AgentName] = frozenset(),
    noter: Noter | None = None,
    at: Revision | None = None,
) -> Plan:
    """The plan that brings the fleet to what `ref` declares; "" is what the source says is current.

    `at` is the revision where the caller knows it: then nothing is asked of a source that may be away, as long as the
    cache has what it declares.
    `leaving` are agents that a plan under way deletes: they count to no quota, as those do not that this one deletes.
    `noter` writes down which clusters are found unwell, or well again; without one nothing is written.
    Raises SourceError when the source cannot be read, UsageError for a target that nobody knows, and ReconcilerError
    when the registry cannot be opened. Everything else is in the plan: what cannot be read, is invalid, or is held.
    """
    memory = cache if cache is not None else PlanningCache()
    revision = at if at is not None else await world.source.revision(ref)
    declaration = await declare(world, revision, memory)
    if declaration.fleet is None:
        return make_plan(_nothing_known(declaration, policy))
    stores = await world.stores(declaration.fleet)
    observed = await observe(stores, Scope())
    rewound = await _rewound(world, observed, revision)
    strangers = guard.strangers(observed.identities, _fleet_on_record(observed), policy.accept_clusters)
    clusters = await _wellness(world, stores, observed, strangers, noter)
    with collector_paused():
        return _Judged(
            declaration=declaration,
            fleet=declaration.fleet,
            observed=observed,
            strangers=strangers,
            clusters=clusters,
            policy=policy,
            rewound=rewound,
            now_ms=world.clock.now_ms(),
            memory=memory,
        ).plan(leaving)


async def declare(world: World, revision: Revision, cache: PlanningCache) -> Declaration:
    """What a revision declares. Raises SourceError."""
    known = cache.declaration
    if known is not None and known.revision == revision and not revision.working_tree:
        return known
    blobs = await world.source.blobs(revision)
    with collector_paused():
        cache.declaration = read_fleet(revision, blobs, cache=cache.spec)
    return cache.declaration


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """All that one plan is made of; the pure stages are run on it."""

    declaration: Declaration
    fleet: FleetSpec
    observed: Observed
    strangers: Mapping[str, str]
    clusters: Mapping[str, ClusterHealth]
    policy: Policy
    rewound: bool
    now_ms: int
    memory: PlanningCache

    def plan(self, leaving: frozenset[AgentName]) -> Plan:
        """Plan; where somebody has no room and somebody goes, plan again without those who go.

        Which agents go does not depend on where others are placed, so twice is enough, and a deletion that is held
        makes no room. Deletions come last: for a while a namespace has both, as during any rollout.
        """
        placed = self.memory.placed = self._place(leaving, self.memory.placed)
        plan = self._made(placed)
        going = frozenset(change.name for change in plan.changes if change.action is Action.DELETE)
        if not placed.holds or self.policy.destroy or going <= leaving:
            return plan
        return self._made(self._place(leaving | going, None))

    def _made(self, placed: PlacementResult) -> Plan:
        given = PlanInput(
            declaration=self.declaration,
            placed=placed.placed,
            reservations=placed.reservations,
            placement_holds=placed.holds,
            desired=self._rendered(placed),
            observations=self.observed.live,
            identities=self.observed.identities,
            registry=self.observed.registry,
            homes=placed.homes,
            clusters=self.clusters,
            policy=self.policy,
            rewound=self.rewound,
            now_ms=self.now_ms,
        )
        plan = make_plan(given, self.memory.plan)
        return replace(plan, on_record=_commit_on_record(self.observed))

    @property
    def _others(self) -> dict[str, Unreadable]:
        """What to take clusters for that are other ones than they were."""
        return {name: Unreadable(reason=text, refused=True) for name, text in self.strangers.items()}

    def _rendered(self, placed: PlacementResult) -> Desired:
        exports = Exports.by({**self.observed.identities, **self._others}, self.fleet.clusters)
        records = _records(self.observed)
        return _render(self.declaration.agents, self.fleet, placed, self.memory, exports, records)

    def _place(self, leaving: frozenset[AgentName], before: PlacementResult | None) -> PlacementResult:
        """Place all agents. A cluster that is another one than it was is as good as one that cannot be read."""
        others, live = self._others, self.observed.live
        request = PlacementRequest(
            agents=self.declaration.agents,
            clusters=self.fleet.clusters,
            capacities={**self.observed.capacities, **others},
            records=_records(self.observed),
            quotas=self.fleet.quotas,
            now_ms=self.now_ms,
            cluster_unwell_since_ms=since(self.clusters, ClusterState.UNWELL),
            cluster_well_since_ms=since(self.clusters, ClusterState.WELL),
            unreachable=frozenset(name for name in live if name in others or not isinstance(live[name], Found)),
            leaving=leaving,
        )
        if before is None:
            return place(request)
        then = before.request
        changed = {*differing(then.agents, request.agents), *differing(then.records, request.records)}
        return place(request, previous=before, changed=changed)


def _records(observed: Observed) -> Mapping[AgentName, Record]:
    match observed.registry:
        case Found(value=RegistrySnapshot() as snapshot):
            return snapshot.records
        case _:
            return {}


async def _wellness(
    world: World, stores: Stores, observed: Observed, strangers: Collection[str], noter: Noter | None
) -> Mapping[str, ClusterHealth]:
    """How clusters are by this look, written down where somebody does that."""
    registry = observed.registry
    before = registry.value.clusters if isinstance(registry, Found) else {}
    look = Look(before=before, sights=observed.clusters, strangers=strangers)
    if noter is None or not isinstance(registry, Found):
        return look.judged(world.clock.now_ms())
    return await note(stores.registry, look, world.clock, noter)


def _fleet_on_record(observed: Observed) -> FleetRecord | None:
    match observed.registry:
        case Found(value=RegistrySnapshot(fleet=fleet)):
            return fleet
        case _:
            return None


def _commit_on_record(observed: Observed) -> str:
    fleet = _fleet_on_record(observed)
    return fleet.commit if fleet is not None else ""


def _render(
    agents: Mapping[AgentName, Agent],
    fleet: FleetSpec,
    placed: PlacementResult,
    memory: PlanningCache,
    exports: Exports,
    records: Mapping[AgentName, Record],
) -> Desired:
    """Manifests of all that is placed. What neither changed nor moved since the last time is not even looked at."""
    renderer, before, where = memory.renderer, memory.rendered, placed.placed
    if renderer is None or renderer.fleet != fleet.name:
        renderer, before = Renderer(fleet.name), None
    names: Iterable[AgentName] = agents
    desired: dict[AgentName, Mapping[str, tuple[Manifest, ...]]] = {}
    if before is not None and before.exports == exports and not exports.unknown:
        names = {*differing(before.agents, agents), *differing(before.placed, where)}
        desired = dict(before.desired)
    for name in names:
        if name in agents and name in where:
            exported = exports.of(agents[name], where[name], records.get(name))
            desired[name] = renderer.render(agents[name], where[name], exported)
        else:
            desired.pop(name, None)
            renderer.forget(frozenset({name}))
    memory.renderer, memory.rendered = (
        renderer,
        _Rendered(agents=agents, placed=where, exports=exports, desired=desired),
    )
    return desired


async def _rewound(world: World, observed: Observed, revision: Revision) -> bool:
    """Whether the commit on record is no ancestor of this one: a force-push, or a checkout of something older."""
    known = _commit_on_record(observed)
    return known not in ("", revision.commit) and not await world.source.is_ancestor(Revision(commit=known), revision)


def _nothing_known(declaration: Declaration, policy: Policy) -> PlanInput:
    """Without a usable fleet.yaml nothing is known of clusters or registry: the plan holds the findings alone."""
    return PlanInput(
        declaration=declaration,
        placed={},
        reservations={},
        placement_holds=(),
        desired={},
        observations={},
        identities={},
        registry=Absent(),
        policy=policy,
    )


def replanner(world: World, plan: Plan, cache: PlanningCache | None = None) -> Replanner:
    """Plans single agents again, at the revision of `plan`. What `cache` says is declared and placed stays as it is:
    plans of newer commits may go on beside this.
    """
    memory = replace(cache) if cache is not None else PlanningCache()
    ref = "" if plan.revision.working_tree else plan.revision.commit
    leaving = frozenset(change.name for change in plan.changes if change.action is Action.DELETE)

    async def again(name: AgentName) -> Change | Hold | None:
        policy = Policy(
            targets=(name,),
            clusters=plan.policy.clusters,
            destroy=plan.policy.destroy,
            allow_empty=True,
            accept_rewind=plan.policy.accept_rewind,  # a newer commit that was applied since stands
            accept_clusters=plan.policy.accept_clusters,
            forget_clusters=plan.policy.forget_clusters,
            max_deletes=1,
            ignore_windows=True,  # what has begun goes on, though its window has closed meanwhile
        )
        fresh = await compute_plan(world, policy=policy, ref=ref, cache=memory, leaving=leaving)
        change = next((item for item in fresh.changes if item.name == name), None)
        held = next((item for item in fresh.holds if name in item.agents and item.blocks_exit), None)
        return change or held

    return again


async def open_stores(world: World, plan: Plan, cache: PlanningCache) -> Stores | None:
    """The stores of the fleet that a plan was made for; None when its fleet.yaml cannot be used."""
    ref = "" if plan.revision.working_tree else plan.revision.commit
    declaration = cache.declaration
    if declaration is None or declaration.revision != plan.revision:
        declaration = await declare(world, await world.source.revision(ref), cache)
    return await world.stores(declaration.fleet) if declaration.fleet else None


@contextmanager
def collector_paused() -> Iterator[None]:
    """Bulk work without the garbage collector: it makes many objects and no cycles.

    What was made in bulk is frozen, or the collector would walk all of it at once when it wakes. Frozen values are
    still freed when nothing refers to them.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            if gc.get_count()[0] > IN_BULK:
                gc.freeze()
            gc.enable()
