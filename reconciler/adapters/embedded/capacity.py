"""What this machine can run: one node, what it may allocate, and what is left of it.

Reads the machine (processors, memory, control group limits); knows no store and no process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from reconciler.adapters.embedded.storage_values import canonical_quantity
from reconciler.model.objects import Capacity, NodeCapacity
from reconciler.model.units import Quantity, stored_amount

MACHINE_NODE = "this-machine"
EMPTY_NODE = "nothing-runs"
"""The node of a cluster that runs nothing: its name says that its capacity means nothing."""
MAX_PODS = 250
_UNLIMITED = {"cpu": "1M", "memory": "1Ei", "pods": "1M"}
_ENDED = frozenset({"Succeeded", "Failed"})
_CGROUP_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_allocatable() -> dict[str, Quantity]:
    """Processors that this process may use, memory that it may fill, and pods."""
    amounts = {"cpu": Fraction(processors()), "memory": Fraction(memory_bytes()), "pods": Fraction(MAX_PODS)}
    return {name: _quantity(name, amount) for name, amount in amounts.items()}


def processors() -> int:
    """As `nproc` counts: those that this process may run on, where the platform tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Physical memory, or the control group's limit where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _CGROUP_MEMORY:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def machine_capacity(pods: Iterable[Mapping[str, Any]]) -> Capacity:
    """The machine less what `pods` (whole Pod objects) request and the pods themselves; ended ones count nothing."""
    allocatable = machine_allocatable()
    left = {name: amount.value for name, amount in allocatable.items()}
    for pod in pods:
        if pod.get("status", {}).get("phase") in _ENDED:
            continue
        left["pods"] -= 1
        for name, amount in pod_requests(pod).items():
            if name in left:
                left[name] -= amount
    free = {name: _quantity(name, max(amount, Fraction(0))) for name, amount in left.items()}
    return Capacity(nodes=(NodeCapacity(name=MACHINE_NODE, allocatable=allocatable, free=free),))


def unlimited_capacity() -> Capacity:
    """What a cluster that runs nothing can hold."""
    amounts = {name: Quantity.parse(text) for name, text in _UNLIMITED.items()}
    return Capacity(nodes=(NodeCapacity(name=EMPTY_NODE, allocatable=amounts, free=amounts),))


def pod_requests(pod: Mapping[str, Any]) -> dict[str, Fraction]:
    """As the scheduler counts: the containers' sum, or the largest init container where that is more."""
    spec = pod.get("spec", {})
    total: dict[str, Fraction] = {}
    for container in spec.get("containers", ()):
        for name, text in container.get("resources", {}).get("requests", {}).items():
            total[name] = total.get(name, Fraction(0)) + _amount(text)
    for container in spec.get("initContainers", ()):
        for name, text in container.get("resources", {}).get("requests", {}).items():
            total[name] = max(total.get(name, Fraction(0)), _amount(text))
    return total


def _amount(text: str) -> Fraction:
    try:
        return stored_amount(text)
    except ValueError:
        return Fraction(0)


def _quantity(name: str, amount: Fraction) -> Quantity:
    """Memory in the largest whole binary unit, all else in thousandths."""
    if name == "memory":
        return Quantity.parse(canonical_quantity(f"{int(amount) // 1024}Ki"))
    return Quantity.parse(canonical_quantity(f"{int(amount * 1000)}m"))
