"""Names, selectors and paths as people write them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.main import main
from reconciler.cli.options import agent_name, agent_named, policy, selector
from reconciler.cli.paths import parse_path
from reconciler.model.errors import UsageError
from reconciler.model.identity import AgentName, format_path


def matches(text: str, **labels: str) -> bool:
    return all(requirement.matches(labels) for requirement in selector(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("team=support", True),
        ("team==support", True),
        ("team=sales", False),
        ("team!=sales", True),
        ("other!=sales", True),
        ("team in (sales, support)", True),
        ("team in (sales)", False),
        ("team notin (sales)", True),
        ("other notin (sales)", True),
        ("team", True),
        ("other", False),
        ("!other", True),
        ("!team", False),
        ("team=support,tier=gold", True),
        ("team=support,tier=silver", False),
        ("team in (support,sales),tier", True),
        ("empty=", True),
    ],
)
def test_selectors_select_as_kubectl_does(text: str, expected: object) -> None:
    assert matches(text, team="support", tier="gold", empty="") is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "a=b,",
        "=b",
        "a=b=c",
        "a in b",
        "a in (b",
        "!a=b",
        "a b",
        "a>3",
        "-a",
        "a=\x1b",
        "x" * 5000,
        "a in (" * 500,
    ],
)
def test_what_is_no_selector_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is not a label selector"):
        selector(text)


def test_no_selector_selects_all() -> None:
    assert selector(None) == ()


@given(st.text(max_size=100))
def test_a_selector_is_read_or_refused_whatever_it_is(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert selector(text)


@pytest.mark.parametrize(("text", "within"), [("demo/hello", None), ("hello", "demo"), ("demo/hello", "demo")])
def test_an_agent_is_named_with_its_namespace_or_in_one(text: str, within: str | None) -> None:
    assert agent_named(text, within) == AgentName(namespace="demo", name="hello")


@pytest.mark.parametrize(
    ("text", "within", "told"),
    [
        ("hello", None, "does not name an agent"),
        ("other/hello", "demo", "other/hello is not in the namespace demo"),
        ("hello", "De/mo", "is not a namespace"),
        ("a/b/c", "demo", "does not name an agent"),
    ],
)
def test_what_names_no_agent_there_is_told(text: str, within: str | None, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        agent_named(text, within)


@pytest.mark.parametrize(
    "text", ["", "a", "a/", "/a", "a/b/c", "A/b", "a/b\n", "a/..", "../a", "a b/c", "a/" + "x" * 64]
)
def test_what_is_no_agent_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="does not name an agent"):
        agent_name(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("replicas", ("replicas",)),
        ("resources.limits.memory", ("resources", "limits", "memory")),
        ("env[LOG].value", ("env", "[LOG]", "value")),
        ("tools[0]", ("tools", "[0]")),
        ('config["a.b"].c', ("config", "a.b", "c")),
    ],
)
def test_paths_are_read_as_they_are_written(text: str, parts: tuple[str, ...]) -> None:
    assert parse_path(text) == parts
    assert format_path(parts) == text


@pytest.mark.parametrize("text", ["a[", "a]", "[]", 'a["', "a..b", "x" * 600])
def test_what_is_no_path_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is not a path"):
        parse_path(text)


def test_targets_are_sorted_and_each_once() -> None:
    made = policy(["b/b", "a/a", "b/b"], ["x", "x"], "5", allow_empty=False, accept_rewind=False)
    assert [str(name) for name in made.targets] == ["a/a", "b/b"]
    assert (made.clusters, made.max_deletes) == (("x",), 5)
    assert policy(None, None, "10%", allow_empty=False, accept_rewind=False).max_deletes == "10%"
    assert policy(None, None, "", allow_empty=False, accept_rewind=False).max_deletes is None
    with pytest.raises(UsageError):
        policy(None, ["no such"], "", allow_empty=False, accept_rewind=False)


def test_commands_come_to_adapters_through_bootstrap_only() -> None:
    folder = Path(__file__).resolve().parents[2] / "reconciler" / "cli"
    modules = sorted(folder.rglob("*.py"))
    assert len(modules) > 20
    assert [path.name for path in modules if "reconciler.adapters" in path.read_text(encoding="utf-8")] == []


def test_the_version_is_told_as_an_option_too(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for typed in ("--version", "version"):
        assert main([typed]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert said[0].startswith("reconciler ")
