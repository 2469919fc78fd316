"""All benchmarks in one run: `python -m benchmarks.run [--sizes 1000,10000] [--write docs/performance.md]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks import fleets, peers
from benchmarks.stages import ROUNDS

Result = dict[str, Any]
START = "<!-- figures: written by `make bench` -->"
END = "<!-- end of figures -->"


COLD_ROUNDS = 3
BEGAN = time.monotonic()


def tell(text: str) -> None:
    """Say what begins, and when, to whoever waits."""
    print(f"[{time.monotonic() - BEGAN:4.0f} s] {text}", file=sys.stderr, flush=True)


def stage(name: str, root: Path) -> Result:
    """One measurement of stages.py in a process of its own; what it says of its progress is let through."""
    command = [sys.executable, "-m", "benchmarks.stages", name, str(root)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: Result = json.loads(done.stdout)
    return result


def cold(root: Path, agents: int) -> Result:
    """The plan from nothing, several times: the run in the middle by its time, with its stages."""
    runs = []
    for number in range(COLD_ROUNDS):
        tell(f"{agents} agents: cold, {number + 1} of {COLD_ROUNDS}")
        runs.append(stage("cold", root))
    return sorted(runs, key=lambda run: float(run["total_s"]))[COLD_ROUNDS // 2]


def by_hand(root: Path, agents: int) -> Result:
    """The same work with the tools people would take."""
    resolved = peers.read_and_merge(root)
    sample = min(peers.PURE_SAMPLE, agents)
    return {
        "read_and_merge_s": peers.seconds(lambda: peers.read_and_merge(root)),
        "pure_yaml_s": peers.seconds(lambda: peers.load_all(root, yaml.SafeLoader, sample), 1) * agents / sample,
        "gitpython_read_s": peers.seconds(lambda: peers.blobs_through_gitpython(root), 1),
        "hash_all_s": peers.seconds(lambda: peers.no_op_by_hash(resolved)),
    }


def measure(agents: int) -> Result:
    """Everything at one size."""
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
        root = Path(folder) / "fleet"
        tell(f"{agents} agents: writing the fleet")
        fleets.write(root, agents)
        tell(f"{agents} agents: the same work by hand")
        results: Result = {"agents": agents, "peers": by_hand(root, agents)}
        tell(f"{agents} agents: creating all of them")
        results["fill"] = stage("fill", root)
        results["cold"] = cold(root, agents)
        for name in ("warm", "checkout"):
            tell(f"{agents} agents: {name}")
            results[name] = stage(name, root)
    return results


def ms(seconds: float) -> str:
    """Seconds for a table."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def row(title: str, *cells: str) -> str:
    """One row of a Markdown table."""
    return f"| {title} | " + " | ".join(cells) + " |"


def report(results: list[Result]) -> str:
    """The figures as Markdown."""
    sizes = [f"{result['agents']:,} agents" for result in results]
    line = row("---", *("---:" for _ in results))
    lines = [
        f"Python {platform.python_version()}, {platform.platform(terse=True)}, {os.cpu_count()} cores, one run.",
        "",
        row(f"Cold plan that finds nothing to do (middle one of {COLD_ROUNDS})", *sizes),
        line,
    ]
    for name in results[0]["cold"]["stages"]:
        cells = []
        for result in results:
            cold = result["cold"]
            spent = cold["stages"][name]
            cells.append(f"{ms(spent)} ({100 * spent / cold['total_s']:.0f} %)")
        lines.append(row(name, *cells))
    lines += [
        row("**in all**", *(f"**{ms(result['cold']['total_s'])}**" for result in results)),
        row("peak memory", *(f"{result['cold']['peak_mb']:.0f} MB" for result in results)),
        "",
        row(f"In a process that stays and follows a mirror (median of {ROUNDS})", *sizes),
        line,
        row("nothing changed", *(ms(result["warm"]["nothing_s"]) for result in results)),
        row("one agent's commit, to its plan", *(ms(result["warm"]["one_commit_s"]) for result in results)),
        row("a commit with one agent more, to its plan", *(ms(result["warm"]["added_s"]) for result in results)),
        row(
            "one template's commit, to its plan (median of 5)",
            *(f"{ms(r['warm']['template_s'])} ({r['warm']['template_changes']} changes)" for r in results),
        ),
        row("git's fetch before each, from a repository beside it", *(ms(r["warm"]["fetch_s"]) for r in results)),
        row("one agent's commit in a checkout", *(ms(result["checkout"]["one_commit_s"]) for result in results)),
        row("peak memory", *(f"{result['warm']['peak_mb']:.0f} MB" for result in results)),
        "",
        row("Creating everything (a cluster that runs nothing)", *sizes),
        line,
        row("plan", *(ms(result["fill"]["plan_of_creates_s"]) for result in results)),
        row("apply", *(ms(result["fill"]["apply_s"]) for result in results)),
        row("agents a second", *(f"{r['agents'] / r['fill']['apply_s']:.0f}" for r in results)),
        "",
        row("By hand, same files (ratio: theirs / ours)", *sizes),
        line,
    ]
    lines += [
        _versus("C YAML loader and a deep merge, against reading and resolving", "read_and_merge_s", _reading, results),
        _versus("pure Python YAML loader alone, against the same", "pure_yaml_s", _reading, results),
        _versus("GitPython's objects, against our read of all blobs", "gitpython_read_s", _git, results),
        _versus("serialise and hash every spec, against our warm no-op plan", "hash_all_s", _nothing, results),
    ]
    return "\n".join(lines)


def _reading(result: Result) -> float:
    return float(result["cold"]["stages"]["read and resolve"])


def _git(result: Result) -> float:
    return float(result["cold"]["stages"]["git"])


def _nothing(result: Result) -> float:
    return float(result["warm"]["nothing_s"])


def _versus(title: str, name: str, ours: Any, results: list[Result]) -> str:
    cells = [f"{ms(r['peers'][name])} / {ms(ours(r))} = {r['peers'][name] / ours(r):.1f}" for r in results]
    return row(title, *cells)


def main() -> None:
    """Measure, print, and write into the document if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    results = [measure(int(size)) for size in options.sizes.split(",")]
    tell("all done")
    text = report(results)
    print(text)
    if options.write is not None:
        before, _, rest = options.write.read_text().partition(START)
        after = rest.partition(END)[2]
        options.write.write_text(f"{before}{START}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
