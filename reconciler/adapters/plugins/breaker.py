"""A circuit breaker: what fails again and again is left in peace for a while, then tried once. It knows no clock."""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 3
"""So many failures in a row open it."""
FIRST_S = 60.0
MOST_S = 900.0
"""It stays open for FIRST_S, and twice as long after each trial that fails, up to this."""
MOST_DOUBLED = 10
"""No power of more trials is a number that a time can be: one that fails for ten days has a thousand behind it."""


@dataclass(slots=True)
class Breaker:
    """Closed, open until a time, or half open: one is let through to try."""

    failures: int = 0
    last: str = ""
    opened_until: float = 0.0
    trying: bool = False

    def closed_for(self, now: float) -> float:
        """Seconds for which nothing is let through; 0.0 lets the caller through, who says how it went."""
        if self.failures < FAILURES:
            return 0.0
        if now < self.opened_until:
            return self.opened_until - now
        if self.trying:
            return FIRST_S
        self.trying = True
        return 0.0

    def worked(self) -> None:
        self.failures, self.trying = 0, False

    def failed(self, why: str, now: float) -> None:
        self.last, self.trying = why, False
        if now < self.opened_until:
            return  # it began before this opened
        self.failures += 1
        if self.failures >= FAILURES:
            self.opened_until = now + min(MOST_S, FIRST_S * 2 ** min(self.failures - FAILURES, MOST_DOUBLED))

    def let_go(self) -> None:
        """Neither: whoever was let through did not try."""
        self.trying = False
