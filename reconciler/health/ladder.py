"""The ladder of remedies: from an agent's declaration, its record and its health to the next step. Pure.

May live here: which remedy comes next, when, and when what was counted is forgotten. Must not: know how a remedy is
done, what else is being done in the fleet (health.budgets), or the clock; time and chance come in as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.health.assess import OWN
from reconciler.model.agent import Backoff, Health, Recovery, Remedy
from reconciler.model.health import Assessment, CheckState, HealthState
from reconciler.model.recovery import KEPT, Ended, RecoveryState, Taken

ONCE = frozenset({Remedy.REPROBE, Remedy.ROLLBACK, Remedy.QUARANTINE})
"""Remedies that are tried once in an illness. The others share what is left of `attempts`."""
LEAVES_SPEC = frozenset({Remedy.REPROBE, Remedy.RESTART, Remedy.RESCHEDULE})
"""Remedies after which the agent is declared and deployed as before."""
AGAIN = frozenset({Remedy.RESTART, Remedy.RESCHEDULE})
"""Remedies that a longer ladder repeats: not for one that flaps, which is well after each and falls ill again."""
ACTS = frozenset({Remedy.RESTART, Remedy.RESCHEDULE, Remedy.ROLLBACK})
"""Remedies that touch what runs: they are what budgets are for."""
SPELLS = 2
"""After so many times the longest pause without a failure what was counted is forgotten."""
DAY_MS = 24 * 60 * 60 * 1000
A_DAY = 2
"""An agent gets at most so many times its `attempts` in a day; one that needs more is not mended by them."""
MAX_BECAUSE = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One agent that no remedy and no change is under way for.

    `spec_hash` is of the spec that runs. `settled`: that is what is declared, or its rollback is on record
    (`quarantined`). `looks` counts the measurements since the last remedy or change of it ended.
    """

    recovery: Recovery
    health: Health
    assessment: Assessment
    state: RecoveryState | None
    spec_hash: str
    settled: bool
    quarantined: bool
    looks: int
    now_ms: int
    clusters: tuple[str, ...] = ()
    """Where it runs."""
    degraded: bool = False
    """Its record says so, of a change or a remedy that is over: once it is healthy that is not true any more."""


