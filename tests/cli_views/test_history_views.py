"""The history of an agent: who changed what when, each revision beside the one before it, secrets masked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.cli.views.history import step_json, step_lines, step_rows, steps
from reconciler.model.audit import GENESIS, next_entry
from reconciler.model.registry import AgentRevision, AuditEntry, AuditFact
from tests.contracts.values import TRIAGE, revision

PROMPT = "You sort support tickets.\nBe kind.\n"


def spec(number: int, at_ms: int, commit: str = "c" * 40, outcome: str = "ready", **fields: Any) -> AgentRevision:
    return replace(revision(number), at_ms=at_ms, commit=commit, outcome=outcome, document=fields)


def entry(at_ms: int, actor: str, commit: str = "c" * 40) -> AuditEntry:
    fact = AuditFact(actor=actor, action="applied", agent=TRIAGE, commit=commit)
    return next_entry(fact, at_ms=at_ms, seq=1, previous=GENESIS)


def shown(*revisions: AgentRevision) -> list[list[str]]:
    return [list(step_lines(step, color=False)) for step in steps(revisions, [])]


def test_each_revision_says_what_it_changed() -> None:
    first = spec(1, 10, replicas=1, systemMessage=PROMPT, image="a:1")
    second = spec(2, 20, replicas=3, systemMessage=PROMPT.replace("kind", "very kind"), image="a:1")
    assert shown(second, first) == [
        [
            "# revision 2, after 1",
            "      ~ replicas: 1 -> 3",
            "      ~ systemMessage:",
            "          You sort support tickets.",
            "          Be {+very+} kind.",
            "        # (1 unchanged attribute hidden)",
        ],
        [],
    ]


def test_a_return_to_an_older_spec_is_held_against_what_ran_before_it() -> None:
    one, two, three = (spec(n, n, image=image) for n, image in ((1, "a:1"), (2, "a:2"), (3, "a:1")))
    assert shown(one, two, three)[0] == ["# revision 3, after 2", "      ~ image: a:2 -> a:1"]


def test_a_revision_that_changes_no_field_says_so() -> None:
    assert shown(spec(1, 1, image="a"), spec(2, 2, image="a"))[0] == [
        "# revision 2, after 1",
        "      # the same as revision 1",
    ]


def test_an_agent_that_came_back_is_told_in_order_of_time() -> None:
    made = steps([spec(4, 40, image="a"), spec(5, 50, image="b"), spec(1, 60, image="c")], [])
    assert [(step.revision.number, step.before) for step in made] == [(1, 5), (5, 4), (4, 0)]


def test_who_applied_a_revision_is_who_wrote_of_its_commit_at_that_time() -> None:
    revisions = [spec(1, 100, "a" * 40), spec(2, 200, "b" * 40), spec(3, 300, "d" * 40)]
    entries = [entry(99, "ada", "a" * 40), entry(205, "bob", "b" * 40), entry(150, "eve", "a" * 40)]
    rows = step_rows(steps(revisions, entries))
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("3", "-", "ddddddd"),
        ("2", "bob", "bbbbbbb"),
        ("1", "ada", "aaaaaaa"),
    ]


def test_secrets_are_masked_in_both_forms() -> None:
    old = spec(1, 1, env=[{"name": "API_TOKEN", "value": "hush-1"}], config={"deep": {"password": "hush-2"}})
    new = spec(2, 2, env=[{"name": "API_TOKEN", "value": "hush-3"}], config={"deep": {"password": "hush-4"}})
    (step, _) = steps([old, new], [])
    text = "\n".join(step_lines(step, color=False)) + str(step_json(step))
    assert "hush" not in text
    assert "(sensitive value)" in text


def test_json_says_what_text_says() -> None:
    (step, first) = steps([spec(1, 1, image="a"), spec(2, 2, image="b")], [entry(2, "ada")])
    value = step_json(step)
    assert (value["revision"], value["actor"], value["after"]) == (2, "ada", 1)
    assert [(one["path"], one["before"], one["after"]) for one in value["changes"]] == [("image", "a", "b")]
    assert step_json(first)["after"] is None
