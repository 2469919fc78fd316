"""A saved plan is shown as it was when it was made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.cli.savedplan import plan_of
from reconciler.cli.views.plan_markdown import render_markdown
from reconciler.cli.views.plan_text import render_text
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import MustBe
from reconciler.model.plan import (
    Action,
    AttributeChange,
    Drift,
    Hold,
    HoldCode,
    Missing,
    ObjectChange,
    Plan,
    Verb,
)
from reconciler.model.source import Position, Revision
from reconciler.plan.planfile import dump, load
from tests.cli_views.test_plan_views import COMMIT, TRIAGE, attribute, change, plan

DEPLOYMENT = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")


def again(made: Plan) -> Plan:
    return plan_of(load(dump(made)))


def drift(path: str, before: object, after: object, *, undone: bool = False) -> Drift:
    return Drift(
        cluster="eu-1", ref=DEPLOYMENT, path=path, manager="kubectl", before=before, after=after, undone=undone
    )


@pytest.mark.parametrize(
    "found",
    [
        drift("spec.replicas", 3, 7),
        drift("spec.paused", Missing.FIELD, True),
        drift("spec.replicas", 3, Missing.FIELD, undone=True),
        drift("", Missing.FIELD, Missing.FIELD),
        drift("", 1, Missing.FIELD, undone=True),
    ],
)
def test_drift_that_lacks_a_side_lacks_it_in_the_file_too(found: Drift) -> None:
    made = plan(drift=(found,))
    assert render_text(again(made), color=False) == render_text(made, color=False)
    assert render_markdown(again(made)) == render_markdown(made)


@pytest.mark.parametrize(
    "path",
    [
        ("config", 'say "hi"'),
        ("config", "a]b", "c[d"),
        ("config", ""),
        ("config", "back\\slash"),
        ("config", "x" * 600),
        ("config", "list", "[odd] name]", "value"),
        ("annotations", "example.org/note"),
    ],
)
def test_fields_may_be_called_anything(path: tuple[str, ...]) -> None:
    made = plan(change(TRIAGE, Action.UPDATE, AttributeChange(path=path, before=1, after=2)))
    assert render_text(again(made), color=False) == render_text(made, color=False)


def test_what_was_left_aside_and_where_a_hold_comes_from_are_kept() -> None:
    hold = Hold(
        code=HoldCode.INVALID, agents=(TRIAGE,), action=None, text="it is broken", lift="mend it",
        origin=Position(path="agents/support/triage.yaml", line=7),
    )  # fmt: skip
    revision = Revision(commit=COMMIT, ref="refs/heads/main", dirty=("agents/support/triage.yaml",))
    made = replace(plan(holds=(hold,)), revision=revision)
    assert "(agents/support/triage.yaml:7)" in render_text(made, color=False)
    assert render_text(again(made), color=False) == render_text(made, color=False)


def test_how_pods_are_replaced_is_not_said_where_it_is_not_known() -> None:
    applied = ObjectChange(cluster="eu-1", ref=DEPLOYMENT, verb=Verb.APPLY, expect=MustBe(uid="u"))
    made = plan(change(TRIAGE, Action.UPDATE, attribute("image", "a:1", "a:2"), objects=(applied,)))
    told = render_text(again(made), color=False)
    assert "its pods replaced\n" in told
    assert "one by one" not in told
