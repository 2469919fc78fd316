"""What must hold whatever happens, and what must hold when all has come to rest."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reconciler.model.identity import AgentName
from reconciler.model.objects import AGENT_LABEL, FIELD_MANAGER, TRACKING_ANNOTATION
from reconciler.model.plan import Change, HoldCode, Policy
from reconciler.model.registry import AgentState, Record, RegistrySnapshot
from tests.doubles.simulated_links import Told
from tests.simulation.deletions import unjustified
from tests.simulation.fleet import CLUSTERS, Wanted
from tests.simulation.world import Broken, World

REST_WITHIN_S = 3_600.0
REST_STEP_S = 15.0
IDLE_S = 130.0
RESYNC_S = 61.0
"""A daemon has looked at everything once more by then."""
Body = dict[str, Any]
STORM_S = 3_600.0
MOST_APPLIES = 60
"""Writes to one Deployment in an hour by daemons."""
MOST_PODS = 30
"""Three replicas, ten times."""
PERSON = "person"


def on_write(world: World, told: Told) -> None:
    """Laws that hold at each write to a cluster."""
    if told.by == PERSON:
        return
    holder, _epoch, expires_ms = world.lease("apply")
    if not holder.startswith(told.by) or expires_ms <= world.around.clock.now_ms():
        world.breaches.append(
            f"{told.by} wrote {told.verb} {told.ref} on {told.cluster} while {holder!r} held the lock"
        )
    if told.verb == "delete" and (why := unjustified(world, told)):
        world.breaches.append(why)


def no_storm(world: World) -> None:
    """Nothing is done again and again: no Deployment is written by daemons more often than its pauses allow, and no
    agent's pods are ended more often than a day's remedies allow.
    """
    since = world.now - STORM_S
    counted = Counter(
        (told.cluster, told.ref)
        for told in world.ledger
        if told.at >= since and told.by != PERSON and told.ref.kind == "Deployment" and told.manager == FIELD_MANAGER
    )
    for (cluster, ref), count in counted.items():
        if count > MOST_APPLIES:
            raise Broken(f"{ref} on {cluster} was written {count} times within an hour")
    ended = Counter(
        (told.cluster, told.ref.namespace, told.ref.name.rsplit("-", 2)[0])
        for told in world.ledger
        if told.at >= since and told.by != PERSON and told.ref.kind == "Pod" and told.verb == "delete"
    )
    for (cluster, namespace, name), count in ended.items():
        if count > MOST_PODS:
            raise Broken(f"{count} pods of {namespace}/{name} on {cluster} were ended within an hour")
    del world.ledger[: next((at for at, told in enumerate(world.ledger) if told.at >= since), len(world.ledger))]


def told(world: World) -> None:
    """Raise what was noted on the way."""
    if world.breaches:
        raise Broken("; ".join(world.breaches))
    if world.loop.failures:
        raise Broken("; ".join(world.loop.failures))


async def why_not_at_rest(world: World) -> str:
    """ "" when all is as Git says, else what is not."""
    plan = await world.plan()
    if plan.changes:
        return "planned: " + "; ".join(map(_shown, plan.changes))
    holds = [hold for hold in plan.holds if hold.blocks_exit]
    if holds:
        return "held: " + "; ".join(f"{hold.code} {hold.text}" for hold in holds)
    return await _differs(world)


def _shown(change: Change) -> str:
    objects = ", ".join(f"{item.verb} {item.ref} on {item.cluster} ({item.expect})" for item in change.objects)
    reasons = ", ".join(reason.text for reason in change.reasons)
    return f"{change.action} {change.name} because {reasons}: {objects}"


async def lift_what_is_held(world: World) -> str:
    """Do by hand what is a person's to do: allow deletions, resume what was quarantined. Answers what was done."""
    plan = await world.plan()
    codes = {hold.code for hold in plan.holds if hold.blocks_exit}
    if codes & {HoldCode.DELETION_BUDGET, HoldCode.REWIND, HoldCode.EMPTY_FLEET}:
        await world.apply(Policy(max_deletes=100, accept_rewind=True, allow_empty=True))
        return "applied by hand what was held"
    return ""


async def _differs(world: World) -> str:
    snapshot = await world.snapshot()
    away = [  # one of no replicas has nothing to take home, and goes when it has
        str(name)
        for name, record in snapshot.records.items()
        if record.home and any(placed.replicas for placed in record.placement)
    ]
    if away:
        return f"not at home yet: {', '.join(away)}"
    if ill := [str(name) for name, record in snapshot.records.items() if _is_ill(record)]:
        return f"ill, or not well for long: {', '.join(ill)}"
    clusters = world.clusters.values()
    if hanging := [str(pod) for cluster in clusters for pod in cluster.nodes.hanging()]:
        return f"still hanging: {', '.join(hanging)}"
    pods = [pod["metadata"] for cluster in clusters for pod in cluster.store.list("", "Pod")[0]]
    if ending := [each["name"] for each in pods if each.get("deletionTimestamp")]:  # a controller counts that it goes
        return f"still ending: {', '.join(ending)}"
    return _differs_from(world, snapshot)


def _is_ill(record: Record) -> bool:
    """Whether an illness of the spec that runs is not over, not yet forgotten, or still in its record's state."""
    state = record.recovery
    runs = any(share.replicas for share in record.placement)
    ill = state is not None and state.since_ms > 0 and state.spec_hash == record.spec_hash
    return runs and (ill or record.state is AgentState.DEGRADED)


