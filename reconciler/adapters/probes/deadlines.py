"""Deadlines of many at once, with one timer: thousands of probes are under way, and nearly none of them meets its own.

May live here: when somebody is told that the time is over. Not: what that means.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count
from typing import Protocol


class Timed(Protocol):
    """Who has a deadline. `until` is that of what is under way, 0 when nothing is."""

    @property
    def until(self) -> float: ...

    def expire(self) -> None:
        """The time is over."""


class Deadlines:
    """Tells each when its time is over. Nobody has to say that there is no need any more."""

    __slots__ = ("_heap", "_loop", "_number", "_timer")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._number = count()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, one: Timed, loop: asyncio.AbstractEventLoop) -> None:
        """Tell it at its `until`, unless that is another one by then."""
        heappush(self._heap, (one.until, next(self._number), one))
        if self._timer is None or self._loop is not loop:
            self._set(loop)
        elif one.until < self._timer.when():
            self._timer.cancel()
            self._set(loop)

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer = loop.call_at(self._heap[0][0], self._ring)

    def _ring(self) -> None:
        self._timer = None
        assert self._loop is not None  # noqa: S101 - it is that of the timer
        now = self._loop.time()
        heap = self._heap
        while heap and (heap[0][0] <= now or heap[0][2].until != heap[0][0]):
            until, _number, one = heappop(heap)
            if one.until == until:
                one.expire()
        if heap:
            self._set(self._loop)
