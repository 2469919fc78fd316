"""What says "look again": Git, clusters, the registry's feed, and time. Nothing here decides or reads a plan.

Every trigger lives as long as the daemon: what fails is told, and listened to again after a growing while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from reconciler.daemon.current import Fetches
from reconciler.daemon.standing import either
from reconciler.daemon.telling import Teller
from reconciler.daemon.wakes import Pace, Wakes
from reconciler.model.errors import ReconcilerError, SourceError
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import RENDERED_KINDS, Scope
from reconciler.ports import Clock, Cluster, Registry, Source

LIVED_S = 60.0
"""A trigger that worked for so long before it failed starts anew as if it had never failed."""
BURST_S = 0.1


async def keep_up(name: str, work: Callable[[], Awaitable[None]], clock: Clock, pace: Pace, tell: Teller) -> None:
    """Run `work` again and again, however it ends."""
    failures = 0
    while True:
        began = clock.monotonic()
        reason = "it ended"
        try:
            await work()
        except ReconcilerError as error:
            reason = error.message
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end listening for good
            reason = f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            reason = "what it waited for was cancelled"  # by somebody else: this was not told to end
        failures = 1 if clock.monotonic() - began > LIVED_S else failures + 1
        pause = pace.pause(failures)
        tell.say(
            "warning" if failures > 1 else "info",
            "trigger-ended",
            trigger=name,
            reason=reason,
            again_in_s=round(pause, 1),
        )
        await clock.sleep(pause)


@dataclass(slots=True, kw_only=True)
class SourceFeed:
    """Wakes when `ref` is another commit than it was: asked every `pause()` seconds, and at once when it is told."""

    source: Source
    ref: str
    wakes: Wakes
    clock: Clock
    pause: Callable[[], float]
    tell: Teller
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by whoever knows that there is something new."""
    fetches: Fetches = field(default_factory=Fetches)

    async def follow(self) -> None:
        """Bring the source up to date and look at it, until cancelled. Raises SourceError."""
        known = ""
        while True:
            told = self.told.is_set()
            self.told.clear()
            number = self.fetches.begin()
            await self.source.fetch()
            self.fetches.end(number)
            revision = await self.source.revision(self.ref)
            if revision.commit != known:
                self.wakes.wake(f"commit {revision.commit[:7]}" if revision.commit else "files without a commit")
            elif told and revision.working_tree:
                self.wakes.wake("files were written")
            known = revision.commit
            await self._rest()

    async def watch(self) -> None:
        """Have it asked at once when something is written on this machine. Where that cannot be told, say so once."""
        try:
            async with aclosing(self.source.changed_here()) as changes:
                async for _ in changes:
                    self.told.set()
        except SourceError as error:
            self.tell.say("info", "only-polls", reason=error.message)
        await asyncio.Event().wait()

    async def _rest(self) -> None:
        """Until it is time to ask again; a moment at least, for what is written comes in bursts."""
        await either(self.told, self.pause())
        if self.told.is_set():
            await self.clock.sleep(BURST_S)


async def follow_cluster(cluster: Cluster, wakes: Wakes, ours: Callable[[str, ObjectRef], bool]) -> None:
    """Wake when something of ours changed on a cluster. While this listens, reads are answered from a copy."""
    async with aclosing(cluster.changes(Scope(kinds=RENDERED_KINDS))) as changes:
        async for ref in changes:
            if ours(cluster.name, ref):
                wakes.wake(f"{cluster.name}: {ref.kind} {ref.namespace}/{ref.name}")


@dataclass(slots=True, kw_only=True)
class RegistryFeed:
    """Wakes when somebody else wrote the record of an agent: a wish by hand, or another daemon's work.

    What this daemon writes is told to `wrote`, and wakes nobody. A write may be seen here before it is told there: of
    an agent that is `busy` it is looked at again at the next turn. How far it read is kept, whatever fails between.
    """

    registry: Registry
    wakes: Wakes
    clock: Clock
    busy: Callable[[AgentName], bool]
    pause_s: float
    _since: int | None = None
    _own: set[int] = field(default_factory=set)
    """Sequences of our own writes that were not read yet."""
    _doubtful: dict[int, AgentName] = field(default_factory=dict)

    def wrote(self, last: int, records: int) -> None:
        """A write of ours ended at sequence `last`, with so many records."""
        known = -1 if self._since is None else self._since
        self._own.update(seq for seq in range(last - records + 1, last + 1) if seq > known or seq in self._doubtful)

    async def follow(self) -> None:
        """Until cancelled. Raises RegistryError."""
        if self._since is None:
            present = 0
            async for seq, _name in self.registry.changes(0):
                present = seq
            self._since = present
        self.wakes.wake("the registry is followed")  # a plan may be older than where this began
        while True:
            doubtful, self._doubtful = self._doubtful, {}
            for seq, name in doubtful.items():
                self._read(seq, name, sure=True)
            async for seq, name in self.registry.changes(self._since):
                self._since = seq
                self._read(seq, name, sure=not self.busy(name))
            await self.clock.sleep(self.pause_s)

    def _read(self, seq: int, name: AgentName, *, sure: bool) -> None:
        if seq in self._own:
            self._own.discard(seq)
        elif sure:
            self.wakes.wake(f"the record of {name}")
        else:
            self._doubtful[seq] = name


class Timers:
    """Wakes for later; of several with one reason the earliest counts."""

    def __init__(self, wakes: Wakes) -> None:
        self._wakes = wakes
        self._pending: dict[str, asyncio.TimerHandle] = {}

    def after(self, seconds: float, reason: str) -> None:
        """Wake in `seconds`, unless something wakes for the same reason before."""
        loop = asyncio.get_running_loop()
        known = self._pending.get(reason)
        if known is not None and not known.cancelled() and known.when() <= loop.time() + seconds:
            return
        if known is not None:
            known.cancel()
        self._pending[reason] = loop.call_later(seconds, self._due, reason)

    def close(self) -> None:
        """Wake nobody any more."""
        for handle in self._pending.values():
            handle.cancel()
        self._pending.clear()

    def _due(self, reason: str) -> None:
        self._pending.pop(reason, None)
        self._wakes.wake(reason)
