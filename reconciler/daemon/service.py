"""A daemon as a whole: its standing, its triggers, its loop and its sweep, from start to SIGTERM."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from reconciler.daemon.loop import Loop, Mode
from reconciler.daemon.measures import Measures
from reconciler.daemon.standing import Standing
from reconciler.daemon.sweeping import Sweeping
from reconciler.daemon.telling import Teller
from reconciler.daemon.triggers import Timers, follow_cluster, follow_registry, follow_source, keep_up
from reconciler.daemon.wakes import Backlog, Pace, Wakes
from reconciler.engine.apply import ApplyOptions
from reconciler.engine.reconcile import PlanningCache, declare
from reconciler.engine.world import Stores, World
from reconciler.model.errors import ReconcilerError
from reconciler.model.objects import Unreadable
from reconciler.model.plan import Policy
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
    sweep_s: float = 30.0


@dataclass(slots=True, kw_only=True)
class Service:
    """One daemon. `ready` is called when it stands (leads or stands by), for whoever started it."""

    world: World
    settings: Settings
    options: ApplyOptions
    prober: Prober
    tell: Teller
    measures: Measures
    jitter: Callable[[], float]
    ready: Callable[[], None] = lambda: None
    standing: Standing | None = None
    cache: PlanningCache = field(default_factory=PlanningCache)
    _loop: Loop | None = None
    _followed: dict[str, tuple[Cluster, asyncio.Task[None]]] = field(default_factory=dict)

    @property
    def pace(self) -> Pace:
        return Pace(jitter=self.jitter)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set: then what is under way writes down where it is."""
        while not stop.is_set():
            stores = await self._opened(stop)
            if stores is None:
                return
            self.standing = Standing(
                registry=stores.registry,
                clock=self.world.clock,
                holder=self.options.holder,
                tell=self.tell,
                changed=self.measures.leads,
            )
            self.ready()
            await self.standing.lead(partial(self._lead, stores), stop)

    def not_ready(self) -> str:
        """Why this daemon does not do its work now; "" when it leads or stands by with a plan that can be made."""
        if self.standing is None:
            return "the fleet or its registry cannot be opened"
        if self.standing.leads and self._loop is not None and self._loop.failing:
            return "the last pass made no plan"
        return ""

    async def _opened(self, stop: asyncio.Event) -> Stores | None:
        """Where the fleet lives. Tried again until it can be told; None when asked to stop before."""
        failures = 0
        while not stop.is_set():
            try:
                await self.world.source.fetch()
                declared = await declare(self.world, await self.world.source.revision(self.settings.ref), self.cache)
                if declared.fleet is not None:
                    return await self.world.stores(declared.fleet)
                reason, hint = "fleet.yaml cannot be used", "`reconciler validate` says why"
            except ReconcilerError as error:
                reason, hint = error.message, error.hint
            failures += 1
            pause = self.pace.pause(failures)
            self.tell.say("error", "cannot-start", reason=reason, hint=hint, again_in_s=round(pause, 1))
            self.ready()
            await _either(stop, pause)
        return None

    async def _lead(self, stores: Stores, over: asyncio.Event) -> None:
        wakes = Wakes()
        timers = Timers(wakes)
        loop = Loop(
            world=self.world,
            options=self.options,
            policy=self.settings.policy,
            mode=self.settings.mode,
            ref=self.settings.ref,
            wakes=wakes,
            backlog=Backlog(self.pace),
            tell=self.tell,
            measures=self.measures,
            timer=timers.after,
            cache=self.cache,
        )
        self._loop = loop
        loop.seen = partial(self._seen, wakes, timers)
        sweeping = Sweeping(
            world=self.world, prober=self.prober, options=self.options, cache=self.cache, tell=self.tell,
            measures=self.measures, every_s=self.settings.sweep_s, acts=self.settings.mode is Mode.APPLY,
        )  # fmt: skip
        tasks = [
            self._kept("git", lambda: self._poll(wakes)),
            self._kept("registry", lambda: follow_registry(
                stores.registry, wakes, self.world.clock, lambda name: name in loop.busy, REGISTRY_POLL_S)),
            self._kept("sweep", sweeping.run),
        ]  # fmt: skip
        wakes.wake("the daemon leads")
        try:
            await loop.run(over)
        finally:
            timers.close()
            tasks += [task for _cluster, task in self._followed.values()]
            self._followed.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll(self, wakes: Wakes) -> None:
        def pause() -> float:
            return self.settings.poll_s * (0.9 + 0.2 * self.jitter())

        await follow_source(self.world.source, self.settings.ref, wakes, self.world.clock, pause)

    def _seen(self, wakes: Wakes, timers: Timers) -> None:
        """After each plan: be woken later in any case, and listen to the clusters that the fleet has now."""
        timers.after(self.settings.resync_s, "it is a while since the last look")
        asyncio.get_running_loop().create_task(self._follow(wakes))

    async def _follow(self, wakes: Wakes) -> None:
        declared = self.cache.declaration
        if declared is None or declared.fleet is None:
            return
        try:
            stores = await self.world.stores(declared.fleet)
        except ReconcilerError:
            return  # the pass has told of it
        clusters: Mapping[str, Cluster] = {
            name: one for name, one in stores.clusters.items() if not isinstance(one, Unreadable)
        }
        for name, (cluster, task) in list(self._followed.items()):
            if clusters.get(name) is not cluster:
                task.cancel()
                del self._followed[name]
        for name, cluster in clusters.items():
            if name not in self._followed:
                kept = self._kept(f"cluster {name}", partial(follow_cluster, cluster, wakes))
                self._followed[name] = cluster, kept

    def _kept(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(keep_up(name, work, self.world.clock, self.pace, self.tell))


async def _either(stop: asyncio.Event, seconds: float) -> None:
    """Wait until `stop` is set, at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
