"""The query language: what text means, and what is said of text that means nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.reference import _fields
from reconciler.model.query import (
    EVERYTHING,
    And,
    Comparator,
    Compare,
    Contains,
    Exists,
    Like,
    Not,
    OneOf,
    Or,
    Order,
    Query,
    QueryError,
    Words,
)
from reconciler.query import paths
from reconciler.query.checking import read_order, read_path, read_query
from reconciler.query.parser import MAX_TEXT
from reconciler.query.selectors import read_selector, selecting
from reconciler.spec.schema import schemas
from tests.query.strategies import queries
from tests.query.writing import written

NOW = 1_764_115_200_000
EQ, GT, LT, GE = Comparator.EQUAL, Comparator.GREATER, Comparator.LESS, Comparator.GREATER_OR_EQUAL


def where(text: str):
    return read_query(text, now_ms=NOW).where


def outcome(text: str) -> Query | QueryError:
    try:
        return read_query(text, now_ms=NOW)
    except QueryError as error:
        return error


MEANINGS = [
    ("", EVERYTHING),
    ("state = running", Compare("state", EQ, "running")),
    ("state == running", Compare("state", EQ, "running")),
    ("state != running", Not(Compare("state", EQ, "running"))),
    ("state <> running", Not(Compare("state", EQ, "running"))),
    ("replicas>=2", Compare("replicas", GE, 2.0)),
    ("name in (a, 'b c')", OneOf("name", ("a", "b c"))),
    ("name not in (a, a)", Not(OneOf("name", ("a",)))),
    ("name in (and, or, in)", OneOf("name", ("and", "or", "in"))),
    ("name LIKE 'a%' AND NOT name like b_", And((Like("name", "a%"), Not(Like("name", "b_"))))),
    ("name not like a%", Not(Like("name", "a%"))),
    ("message contains 'it''s'", Contains("message", "it's")),
    ('message contains "say ""no"""', Contains("message", 'say "no"')),
    ("message not contains 10", Not(Contains("message", "10"))),
    ("exists labels.team", Exists("labels.team")),
    ("not exists spec.config", Not(Exists("spec.config"))),
    ("words 'Refund BILL*'", Words(("refund",), ("bill",))),
    ("words refund", Words(("refund",))),
    ("words 'mail@example'", Words(("mail", "example"))),
    ("name = a and name = b or name = c", Or((And((Compare("name", EQ, "a"), Compare("name", EQ, "b"))),
                                              Compare("name", EQ, "c")))),
    ("name = a and (name = b or name = c)", And((Compare("name", EQ, "a"), Or((Compare("name", EQ, "b"),
                                                                               Compare("name", EQ, "c")))))),
    ("labels.tier = 2", Compare("labels.tier", EQ, "2")),
    ("labels.app.kubernetes.io/name = x", Compare('labels."app.kubernetes.io/name"', EQ, "x")),
    ('labels."app.kubernetes.io/name" = x', Compare('labels."app.kubernetes.io/name"', EQ, "x")),
    ("resources.limits.memory > 256Mi", Compare("spec.resources.limits.memory", GT, 268435456.0)),
    ("resources.requests.nvidia.com/gpu > 0", Compare('spec.resources.requests."nvidia.com/gpu"', GT, 0.0)),
    ("spec.resources.requests.cpu < 500m", Compare("spec.resources.requests.cpu", LT, 0.5)),
    ("spec.health.interval > 1m30s", Compare("spec.health.interval", GT, 90_000.0)),
    ("spec.autoscaling.metrics.cpu.utilization > 70%", Compare("spec.autoscaling.metrics.cpu.utilization", GT, 70.0)),
    ("suspended = TRUE", Compare("suspended", EQ, True)),
    ("spec.config.a = 3", Compare("spec.config.a", EQ, 3.0)),
    ("spec.config.a = '3'", Compare("spec.config.a", EQ, "3")),
    ("spec.config.a = true", Compare("spec.config.a", EQ, True)),
    ("spec.config.a = 30s", Compare("spec.config.a", EQ, "30s")),
    ("spec.config.a = -0", Compare("spec.config.a", EQ, 0.0)),
    ("spec.config.a = 9007199254740993", Compare("spec.config.a", EQ, 9007199254740992.0)),
    ("updated > ago(2h)", Compare("updated", GT, NOW - 7_200_000.0)),
    ("updated > 2025-11-26", Compare("updated", GT, 1_764_115_200_000.0)),
    ("updated > '2025-11-26T01:00:00+01:00'", Compare("updated", GT, 1_764_115_200_000.0)),
    ("updated > 2025-11-26T00:00:00.5Z", Compare("updated", GT, 1_764_115_200_500.0)),
    ("spec.image = ghcr.io/acme/x:1.0", Compare("spec.image", EQ, "ghcr.io/acme/x:1.0")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meaning"), MEANINGS, ids=[text or "nothing" for text, _ in MEANINGS])
def test_what_is_typed_is_what_is_meant(text, meaning) -> None:
    assert where(text) == meaning


def test_an_order_follows_the_conditions_or_stands_alone() -> None:
    orders = (Order("updated", descending=True), Order("labels.team"), Order("name"))
    text = "order by updated desc, labels.team, name asc"
    assert read_query(text, now_ms=NOW) == Query(EVERYTHING, orders)
    assert read_query(f"state = running\n ORDER  BY{text[8:]}", now_ms=NOW) == Query(where("state = running"), orders)
    assert read_order("updated desc, labels.team, name asc") == orders
    assert read_path("resources.limits.cpu") == "spec.resources.limits.cpu"


@given(queries)
def test_a_query_that_is_written_down_is_read_back(query) -> None:
    assert read_query(written(query), now_ms=NOW) == query


MISTAKES = [
    ("state = degradd", 8, 7, "there is no state 'degradd'", "degraded"),
    ("state = gone", 8, 4, "gone", "history"),
    ("labls.team = a", 0, 10, "no path", "labels.team"),
    ("name = a or spec.imge = b", 12, 9, "no path", "spec.image"),
    ("memory > 3", 0, 6, "no path", "resources.limits.memory"),
    ("labels = a", 0, 6, "holds no value", "labels.KEY"),
    ("spec.probes = a", 0, 11, "holds no value", "spec.probes.liveness"),
    ("replicas > many", 11, 4, "not a number", ""),
    ("replicas > 1e400", 11, 5, "too large", ""),
    ("replicas like 2", 9, 4, "`like` compares text", "="),
    ("resources.limits.cpu > 10Qi", 23, 4, "not a quantity", ""),
    ("spec.health.interval > 30", 23, 2, "not a duration", ""),
    ("suspended = 1", 12, 1, "neither true nor false", ""),
    ("updated > yesterday", 10, 9, "not a time", "ago(2h)"),
    ("updated > ago(soon)", 10, 9, "not a duration", ""),
    ("name = ago(2h)", 7, 7, "is a time", "quotes"),
    ("name like 'a\\'", 10, 4, "backslash", ""),
    ("words '--'", 6, 4, "no word", "letters"),
    ("state", 5, 1, "ends too early", "in, like"),
    ("name = ", 6, 1, "ends too early", "a value"),
    ("name = a && name = b", 9, 1, "cannot go on", "`and`"),
    ("name = 'abc", 7, 1, "cannot go on", "inside it stands twice"),
    ("(name = a", 9, 1, "ends too early", ")"),
    ("name = a)", 8, 1, "cannot go on", "closes nothing"),
    ("name = a name = b", 9, 4, "cannot go on", "and, or, order by"),
    ("name = a order by state sideways", 24, 8, "cannot go on", "desc"),
    ("name in ()", 9, 1, "cannot go on", "a value"),
    ("name = \x00", 7, 1, "U+0000", ""),
    ("name = '\ud800'", 8, 1, "U+D800", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "start", "length", "problem", "hint"), MISTAKES)
def test_a_mistake_is_told_with_its_place_and_what_to_do(text, start, length, problem, hint) -> None:
    with pytest.raises(QueryError) as caught:
        read_query(text, now_ms=NOW)
    assert (caught.value.start, caught.value.length) == (start, length), caught.value.message
    assert problem in caught.value.problem
    assert hint in caught.value.hint
    line = caught.value.message.splitlines()
    assert line[2].index("^") - 2 == start
    assert line[2].count("^") == length or start + length > len(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("name = '" + "x" * 1_000_000 + "'", id="a megabyte of text"),
        pytest.param("(" * 2_000_000, id="a megabyte of parentheses"),
        pytest.param("not " * 4000 + "name = a", id="not in not"),
        pytest.param(" or ".join(["name=a"] * 2000), id="conditions without end"),
        pytest.param("name in (" + ",".join("a" * 2000) + ")", id="values without end"),
        pytest.param("words '" + " ".join(f"w{n}" for n in range(101)) + "'", id="words without end"),
        pytest.param("order by " + ",".join(["name"] * 100), id="orders without end"),
        pytest.param("(not " * 100 + "name = a" + ")" * 100, id="depth"),
        pytest.param("name = a" + ")" * 16_000, id="too many ends"),
        pytest.param("updated > 0001-01-01T00:00:00+23:59 and updated > ago(99999999d)", id="times out of range"),
    ],
)
def test_a_query_is_bounded(text) -> None:
    with pytest.raises(QueryError) as caught:
        read_query(text, now_ms=NOW)
    assert len(caught.value.message) < 600


