"""From one sweep's evidence and the previous assessment to the next assessment. Pure."""

from __future__ import annotations

from reconciler.health.checks import Finding, Verdict, judge
from reconciler.health.flapping import flaps, turned
from reconciler.model.agent import Dimension, Health, HealthCheck
from reconciler.model.health import Assessment, CheckState, Evidence, HealthState
from reconciler.model.identity import AgentName

OWN = frozenset({Dimension.CONNECTIVITY, Dimension.RESOURCES, Dimension.LIFECYCLE, Dimension.PLUGIN})
"""Dimensions that a remedy on the agent itself can mend. A slow or lying agent is reported, not restarted."""
LIFECYCLE = HealthCheck(name="pods", dimension=Dimension.LIFECYCLE)
DEPENDENCIES = HealthCheck(name="depends-on", dimension=Dimension.DEPENDENCIES, critical=False)


def assess(
    agent: AgentName, health: Health, evidence: Evidence, *, previous: Assessment | None, now_ms: int
) -> Assessment:
    """Judge one agent.

    Beside its declared checks every agent is judged by its pods (check `pods`) and, where it depends on others, by
    them (check `depends-on`, which alone never makes it unhealthy). A check changes its state only after
    `health.failure_threshold` failures, or `health.success_threshold` successes, in a row; the first measurement
    that succeeds counts at once, so that a fresh agent is not reported as unknown for longer than it must.
    What was not measured keeps its state: a failed read is not an illness, and no reason to mend one either.
    `flapping` is a fact beside the others and changes none of them.
    """
    before = {check.name: check for check in previous.checks} if previous is not None else {}
    found: list[CheckState] = []
    measured = own = False
    for check in _checks(health, evidence):
        old = before.get(check.name)
        finding = judge(check, evidence, old)
        made = _advance(check, finding, old, health, now_ms)
        found.append(made)
        if finding.verdict is not Verdict.NOT_MEASURED:
            measured = True
            own = own or (made.state is HealthState.UNHEALTHY and check.critical and check.dimension in OWN)
    checks = tuple(found)
    upstream = tuple(sorted([name for name, well in evidence.dependencies.items() if well is False]))
    failing = [check for check in found if check.critical and check.state is HealthState.UNHEALTHY]
    state = _overall(checks)
    turns = previous.turns if previous is not None else 0
    turns = _turns(previous, state) if measured else turns
    explained = bool(upstream or evidence.in_doubt)
    return Assessment(
        agent=agent,
        at_ms=now_ms,
        state=state,
        is_healthy=not failing and state is not HealthState.UNKNOWN,
        requires_recovery=own and not explained,
        critical=_nothing_serves(checks, evidence),
        checks=checks,
        upstream=upstream,
        flapping=flaps(turns, before=previous is not None and previous.flapping),
        turns=turns,
        measured=measured,
        latencies_ms=_latencies(health, evidence),
    )


def stands(known: Assessment) -> bool | None:
    """Whether an agent is well as those see it that depend on it; None where nothing of it is known."""
    return None if known.state is HealthState.UNKNOWN else known.is_healthy


def fails_now(known: Assessment) -> bool:
    """Whether a critical check of an agent failed when it was last measured, however short that has lasted.

    Who depends on it may count to its own threshold first, and must not be mended for that.
    """
    return any(check.critical and check.failures for check in known.checks)


def _turns(previous: Assessment | None, state: HealthState) -> int:
    """What is remembered of changes. To become known is none."""
    if previous is None:
        return 0
    changed = previous.state is not state and previous.state is not HealthState.UNKNOWN
    return turned(previous.turns, changed=changed)


def _latencies(health: Health, evidence: Evidence) -> tuple[float, ...]:
    calls: list[float] = []
    connections: list[float] = []
    for check in health.checks:
        if check.dimension is Dimension.PERFORMANCE:
            calls += [sample.latency_ms for sample in evidence.samples.get(check.name, ()) if sample.ok]
        elif check.dimension is Dimension.CONNECTIVITY:
            connections += [sample.latency_ms for sample in evidence.samples.get(check.name, ()) if sample.ok]
    return tuple(calls or connections)


def _checks(health: Health, evidence: Evidence) -> tuple[HealthCheck, ...]:
    declared = [check.dimension for check in health.checks]
    extra = () if Dimension.LIFECYCLE in declared else (LIFECYCLE,)
    if evidence.dependencies and Dimension.DEPENDENCIES not in declared:
        return (*health.checks, *extra, DEPENDENCIES)
    return (*health.checks, *extra)


def _advance(
    check: HealthCheck, finding: Finding, before: CheckState | None, health: Health, now_ms: int
) -> CheckState:
    """Hysteresis: count equal verdicts, and change state only at the threshold."""
    old = before or CheckState(
        name=check.name, dimension=check.dimension, state=HealthState.UNKNOWN, text="", since_ms=now_ms
    )
    state, failures, successes = old.state, old.failures, old.successes
    match verdict := finding.verdict:
        case Verdict.PASS:
            failures, successes = 0, successes + 1
            if state is HealthState.UNKNOWN or successes >= health.success_threshold:
                state = HealthState.HEALTHY
        case Verdict.FAIL:
            failures, successes = failures + 1, 0
            if failures >= health.failure_threshold:
                state = HealthState.UNHEALTHY
            elif state is HealthState.HEALTHY:
                state = HealthState.DEGRADED
        case Verdict.NOT_MEASURED:
            pass
    return CheckState(  # not by `replace`, which takes longer: a sweep makes tens of thousands
        name=old.name,
        critical=check.critical,
        dimension=check.dimension,
        state=state,
        text=finding.text,
        failures=failures,
        successes=successes,
        since_ms=old.since_ms if state is old.state else now_ms,
        well_ms=now_ms if verdict is Verdict.PASS else old.well_ms,
        latencies=finding.latencies,
        outcomes=finding.outcomes,
        restarts=finding.restarts,
        pods=finding.pods,
    )


def _overall(checks: tuple[CheckState, ...]) -> HealthState:
    states = [check.state for check in checks]
    if HealthState.UNHEALTHY in states:
        if any(check.critical and check.state is HealthState.UNHEALTHY for check in checks):
            return HealthState.UNHEALTHY
        return HealthState.DEGRADED
    if HealthState.DEGRADED in states:
        return HealthState.DEGRADED
    return HealthState.HEALTHY if HealthState.HEALTHY in states else HealthState.UNKNOWN


def _nothing_serves(checks: tuple[CheckState, ...], evidence: Evidence) -> bool:
    """No pod is ready though some are wanted, or a reachability check that failed long enough failed at every pod."""
    if evidence.pods is not None and evidence.pods.wanted > 0 and evidence.pods.ready == 0:
        return any(c.dimension is Dimension.LIFECYCLE and c.state is HealthState.UNHEALTHY for c in checks)
    for check in checks:
        if check.dimension is Dimension.CONNECTIVITY and check.state is HealthState.UNHEALTHY:
            samples = [sample for sample in evidence.samples.get(check.name, ()) if not sample.refused]
            if samples and not any(sample.ok for sample in samples):
                return True
    return False
