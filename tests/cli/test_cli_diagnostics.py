"""Findings in every format."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.views.diagnostics import FORMATS, Report, render
from reconciler.model.source import Diagnostic, Position, Severity


def finding(
    message: str = "unknown template 'bsae'",
    *,
    path: str = "agents/support/triage.yaml",
    line: int = 7,
    column: int = 13,
    length: int = 4,
    hint: str = "did you mean 'base'?",
    snippet: str = "  extends: [bsae]",
    severity: Severity = Severity.ERROR,
    chain: tuple[str, ...] = (),
) -> Diagnostic:
    place = Position(path=path, line=line, column=column, length=length)
    return Diagnostic(
        severity=severity,
        code="unknown-template",
        message=message,
        position=place,
        hint=hint,
        snippet=snippet,
        chain=chain,
    )


def report(*findings: Diagnostic, files: int = 14, agents: int = 9, prefix: str = "") -> Report:
    return Report(findings=findings, files=files, agents=agents, prefix=prefix)


def test_text_shows_the_line_a_caret_and_what_to_do() -> None:
    other = finding("'10Qi' is not a quantity", path="agents/research/miner.yaml", hint="", snippet="")
    assert render(report(finding(), other), "text") == (
        "agents/support/triage.yaml:7:13: error: unknown template 'bsae' [unknown-template]\n"
        "    7 |   extends: [bsae]\n"
        "      |             ^^^^ did you mean 'base'?\n"
        "agents/research/miner.yaml:7:13: error: '10Qi' is not a quantity [unknown-template]\n"
        "2 errors in 14 files. Other agents are not affected."
    )


def test_the_caret_stands_below_what_is_meant_in_wide_letters_too() -> None:
    line, caret = render(report(finding(snippet="  説明: [bsae]", column=8)), "text").splitlines()[1:3]
    assert (line, caret.partition(" did")[0]) == ("    7 |   説明: [bsae]", "      |          ^^^^")


def test_text_says_so_when_nothing_is_wrong_or_all_is() -> None:
    assert render(report(), "text") == "No mistakes in 14 files, 9 agents."
    assert render(report(finding(), files=1, agents=0), "text").endswith("\n1 error in 1 file.")
    assert render(report(finding(path="fleet.yaml")), "text").endswith("\n1 error in 14 files.")
    assert render(report(finding(severity=Severity.WARNING)), "text").endswith("\n1 warning in 14 files.")


def test_text_of_a_part_names_it() -> None:
    asked = tuple(f"agents/a{number}" for number in range(5))
    told = render(Report(findings=(), files=14, agents=9, asked=asked[:1]), "text")
    assert told == "No mistakes in agents/a0; the fleet has 14 files."
    told = render(Report(findings=(finding(),), files=14, agents=9, asked=asked), "text")
    assert told.endswith("\n1 error in agents/a0, agents/a1, agents/a2 and 2 more; the fleet has 14 files.")


def test_text_counts_what_one_mistake_in_a_template_makes_of_many_agents() -> None:
    many = [finding(path=f"agents/a{number}.yaml", snippet="", hint="") for number in range(100)]
    lines = render(report(*many, finding("another", snippet="")), "text").splitlines()
    assert lines[3] == (
        "        the same at agents/a3.yaml:7:13, agents/a4.yaml:7:13, agents/a5.yaml:7:13 and 94 more "
        "(all: --output-format concise)"
    )
    assert lines[4].startswith("agents/support/triage.yaml:7:13: error: another")
    assert lines[-1].startswith("101 errors in 14 files.")
    assert len(render(report(*many), "concise").splitlines()) == 101


def test_text_keeps_the_caret_in_place_in_long_lines_and_with_tabs() -> None:
    long = "x" * 300 + "bsae" + "y" * 300
    lines = render(report(finding(snippet=long, column=301)), "text").splitlines()
    start = lines[2].index("^")
    assert lines[1][start : start + 4] == "bsae"
    assert len(lines[1]) < 140
    lines = render(report(finding(snippet="\t\tkey: bsae\x1b", column=8)), "text").splitlines()
    assert lines[1][lines[2].index("^") :].startswith("bsae?")


def test_text_shows_the_whole_chain() -> None:
    told = render(report(finding(chain=("a extends b", "b extends a"))), "text")
    assert "\n        a extends b\n        b extends a\n" in told


def test_concise_is_one_line_a_finding() -> None:
    lines = render(report(finding("two\nlines")), "concise").splitlines()
    assert lines[0] == ("agents/support/triage.yaml:7:13: error: two lines [unknown-template] (did you mean 'base'?)")
    assert len(lines) == 2


def test_json_counts_and_lists() -> None:
    value = json.loads(render(report(finding(), finding(severity=Severity.WARNING)), "json"))
    assert (value["valid"], value["errors"], value["warnings"], value["files"]) == (False, 1, 1, 14)
    assert value["findings"][0]["line"] == 7


def test_github_annotates_ten_and_counts_the_rest() -> None:
    warnings = [finding(severity=Severity.WARNING) for _ in range(9)]
    errors = [finding(f"100% wrong: a,b\nnext {number}", path="a,b:c.yaml") for number in range(4)]
    lines = render(report(*warnings, *errors, prefix="fleets/eu"), "github").splitlines()
    annotations = [line for line in lines if line.startswith("::")]
    assert len(annotations) == 10
    assert annotations[0] == (
        "::error file=fleets/eu/a%2Cb%3Ac.yaml,line=7,col=13,endColumn=17,title=reconciler%3A unknown-template::"
        "100%25 wrong: a,b%0Anext 0 (did you mean 'base'?)"
    )
    assert "3 more are not annotated" in lines[10]


def test_gitlab_fingerprints_are_unique_and_survive_moving_lines() -> None:
    first = json.loads(render(report(finding(line=1), finding(line=2)), "gitlab"))
    moved = json.loads(render(report(finding(line=8), finding(line=9)), "gitlab"))
    prints = [issue["fingerprint"] for issue in first]
    assert len(set(prints)) == 2
    assert prints == [issue["fingerprint"] for issue in moved]
    assert first[0]["severity"] == "major"
    assert first[0]["location"] == {"path": "agents/support/triage.yaml", "lines": {"begin": 1}}


def test_junit_is_one_case_a_file() -> None:
    root = parsed(render(report(finding("<&>\x00\x1b"), finding(path="b.yaml", severity=Severity.WARNING)), "junit"))
    cases = root.findall("./testsuite/testcase")
    assert [case.get("name") for case in cases] == ["agents/support/triage.yaml", "b.yaml", "12 files without findings"]
    assert len(cases[0].findall("failure")) == 1
    assert cases[1].find("system-out") is not None
    assert root.get("failures") == "1"


def test_sarif_has_rules_regions_and_relative_uris() -> None:
    value = json.loads(render(report(finding(path="a b#c.yaml"), prefix="fleets/eu"), "sarif"))
    run = value["runs"][0]
    result = run["results"][0]
    assert value["version"] == "2.1.0"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "unknown-template"
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "fleets/eu/a%20b%23c.yaml"
    assert location["region"]["endColumn"] == 17


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.encode("utf-8", "replace"))  # noqa: S314 - our own output


texts = st.text(max_size=60)
findings = st.builds(
    finding,
    texts,
    path=st.text(min_size=1, max_size=30),
    line=st.integers(1, 10**6),
    column=st.integers(1, 10**4),
    length=st.integers(1, 10**4),
    hint=texts,
    snippet=st.text(max_size=300),
    severity=st.sampled_from(Severity),
    chain=st.lists(texts, max_size=2).map(tuple),
)


@pytest.mark.parametrize("style", FORMATS)
@given(found=st.lists(findings, max_size=15))
def test_every_format_is_well_formed_whatever_the_findings_hold(style: str, found: list[Diagnostic]) -> None:
    text = render(report(*found), style)
    if style in ("json", "gitlab", "sarif"):
        json.loads(text)
    elif style == "junit":
        parsed(text)
    elif style == "github":
        commands = [line for line in re.split("\n", text) if line.startswith("::")]
        assert len(commands) == min(10, len(found))
    else:
        assert "\x1b" not in text
        assert "\r" not in text


def test_sarif_keeps_to_what_the_standard_requires() -> None:
    """The parts of the SARIF 2.1.0 schema that bear on what we write (it is too large to keep here)."""
    value = json.loads(render(report(finding(), finding("other", severity=Severity.WARNING)), "sarif"))
    assert set(value) == {"$schema", "version", "runs"}
    for result in value["runs"][0]["results"]:
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        region = result["locations"][0]["physicalLocation"]["region"]
        assert region["startLine"] >= 1
        assert region["endColumn"] >= region["startColumn"] >= 1
        assert re.fullmatch(r"[0-9a-f]{64}", result["partialFingerprints"]["reconciler/v1"])
