"""Streams, colour and tables."""

from __future__ import annotations

import io
import json

import pytest
import yaml

from reconciler.cli.output import clean, one_line, table, to_json, to_yaml, wants_color
from reconciler.model.identity import AgentName


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "environment", "terminal", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colour_is_decided_by_choice_then_environment_then_terminal(
    choice: str, environment: dict[str, str], *, terminal: bool, expected: bool
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    assert wants_color(choice, stream, environment) is expected


def test_data_cannot_drive_a_terminal() -> None:
    assert clean("a\x1b[31mb\x07\u202ec\td\n") == "a\\x1b[31mb\\x07\\x202ec\td\n"
    assert one_line("a\n  b\r\nc" * 2) == "a b ca b c"
    assert len(one_line("x" * 1000, 50)) == 50


def test_a_table_is_padded_and_never_cut() -> None:
    rows = [["a/b", "x" * 200, "ok"], ["longer/name", "", "no"]]
    lines = table(["NAME", "TEXT", "STATE"], rows).splitlines()
    assert lines[0].startswith("NAME          TEXT ")
    assert "x" * 200 in lines[1]
    assert lines[2].startswith("longer/name   ")
    assert table(["NAME"], [["a"]], show_headers=False) == "a"
    assert table(["NAME"], [], show_headers=False) == ""


def test_json_and_yaml_hold_the_same_values() -> None:
    value = {"b": AgentName(namespace="n", name="a"), "a": [1, None, "x\ny\n"], "c": {"on": "no", "n": "010"}}
    assert json.loads(to_json(value)) == yaml.safe_load(to_yaml(value))
    assert "|\n" in to_yaml(value)
