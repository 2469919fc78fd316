"""From measurements to judgement: each dimension, hysteresis, and the three facts that are apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from reconciler.health import assess, probe_request
from reconciler.health.checks import WINDOW, card_differences, percentile
from reconciler.model.agent import Dimension, ExecTarget, GrpcTarget, Health, HealthCheck, HttpTarget, Port, TcpTarget
from reconciler.model.health import (
    Assessment,
    CardProbe,
    Endpoint,
    Evidence,
    GrpcProbe,
    HealthState,
    HttpProbe,
    PodFacts,
    PodResources,
    Sample,
    TcpProbe,
)
from reconciler.model.identity import AgentName
from reconciler.model.units import Duration
from tests.placement.builders import PLAIN

NAME = AgentName(namespace="support", name="triage")
OTHER = AgentName(namespace="support", name="knowledge")
ANSWERS = HealthCheck(name="answers", dimension=Dimension.CONNECTIVITY, target=HttpTarget(path="/", port="http"))
FAST = HealthCheck(name="fast", dimension=Dimension.PERFORMANCE, p95=Duration.parse("250ms"))
MEMORY = HealthCheck(name="memory", dimension=Dimension.RESOURCES, memory=90, cpu=80)
CARD = HealthCheck(name="card", dimension=Dimension.CARD)
H, D, U, X = HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY, HealthState.UNKNOWN


def good(latency_ms: float = 10, **more: Any) -> Sample:
    return Sample(ok=True, at_ms=0, latency_ms=latency_ms, pod="p1", **more)


def bad(problem: str = "Connection refused", **more: Any) -> Sample:
    return Sample(ok=False, at_ms=0, latency_ms=1, problem=problem, **{"pod": "p1"} | more)


def health(*checks: HealthCheck, failures: int = 3, successes: int = 1) -> Health:
    return Health(
        interval=Duration.parse("30s"), checks=checks, failure_threshold=failures, success_threshold=successes
    )


def run(rules: Health, *sweeps: Evidence) -> list[Assessment]:
    """One assessment a sweep, each after the last, a second apart."""
    found: list[Assessment] = []
    for index, evidence in enumerate(sweeps):
        previous = found[-1] if found else None
        found.append(assess(NAME, rules, evidence, previous=previous, now_ms=index * 1000))
    return found


def of(check: HealthCheck, *samples: Sample, **more: Any) -> Evidence:
    return Evidence(samples={check.name: samples}, **more)


class TestWhichPods:
    def test_a_check_names_the_pods_that_failed_it_last(self) -> None:
        (ill,) = run(
            health(ANSWERS), of(ANSWERS, good(), structs.replace(bad(), pod="p3"), structs.replace(bad(), pod="p2"))
        )
        assert ill.checks[0].pods == ("p2", "p3")

        def used(pod: str, memory: int) -> PodResources:
            return PodResources(pod=pod, cpu=0.1, memory=memory, cpu_bound=1.0, memory_bound=100)

        (full, _), (well, _) = (
            run(health(MEMORY), Evidence(resources=resources))[0].checks
            for resources in ((used("p1", 99), used("p2", 95), used("p3", 10)), (used("p1", 10),))
        )
        assert (full.pods, well.pods) == (("p1", "p2"), ())


class TestHysteresis:
    def test_one_bad_second_degrades_and_only_a_run_of_them_is_an_illness(self) -> None:
        found = run(health(ANSWERS), of(ANSWERS, good()), *[of(ANSWERS, bad())] * 4, of(ANSWERS, good()))
        assert [each.state for each in found] == [H, D, D, U, U, H]
        assert [each.is_healthy for each in found] == [True, True, True, False, False, True]

    def test_getting_well_takes_as_many_successes_as_asked(self) -> None:
        rules = health(ANSWERS, failures=1, successes=2)
        found = run(rules, of(ANSWERS, good()), of(ANSWERS, bad()), of(ANSWERS, good()), of(ANSWERS, good()))
        assert [each.state for each in found] == [H, U, U, H]

    def test_flapping_is_neither_well_nor_ill(self) -> None:
        rules = health(ANSWERS, failures=2, successes=2)
        sweeps = [of(ANSWERS, good()), *[of(ANSWERS, bad()), of(ANSWERS, good())] * 3]
        assert [each.state for each in run(rules, *sweeps)] == [H, D, D, D, D, D, D]

    def test_what_is_not_measured_stays_as_it_was(self) -> None:
        found = run(health(ANSWERS, failures=1), of(ANSWERS, bad()), Evidence(), of(ANSWERS))
        assert [each.state for each in found] == [U, U, U]
        assert found[1].checks[0].failures == 1
        assert found[1].checks[0].text == "not measured"

    def test_what_fails_and_is_not_measured_now_is_no_reason_for_a_remedy(self) -> None:
        blind = of(ANSWERS, good())  # the agent answers, and what its pods are cannot be read
        ill = of(ANSWERS, good(), pods=PodFacts(wanted=2, ready=1))
        found = run(health(ANSWERS, failures=2), ill, ill, blind, ill)
        assert [each.state for each in found] == [H, U, U, U]
        assert [each.requires_recovery for each in found] == [False, True, False, True]

    def test_before_anything_is_measured_all_is_unknown_and_nothing_is_done(self) -> None:
        (found,) = run(health(ANSWERS), Evidence())
        assert (found.state, found.is_healthy, found.requires_recovery, found.critical) == (X, False, False, False)

    def test_a_state_knows_since_when(self) -> None:
        found = run(health(ANSWERS, failures=2), of(ANSWERS, good()), of(ANSWERS, bad()), *[of(ANSWERS, bad())] * 3)
        assert [each.checks[0].since_ms for each in found] == [0, 1000, 2000, 2000, 2000]

    def test_a_check_that_is_new_or_gone_disturbs_no_other(self) -> None:
        first = assess(NAME, health(ANSWERS), of(ANSWERS, bad()), previous=None, now_ms=0)
        then = assess(NAME, health(ANSWERS, CARD), of(ANSWERS, bad()), previous=first, now_ms=1)
        assert [(check.name, check.failures) for check in then.checks] == [("answers", 2), ("card", 0), ("pods", 0)]

    @settings(deadline=None)
    @given(st.lists(st.sampled_from("+-."), max_size=30), st.integers(1, 4), st.integers(1, 4))
    def test_for_any_history_illness_needs_a_run_of_failures_and_health_a_run_of_successes(
        self, history: list[str], failures: int, successes: int
    ) -> None:
        sweeps = {"+": of(ANSWERS, good()), "-": of(ANSWERS, bad()), ".": Evidence()}
        found = run(health(ANSWERS, failures=failures, successes=successes), *(sweeps[each] for each in history))
        for index, each in enumerate(found):
            measured = [mark for mark in history[: index + 1] if mark != "."]
            before = found[index - 1].checks[0].state if index else X
            state = each.checks[0].state
            if state is U and before is not U:
                assert measured[-failures:] == ["-"] * failures
            if state is H and before is not H:
                assert measured[-successes:] == ["+"] * successes or before is X
            if history[index] == ".":
                assert state is before


class TestTheThreeFacts:
    def test_all_pods_refusing_is_critical_and_requires_recovery(self) -> None:
        found = run(health(ANSWERS, failures=2), *[of(ANSWERS, bad(), bad(pod="p2"))] * 2)[-1]
        assert (found.is_healthy, found.requires_recovery, found.critical) == (False, True, True)

    def test_one_pod_of_two_is_unhealthy_but_something_serves(self) -> None:
        found = run(health(ANSWERS, failures=1), of(ANSWERS, good(), bad(pod="p2")))[-1]
        assert (found.is_healthy, found.requires_recovery, found.critical) == (False, True, False)
        assert found.checks[0].text == "1 of 2 do not answer; p2: Connection refused"

    def test_no_ready_pod_is_critical_once_it_lasts(self) -> None:
        facts = PodFacts(wanted=2, ready=0, problems=("triage-1: CrashLoopBackOff",))
        found = run(health(failures=2), *[Evidence(pods=facts)] * 2)
        assert [each.critical for each in found] == [False, True]
        assert found[-1].checks[0].text == "0 of 2 pods ready; triage-1: CrashLoopBackOff"

    def test_slow_is_unhealthy_and_no_reason_to_restart(self) -> None:
        found = run(health(FAST, failures=1), of(FAST, good(400)))[-1]
        assert (found.is_healthy, found.requires_recovery, found.critical) == (False, False, False)

    def test_a_check_that_is_not_critical_degrades_and_no_more(self) -> None:
        soft = replace(ANSWERS, critical=False)
        found = run(health(soft, failures=1), of(soft, bad(), pods=PodFacts(wanted=1, ready=1)))[-1]
        assert (found.state, found.is_healthy, found.requires_recovery) == (D, True, False)

    def test_when_a_dependency_is_unwell_the_agent_is_not_restarted_for_it(self) -> None:
        evidence = of(ANSWERS, bad(), dependencies={OTHER: False, NAME: True})
        found = run(health(ANSWERS, failures=1), evidence)[-1]
        assert (found.requires_recovery, found.upstream) == (False, (OTHER,))
        assert found.dimension(Dimension.DEPENDENCIES) is U
        alone = run(health(failures=1), Evidence(dependencies={OTHER: False}, pods=PodFacts(wanted=1, ready=1)))[-1]
        assert (alone.state, alone.is_healthy) == (D, True)

    def test_a_refused_probe_says_nothing_of_the_agent(self) -> None:
        refused = bad("not probed: link-local", refused=True)
        found = run(health(ANSWERS, failures=1), of(ANSWERS, refused))[-1]
        assert (found.state, found.checks[0].text) == (X, "not probed: link-local")
        mixed = run(health(ANSWERS, failures=1), of(ANSWERS, refused, bad()))[-1]
        assert mixed.critical


class TestDimensions:
    def test_connectivity_says_how_many_and_how_fast(self) -> None:
        found = run(health(ANSWERS), of(ANSWERS, good(12), good(30)))[-1]
        assert found.checks[0].text == "2 of 2 answer within 30 ms"
        assert found.dimension(Dimension.CONNECTIVITY) is H
        assert found.dimension(Dimension.PERFORMANCE) is None

    def test_percentiles_look_back_over_a_bounded_window(self) -> None:
        found = run(health(FAST), *[of(FAST, good(latency)) for latency in range(1, 2 * WINDOW)])
        assert len(found[-1].checks[0].latencies) == WINDOW
        assert found[-1].checks[0].text == "p95 116 ms"

    @pytest.mark.parametrize(("percent", "expected"), [(50, 5), (95, 10), (99, 10), (1, 1)])
    def test_percentiles_are_by_nearest_rank(self, percent: int, expected: float) -> None:
        assert percentile(tuple(float(value) for value in range(10, 0, -1)), percent) == expected

    def test_each_bound_that_is_broken_is_named(self) -> None:
        check = replace(FAST, p50=Duration.parse("100ms"), p99=Duration.parse("1s"), error_rate=10)
        found = run(health(check), of(check, good(400), good(500), bad()))[-1]
        assert (
            found.checks[0].text == "p50 is 400 ms, over 100ms; p95 is 500 ms, over 250ms; 33% of calls fail, over 10%"
        )

    def test_an_error_rate_alone_needs_no_latencies(self) -> None:
        check = HealthCheck(name="errors", dimension=Dimension.PERFORMANCE, error_rate=50)
        assert run(health(check), of(check, good()))[-1].checks[0].text == "0% errors"
        assert run(health(check, failures=1), of(check, bad()))[-1].checks[0].state is U

    def test_percentiles_of_nothing_are_a_failure(self) -> None:
        assert run(health(FAST), of(FAST, bad()))[-1].checks[0].text == "nothing answers"
        assert run(health(FAST), Evidence())[-1].checks[0].state is X

    def test_percentiles_of_calls_of_long_ago_say_nothing_for_one_that_answers_no_more(self) -> None:
        found = run(health(FAST, failures=2), of(FAST, good(10)), *[of(FAST, bad())] * 2, of(FAST, good(10)))
        assert [each.checks[0].state for each in found] == [H, D, U, H]
        assert found[2].checks[0].text == "nothing answers"
        check = replace(FAST, error_rate=50)
        assert run(health(check), of(check, good(10)), of(check, bad()))[-1].checks[0].state is H, "that is its bound"

    def test_resources_look_at_the_worst_pod_against_its_own_bound(self) -> None:
        pods = (
            PodResources(pod="p1", cpu=0.1, memory=50, cpu_bound=1, memory_bound=100),
            PodResources(pod="p2", cpu=0.9, memory=95, cpu_bound=1, memory_bound=100),
            PodResources(pod="p3", cpu=9, memory=999),
        )
        found = run(health(MEMORY), Evidence(resources=pods))[-1]
        assert found.checks[0].text == "p2: cpu at 90%, over 80%; p2: memory at 95%, over 90%"
        well = run(health(MEMORY), Evidence(resources=pods[:1]))[-1]
        assert (well.checks[0].text, well.state) == ("cpu 10%, memory 50%", H)
        unbounded = run(health(MEMORY), Evidence(resources=pods[2:]))[-1]
        assert unbounded.checks[0].state is X

    def test_a_restart_since_the_last_look_counts_once(self) -> None:
        def pods(restarts: int) -> Evidence:
            return Evidence(pods=PodFacts(wanted=2, ready=2, restarts=restarts))

        found = run(health(), pods(3), pods(5), pods(5), pods(0))
        assert [each.checks[0].failures for each in found] == [0, 1, 0, 0]
        assert found[1].checks[0].text == "2 of 2 pods ready, restarted 2 times since the last look"

    def test_a_counter_survives_a_sweep_that_could_not_read_it(self) -> None:
        pods = PodFacts(wanted=1, ready=1, restarts=3)
        found = run(health(), Evidence(pods=pods), Evidence(), Evidence(pods=structs.replace(pods, restarts=4)))
        assert found[-1].checks[0].failures == 1

    def test_declared_lifecycle_and_dependency_checks_replace_those_that_come_by_themselves(self) -> None:
        rules = health(
            HealthCheck(name="alive", dimension=Dimension.LIFECYCLE),
            HealthCheck(name="needs", dimension=Dimension.DEPENDENCIES),
        )
        evidence = Evidence(pods=PodFacts(wanted=0, ready=0), dependencies={OTHER: True, NAME: None})
        found = run(rules, evidence)[-1]
        assert [(check.name, check.text) for check in found.checks] == [
            ("alive", "0 of 0 pods ready"),
            ("needs", "2 dependencies are well"),
        ]
        unknown = run(health(), Evidence(dependencies={OTHER: None}))[-1]
        assert unknown.dimension(Dimension.DEPENDENCIES) is X

    def test_the_card_served_must_be_the_card_declared(self) -> None:
        declared = {"name": "triage", "version": "1", "skills": [{"id": "a"}, {"id": "b"}], "url": "x"}
        served = declared | {"skills": [{"id": "b"}, {"id": "a"}], "url": "y"}
        well = run(health(CARD), of(CARD, good(card=served), card=declared))[-1]
        assert well.checks[0].text == "the card served is the card declared"
        lying = run(health(CARD), of(CARD, good(card=served | {"version": "2", "skills": []}), card=declared))[-1]
        assert lying.checks[0].text == "p1: serves another version, skills than declared"
        none = run(health(CARD), of(CARD, bad("its card is not JSON"), card=declared))[-1]
        assert none.checks[0].text == "p1: its card is not JSON"
        assert run(health(CARD), of(CARD, good(card=served)))[-1].checks[0].state is X

    def test_a_card_of_odd_shapes_differs_and_breaks_nothing(self) -> None:
        declared = {"name": "a", "skills": [{"id": "x"}]}
        assert card_differences(declared, {"name": ["a"], "skills": "x"}) == ("name", "skills")
        assert card_differences(declared, {"name": "a", "skills": [1, {"id": 2}, {"id": "x"}]}) == ("skills",)

    def test_a_plugin_is_not_measured_here(self) -> None:
        check = HealthCheck(name="mine", dimension=Dimension.PLUGIN, plugin="x")
        assert run(health(check), Evidence())[-1].checks[0].state is X


class TestRequests:
    ENDPOINT = Endpoint(pod="p1", host="127.0.0.1", ports={"http": 40123})
    SPEC = replace(PLAIN, ports=(Port(name="stats", port=9, protocol="UDP"), Port(name="http", port=8080)))

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            (HttpTarget(path="/healthz", port="http"), HttpProbe(host="127.0.0.1", port=40123, path="/healthz")),
            (HttpTarget(path="/", port=8080, scheme="HTTPS"), HttpProbe(host="127.0.0.1", port=40123, scheme="https")),
            (TcpTarget(port=8080), TcpProbe(host="127.0.0.1", port=40123)),
            (GrpcTarget(port="http", service="a.B"), GrpcProbe(host="127.0.0.1", port=40123, service="a.B")),
            (ExecTarget(command=("true",)), None),
            (TcpTarget(port="nowhere"), None),
            (HttpTarget(path="/", port="stats"), None),
            (None, None),
        ],
    )
    def test_a_declared_port_is_asked_where_it_really_listens(self, target: Any, expected: Any) -> None:
        check = HealthCheck(name="x", dimension=Dimension.CONNECTIVITY, target=target)
        assert probe_request(check, self.SPEC, self.ENDPOINT) == expected

    def test_the_timeout_is_the_checks(self) -> None:
        check = HealthCheck(name="x", dimension=Dimension.CARD, timeout=Duration.parse("500ms"))
        assert probe_request(check, self.SPEC, self.ENDPOINT) == CardProbe(host="127.0.0.1", port=40123, timeout_ms=500)
        assert probe_request(check, replace(PLAIN, ports=()), self.ENDPOINT) is None
        assert probe_request(check, self.SPEC, replace(self.ENDPOINT, ports={})) is None
