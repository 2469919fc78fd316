"""The nodes that a plane is given: what they can hold, and where they stand."""

from __future__ import annotations

from typing import Any

ZONES = ("zone-a", "zone-b", "zone-c")
CAPACITY = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "20000"}


def node(number: int) -> dict[str, Any]:
    """Return a Node; they go round the zones."""
    name = f"node-{number + 1}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/region": "here",
                "topology.kubernetes.io/zone": ZONES[number % len(ZONES)],
            },
        },
        "status": {"allocatable": CAPACITY, "capacity": CAPACITY},
    }
