"""What a plan says of agents that are about to leave a cluster that is unwell, and of those that wait to go back.

May live here: notes on the policy failover, with the time of what comes next. Must not: decide who moves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from reconciler.model.agent import Agent, PlacementPolicy
from reconciler.model.identity import AgentName
from reconciler.model.plan import Hold, HoldCode
from reconciler.model.registry import ClusterHealth, ClusterState, Record
from reconciler.placement.world import failback_after_ms, failover_after_ms
from reconciler.plan.guard import when
from reconciler.plan.inputs import PlanInput


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Wait:
    """What some agents have in common: the text about them, and what changes it."""

    text: str
    lift: str


def notes(
    given: PlanInput,
    records: Mapping[AgentName, Record],
    recorded: Mapping[str, ClusterHealth],
    changing: Collection[AgentName],
) -> Iterator[Hold]:
    """One note for agents that wait for the same. `recorded` is how clusters are by the registry, `given.clusters` by
    this look: what only this look has seen is counted from the next one that writes it down.
    """
    found: dict[_Wait, list[AgentName]] = {}
    unwell = {name for name, health in given.clusters.items() if health.state is ClusterState.UNWELL}
    for name in records if unwell else given.homes.keys() & records.keys():
        record = records[name]
        if not record.home and not any(item.cluster in unwell for item in record.placement):
            continue
        agent = given.declaration.agents.get(name)
        if agent is None or name in changing or agent.spec.placement.policy is not PlacementPolicy.FAILOVER:
            continue
        wait = _wait(agent, record, given, recorded)
        if wait is not None:
            found.setdefault(wait, []).append(name)
    for wait, names in sorted(found.items()):
        yield Hold(
            code=HoldCode.FAILOVER,
            agents=tuple(sorted(names)),
            action=None,
            text=wait.text,
            lift=wait.lift,
            blocks_exit=False,
        )


def _wait(agent: Agent, record: Record, given: PlanInput, recorded: Mapping[str, ClusterHealth]) -> _Wait | None:
    for placed in record.placement:
        health = given.clusters.get(placed.cluster)
        if placed.replicas and health is not None and health.state is ClusterState.UNWELL:
            return _leaving(agent, health, given.now_ms, known=recorded.get(placed.cluster) == health)
    if record.home:
        return _returning(agent, record, given)
    return None


def _leaving(agent: Agent, health: ClusterHealth, now_ms: int, *, known: bool) -> _Wait | None:
    after = failover_after_ms(agent)
    if now_ms - health.since_ms >= after:
        return None  # it moves, or what keeps it from moving stands in a hold of its own
    cluster = health.cluster
    lift = f"nothing moves when {cluster} is well before"
    if not known:
        text = (
            f"{cluster} is unwell ({health.reason}): the next `apply` or `health` notes since when, and the failover "
            f"begins {_span(after)} later"
        )
        return _Wait(text=text, lift=lift)
    text = (
        f"{cluster} is unwell since {when(health.since_ms)} ({health.reason}): the failover begins with the first "
        f"apply after {when(health.since_ms + after)}"
    )
    return _Wait(text=text, lift=lift)


def _returning(agent: Agent, record: Record, given: PlanInput) -> _Wait | None:
    home = record.home
    here = " and ".join(item.cluster for item in record.placement)
    health = given.clusters.get(home)
    if health is None:
        return None
    if health.state is ClusterState.UNWELL:
        text = f"away on {here} while {home} is unwell ({health.reason})"
        lift = f"goes back when {home} has been well for {_span(failback_after_ms(agent))}"
        return _Wait(text=text, lift=lift)
    back = health.since_ms + failback_after_ms(agent)
    if given.now_ms >= back:
        return _Wait(text=f"away on {here}, though {home} is well", lift=f"goes back when {home} has room")
    text = f"away on {here}; {home} is well since {when(health.since_ms)}"
    return _Wait(text=text, lift=f"goes back with the first apply after {when(back)}")


def _span(ms: int) -> str:
    """`5m`, `90s`."""
    seconds = ms / 1000
    return f"{seconds / 60:g}m" if ms and ms % 60_000 == 0 else f"{seconds:g}s"
