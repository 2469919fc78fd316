"""One agent: what it wants, whether that follows from its record alone, and else where it goes with what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.model.agent import Agent, PlacementPolicy
from reconciler.model.fleet import ClusterDeclaration
from reconciler.model.registry import AgentState, PlacedReplicas, Record, Reservation
from reconciler.placement.amounts import Shape, held_by, reserved, shape_of
from reconciler.placement.failover import busiest, first_if_unwell, home_of, homeward, preference
from reconciler.placement.ledger import UNBOUNDED, Closed, Ledger, Stock, Unlimited
from reconciler.placement.policies import apportion, weights_of
from reconciler.placement.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Follows from the record alone: nothing grows, so nothing has to be asked for.

    `home` is the cluster that a failover left, for the way back.
    """

    placed: tuple[PlacedReplicas, ...]
    reservations: tuple[Reservation, ...]
    home: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    """Wants more than it holds, or a place of its own. `stay`: what runs keeps its cluster.

    `home`: where it goes back to, when there is room.
    """

    total: int
    shape: Shape
    clusters: tuple[ClusterDeclaration, ...]
    current: Mapping[str, int]
    stay: bool
    home: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Fits nowhere; `text` names the missing amount."""

    text: str


def replicas_wanted(agent: Agent, record: Record | None, now_ms: int) -> int:
    """The declared number (an autoscaler's minimum), what was scaled by hand while that lasts, or 0 if suspended."""
    if agent.spec.suspend or (record is not None and record.suspended):
        return 0
    override = record.override if record is not None else None
    if override is not None and (override.until_ms == 0 or now_ms < override.until_ms):
        return max(0, override.replicas)
    return agent.spec.min_replicas


def unseen(record: Record) -> bool:
    """Whether what the record reserves may not show yet in what nodes have free.

    Once an agent has been ready its pods are there; before, they may or may not be, and counting them twice for a
    moment is the safe side.
    """
    return record.state is AgentState.REGISTERED or (record.state is AgentState.DEPLOYING and record.good is None)


def decide(world: World, agent: Agent, record: Record | None) -> Settled | Growing:
    """What the record alone settles; Growing where it depends on what clusters have left."""
    rule = agent.spec.placement
    clusters = _not_left(world.selected(rule.clusters), agent, record)
    weights = weights_of(rule, clusters) if len(clusters) > 1 else {cluster.name: 1 for cluster in clusters}
    total = replicas_wanted(agent, record, world.now_ms)
    shape = shape_of(agent.spec.resources)
    current: dict[str, int] = {}
    stay = False
    home = ""
    if record is not None:
        current = {placed.cluster: placed.replicas for placed in record.placement if placed.cluster in weights}
        stay = record.spec_hash == agent.spec_hash or _same_rule(record, agent)
        home = homeward(world, agent, record, weights, current, stay=stay)
        target = None if home and total else _from_record(world, agent, total, weights, current, stay=stay)
        if target is not None and not _grows(world, target, shape, record):
            return settle(world, agent, record, target, shape, stay=stay)
    chosen = tuple(cluster for cluster in clusters if cluster.name in weights)
    return Growing(total=total, shape=shape, clusters=chosen, current=current, stay=stay, home=home)


def _not_left(
    clusters: tuple[ClusterDeclaration, ...], agent: Agent, record: Record | None
) -> tuple[ClusterDeclaration, ...]:
    """Without the clusters that an agent left because it was ill there, where others are left to it."""
    state = record.recovery if record is not None else None
    if record is None or state is None or not state.avoid or state.spec_hash != record.spec_hash:
        return clusters
    if agent.spec.placement.policy is PlacementPolicy.ALL:
        return clusters
    return tuple(cluster for cluster in clusters if cluster.name not in state.avoid) or clusters


def _same_rule(record: Record, agent: Agent) -> bool:
    """Whether the rule is the one by which the agent was placed. How long a failover waits decides no place."""
    before, now = (_where(document.get("placement")) for document in (record.document, agent.document))
    return bool(before == now)


def _where(placement: Any) -> Any:
    if not isinstance(placement, Mapping):
        return placement
    return {key: value for key, value in placement.items() if key not in ("failoverAfter", "failbackAfter")}


def settle(
    world: World, agent: Agent, record: Record | None, target: Mapping[str, int], shape: Shape, *, stay: bool
) -> Settled:
    """`target` with what it reserves. On a cluster nothing of which can be read, what was reserved stays so."""
    held = {item.cluster: item for item in record.reservations} if record else {}
    ordered = sorted(target.items())
    return Settled(
        placed=tuple(PlacedReplicas(cluster=name, replicas=count) for name, count in ordered),
        reservations=tuple(
            held[name]
            if name in held and world.is_blind(name)
            else Reservation(cluster=name, replicas=count, requests=shape.texts)
            for name, count in ordered
            if count
        ),
        home=home_of(world, agent, record, target) if stay else first_if_unwell(world, agent, target),
    )


def _from_record(
    world: World, agent: Agent, total: int, weights: Mapping[str, int], current: Mapping[str, int], *, stay: bool
) -> dict[str, int] | None:
    """Where the replicas are if nothing needs to be asked for; None where that is not enough to know."""
    policy = agent.spec.placement.policy
    if total == 0:
        return _zero(policy, weights, current)
    running = sum(current.values())
    if policy is PlacementPolicy.ALL:
        target = _everywhere(world, total, weights, current)
        return target if any(target.values()) else None
    here = busiest(current) if running and stay else ""
    if policy is PlacementPolicy.FAILOVER and here:
        return None if world.overdue(here, agent) else {here: total}
    if not here or running < total:
        return None
    return fewer(total, weights, current)


def fewer(total: int, weights: Mapping[str, int], upper: Mapping[str, int]) -> dict[str, int]:
    """`total` replicas where some are already, by weight and at most `upper`: what is ahead gives most away."""
    order = sorted(upper)
    shares = apportion(
        total,
        {name: weights[name] for name in order},
        lower=dict.fromkeys(order, 0),
        upper=upper,
        order=order,
    )
    return {name: count for name, count in shares.items() if count}


def _zero(policy: PlacementPolicy, weights: Mapping[str, int], current: Mapping[str, int]) -> dict[str, int]:
    """Nothing runs, but the agent's objects stay where they are (or would be first), so that it resumes at once."""
    if policy is PlacementPolicy.ALL:
        return dict.fromkeys(weights, 0)
    return dict.fromkeys(current or list(weights)[:1], 0)


def _everywhere(world: World, total: int, weights: Mapping[str, int], current: Mapping[str, int]) -> dict[str, int]:
    """`total` on each cluster; one that cannot be read keeps what it has, and gets nothing new."""
    target: dict[str, int] = {}
    for name in weights:
        if not isinstance(world.rooms[name], Closed):
            target[name] = total
        elif name in current:
            target[name] = min(total, current[name])
    return target


def _grows(world: World, target: Mapping[str, int], shape: Shape, record: Record) -> bool:
    """Whether `target` takes more of anything anywhere than the record holds.

    Where nothing can be read nothing is done either: replicas that become heavier are judged there when they do.
    """
    held = {reservation.cluster: reservation for reservation in record.reservations}
    for name, count in target.items():
        if not count:
            continue
        reservation = held.get(name)
        if reservation is None:
            return True
        if reservation.requests == shape.texts:
            if count > reservation.replicas:
                return True
        elif count > reservation.replicas or (not world.is_blind(name) and _heavier(shape, reservation, count)):
            return True
    return False


def _heavier(shape: Shape, held: Reservation, count: int) -> bool:
    amounts = reserved(held.requests)
    return any(need * count > amounts.get(name, 0) * held.replicas for name, need in shape.amounts.items())


def allocate(
    world: World, agent: Agent, record: Record | None, want: Growing, ledger: Ledger
) -> dict[str, int] | Refused:
    """Replicas by cluster for an agent that grows, or why there is no room for it."""
    if not want.clusters:
        return Refused(text="its placement selects none of the fleet's clusters")
    if want.total == 0:
        weights = {cluster.name: 1 for cluster in want.clusters}
        return _zero(agent.spec.placement.policy, weights, want.current)
    bench = Bench(world=world, want=want, record=record, ledger=ledger)
    match agent.spec.placement.policy:
        case PlacementPolicy.ALL:
            return bench.everywhere()
        case PlacementPolicy.FAILOVER:
            return bench.one(agent)
        case PlacementPolicy.SPREAD | PlacementPolicy.WEIGHTED:
            return bench.shared(weights_of(agent.spec.placement, want.clusters))


@dataclass(slots=True, kw_only=True)
class Bench:
    """One growing agent held against what clusters have left.

    Where nothing at all can be read nobody can say that there is no room, nor is anything done: what is wanted is
    placed as if there were, and the plan says what it waits for.
    """

    world: World
    want: Growing
    record: Record | None
    ledger: Ledger

    def everywhere(self) -> dict[str, int] | Refused:
        names = {cluster.name: 1 for cluster in self.want.clusters}
        target = _everywhere(self.world, self.want.total, names, self.want.current)
        short = [name for name, count in target.items() if count > self._fit(name)]
        nowhere = not any(target.values())
        if nowhere and self._all_blind():
            return dict.fromkeys(names, self.want.total)
        if short or nowhere:
            return self._refused(dict.fromkeys(short or names, self.want.total))
        return target

    def _all_blind(self) -> bool:
        return all(self.world.is_blind(cluster.name) for cluster in self.want.clusters)

    def one(self, agent: Agent) -> dict[str, int] | Refused:
        here = busiest(self.want.current) if self.want.stay and any(self.want.current.values()) else None
        if here is not None and not self.world.overdue(here, agent):
            candidates = [self.want.home, here] if self.want.home else [here]
        else:
            well = [c for c in self.want.clusters if c.name not in self.world.unwell_since_ms]
            candidates = self._in_turn(agent, well)
        for name in candidates:
            if self._fit(name) >= self.want.total:
                return {name: self.want.total}
        names = candidates or [cluster.name for cluster in self.want.clusters]
        if here in names and here is not None and self.world.is_blind(here):
            return {here: self.want.total}
        if self._all_blind():
            return {here or self._in_turn(agent, self.want.clusters)[0]: self.want.total}
        return self._refused(dict.fromkeys(names, self.want.total))

    def _in_turn(self, agent: Agent, clusters: Sequence[ClusterDeclaration]) -> list[str]:
        """As the rule names them; else the heaviest first, and among equals the best fit."""
        if agent.spec.placement.clusters.names:
            return [cluster.name for cluster in clusters]
        weights = preference(agent, clusters)
        return sorted(self._by_fit(list(weights)), key=lambda name: -weights[name])

    def shared(self, weights: Mapping[str, int]) -> dict[str, int] | Refused:
        current = {name: self.want.current.get(name, 0) for name in weights}
        upper = dict.fromkeys(weights, UNBOUNDED) if self._all_blind() else {name: self._fit(name) for name in weights}
        if self.want.stay and sum(current.values()) > self.want.total:
            return self._fewer(weights, current, upper)
        lower = current if self.want.stay else dict.fromkeys(weights, 0)
        crowded = {name: count for name, count in lower.items() if count > upper[name]}
        if crowded:  # heavier replicas that no longer fit where they are: what runs is not moved about for that
            return self._refused(crowded)
        shares = apportion(self.want.total, weights, lower=lower, upper=upper, order=self._by_fit(list(weights)))
        missing = self.want.total - sum(shares.values())
        if missing > 0:
            return self._refused({name: shares[name] + missing for name in weights})
        return {name: count for name, count in shares.items() if count}

    def _fewer(
        self, weights: Mapping[str, int], current: Mapping[str, int], room: Mapping[str, int]
    ) -> dict[str, int] | Refused:
        """Fewer replicas that are heavier: those that stay, stay where they are, as when only their number changes."""
        bound = {name: min(count, room[name]) for name, count in current.items()}
        shares = fewer(self.want.total, weights, bound)
        if sum(shares.values()) < self.want.total:
            wanted = fewer(self.want.total, weights, current)
            return self._refused({name: count for name, count in wanted.items() if count > room[name]})
        return shares

    def _own(self, name: str) -> dict[str, int]:
        """What the agent itself holds on a cluster already."""
        for reservation in self.record.reservations if self.record else ():
            if reservation.cluster == name:
                return held_by(reservation)
        return {}

    def _fit(self, name: str) -> int:
        match self.world.rooms[name]:
            case Stock() as stock:
                return stock.fit(self.want.shape, self.ledger.claims.get(name, {}), self._own(name))
            case Unlimited():
                return UNBOUNDED
            case Closed():
                held = self.want.current.get(name, 0)
                heavier = self.record is not None and _grows(self.world, {name: held}, self.want.shape, self.record)
                return 0 if heavier else held

    def _by_fit(self, names: Sequence[str]) -> list[str]:
        """Best fit first: whose dominant share would be highest with one more replica; then by name."""
        if len(names) < 2:
            return list(names)

        def share(name: str) -> float:
            room = self.world.rooms[name]
            if isinstance(room, Stock):
                return room.share(self.want.shape, self.ledger.claims.get(name, {}))
            return 0.0

        return sorted(names, key=lambda name: (-share(name), name))

    def _refused(self, needs: Mapping[str, int]) -> Refused:
        """The sentence for a hold. `needs`: how many replicas each cluster would have to take."""
        texts = []
        for name, replicas in sorted(needs.items()):
            match self.world.rooms[name]:
                case Stock() as stock:
                    claims = self.ledger.claims.get(name, {})
                    texts.append(stock.shortage(self.want.shape, claims, self._own(name), replicas).text)
                case Unlimited():
                    texts.append(f"{name} is unwell")
                case Closed(reason=reason):
                    texts.append(f"{name} takes nothing new now: {reason}")
        return Refused(text="; ".join(texts))