class Noted(StrEnum):
    """Why a record's state of recovery is written with no remedy."""

    WELL = "well"
    MENDED = "mended"
    """It is healthy, whatever became of the change that its record tells of."""
    RELAPSED = "relapsed"
    FORGOTTEN = "forgotten"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Nothing is done, and nothing written. `text` says why, where the agent is not well."""

    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """`remedy` is next (None: none is left), but not before `until_ms`, 0 where it is no matter of time alone."""

    remedy: Remedy | None
    until_ms: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Write `state`, and where it `runs` that it does, and do nothing else."""

    what: Noted
    state: RecoveryState
    runs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Do `remedy` now. `state` is what to write before it, the remedy under way in it."""

    remedy: Remedy
    state: RecoveryState


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """The ladder has ended: write `state`, and tell people."""

    state: RecoveryState
    text: str


Decision = Rest | Wait | Note | Take | Leave


def sequence(recovery: Recovery) -> tuple[Remedy, ...]:
    """All remedies of one illness in order, at most `attempts`, along the ladder from first to last.

    Restart and reschedule are repeated as often as `attempts` leaves room for, the earlier ones once more where it
    does not come out even; the others come once. Nothing follows a quarantine.
    """
    rungs: list[Remedy] = []
    for remedy in recovery.ladder:
        if remedy not in ONCE or remedy not in rungs:
            rungs.append(remedy)
        if remedy is Remedy.QUARANTINE:
            break
    repeatable = sum(remedy not in ONCE for remedy in rungs)
    more, odd = divmod(max(0, recovery.attempts - len(rungs)), repeatable) if repeatable else (0, 0)
    made: list[Remedy] = []
    for remedy in rungs:
        times = 1
        if remedy not in ONCE:
            times += more + (odd > 0)
            odd = max(0, odd - 1)
        made += [remedy] * times
    return tuple(made[: recovery.attempts])


def ceiling_ms(backoff: Backoff, step: int) -> int:
    """The longest pause after remedy number `step` (1 is the first): it grows until it is `max`, and then stays so."""
    longest, pause = backoff.max.ms, float(backoff.initial.ms)
    for _ in range(step - 1):
        if pause >= longest:
            break
        pause *= backoff.factor
        if backoff.factor == 1:
            break
    return min(longest, round(pause))


def pause_ms(backoff: Backoff, step: int, chance: float) -> int:
    """The pause after a remedy, with full jitter: any part of its ceiling. `chance` is from 0 to 1."""
    return round(ceiling_ms(backoff, step) * min(1.0, max(0.0, chance)))


def spell_ms(recovery: Recovery) -> int:
    """How long an agent has to stay healthy until what was counted is forgotten."""
    return SPELLS * recovery.backoff.max.ms


def decide(case: Case) -> Decision:
    """The next step of one agent. The same case has the same answer."""
    state = _of_spec(case)
    if state is not None and state.under_way is not None:
        text = "it was interrupted: what was done of it stays"
        stopped = ended(state, case.recovery, Ended.INTERRUPTED, text, at_ms=case.now_ms, chance=1.0)
        return Note(what=Noted.INTERRUPTED, state=replace(stopped, spec_hash=case.spec_hash))
    found = case.assessment
    if found.is_healthy:
        return _well(case, state)
    if found.upstream:
        return Rest(text=f"explained by {', '.join(map(str, found.upstream))}: nothing is done to it for that")
    if not found.requires_recovery:
        return Rest(text=_why_none(found))
    return _ill(case, state)


def ended(
    state: RecoveryState, recovery: Recovery, how: Ended, text: str, *, at_ms: int, chance: float
) -> RecoveryState:
    """The state when the remedy that is under way has ended: it counts, however it ended, and a pause begins."""
    last = replace(state.taken[-1], ended=how, ended_ms=at_ms, text=text)
    return replace(
        state,
        due_ms=at_ms + pause_ms(recovery.backoff, state.step, chance),
        left=state.left or (last.remedy is Remedy.QUARANTINE and how is Ended.DONE),
        taken=(*state.taken[:-1], last),
    )


def because(assessment: Assessment) -> str:
    """What is wrong with an agent, for people."""
    return "; ".join(f"{check.name}: {check.text}" for check in _failing(assessment))[:MAX_BECAUSE]


def ill_since_ms(assessment: Assessment) -> int:
    """When the first of the checks that call for recovery became unhealthy."""
    return min((check.since_ms for check in _failing(assessment)), default=assessment.at_ms)


def next_remedy(recovery: Recovery, state: RecoveryState | None, *, quarantined: bool) -> Remedy | None:
    """Which remedy comes next, if any is left. An agent that was rolled back is not rolled back further."""
    return _next(recovery, state.step if state else 0, quarantined=quarantined)[1]


def _next(recovery: Recovery, step: int, *, quarantined: bool) -> tuple[int, Remedy | None]:
    remedies = sequence(recovery)
    while step < len(remedies) and remedies[step] is Remedy.ROLLBACK and quarantined:
        step += 1
    return step, remedies[step] if step < len(remedies) else None


def _not_again(recovery: Recovery, step: int, *, quarantined: bool) -> tuple[int, Remedy | None]:
    """What comes next that was not tried in this illness."""
    remedies = sequence(recovery)
    done = AGAIN.intersection(remedies[:step])
    step, remedy = _next(recovery, step, quarantined=quarantined)
    while remedy in done:
        step, remedy = _next(recovery, step + 1, quarantined=quarantined)
    return step, remedy


def _of_spec(case: Case) -> RecoveryState | None:
    """What counts for the spec that runs. A rollback that was interrupted has changed it by itself."""
    state = case.state
    if state is None or state.spec_hash == case.spec_hash:
        return state
    going = state.under_way
    return state if going is not None and going.remedy is Remedy.ROLLBACK else None


def _why_none(found: Assessment) -> str:
    if found.state is not HealthState.UNHEALTHY:
        return ""
    own = any(check.dimension in OWN for check in _failing(found))
    return "what it has could not be measured just now" if own else "no remedy mends what it has"


def _failing(assessment: Assessment) -> list[CheckState]:
    return [check for check in assessment.checks if check.critical and check.state is HealthState.UNHEALTHY]


def _well(case: Case, state: RecoveryState | None) -> Decision:
    if state is not None and state.since_ms and not 0 < state.well_ms <= case.now_ms:  # the future is another clock's
        return Note(what=Noted.WELL, state=replace(state, well_ms=case.now_ms), runs=case.degraded)
    if case.degraded and _surely_well(case):
        return Note(what=Noted.MENDED, state=state or RecoveryState(spec_hash=case.spec_hash), runs=True)
    if state is None or not state.since_ms:
        return Rest()
    if case.now_ms - state.well_ms < spell_ms(case.recovery):
        return Rest()
    kept = state.left and case.quarantined  # that ends with another spec, or by hand
    return Note(what=Noted.FORGOTTEN, state=RecoveryState(spec_hash=state.spec_hash, left=kept, taken=state.taken))


def _surely_well(case: Case) -> bool:
    """Whether it was measured since, and nothing of it is amiss: who has just failed is not unhealthy yet."""
    found = case.assessment
    return found.measured and found.state is HealthState.HEALTHY and case.looks > 0


def _ill(case: Case, known: RecoveryState | None) -> Decision:
    state = known or RecoveryState(spec_hash=case.spec_hash)
    state = replace(state, since_ms=state.since_ms or ill_since_ms(case.assessment), well_ms=0)
    decision = _step(case, state)
    relapsed = known is not None and known.well_ms > 0
    if relapsed and isinstance(decision, Rest | Wait):
        return Note(what=Noted.RELAPSED, state=state)
    return decision


def _step(case: Case, state: RecoveryState) -> Decision:
    if state.left:
        return Rest(text="nothing is left of its ladder: it is left to people")
    step, remedy = _next(case.recovery, state.step, quarantined=case.quarantined)
    if remedy is not None and _spent(case, state):
        step, remedy = _last_resort(case.recovery, step)
    elif case.assessment.flapping:
        step, remedy = _not_again(case.recovery, step, quarantined=case.quarantined)
    last = state.taken[-1] if state.taken and state.step else None
    if case.looks < case.health.failure_threshold:
        why = f"it is watched whether the {last.remedy} has helped" if last else "it was changed, and is watched first"
        return Wait(remedy=remedy, until_ms=0, text=why)
    if remedy is None:
        return _at_the_end(case, state)
    if not case.settled and remedy not in LEAVES_SPEC:
        return Wait(remedy=remedy, until_ms=0, text="another spec is declared for it, and comes first")
    due_ms = _due_ms(case, state, step)
    if 0 < due_ms - case.now_ms <= case.recovery.backoff.max.ms:  # what is further away is of another clock
        return Wait(remedy=remedy, until_ms=due_ms, text=f"a pause after the {last.remedy}" if last else "")
    return Take(remedy=remedy, state=_taking(case, replace(state, step=step + 1), remedy))


def _due_ms(case: Case, state: RecoveryState, step: int) -> int:
    """When the next remedy may begin, which comes after `step` others.

    Where some are passed over because it flaps: no sooner than if they had been tried, and no later than the longest
    pause.
    """
    if step <= state.step or not case.assessment.flapping or not state.taken:
        return state.due_ms
    backoff = case.recovery.backoff
    pauses = sum(ceiling_ms(backoff, number) for number in range(state.step, step + 1))
    return max(state.due_ms, state.taken[-1].ended_ms + min(backoff.max.ms, pauses))


def _at_the_end(case: Case, state: RecoveryState) -> Rest | Leave:
    """It is people's now, unless there is something left that only does not suit one that flaps."""
    if (
        case.assessment.flapping
        and next_remedy(case.recovery, state, quarantined=case.quarantined)
        and not _spent(case, state)
    ):
        return Rest(text="it flaps: it was mended as its ladder says, and is left until it stays one way")
    return Leave(state=replace(state, left=True), text=_left_text(case, state))


