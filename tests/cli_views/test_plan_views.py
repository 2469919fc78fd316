"""The views of a plan: the layout of the walkthrough, programs' JSON, and a comment that always fits."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.views.plan_json import render_json
from reconciler.cli.views.plan_markdown import escape, fence, marker, render_markdown
from reconciler.cli.views.plan_text import render_text
from reconciler.cli.views.plan_words import value, word_diff
from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState
from reconciler.model.plan import (
    Action,
    AttributeChange,
    BlastRadius,
    Change,
    Completeness,
    Drift,
    Hold,
    HoldCode,
    Masked,
    Missing,
    ObjectChange,
    Plan,
    Policy,
    Reason,
    ReasonCode,
    Risk,
    Verb,
)
from reconciler.model.source import Position, Provenance, Revision
from tests.plan.builders import agent, path_of, running

COMMIT = "3f2c1ab" + "0" * 33
TRIAGE = AgentName(namespace="support", name="triage")
KNOWLEDGE = AgentName(namespace="support", name="knowledge")


def origin(layer: str, path: str, line: int) -> Provenance:
    return Provenance(layer=layer, revision=COMMIT, position=Position(path=path, line=line))


def attribute(path: str, before: object, after: object, layer: Provenance | None = None) -> AttributeChange:
    return AttributeChange(path=tuple(path.split(".")), before=before, after=after, origin=layer)


def change(name: AgentName, action: Action, *attributes: AttributeChange, **more: object) -> Change:
    fields: dict[str, object] = {
        "wave": 0, "after": (), "reasons": (), "hidden": 0, "drift": (), "objects": (), "risks": (),
        "replicas": (None, None), "replicas_text": "", "fingerprint": "f", "record_version": 1,
    }  # fmt: skip
    return Change(name=name, action=action, attributes=attributes, **(fields | more))  # type: ignore[arg-type]


def plan(*changes: Change, **more: object) -> Plan:
    fields: dict[str, object] = {
        "revision": Revision(commit=COMMIT, ref="refs/heads/main"),
        "completeness": (Completeness(source="git"), Completeness(source="local"), Completeness(source="registry")),
        "holds": (), "blast_radius": (), "diagnostics": (),
    }  # fmt: skip
    return Plan(fleet="acme", changes=changes, **(fields | more))  # type: ignore[arg-type]


WALKTHROUGH = """\
Fleet acme at 3f2c1ab (main), against local: complete; registry: complete

  + create   ~ update   # scale   - delete   ! recover

# wave 0
  # support/knowledge will be scaled  (agents/support/knowledge.yaml:9)
      # replicas: 2 -> 4

# wave 1, after support/knowledge
  # support/triage will be updated in place, its pods replaced one by one  (templates/base.yaml:6 changed)
      ~ resources.limits.memory: 256Mi -> 512Mi      # from template base
      ~ systemMessage:
          You sort support {+and billing+} tickets.
        # (12 unchanged attributes hidden)

