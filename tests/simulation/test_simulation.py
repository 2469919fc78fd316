"""A sample of the simulation, small enough for every run of the tests. All of it: `make simulate`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def simulated(seed: int, steps: int) -> subprocess.CompletedProcess[str]:
    """A run in a process of its own: names have one order there, and what is killed in it stays behind."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--steps", str(steps)]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("seed", [101, 102])
def test_laws_hold_whatever_happens(seed: int) -> None:
    done = simulated(seed, 120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_one_seed_gives_one_run() -> None:
    first, second = (re.search(r"; ([0-9a-f]{12});", simulated(103, 40).stdout) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[1] == second[1]
