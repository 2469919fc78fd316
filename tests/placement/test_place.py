"""Where agents run: policies, stability, capacity, quotas, what is held and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.agent import ClusterSelector, Expression
from reconciler.model.fleet import Quota
from reconciler.model.objects import Absent, NodeCapacity, Unreadable
from reconciler.model.plan import Action, HoldCode
from reconciler.model.registry import AgentState, Reservation, ScaleOverride
from reconciler.model.units import Duration, Quantity
from reconciler.placement import PlacementResult, place
from tests.placement.builders import (
    agent,
    capacity,
    cluster,
    name,
    node,
    record,
    recorded,
    request,
    resources,
    rule,
    scaling,
    where,
)

EU, US, AP = cluster("eu", region="eu"), cluster("us", region="us"), cluster("ap", region="ap")


def only_hold(result: PlacementResult) -> str:
    (hold,) = result.holds
    return hold.text


def test_an_agent_goes_to_the_only_cluster_and_reserves_there_what_it_requests() -> None:
    result = place(request(agent("a/one", replicas=3, resources=resources({"cpu": "1000m", "memory": "0.5Gi"}))))
    assert where(result, "a/one") == {"local": 3}
    assert result.reservations[name("a/one")] == (
        Reservation(cluster="local", replicas=3, requests={"cpu": "1", "memory": "512Mi"}),
    )
    assert result.holds == ()


def test_a_limit_counts_where_there_is_no_request() -> None:
    result = place(request(agent("a/one", resources=resources({"cpu": "1"}, {"cpu": "2", "memory": "1Gi"}))))
    assert result.reservations[name("a/one")][0].requests == {"cpu": "1", "memory": "1Gi"}


class TestPolicies:
    def test_all_runs_every_replica_on_every_cluster(self) -> None:
        result = place(request(agent("a/one", replicas=2, placement=rule("all")), clusters=(EU, US)))
        assert where(result, "a/one") == {"eu": 2, "us": 2}

    def test_spread_shares_evenly_and_gives_the_rest_to_the_best_fit(self) -> None:
        capacities = {"us": capacity(node(cpu="2"))}
        declared = agent("a/one", replicas=3, placement=rule("spread"))
        assert where(place(request(declared, clusters=(EU, US))), "a/one") == {"eu": 2, "us": 1}
        assert where(place(request(declared, clusters=(EU, US), capacities=capacities)), "a/one") == {"eu": 1, "us": 2}

    def test_weighted_follows_the_clusters_weights_and_the_rules_own(self) -> None:
        clusters = (cluster("eu", weight=3), cluster("us", weight=1))
        assert where(
            place(request(agent("a/one", replicas=8, placement=rule("weighted")), clusters=clusters)), "a/one"
        ) == {"eu": 6, "us": 2}
        own = rule("weighted", weights={"eu": 1, "us": 3})
        assert where(place(request(agent("a/one", replicas=8, placement=own), clusters=clusters)), "a/one") == {
            "eu": 2,
            "us": 6,
        }

    def test_a_weight_of_zero_leaves_a_cluster_out_unless_all_are_zero(self) -> None:
        none = rule("weighted", weights={"eu": 0, "us": 1})
        assert where(place(request(agent("a/one", replicas=4, placement=none), clusters=(EU, US))), "a/one") == {
            "us": 4
        }
        zeros = rule("weighted", weights={"eu": 0, "us": 0})
        assert where(place(request(agent("a/one", replicas=4, placement=zeros), clusters=(EU, US))), "a/one") == {
            "eu": 2,
            "us": 2,
        }

    def test_failover_takes_the_first_named_cluster_that_has_room(self) -> None:
        declared = agent("a/one", replicas=2, placement=rule("failover", ClusterSelector(names=("us", "eu"))))
        assert where(place(request(declared, clusters=(EU, US))), "a/one") == {"us": 2}
        full = {"us": capacity(node(cpu="100m"))}
        assert where(place(request(declared, clusters=(EU, US), capacities=full)), "a/one") == {"eu": 2}

    def test_failover_by_label_prefers_weight_then_best_fit(self) -> None:
        declared = agent("a/one", placement=rule("failover"))
        heavy = (EU, cluster("us", weight=5))
        assert where(place(request(declared, clusters=heavy)), "a/one") == {"us": 1}
        tight = {"us": capacity(node(cpu="2"))}
        assert where(place(request(declared, clusters=(EU, US), capacities=tight)), "a/one") == {"us": 1}

    def test_replicas_that_do_not_fit_their_share_go_where_there_is_room(self) -> None:
        declared = agent("a/one", replicas=6, resources=resources({"cpu": "1"}))
        small = {"eu": capacity(node(cpu="2"))}
        assert where(place(request(declared, clusters=(EU, US), capacities=small)), "a/one") == {"eu": 2, "us": 4}


class TestSelecting:
    @pytest.mark.parametrize(
        ("selector", "expected"),
        [
            (ClusterSelector(match_labels={"region": "eu"}), {"eu"}),
            (ClusterSelector(names=("us", "nowhere")), {"us"}),
            (
                ClusterSelector(match_expressions=(Expression(key="region", operator="In", values=("eu", "ap")),)),
                {"eu", "ap"},
            ),
            (
                ClusterSelector(match_expressions=(Expression(key="region", operator="NotIn", values=("eu",)),)),
                {"us", "ap"},
            ),
            (ClusterSelector(match_expressions=(Expression(key="gpu", operator="DoesNotExist"),)), {"eu", "us", "ap"}),
            (ClusterSelector(names=("eu", "us"), match_labels={"region": "us"}), {"us"}),
        ],
    )
    def test_by_name_label_or_expression(self, selector: ClusterSelector, expected: set[str]) -> None:
        result = place(request(agent("a/one", placement=rule("all", selector)), clusters=(EU, US, AP)))
        assert set(where(result, "a/one") or ()) == expected

    @pytest.mark.parametrize(
        "selector",
        [ClusterSelector(), ClusterSelector(match_expressions=(Expression(key="gpu", operator="Exists"),))],
    )
    def test_what_selects_nothing_is_held_and_what_runs_is_left(self, selector: ClusterSelector) -> None:
        new = place(request(agent("a/one", placement=rule("all", selector)), clusters=(EU, US)))
        assert only_hold(new) == "its placement selects none of the fleet's clusters"
        assert where(new, "a/one") is None
        known = agent("a/one", placement=rule("all", selector))
        kept = place(request(known, clusters=(EU, US), records=[record(known, {"eu": 2})]))
        assert where(kept, "a/one") == {"eu": 2}


class TestStability:
    def test_what_runs_stays_though_another_place_would_be_better_now(self) -> None:
        known = agent("a/one", replicas=4)
        result = place(request(known, clusters=(EU, US), records=[record(known, {"eu": 4})]))
        assert where(result, "a/one") == {"eu": 4}

    def test_more_replicas_fill_what_is_behind_and_move_nothing(self) -> None:
        known = agent("a/one", replicas=6)
        result = place(request(known, clusters=(EU, US), records=[record(known, {"eu": 4})]))
        assert where(result, "a/one") == {"eu": 4, "us": 2}

    def test_fewer_replicas_are_taken_from_what_is_ahead(self) -> None:
        known = agent("a/one", replicas=4)
        result = place(request(known, clusters=(EU, US), records=[record(known, {"eu": 5, "us": 2})]))
        assert where(result, "a/one") == {"eu": 2, "us": 2}

    def test_a_changed_rule_places_anew(self) -> None:
        before = agent("a/one", replicas=4, placement=rule("failover"))
        after = agent("a/one", replicas=4, placement=rule("spread"))
        result = place(request(after, clusters=(EU, US), records=[record(before, {"eu": 4})]))
        assert where(result, "a/one") == {"eu": 2, "us": 2}

    def test_a_cluster_that_is_no_longer_selected_is_left(self) -> None:
        known = agent("a/one", replicas=4)
        result = place(request(known, clusters=(US,), records=[record(known, {"eu": 2, "us": 2})]))
        assert where(result, "a/one") == {"us": 4}

    def test_all_grows_onto_a_cluster_that_is_new(self) -> None:
        known = agent("a/one", placement=rule("all"))
        result = place(request(known, clusters=(EU, US), records=[record(known, {"eu": 1})]))
        assert where(result, "a/one") == {"eu": 1, "us": 1}

    def test_smaller_requests_settle_without_asking_for_room(self) -> None:
        big = agent("a/one", replicas=2, resources=resources({"cpu": "2"}))
        small = agent("a/one", replicas=2, resources=resources({"cpu": "1"}))
        full = {"local": capacity(node(cpu="4"))}
        result = place(request(small, records=[record(big, {"local": 2})], capacities=full))
        assert result.reservations[name("a/one")] == (Reservation(cluster="local", replicas=2, requests={"cpu": "1"}),)

    @pytest.mark.parametrize("policy", ["spread", "weighted", "failover", "all"])
    def test_fewer_and_heavier_replicas_are_placed_in_one_go(self, policy: str) -> None:
        before = agent("a/one", replicas=5, placement=rule(policy), resources=resources({"cpu": "100m"}))
        after = agent("a/one", replicas=2, placement=rule(policy), resources=resources({"cpu": "1"}))
        result = place(request(after, records=[record(before, {"local": 5})]))
        assert where(result, "a/one") == {"local": 2}
        assert result.reservations[name("a/one")] == (Reservation(cluster="local", replicas=2, requests={"cpu": "1"}),)
        assert result.holds == ()

    def test_fewer_and_heavier_replicas_are_taken_from_what_is_ahead_and_move_nowhere_else(self) -> None:
        before = agent("a/one", replicas=7, resources=resources({"cpu": "100m"}))
        after = agent("a/one", replicas=4, resources=resources({"cpu": "500m"}))
        asked = request(after, clusters=(EU, US, AP), records=[record(before, {"eu": 5, "us": 2})])
        assert where(place(asked), "a/one") == {"eu": 2, "us": 2}

    def test_fewer_and_heavier_replicas_stay_where_there_is_room_for_them(self) -> None:
        before = agent("a/one", replicas=7, resources=resources({"cpu": "100m"}))
        after = agent("a/one", replicas=4, resources=resources({"cpu": "500m"}))
        small = {"us": capacity(node(cpu="300m"))}  # and 200m that it holds there itself
        asked = request(after, clusters=(EU, US), capacities=small, records=[record(before, {"eu": 5, "us": 2})])
        assert where(place(asked), "a/one") == {"eu": 3, "us": 1}

    def test_fewer_and_heavier_replicas_that_fit_nowhere_are_held_with_what_is_missing(self) -> None:
        before = agent("a/one", replicas=5, resources=resources({"cpu": "100m"}))
        after = agent("a/one", replicas=4, resources=resources({"cpu": "1500m"}))
        result = place(request(after, records=[record(before, {"local": 5})]))
        assert where(result, "a/one") == {"local": 5}
        assert only_hold(result) == "needs 1.5 cpu more on local: 0 of 4 allocatable are taken"


class TestUnreadableClusters:
    GONE = Unreadable(reason="connection refused")

    def test_nothing_moves_off_a_cluster_that_cannot_be_read(self) -> None:
        known = agent("a/one", replicas=4)
        asked = request(
            known, clusters=(EU, US), capacities={"eu": self.GONE}, records=[record(known, {"eu": 2, "us": 2})]
        )
        assert where(place(asked), "a/one") == {"eu": 2, "us": 2}

    def test_growth_goes_to_the_others(self) -> None:
        known = agent("a/one", replicas=6)
        asked = request(
            known, clusters=(EU, US), capacities={"eu": self.GONE}, records=[record(known, {"eu": 2, "us": 2})]
        )
        assert where(place(asked), "a/one") == {"eu": 2, "us": 4}

    def test_a_new_agent_starts_on_the_others_and_is_held_where_there_are_none(self) -> None:
        declared = agent("a/one", replicas=2)
        result = place(request(declared, clusters=(EU, US), capacities={"eu": self.GONE}))
        assert where(result, "a/one") == {"us": 2}
        alone = place(request(declared, clusters=(EU,), capacities={"eu": self.GONE}))
        assert where(alone, "a/one") is None
        assert only_hold(alone) == "eu takes nothing new now: connection refused"

    def test_a_cluster_that_was_not_asked_is_no_other(self) -> None:
        asked = request(agent("a/one"))
        result = place(type(asked)(agents=asked.agents, clusters=asked.clusters, capacities={}))
        assert only_hold(result) == "local takes nothing new now: its capacity was not read"

    def test_all_keeps_what_it_has_there_and_waits_with_the_rest(self) -> None:
        known = agent("a/one", replicas=2, placement=rule("all"))
        asked = request(
            known,
            clusters=(EU, US, AP),
            capacities={"eu": self.GONE, "ap": self.GONE},
            records=[record(known, {"eu": 1})],
        )
        assert where(place(asked), "a/one") == {"eu": 1, "us": 2}

    @pytest.mark.parametrize("away", [frozenset(), frozenset({"eu"})], ids=["counts nothing", "blind"])
    def test_all_is_resumed_on_the_others_and_stays_at_none_there(self, away: frozenset[str]) -> None:
        known = agent("a/one", replicas=2, placement=rule("all"))
        held = record(known, {"eu": 0, "us": 0}, state=AgentState.SUSPENDED)
        asked = request(known, clusters=(EU, US), capacities={"eu": self.GONE}, records=[held], unreachable=away)
        result = place(asked)
        assert (where(result, "a/one"), result.holds) == ({"eu": 0, "us": 2}, ())
        assert [one.cluster for one in result.reservations[known.name]] == ["us"]
        applied = replace(asked, records=recorded(result, asked))
        assert place(applied).placed == result.placed
        well = replace(applied, capacities={"eu": capacity(), "us": capacity()}, unreachable=frozenset())
        assert where(place(well), "a/one") == {"eu": 2, "us": 2}

    def test_all_that_could_be_resumed_nowhere_is_held_or_waits_where_nothing_can_be_read(self) -> None:
        known = agent("a/one", replicas=2, placement=rule("all"))
        held = record(known, {"eu": 0}, state=AgentState.SUSPENDED)
        asked = request(known, clusters=(EU,), capacities={"eu": self.GONE}, records=[held])
        assert only_hold(place(asked)) == "eu takes nothing new now: connection refused"
        dark = place(replace(asked, unreachable=frozenset({"eu"})))
        assert (where(dark, "a/one"), dark.holds) == ({"eu": 2}, ())

    def test_heavier_replicas_wait_for_its_capacity(self) -> None:
        before, after = (
            agent("a/one", resources=resources({"cpu": "1"})),
            agent("a/one", resources=resources({"cpu": "2"})),
        )
        result = place(
            request(after, clusters=(EU,), capacities={"eu": self.GONE}, records=[record(before, {"eu": 1})])
        )
        assert where(result, "a/one") == {"eu": 1}
        assert only_hold(result) == "eu takes nothing new now: connection refused"
        assert result.reservations[name("a/one")][0].requests == {"cpu": "1"}

    def test_where_nothing_can_be_read_heavier_replicas_hold_back_none_of_the_others(self) -> None:
        before, after = (
            agent("a/one", replicas=4, resources=resources({"cpu": "100m"})),
            agent("a/one", replicas=4, resources=resources({"cpu": "500m"})),
        )
        result = place(
            request(
                after,
                clusters=(EU, US),
                capacities={"eu": self.GONE},
                unreachable=frozenset({"eu"}),
                records=[record(before, {"eu": 2, "us": 2})],
            )
        )
        assert where(result, "a/one") == {"eu": 2, "us": 2}
        assert result.holds == ()
        reserved = {each.cluster: each.requests["cpu"] for each in result.reservations[name("a/one")]}
        assert reserved == {"eu": "100m", "us": "500m"}

    def test_a_weighted_share_that_cannot_be_read_stays_and_the_rest_takes_what_is_added(self) -> None:
        by_weight = rule("weighted", weights={"eu": 2, "us": 1, "ap": 1})
        known = agent("a/one", replicas=12, placement=by_weight)
        asked = request(
            known,
            clusters=(EU, US, AP),
            capacities={"eu": self.GONE},
            unreachable=frozenset({"eu"}),
            records=[record(known, {"eu": 4, "us": 2, "ap": 2})],
        )
        assert where(place(asked), "a/one") == {"eu": 4, "us": 4, "ap": 4}

    def test_growth_where_nothing_can_be_read_is_promised_no_room_until_it_answers(self) -> None:
        """One runs and two are declared: the second is wanted, not reserved, and asked for anew whenever we look."""
        known = agent("a/one", replicas=2, placement=rule("failover"))
        asked = request(known, clusters=(EU,), records=[record(known, {"eu": 1})], unreachable=frozenset({"eu"}))
        dark = place(asked)
        assert (where(dark, "a/one"), set(dark.growing), dark.holds) == ({"eu": 2}, {known.name}, ())
        assert [held.replicas for held in dark.reservations[known.name]] == [1]
        applied = replace(asked, records=recorded(dark, asked))
        again = place(applied)
        assert (again.placed, again.reservations, again.growing) == (dark.placed, dark.reservations, dark.growing)
        room = place(replace(applied, unreachable=frozenset()), previous=again)
        assert ([held.replicas for held in room.reservations[known.name]], room.holds) == ([2], ())
        full = {"eu": capacity(node(memory="0"))}
        none = place(replace(applied, unreachable=frozenset(), capacities=full), previous=again)
        assert only_hold(none).startswith("needs 128Mi memory more on eu")

    @pytest.mark.parametrize("before", [GONE, Absent(), None], ids=["unreadable", "uncounted", "not asked"])
    @pytest.mark.parametrize("after", [GONE, Absent(), None], ids=["unreadable", "uncounted", "not asked"])
    def test_a_cluster_that_answers_in_another_way_is_another_in_a_warm_pass(
        self, before: Unreadable | Absent | None, after: Unreadable | Absent | None
    ) -> None:
        known = agent("a/one", placement=rule("all"))
        asked = request(known, clusters=(EU, US), records=[record(known, {"us": 1})])
        then, now = (
            replace(asked, capacities={"us": capacity()} | ({} if seen is None else {"eu": seen}))
            for seen in (before, after)
        )
        cold = place(now)
        assert place(now, previous=place(then), changed=()).placed == cold.placed
        assert where(cold, "a/one") == ({"eu": 1, "us": 1} if after == Absent() else {"us": 1})

    def test_a_cluster_without_capacity_to_tell_takes_everything(self) -> None:
        result = place(request(agent("a/one", replicas=5000), clusters=(EU,), capacities={"eu": Absent()}))
        assert where(result, "a/one") == {"eu": 5000}


class TestFailover:
    RULE = rule("failover", ClusterSelector(names=("eu", "us")), failover_after=Duration.parse("5m"))

    def at(self, now_ms: int, **unwell: int) -> dict[str, int] | None:
        known = agent("a/one", replicas=2, placement=self.RULE)
        asked = request(
            known,
            clusters=(EU, US),
            capacities={key: Unreadable(reason="down") for key in unwell},
            records=[record(known, {"eu": 2})],
            now_ms=now_ms,
            cluster_unwell_since_ms=unwell,
        )
        result = place(asked)
        return where(result, "a/one")

    def test_it_waits_first_and_then_moves(self) -> None:
        assert self.at(299_999, eu=0) == {"eu": 2}
        assert self.at(300_000, eu=0) == {"us": 2}

    def test_it_does_not_move_to_a_cluster_that_is_unwell_too(self) -> None:
        assert self.at(900_000, eu=0, us=600_000) == {"eu": 2}

    def test_it_does_not_come_back_by_itself(self) -> None:
        known = agent("a/one", replicas=2, placement=self.RULE)
        result = place(request(known, clusters=(EU, US), records=[record(known, {"us": 2})]))
        assert where(result, "a/one") == {"us": 2}

    def test_growth_stays_on_its_cluster(self) -> None:
        known = agent("a/one", replicas=3, placement=self.RULE)
        result = place(request(known, clusters=(EU, US), records=[record(known, {"us": 2})]))
        assert where(result, "a/one") == {"us": 3}

    def test_without_a_wait_of_its_own_five_minutes_are_meant(self) -> None:
        known = agent("a/one", placement=rule("failover"))
        for now_ms, expected in ((299_999, {"eu": 1}), (300_000, {"us": 1})):
            asked = request(
                known,
                clusters=(EU, US),
                records=[record(known, {"eu": 1})],
                now_ms=now_ms,
                cluster_unwell_since_ms={"eu": 0},
            )
            assert where(place(asked), "a/one") == expected

    def test_it_says_when_it_would_leave_and_cannot(self) -> None:
        known = agent("a/one", replicas=9, placement=rule("failover"), resources=resources({"cpu": "1"}))
        asked = request(
            known,
            clusters=(EU, US),
            records=[record(known, {"eu": 9})],
            now_ms=10**9,
            cluster_unwell_since_ms={"eu": 0},
        )
        result = place(asked)
        assert where(result, "a/one") == {"eu": 9}
        assert only_hold(result) == "needs 5 cpu more on us: 0 of 4 allocatable are taken"


class TestCapacity:
    def test_what_is_missing_is_named(self) -> None:
        declared = agent("a/one", resources=resources({"cpu": "2.5", "memory": "1Gi"}))
        result = place(request(declared, capacities={"local": capacity(node(cpu="4"))}))
        assert where(result, "a/one") == {"local": 1}
        tight = capacity(node_with_free("500m"))
        held = place(request(declared, capacities={"local": tight}))
        (hold,) = held.holds
        assert hold.text == "needs 2 cpu more on local: 3.5 of 4 allocatable are taken"
        assert (hold.code, hold.agents, hold.action) == (HoldCode.UNPLACEABLE, (name("a/one"),), Action.CREATE)
        assert hold.blocks_exit
        assert hold.lift

    def test_memory_is_shown_as_people_write_it(self) -> None:
        declared = agent("a/one", resources=resources({"memory": "9.5Gi"}))
        assert only_hold(place(request(declared))) == "needs 1.5Gi memory more on local: 0 of 8Gi allocatable are taken"

    def test_it_holds_back_only_itself(self) -> None:
        big = agent("a/big", resources=resources({"cpu": "64"}))
        result = place(request(big, agent("a/small"), agent("b/small")))
        assert where(result, "a/small") == where(result, "b/small") == {"local": 1}
        assert [hold.agents for hold in result.holds] == [(name("a/big"),)]

    def test_agents_of_one_pass_do_not_take_the_same_room_twice(self) -> None:
        agents = [agent(f"a/{letter}", resources=resources({"cpu": "1500m"})) for letter in "cab"]
        result = place(request(*agents))
        assert [where(result, f"a/{letter}") for letter in "abc"] == [{"local": 1}, {"local": 1}, None]
        assert only_hold(result) == "needs 0.5 cpu more on local: 3 of 4 allocatable are taken"

    def test_known_agents_grow_before_new_ones_come(self) -> None:
        known = agent("z/known", replicas=2, resources=resources({"cpu": "2"}))
        new = agent("a/new", resources=resources({"cpu": "2"}))
        used = {"local": capacity(node_with_free("2"))}
        result = place(request(known, new, records=[record(known, {"local": 1})], capacities=used))
        assert where(result, "z/known") == {"local": 2}
        assert where(result, "a/new") is None

    def test_what_runs_is_already_missing_from_what_is_free_and_does_not_count_twice(self) -> None:
        known = agent("a/one", replicas=2, resources=resources({"cpu": "2"}))
        full = {"local": capacity(node_with_free("0"))}
        result = place(request(known, records=[record(known, {"local": 2})], capacities=full))
        assert where(result, "a/one") == {"local": 2}
        assert result.holds == ()

    def test_an_agent_that_grows_counts_only_what_it_does_not_hold(self) -> None:
        before = agent("a/one", resources=resources({"cpu": "3"}))
        after = agent("a/one", resources=resources({"cpu": "4"}))
        used = {"local": capacity(node_with_free("1"))}
        assert where(place(request(after, records=[record(before, {"local": 1})], capacities=used)), "a/one") == {
            "local": 1
        }
        more = agent("a/one", resources=resources({"cpu": "4500m"}))
        held = place(request(more, records=[record(before, {"local": 1})], capacities=used))
        assert only_hold(held) == "needs 0.5 cpu more on local: 0 of 4 allocatable are taken"
        assert held.holds[0].action is Action.UPDATE

    @pytest.mark.parametrize("state", [AgentState.REGISTERED, AgentState.DEPLOYING])
    def test_a_reservation_whose_pods_may_not_be_there_yet_is_kept_free(self, state: AgentState) -> None:
        starting = agent("a/one", resources=resources({"cpu": "3"}))
        new = agent("a/two", resources=resources({"cpu": "2"}))
        result = place(request(starting, new, records=[record(starting, {"local": 1}, state=state, good=None)]))
        assert where(result, "a/two") is None
        running = place(request(starting, new, records=[record(starting, {"local": 1})]))
        assert where(running, "a/two") == {"local": 1}

    def test_a_record_without_a_declaration_holds_its_reservation_until_it_leaves(self) -> None:
        frozen = record(agent("a/old", resources=resources({"cpu": "3"})), {"local": 1}, state=AgentState.REGISTERED)
        new = agent("a/new", resources=resources({"cpu": "2"}))
        assert where(place(request(new, records=[frozen])), "a/new") is None
        assert where(place(request(new, records=[frozen], leaving=frozenset({frozen.name}))), "a/new") == {"local": 1}

    def test_a_replica_larger_than_any_node_is_told_so(self) -> None:
        nodes = capacity(node("n1"), node("n2"))
        declared = agent("a/one", resources=resources({"cpu": "6"}))
        result = place(request(declared, capacities={"local": nodes}))
        assert only_hold(result) == "no node of local has room for one more replica of 6 cpu"

    def test_devices_that_a_cluster_does_not_know_are_devices_it_does_not_have(self) -> None:
        declared = agent("a/one", resources=resources({"nvidia.com/gpu": "1", "ephemeral-storage": "1Ti"}))
        result = place(request(declared))
        assert only_hold(result) == "needs 1 nvidia.com/gpu more on local: 0 of 0 allocatable are taken"

    def test_a_reservation_that_cannot_be_read_counts_as_nothing(self) -> None:
        odd = Reservation(cluster="local", replicas=1, requests={"cpu": "much", "memory": "1Gi"})
        old = record(agent("a/old"), {"local": 1}, state=AgentState.REGISTERED, reservations=(odd,))
        assert where(place(request(agent("b/new", resources=resources({"cpu": "4"})), records=[old])), "b/new")

    def test_the_number_of_pods_is_bounded_where_nodes_say_so(self) -> None:
        limited = node()
        limited = NodeCapacity(
            name="n1",
            allocatable={**limited.allocatable, "pods": Quantity.parse("3")},
            free={**limited.free, "pods": Quantity.parse("3")},
        )
        result = place(request(agent("a/one", replicas=4), capacities={"local": capacity(limited)}))
        assert only_hold(result) == "needs 1 pods more on local: 0 of 3 allocatable are taken"

    def test_every_cluster_that_all_wants_must_have_room(self) -> None:
        declared = agent("a/one", placement=rule("all"), resources=resources({"cpu": "3"}))
        small = {"eu": capacity(node(cpu="1"))}
        result = place(request(declared, clusters=(EU, US), capacities=small))
        assert only_hold(result) == "needs 2 cpu more on eu: 0 of 1 allocatable are taken"

    def test_spread_names_what_is_missing_on_each_cluster(self) -> None:
        declared = agent("a/one", replicas=9, resources=resources({"cpu": "1"}))
        result = place(request(declared, clusters=(EU, US)))
        assert only_hold(result) == (
            "needs 1 cpu more on eu: 0 of 4 allocatable are taken; needs 1 cpu more on us: 0 of 4 allocatable are taken"
        )

    def test_heavier_replicas_that_no_longer_fit_where_they_are_are_not_moved_about(self) -> None:
        before = agent("a/one", replicas=2, resources=resources({"cpu": "1"}))
        after = agent("a/one", replicas=2, resources=resources({"cpu": "3"}))
        full = {"eu": capacity(node_with_free("0"))}
        result = place(request(after, clusters=(EU, US), capacities=full, records=[record(before, {"eu": 2})]))
        assert where(result, "a/one") == {"eu": 2}
        assert only_hold(result) == "needs 4 cpu more on eu: 2 of 4 allocatable are taken"


def node_with_free(cpu: str) -> NodeCapacity:
    """A node of 4 cpu and 8Gi, of which `cpu` is left."""
    whole = node()
    return NodeCapacity(name="n1", allocatable=whole.allocatable, free={**whole.free, "cpu": Quantity.parse(cpu)})


class TestReplicas:
    def test_an_autoscalers_minimum_is_placed_and_reserved(self) -> None:
        result = place(request(agent("a/one", autoscaling=scaling(2, 10))))
        assert where(result, "a/one") == {"local": 2}

    def test_suspended_agents_run_nowhere_and_reserve_nothing(self) -> None:
        known = agent("a/one", replicas=3, suspend=True)
        result = place(request(known, records=[record(known, {"local": 3})]))
        assert where(result, "a/one") == {"local": 0}
        assert result.reservations[name("a/one")] == ()

    def test_suspended_by_hand_is_suspended(self) -> None:
        known = agent("a/one", replicas=3)
        result = place(request(known, records=[record(known, {"local": 3}, suspended=True)]))
        assert where(result, "a/one") == {"local": 0}

    @pytest.mark.parametrize(("policy", "expected"), [("all", {"eu": 0, "us": 0}), ("spread", {"eu": 0})])
    def test_a_new_agent_may_be_declared_suspended(self, policy: str, expected: dict[str, int]) -> None:
        result = place(request(agent("a/one", suspend=True, placement=rule(policy)), clusters=(EU, US)))
        assert where(result, "a/one") == expected

    def test_what_is_resumed_is_placed_again(self) -> None:
        known = agent("a/one", replicas=3)
        result = place(request(known, records=[record(known, {"local": 0})]))
        assert where(result, "a/one") == {"local": 3}

    @pytest.mark.parametrize(("now_ms", "replicas"), [(999, 6), (1000, 2)])
    def test_scaling_by_hand_holds_until_its_end(self, now_ms: int, replicas: int) -> None:
        known = agent("a/one", replicas=2)
        override = ScaleOverride(replicas=6, author="ann", reason="launch", since_ms=0, until_ms=1000)
        result = place(request(known, records=[record(known, {"local": 2}, override=override)], now_ms=now_ms))
        assert where(result, "a/one") == {"local": replicas}

    def test_scaling_by_hand_without_an_end_lasts(self) -> None:
        known = agent("a/one", replicas=2)
        override = ScaleOverride(replicas=0, author="ann", reason="noise", since_ms=0)
        result = place(request(known, records=[record(known, {"local": 2}, override=override)], now_ms=10**15))
        assert where(result, "a/one") == {"local": 0}

    def test_scaling_by_hand_is_held_like_anything_that_grows(self) -> None:
        known = agent("a/one", replicas=1, resources=resources({"cpu": "1"}))
        override = ScaleOverride(replicas=9, author="ann", reason="launch", since_ms=0)
        result = place(
            request(
                known,
                records=[record(known, {"local": 1}, override=override)],
                capacities={"local": capacity(node_with_free("3"))},
            )
        )
        assert result.holds[0].action is Action.SCALE
        assert where(result, "a/one") == {"local": 1}


class TestQuotas:
    def test_each_bound_holds_and_says_what_is_missing(self) -> None:
        agents = [
            agent(f"a/{letter}", replicas=2, resources=resources({"cpu": "500m", "memory": "1Gi"})) for letter in "abc"
        ]
        bounds = {
            "agents": (
                Quota(namespace="a", agents=2),
                "needs 1 agents more than the quota of a allows: 2 of 2 are taken",
            ),
            "replicas": (
                Quota(namespace="a", replicas=5),
                "needs 1 replicas more than the quota of a allows: 4 of 5 are taken",
            ),
            "cpu": (
                Quota(namespace="a", cpu=Quantity.parse("2.5")),
                "needs 0.5 cpu more than the quota of a allows: 2 of 2.5 are taken",
            ),
            "memory": (
                Quota(namespace="a", memory=Quantity.parse("4Gi")),
                "needs 2Gi memory more than the quota of a allows: 4Gi of 4Gi are taken",
            ),
        }
        for quota, text in bounds.values():
            result = place(request(*agents, agent("b/other"), quotas=(quota,)))
            assert only_hold(result) == text
            assert result.holds[0].code is HoldCode.QUOTA
            assert where(result, "a/c") is None
            assert where(result, "b/other") == {"local": 1}

    def test_amounts_below_a_thousandth_count_rounded_up_as_servers_store_them(self) -> None:
        tiny = resources({"cpu": "1.0001", "memory": "1Gi"})
        one, two = (agent(f"a/{short}", resources=tiny) for short in ("one", "two"))
        first = place(request(one))
        (held,) = first.reservations[one.name]
        assert held.requests["cpu"] == "1000100u"
        known = record(one, {"local": 1}, state=AgentState.REGISTERED)
        result = place(request(one, two, records=[known], quotas=(Quota(namespace="a", cpu=Quantity.parse("2")),)))
        assert only_hold(result) == "needs 0.002 cpu more than the quota of a allows: 1.001 of 2 are taken"
        result = place(request(one, two, records=[known], capacities={"local": capacity(node(cpu="2"))}))
        assert where(result, "a/two") is None, "what is claimed and not seen yet counts as well"
        result = place(request(one, records=[known], capacities={"local": capacity(node(cpu="1"))}))
        assert (where(result, "a/one"), result.holds) == ({"local": 1}, ()), "it holds what it asks for"

    def test_what_is_there_is_not_taken_away_by_a_lower_quota(self) -> None:
        known = agent("a/one", replicas=3)
        result = place(
            request(known, records=[record(known, {"local": 3})], quotas=(Quota(namespace="a", replicas=1),))
        )
        assert where(result, "a/one") == {"local": 3}
        assert result.holds == ()

    def test_what_one_agent_gives_up_another_may_take_in_the_same_pass(self) -> None:
        shrinks, grows = agent("a/z", replicas=1), agent("a/a", replicas=3)
        records = [record(shrinks, {"local": 3}), record(grows, {"local": 1})]
        result = place(request(shrinks, grows, records=records, quotas=(Quota(namespace="a", replicas=4),)))
        assert (where(result, "a/a"), where(result, "a/z")) == ({"local": 3}, {"local": 1})

    def test_agents_that_are_frozen_count_and_those_that_leave_do_not(self) -> None:
        gone = record(agent("a/old"), {"local": 1})
        quota = (Quota(namespace="a", agents=1),)
        assert place(request(agent("a/new"), records=[gone], quotas=quota)).holds
        leaving = frozenset({gone.name})
        assert not place(request(agent("a/new"), records=[gone], quotas=quota, leaving=leaving)).holds

    def test_a_suspended_agent_counts_as_an_agent(self) -> None:
        quota = (Quota(namespace="a", agents=1),)
        result = place(request(agent("a/one", suspend=True), agent("a/two", suspend=True), quotas=quota))
        assert [hold.agents for hold in result.holds] == [(name("a/two"),)]
