"""What every hostile or mistaken input is held to: how it must end, in how much time, with how much memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cli.conftest import environment
from tests.forking.client import Ended, Forks

CPU_S = 1.0
"""CPU seconds of one run, git's included, start-up excluded: how long it takes where nothing else runs."""
PEAK_MB = 200.0
WALL_S = 60


@dataclass(frozen=True, slots=True)
class Bounded:
    """The program with limits that the system holds."""

    forks: Forks
    home: Path

    def run(self, *arguments: str, folder: Path, stdin: bytes = b"") -> Ended:
        """One command line in `folder`."""
        return self.forks.run(
            *arguments, folder=folder, env=environment(self.home), stdin=stdin, wall_s=WALL_S, limited=True
        )


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


def untouched(forks: Bounded, folder: Path) -> Mapping[str, object]:
    """All that is on record and on the cluster, to compare before and after."""
    agents = forks.run("get", "agents", "-A", "-o", "json", folder=folder)
    assert agents.code == 0, agents.err
    found: Mapping[str, object] = json.loads(agents.out)
    return found
