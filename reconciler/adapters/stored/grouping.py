"""Writes that come while one is under way wait together, and are done together. No storage is known here.

What is waited for is only the write before: one that comes alone is done at once. Nobody is answered before all of its
group are done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

W = TypeVar("W")
C = TypeVar("C")


@dataclass(slots=True, eq=False)
class Waiting(Generic[W]):
    """A write, and what came of it once it is done: its change sequence, or what is raised where it is waited for."""

    write: W
    weight: int = 1
    outcome: int | BaseException | None = None


class Grouping(Generic[W, C]):
    """Calls `together` on the one thread that writes, with a group and what that thread works with; it must say an
    outcome of each. A group has MOST writes at most, and is closed by the write that makes it as heavy as `heaviest`.
    """

    def __init__(
        self, together: Callable[[C, list[Waiting[W]]], None], *, most: int, heaviest: int | None = None
    ) -> None:
        self._together, self._most, self._heaviest = together, most, heaviest
        self._waiting: deque[Waiting[W]] = deque()

    async def commit(self, write: W, run: Callable[[Callable[[C], None]], Awaitable[None]], *, weight: int = 1) -> int:
        """The change sequence, once the write is durable. `run` runs what it is given on the thread that writes.

        Raises what came of the write, and what `run` raises.
        """
        mine = Waiting(write, weight)
        self._waiting.append(mine)
        try:
            # done by this call or by one before it: the thread does one after another
            await run(partial(self._flush, until=mine))
        finally:
            with suppress(ValueError):
                self._waiting.remove(mine)  # nobody waits for it any more
        if isinstance(mine.outcome, BaseException):
            raise mine.outcome
        assert mine.outcome is not None  # noqa: S101 - the thread has done it
        return mine.outcome

    def _flush(self, context: C, *, until: Waiting[W]) -> None:
        while until.outcome is None:
            group = self._next()
            if not group:
                return  # whoever waited for it has gone, and has taken it along
            self._together(context, group)

    def _next(self) -> list[Waiting[W]]:
        group: list[Waiting[W]] = []
        weight = 0
        while len(group) < self._most and (self._heaviest is None or weight < self._heaviest):
            try:
                group.append(self._waiting.popleft())
            except IndexError:
                break
            weight += group[-1].weight
        return group
