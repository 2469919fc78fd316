"""What caches say beside their answers: of when an answer is, and what they were good for."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum

from reconciler.ports import Stale

AWAY_S = 5.0
"""So long a registry that was away is left alone: each try may cost a time-out."""


class Outcome(StrEnum):
    """What became of a question to a cache."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"
    """Answered from a copy that could not be brought up to date."""


Used = Callable[[str, Outcome], None]
"""Is told of every question: the name of the cache, and what became of it. Must not wait."""


def unheard(_cache: str, _outcome: Outcome) -> None:
    """Nobody counts."""


_LAST: ContextVar[tuple[object, Stale | None]] = ContextVar("last_answer", default=(None, None))


class Told:
    """Of when the last answer was that a task got: those who ask at the same time hear each of their own."""

    @property
    def stale(self) -> Stale | None:
        who, stale = _LAST.get()
        return stale if who is self else None

    @stale.setter
    def stale(self, value: Stale | None) -> None:
        _LAST.set((self, value))
