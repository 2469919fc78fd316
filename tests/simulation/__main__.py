"""`python -m tests.simulation --steps 100000 --seed 1`: seeds one after another, each in a process of its own.

Ends with 1 when a law broke, and says how to run that seed again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from tests.simulation.running import simulate

EACH = 2000
HASH_SEED = {"PYTHONHASHSEED": "0"}
"""Sets of names have an order then, and one seed gives one run."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--steps", type=int, default=EACH, help="how many in all")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--each", type=int, default=EACH, help="steps of one seed")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at once")
    parser.add_argument("--trace", action="store_true", help="print all steps and all that daemons say")
    given = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(command[0], command, os.environ | HASH_SEED)  # noqa: S606 - this program again
    if given.steps <= given.each:
        code = one(given.seed, given.steps)
        sys.stdout.flush()
        os._exit(code)  # what was killed in the simulation is in the middle of things, and stays there
    return several(given)


def one(seed: int, steps: int) -> int:
    began = time.process_time()
    run = simulate(seed, steps)
    took = time.process_time() - began
    if run.failure:
        print("\n".join([*run.lines[-120:], "", *run.trace]))
        print(f"\nseed {seed}, step {run.steps}: {run.failure}")
        print(f"again: .venv/bin/python -m tests.simulation --seed {seed} --steps {run.steps}")
        return 1
    print(
        f"seed {seed}: {run.steps} steps, {run.quiet} quiet periods, {run.simulated_s / 86400:.1f} days, "
        f"longest to rest {run.longest_rest_s:.0f} s; {run.digest}; {took:.0f} s of CPU, {run.steps / took:.0f} steps/s"
    )
    return 0


def several(given: argparse.Namespace) -> int:
    """Each seed by itself; all of them, whatever breaks."""
    left, seed, failed = given.steps, given.seed, 0
    running: list[subprocess.Popen[bytes]] = []
    while left > 0 or running:
        while left > 0 and len(running) < given.jobs:
            steps = min(left, given.each)
            command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--steps", str(steps)]
            running.append(subprocess.Popen([*command, "--each", str(given.each)], env=os.environ | HASH_SEED))
            left, seed = left - steps, seed + 1
        failed += running.pop(0).wait() != 0
    print(f"{given.steps} steps of {seed - given.seed} seeds: {failed or 'none'} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
