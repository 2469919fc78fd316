"""What happens to a fleet: commits, hands, crashes, outages, daemons that come and go. Each is one step.

A step changes the world and answers what it did, for the trace; "" where there was nothing to do it to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from reconciler.adapters.embedded.store import ObjectStore
from reconciler.engine import operate
from reconciler.model.errors import ReconcilerError
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AGENT_LABEL
from reconciler.model.plan import Policy
from tests.doubles.simulated_cluster import Program, SimulatedCluster
from tests.doubles.simulated_links import Line
from tests.simulation.daemons import Daemon
from tests.simulation.fleet import PLACEMENTS
from tests.simulation.world import World

Step = Callable[[World], Awaitable[str]]
KUBECTL = "kubectl-edit"
MOST_DAEMONS = 3


async def new_image(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    wanted = world.fleet.agents[path]
    world.fleet.change(path, number=wanted.number + 1, program=Program.WELL, broken=False)
    return f"{wanted.name}: {wanted.image} -> {world.fleet.agents[path].image} in {world.commit()[:7]}"


async def bad_image(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    program = world.chance.choice([Program.CRASHES, Program.UNREADY, Program.MISSING, Program.SICK])
    wanted = world.fleet.agents[path]
    world.fleet.change(path, number=wanted.number + 1, program=program, broken=False)
    return f"{wanted.name}: {world.fleet.agents[path].image} in {world.commit()[:7]}"


async def new_count(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    world.fleet.change(path, replicas=world.chance.randint(0, 3))
    return f"{path}: {world.fleet.agents[path].replicas} replicas in {world.commit()[:7]}"


async def new_template(world: World) -> str:
    name = world.chance.choice(sorted(world.fleet.templates))
    world.fleet.templates[name] = world.chance.choice([64, 96, 128, 192, 256])
    return f"template {name}: {world.fleet.templates[name]}Mi in {world.commit()[:7]}"


async def other_template(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    world.fleet.change(path, template=world.chance.choice(sorted(world.fleet.templates)))
    return f"{path} extends {world.fleet.agents[path].template} in {world.commit()[:7]}"


async def add(world: World) -> str:
    world.fleet.add()
    world.fleet.add()
    return f"{len(world.fleet.agents)} agents in {world.commit()[:7]}"


async def remove(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    world.fleet.remove(path)
    return f"{path} removed in {world.commit()[:7]}"


async def rename(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    world.fleet.rename(path)
    return f"{path} declares {world.fleet.agents[path].name} in {world.commit()[:7]}"


async def move(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    world.fleet.change(path, placement=world.chance.choice(PLACEMENTS))
    return f"{path}: {world.fleet.agents[path].placement} in {world.commit()[:7]}"


async def depend(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    world.fleet.depend(path)
    return f"{path} after {[str(name) for name in world.fleet.agents[path].after]} in {world.commit()[:7]}"


async def broken_file(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    world.fleet.change(path, broken=True)
    return f"{path} is no YAML in {world.commit()[:7]}"


async def suspended(world: World) -> str:
    path = world.fleet.any_file()
    if not path:
        return ""
    world.fleet.change(path, suspend=not world.fleet.agents[path].suspend)
    return f"{path}: suspend {world.fleet.agents[path].suspend} in {world.commit()[:7]}"


async def empty(world: World) -> str:
    """Everything is gone from Git by mistake, and back with one of the next steps, or at the end."""
    kept, world.fleet.agents = world.fleet.agents, {}
    commit = world.commit()
    world.fleet.agents = kept
    return f"an empty fleet in {commit[:7]}"


async def restored(world: World) -> str:
    return f"the whole fleet again in {world.commit()[:7]}"


async def force_push(world: World) -> str:
    history = list(world.git.history(world.git.head))
    if len(history) < 3:
        return ""
    parent = history[world.chance.randint(1, min(5, len(history) - 1))]
    return f"a force-push over {parent[:7]}: {world.force(parent)[:7]}"


async def crash(world: World) -> str:
    cluster = _cluster(world)
    pods = cluster.nodes.pods()
    if not pods:
        return ""
    pod = world.chance.choice(pods)
    cluster.nodes.crash(pod)
    return f"{cluster.name}: {pod.namespace}/{pod.name} was killed"


async def flap(world: World) -> str:
    """One agent's processes end again and again for a while."""
    cluster = _cluster(world)
    pods = cluster.nodes.pods()
    if not pods:
        return ""
    pod = world.chance.choice(pods)
    for _ in range(world.chance.randint(2, 6)):
        if pod in cluster.nodes.pods():
            cluster.nodes.crash(pod)
        await asyncio.sleep(world.chance.uniform(1, 20))
    return f"{cluster.name}: {pod.namespace}/{pod.name} was killed again and again"


