"""What holds for every fleet: determinism, stability, bounds, isolation, and that a warm pass is a cold pass."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler.model.agent import Agent, ClusterSelector
from reconciler.model.fleet import ClusterDeclaration, Quota
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Capacity, Found, NodeCapacity, Observation, Unreadable
from reconciler.model.registry import AgentState, Record, ScaleOverride
from reconciler.model.units import Quantity
from reconciler.placement import PlacementRequest, PlacementResult, place
from reconciler.placement.amounts import needed, reserved, show
from reconciler.placement.policies import apportion
from tests.placement.builders import agent, cluster, record, recorded, request, resources, rule
from tests.searching import at_most

CLUSTERS = (cluster("ap", weight=2), cluster("eu"), cluster("us", weight=3))
NAMES = [f"{namespace}/{letter}" for namespace in ("one", "two") for letter in "abcd"]

patient = settings(max_examples=at_most(80), deadline=None, suppress_health_check=[HealthCheck.too_slow])
selectors = st.sampled_from(
    [ClusterSelector(everything=True), ClusterSelector(names=("us", "eu")), ClusterSelector(names=("ap",))]
)
rules = st.builds(rule, st.sampled_from(["all", "spread", "weighted", "failover"]), selectors)
requests_of_one = st.sampled_from(["100m", "500m", "1", "1500m", "3"]).map(lambda cpu: resources({"cpu": cpu}))


@st.composite
def agents_of(draw: st.DrawFn, text: str) -> Agent:
    return agent(
        text,
        replicas=draw(st.integers(0, 5)),
        resources=draw(requests_of_one),
        placement=draw(rules),
        suspend=draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def fleets(draw: st.DrawFn) -> dict[AgentName, Agent]:
    chosen = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES)))
    return {made.name: made for made in (draw(agents_of(text)) for text in chosen)}


@st.composite
def records_of(draw: st.DrawFn, agents: dict[AgentName, Agent]) -> dict[AgentName, Record]:
    """Records of some of them, as they were declared now or before."""
    records = {}
    for key, declared in agents.items():
        if draw(st.booleans()):
            before = draw(st.one_of(st.just(declared), agents_of(str(key))))
            where = draw(st.dictionaries(st.sampled_from(["ap", "eu", "us", "gone"]), st.integers(0, 4), max_size=3))
            state = draw(st.sampled_from([AgentState.RUNNING, AgentState.DEPLOYING, AgentState.REGISTERED]))
            more = {"good": None} if draw(st.booleans()) else {}
            home = draw(st.sampled_from(["", "", "eu", "gone"]))
            records[key] = record(before, where, state=state, version=draw(st.integers(1, 3)), home=home, **more)
    return records


@st.composite
def observed(draw: st.DrawFn, each: ClusterDeclaration) -> Observation[Capacity]:
    kind = draw(st.sampled_from(["found", "found", "found", "found", "absent", "unreadable"]))
    if kind == "absent":
        return Absent()
    if kind == "unreadable":
        return Unreadable(reason="down")
    nodes = []
    for index in range(draw(st.integers(1, 2))):
        total = draw(st.integers(1, 8))
        free = draw(st.integers(0, total * 2))
        nodes.append(
            NodeCapacity(
                name=f"{each.name}-{index}",
                allocatable={"cpu": Quantity.parse(str(total))},
                free={"cpu": Quantity.parse(f"{free * 500}m")},
            )
        )
    return Found(Capacity(nodes=tuple(nodes)))


@st.composite
def requests(draw: st.DrawFn) -> PlacementRequest:
    agents = draw(fleets())
    return PlacementRequest(
        agents=agents,
        clusters=CLUSTERS,
        capacities={each.name: draw(observed(each)) for each in CLUSTERS},
        records=draw(records_of(agents)),
        quotas=draw(st.sampled_from([(), (Quota(namespace="one", replicas=6, cpu=Quantity.parse("4")),)])),
        now_ms=0,
        cluster_unwell_since_ms=draw(st.sampled_from([{}, {}, {"us": -(10**9)}, {"eu": 0}])),
        cluster_well_since_ms=draw(st.sampled_from([{}, {"eu": -(10**9)}, {"ap": 0}])),
        unreachable=frozenset(draw(st.sampled_from(["", "", "us", "eu", "ap", "eu us", "ap eu us"])).split()),
    )


@patient
@given(requests(), st.randoms())
def test_the_answer_does_not_depend_on_the_order_of_what_is_asked(asked: PlacementRequest, chance: object) -> None:
    keys = list(asked.agents)
    chance.shuffle(keys)  # type: ignore[attr-defined]
    shuffled = replace(
        asked,
        agents={key: asked.agents[key] for key in keys},
        records=dict(reversed(list(asked.records.items()))),
    )
    one, other = place(asked), place(shuffled)
    assert (one.placed, one.reservations, one.holds) == (other.placed, other.reservations, other.holds)


def _grown_where_nothing_can_be_read() -> PlacementRequest:
    """One replica runs on `eu`, two are declared, and `eu` cannot be read: what is reserved there stays one."""
    declared = agent("two/a", replicas=2, placement=rule("failover"))
    return request(declared, clusters=CLUSTERS, records=[record(declared, {"eu": 1})], unreachable=frozenset({"eu"}))


@patient
@given(requests())
@example(_grown_where_nothing_can_be_read())
def test_what_was_applied_is_settled(asked: PlacementRequest) -> None:
    """Nothing moves or takes more when nothing changed; asked for again is only what waits for a cluster to answer."""
    first = place(asked)
    then = replace(asked, records=dict(asked.records) | recorded(first, asked), cluster_unwell_since_ms={})
    held = {key for hold in first.holds for key in hold.agents}
    second = place(then)
    for key, placed in first.placed.items():
        if key not in held and not _widens(asked, key):
            assert second.placed[key] == placed
            assert second.reservations[key] == first.reservations[key]
            assert key not in {one for hold in second.holds for one in hold.agents}
            assert (key in second.growing) == _waits(first, asked, key)


def _waits(result: PlacementResult, asked: PlacementRequest, key: AgentName) -> bool:
    """Whether more is placed than reserved on a cluster nothing of which can be read.

    There nothing is promised: whether it has room is judged when it answers again, so such an agent goes on growing.
    """
    reserved_on = {held.cluster: held.replicas for held in result.reservations[key]}
    return any(
        share.cluster in asked.unreachable and share.replicas > reserved_on.get(share.cluster, 0)
        for share in result.placed[key]
    )


def _widens(asked: PlacementRequest, key: AgentName) -> bool:
    """Whether the rule is `all`, which grows onto a cluster as soon as that can be read."""
    return asked.agents[key].spec.placement.policy == "all"


@patient
@given(requests())
def test_every_agent_is_placed_as_wanted_or_held_as_it_was(asked: PlacementRequest) -> None:
    result = place(asked)
    held = {key for hold in result.holds for key in hold.agents}
    for key, declared in asked.agents.items():
        if key in held:
            known = asked.records.get(key)
            assert result.placed.get(key) == (known.placement if known else None)
        else:
            counts = [share.replicas for share in result.placed[key]]
            open_ones = [share.replicas for share in result.placed[key] if share.cluster not in _closed(asked)]
            wanted = declared.spec.min_replicas
            if declared.spec.placement.policy == "all":
                assert all(count <= max(wanted, 4) for count in counts)
                assert (any(counts) and all(open_ones)) or wanted == 0
            else:
                assert sum(counts) == wanted
            assert [r.cluster for r in result.reservations[key]] == [
                p.cluster for p in result.placed[key] if p.replicas
            ]


@patient
@given(requests())
def test_growth_never_takes_more_than_is_free(asked: PlacementRequest) -> None:
    result = place(asked)
    for each in CLUSTERS:
        seen = asked.capacities[each.name]
        if not isinstance(seen, Found) or each.name in asked.unreachable:
            continue
        taken = 0
        for key in result.growing:
            known = asked.records.get(key)
            before = known.reservations if known else ()
            grown = _cpu(result.reservations.get(key, ()), each.name) - _cpu(before, each.name)
            taken += max(0, grown)
        free = sum(needed(node.free["cpu"]) for node in seen.value.nodes)
        assert taken <= free


def _cpu(reservations: object, where: str) -> int:
    return sum(
        reserved(each.requests).get("cpu", 0) * each.replicas
        for each in reservations  # type: ignore[attr-defined]
        if each.cluster == where
    )


@patient
@given(requests())
def test_nothing_comes_to_a_cluster_that_cannot_be_read_and_nothing_that_stays_selected_leaves(
    asked: PlacementRequest,
) -> None:
    closed = _closed(asked)
    calm = replace(asked, cluster_unwell_since_ms={})
    result = place(calm)
    for key, known in asked.records.items():
        before = {share.cluster: share.replicas for share in known.placement}
        after = {share.cluster: share.replicas for share in result.placed[key]}
        declared = asked.agents[key]
        same_rule = known.document["placement"] == declared.document["placement"]
        grew = declared.spec.min_replicas >= sum(before.get(each.name, 0) for each in CLUSTERS)
        for name in closed:
            if declared.spec.placement.policy != "all" and not asked.unreachable.issuperset(_selected(declared)):
                stays = declared.spec.placement.policy == "failover" and bool(before.get(name))
                assert after.get(name, 0) <= before.get(name, 0) or (stays and name in asked.unreachable)
                if same_rule and grew and name in _selected(declared) and not declared.spec.suspend:
                    assert after.get(name, 0) == before.get(name, 0) or declared.spec.placement.policy == "failover"


def _closed(asked: PlacementRequest) -> list[str]:
    """Clusters that take nothing new: nobody knows what they have left."""
    return [
        each.name
        for each in CLUSTERS
        if isinstance(asked.capacities[each.name], Unreadable) or each.name in asked.unreachable
    ]


def _selected(declared: Agent) -> tuple[str, ...]:
    selector = declared.spec.placement.clusters
    return selector.names or tuple(each.name for each in CLUSTERS)


@patient
@given(requests(), agents_of("zero/impossible"))
def test_an_agent_that_fits_nowhere_changes_nothing_for_the_others(asked: PlacementRequest, extra: Agent) -> None:
    giant = agent("zero/impossible", resources=resources({"cpu": "1000000"}), placement=extra.spec.placement)
    bounded = replace(asked, capacities={key: Found(Capacity(nodes=())) for key in asked.capacities} | {
        key: seen for key, seen in asked.capacities.items() if not isinstance(seen, Absent)
    })  # fmt: skip
    alone = place(bounded)
    beside = place(replace(bounded, agents=dict(bounded.agents) | {giant.name: giant}))
    if giant.name in {key for hold in beside.holds for key in hold.agents}:
        assert {key: placed for key, placed in beside.placed.items() if key != giant.name} == alone.placed


@patient
@given(st.data())
def test_a_warm_pass_answers_as_a_cold_one(data: st.DataObject) -> None:
    asked = data.draw(requests())
    if data.draw(st.booleans()):
        asked = replace(asked, cluster_unwell_since_ms={}, records=recorded(place(asked), asked))
    previous = place(asked)
    agents, records = dict(asked.agents), dict(asked.records)
    changed = set()
    for text in data.draw(st.lists(st.sampled_from(NAMES), max_size=3)):
        made = data.draw(agents_of(text))
        changed.add(made.name)
        if data.draw(st.booleans()):
            agents[made.name] = made
            if made.name in records and data.draw(st.booleans()):
                records[made.name] = replace(records[made.name], version=9, state=AgentState.DEGRADED)
        else:
            agents.pop(made.name, None)
            if data.draw(st.booleans()):
                records.pop(made.name, None)
    now = replace(asked, agents=agents, records=records)
    if data.draw(st.booleans()):
        now = replace(now, capacities=dict(now.capacities) | {"eu": data.draw(observed(CLUSTERS[1]))})
    cold = place(now)
    for warm in (place(now, previous=previous), place(now, previous=previous, changed=changed)):
        assert warm.placed == cold.placed
        assert warm.reservations == cold.reservations
        assert warm.holds == cold.holds
        assert warm.growing == cold.growing
        assert warm.homes == cold.homes
    again = place(now, previous=place(now, previous=previous))
    assert again.placed == cold.placed


@patient
@given(
    st.integers(0, 1000),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1),
)
def test_shares_without_bounds_are_within_one_of_the_exact_share(total: int, weights: dict[str, int]) -> None:
    order = sorted(weights)
    shares = apportion(total, weights, lower=dict.fromkeys(order, 0), upper=dict.fromkeys(order, total), order=order)
    assert sum(shares.values()) == total
    for key, share in shares.items():
        assert abs(share - Fraction(total * weights[key], sum(weights.values()))) < 1


@patient
@given(st.data())
def test_shares_keep_their_bounds_and_give_out_all_they_can(data: st.DataObject) -> None:
    weights = data.draw(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1))
    lower = {key: data.draw(st.integers(0, 20)) for key in weights}
    upper = {key: lower[key] + data.draw(st.integers(0, 20)) for key in weights}
    total = data.draw(st.integers(sum(lower.values()), sum(upper.values()) + 20))
    shares = apportion(total, weights, lower=lower, upper=upper, order=sorted(weights))
    assert all(lower[key] <= shares[key] <= upper[key] for key in weights)
    assert sum(shares.values()) == min(total, sum(upper.values()))


def test_amounts_are_shown_briefly_and_never_as_nothing() -> None:
    shown = [
        show("cpu", 2500),
        show("cpu", 1),
        show("memory", 1536 * 1024 * 1000),
        show("memory", 512_000),
        show("pods", 0),
    ]
    assert shown == ["2.5", "0.001", "1.5Mi", "512", "0"]


def test_a_hand_scaled_agent_is_looked_at_again_when_only_time_has_passed() -> None:
    known = agent("a/one", replicas=2)
    override = ScaleOverride(replicas=4, author="ann", reason="x", since_ms=0, until_ms=1000)
    asked = request(known, records=[record(known, {"local": 4}, override=override)])
    before = place(asked)
    later = place(replace(asked, now_ms=2000), previous=before, changed=())
    assert [share.replicas for share in later.placed[known.name]] == [2]
