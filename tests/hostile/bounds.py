"""What every hostile or mistaken input is held to: how it must end, in how much time, with how much memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cli.conftest import ROOT, environment

CPU_S = 1.0
"""CPU seconds of one run, git's included, start-up excluded: how long it takes where nothing else runs."""
PEAK_MB = 200.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, and what it took."""

    code: int
    out: str
    err: str
    cpu_s: float
    peak_mb: float


class Forks:
    """A process that answers command lines in forks of itself; see forks.py."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        self._home = home
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.forks"],
            cwd=ROOT,
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, folder: Path, stdin: bytes = b"") -> Ended:
        """One command line in `folder`."""
        streams = {name: self._folder / name for name in ("stdin", "stdout", "stderr")}
        streams["stdin"].write_bytes(stdin)
        request = {name: str(path) for name, path in streams.items()} | {
            "arguments": arguments,
            "folder": str(folder),
            "env": environment(self._home),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        out, err = (streams[name].read_text(errors="replace") for name in ("stdout", "stderr"))
        return Ended(out=out, err=err, **answer)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


Record = Callable[[str, object], None]


def hold(ended: Ended, *, kind: str, record: Record, code: int = 1) -> None:
    """Assert the bounds, and that a person can read what is said; record it for the end of the whole run."""
    said = ended.out + ended.err
    assert ended.code == code, said[:2000]
    assert "Traceback" not in said
    assert "error: unexpected " not in said.replace("unexpected extra argument", ""), said
    assert "\x1b" not in said
    assert len(said) < 20_000
    assert ended.cpu_s < CPU_S
    assert ended.peak_mb < PEAK_MB
    record("hostile", json.dumps({"kind": kind, "cpu_s": ended.cpu_s, "peak_mb": ended.peak_mb}))


def untouched(forks: Forks, folder: Path) -> Mapping[str, object]:
    """All that is on record and on the cluster, to compare before and after."""
    agents = forks.run("get", "agents", "-A", "-o", "json", folder=folder)
    assert agents.code == 0, agents.err
    found: Mapping[str, object] = json.loads(agents.out)
    return found