async def hang(world: World) -> str:
    """A process runs on and answers nobody: until its pod is made anew, or for a while."""
    cluster = _cluster(world)
    pods = cluster.nodes.pods()
    if not pods:
        return ""
    pod = world.chance.choice(pods)
    cluster.nodes.hang(pod, hangs=True)
    if world.chance.random() < 0.5:
        return f"{cluster.name}: {pod.namespace}/{pod.name} hangs"
    await asyncio.sleep(world.chance.uniform(10, 200))
    cluster.nodes.hang(pod, hangs=False)
    return f"{cluster.name}: {pod.namespace}/{pod.name} hung for a while"


async def pod_deleted(world: World) -> str:
    cluster = _cluster(world)
    pods = cluster.nodes.pods()
    if not pods:
        return ""
    pod = world.chance.choice(pods)
    cluster.hand(lambda store: store.delete(pod))
    return f"{cluster.name}: {pod.namespace}/{pod.name} was deleted by hand"


async def slow_nodes(world: World) -> str:
    cluster = _cluster(world)
    cluster.nodes.slow = world.chance.choice([1.0, 5.0, 30.0])
    return f"{cluster.name}: pods take {cluster.nodes.slow:g} times as long"


async def no_nodes(world: World) -> str:
    cluster = _cluster(world)
    cluster.no_nodes = not cluster.no_nodes
    return f"{cluster.name}: {'no nodes' if cluster.no_nodes else 'nodes again'}"


async def edited(world: World) -> str:
    """Somebody edits a Deployment of ours."""
    cluster = _cluster(world)
    found = _deployments(cluster)
    if not found:
        return ""
    body = world.chance.choice(found)
    what = world.chance.choice(["replicas", "image", "label"])
    match what:
        case "replicas":
            body["spec"]["replicas"] = world.chance.randint(0, 3)
        case "image":
            body["spec"]["template"]["spec"]["containers"][0]["image"] = "acme/theirs:1-well"
        case _:
            body["metadata"].setdefault("labels", {})["theirs"] = "yes"

    def work(store: ObjectStore) -> None:
        body["metadata"].pop("resourceVersion")
        store.update(body, manager=KUBECTL)

    cluster.hand(work)
    return f"{cluster.name}: {what} of {_of(body)} was edited by hand"


async def object_deleted(world: World) -> str:
    """Somebody deletes an object of ours."""
    cluster = _cluster(world)
    kinds = (("apps", "Deployment"), ("", "ConfigMap"), ("", "ServiceAccount"))
    found = [
        ObjectRef(group=group, kind=kind, namespace=body["metadata"]["namespace"], name=body["metadata"]["name"])
        for group, kind in kinds
        for body in cluster.store.list(group, kind)[0]
        if AGENT_LABEL in body["metadata"].get("labels", {})
    ]
    if not found:
        return ""
    ref = world.chance.choice(sorted(found))
    cluster.hand(lambda store: store.delete(ref))
    return f"{cluster.name}: {ref} was deleted by hand"


async def line_turns(world: World) -> str:
    """Something that everybody speaks to has an outage, or is well again."""
    place = world.around.places[world.chance.choice(sorted(world.around.places))]
    place.turn(world.chance.choice(list(Line)) if place.line is Line.WELL else Line.WELL)
    return f"{place.name} is {place.line}"


async def parted(world: World) -> str:
    """One daemon alone cannot speak to something, or can again."""
    daemon = _daemon(world)
    if daemon is None or daemon.view is None:
        return ""
    end = daemon.view.ends[world.chance.choice(sorted(daemon.view.ends))]
    end.turn(world.chance.choice(list(Line)) if end.line is Line.WELL else Line.WELL)
    return f"{end.name} is {end.line}"


async def hiccup(world: World) -> str:
    """A short outage."""
    place = world.around.places[world.chance.choice(sorted(world.around.places))]
    place.turn(world.chance.choice([Line.CUT, Line.SILENT, Line.LOSSY]))
    was = place.line
    await asyncio.sleep(world.chance.uniform(0.1, 20))
    place.turn(Line.WELL)
    return f"{place.name} was {was} for a moment"


async def scaled(world: World) -> str:
    return await _by_hand(
        world,
        lambda name: operate.scale(
            world.hand, name, world.chance.randint(0, 3), for_ms=world.chance.choice([60_000, 600_000, 3_600_000])
        ),
        "scaled",
    )


