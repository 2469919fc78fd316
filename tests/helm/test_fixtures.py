"""Tests that need Helm say so when there is none: skipped and told in one line, or failed in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm.helm import NAMED


@pytest.fixture
def bare(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.Pytester:
    """A folder of tests on a machine where Helm is not built."""
    monkeypatch.setenv(NAMED, str(tmp_path / "nowhere"))
    monkeypatch.delenv("CI", raising=False)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers = helm")
    pytester.makepyfile("def test_one(helm): ...\ndef test_two(helm): ...\ndef test_other(): ...")
    return pytester


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "tests.helm.fixtures", "-p", "no:hypothesispytest", *arguments)


def test_without_helm_they_are_skipped_and_one_line_says_what_to_type(bare: pytest.Pytester) -> None:
    result = run(bare, "-ra")
    result.assert_outcomes(passed=1, skipped=2)
    (told,) = [line for line in result.outlines if "make helm" in line]
    assert told.startswith("NOT TESTED WITH REAL HELM: 2 tests skipped. ")


def test_in_ci_they_fail(bare: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = run(bare)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*no Helm in CI: *make helm*"])


def test_they_carry_the_marker_by_themselves(bare: pytest.Pytester) -> None:
    run(bare, "-m", "not helm").assert_outcomes(passed=1, deselected=2)
