"""What is an alert: from health, plans, and ends of changes to alerts that begin and end.

Each function answers only what is new beside `active`: alerts that begin or are other than they were, and with
`resolved` those that are over. What is not known now begins nothing and ends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.alerting.masking import masked, secrets_of
from reconciler.model.agent import Agent, Remedy
from reconciler.model.alert import Alert, Covers, Severity
from reconciler.model.events import ChangeFinished, Outcome
from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.plan import Hold, HoldCode, Plan
from reconciler.model.registry import AgentState, Record
from reconciler.model.source import Severity as Weight

UNHEALTHY = "AgentUnhealthy"
FLAPPING = "AgentFlapping"
FAILED = "ChangeFailed"
HELD = "ChangesHeld"
UNWELL = "ClusterUnwell"
PASSES = "PassesFailing"
REGISTRY = "RegistryAway"
OWN = frozenset({UNHEALTHY, FLAPPING, FAILED, HELD, UNWELL, PASSES, REGISTRY})
"""What is raised here, and therefore ended here too."""
FLEET = "FleetUnhealthy"
PART = "ShardsUnhealthy"
ALL = OWN | {FLEET, PART}
"""The names of all alerts."""
OF_THE_FLEET = frozenset({HELD, UNWELL, FLEET})
"""What all daemons of a fleet see alike: one of them is enough to tell."""

MAX_TEXT = 600
MAX_NAMES = 10
UNWELL_AFTER_MS = 60_000
"""How long a cluster must not have been readable in sweep after sweep: one that stumbles is no news."""
BLIND_AFTER_MS = 60_000
"""How long the registry must not have answered."""
FAILING_AFTER_MS = 120_000
"""How long passes must have failed in a row."""

_HOLDS: Mapping[HoldCode, str] = {
    HoldCode.INVALID: "files that cannot be used",
    HoldCode.DELETION_BUDGET: "deletions over the budget",
    HoldCode.EMPTY_FLEET: "deletions, because the fleet declares nothing any more",
    HoldCode.REWIND: "deletions by a commit that does not follow the last one",
    HoldCode.UNPLACEABLE: "agents that no cluster can take",
    HoldCode.QUOTA: "agents over their namespace's quota",
    HoldCode.FOREIGN_OWNER: "objects that somebody else owns",
    HoldCode.OTHER_CLUSTER: "a cluster that is another one than it was",
}
"""What is held back until people do something, and what it is. Other holds end by themselves, or people made them."""
_WORKED = frozenset({Outcome.APPLIED})
_BAD = frozenset({Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.UNDONE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What alerts about agents are made with: agents as declared, and records."""

    agents: Mapping[AgentName, Agent]
    records: Mapping[AgentName, Record]

    def about(self, name: AgentName, alert: Alert) -> Alert:
        """An alert with what is known of its agent."""
        agent, record = self.agents.get(name), self.records.get(name)
        labels = agent.labels if agent is not None else record.labels if record is not None else {}
        clusters = {placed.cluster for placed in record.placement if placed.replicas} if record is not None else set()
        return replace(
            alert,
            agent=name,
            labels=dict(labels),
            cluster=clusters.pop() if len(clusters) == 1 else "",
        )

    def runs(self, name: AgentName) -> bool:
        """Whether an agent is to be looked at, be it that nobody has done so yet, or knows how: its file is broken."""
        agent, record = self.agents.get(name), self.records.get(name)
        if record is None or record.suspended:
            return False
        return not agent.spec.suspend if agent is not None else bool(record.running_on)

    def clean(self, name: AgentName, alert: Alert) -> Alert:
        """An alert whose words are fit to be told: without the agent's secrets, and not too long."""
        agent = self.agents.get(name)
        return replace(alert, text=_short(masked(alert.text, secrets_of(agent) if agent is not None else ())))


