"""Command lines of the program, run in forks of a process that has imported it: most of a short run is its imports.

What is left out is how Python starts; that is run by the tests of the README, by `make demo`, and by tests of signals.
"""

from __future__ import annotations

import atexit
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, and what it took: CPU seconds with git's, without the start; memory of the largest process."""

    code: int
    out: str
    err: str
    cpu_s: float
    peak_mb: float


class Forks:
    """A process that answers command lines in forks of itself, one after another; see server.py."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="reconciler-forks-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forking.server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, folder: Path, env: Mapping[str, str], stdin: bytes = b"", wall_s: int, limited: bool
    ) -> Ended:
        """One command line in `folder`. Raises TimeoutError for one that was killed after `wall_s`."""
        streams = {name: Path(self._folder.name, name) for name in ("stdin", "stdout", "stderr")}
        streams["stdin"].write_bytes(stdin)
        request = {name: str(path) for name, path in streams.items()} | {
            "arguments": arguments,
            "folder": str(folder),
            "env": dict(env),
            "limited": limited,
            "wall_s": wall_s,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        out, err = (streams[name].read_text(errors="replace") for name in ("stdout", "stderr"))
        if answer["code"] == -signal.SIGALRM and not limited:
            raise TimeoutError(f"{arguments} took longer than {wall_s} s: {out}{err}")
        return Ended(out=out, err=err, **answer)

    def close(self) -> None:
        """End it."""
        self._process.communicate()
        self._folder.cleanup()


_idle: list[Forks] = []


@contextmanager
def forks() -> Iterator[Forks]:
    """One that nobody else uses meanwhile. They stay until the tests end."""
    taken = _idle.pop() if _idle else Forks()
    try:
        yield taken
    except BaseException:
        taken.close()
        raise
    _idle.append(taken)


@atexit.register
def _close() -> None:
    while _idle:
        _idle.pop().close()
