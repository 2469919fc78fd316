"""Mistaken and hostile command lines and plan files: a clear message, exit 1, quickly, with little memory, no harm."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.hostile.bounds import Bounded, Record, hold


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
    case("audit", "--since", "soon", told="--since"),
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
    case("secret", "set", "demo/a..b", "k", told="does not name a secret", stdin=b"v"),
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
def prepared(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A fleet that is not applied, with plan files of every kind of badness."""
    root = tmp_path_factory.mktemp("hostile")
    Program(root, home)("init", "fleet", code=0)
    program = Program(root / "fleet", home)
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


@pytest.mark.parametrize("one", CASES, ids=lambda one: " ".join(one.arguments)[:50].encode("unicode_escape").decode())
def test_a_mistake_is_told_and_does_no_harm(
    prepared: Program, one: Case, forks: Bounded, record_property: Record
) -> None:
    before = sorted(path.name for path in prepared.folder.iterdir() if path.name != ".reconciler")
    ended = forks.run(*one.arguments, folder=prepared.folder, stdin=one.stdin)
    hold(ended, kind="command lines and plan files", record=record_property, code=one.code)
    assert one.told in ended.err
    after = sorted(path.name for path in prepared.folder.iterdir() if path.name != ".reconciler")
    assert after == before
    assert not (prepared.folder / ".reconciler" / "crash").exists()
    assert not (prepared.folder / ".reconciler" / "secrets").exists()
