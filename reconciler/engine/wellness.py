"""Writing down how clusters are: when a look finds that a state changed, and only then.

Without a daemon nobody but these looks measures how long a cluster has been away. So all that acts or sweeps notes what
it saw (`apply`, `destroy`, `health`); `plan` and whatever else only shows things computes with it and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from reconciler.engine.run import repeat_commit
from reconciler.engine.world import Retry
from reconciler.model.errors import OutcomeUnknown, RegistryConflict, RegistryError
from reconciler.model.objects import Found
from reconciler.model.registry import AuditFact, ClusterHealth, ClusterState, Write
from reconciler.placement.wellness import Sight, changed, judge
from reconciler.ports import Clock, Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Noter:
    """Who writes down what a look found, and how calls are tried again."""

    actor: str
    retry: Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is known of clusters before a look, what it found, and which clusters are other ones than they were."""

    before: Mapping[str, ClusterHealth]
    sights: Mapping[str, Sight]
    strangers: Collection[str] = ()

    def judged(self, now_ms: int) -> dict[str, ClusterHealth]:
        """How clusters are after it."""
        return judge(self.before, self.sights, strangers=self.strangers, now_ms=now_ms)


async def note(registry: Registry, look: Look, clock: Clock, noter: Noter) -> Mapping[str, ClusterHealth]:
    """Write what changed, in one transaction without the apply lock, and answer how clusters are.

    Never fails: what could not be written is noted by the next look, so that a failover comes later, never too early.
    Who was overtaken by another look goes by what that one wrote.
    """
    now_ms = clock.now_ms()
    after = look.judged(now_ms)
    news = changed(look.before, after)
    if not news:
        return after
    facts = tuple(_fact(health, noter.actor) for health in news)
    write = Write(op_id=registry.new_id(), at_ms=now_ms, clusters=news, audit=facts)
    try:
        await repeat_commit(registry, write, clock, noter.retry)
    except RegistryConflict:
        answer = await registry.snapshot()
        theirs = answer.value.clusters if isinstance(answer, Found) else look.before
        return Look(before=theirs, sights=look.sights, strangers=look.strangers).judged(now_ms)
    except (RegistryError, OutcomeUnknown):
        pass
    return after


def _fact(health: ClusterHealth, actor: str) -> AuditFact:
    text = "answers and is well again" if health.state is ClusterState.WELL else health.reason
    return AuditFact(
        actor=actor, action=f"cluster-{health.state}", agent=None, message=f"cluster {health.cluster}: {text}"
    )