def _taking(case: Case, state: RecoveryState, remedy: Remedy) -> RecoveryState:
    why = because(case.assessment)
    taken = Taken(remedy=remedy, at_ms=case.now_ms, because=why, clusters=case.clusters)
    return replace(state, due_ms=0, taken=_kept((*state.taken, taken)))


def _kept(taken: tuple[Taken, ...]) -> tuple[Taken, ...]:
    """At most KEPT of them, the last one always. The oldest that is no act goes first: acts are counted for a day."""
    if len(taken) > KEPT:
        goes = next((index for index, item in enumerate(taken[:-1]) if item.remedy not in ACTS), 0)
        taken = (*taken[:goes], *taken[goes + 1 :])
    return taken[-KEPT:]


def _spent(case: Case, state: RecoveryState) -> bool:
    """Whether an agent has had what it gets in a day: it is healthy in between, and falls ill again and again."""
    recent = sum(item.remedy in ACTS and case.now_ms - item.at_ms < DAY_MS for item in state.taken)
    return recent >= min(KEPT, A_DAY * case.recovery.attempts)


def _last_resort(recovery: Recovery, step: int) -> tuple[int, Remedy | None]:
    """The quarantine at the end of a ladder, where it has one; what comes before is passed over."""
    remedies = sequence(recovery)
    if Remedy.QUARANTINE in remedies[step:]:
        return len(remedies) - 1, Remedy.QUARANTINE
    return len(remedies), None


def _left_text(case: Case, state: RecoveryState) -> str:
    remedies = len(sequence(case.recovery))
    if not remedies:
        return "it is unhealthy, and its ladder has no remedies"
    return f"it is unhealthy still, and nothing is left of its ladder after {max(state.step, 1)} of {remedies} remedies"
