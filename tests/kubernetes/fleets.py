"""Fleets on a real control plane, for tests: one namespace a test, and what the API server itself saw meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.plane import ControlPlane
from tests.engine.fleets import FleetRepo, agent


def fleet_on(*planes: ControlPlane, name: str) -> str:
    """A fleet.yaml whose clusters are the given planes, by their names.

    On a plane that tests share each fleet needs a name of its own: what another of its name left would be a stray.
    """
    clusters = "".join(
        f"    - {{name: {plane.name}, kubernetes: {{kubeconfig: {plane.kubeconfig}, context: {plane.name}}}}}\n"
        for plane in planes
    )
    return (
        f"apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {{name: {name}}}\nspec:\n"
        f"  deletions: {{max: 100, percent: 100}}\n  clusters:\n{clusters}"
    )


class PlaneFleet(FleetRepo):
    """A fleet on one plane; its agents live in one namespace."""

    def __init__(self, root: Path, plane: ControlPlane, namespace: str) -> None:
        super().__init__(root, fleet_on(plane, name=namespace))
        self.namespace = namespace
        self.cluster = plane.name

    def declare(self, name: str, body: str = "", *, image: str = "acme/agent:1", **annotations: str) -> None:
        """Commit one agent. `annotations` (kwok.test/..., with _ for -) tell KWOK how its pods behave."""
        text = agent(name, body, namespace=self.namespace, image=image)
        marks = ", ".join(f'kwok.test/{key.replace("_", "-")}: "{value}"' for key, value in annotations.items())
        self.commit(
            {
                f"agents/{name}.yaml": text.replace(
                    f"{self.namespace}}}", f"{self.namespace}, annotations: {{{marks}}}}}"
                )
            }
        )


@contextmanager
def watched_status(plane: ControlPlane, namespace: str, deployment: str) -> Iterator[list[tuple[int, int]]]:
    """(wanted, available) of a Deployment at each of its changes while the block lasts, as kubectl sees them."""
    template = "{.spec.replicas},{.status.availableReplicas}{'\\n'}"
    watch = subprocess.Popen(
        [
            *plane.kubectl_command("get", "deployment", deployment, "-n", namespace, "--watch"),
            "-o",
            f"jsonpath={template}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    seen: list[tuple[int, int]] = []
    try:
        assert watch.stdout is not None
        seen.append(_pair(watch.stdout.readline()))  # the state before the block
        yield seen
    finally:
        watch.terminate()
        rest, _ = watch.communicate()
        seen.extend(_pair(line) for line in rest.splitlines() if line)


def _pair(line: str) -> tuple[int, int]:
    wanted, available = line.strip().split(",")
    return int(wanted or 0), int(available or 0)
