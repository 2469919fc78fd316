"""The order of changes across shards: what a daemon waits for that others do. No I/O; time is given.

Every daemon makes the whole plan and does its own part. What others have done is in the next plan no more, which is
how one knows. A change that others tried and failed at stays in the plan: its record tells it from one that is to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from reconciler.daemon.wakes import aim_of
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Change, ReasonCode

PATIENCE_S = 300.0
"""So long a wave waits for a change of an earlier one that nobody is seen to begin."""


@dataclass(slots=True)
class _Seen:
    """A change of somebody else's, when it was first seen (monotonic), and the version of its record then."""

    aim: object
    at: float
    version: int


@dataclass(slots=True, kw_only=True)
class Across:
    """What a daemon knows of others' changes. `mine` says whose an agent is."""

    mine: Callable[[AgentName], bool]
    _seen: dict[AgentName, _Seen] = field(default_factory=dict)

    def waiting(self, changes: Sequence[Change], now: float) -> frozenset[AgentName]:
        """Of a plan's `changes` those that are others', and those of ours whose wave has not come yet.

        Whoever depends on one of these waits as well, as it does for one that failed; that is not told here.
        """
        others = [change for change in changes if not self.mine(change.name)]
        waves = self._outstanding(others, now)
        first = min(waves, default=None)
        later = (change.name for change in changes if first is not None and first < _turn_of(change))
        return frozenset({*(change.name for change in others), *later})

    def _outstanding(self, others: Iterable[Change], now: float) -> list[tuple[bool, int]]:
        """The waves of changes that others have not ended, one way or the other."""
        before, self._seen = self._seen, {}
        found = []
        for change in others:
            seen, aim = before.get(change.name), aim_of(change)
            if seen is None or seen.aim != aim:
                seen = _Seen(aim, now, change.record_version)
            self._seen[change.name] = seen
            under_way = any(reason.code is ReasonCode.UNFINISHED for reason in change.reasons)
            tried = change.record_version > seen.version and not under_way
            if not tried and now - seen.at < PATIENCE_S:
                found.append(_turn_of(change))
        return found


def _turn_of(change: Change) -> tuple[bool, int]:
    return change.action is Action.DELETE, change.wave
