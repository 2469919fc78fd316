"""The ladder as its authors mean it, held against all that is ever written of an agent's remedies.

No remedy comes before its pause is over, no pause is longer than its cap, nothing that was counted is forgotten before
its time, and nobody gets more remedies than there are. Computed here anew, from the fleet's own numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.model.agent import Remedy
from reconciler.model.identity import AgentName
from reconciler.model.recovery import Ended, RecoveryState, Taken
from reconciler.model.registry import AgentState, Record

INITIAL_MS, FACTOR, MOST_MS = 10_000, 2, 120_000
ATTEMPTS = 5
MOST_A_DAY = 10
"""Remedies that touch what runs, for one agent."""
DAY_MS = 86_400_000
SPELL_MS = 2 * MOST_MS
"""Nothing is forgotten before an agent has been well for so long."""
ACTS = frozenset({Remedy.RESTART, Remedy.RESCHEDULE, Remedy.ROLLBACK})


@dataclass(slots=True)
class Ladders:
    """What is known of all agents' remedies. A record that was missed is where it begins anew."""

    known: dict[AgentName, Record] = field(default_factory=dict)
    taken: int = 0
    forgotten: int = 0
    """How many remedies and ends of illnesses were held against the laws."""

    def heard(self, record: Record, now_ms: int) -> str:
        """A record was written: which law that breaks, "" for none."""
        before = self.known.pop(record.name, None)
        if record.state is not AgentState.GONE:
            self.known[record.name] = record
        if before is None or (record.id, record.version) != (before.id, before.version + 1):
            return ""
        was, state = before.recovery, record.recovery
        if was is None or state is None or was == state:  # a person lets it begin anew
            return ""
        broken = self._began(was, state) or self._ended(was, state) or self._forgot(was, state, now_ms)
        return f"{record.name}: {broken}" if broken else ""

    def _began(self, was: RecoveryState, state: RecoveryState) -> str:
        going = state.under_way
        if going is None or (was.taken and was.taken[-1].at_ms == going.at_ms):
            return ""
        self.taken += 1
        if state.step > ATTEMPTS:
            return f"remedy {state.step} of {ATTEMPTS}"
        same = was.spec_hash == state.spec_hash and was.step > 0
        if same and 0 < was.due_ms - going.at_ms <= MOST_MS:  # later than that is of before the clock was set
            return f"{going.remedy} {was.due_ms - going.at_ms} ms before its pause was over"
        if was.left and same:
            return f"{going.remedy} though it was left to people"
        recent = [item for item in state.taken if item.remedy in ACTS and 0 <= going.at_ms - item.at_ms < DAY_MS]
        return f"{len(recent)} remedies within a day" if len(recent) > MOST_A_DAY else ""

    def _ended(self, was: RecoveryState, state: RecoveryState) -> str:
        last = _just_ended(was, state)
        if last is None:
            return ""
        pause, cap = state.due_ms - last.ended_ms, min(MOST_MS, INITIAL_MS * FACTOR ** (state.step - 1))
        if not 0 <= pause <= cap:
            return f"a pause of {pause} ms after remedy {state.step}, whose cap is {cap} ms"
        return ""

    def _forgot(self, was: RecoveryState, state: RecoveryState, now_ms: int) -> str:
        if state.step or not was.step or was.spec_hash != state.spec_hash:
            return ""
        self.forgotten += 1
        well = now_ms - was.well_ms if was.well_ms else 0
        return f"forgotten after it was well for {well} ms of {SPELL_MS}" if well < SPELL_MS else ""


def _just_ended(was: RecoveryState, state: RecoveryState) -> Taken | None:
    """The remedy that was under way, and is not any more."""
    going = was.under_way
    last = state.taken[-1] if state.taken else None
    if going is None or last is None or last.at_ms != going.at_ms or last.ended is Ended.UNDER_WAY:
        return None
    return last
