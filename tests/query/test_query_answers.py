"""What records are asked about, and what queries answer: the rules that every registry is held to."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.identity import AgentName
from reconciler.model.query import GroupCount, Like, Or, Query, QueryError
from reconciler.model.registry import AgentState, Good, PlacedReplicas, Quarantine, Record, ScaleOverride
from reconciler.query import tokens
from reconciler.query.asked import Asked, query_of
from reconciler.query.checking import read_query
from reconciler.query.evaluator import count, find, like_regex, matches, place
from reconciler.query.facts import facts_of, rank
from reconciler.query.patterns import is_whole
from reconciler.query.words import MAX_TOKENS, words_of
from tests.query.strategies import fleets, patterns, queries, texts


def agent(name: str = "triage", **fields: Any) -> Record:
    document = fields.pop("document", {"image": "triage:1"})
    plain = {
        "id": f"id-{name}", "version": 1, "state": AgentState.RUNNING, "labels": {}, "spec_hash": "h", "lineage": (),
        "source_path": "", "commit": "", "revision": 0, "placement": (), "reservations": (), "inventory": (),
    }  # fmt: skip
    return Record(name=AgentName(namespace="support", name=name), document=document, **{**plain, **fields})


def holds(text: str, record: Record) -> bool:
    return matches(read_query(text, now_ms=10_000_000).where, facts_of(record))


def test_the_facts_of_a_record() -> None:
    record = agent(
        labels={"team": "support", "app.kubernetes.io/name": "x", "empty": ""},
        lineage=("base", "service"),
        source_path="agents/a.yaml",
        commit="c" * 40,
        revision=3,
        placement=(PlacedReplicas(cluster="us-1", replicas=2), PlacedReplicas(cluster="eu-1", replicas=1),
                   PlacedReplicas(cluster="off", replicas=0)),
        quarantine=Quarantine(spec_hash="h", since_ms=5, reason="why"),
        override=ScaleOverride(replicas=6, author="ada", reason="", since_ms=1, until_ms=0),
        created_ms=1,
        message="m\x00\ud800",
        behind=("eu-1",),
        home="eu-1",
        document={
            "image": "x:1",
            "resources": {"limits": {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"}},
            "health": {"interval": "1m", "checks": [{"performance": {"errorRate": "5%"}}, {"lifecycle": {}}]},
            "rollout": {"maxSurge": "25%"},
            "tools": [{"mcpServer": {"name": "b"}}, {"mcpServer": {"name": "a"}}, {"mcpServer": {"name": "b"}}],
            "config": {"a": [3, "3", True, None, 2.5, [1]], "a.b": {"": 1}, "nothing": None, "big": 2**53 + 1},
            "wave": -0.0,
        },
    )  # fmt: skip
    assert dict(facts_of(record).values) == {
        "id": ("id-triage",), "namespace": ("support",), "name": ("triage",), "state": ("running",),
        "labels.team": ("support",), 'labels."app.kubernetes.io/name"': ("x",), "labels.empty": ("",),
        "template": ("base", "service"), "source": ("agents/a.yaml",), "commit": ("c" * 40,), "revision": (3.0,),
        "replicas": (3.0,), "cluster": ("eu-1", "us-1"), "health.quarantine.reason": ("why",),
        "health.quarantine.since": (5.0,), "override.replicas": (6.0,), "override.author": ("ada",),
        "override.since": (1.0,), "created": (1.0,), "message": ("m\ufffd\ufffd",), "behind": ("eu-1",),
        "home": ("eu-1",), "suspended": (False,), "protect": (False,),
        "spec.image": ("x:1",), "spec.resources.limits.cpu": (0.5,), "spec.resources.limits.memory": (2.0**30,),
        'spec.resources.limits."nvidia.com/gpu"': (1.0,), "spec.health.interval": (60_000.0,),
        "spec.health.checks.performance.errorRate": (5.0,), "spec.rollout.maxSurge": ("25%",),
        "spec.tools.mcpServer.name": ("a", "b"), "spec.config.a": (True, 1.0, 2.5, 3.0, "3"),
        'spec.config."a.b".""': (1.0,), "spec.config.big": (2.0**53,), "spec.wave": (0.0,),
    }  # fmt: skip


def test_the_revision_is_the_one_that_runs() -> None:
    good = Good(number=2, commit="good", spec_hash="h", document={}, manifests={})
    after_rollback = agent(revision=3, commit="failed", good=good)
    assert holds("revision = 2 and commit = good", after_rollback)
    assert holds("revision = 3 and commit = failed", replace(after_rollback, spec_hash="other"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("labels.team = support", False, id="nothing there"),
        pytest.param("labels.team != support", True, id="unequal to nothing"),
        pytest.param("labels.team not in (support)", True, id="not in nothing"),
        pytest.param("not labels.team < b", True, id="not less than nothing"),
        pytest.param("spec.config.n = 3", True, id="one of several"),
        pytest.param("spec.config.n != 3", False, id="unequal: none of several"),
        pytest.param("spec.config.n > 3", False, id="text is not more than a number"),
        pytest.param("spec.config.n > '2' and spec.config.n < '4'", True, id="text among text"),
        pytest.param("spec.config.n = true", False, id="no number is true"),
        pytest.param("spec.config.n contains 3", True, id="contains a number"),
        pytest.param("spec.config.n contains '3'", True, id="contains text"),
        pytest.param("exists spec.config", True, id="above a value"),
        pytest.param("exists spec.config.n", True, id="at a value"),
        pytest.param("exists spec.tools", False, id="an empty list"),
        pytest.param("exists labels.team", False, id="a key that only begins so"),
        pytest.param("exists labels", True, id="any label"),
        pytest.param("spec.image like 'GHCR%'", False, id="like knows case"),
        pytest.param("spec.image like 'ghcr%:_'", True, id="like"),
        pytest.param("spec.image like ghcr", False, id="like is about the whole"),
        pytest.param("words 'REFUND straße'", True, id="words without case"),
        pytest.param("words 'refund nothing'", False, id="all words"),
        pytest.param("words 'ref*'", True, id="a word that begins so"),
        pytest.param("words ref", False, id="a whole word"),
        pytest.param("words hidden", False, id="words of other fields"),
        pytest.param("words 'tool_a search'", True, id="words of tools and skills"),
        pytest.param("updated > ago(1h) and updated < ago(30m)", True, id="times"),
    ],
)
def test_what_holds_of_one_record(text, expected) -> None:
    record = agent(
        labels={"team.x": "support"},
        updated_ms=7_000_000,
        document={
            "image": "ghcr.io/x:1", "tools": [], "config": {"n": [3, "3"], "word": "hidden"},
            "description": "Refund!", "systemMessage": "STRASSE", "skills": [{"id": "search", "tags": ["tool_a"]}],
        },
    )  # fmt: skip
    assert holds(text, record) is expected


def test_values_of_all_types_have_one_order() -> None:
    config = [None, False, True, -1, 0.5, 3, "", "A", "a", "ab", "é", "\uffee", "\U0001f600"]
    records = [agent(f"a{number}", document={"config": {"v": value}}) for number, value in enumerate(config)]
    names = [record.name for record in records]
    ascending = read_query("order by spec.config.v", now_ms=0)
    assert [record.name for record in find(records[::-1], ascending)] == names
    descending = read_query("order by spec.config.v desc", now_ms=0)
    assert [record.name for record in find(records, descending)] == names[::-1]


def test_equal_records_follow_their_names_in_either_direction() -> None:
    records = [agent(name) for name in ("b", "a", "c")]
    for text in ("order by state", "order by state desc", ""):
        assert [record.name.name for record in find(records, read_query(text, now_ms=0))] == ["a", "b", "c"]


def test_agents_that_are_gone_are_in_no_answer() -> None:
    gone = agent(state=AgentState.GONE)
    assert find([gone], Query()) == []
    assert count([gone], Query()) == (GroupCount(value=None, count=0),)
    assert count([gone], Query(), by="state") == ()


def test_true_and_one_are_two_values() -> None:
    record = agent(document={"config": {"v": [1, True, 1.0]}})
    assert [rank(value) for value in facts_of(record).values["spec.config.v"]] == [(1, True), (2, 1.0)]
    groups = count([record], Query(), by="spec.config.v")
    assert [(rank(group.value), group.count) for group in groups] == [((1, True), 1), ((2, 1.0), 1)]
    where = read_query("spec.config.v in (true, 1, 1.0)", now_ms=0).where
    assert repr(where) == "OneOf(path='spec.config.v', values=(True, 1.0))"


def test_counts_come_by_value_nothing_first_and_once_in_the_group_of_each() -> None:
    records = [agent("a", lineage=("base", "x")), agent("b", lineage=("base",)), agent("c")]
    groups = [(group.value, group.count) for group in count(records, Query(), by="template")]
    assert groups == [(None, 1), ("base", 2), ("x", 1)]
    assert count(records, read_query("template = x", now_ms=0)) == (GroupCount(value=None, count=1),)


@given(fleets(), queries, st.integers(0, 11))
def test_pages_add_up_to_the_answer(fleet, query, number) -> None:
    answer = find(fleet, query)
    if number >= len(answer):
        assert find(fleet, query, after=None) == answer
        return
    where = place(query.order, facts_of(answer[number]), answer[number])
    token = tokens.written(where, query)
    assert find(fleet, query, after=tokens.read(token, query)) == answer[number + 1 :]


@given(fleets(), queries, st.sampled_from(("state", "template", "spec.config.a", "labels.team")))
def test_groups_of_one_value_add_up(fleet, query, by) -> None:
    groups = count(fleet, query, by=by)
    assert [rank(group.value) for group in groups] == sorted({rank(group.value) for group in groups})
    (total,) = count(fleet, query)
    assert total.count == len(find(fleet, query)) <= sum(group.count for group in groups)


@given(fleets(max_size=2))
def test_facts_are_clean_sorted_and_comparable(fleet) -> None:
    for record in fleet:
        for path, values in facts_of(record).values.items():
            assert values
            assert list(map(rank, values)) == sorted({rank(value) for value in values})
            assert not any(isinstance(value, str) and "\x00" in value for value in (path, *values))


@given(st.one_of(patterns, st.text("ab%_\\", max_size=8)).filter(is_whole), st.one_of(texts, st.text("ab", max_size=6)))
def test_like_is_what_a_plain_regular_expression_says(pattern, text) -> None:
    plain = re.sub(
        r"\\(.)|(%)|(_)|(.)",
        lambda m: re.escape(m[1]) if m[1] else ".*" if m[2] else "." if m[3] else re.escape(m[4]),
        pattern,
        flags=re.DOTALL,
    )
    assert bool(like_regex(pattern).fullmatch(text)) is bool(re.fullmatch(plain, text, re.DOTALL))


def test_a_pattern_that_was_made_to_take_long_does_not() -> None:
    assert not matches(Like("message", "%a" * 2000 + "b"), facts_of(agent(message="a" * 200_000)))


def test_a_spec_without_end_has_bounded_words_and_no_path_without_end() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = {"k": [deep]}
    record = agent(document={"config": deep, "systemMessage": " ".join(f"w{n}" for n in range(MAX_TOKENS + 10))})
    assert set(facts_of(record).values).isdisjoint({"spec.config"})
    assert len(words_of(record.document)) == MAX_TOKENS


@pytest.mark.parametrize("token", ["x", "é", "====", "W10", "x" * 100_000, "WyIiLFtdLCIiLCIiXQ"])
def test_a_token_of_something_else_is_told(token) -> None:
    with pytest.raises(QueryError, match="none of this query"):
        tokens.read(token, Query())


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading_of_tokens(text) -> None:
    with pytest.raises(QueryError, match="none of this query"):
        tokens.read(text or "?", Query())


def test_a_token_of_another_query_is_told() -> None:
    one, other = read_query("order by name", now_ms=0), read_query("order by name desc", now_ms=0)
    token = tokens.written(tokens.Place(("a",), "ns", "a"), one)
    assert tokens.read(token, one) == tokens.Place(("a",), "ns", "a")
    with pytest.raises(QueryError, match="none of this query"):
        tokens.read(token, other)


def test_ago_means_the_same_on_all_pages_of_an_answer() -> None:
    asked = Asked(where="created < ago(1h)", order_by="name")
    first = query_of(asked, namespace="", names=(), selector=(), now_ms=10_000_000)
    place = tokens.Place(("a",), "ns", "a")
    following = replace(asked, after=tokens.written(place, first))
    later = query_of(following, namespace="", names=(), selector=(), now_ms=10_060_000)
    assert later == first
    assert tokens.read(following.after, later) == place


@pytest.mark.parametrize("moment", ["-1", "9" * 5000, '"x"', "1.5", "null"])
def test_a_token_of_no_moment_is_told(moment) -> None:
    token = base64.urlsafe_b64encode(f'["",[],"ns","a",{moment}]'.encode()).decode()
    assert tokens.moment(token) == 0
    with pytest.raises(QueryError, match="none of this query"):
        tokens.read(token, Query())


def test_names_are_asked_for_by_as_few_conditions_as_can_be() -> None:
    names = [f"{namespace}agent-{number}" for namespace in ("", "a/", "b/") for number in range(600)]
    query = query_of(Asked(), namespace="", names=[*names, "c/only"], selector=(), now_ms=0)
    assert isinstance(query.where, Or)
    assert len(query.where.parts) == 4
    agents = [agent(name) for name in ("agent-1", "agent-600")]
    agents += [replace(one, name=AgentName(namespace="c", name="only")) for one in agents[:1]]
    assert [str(one.name) for one in find(agents, query)] == ["c/only", "support/agent-1"]
