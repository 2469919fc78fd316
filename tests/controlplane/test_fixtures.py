"""Tests that need a control plane say so when there is none: skipped and told in one line, or failed in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controlplane import binaries

TESTS = """
    def test_shared(control_plane): ...
    def test_own(control_planes): ...
    def test_other(): ...
"""


@pytest.fixture
def bare(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.Pytester:
    """A folder of tests on a machine where nothing is built."""
    monkeypatch.setattr(binaries, "BUILT", tmp_path / "bin")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("CI", raising=False)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers = controlplane")
    pytester.makepyfile(TESTS)
    return pytester


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "tests.controlplane.fixtures", "-p", "no:hypothesispytest", *arguments)


def test_without_programs_they_are_skipped_and_one_line_says_what_to_type(bare: pytest.Pytester) -> None:
    result = run(bare, "-ra")
    result.assert_outcomes(passed=1, skipped=2)
    assert len([line for line in result.outlines if line.startswith("SKIPPED [2]")]) == 1, "folded into one"
    told = [line for line in result.outlines if "make control-plane" in line]
    assert len(told) == 1
    assert told[0].startswith("NOT TESTED ON A REAL CONTROL PLANE: 2 tests skipped. etcd, kube-apiserver, ")


def test_in_ci_they_fail(bare: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = run(bare)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*no control plane in CI: *make control-plane*"])


def test_they_carry_the_marker_by_themselves(bare: pytest.Pytester) -> None:
    run(bare, "-m", "not controlplane").assert_outcomes(passed=1, deselected=2)


def test_programs_may_come_from_both_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bare: pytest.Pytester
) -> None:
    for folder, names in (("assets", binaries.PROGRAMS[:3]), ("bin", binaries.PROGRAMS[2:])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch(mode=0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    found = binaries.find()
    assert isinstance(found, binaries.Binaries)
    assert found["kube-controller-manager"] == str(tmp_path / "assets" / "kube-controller-manager")
    assert found["kwok"] == str(tmp_path / "bin" / "kwok")