async def unscaled(world: World) -> str:
    return await _by_hand(world, lambda name: operate.unscale(world.hand, name), "unscaled")


async def stopped_by_hand(world: World) -> str:
    return await _by_hand(world, lambda name: operate.suspend(world.hand, name), "suspended")


async def resumed(world: World) -> str:
    return await _by_hand(world, lambda name: operate.resume(world.hand, name), "resumed")


async def applied(world: World) -> str:
    """Somebody applies by hand, beside the daemons."""
    await world.apply(Policy())
    return "applied by hand"


async def started(world: World) -> str:
    if len(world.daemons) >= MOST_DAEMONS:
        return ""
    return f"{world.start().name} starts"


async def ended(world: World) -> str:
    """SIGTERM, and another one is started."""
    daemon = _daemon(world)
    if daemon is None:
        return ""
    daemon.stop.set()
    assert daemon.main is not None
    await asyncio.wait({daemon.main}, timeout=120)
    if not daemon.main.done():
        return f"{daemon.name} was asked to end, and takes its time"
    world.bury(daemon)
    return f"{daemon.name} was ended; {world.start().name} starts"


async def killed(world: World) -> str:
    daemon = _daemon(world)
    if daemon is None:
        return ""
    daemon.kill()
    world.bury(daemon)
    return f"{daemon.name} was killed; {world.start().name} starts"


async def cancelled(world: World) -> str:
    """As Ctrl-C in the middle of anything."""
    daemon = _daemon(world)
    if daemon is None or daemon.main is None:
        return ""
    daemon.main.cancel()
    await asyncio.wait({daemon.main}, timeout=120)
    if not daemon.main.done():
        daemon.kill()
    world.bury(daemon)
    return f"{daemon.name} was cancelled; {world.start().name} starts"


async def frozen(world: World) -> str:
    """SIGSTOP to one of several, or SIGCONT."""
    held = [daemon for daemon in world.daemons if daemon.process.stopped]
    if held:
        held[0].process.resume()
        return f"{held[0].name} was resumed"
    daemon = next((item for item in world.daemons if item.leads), None)
    if daemon is None:
        return ""
    daemon.process.stop()
    if len(world.daemons) < MOST_DAEMONS:
        world.start()
    return f"{daemon.name}, which leads, was stopped with SIGSTOP"


async def clock_set(world: World) -> str:
    seconds = world.chance.choice([-5.0, -1.0, 1.0, 3.0])
    world.around.clock.jump(seconds)
    return f"the wall clock was set by {seconds:+g} s"


STEPS: dict[Step, int] = {
    new_image: 12,
    bad_image: 5,
    new_count: 8,
    new_template: 3,
    other_template: 2,
    add: 4,
    remove: 3,
    rename: 2,
    move: 4,
    depend: 4,
    broken_file: 2,
    suspended: 2,
    empty: 1,
    restored: 4,
    force_push: 1,
    crash: 10,
    flap: 2,
    hang: 4,
    pod_deleted: 4,
    slow_nodes: 2,
    no_nodes: 1,
    edited: 6,
    object_deleted: 4,
    line_turns: 5,
    parted: 4,
    hiccup: 4,
    scaled: 3,
    unscaled: 1,
    stopped_by_hand: 1,
    resumed: 3,
    applied: 1,
    started: 2,
    ended: 2,
    killed: 3,
    cancelled: 1,
    frozen: 2,
    clock_set: 1,
}
"""How often each happens, beside the others."""


def _cluster(world: World) -> SimulatedCluster:
    return world.clusters[world.chance.choice(sorted(world.clusters))]


def _daemon(world: World) -> Daemon | None:
    able = [daemon for daemon in world.daemons if not daemon.process.stopped]
    return world.chance.choice(able) if able else None


def _deployments(cluster: SimulatedCluster) -> list[dict[str, Any]]:
    return [
        body
        for body in cluster.store.list("apps", "Deployment")[0]
        if AGENT_LABEL in body["metadata"].get("labels", {})
    ]


def _of(body: dict[str, Any]) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


async def _by_hand(world: World, work: Callable[[AgentName], Awaitable[object]], what: str) -> str:
    names = sorted((await world.snapshot()).records)
    if not names:
        return ""
    name = world.chance.choice(names)
    try:
        await work(name)
    except ReconcilerError as error:
        return f"{name} was not {what}: {error.message}"
    return f"{name} was {what} by hand"
