"""What is taken and what is left: per cluster, and per namespace with a quota. Sums only; it decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.model.fleet import Quota
from reconciler.model.objects import Absent, Capacity, Found, Observation, Unreadable
from reconciler.model.registry import Reservation
from reconciler.placement.amounts import PODS, Shape, needed, offered, reserved, show

UNBOUNDED = 10**12


@dataclass(slots=True)
class Use:
    """What a namespace's agents take in all: counts, and milli-units of cpu and memory."""

    agents: int = 0
    replicas: int = 0
    cpu: int = 0
    memory: int = 0


@dataclass(slots=True)
class Ledger:
    """`claims`: milli-units by cluster and resource that are promised and not yet seen in what nodes have free."""

    claims: dict[str, dict[str, int]] = field(default_factory=dict)
    uses: dict[str, Use] = field(default_factory=dict)

    def copy(self) -> Ledger:
        return Ledger(
            claims={cluster: dict(amounts) for cluster, amounts in self.claims.items()},
            uses={name: Use(use.agents, use.replicas, use.cpu, use.memory) for name, use in self.uses.items()},
        )

    def claim(self, cluster: str, amounts: Mapping[str, int], sign: int = 1) -> None:
        """Promise `amounts` on `cluster`; with `sign` -1 give them back."""
        taken = self.claims.setdefault(cluster, {})
        for resource, amount in amounts.items():
            taken[resource] = taken.get(resource, 0) + amount * sign

    def use(self, namespace: str, reservations: Iterable[Reservation], *, agents: int, sign: int = 1) -> None:
        """Count reservations to a namespace; `agents` is how many agents come (or go) with them."""
        use = self.uses.get(namespace)
        if use is None:
            use = self.uses[namespace] = Use()
        use.agents += agents
        for reservation in reservations:
            amounts = reserved(reservation.requests)
            times = reservation.replicas * sign
            use.replicas += times
            use.cpu += amounts.get("cpu", 0) * times
            use.memory += amounts.get("memory", 0) * times


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a cluster takes no more: text like `needs 2 cpu more on local: 3.5 of 4 allocatable are taken`."""

    text: str


@dataclass(slots=True)
class Stock:
    """What one cluster offers, in milli-units: summed over its nodes, and node by node for what one replica needs."""

    name: str
    allocatable: dict[str, int]
    free: dict[str, int]
    nodes: tuple[Mapping[str, int], ...]
    _slots: dict[tuple[tuple[str, str], ...], int] = field(default_factory=dict)
    _counted: dict[tuple[tuple[str, str], ...], list[tuple[str, int]]] = field(default_factory=dict)

    def fit(self, shape: Shape, claims: Mapping[str, int], own: Mapping[str, int]) -> int:
        """How many replicas of `shape` fit in what is free, not promised, or already held by the asker (`own`)."""
        most = UNBOUNDED
        for resource, amount in self._asked(shape):
            left = self.free.get(resource, 0) - claims.get(resource, 0) + own.get(resource, 0)
            most = min(most, max(0, left) // amount)
        return min(most, self._slots_for(shape) + own.get(PODS, 0) // 1000)

    def share(self, shape: Shape, claims: Mapping[str, int]) -> float:
        """The dominant share of the cluster that would be taken with one more replica (DRF, Ghodsi et al. 2011)."""
        shares = [
            1 - (self.free.get(resource, 0) - claims.get(resource, 0) - amount) / self.allocatable[resource]
            for resource, amount in self._asked(shape)
            if self.allocatable.get(resource)
        ]
        return max(shares, default=0.0)

    def shortage(self, shape: Shape, claims: Mapping[str, int], own: Mapping[str, int], replicas: int) -> Shortage:
        """What is missing for `replicas` of them: the resource that lacks the largest share of what is needed."""
        lacking: list[tuple[float, str, int, int]] = []
        for resource, amount in self._asked(shape):
            left = max(0, self.free.get(resource, 0) - claims.get(resource, 0) + own.get(resource, 0))
            if amount * replicas > left:
                lacking.append(((amount * replicas - left) / (amount * replicas), resource, amount * replicas, left))
        if lacking:
            _, resource, need, left = max(lacking, key=lambda item: (item[0], item[1]))
            total = self.allocatable.get(resource, 0)
            missing, taken = show(resource, need - left), show(resource, max(0, total - left))
            return Shortage(
                f"needs {missing} {resource} more on {self.name}: "
                f"{taken} of {show(resource, total)} allocatable are taken"
            )
        asked = " and ".join(f"{show(name, amount)} {name}" for name, amount in sorted(shape.amounts.items()))
        return Shortage(f"no node of {self.name} has room for one more replica of {asked}")

    def _asked(self, shape: Shape) -> list[tuple[str, int]]:
        """What of a shape this cluster counts. A device it does not know is one that it has none of."""
        asked = self._counted.get(shape.key)
        if asked is None:
            asked = [
                (name, amount) for name, amount in shape.amounts.items() if name in self.allocatable or "/" in name
            ]
            if PODS in self.allocatable:
                asked.append((PODS, 1000))
            self._counted[shape.key] = asked
        return asked

    def _slots_for(self, shape: Shape) -> int:
        """Replicas that the nodes hold one by one, each node looked at alone. Bounds what sums cannot see."""
        if shape.key not in self._slots:
            asked = self._asked(shape)
            self._slots[shape.key] = sum(
                min((max(0, node.get(resource, 0)) // amount for resource, amount in asked), default=UNBOUNDED)
                for node in self.nodes
            )
        return self._slots[shape.key]


@dataclass(frozen=True, slots=True)
class Unlimited:
    """A cluster that counts no capacity."""

    name: str


@dataclass(frozen=True, slots=True)
class Closed:
    """A cluster whose capacity cannot be read now: it takes nothing new. `blind`: nothing of it can be read."""

    name: str
    reason: str
    blind: bool = False


Room = Stock | Unlimited | Closed


def room_of(name: str, observation: Observation[Capacity] | None, *, blind: bool = False) -> Room:
    """What a cluster's answer about its capacity means for placing. A failed read is never "empty" and never "full"."""
    if blind:
        why = observation.reason if isinstance(observation, Unreadable) else "it cannot be read"
        return Closed(name, why, blind=True)
    match observation:
        case Found(value=capacity):
            nodes = tuple({key: offered(value) for key, value in node.free.items()} for node in capacity.nodes)
            stock = Stock(name=name, allocatable={}, free={}, nodes=nodes)
            for node, free in zip(capacity.nodes, nodes, strict=True):
                for key, value in node.allocatable.items():
                    stock.allocatable[key] = stock.allocatable.get(key, 0) + offered(value)
                for key, amount in free.items():
                    stock.free[key] = stock.free.get(key, 0) + amount
            return stock
        case Absent():
            return Unlimited(name)
        case None:
            return Closed(name, "its capacity was not read")
        case _:
            return Closed(name, observation.reason)


def over_quota(quota: Quota, now: Use, then: Use) -> str:
    """Why a namespace may not grow from `now` to `then`; "" when it may. What does not grow is never refused."""
    bounds = (
        ("agents", quota.agents, now.agents, then.agents),
        ("replicas", quota.replicas, now.replicas, then.replicas),
    )
    for what, bound, before, after in bounds:
        if bound is not None and after > bound and after > before:
            return (
                f"needs {after - bound} {what} more than the quota of {quota.namespace} allows: "
                f"{before} of {bound} are taken"
            )
    amounts = (("cpu", quota.cpu, now.cpu, then.cpu), ("memory", quota.memory, now.memory, then.memory))
    for what, limit, before, after in amounts:
        if limit is not None and after > needed(limit) and after > before:
            return (
                f"needs {show(what, after - needed(limit))} {what} more than the quota of {quota.namespace} allows: "
                f"{show(what, before)} of {limit} are taken"
            )
    return ""
