"""Streams, folders and state that are closed, full, gone or damaged: each a clear message, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Program, environment


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A fleet that is not applied."""
    root = tmp_path_factory.mktemp("streams")
    (root / "home").mkdir()
    Program(root, root / "home")("init", "fleet", code=0)
    return Program(root / "fleet", root / "home")


def shell(program: Program, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line.replace("reconciler", f"{sys.executable} -m reconciler.cli", 1)],
        cwd=program.folder,
        env=environment(program.home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_closed_streams_are_survived(prepared: Program) -> None:
    done = shell(prepared, "reconciler version >&-")
    assert (done.returncode, done.stderr) == (
        1,
        "error: standard output is closed\n  redirect it to a file or /dev/null instead\n",
    )
    assert shell(prepared, "reconciler version <&-").returncode == 0
    assert shell(prepared, "reconciler version 2>&-").returncode == 0
    assert shell(prepared, "reconciler validate <&- 2>&-").returncode == 0
    assert shell(prepared, "reconciler apply <&-").returncode == 1
    assert "holds no value" in shell(prepared, "reconciler secret set demo/s k <&-").stderr


def test_a_full_disk_is_told(prepared: Program) -> None:
    done = shell(prepared, "reconciler render demo/hello > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write to standard output: No space left")


def test_a_reader_that_leaves_ends_it_quietly(prepared: Program) -> None:
    done = shell(prepared, "reconciler render demo/hello | head -n 1; exit ${PIPESTATUS[0]}")
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_a_folder_that_is_gone_is_told(prepared: Program, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f"cd {gone} && rmdir {gone} && {sys.executable} -m reconciler.cli plan"
    done = subprocess.run(
        ["bash", "-c", line], env=environment(prepared.home), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no longer exists" in done.stderr


def test_a_folder_that_cannot_be_written_is_told(prepared: Program) -> None:
    locked = prepared.folder / "locked"
    locked.mkdir(mode=0o500)
    place = "/proc" if os.geteuid() == 0 else "locked"  # root may write everywhere else
    try:
        done = prepared("plan", "--out", f"{place}/x.plan", code=1)
        assert f"{place}/x.plan" in done.err
    finally:
        locked.rmdir()


def test_a_state_folder_that_is_a_file_is_told(tmp_path: Path, prepared: Program) -> None:
    Program(tmp_path, prepared.home)("init", "fleet", code=0)
    (tmp_path / "fleet" / ".reconciler").write_text("")
    done = Program(tmp_path / "fleet", prepared.home)("plan", code=1)
    assert done.err.startswith("error: ")
    assert ".reconciler" in done.err


def test_a_damaged_registry_is_told(tmp_path: Path, prepared: Program) -> None:
    Program(tmp_path, prepared.home)("init", "fleet", code=0)
    program = Program(tmp_path / "fleet", prepared.home)
    program("plan", code=0)
    (program.folder / ".reconciler" / "registry.db").write_bytes(b"no database at all " * 1000)
    for arguments in (["plan"], ["get", "agents"], ["apply", "--auto-approve"], ["audit", "verify"]):
        done = program(*arguments, code=1)
        assert "registry" in done.err + done.out


def test_what_nobody_foresaw_is_one_line_and_a_private_file(tmp_path: Path, home: Path) -> None:
    """A module that cannot be imported stands for a mistake of ours."""
    Program(tmp_path, home)("init", "fleet", code=0)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "yaml.py").write_text("raise RuntimeError('deep inside')\n")
    env = environment(home)
    env["PYTHONPATH"] = f"{broken}{os.pathsep}{env['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "reconciler.cli", "plan"],
        cwd=tmp_path / "fleet",
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: unexpected RuntimeError: deep inside\n")
    (kept,) = (tmp_path / "fleet" / ".reconciler" / "crash").iterdir()
    assert str(kept) in done.stderr
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
