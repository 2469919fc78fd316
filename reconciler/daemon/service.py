"""A daemon as a whole: its standing, its triggers, its loop and its sweep, from start to SIGTERM."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from reconciler.daemon.acting import Acting
from reconciler.daemon.alarming import Alarming, Scope
from reconciler.daemon.calling import listen
from reconciler.daemon.current import Current
from reconciler.daemon.jobs import PRUNE_EVERY_S, PRUNE_WITHIN_S, Jobs, Pruning
from reconciler.daemon.loop import Loop, Mode
from reconciler.daemon.measures import Measures
from reconciler.daemon.nudge import Nudge
from reconciler.daemon.ours import Ours
from reconciler.daemon.probing import Counted
from reconciler.daemon.recovering import Recovering
from reconciler.daemon.sharding import Sharding
from reconciler.daemon.standing import Standing, either, unless
from reconciler.daemon.sweeping import Hears, Recalls, Sweeping, nothing_known
from reconciler.daemon.telling import Teller
from reconciler.daemon.triggers import RegistryFeed, SourceFeed, Timers, follow_cluster, keep_up
from reconciler.daemon.wakes import Backlog, Pace, Wakes
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.reconcile import PlanningCache, declare
from reconciler.engine.world import Stores, World
from reconciler.health.budgets import Limits
from reconciler.model.alert import Alert
from reconciler.model.errors import ReconcilerError, RegistryError
from reconciler.model.fleet import Declaration, SqliteRegistry
from reconciler.model.health import Assessment
from reconciler.model.identity import AgentName
from reconciler.model.objects import Unreadable
from reconciler.model.plan import Plan, Policy
from reconciler.ports import Cluster, Prober

REGISTRY_POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a daemon runs; times in seconds. `ref` is the branch to follow, "" for what is checked out or the default."""

    ref: str = ""
    mode: Mode = Mode.APPLY
    policy: Policy = field(default_factory=Policy)
    poll_s: float = 10.0
    resync_s: float = 60.0
    sweep_s: float | None = None
    """How often agents are swept, whatever they declare; None: as each declares."""
    limits: Limits = field(default_factory=Limits)
    """How many remedies there may be."""
    shards: int = 1
    """More than one: several daemons look after parts of the fleet; all of them have to be told the same."""
    shared_registry: bool = False
    """It is one of several on several machines: a registry in a file would be its own, and two would act."""
    keep_revisions_s: float | None = None
    """Revisions and lines of the feed that are older go from a registry that we look after; None: all are kept."""


async def _nothing(_stores: Stores) -> None:
    pass


