"""What can be approved of a plan, and that an approval counts for what was seen and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.errors import UsageError
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Hold, HoldCode, Plan
from reconciler.model.registry import Approval
from reconciler.model.source import Revision
from reconciler.plan.approval import KEPT, approvable, key, lifting, remembered

NAMES = tuple(AgentName(namespace="a", name=f"a{i}") for i in range(3))
AT = Revision(commit="c" * 40)


def hold(code: HoldCode = HoldCode.DELETION_BUDGET, agents: tuple[AgentName, ...] = NAMES) -> Hold:
    return Hold(code=code, agents=agents, action=Action.DELETE, text="3 deletes", lift="raise it")


def approval(code: HoldCode = HoldCode.DELETION_BUDGET, agents: tuple[AgentName, ...] = NAMES) -> Approval:
    return Approval(
        commit=AT.commit, code=code.value, agents=agents, author="ada", reason="", since_ms=0, until_ms=1000
    )


def plan(*holds: Hold, revision: Revision = AT, partial: bool = False) -> Plan:
    return Plan(
        fleet="acme", revision=revision, completeness=(), changes=(), holds=holds, blast_radius=(), diagnostics=(),
        partial=partial,
    )  # fmt: skip


def test_only_deletions_that_are_held_can_be_approved_and_only_of_whole_plans_of_a_commit() -> None:
    quota = hold(HoldCode.QUOTA)
    assert list(approvable(plan(hold(), quota)).values()) == [hold()]
    assert approvable(plan(hold(), partial=True)) == {}
    assert approvable(plan(hold(), revision=Revision(commit=""))) == {}
    assert approvable(plan(hold(), revision=replace(AT, working_tree=True))) == {}


def test_another_commit_code_or_agent_is_approved_by_another_key() -> None:
    keys = {
        key(hold(), AT),
        key(hold(), Revision(commit="d" * 40)),
        key(hold(HoldCode.REWIND), AT),
        key(hold(agents=NAMES[:2]), AT),
    }
    assert len(keys) == 4
    assert key(hold(), replace(AT, ref="main")) == key(hold(), AT)


@pytest.mark.parametrize(
    ("held", "given", "lifted"),
    [
        (hold(), approval(), True),
        (hold(agents=NAMES[:1]), approval(), True),
        (hold(), approval(agents=NAMES[:2]), False),
        (hold(HoldCode.REWIND), approval(), False),
        (hold(HoldCode.EMPTY_FLEET), approval(), False),
        (hold(), approval(HoldCode.REWIND), True),
        (hold(), approval(HoldCode.EMPTY_FLEET), True),
        (hold(HoldCode.EMPTY_FLEET), approval(HoldCode.REWIND), True),
        (hold(), replace(approval(), commit="d" * 40), False),
        (hold(), replace(approval(), code="nonsense"), False),
        (hold(HoldCode.PROTECTED), replace(approval(), code="protected"), False),
    ],
)
def test_an_approval_lifts_what_was_seen_and_what_follows_from_it(held: Hold, given: Approval, lifted: bool) -> None:
    assert (lifting(held, AT, [given], 999) is given) is lifted


def test_an_approval_ends() -> None:
    assert lifting(hold(), AT, [approval()], 1000) is None


def test_files_that_are_no_commit_are_covered_by_none() -> None:
    assert lifting(hold(), replace(AT, working_tree=True), [approval()], 0) is None


def test_few_stand_those_of_other_commits_give_way_and_none_of_this_one_does() -> None:
    others = [replace(approval(), commit=f"{number:040}") for number in range(KEPT)]
    stood = remembered(others, made := approval())
    assert stood == (*others[1:], made)
    of_it = [replace(approval(), agents=(AgentName(namespace="a", name=f"b{number}"),)) for number in range(KEPT)]
    assert remembered([*of_it[1:], others[0]], made) == (*of_it[1:], made)
    with pytest.raises(UsageError, match="50 approvals of this commit stand already"):
        remembered(of_it, made)


def test_what_is_over_or_made_again_is_replaced() -> None:
    again = replace(approval(), since_ms=500, until_ms=1500)
    assert remembered([approval()], again) == (again,)
    later = replace(approval(HoldCode.REWIND), since_ms=1000, until_ms=2000)
    assert remembered([approval()], later) == (later,)
