"""How often the process of a daemon looks for garbage in cycles. Nothing else may live here."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

YOUNG = 50_000
"""Python looks after 700 new objects. A sweep of ten thousand agents makes hundreds of thousands that all go by
themselves, and looking at them over and over took a quarter of its time (`benchmarks/sweep.py`).
"""
EVERY_S = 3600.0


def collect_seldom() -> None:
    """Look for cycles after 50,000 new objects: of those that are garbage some megabytes wait for it at most."""
    gc.set_threshold(YOUNG, 10, 10)


@dataclass(slots=True, kw_only=True)
class Thaw:
    """Has what is frozen looked at once it has doubled, so that garbage in it is never more than what lives.

    What is read in bulk is frozen together with all that is there then. Cycles in it that are garbage would never be
    found: of 1,100 agents that all change a few dozen objects each time, but without end.
    """

    monotonic: Callable[[], float]
    _again: float = 0.0
    _known: int = 0
    """How many were frozen when they had been looked at last, or were seen first."""

    def look(self) -> None:
        """To be called where nobody waits: it takes a second or so with ten thousand agents, when it comes to that."""
        if self.monotonic() < self._again:
            return
        self._again = self.monotonic() + EVERY_S  # to count them takes a while as well
        frozen = gc.get_freeze_count()
        if self._known and frozen > 2 * self._known:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._known = gc.get_freeze_count()
        self._known = self._known or frozen
