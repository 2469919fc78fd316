"""Whether an agent flaps: changes its state so often that each change says little. Pure, and a few bytes an agent.

The measure is that of Nagios Core ("Detection and Handling of State Flapping" in its manual, base/flapping.c): of the
last 21 looks there are 20 turns, each either a change of state or none; a change weighs from 0.75 (the oldest) to 1.25
(the newest); the sum, as a share of 20, is held against two thresholds, whose defaults there are 30 % to begin and
20 % to end. Turns are remembered as bits of one number, the newest lowest.
"""

from __future__ import annotations

TURNS = 20
HIGH_PERCENT = 30.0
LOW_PERCENT = 20.0
_OLDEST, _NEWEST = 0.75, 1.25
_MASK = (1 << TURNS) - 1
WEIGHTS = tuple(_NEWEST - (_NEWEST - _OLDEST) * age / (TURNS - 1) for age in range(TURNS))
"""By age, the newest first."""


def turned(turns: int, *, changed: bool) -> int:
    """What is remembered after one more look, at which the state `changed` or did not."""
    return (turns << 1 | changed) & _MASK


def percent(turns: int) -> float:
    """How much of what could have changed did, the newer the more it counts: 0 to 100."""
    if not turns:
        return 0.0
    return 100 * sum(weight for age, weight in enumerate(WEIGHTS) if turns >> age & 1) / TURNS


def flaps(turns: int, *, before: bool) -> bool:
    """Whether it flaps now: from the high threshold on, and until it falls below the low one."""
    return percent(turns) >= (LOW_PERCENT if before else HIGH_PERCENT)