def of_health(
    found: Mapping[AgentName, Assessment], known: Known, active: Mapping[str, Alert], now_ms: int
) -> tuple[Alert, ...]:
    """What a sweep means: agents that are unhealthy, and those that are not any more, or are not looked at.

    Of an agent that is being changed nothing begins: how that ends is told by itself. One that is unhealthy again and
    again is one alert for as long as it flaps, and not one each time. What is only remembered of an agent, which has
    not been looked at again yet, says neither how bad it is nor where it comes from.
    """
    news: list[Alert] = []
    ills, flapping = ({one.agent: one for one in active.values() if one.name == kind} for kind in (UNHEALTHY, FLAPPING))
    for name, assessment in found.items():
        if assessment.state is HealthState.UNKNOWN or assessment.recalled:
            continue
        ill, flaps = ills.get(name), flapping.get(name)
        if flaps is not None and not assessment.flapping:
            news.append(replace(flaps, resolved=True, text="it does not flap any more"))
        if assessment.state is HealthState.UNHEALTHY:
            as_flapping = ill is None and assessment.flapping
            before = flaps if as_flapping else ill
            alert = known.about(name, (_flapping if as_flapping else _unhealthy)(assessment, before, now_ms))
            if before is None and _changing(known.records.get(name)):
                continue
            if before is None or _differs(before, alert):
                news.append(known.clean(name, alert))  # only now: it takes longer than all the rest
        elif ill is not None:
            news.append(replace(ill, resolved=True, text="it is well again"))
    about = [alert for alert in active.values() if alert.name in {UNHEALTHY, FLAPPING} and alert.agent not in found]
    gone = [alert for alert in about if alert.agent is None or not known.runs(alert.agent)]
    news += [replace(alert, resolved=True, text="it is not looked at any more") for alert in gone]
    return tuple(sorted(news, key=lambda one: one.key))


def _flapping(assessment: Assessment, before: Alert | None, now_ms: int) -> Alert:
    """As bad as it has been at its worst: to call it better in between would be to tell each turn after all."""
    now = _unhealthy(assessment, before, now_ms)
    critical = Severity.CRITICAL in {now.severity, before.severity if before is not None else None}
    return replace(
        now,
        key=f"{FLAPPING} {assessment.agent}",
        name=FLAPPING,
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        text=f"it falls ill and is well again, over and over; {now.text}",
    )


def _unhealthy(assessment: Assessment, before: Alert | None, now_ms: int) -> Alert:
    ill = [
        f"{check.name}: {check.text}" if check.text else check.name
        for check in assessment.checks
        if check.state is HealthState.UNHEALTHY
    ]
    critical = assessment.critical
    said = "nothing of it serves" if critical else "it is unhealthy"
    return Alert(
        key=f"{UNHEALTHY} {assessment.agent}",
        name=UNHEALTHY,
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        text=f"{said}; {'; '.join(ill)}" if ill else said,
        at_ms=before.at_ms if before is not None else now_ms,
        cause=assessment.upstream[0] if assessment.upstream else None,
    )


def _changing(record: Record | None) -> bool:
    return record is not None and record.state in {AgentState.DEPLOYING, AgentState.TERMINATING}


def _differs(before: Alert, now: Alert) -> bool:
    """Whether an alert is another one in more than its words: those change with every measurement."""
    return replace(before, text=now.text, details=now.details) != now


def of_end(end: ChangeFinished, known: Known, active: Mapping[str, Alert], now_ms: int) -> Alert | None:
    """What the end of a change means."""
    key = f"{FAILED} {end.agent}"
    before = active.get(key)
    if end.outcome in _WORKED:
        return replace(before, resolved=True, text=end.text) if before is not None else None
    if end.outcome not in _BAD:
        return None
    reason = end.reason if end.text in end.reason else f"{end.text}: {end.reason}" if end.reason else end.text
    alert = _failed(end.agent, f"{end.action.value} {end.outcome.value}; {reason}", before, now_ms)
    alert = replace(alert, details={"action": end.action.value, "outcome": end.outcome.value})
    return known.clean(end.agent, known.about(end.agent, alert))


def _failed(name: AgentName, text: str, before: Alert | None, now_ms: int) -> Alert:
    at_ms = before.at_ms if before is not None else now_ms
    return Alert(key=f"{FAILED} {name}", name=FAILED, severity=Severity.WARNING, text=text, at_ms=at_ms)


