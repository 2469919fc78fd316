"""What is measured on: one control plane with nodes whose pods are ready at once, a fleet in Git, namespaces to fill
and to empty again, and what the server itself says of its work.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import fleets
from reconciler.bootstrap import find_fleet, open_fleet
from reconciler.engine.reconcile import compute_plan
from reconciler.model.plan import Plan, Policy
from tests.controlplane.api import Refused
from tests.controlplane.plane import ControlPlane

CLUSTER = "real"
SPACES = tuple(f"space-{number:02d}" for number in range(50))
"""The namespaces of fleets.py. An API server is well with some 5,000 Services in one; here there are 200."""
AGENTS_A_NODE = 500
DELETE_AT_ONCE = 8
TOO_LATE = 504
EMPTY_WITHIN_S = 900.0
OURS = "app.kubernetes.io/managed-by=reconciler"
"""All that is applied carries this label, whoever applies it: the manifests are the same."""
_FILLED = (
    "/apis/apps/v1/namespaces/{}/deployments",
    "/api/v1/namespaces/{}/services",
    "/api/v1/namespaces/{}/configmaps",
    "/api/v1/namespaces/{}/serviceaccounts",
)
_ENDING = ("/apis/apps/v1/deployments", "/apis/apps/v1/replicasets", "/api/v1/pods", "/api/v1/services")
_KEPT = 1
"""The one Service of the default namespace."""
_REQUESTS = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)

FLEET = """apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {{name: bench}}
spec:
  clusters:
    - {{name: {cluster}, kubernetes: {{context: {context}, kubeconfig: {kubeconfig}}}}}
  deletions: {{max: 3, percent: 10}}
"""


def nodes_for(agents: int) -> int:
    """How many nodes hold a fleet, with room for updates."""
    return 2 + agents // AGENTS_A_NODE


def write_fleet(root: Path, agents: int, plane: ControlPlane) -> None:
    """The fleet of fleets.py, on the plane."""
    fleets.write(root, agents)
    content = FLEET.format(cluster=CLUSTER, context=plane.name, kubeconfig=plane.kubeconfig)
    (root / "fleet.yaml").write_text(content)
    (root / ".gitignore").write_text(".reconciler/\n")
    fleets.commit(root, "On a Kubernetes cluster")


def agent_file(root: Path, number: int) -> Path:
    """Where an agent of fleets.py stands."""
    return root / "agents" / f"space-{number % len(SPACES):02d}" / f"agent-{number:05d}.yaml"


def change(root: Path, numbers: Iterable[int], level: str) -> None:
    """Commit one change of several agents: a value in their environment, so that their pods are replaced."""
    for number in numbers:
        agent_file(root, number).write_text(fleets.agent(number).replace("value: info", f"value: {level}"))
    fleets.commit(root, f"Log at {level}")


def add(root: Path, number: int) -> None:
    """Commit one more agent."""
    agent_file(root, number).parent.mkdir(parents=True, exist_ok=True)
    agent_file(root, number).write_text(fleets.agent(number))
    fleets.commit(root, f"Add agent {number}")


def write_manifests(root: Path, into: Path, agents: int | None = None) -> int:
    """Write all objects of the fleet, or of its first agents, as YAML documents, agent by agent; answer how many.

    Nothing may be applied yet.
    """
    plan = asyncio.run(_plan_of_creates(root))
    desired = [manifests for one in plan.changes[:agents] for manifests in one.desired.values()]
    bodies = [_plain(manifest.body) for manifests in desired for manifest in manifests]
    into.write_text(yaml.dump_all(bodies, Dumper=yaml.CSafeDumper, sort_keys=False))
    return len(bodies)


async def _plan_of_creates(root: Path) -> Plan:
    async with await open_fleet(find_fleet(root)) as session:
        return await compute_plan(session, policy=Policy())


def _plain(value: Any) -> Any:
    """A copy in dicts and lists, as the YAML writer wants it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def create_spaces(plane: ControlPlane) -> None:
    """Create the namespaces; all have a service account in the end."""
    for name in SPACES:
        plane.create_namespace(name)


def empty(plane: ControlPlane) -> None:
    """Delete what was applied, whoever did it, and wait until nothing of it is left."""

    def one(path: str) -> bool:
        try:
            plane.api.ask("DELETE", f"{path}?labelSelector={OURS}", {"propagationPolicy": "Background"}, timeout_s=300)
        except OSError:
            return False
        except Refused as error:
            if error.status != TOO_LATE:
                raise
            return False
        return True

    left = [path.format(space) for path in _FILLED for space in SPACES]
    with ThreadPoolExecutor(DELETE_AT_ONCE) as several:
        while left:  # a server that deletes very many may be too late for its own deadline
            done = list(several.map(one, left))
            left = [path for path, gone in zip(left, done, strict=True) if not gone]
    plane.wait_for("empty namespaces", lambda: _left(plane) <= _KEPT, within_s=EMPTY_WITHIN_S)


def _left(plane: ControlPlane) -> int:
    total = 0
    for path in _ENDING:
        page = plane.api.json("GET", f"{path}?limit=1")
        total += len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerWork:
    """What the server has done since it was started. Requests are all, those of its controllers among them."""

    requests: int
    cpu_s: float

    def since(self, before: ServerWork) -> ServerWork:
        """What it did in between."""
        return ServerWork(requests=self.requests - before.requests, cpu_s=self.cpu_s - before.cpu_s)


def server_work(plane: ControlPlane) -> ServerWork:
    """The server's own count of requests, and the processor time of all of the control plane."""
    text = plane.api.ask("GET", "/metrics", timeout_s=60).decode()
    requests = sum(float(number) for labels, number in _REQUESTS.findall(text) if 'resource="leases"' not in labels)
    cpu = sum(_cpu_s(pid) for name, pid in plane.pids.items() if name != "keeper")
    return ServerWork(requests=round(requests), cpu_s=cpu)


def _cpu_s(pid: int) -> float:
    """Processor time of a process so far, in seconds: proc(5), fields 14 and 15 in hundredths."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
