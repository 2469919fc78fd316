"""An agent's ladder: which remedies were taken, and what comes next and when."""

from __future__ import annotations

from typing import Any

from reconciler.cli.views.records import moment
from reconciler.health.ladder import next_remedy, sequence
from reconciler.model.agent import Recovery, Remedy
from reconciler.model.recovery import RecoveryState, Taken
from reconciler.model.registry import Record

Row = tuple[str, ...]
HEADINGS = ("STEP", "REMEDY", "WHEN", "OUTCOME", "WHAT")
MAX_EARLIER = 5
"""Remedies of earlier illnesses that are shown."""


def standing(record: Record, rules: Recovery | None) -> str:
    """In one line how far an agent has come; "" where nothing was ever done."""
    state = record.present_recovery
    if state is None:
        return ""
    if not state.since_ms:
        return f"healthy; {_remedies(len(state.taken))} before"
    if state.well_ms:
        return f"healthy again since {moment(state.well_ms)}, after {_remedies(state.step)}"
    if state.left:
        return f"unhealthy since {moment(state.since_ms)}, and left to people after {_remedies(state.step)}"
    return f"unhealthy since {moment(state.since_ms)}; {_next_text(record, state, rules)}"


def ladder_rows(record: Record, rules: Recovery | None) -> list[Row]:
    """The remedies of this illness and the last ones of earlier ones, then those that are still to come."""
    state = record.present_recovery
    if state is None:
        return []
    present = [item for item in state.taken if state.since_ms and item.at_ms >= state.since_ms]
    earlier = state.taken[: len(state.taken) - len(present)]
    rows = [_taken("before", item) for item in earlier[-MAX_EARLIER:]]
    rows += [_taken(str(number), item) for number, item in enumerate(present, 1)]
    if rules is None or not state.since_ms or state.left:
        return rows
    back = record.quarantine is not None
    coming = [remedy for remedy in sequence(rules)[state.step :] if not (back and remedy is Remedy.ROLLBACK)]
    for index, remedy in enumerate(coming):
        due = f"not before {moment(state.due_ms)}" if state.due_ms and not index else "-"
        rows.append((str(len(present) + index + 1), remedy.value, due, "to come", "-"))
    return rows


def recovery_json(record: Record, rules: Recovery | None = None) -> dict[str, Any] | None:
    """The same in YAML names; None where nothing was ever done."""
    state = record.present_recovery
    if state is None:
        return None
    coming = None
    if rules is not None and state.since_ms and not state.left:
        coming = next_remedy(rules, state, quarantined=record.quarantine is not None)
    return {
        "unhealthySince": moment(state.since_ms),
        "healthySince": moment(state.well_ms),
        "step": state.step,
        "of": len(sequence(rules)) if rules is not None else None,
        "next": coming and {"remedy": coming.value, "notBefore": moment(state.due_ms)},
        "leftToPeople": state.left,
        "taken": [
            {
                "remedy": item.remedy.value,
                "at": moment(item.at_ms),
                "ended": moment(item.ended_ms),
                "outcome": item.ended.value,
                "because": item.because,
                "text": item.text,
                "clusters": list(item.clusters),
            }
            for item in state.taken
        ],
    }


def _next_text(record: Record, state: RecoveryState, rules: Recovery | None) -> str:
    if state.under_way is not None:
        return f"{state.under_way.remedy} is under way"
    coming = next_remedy(rules, state, quarantined=record.quarantine is not None) if rules is not None else None
    if coming is None:
        return "nothing is left of its ladder"
    when = f", not before {moment(state.due_ms)}" if state.due_ms else ""
    return f"next, if it stays so: {coming}{when}"


def _taken(step: str, item: Taken) -> Row:
    return step, item.remedy.value, moment(item.at_ms), item.ended.value, item.text or item.because


def _remedies(count: int) -> str:
    return f"{count} remed{'y' if count == 1 else 'ies'}"