def of_plan(
    plan: Plan, known: Known, active: Mapping[str, Alert], now_ms: int, *, busy: Iterable[AgentName] = ()
) -> tuple[Alert, ...]:
    """What a plan means: what is held until people do something; and changes that failed and are not wanted any more.

    `busy` are agents with a change under way.
    """
    by_code: dict[HoldCode, list[Hold]] = {}
    for hold in plan.holds:
        if hold.code in _HOLDS:
            by_code.setdefault(hold.code, []).append(hold)
    if HoldCode.INVALID not in by_code and (unusable := _unusable(plan)) is not None:
        by_code[HoldCode.INVALID] = [unusable]
    holds = {alert.key: alert for alert in (_held(some, now_ms) for some in by_code.values())}
    # what goes on is told again by the words that are true then: other agents may be held by now
    news = [one for key, one in holds.items() if key not in active or active[key].text != masked(one.text)]
    complete = not any(one.problem for one in plan.completeness)
    if complete:
        over = (alert for key, alert in active.items() if alert.name == HELD and key not in holds)
        news += [replace(alert, resolved=True, text="nothing is held for it any more") for alert in over]
    quarantined = {name: hold for hold in plan.holds if hold.code is HoldCode.QUARANTINED for name in hold.agents}
    for name, hold in quarantined.items():
        if f"{FAILED} {name}" not in active and _failed_here(known.records.get(name)):
            alert = _failed(name, hold.text, None, now_ms)
            news.append(known.clean(name, known.about(name, replace(alert, details={"quarantined": "yes"}))))
    if complete:
        left = {change.name for change in plan.changes} | quarantined.keys() | set(busy)
        for alert in active.values():
            if alert.name == FAILED and alert.agent not in left:
                news.append(replace(alert, resolved=True, text="the change is not wanted any more, or was made"))
    return tuple(sorted(news, key=lambda one: one.key))


def _unusable(plan: Plan) -> Hold | None:
    """Files with errors that hold back no agent that anybody knows: what a broken new file declares is never made."""
    errors = [finding for finding in plan.diagnostics if finding.severity is Weight.ERROR]
    if not errors:
        return None
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    text = f"{errors[0].position}: {errors[0].message}{more}"
    lift = "`reconciler validate` shows what is wrong"
    return Hold(code=HoldCode.INVALID, agents=(), action=None, text=text, lift=lift)


def _failed_here(record: Record | None) -> bool:
    """Whether a quarantine is known to come from a change that failed. Of one by a remedy whoever applied it tells."""
    if record is None or record.quarantine is None:
        return False
    return record.recovery is None or not any(one.remedy is Remedy.QUARANTINE for one in record.recovery.taken)


def _held(holds: Sequence[Hold], now_ms: int) -> Alert:
    """What is held for one reason: all agents, and the words of the first."""
    hold, agents = holds[0], list(dict.fromkeys(name for one in holds for name in one.agents))
    names = ", ".join(map(str, agents[:MAX_NAMES]))
    if len(agents) > MAX_NAMES:
        names += f" and {len(agents) - MAX_NAMES} more"
    whose = f" ({names})" if names else ""
    return Alert(
        key=f"{HELD} {hold.code.value}",
        name=HELD,
        severity=Severity.WARNING,
        text=_short(masked(f"held back: {_HOLDS[hold.code]}{whose}: {hold.text}; {hold.lift}")),
        at_ms=now_ms,
        details={"code": hold.code.value},
    )


def of_clusters(since: Mapping[str, tuple[int, str]], active: Mapping[str, Alert], now_ms: int) -> tuple[Alert, ...]:
    """What clusters that cannot be read mean: `since` when, and why; others can be."""
    news = [
        Alert(
            key=f"{UNWELL} {cluster}",
            name=UNWELL,
            severity=Severity.CRITICAL,
            text=_short(masked(f"it cannot be read: {reason}")),
            at_ms=began,
            cluster=cluster,
            covers=Covers.CLUSTER,
        )
        for cluster, (began, reason) in sorted(since.items())
        if now_ms - began >= UNWELL_AFTER_MS and f"{UNWELL} {cluster}" not in active
    ]
    over = (alert for alert in active.values() if alert.name == UNWELL and alert.cluster not in since)
    return (*news, *(replace(alert, resolved=True, text="it can be read again") for alert in over))


def of_state(
    name: str,
    reason: str,
    began_ms: int,
    after_ms: int,
    active: Mapping[str, Alert],
    now_ms: int,
    *,
    daemon: str = "",
) -> tuple[Alert, ...]:
    """A state of the daemon itself that has to last `after_ms` to be an alert; `reason` "" is that it is over.

    `daemon` names it where a fleet has several: their alerts do not end with each other's.
    """
    before = next((alert for _key, alert in sorted(active.items()) if alert.name == name), None)
    if not reason:
        return (replace(before, resolved=True, text="it works again"),) if before is not None else ()
    if before is not None or now_ms - began_ms < after_ms:
        return ()
    key, said = (f"{name} {daemon}", f"daemon {daemon}: {reason}") if daemon else (name, reason)
    text = _short(masked(said))
    return (Alert(key=key, name=name, severity=Severity.CRITICAL, text=text, at_ms=began_ms, daemon=daemon),)


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