def test_parentheses_alone_are_no_depth() -> None:
    text = "(" * 8000 + "name=a" + ")" * 8000
    assert len(text) <= MAX_TEXT
    assert where(text) == Compare("name", EQ, "a")


@given(st.text(max_size=40) | st.lists(st.sampled_from(
    ["name", "state", "=", "!=", "(", ")", "and", "or", "not", "in", "'a'", ",", "order by", "like", "words", "exists",
     "ago(1h)", "labels.team", '"', "'", "\\", "%", "1", "true", "desc"]), max_size=12).map(" ".join))  # fmt: skip
def test_any_text_is_a_query_or_a_mistake_that_is_told(text) -> None:
    found = outcome(text)
    assert isinstance(found, Query) or 0 <= found.start <= len(text)


def test_the_paths_of_a_spec_are_those_of_the_schema() -> None:
    """A field that is added to agents' files has to be said here too, or nobody could ask for it."""
    kinds = {
        "integer": "a number", "number": "a number", "boolean": "true or false", "quantity": "a quantity",
        "duration": "a duration", "percentage": "a percentage", "percentage or object": "a percentage",
        "integer or string": "any value", "integer or percentage": "any value",
    }  # fmt: skip
    declared = {
        path.replace("[]", ""): kind
        for path, kind, _ in _fields(schemas()["agent.json"])
        if path.startswith("spec.") and path != "spec.extends"
    }
    objects = {path for path, kind in declared.items() if kind in ("object", "list of object")}
    held = {path: kinds.get(declared[path], "text") for path in declared.keys() - objects}
    assert {path: str(kind) for path, kind in paths.SPEC.items()} == held
    assert {path for path in objects if not paths.is_known(tuple(path.split(".")))} == set()
    assert {path for path in (*paths.MAPS, *paths.OPEN) if path != "labels"} <= objects


def test_selectors_are_expressions_over_labels() -> None:
    text = "team=support,tier!=test,env in (a, b),zone notin (c),app.kubernetes.io/name,!legacy,empty="
    name = 'labels."app.kubernetes.io/name"'
    assert selecting(read_selector(text)) == And((
        Compare("labels.team", EQ, "support"),
        Not(Compare("labels.tier", EQ, "test")),
        OneOf("labels.env", ("a", "b")),
        Not(Compare("labels.zone", EQ, "c")),
        Exists(name),
        Not(Exists("labels.legacy")),
        Compare("labels.empty", EQ, ""),
    ))  # fmt: skip


def test_a_mistake_in_a_selector_is_told_with_its_place() -> None:
    with pytest.raises(QueryError) as caught:
        read_selector("team=support, ti er=x")
    assert (caught.value.start, caught.value.length) == (14, 7)
