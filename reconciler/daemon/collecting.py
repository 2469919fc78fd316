"""How often the process of a daemon looks for garbage in cycles. Nothing else may live here."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

YOUNG = 50_000
"""Python looks after 700 new objects. A sweep of ten thousand agents makes hundreds of thousands that all go by
themselves, and looking at them over and over took a quarter of its time (`benchmarks/sweep.py`).
"""
MINUTE_S, EVERY_S = 60.0, 3600.0


def collect_seldom() -> None:
    """Look for cycles after 50,000 new objects, where nobody looks before: of garbage some megabytes wait for that."""
    gc.set_threshold(YOUNG, 10, 10)


@dataclass(slots=True, kw_only=True)
class Collector:
    """Looks for garbage in cycles while nothing is under way: what is young once a minute, all once an hour.

    Left to Python, a daemon of a dozen agents grew by ten megabytes within half an hour before it looked. What is
    frozen is looked at once it has doubled, so that garbage in it is never more than what lives: what is read in bulk
    is frozen together with all that is there then, of 1,100 agents that all change a few dozen objects of garbage each
    time.
    """

    monotonic: Callable[[], float]
    _young: float = 0.0
    _all: float = 0.0
    """When to look again."""
    _known: int = 0
    """How many were frozen when they had been looked at last, or were seen first."""

    def look(self) -> None:
        """To be called where nobody waits: with ten thousand agents it takes a second or so once they are unfrozen."""
        now = self.monotonic()
        if now >= self._all:
            self._all, self._young = now + EVERY_S, now + MINUTE_S  # to count what is frozen takes a while as well
            self._look_at_all()
        elif now >= self._young:
            self._young = now + MINUTE_S
            gc.collect(1)

    def _look_at_all(self) -> None:
        frozen = gc.get_freeze_count()
        if 0 < 2 * self._known < frozen:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._known = gc.get_freeze_count()
        else:
            gc.collect()
            self._known = self._known or frozen