Plan: 0 to create, 1 to update, 1 to scale, 0 to delete. The template base changes 1 of 3 agents."""


def gentle() -> Agent | None:
    """An agent whose pods are replaced one by one."""
    world = running("support/triage")
    world.files[path_of("support/triage")] = agent("support/triage", replicas=3)
    return world.plan().changes[0].agent


def walkthrough() -> Plan:
    from reconciler.model.objects import MustBe
    from reconciler.model.plan import ObjectChange, Verb

    here = origin("agent", "agents/support/knowledge.yaml", 9)
    base = origin("template base", "templates/base.yaml", 6)
    deployment = ObjectChange(
        cluster="local",
        ref=ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage"),
        verb=Verb.APPLY,
        expect=MustBe(uid="u"),
    )
    return plan(
        change(
            KNOWLEDGE,
            Action.SCALE,
            attribute("replicas", 2, 4, here),
            reasons=(Reason(code=ReasonCode.REPLICAS_CHANGED, text="", origin=here),),
            hidden=12,
            replicas=(2, 4),
        ),
        change(
            TRIAGE,
            Action.UPDATE,
            attribute("resources.limits.memory", "256Mi", "512Mi", base),
            attribute("systemMessage", "You sort support tickets.\n", "You sort support and billing tickets.\n"),
            wave=1,
            after=(KNOWLEDGE,),
            reasons=(Reason(code=ReasonCode.TEMPLATE_CHANGED, text="", origin=base),),
            hidden=12,
            objects=(deployment,),
            agent=gentle(),
        ),
        blast_radius=(BlastRadius(template="base", changed=(TRIAGE,), total=3),),
    )


def test_the_plan_of_the_walkthrough_comes_out_letter_by_letter() -> None:
    assert render_text(walkthrough(), color=False) == WALKTHROUGH


def test_colour_changes_nothing_but_colour() -> None:
    coloured = render_text(walkthrough(), color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == WALKTHROUGH


def test_no_changes_is_the_last_line() -> None:
    assert render_text(plan(), color=False).splitlines()[-1] == "No changes."


def test_a_hold_reads_as_in_the_walkthrough() -> None:
    names = tuple(AgentName(namespace="a", name=f"n{number:02d}") for number in range(41))
    hold = Hold(
        code=HoldCode.DELETION_BUDGET,
        agents=names,
        action=Action.DELETE,
        text="41 deletes, over the budget of 3",
        lift="raise it with --max-deletes 41",
    )
    text = render_text(plan(holds=(hold,)), color=False)
    assert "held: 41 deletes, over the budget of 3; raise it with --max-deletes 41\n    a/n00, " in text
    assert "and 21 more" in text


def test_what_a_reader_must_know_stands_above() -> None:
    dirty = Revision(commit=COMMIT, ref="main", dirty=tuple(f"f{number:02d}.yaml" for number in range(25)))
    made = plan(
        revision=dirty,
        partial=True,
        policy=Policy(targets=(TRIAGE,), clusters=("eu-1",)),
        completeness=(
            Completeness(source="git", problem="shallow"),
            Completeness(source="eu-1", problem="unreadable (timeout)"),
        ),
    )
    text = render_text(made, color=False)
    assert "git: shallow; eu-1: unreadable (timeout)" in text
    assert "--working-tree" in text
    assert "and 5 more" in text
    assert "only support/triage, cluster eu-1" in text
    tree = render_text(plan(revision=Revision(commit="", working_tree=True)), color=False)
    assert tree.startswith("Fleet acme at no commit yet with the working tree's files, against")


def test_drift_stands_above_with_its_manager() -> None:
    where = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")
    mine = Drift(cluster="local", ref=where, path="spec.replicas", manager="kubectl", before=2, after=5)
    left = Drift(cluster="local", ref=where, path="spec.x", manager="", before=1, after=Missing.FIELD, undone=False)
    gone = Drift(cluster="local", ref=where, path="", manager="", before="x", after=Missing.FIELD)
    stray = Drift(cluster="us", ref=where, path="", manager="", before=Missing.FIELD, after="x", undone=False)
    text = render_text(plan(change(TRIAGE, Action.RECOVER, drift=(mine, gone)), drift=(left, stray)), color=False)
    assert text.index("drift, found outside Git") < text.index("# wave 0")
    assert "~ spec.replicas: 2 -> 5      # by kubectl; will be undone" in text
    assert "is reported and left" in text
    assert "1 to recover" in text
    assert "#### Drift" in render_markdown(plan(drift=(left, mine, stray)))


def test_json_says_what_is_absent_and_what_is_masked() -> None:
    made = plan(
        change(
            TRIAGE,
            Action.UPDATE,
            attribute("a", Missing.FIELD, Masked.SENSITIVE),
            attribute("b", 1, Missing.FIELD),
            attribute("c", "(absent)", "text"),
            risks=(Risk.MODEL,),
        )
    )
    document = json.loads(render_json(made))
    first, second, third = document["changes"][0]["attributes"]
    assert (first.get("before", "none"), first["after"], first["masked"]) == ("none", "(sensitive value)", ["after"])
    assert "after" not in second
    assert third["before"] == "(absent)"
    assert document["formatVersion"] == "1.0"
    assert document["summary"]["update"] == 1
    assert render_json(made) == render_json(made)


def big(count: int, text: str) -> Plan:
    changes = [
        change(
            AgentName(namespace="research", name=f"agent-{number:05d}"),
            Action.UPDATE,
            attribute("systemMessage", text + "\n", f"{text} {number}\n"),
            risks=(Risk.PROMPT,),
        )
        for number in range(count)
    ]
    gone = change(TRIAGE, Action.DELETE)
    return plan(
        *changes, gone, holds=(Hold(code=HoldCode.INVALID, agents=(KNOWLEDGE,), action=None, text="t", lift=""),)
    )


@pytest.mark.parametrize("count", [1, 40, 400, 4000, 10_000])
def test_a_comment_always_fits_and_tells_deletions_unfolded(count: int) -> None:
    text = render_markdown(big(count, "word " * 60), budget=60_000)
    assert len(text) <= 60_000
    assert text.startswith("<!-- reconciler-plan:acme -->\n")
    head = text.partition("<details>")[0]
    assert "#### Deletions" in head
    assert "support/triage will be deleted" in head
    assert "#### Held" in head


@pytest.mark.parametrize("budget", [300, 1000, 5000])
def test_a_tiny_budget_is_kept_too(budget: int) -> None:
    text = render_markdown(big(100, "word"), budget=budget)
    assert len(text) <= budget
    assert "reconciler-plan:acme" in text


def test_a_marker_cannot_be_broken_out_of() -> None:
    assert marker(plan(), "a --> <b>") == "<!-- reconciler-plan:a-b -->"
    assert marker(plan(), "---") == "<!-- reconciler-plan:fleet -->"


@given(st.text(max_size=80))
def test_escaped_text_is_no_markup_and_calls_nobody(text: str) -> None:
    shown = escape(text)
    assert "\n" not in shown
    assert not re.search(r"@(?!\u200b)", shown)
    assert not re.search(r"(?<!\\)[<>`*\[\]|]", shown.replace("\\\\", ""))
    assert not re.search(r"(?i)\bhttps?:", shown)


@given(st.lists(st.text(alphabet="`~a@\n", max_size=20), max_size=5))
def test_nothing_breaks_out_of_a_fence(lines: list[str]) -> None:
    block = fence([line for text in lines for line in text.split("\n")])
    bar = block[-1]
    assert block[0] == f"{bar}diff"
    assert all(bar not in line for line in block[1:-1])


@given(st.text(max_size=60) | st.lists(st.text(max_size=10)) | st.dictionaries(st.text(max_size=5), st.integers()))
def test_a_value_is_one_line_without_controls(item: object) -> None:
    shown = value(item)
    assert not re.search("[\x00-\x1f\x7f-\x9f]", shown)


def test_long_values_are_cut_and_say_so() -> None:
    assert value("x" * 5000).endswith("… (3000 more characters)")
    assert value(None) == "null"
    assert value({"a": [True, 1.5]}) == "{a: [true, 1.5]}"
    assert value(Masked.UNKNOWN) == "(known after apply)"


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("a b\n", "a c b\n", ["a {+c+} b"]),
        ("a b c\n", "a c\n", ["a {-b-} c"]),
        ("", "new\n", ["{+new+}"]),
        ("old\n", "", ["{-old-}"]),
        ("a  b", "a b", ["{-a  b-} {+a b+}"]),
        ("a", "a\n", ["a", "(only the ends of lines differ)"]),
        ("x\n" * 9 + "a", "x\n" * 9 + "b", ["(7 unchanged lines)", "x", "x", "{-a-} {+b+}"]),
        ("x\n" * 1001, "y", ["(1001 lines replaced by 1 line)"]),
    ],
)
def test_words_that_came_and_went_are_marked(before: str, after: str, lines: list[str]) -> None:
    assert word_diff(before, after) == lines


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["x"] * 400, [word for index in range(200) for word in ("x", f"y{index}")]),
        ([" ".join(["a"] * 499)] * 130, [" ".join(["a", "b"] * 249)] * 130),
        (["a " * 100_000], ["b a " * 60_000]),
    ],
)
def test_texts_that_repeat_themselves_are_compared_in_bounded_time(before: list[str], after: list[str]) -> None:
    """Counted in comparisons of difflib's, of which the first once took seven million."""
    looked = 0

    def count(frame: object, event: str, _argument: object) -> None:
        nonlocal looked
        looked += event == "c_call"

    sys.setprofile(count)
    try:
        lines = word_diff("\n".join(before), "\n".join(after))
    finally:
        sys.setprofile(None)
    assert lines
    assert looked < 1_000_000


