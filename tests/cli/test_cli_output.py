"""Streams, colour and tables."""

from __future__ import annotations

import io
import json

import pytest
import yaml

from reconciler.cli.output import clean, one_line, table, to_json, to_yaml, wants_color, width
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


@pytest.mark.parametrize(
    "word", ["1e3", "12e03", "0.1e5", "1E+5", "08", "0778", "0o17", "-0o7", "0O7", "0b1", "y", "N", "1_0", ".5"]
)
def test_yaml_quotes_words_that_other_readers_take_for_numbers_or_truth(word: str) -> None:
    """kubectl reads a plain 1e3 as 1000 and a plain y as true, where this program and PyYAML read text."""
    text = to_yaml({"value": word, word: "key"})
    assert text == f"value: '{word}'\n'{word}': key"


def test_yaml_leaves_plain_what_is_text_to_everybody() -> None:
    assert to_yaml({"yes-man": "1.2.3", "e3": "x1", "v1e3": "1e3x"}) == "yes-man: 1.2.3\ne3: x1\nv1e3: 1e3x"


def test_columns_line_up_below_each_other_whatever_is_in_them() -> None:
    rows = [["静音", "a"], ["x", "b"], ["e\u0301😀", "c"]]
    lines = table(["REASON", "BY"], rows).splitlines()
    assert {width(line[: line.rindex(cell)]) for line, cell in zip(lines, ["BY", "a", "b", "c"], strict=True)} == {9}
