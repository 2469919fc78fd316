"""What an apply reports while it runs: a union of small facts, in order, for views and logs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Drift


class Outcome(StrEnum):
    APPLIED = "applied"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    UNDONE = "undone"
    """A creation that failed and was taken back."""
    SKIPPED = "skipped"
    """Not started: a dependency failed, or the run was asked to stop."""
    SUPERSEDED = "superseded"
    """A newer commit took over while this rolled out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyStarted:
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeStarted:
    agent: AgentName
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutProgress:
    """`ready` of `wanted` pods on all clusters; `text` names what is waited for."""

    agent: AgentName
    ready: int
    wanted: int
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overridden:
    """A hand edit that was undone by force: whom it overrode."""

    agent: AgentName
    drift: Drift


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFinished:
    """`reason` is for people: for a failure what went wrong, with the last log lines where there are any."""

    agent: AgentName
    action: Action
    outcome: Outcome
    text: str
    ready: int
    wanted: int
    duration_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyFinished:
    """`sequence` is the registry's change sequence after the last write."""

    applied: int
    failed: int
    skipped: int
    duration_ms: int
    sequence: int
    interrupted: bool = False


ApplyEvent = ApplyStarted | ChangeStarted | RolloutProgress | Overridden | ChangeFinished | ApplyFinished