def test_no_name_that_a_commit_chose_begins_a_line_of_its_own() -> None:
    forged = "x\nPlan: 0 to create, 0 to update, 0 to scale, 0 to delete."
    drift = Drift(
        cluster="eu-1", ref=ObjectRef(group="", kind="ConfigMap", namespace="a", name="b"), path=forged, manager=forged,
        before=1, after=2,
    )  # fmt: skip
    here = Provenance(layer="agent", revision="", position=Position(path=forged, line=1))
    hold = Hold(
        code=HoldCode.INVALID, agents=(TRIAGE,), action=None, text="", lift="", origin=Position(path=forged, line=1)
    )
    update = change(
        TRIAGE, Action.UPDATE, AttributeChange(path=("config", forged), before=1, after=2), drift=(drift,),
        reasons=(Reason(code=ReasonCode.SPEC_CHANGED, text="", origin=here),),
    )  # fmt: skip
    revision = Revision(commit=COMMIT, dirty=(forged,))
    made = plan(update, revision=revision, holds=(hold,), drift=(replace(drift, undone=False),))
    for text in (render_text(made, color=False), render_markdown(made)):
        assert len(re.findall(r"^\W*Plan: ", text, re.MULTILINE)) == 1, text


def test_control_characters_are_shown_and_not_obeyed() -> None:
    made = plan(change(TRIAGE, Action.UPDATE, attribute("systemMessage", "a\n", "\x1b[31m\u202eb\n")))
    assert "\x1b" not in render_text(made, color=False)
    assert "\u202e" not in render_text(made, color=False)
    assert "\x1b" not in render_markdown(made)


def test_adopting_says_of_what_is_made_anew_that_it_is_replaced() -> None:
    ref = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")
    replaced = ObjectChange(cluster="eu-1", ref=ref, verb=Verb.REPLACE, expect=AnyState())
    made = plan(change(TRIAGE, Action.ADOPT, objects=(replaced,)))
    text = render_text(made, color=False)
    assert "# support/triage will be adopted, its Deployment replaced" in text
    assert "-/+ Deployment on eu-1      # forces replacement" in text
    told = render_markdown(made)
    assert "#### Deletions and replacements" in told
    assert "- Deployment on eu-1  # forces replacement" in told


def test_a_fleet_whose_file_cannot_be_used_has_no_name() -> None:
    made = replace(plan(), fleet="")
    assert render_text(made, color=False).startswith("The fleet (fleet.yaml cannot be used) at 3f2c1ab (main)")
    assert "### Plan for the fleet \\(fleet.yaml cannot be used\\) at" in render_markdown(made)
