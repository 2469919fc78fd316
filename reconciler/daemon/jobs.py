"""What is to be done every so often by the calendar: housekeeping that nobody waits for.

Timers that work waits for (back-off, the next look) are not these: they go by the monotonic clock, triggers.Timers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from reconciler.daemon.telling import Teller
from reconciler.model.errors import ReconcilerError
from reconciler.model.registry import AuditFact, Write
from reconciler.ports import Clock, Registry, Upkeep

PRUNE_EVERY_S = 3600.0
PRUNE_WITHIN_S = 300.0


def _scheduler() -> Any:
    """Nothing is skipped because it is late, nothing runs twice at once, and what was missed is done once."""
    from apscheduler.executors.asyncio import AsyncIOExecutor
    from apscheduler.jobstores.memory import MemoryJobStore
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    return AsyncIOScheduler(
        jobstores={"default": MemoryJobStore()},
        executors={"default": AsyncIOExecutor()},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone=UTC,
    )


@dataclass(slots=True, kw_only=True)
class Jobs:
    """Jobs that run while this is open. One that takes longer than it may is ended and told, and so is one that fails:
    a job that hung would never be run again.
    """

    tell: Teller
    _scheduler: Any = None

    def every(self, seconds: float, name: str, work: Callable[[], Awaitable[None]], *, within_s: float) -> None:
        """Run `work` every so many seconds, at most `within_s` long. To be called before `start`."""

        async def bounded() -> None:
            try:
                async with asyncio.timeout(within_s):
                    await work()
            except TimeoutError:
                self.tell.say("warning", "job-ended", job=name, reason=f"it took longer than {within_s:g} s")
            except ReconcilerError as error:
                self.tell.say("warning", "job-ended", job=name, reason=error.message)
            except Exception as error:  # noqa: BLE001 - a fault in a job must not end the daemon
                self.tell.say("error", "job-ended", job=name, reason=f"{type(error).__name__}: {error}")

        self._scheduler = self._scheduler or _scheduler()
        self._scheduler.add_job(bounded, "interval", seconds=seconds, id=name)

    def start(self) -> None:
        """Begin; the first run of each job is one interval from now."""
        if self._scheduler is not None:
            self._scheduler.start()

    def close(self) -> None:
        """Run nothing any more; what runs is ended."""
        if self._scheduler is not None and self._scheduler.running:
            self._scheduler.shutdown(wait=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Takes away history that is older than `keep_s` from a registry that we look after ourselves."""

    registry: Registry
    clock: Clock
    actor: str
    tell: Teller
    keep_s: float

    async def once(self) -> None:
        """Look, and write only where something is to go. Raises RegistryError."""
        if not isinstance(self.registry, Upkeep):
            return
        now = self.clock.now_ms()
        before = now - round(self.keep_s * 1000)
        if not (await self.registry.prune(before_ms=before, said=None)).total:
            return
        fact = AuditFact(actor=self.actor, action="prune", agent=None, message=f"history older than {self.keep_s:g} s")
        said = Write(op_id=self.registry.new_id(), at_ms=now, audit=(fact,))
        gone = await self.registry.prune(before_ms=before, said=said)
        self.tell.say("info", "pruned", revisions=gone.revisions, changes=gone.changes, operations=gone.operations)
