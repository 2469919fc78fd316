"""What of assessments is worth keeping: from two of them the change between, and back from a change an assessment.

Pure. A change is kept when the state is another one, when other checks are ill, or when flapping begins or ends. Of an
agent that flaps only what crosses the line between serving and not serving is kept: the rest says little, and is much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.model.health import Assessment, CheckState, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import UP, CheckMark, HealthChange

MAX_TEXT = 400


def change_between(before: Assessment | None, now: Assessment) -> HealthChange | None:
    """What is to be kept of an assessment, after the one `before`; None when it brings nothing new."""
    was = before.state if before is not None else HealthState.UNKNOWN
    if before is not None and before.flapping and now.flapping and (was in UP) == (now.state in UP):
        return None
    if was is now.state and (before is None or (before.flapping is now.flapping and _ill(before) == _ill(now))):
        return None
    return change_to(now, was)


def change_to(now: Assessment, was: HealthState) -> HealthChange:
    """The change to an assessment."""
    text = "; ".join(f"{check.name}: {check.text}" for check in now.checks if check.state in _BAD)
    return HealthChange(
        agent=now.agent,
        at_ms=now.at_ms,
        state=now.state,
        was=was,
        text=text[:MAX_TEXT],
        well_ms=_well_ms(now) if now.state is HealthState.UNHEALTHY and was is not HealthState.UNHEALTHY else 0,
        flapping=now.flapping,
        turns=now.turns,
        checks=tuple(
            CheckMark(name=check.name, dimension=check.dimension, state=check.state, critical=check.critical)
            for check in now.checks
        ),
    )


def lapse(agent: AgentName, was: HealthState, *, at_ms: int, text: str) -> HealthChange:
    """From `at_ms` on nobody looked."""
    return HealthChange(agent=agent, at_ms=at_ms, state=HealthState.UNKNOWN, was=was, text=text)


def recalled(changes: Iterable[HealthChange]) -> Mapping[AgentName, Assessment]:
    """How agents stood by their last changes, for the next sweep to go on from. What was `unknown` is not there.

    How many measurements were equal in a row is not on record: a check that is ill stays so until enough succeed, one
    that is well fails as often as ever before it is ill.
    """
    return {
        change.agent: Assessment(
            agent=change.agent,
            at_ms=change.at_ms,
            state=change.state,
            is_healthy=change.state in UP,
            requires_recovery=False,
            critical=False,
            checks=tuple(
                CheckState(
                    name=mark.name,
                    dimension=mark.dimension,
                    state=mark.state,
                    text="",
                    critical=mark.critical,
                    since_ms=change.at_ms,
                )
                for mark in change.checks
            ),
            flapping=change.flapping,
            turns=change.turns,
            measured=False,
        )
        for change in changes
        if change.state is not HealthState.UNKNOWN
    }


_BAD = frozenset({HealthState.UNHEALTHY, HealthState.DEGRADED})


def _ill(one: Assessment) -> set[str]:
    return {check.name for check in one.checks if check.state is HealthState.UNHEALTHY}


def _well_ms(now: Assessment) -> int:
    """When what makes it ill was last seen well: of several, what was so first. 0 where one never was."""
    return min(
        (check.well_ms for check in now.checks if check.critical and check.state is HealthState.UNHEALTHY), default=0
    )
