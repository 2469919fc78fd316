"""No delete without a reason: what Git said of late, an agent that never came up, or a remedy in the journal."""

from __future__ import annotations

from reconciler.adapters.stored import codec
from reconciler.model.agent import Remedy
from reconciler.model.identity import AgentName
from reconciler.model.objects import AGENT_LABEL, TRACKING_ANNOTATION
from reconciler.model.registry import JournalEntry, Record
from tests.doubles.simulated_links import Told
from tests.simulation.fleet import Wanted
from tests.simulation.world import World

STALE_S = 1_800.0
"""How old the commit may be that a daemon acts on, while it cannot reach Git."""
COMES_AND_GOES = frozenset({"PodDisruptionBudget"})
"""Goes with the count of replicas."""


def unjustified(world: World, told: Told) -> str:
    """What is wrong with a delete that is about to be done; "" where it has a reason."""
    body = world.clusters[told.cluster].store.get(told.ref)
    if body is None or told.ref.kind in COMES_AND_GOES:
        return ""
    metadata = body["metadata"]
    label = metadata.get("labels", {}).get(AGENT_LABEL)
    if label is None:
        return f"{told.by} deletes {told.ref} on {told.cluster}, which is nobody's"
    name = AgentName(namespace=told.ref.namespace, name=label)
    record = on_record(world, name)
    if told.ref.kind == "Pod":
        return _restarted(world, told, name)
    if TRACKING_ANNOTATION not in metadata.get("annotations", {}):
        return f"{told.by} deletes {told.ref} on {told.cluster}, which does not carry our mark"
    came_up = record is not None and record.good is not None and told.cluster in record.good.manifests
    if came_up and not any(_may_go(wanted, told.cluster) for wanted in _declared(world, name)):
        return f"{told.by} deletes {told.ref} on {told.cluster}, which every recent commit declares there"
    return ""


def _restarted(world: World, told: Told, name: AgentName) -> str:
    """A pod is deleted by a remedy alone, which is in the journal before. Its record may be another by then: whoever
    resumes the agent meanwhile has what was counted forgotten.
    """
    remedies = {entry.detail.get("remedy") for entry in _journalled(world) if entry.agent == name}
    if Remedy.RESTART.value in remedies:
        return ""
    return f"{told.by} deletes {told.ref} on {told.cluster} with no restart of its agent in the journal"


def _may_go(wanted: Wanted | None, cluster: str) -> bool:
    """Whether a commit is a reason to take an agent off a cluster. A file that is broken is none."""
    if wanted is None:
        return True
    several = "spread" in wanted.placement or "failover" in wanted.placement
    return not wanted.broken and (several or cluster not in wanted.placement)


def _declared(world: World, name: AgentName) -> list[Wanted | None]:
    """What recent commits declare an agent to be. One that declares nothing at all was a mistake, and no reason."""
    since = world.now - STALE_S
    found = [commit for at, commit in world.heads if at >= since]
    before = [commit for at, commit in world.heads if at < since]
    meant = [world.meant[commit] for commit in (*before[-1:], *found)]
    return [agents.get(name) for agents in meant if agents]


def _journalled(world: World) -> list[JournalEntry]:
    """What is under way, as the registry has it at this moment."""
    rows = world.registry.execute("SELECT body FROM journal WHERE phase = 'intent'")
    return [codec.decode_journal(body) for (body,) in rows]


def on_record(world: World, name: AgentName) -> Record | None:
    """An agent's record as it is in the registry at this moment."""
    row = world.registry.execute(
        "SELECT body, document, manifests, shared FROM records WHERE namespace = ? AND name = ? AND state <> 'gone'",
        (name.namespace, name.name),
    ).fetchone()
    return codec.decode_record(*row) if row else None
