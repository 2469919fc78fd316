"""The words: templates that execute nothing, and texts without secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.alerting.masking import masked, secrets_of
from reconciler.alerting.trial import trial
from reconciler.alerting.wording import MAX_LINES, MAX_TEXT, MAX_TITLE, worded
from reconciler.model.alert import Notice, Severity
from reconciler.model.alerttext import FIELDS, check_template, filled
from tests.alerting.builders import START_MS, alert, route
from tests.placement.builders import agent

MASK = "(sensitive value)"


@pytest.mark.parametrize("good", ["", "plain", "$$5", "$name", "${name}s", "$alerts\n"])
def test_a_template_names_fields(good: str) -> None:
    assert check_template(good) == good


@pytest.mark.parametrize(
    ("bad", "said"),
    [("$", "names no field"), ("$ 5", "names no field"), ("$nam", "no field 'nam'"), ("${__class__}", "no field")],
)
def test_what_is_no_template_is_said(bad: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        check_template(bad)


@given(st.text())
def test_no_text_of_an_agent_is_read_as_a_template(text: str) -> None:
    assert filled("$summary", dict.fromkeys(FIELDS, "") | {"summary": text}) == text


def test_every_field_is_filled_in() -> None:
    said = route(title=" ".join(f"{name}=${name}" for name in FIELDS)).said
    one = Notice(alert=alert(cluster="eu"))
    title, _ = worded(said, "acme", [one], [])
    for wanted in ("status=firing", "fleet=acme", "route=on-call", "count=1", "agent=support/triage", "cluster=eu"):
        assert wanted in title
    assert "$" not in title


def test_what_is_long_is_cut_and_counted() -> None:
    many = [Notice(alert=alert(f"x/a{number}", text="y\n" * 1000)) for number in range(MAX_LINES + 5)]
    title, text = worded(replace(route().said, title="z" * 999), "acme", many, [], more=7)
    assert len(title) == MAX_TITLE
    assert len(text) <= MAX_TEXT
    assert len(text.splitlines()) <= MAX_LINES + 1
    assert worded(route().said, "acme", [], many[:2])[1].splitlines()[0].startswith("over: critical")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("API_KEY=abc123 failed", "abc123"),
        ('{"password": "hunter2"}', "hunter2"),
        ("token: 'abc def'", "abc def"),
        ("Authorization: Bearer abcdefgh.ijkl", "abcdefgh"),
        ("postgres://ann:hunter2@db/x", "hunter2"),
        ("postgres://ann:hunter@hunter2@db/x", "hunter2"),
        ("a.+-" * 30 + "x://ann:hunter2@db/x", "hunter2"),
        ("used sk-abcdefghijklmnop here", "sk-abcdefghijklmnop"),
        ("ghp_abcdefghijklmnop", "abcdefghijklmnop"),
        ("AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
        ("eyJhbGciOiJI.eyJzdWIi.abc", "eyJzdWIi"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "xyz"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "abc"),
        ("-----BEGIN PRIVATE KEY-----\nabc", "abc"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    assert secret not in masked(text)
    assert MASK in masked(text)


def test_what_is_none_is_left() -> None:
    for text in (
        "connection refused", "tokens 5", "http://h:80/path", "the key is missing", "secretary of state",
        "http://h?to=ann@x", '{"at": "http://h", "to": "ann@x"}',
    ):  # fmt: skip
        assert masked(text) == text


def test_declared_secrets_are_masked_letter_by_letter_and_short_ones_are_not() -> None:
    one = replace(
        agent("x/a"),
        document={
            "env": [{"name": "TOKEN", "value": "abc-secret"}, {"name": "N", "value": "1"}],
            "config": {"nested": {"keys": ["one-key", {"deep": "two-key"}], "n": 20260731, "on": True}},
            "modelConfig": {"parameters": {"list": [{"id": "x", "token": "three-key"}, {"token": "four-key"}]}},
        },
        sensitive=(
            ("env", "[TOKEN]", "value"),
            ("env", "[N]", "value"),
            ("env", "[GONE]", "value"),
            ("config", "nested"),
            ("config", "nested", "n", "deeper"),
            ("modelConfig", "parameters", "list", "[x]", "token"),
            ("modelConfig", "parameters", "list", "[1]", "token"),
        ),
    )
    secrets = secrets_of(one)
    assert secrets == {"abc-secret", "1", "one-key", "two-key", "20260731", "three-key", "four-key"}
    assert masked("1 abc-secret two-key 20260731", secrets) == f"1 {MASK} {MASK} {MASK}"


def test_a_trial_says_that_it_is_one_and_ends_where_receivers_keep_alerts() -> None:
    (told,) = trial(route(match={"severity": "critical"}, tells_ends=False), "acme", "ann@host", START_MS)
    assert "This is a test by ann@host" in told.text
    assert told.severity is Severity.INFO
    begun, over = trial(route("pd", "pagerduty"), "acme", "ann@host", START_MS)
    assert (begun.over, over.over) == (False, True)
    assert begun.group == over.group
    assert begun.id != over.id
