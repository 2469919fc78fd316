"""What an apply says of itself."""

from __future__ import annotations

import json

import pytest

from reconciler.cli.progress import Lines
from reconciler.cli.views.apply import Ledger, closing, event_json, finished_line, seconds
from reconciler.model.events import ApplyFinished, ChangeFinished, ChangeStarted, Outcome, Overridden, RolloutProgress
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.plan import Action, Drift

A, B, C = (AgentName(namespace="support", name=name) for name in ("knowledge", "triage", "replies"))


def finished(agent: AgentName, outcome: Outcome = Outcome.APPLIED, *, reason: str = "") -> ChangeFinished:
    return ChangeFinished(
        agent=agent,
        action=Action.SCALE,
        outcome=outcome,
        text="scaled 2 -> 4",
        ready=4,
        wanted=4,
        duration_ms=1234,
        reason=reason,
    )


def end(*, applied: int = 0, failed: int = 0, skipped: int = 0, interrupted: bool = False) -> ApplyFinished:
    return ApplyFinished(
        applied=applied, failed=failed, skipped=skipped, duration_ms=5200, sequence=118, interrupted=interrupted
    )


def ledger(*events: ChangeStarted | ChangeFinished | ApplyFinished) -> Ledger:
    made = Ledger(planned=[A, B, C])
    for event in events:
        made.take(event)
    return made


def test_a_line_says_what_was_done_and_how_long_it_took() -> None:
    assert finished_line(finished(A), 17, color=False) == ("support/knowledge   scaled 2 -> 4      ready 4/4    1.2s")


def test_a_failure_says_why_below_and_cannot_drive_the_terminal() -> None:
    text = finished_line(finished(A, Outcome.ROLLED_BACK, reason="boom \x1b[2J\nlast line"), 17, color=False)
    assert text.splitlines()[1:] == ["    boom \\x1b[2J", "    last line"]
    assert "\x1b[31m" in finished_line(finished(A, Outcome.FAILED), 17, color=True)


def test_the_end_counts() -> None:
    assert closing(ledger(end(applied=2))) == "Applied 2 changes in 5.2s. Registry revision 118."
    assert closing(ledger(end(applied=1, failed=1, skipped=3))) == (
        "Applied 1 change in 5.2s. 1 failed. 3 not started. Registry revision 118."
    )


def test_an_interruption_says_what_is_finished_and_what_is_not() -> None:
    told = closing(
        ledger(
            ChangeStarted(agent=A, action=Action.SCALE),
            finished(A),
            ChangeStarted(agent=B, action=Action.SCALE),
            finished(C, Outcome.SKIPPED),
            end(applied=1, skipped=1, interrupted=True),
        )
    )
    assert "finished: support/knowledge\n" in told
    assert "begun, and journalled: support/triage\n" in told
    assert "not started: support/replies\n" in told


def test_what_failed_before_an_interruption_is_not_finished() -> None:
    told = closing(
        ledger(
            ChangeStarted(agent=A, action=Action.SCALE),
            finished(A, Outcome.FAILED, reason="interrupted while it rolled out"),
            ChangeStarted(agent=B, action=Action.SCALE),
            finished(B),
            end(applied=1, failed=1, interrupted=True),
        )
    )
    assert "  finished: support/triage\n" in told
    assert "failed, or not finished: support/knowledge\n" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 ready, 1 starting", "demo/hello: 0/1 ready; pods, old and new: 1 ready, 1 starting\n"),
        ("1 of 2 pods are available", "demo/hello: 0/1 ready; 1 of 2 pods are available\n"),
        ("", "demo/hello: 0/1 ready\n"),
    ],
)
def test_progress_says_that_pods_are_counted_old_and_new(
    text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hello = AgentName(namespace="demo", name="hello")
    Lines(0, color=False).take(RolloutProgress(agent=hello, ready=0, wanted=1, text=text))
    assert capsys.readouterr().err == told


def test_only_a_whole_and_successful_apply_is_all_applied() -> None:
    assert ledger(finished(A), end(applied=1)).all_applied
    assert not ledger(finished(A)).all_applied
    assert not ledger(finished(A), end(applied=1, interrupted=True)).all_applied
    assert not ledger(finished(A, Outcome.ROLLED_BACK), end()).all_applied
    assert not ledger(end(skipped=1)).all_applied
    assert "before it could say" in closing(ledger())


def test_durations_are_read_at_a_glance() -> None:
    assert [seconds(ms) for ms in (0, 59_900, 60_000, 125_000)] == ["0.0s", "59.9s", "1m00s", "2m05s"]


def test_events_are_lines_of_json() -> None:
    drift = Drift(
        cluster="local",
        ref=ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage"),
        path="spec.replicas",
        manager="kubectl-edit",
        before=2,
        after=5,
    )
    assert json.loads(event_json(RolloutProgress(agent=A, ready=1, wanted=2))) == {
        "type": "rollout-progress",
        "agent": "support/knowledge",
        "ready": 1,
        "wanted": 2,
        "text": "",
    }
    assert json.loads(event_json(finished(A)))["durationMs"] == 1234
    told = json.loads(event_json(Overridden(agent=A, drift=drift)))
    assert (told["drift"]["before"], told["drift"]["ref"]["kind"]) == (2, "Deployment")
    assert "\n" not in event_json(end())