def _unheard(_alert: Alert) -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Service:
    """One daemon. `ready` is called when it has come up: it can begin, or has told why not and tries again.

    `tidy` closes clusters that are not among given stores; it is called while nobody works with them, or waits.
    """

    world: World
    settings: Settings
    options: ApplyOptions
    prober: Prober
    tell: Teller
    measures: Measures
    jitter: Callable[[], float]
    ready: Callable[[], None] = lambda: None
    tidy: Callable[[Stores], Awaitable[None]] = _nothing
    heard: tuple[Hears, ...] = ()
    """Are told of every sweep while this daemon leads."""
    raise_: Callable[[Alert], None] = _unheard
    """Takes what people have to be told; must not wait."""
    recall: Recalls = nothing_known
    alarming: Alarming | None = None
    """Raises alerts while this daemon leads; one that only makes plans raises none."""
    standing: Standing | Sharding | None = None
    cache: PlanningCache = field(default_factory=PlanningCache)
    fetch: Nudge = field(default_factory=Nudge)
    """Has Git asked at once."""
    plan: Plan | None = None
    """The last one, while this daemon makes plans."""
    _wakes: Wakes = field(default_factory=Wakes)
    _sweeping: Sweeping | None = None
    _loop: Loop | None = None
    _followed: dict[str, tuple[Cluster, asyncio.Task[None]]] = field(default_factory=dict)

    @property
    def pace(self) -> Pace:
        return Pace(jitter=self.jitter)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set: then what is under way writes down where it is."""
        if self.alarming is not None and self.settings.mode is not Mode.PLAN_ONLY:
            self.alarming.keep = partial(self._kept, "alerts")
        try:
            await self._run(stop)
        finally:
            if self.alarming is not None:
                await self.alarming.close()

    async def _run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.standing = self._loop = None
            stores = await self._opened(stop)
            if stores is None:
                return
            self.ready()
            if self.settings.mode is Mode.PLAN_ONLY:  # it writes nothing, so it stands in nobody's way
                await self._watch(stores, stop)
                continue
            self.standing = self._standing(stores)
            if self.alarming is not None:
                self.standing.blind, self.standing.behind = self.alarming.registry, self.alarming.behind
            await self.standing.lead(partial(self._lead, stores), stop)

    def _standing(self, stores: Stores) -> Standing | Sharding:
        registry, clock, holder = stores.registry, self.world.clock, self.options.holder
        if self.settings.shards == 1:
            return Standing(registry=registry, clock=clock, holder=holder, tell=self.tell, changed=self.measures.leads)
        return Sharding(
            registry=registry, clock=clock, holder=holder, tell=self.tell, changed=self.measures.leads,
            count=self.settings.shards, counted=self.measures.shards,
            known=self.alarming.seats if self.alarming is not None else tuple,
        )  # fmt: skip

    def not_ready(self) -> str:
        """Why this daemon does not do its work now; "" when it stands by, or makes plans."""
        if self._loop is not None:
            return self._loop.trouble
        return "the fleet or its registry cannot be opened" if self.standing is None else ""

    @property
    def alone(self) -> bool:
        """Whether no other daemon looks after agents of this fleet, or this one does nothing but plan."""
        leads = self.standing is not None and self.standing.leads and self.settings.shards == 1
        return leads or self.settings.mode is Mode.PLAN_ONLY

    @property
    def assessed(self) -> Mapping[AgentName, Assessment]:
        """What the last sweep found, while this daemon sweeps."""
        return self._sweeping.found if self._sweeping is not None else {}

    def look(self, reason: str) -> None:
        """Have the loop look again."""
        self._wakes.wake(reason)

    async def _opened(self, stop: asyncio.Event) -> Stores | None:
        """Where the fleet lives. Tried again until it can be told; None when asked to stop before."""
        failures = 0
        while not stop.is_set():
            try:
                declared = await unless(stop, self._declared())  # the repository may take its time to answer
                if declared is None:
                    return None
                if declared.fleet is None:
                    reason, hint = "fleet.yaml cannot be used", "`reconciler validate` says why"
                elif self.settings.shared_registry and isinstance(declared.fleet.registry, SqliteRegistry):
                    reason = "the registry is a file, and daemons on other machines would each have another"
                    hint = "let fleet.yaml name one in ArangoDB, or run one daemon without --shared-registry"
                else:
                    return await self.world.stores(declared.fleet)
            except ReconcilerError as error:
                reason, hint = error.message, error.hint
                if self.alarming is not None and isinstance(error, RegistryError):
                    self.alarming.registry(error.message)
            failures += 1
            pause = self.pace.pause(failures)
            self.tell.say("error", "cannot-start", reason=reason, hint=hint, again_in_s=round(pause, 1))
            self.ready()
            await either(stop, pause)
        return None

    async def _declared(self) -> Declaration:
        """The fleet as it is declared, up to date. Where it cannot be fetched, what was fetched before counts on."""
        try:
            await self.world.source.fetch()
        except ReconcilerError as error:
            self.tell.say("warning", "not-fetched", reason=error.message, hint=error.hint)
        return await declare(self.world, await self.world.source.revision(self.settings.ref), self.cache)

    async def _watch(self, stores: Stores, stop: asyncio.Event) -> None:
        over = asyncio.Event()

        async def pass_on() -> None:
            await stop.wait()
            over.set()

        passing = asyncio.create_task(pass_on())
        try:
            await self._lead(stores, over)
        finally:
            passing.cancel()

    async def _lead(self, stores: Stores, over: asyncio.Event) -> None:
        wakes = self._wakes = Wakes()
        timers = Timers(wakes)
        loop = self._loop = self._looping(wakes, timers)
        shards = self.standing if isinstance(self.standing, Sharding) else None
        recovering = self._recovering(loop.acting, shards)
        if shards is not None and loop.acting is not None:
            loop.acting.shards = shards
            shards.hand_over = loop.acting.hand_over
            shards.taken = lambda: wakes.wake("a shard was taken")
        sweeping = self._sweeping = Sweeping(
            world=self.world, prober=Counted(inner=self.prober, measures=self.measures), options=self.options,
            cache=self.cache, tell=self.tell, measures=self.measures, every_s=self.settings.sweep_s,
            acts=loop.acting is not None, mine=shards.mine if shards is not None else lambda _name: True,
            heard=(*self.heard, *(one.heard for one in recovering), *self._alarmed(loop)), recall=self.recall,
        )  # fmt: skip
        feed = RegistryFeed(
            registry=stores.registry, wakes=wakes, clock=self.world.clock,
            busy=lambda name: name in loop.busy, pause_s=REGISTRY_POLL_S,
        )  # fmt: skip
        source = SourceFeed(
            source=self.world.source, ref=self.settings.ref, wakes=wakes, clock=self.world.clock,
            pause=lambda: self.settings.poll_s * (0.9 + 0.2 * self.jitter()), tell=self.tell, told=self.fetch.asked,
        )  # fmt: skip
        loop.current = Current(source=self.world.source, fetches=source.fetches, ask=self.fetch.now)
        if loop.acting is not None:
            loop.acting.wrote = feed.wrote
        tasks = [
            self._kept("git", source.follow),
            self._kept("files", source.watch),
            self._kept("bell", partial(listen, stores.registry, self.world.clock, self.fetch.now, REGISTRY_POLL_S)),
            self._kept("registry", feed.follow),
            self._kept("sweep", sweeping.run),
            *(self._kept("recovery", one.run) for one in recovering),
        ]

        async def seen(plan: Plan) -> None:
            self.plan = plan
            timers.after(self.settings.resync_s, "it is a while since the last look")
            if ends := [hold.until_ms for hold in plan.holds if hold.until_ms]:
                timers.after(max(0.0, (min(ends) - self.world.clock.now_ms()) / 1000), "what held a change may be over")
            if self.alarming is not None and loop.acting is not None:
                self.alarming.planned(plan, loop.busy)
            now = await self._followed_now(stores, over, wakes)
            if now is not None and not (loop.busy or sweeping.under_way):
                await self.tidy(now)

        loop.seen = seen
        wakes.wake("the daemon begins")
        jobs = self._jobs(stores, lambda: loop.acting is not None and (shards is None or shards.speaks))
        try:
            await loop.run(over)
        finally:
            self._loop = self._sweeping = self.plan = None
            jobs.close()
            timers.close()
            tasks += [task for _cluster, task in self._followed.values()]
            self._followed.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _alarmed(self, loop: Loop) -> tuple[Hears, ...]:
        """Let the alarm hear of what this daemon does; answers who is to be told of sweeps for it."""
        if self.alarming is None or loop.acting is None:
            return ()
        loop.passed, loop.acting.heard = self.alarming.passed, self.alarming.ended
        shards = self.standing if isinstance(self.standing, Sharding) else None
        scope = Scope(seat=shards.seat, mine=shards.mine, speaks=lambda: shards.speaks) if shards is not None else None
        self.alarming.begin(partial(self._kept, "alerts"), scope)
        return (self.alarming.heard,)

    def _jobs(self, stores: Stores, speaks: Callable[[], bool]) -> Jobs:
        """Housekeeping, by the one who speaks for the fleet."""
        jobs = Jobs(tell=self.tell)
        if (keep_s := self.settings.keep_revisions_s) is not None:
            pruning = Pruning(
                registry=stores.registry,
                clock=self.world.clock,
                actor=self.options.actor,
                tell=self.tell,
                keep_s=keep_s,
            )

            async def prune() -> None:
                if speaks():
                    await pruning.once()

            jobs.every(PRUNE_EVERY_S, "prune", prune, within_s=PRUNE_WITHIN_S)
        jobs.start()
        return jobs

    def _looping(self, wakes: Wakes, timers: Timers) -> Loop:
        acting = None
        if self.settings.mode is Mode.APPLY:
            acting = Acting(
                world=self.world,
                options=self.options,
                cache=self.cache,
                wakes=wakes,
                backlog=Backlog(self.pace),
                tell=self.tell,
                timer=timers.after,
                measures=self.measures,
            )
        return Loop(
            world=self.world,
            options=self.options,
            policy=self.settings.policy,
            ref=self.settings.ref,
            wakes=wakes,
            pace=self.pace,
            acting=acting,
            tell=self.tell,
            timer=timers.after,
            measures=self.measures,
            cache=self.cache,
            every_s=self.settings.resync_s,
        )

    def _recovering(self, acting: Acting | None, peers: Sharding | None) -> tuple[Recovering, ...]:
        """Who takes remedies; nobody where nothing is done."""
        if acting is None:
            return ()
        return (
            Recovering(
                world=self.world, prober=self.prober, tell=self.tell, measures=self.measures, acting=acting,
                raise_=self.raise_, chance=self.jitter, peers=peers, limits=self.settings.limits,
            ),
        )  # fmt: skip

    async def _followed_now(self, stood: Stores, over: asyncio.Event, wakes: Wakes) -> Stores | None:
        """Listen to the clusters that the fleet has now, and answer its stores. Raises ReconcilerError.

        Where it has moved to another registry it is over, before anything is done: who leads there is another matter.
        """
        declared = self.cache.declaration
        if declared is None or declared.fleet is None:
            return None
        stores = await self.world.stores(declared.fleet)
        if stores.registry is not stood.registry:
            self.tell.say("info", "registry-moved", reason="fleet.yaml names another registry")
            over.set()
            return None
        await self._follow(stores, wakes)
        return stores

    async def _follow(self, stores: Stores, wakes: Wakes) -> None:
        clusters = {name: one for name, one in stores.clusters.items() if not isinstance(one, Unreadable)}
        gone = [name for name, (cluster, _task) in self._followed.items() if clusters.get(name) is not cluster]
        ended = [self._followed.pop(name)[1] for name in gone]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        for name, cluster in clusters.items():
            if name not in self._followed:
                work = partial(follow_cluster, cluster, wakes, Ours(cache=self.cache))
                self._followed[name] = cluster, self._kept(f"cluster {name}", work)

    def _kept(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(keep_up(name, work, self.world.clock, self.pace, self.tell))
