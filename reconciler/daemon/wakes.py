"""Reasons to look again, and when to try again what failed. No I/O; time is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.model.identity import AgentName
from reconciler.model.plan import Change

MOST_REASONS = 20
"""Reasons that are kept until the next pass; of more only the number is told."""


class Wakes:
    """Coalesces: however often and by whomever it is woken while a pass goes on, one pass follows."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._reasons: dict[str, None] = {}
        self._more = 0

    def wake(self, reason: str) -> None:
        """Ask for a pass. Costs nothing when one is asked for already."""
        if reason in self._reasons:
            pass
        elif len(self._reasons) < MOST_REASONS:
            self._reasons[reason] = None
        else:
            self._more += 1
        self._event.set()

    async def wait(self) -> tuple[str, ...]:
        """Wait until somebody asks for a pass, and answer why, in the order of asking."""
        await self._event.wait()
        self._event.clear()
        reasons = (*self._reasons, *((f"{self._more} more",) if self._more else ()))
        self._reasons, self._more = {}, 0
        return reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How what failed is tried again: full jitter up to `first_s` doubled each time, at most `most_s` seconds.

    Source of the formula: "Exponential Backoff And Jitter", AWS Architecture Blog. The lower half is never used: a wait
    is a wait.
    """

    jitter: Callable[[], float]
    first_s: float = 5.0
    most_s: float = 300.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after `failures` in a row, from 1."""
        bound = min(self.most_s, self.first_s * float(2 ** min(failures - 1, 30)))
        return bound * (0.5 + 0.5 * self.jitter())


@dataclass(slots=True)
class _Failing:
    aim: object
    failures: int
    due: float


FREE = 5
"""How often drift of one agent is undone at once. Somebody who brings it back each time (an operator, a webhook) is not
fought as fast as both can.
"""


@dataclass(slots=True)
class _Undone:
    aim: object
    times: int
    at: float


_WAY_BACK = "way-back"
"""The aim of a way back that an earlier run left open."""


@dataclass(slots=True)
class Backlog:
    """Which agents are not to be tried again yet. What is wanted otherwise than it failed is tried at once.

    A failure is remembered until the agent works, is wanted otherwise, or nothing was heard of it for `pace.most_s`
    after it was due: a plan that lacks the change in between (a cluster that cannot be read) forgives nothing.
    """

    pace: Pace
    _failing: dict[AgentName, _Failing] = field(default_factory=dict)
    _undone: dict[AgentName, _Undone] = field(default_factory=dict)

    def failed(self, change: Change, now: float) -> float:
        """Note a failure at monotonic time `now`, and answer how long the agent is left in peace, in seconds."""
        return self._failed(change.name, aim_of(change), now)

    def failed_back(self, name: AgentName, now: float) -> float:
        """Note that a way back failed, which no change of a plan stands for; as `failed`."""
        return self._failed(name, _WAY_BACK, now)

    def worked(self, name: AgentName) -> None:
        """Forget the failures of an agent."""
        self._failing.pop(name, None)

    def undone(self, change: Change, now: float) -> float:
        """Note that drift of an agent was undone, and answer how long it is left to itself now should it drift again.

        The first FREE times that is no time at all; what does not come back within twice `pace.most_s` is forgotten.
        """
        self.worked(change.name)
        before, aim = self._undone.get(change.name), aim_of(change)
        again = before is not None and before.aim == aim and now - before.at <= 2 * self.pace.most_s
        times = before.times + 1 if before is not None and again else 1
        self._undone[change.name] = _Undone(aim, times, now)
        if times <= FREE:
            return 0.0
        pause = self.pace.pause(times - FREE)
        self._failing[change.name] = _Failing(aim, times - FREE, now + pause)
        return pause

    def holds(self, change: Change, now: float) -> bool:
        """Whether a change has to wait still."""
        known = self._failing.get(change.name)
        return known is not None and known.aim == aim_of(change) and now < known.due

    def resting(self, now: float) -> frozenset[AgentName]:
        """Agents that are not to be touched yet, unless they are wanted otherwise."""
        return frozenset(name for name, item in self._failing.items() if now < item.due)

    def next_due(self, now: float) -> float | None:
        """Seconds until the first agent that rests may be tried again; None where none rests."""
        self._failing = {name: item for name, item in self._failing.items() if now < item.due + self.pace.most_s}
        self._undone = {name: item for name, item in self._undone.items() if now - item.at <= 2 * self.pace.most_s}
        waits = [item.due - now for item in self._failing.values() if now < item.due]
        return min(waits) if waits else None

    def _failed(self, name: AgentName, aim: object, now: float) -> float:
        before = self._failing.get(name)
        failures = before.failures + 1 if before is not None and before.aim == aim else 1
        pause = self.pace.pause(failures)
        self._failing[name] = _Failing(aim, failures, now + pause)
        return pause


def aim_of(change: Change) -> object:
    """What tells a change from another one of the same agent: what it is to be, not how it is now."""
    spec = change.agent.spec_hash if change.agent is not None else ""
    return change.action, spec, change.placement
