"""Mistaken and hostile command lines: each a clear message, exit 1, quickly, with little memory, no traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import Program, environment

MEMORY = 200 * 1024 * 1024
SECONDS = 10
"""What ends a hanging command: the machines that run this are slow, and a hang is longer than any of them."""


@dataclass(frozen=True, slots=True)
class Case:
    """A command line, what its message holds, and its exit code."""

    arguments: tuple[str, ...]
    told: str
    code: int = 1
    stdin: bytes = b""


def case(*arguments: str, told: str, code: int = 1, stdin: bytes = b"") -> Case:
    return Case(arguments, told, code, stdin)


HUGE = "x" * 100_000
CASES = [
    # commands and options
    case("aply", told="did you mean 'apply'?"),
    case("validat", told="did you mean 'validate'?"),
    case("zzz", told="unknown command 'zzz'"),
    case("--frobnicate", told="--frobnicate"),
    case("plan", "--targt", "a/b", told="--target"),
    case("plan", "extra", told="unexpected extra argument"),
    case("plan", "-o", "xml", told="'xml' is not one of"),
    case("plan", "--out", told="--out"),
    case("get", told="Missing argument"),
    case("get", "pods", told="is no kind to list"),
    case("get", "agnts", told="did you mean 'agents'?"),
    case("audit", told="Usage: reconciler audit"),
    case("audit", "verifi", told="verify"),
    case(HUGE, told="unknown command"),
    case("\x1b[2J\x07", told="unknown command"),
    case("--color", "sometimes", "version", told="must be auto, always or never"),
    case("completion", "tcsh", told="'tcsh' is not one of"),
    # folders and settings
    case("-C", "/no/such/folder", "plan", told="is not a folder"),
    case("-C", "fleet.yaml", "plan", told="is not a folder"),
    case("-C", "/", "plan", told="there is no fleet.yaml"),
    case("-C", "/", "validate", told="there is no fleet.yaml", code=2),
    case("-C", HUGE, "plan", told="is not a folder"),
    # refs
    case("plan", "--ref", "--upload-pack=touch pwned", told="is not a ref"),
    case("plan", "--ref", "-x", told="is not a ref"),
    case("plan", "--ref", "", told="is not a ref"),
    case("plan", "--ref", "no-such-branch", told="no-such-branch"),
    case("plan", "--ref", "main\n", told="is not a ref"),
    case("plan", "--ref", "main:fleet.yaml", told="main:fleet.yaml"),
    case("plan", "--ref", "main^{/x", told="main"),
    case("plan", "--ref", HUGE, told="error:"),
    case("plan", "--ref", "main", "--working-tree", told="exclude each other"),
    # agents, clusters, selectors, numbers
    case("plan", "--target", "hello", told="write NAMESPACE/NAME"),
    case("plan", "--target", "../../etc/passwd", told="does not name an agent"),
    case("plan", "--target", "demo/hallo", told="did you mean demo/hello?"),
    case("plan", "--cluster", "eu-1", told="no cluster eu-1 is declared"),
    case("plan", "--cluster", "../x", told="is not a cluster's name"),
    case("plan", "--max-deletes", "many", told="--max-deletes"),
    case("plan", "--max-deletes", "-1", told="--max-deletes"),
    case("plan", "--max-deletes", "101%", told="must be a number like 5"),
    case("apply", "--parallelism", "0", told="must be a number from 1"),
    case("apply", "--parallelism", "9" * 400, told="must be a number from 1"),
    case("apply", "--timeout", "soon", told="is not a duration"),
    case("apply", "--lock-timeout", "9999999d", told="is longer than ten years"),
    case("get", "agents", "-l", "a in (b", told="is not a label selector"),
    case("get", "agents", "-l", HUGE, told="is not a label selector"),
    case("get", "agents", "-n", "../x", told="must be a namespace"),
    case("get", "agents", "-n", "a", "-A", told="exclude each other"),
    case("get", "agents", "demo/hallo", told="no agent 'demo/hallo' on record"),
    case("get", "clusters", "--sort-by", "__class__", told="there is no field"),
    case("get", "clusters", "--watch", told="--watch is for agents"),
    case("describe", "demo/hello", told="is not on record"),
    case("describe", "demo", told="write NAMESPACE/NAME"),
    case("logs", "demo/hello", told="is not on record"),
    case("logs", "demo/hello", "--tail", "-5", told="--tail"),
    case("logs", "demo/hello", "-f", "-p", told="exclude each other"),
    case("history", "demo/nobody", told="has no history"),
    case("why", "demo/nobody", told="no agent demo/nobody is declared"),
    case("render", "demo/nobody", told="no agent demo/nobody is declared"),
    case("render", "demo/hello", "--cluster", "eu-1", told="runs nothing on 'eu-1'"),
    case("explain", "demo/hello", "resorces.limits", told="did you mean 'resources'?"),
    case("explain", "demo/hello", "a[", told="is not a path"),
    case("explain", "demo/hello", HUGE, told="is not a path"),
    case("schema", "pod", told="no schema for 'pod'"),
    case("schema", "--check", "agents", told="out of date"),
    case("schema", "--write", "fleet.yaml", told="cannot make"),
    # secrets
    case("secret", "set", "../../x", "k", told="does not name a secret", stdin=b"v"),
    case("secret", "set", "demo/..", "k", told="does not name a secret", stdin=b"v"),
    case("secret", "set", "demo/s", "../k", told="is not a key", stdin=b"v"),
    case("secret", "set", "demo/s", "a/b", told="is not a key", stdin=b"v"),
    case("secret", "set", "demo/s", "a..b", told="is not a key", stdin=b"v"),
    case("secret", "set", "demo/s", "-k", told="error:", stdin=b"v"),
    case("secret", "set", "demo/s", "k", told="standard input holds no value"),
    case("secret", "set", "demo/s", "k", told="larger than 1 MiB", stdin=b"v" * (1024 * 1024 + 1)),
    # plan files
    case("apply", "no-such.plan", told="No such file or directory"),
    case("apply", "agents", told="not a regular file"),
    case("apply", "fifo.plan", told="not a regular file"),
    case("apply", "/dev/zero", told="not a regular file"),
    case("apply", "empty.plan", told="this is no plan file"),
    case("apply", "binary.plan", told="this is no plan file"),
    case("apply", "huge.plan", told="are allowed"),
    case("apply", "deep.plan", told="no plan file"),
    case("apply", "yaml.plan", told="this is no plan file"),
    case("apply", "newer.plan", told="has format 99.0"),
    case("apply", "edited.plan", told="was changed after it was written"),
    case("apply", "truncated.plan", told="this is no plan file"),
    case("apply", "other.plan", told="damaged"),
    case("show", "edited.plan", told="was changed after it was written"),
    case("show", "-", told="No such file"),
    case("apply", "good.plan", "--target", "demo/hello", told="a saved plan is applied as it is"),
    case("plan", "--out", "agents", told="is not a regular file"),
    case("plan", "--out", "no/such/folder/x.plan", told="there is no folder"),
    case("plan", "--out", "/dev/full", told="is not a regular file"),
    case("plan", "--out", HUGE, told="error:"),
    # asking
    case("apply", told="there is no terminal to ask on"),
    case("init", "templates", told="is not empty"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A fleet that is not applied, with plan files of every kind of badness."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "home").mkdir()
    Program(root, root / "home")("init", "fleet", code=0)
    program = Program(root / "fleet", root / "home")
    program("plan", "--out", "good.plan", code=0)
    good = (program.folder / "good.plan").read_bytes()
    document = json.loads(good)
    files: dict[str, bytes] = {
        "empty.plan": b"",
        "binary.plan": bytes(range(256)) * 100,
        "deep.plan": b'{"format_version": "1.0", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "yaml.plan": b"format_version: 1.0\n",
        "newer.plan": json.dumps(document | {"format_version": "99.0"}).encode(),
        "edited.plan": good.replace(b'"create"', b'"delete"', 1),
        "truncated.plan": good[: len(good) // 2],
        "other.plan": b'{"format_version": "1.0", "changes": 7}',
    }
    for name, data in files.items():
        (program.folder / name).write_bytes(data)
    with (program.folder / "huge.plan").open("wb") as stream:
        stream.truncate(10 * 1024**3)
    os.mkfifo(program.folder / "fifo.plan")
    return program


def bounded(memory: int = MEMORY) -> Callable[[], None]:
    """Limits of the child: address space is more than memory in use, so it is bounded by what is written to it."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))

    return limit


@pytest.mark.parametrize("one", CASES, ids=lambda one: " ".join(one.arguments)[:50].encode("unicode_escape").decode())
def test_a_mistake_is_told_and_does_no_harm(prepared: Program, one: Case) -> None:
    before = sorted(path.name for path in prepared.folder.iterdir() if path.name != ".reconciler")
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "reconciler.cli", *one.arguments],
        cwd=prepared.folder,
        env=environment(prepared.home),
        input=one.stdin,
        capture_output=True,
        timeout=60,
        check=False,
        preexec_fn=bounded(),
    )
    took = time.monotonic() - started
    err = done.stderr.decode("utf-8", "replace")
    assert done.returncode == one.code, err
    assert one.told in err
    assert "Traceback" not in err
    assert "unexpected" not in err.replace("unexpected extra", "")
    assert len(err) < 20_000
    assert "\x1b" not in err
    assert took < SECONDS
    after = sorted(path.name for path in prepared.folder.iterdir() if path.name != ".reconciler")
    assert after == before
    assert not (prepared.folder / ".reconciler" / "crash").exists()
    assert not (prepared.folder / ".reconciler" / "secrets").exists()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 90


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
    (broken / "msgspec.py").write_text("raise RuntimeError('deep inside')\n")
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