def _differs_from(world: World, snapshot: RegistrySnapshot) -> str:
    declared = world.fleet.declared()
    live, now_ms = _live(world), world.around.clock.now_ms()
    for name, wanted in sorted(declared.items()):
        record = snapshot.records.get(name)
        if record is None:
            return f"{name} is on no record"
        bodies = live.pop(name, {})
        memory = f"{world.fleet.templates[wanted.template]}Mi"
        text = _differs_in(wanted, record, list(bodies.values()), now_ms) or _elsewhere(wanted, bodies, memory)
        if text:
            return f"{name}: {text}"
    if live:
        return f"declared nowhere, and there: {', '.join(map(str, sorted(live)))}"
    gone = sorted(set(snapshot.records) - set(declared))
    return f"declared nowhere, and on record: {', '.join(map(str, gone))}" if gone else ""


def _live(world: World) -> dict[AgentName, dict[str, Body]]:
    """Deployments that carry our mark, by agent and cluster."""
    found: dict[AgentName, dict[str, Body]] = {}
    for cluster in world.clusters.values():
        for body in cluster.store.list("apps", "Deployment")[0]:
            metadata = body["metadata"]
            if TRACKING_ANNOTATION in metadata.get("annotations", {}):
                name = AgentName(namespace=metadata["namespace"], name=metadata["labels"][AGENT_LABEL])
                found.setdefault(name, {})[cluster.name] = body
    return found


def _elsewhere(wanted: Wanted, live: dict[str, Body], memory: str) -> str:
    """Where it runs, and with how much memory."""
    runs = {cluster for cluster, body in live.items() if int(body["spec"]["replicas"])}
    declared = {cluster for cluster in CLUSTERS if cluster in wanted.placement or "spread" in wanted.placement}
    most = len(CLUSTERS) if "spread" in wanted.placement else 1
    if len(runs) > most or runs - declared:  # what runs stays where it is, also where it was put in an outage
        return f"it runs on {', '.join(sorted(runs))} instead of {most} of {', '.join(sorted(declared))}"
    limits = {_container(body)["resources"]["limits"]["memory"] for body in live.values()}
    return f"it has {', '.join(sorted(limits))} of memory instead of {memory}" if limits - {memory} else ""


def _container(body: Body) -> Body:
    found: Body = body["spec"]["template"]["spec"]["containers"][0]
    return found


def _differs_in(wanted: Wanted, record: Record, live: list[Body], now_ms: int) -> str:
    stays = wanted.suspend or record.suspended
    override = record.override
    by_hand = override is not None and not 0 < override.until_ms <= now_ms
    replicas = 0 if stays else override.replicas if override is not None and by_hand else wanted.replicas
    have = sum(int(body["spec"]["replicas"]) for body in live)
    ready = sum(int(body.get("status", {}).get("readyReplicas", 0)) for body in live)
    images = {_container(body)["image"] for body in live}
    if have != replicas or ready != replicas:
        return f"{replicas} replicas are wanted, {have} declared, {ready} ready"
    if images - {wanted.image}:
        return f"it runs {', '.join(sorted(images))} instead of {wanted.image}"
    states = {AgentState.SUSPENDED} if stays else {AgentState.RUNNING, AgentState.DEGRADED}
    if wanted.replicas == 0 or (
        override is not None and override.replicas == 0
    ):  # suspending or resuming it changes nothing, so that nobody writes its record
        states = {AgentState.SUSPENDED, AgentState.RUNNING, AgentState.DEGRADED}
    return f"its record says {record.state}: {record.message}" if record.state not in states else ""


async def at_rest(world: World) -> None:
    """What holds when nothing is left to do: the audit chain, the journal, leases, objects on record, tasks."""
    registry = world.person.opened
    verdict = await registry.verify_audit()
    if not verdict.sound:
        raise Broken(f"the audit chain is broken: {verdict.reason}")
    if entries := await registry.open_journal():
        raise Broken(f"the journal has open entries: {[(str(item.agent), item.action) for item in entries]}")
    if (holder := world.lease("apply")[0]) != "":
        raise Broken(f"the apply lock is held by {holder} while nothing is to do")
    snapshot = await world.snapshot()
    for name, record in snapshot.records.items():
        for item in record.inventory:
            body = world.clusters[item.cluster].store.get(item.ref)
            if body is None or body["metadata"]["uid"] != item.uid:
                raise Broken(f"{name} has {item.ref} on record on {item.cluster}, which is not there")
    if sum(daemon.leads for daemon in world.daemons) != 1:
        raise Broken(f"{sum(daemon.leads for daemon in world.daemons)} of {len(world.daemons)} daemons lead")


def tasks(world: World) -> dict[str, list[str]]:
    """What each daemon is busy with, by the names of its tasks."""
    return {
        daemon.name: sorted(getattr(task.get_coro(), "__qualname__", "?") for task in daemon.process.alive)
        for daemon in world.daemons
    }


def state(world: World) -> tuple[Any, ...]:
    """What must not move while nothing is to do."""
    (seq,) = world.registry.execute("SELECT seq FROM head").fetchone()
    return seq, *(cluster.store.resource_version() for cluster in world.clusters.values())
