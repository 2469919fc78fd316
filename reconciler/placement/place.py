"""All agents: first what follows from records, then what grows, then what is new; each by name, so ever the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Capacity, Found, Unreadable
from reconciler.model.plan import Action, Hold, HoldCode
from reconciler.model.registry import PlacedReplicas, Record, Reservation
from reconciler.placement.amounts import held_by
from reconciler.placement.decide import Growing, Refused, Settled, allocate, decide, settle, unseen
from reconciler.placement.ledger import Ledger, Use, over_quota, room_of
from reconciler.placement.request import PlacementRequest, PlacementResult
from reconciler.placement.world import World

_LIFT = {
    HoldCode.UNPLACEABLE: "ask for less, free or add capacity, or widen its placement",
    HoldCode.QUOTA: "raise the quota in fleet.yaml, or ask for less",
}


def place(
    request: PlacementRequest, *, previous: PlacementResult | None = None, changed: Iterable[AgentName] | None = None
) -> PlacementResult:
    """Say where every agent runs and what it reserves.

    What runs stays where it is unless its rule changed or no longer selects that cluster; only what is added is
    shared out anew. Agents that need more than they hold are taken after those that do not, known ones before new
    ones, each in order of name. An agent that does not fit is held, and only that one.

    `previous` makes a pass cheap in which little changed; the answer is the same as without it. `changed` may name
    the agents whose declaration or record may differ from those of `previous`; without it they are found by
    comparing spec hashes and record versions.
    """
    world = _world(request)
    if previous is not None and _same_world(request, previous.request):
        names = _changed(request, previous) if changed is None else set(changed)
        names |= previous.timed | previous.growing  # time has passed, and what is free may be another
        return _Pass.resume(request, world, previous, names).run(names)
    return _Pass(request, world, Ledger(), {}, {}, {}).run(None)


def _world(request: PlacementRequest) -> World:
    return World(
        clusters=request.clusters,
        rooms={
            c.name: room_of(c.name, request.capacities.get(c.name), blind=c.name in request.unreachable)
            for c in request.clusters
        },
        unwell_since_ms=request.cluster_unwell_since_ms,
        well_since_ms=request.cluster_well_since_ms,
        now_ms=request.now_ms,
    )


def _same_world(now: PlacementRequest, then: PlacementRequest) -> bool:
    """Whether what agents that do not grow are judged by is as it was."""

    def answers(request: PlacementRequest) -> dict[str, type[Found[Capacity] | Absent | Unreadable]]:
        """How each cluster answered, not how much it has left: Absent takes everything, and Unreadable nothing."""
        return {name: type(seen) for name, seen in request.capacities.items()}

    return (
        now.clusters == then.clusters
        and now.quotas == then.quotas
        and answers(now) == answers(then)
        and not now.cluster_unwell_since_ms
        and not then.cluster_unwell_since_ms
        and now.leaving == then.leaving
        and now.unreachable == then.unreachable
    )


def _is_timed(record: Record) -> bool:
    """Whether an agent was scaled by hand, or goes back home some day: what it wants changes with the time alone."""
    return record.override is not None or bool(record.home)


def _changed(request: PlacementRequest, previous: PlacementResult) -> set[AgentName]:
    old_agents, old_records = previous.request.agents, previous.request.records
    names = (old_agents.keys() ^ request.agents.keys()) | (old_records.keys() ^ request.records.keys())
    for name, agent in request.agents.items():
        old = old_agents.get(name)
        if old is not agent and (old is None or old.spec_hash != agent.spec_hash):
            names.add(name)
    for name, record in request.records.items():
        known = old_records.get(name)
        if known is not record and (known is None or (known.id, known.version) != (record.id, record.version)):
            names.add(name)
    return names


@dataclass(slots=True)
class _Pass:
    """One run over the agents, or over those that changed."""

    request: PlacementRequest
    world: World
    base: Ledger
    placed: dict[AgentName, tuple[PlacedReplicas, ...]]
    reservations: dict[AgentName, tuple[Reservation, ...]]
    homes: dict[AgentName, str]

    @classmethod
    def resume(cls, request: PlacementRequest, world: World, previous: PlacementResult, names: set[AgentName]) -> _Pass:
        """Start from an earlier result without what `names` take in it; where they are is said anew by `run`."""
        run = cls(
            request,
            world,
            previous.ledger.copy(),
            dict(previous.placed),
            dict(previous.reservations),
            dict(previous.homes),
        )
        then = previous.request
        old_world = replace(_world(then), rooms=world.rooms)
        for name in names:
            run.count(old_world, name, then.agents.get(name), then.records.get(name), leaving=then.leaving, sign=-1)
        return run

    def run(self, names: set[AgentName] | None) -> PlacementResult:
        """Place `names`, or all."""
        request = self.request
        scope = sorted(request.agents.keys() | request.records.keys() if names is None else names, key=_in_order)
        growing: dict[AgentName, Growing] = {}
        timed = set()
        for name in scope:
            agent, record = request.agents.get(name), request.records.get(name)
            if record is not None and _is_timed(record):
                timed.add(name)
            decision = self.count(self.world, name, agent, record, leaving=request.leaving, sign=1)
            match decision:
                case Settled():
                    self._put(name, decision)
                case Growing():
                    growing[name] = decision
                case None:
                    self._put(name, None)
        holds = self._grow(growing)
        return PlacementResult(
            placed=self.placed,
            reservations=self.reservations,
            homes=self.homes,
            holds=tuple(sorted(holds, key=lambda hold: hold.agents)),
            request=request,
            ledger=self.base,
            growing=frozenset(growing),
            timed=frozenset(timed),
        )

    def _put(self, name: AgentName, found: Settled | None) -> None:
        """Say where an agent is, or that it is nowhere. One that was somewhere keeps its turn."""
        if found is None:
            self.placed.pop(name, None)
            self.reservations.pop(name, None)
        else:
            self.placed[name] = found.placed
            self.reservations[name] = found.reservations
        if found is not None and found.home:
            self.homes[name] = found.home
        else:
            self.homes.pop(name, None)

    def count(
        self,
        world: World,
        name: AgentName,
        agent: Agent | None,
        record: Record | None,
        *,
        leaving: frozenset[AgentName],
        sign: int,
    ) -> Settled | Growing | None:
        """Add (or with `sign` -1 take away) what an agent holds before anything grows; answer what it wants."""
        decision: Settled | Growing | None = None
        held: tuple[Reservation, ...] = record.reservations if record else ()
        if agent is not None:
            decision = decide(world, agent, record)
            if isinstance(decision, Settled):
                held = decision.reservations
        elif record is None or name in leaving:
            return None
        if record is not None:
            self.base.use(name.namespace, held, agents=sign, sign=sign)
            if unseen(record):
                for reservation in held:
                    self.base.claim(reservation.cluster, held_by(reservation), sign)
        return decision

    def _grow(self, growing: Mapping[AgentName, Growing]) -> list[Hold]:
        ledger = self.base.copy() if growing else self.base
        quotas = {quota.namespace: quota for quota in self.request.quotas}
        records = self.request.records
        holds: list[Hold] = []
        known_first = sorted(growing, key=lambda name: name not in records)  # stable: by name among themselves
        for name in known_first:
            want, agent, record = growing[name], self.request.agents[name], records.get(name)
            target = allocate(self.world, agent, record, want, ledger)
            if isinstance(target, Refused):
                holds.append(self._hold(HoldCode.UNPLACEABLE, agent, record, want, target.text))
                continue
            found = settle(self.world, agent, record, target, want.shape, stay=want.stay)
            if quota := quotas.get(name.namespace):
                now = ledger.uses.get(name.namespace, Use())
                then = Ledger(uses={name.namespace: replace(now)})
                _count(then, name, record, found.reservations)
                if text := over_quota(quota, now, then.uses[name.namespace]):
                    holds.append(self._hold(HoldCode.QUOTA, agent, record, want, text))
                    continue
            _reserve(ledger, name, record, found.reservations)
            self._put(name, found)
        return holds

    def _hold(self, code: HoldCode, agent: Agent, record: Record | None, want: Growing, text: str) -> Hold:
        """Leave an agent as its record says, and say why."""
        action = Action.CREATE
        if record is None:
            self._put(agent.name, None)
        else:
            self._put(agent.name, Settled(placed=record.placement, reservations=record.reservations, home=record.home))
            same = all(held.requests == want.shape.texts for held in record.reservations)
            action = Action.SCALE if same and record.reservations else Action.UPDATE
        return Hold(code=code, agents=(agent.name,), action=action, text=text, lift=_LIFT[code], origin=agent.position)


def _in_order(name: AgentName) -> tuple[str, str]:
    """As AgentName orders itself, several times as fast."""
    return (name.namespace, name.name)


def _reserve(ledger: Ledger, name: AgentName, record: Record | None, found: tuple[Reservation, ...]) -> None:
    """Promise what is new. What shrinks or leaves a cluster is given back only once it is gone from there."""
    _count(ledger, name, record, found)
    before = {held.cluster: held_by(held) for held in record.reservations} if record else {}
    for reservation in found:
        had = before.get(reservation.cluster, {})
        wants = held_by(reservation)
        ledger.claim(reservation.cluster, {key: max(0, wants[key] - had.get(key, 0)) for key in wants})


def _count(ledger: Ledger, name: AgentName, record: Record | None, found: tuple[Reservation, ...]) -> None:
    """Count an agent to its namespace with what it will hold instead of what it holds."""
    if record is not None:
        ledger.use(name.namespace, record.reservations, agents=-1, sign=-1)
    ledger.use(name.namespace, found, agents=1)
