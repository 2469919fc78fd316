"""Recovery: how far an agent has come on its ladder of remedies, as it stands on its record. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.agent import Remedy

KEPT = 32
"""Remedies that a record remembers: enough for people, and for what may be spent in a window."""


class Ended(StrEnum):
    """How a remedy ended. None of it says whether the agent is well: that is what the next measurements are for."""

    UNDER_WAY = "under-way"
    DONE = "done"
    NOTHING = "nothing-to-do"
    """There was nothing that it could do, such as no revision to go back to."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """It stopped in the middle. What was done of it stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One remedy that was taken, on `clusters`. `ended_ms` is 0 while it is under way; `text` is for people."""

    remedy: Remedy
    at_ms: int
    because: str
    clusters: tuple[str, ...] = ()
    ended: Ended = Ended.UNDER_WAY
    ended_ms: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryState:
    """One agent's way through its ladder, kept on its record so that a restart goes on with it.

    `step` counts the remedies of this illness, so which comes next follows from it and the declaration. `taken` are the
    last remedies, at most KEPT, those of earlier illnesses too, oldest first; of more, those that touch nothing are the
    first to go. Times are Unix milliseconds, 0 for never.
    """

    spec_hash: str
    """Of the spec that is ill. Another one begins at the first rung, with nothing counted."""
    since_ms: int = 0
    """When it became unhealthy; 0 where the last illness is over for good."""
    step: int = 0
    due_ms: int = 0
    """The next remedy comes no earlier."""
    well_ms: int = 0
    """Since when it is healthy again; 0 while it is ill."""
    left: bool = False
    """Nothing of the ladder is left: it is people's now."""
    avoid: tuple[str, ...] = ()
    """Clusters that it left because it was ill there: as long as its placement has others it runs on those."""
    taken: tuple[Taken, ...] = ()

    @property
    def under_way(self) -> Taken | None:
        """The remedy that is under way, or was when the process ended that took it."""
        return self.taken[-1] if self.taken and self.taken[-1].ended is Ended.UNDER_WAY else None
