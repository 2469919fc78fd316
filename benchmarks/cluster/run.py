"""All measurements against one API server: `python -m benchmarks.cluster.run [--sizes 1000] [--write FILE]`.

`reconciler`, kubectl, kapp and a bare client-go loop bring the same manifests to the same server, one after another,
and nothing is left between them. Programs: those of `make control-plane`, and kapp and bareloop in benchmarks/bin.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.cluster import ground
from benchmarks.cluster.contenders import Contenders
from benchmarks.cluster.phases import BRIEF, QUICK, Ours, Result, Rounds, Staying, baseline, forget, numbers
from benchmarks.cluster.report import report
from tests.controlplane.plane import ControlPlane

START = "<!-- figures on a real API server: written by `make bench-kubernetes` -->"
END = "<!-- end of figures on a real API server -->"
Answer = TypeVar("Answer")
KUBECTL_DIFF_AT_ONCE = 10


class Bench:
    """One size on one plane."""

    def __init__(self, plane: ControlPlane, folder: Path, agents: int, skipped: frozenset[str], rounds: Rounds) -> None:
        self._plane = plane
        self._root = folder / "fleet"
        self._skipped = skipped
        self._rounds = rounds
        self._manifests = folder / "manifests.yaml"
        self._changed = folder / "changed.yaml"
        self._folder = folder
        self._agents = agents
        self.contenders = Contenders(plane, self._root, folder)
        self.results: Result = {"agents": agents, "peers_at_once": KUBECTL_DIFF_AT_ONCE, "load": 0.0}

    def measure(self) -> Result:
        """Everything, in order."""
        self._prepare()
        ours = Ours(self._plane, self._root, self.contenders, self._agents, self._rounds)
        self.results["baseline_requests"] = self._told("idle", lambda: baseline(self._plane, self._rounds.steady_s))
        self._applies(ours)
        self._ours(ours)
        for name, phase in (("kubectl", self._kubectl), ("kapp", self._kapp)):
            if name not in self._skipped:
                self.results[name] = phase()
                self._told(f"{name}: empty", lambda: ground.empty(self._plane))
        return self.results

    def _told(self, what: str, work: Callable[[], Answer]) -> Answer:
        started = time.perf_counter()
        result = work()
        load = os.getloadavg()[0]
        self.results["load"] = max(load, self.results["load"])
        print(
            f"{self._agents} agents: {what}: {time.perf_counter() - started:.1f} s (load {load:.1f})", file=sys.stderr
        )
        return result

    def _prepare(self) -> None:
        ground.create_spaces(self._plane)
        ground.write_fleet(self._root, self._agents, self._plane)
        self.results["objects"] = ground.write_manifests(self._root, self._manifests)
        ground.change(self._root, range(max(1, self._agents // 100)), "peers")
        ground.write_manifests(self._root, self._changed)
        ground.change(self._root, range(max(1, self._agents // 100)), "info")
        forget(self._root)
        self._told("warm up", lambda: self.contenders.warm_up(self._manifests))
        self._told("empty", lambda: ground.empty(self._plane))

    def _applies(self, ours: Ours) -> None:
        """Apply of all, ours and the bare loop's in turn, so that both meet the same server and the same machine."""
        self.results["ours"] = {"plan_of_creates": self._told("ours: plan of creates", ours.plan_of_creates)}
        mine, bare = [], []
        for number in range(self._rounds.applies):
            bare.append(self._told("bare loop: apply", self._bare))
            self._told("empty", lambda: ground.empty(self._plane))
            mine.append(self._told("ours: apply", ours.apply_all))
            if number + 1 < self._rounds.applies:
                self._told("empty", lambda: ground.empty(self._plane))
                forget(self._root)
        self.results["ours"]["apply"] = mine
        self.results["bare"] = {"apply": bare}

    def _bare(self) -> Result:
        timing = self.contenders.bare_loop(self._manifests, "-wait")
        return {**numbers(timing), **json.loads(timing.said)}

    def _ours(self, ours: Ours) -> None:
        mine = self.results["ours"]
        mine["cold"] = self._told("ours: cold plans", ours.cold_plans)
        mine["apply_nothing"] = self._told("ours: apply of nothing", ours.apply_nothing)
        with Staying(self._plane, self._root, self._folder / "stay.log", self._rounds) as stay:
            mine["warm"] = self._told("ours: warm plans", lambda: stay.ask("plans"))
            mine["watching"] = self._told("ours: warm plans with watches", lambda: stay.ask("watch"))
            mine["steady"] = self._told("ours: steady", stay.steady)
            stay.ask("keep")
            mine["drift"] = self._told("ours: drift", stay.drifts)
            mine["passes"] = stay.ask("passes")["passes"]
        mine["commits"] = self._told("ours: commits of 1 %", ours.commits)
        mine["creations"] = self._told("ours: creations", ours.creations)
        mine["updates"] = self._told("ours: updates", ours.updates)
        again = self.contenders.bare_loop
        self._told("empty", lambda: ground.empty(self._plane))
        forget(self._root)
        self._told("bare loop: apply", self._bare)
        self.results["bare"]["again"] = self._told("bare loop: again", lambda: numbers(again(self._manifests)))
        self.results["bare"]["commit"] = self._told("bare loop: 1 %", lambda: numbers(again(self._changed, "-wait")))
        self._told("empty", lambda: ground.empty(self._plane))

    def _kubectl(self) -> Result:
        act = self.contenders
        result: Result = {"apply": self._told("kubectl: apply", lambda: numbers(act.kubectl_apply(self._manifests)))}
        waiting = ("-apply=false", "-wait")
        result["then_ready"] = numbers(act.bare_loop(self._manifests, *waiting))
        result["diff"] = self._told("kubectl: diff", lambda: numbers(act.kubectl_diff(self._manifests, 1)))
        several = KUBECTL_DIFF_AT_ONCE
        result["diff_at_once"] = self._told(
            f"kubectl: diff, {several} at once", lambda: numbers(act.kubectl_diff(self._manifests, several))
        )
        result["again"] = self._told("kubectl: apply again", lambda: numbers(act.kubectl_apply(self._manifests)))
        result["commit"] = self._told("kubectl: apply of 1 %", lambda: numbers(act.kubectl_apply(self._changed)))
        result["commit_then_ready"] = numbers(act.bare_loop(self._changed, *waiting))
        return result

    def _kapp(self) -> Result:
        act = self.contenders
        result: Result = {"apply": self._told("kapp: deploy", lambda: numbers(act.kapp_deploy(self._manifests)))}
        result["diff"] = self._told("kapp: diff", lambda: numbers(act.kapp_deploy(self._manifests, "--diff-run")))
        result["again"] = self._told("kapp: deploy again", lambda: numbers(act.kapp_deploy(self._manifests)))
        result["commit"] = self._told("kapp: deploy of 1 %", lambda: numbers(act.kapp_deploy(self._changed)))
        return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000")
    parser.add_argument("--skip", default="", help="peers to leave out, as kubectl,kapp")
    parser.add_argument("--raw", type=Path, help="where to write all numbers as JSON")
    parser.add_argument("--from-raw", type=Path, help="measure nothing: report what --raw wrote earlier")
    parser.add_argument("--write", type=Path, help="the document to write the report into, between its marks")
    parser.add_argument("--quick", action="store_true", help="each thing once or twice: only to see that it works")
    parser.add_argument("--brief", action="store_true", help="what takes minutes once, all else a few times")
    options = parser.parse_args()
    results = json.loads(options.from_raw.read_text()) if options.from_raw else _measured(options)
    text = report(results)
    print(text)
    if options.write is not None:
        before, mark, rest = options.write.read_text().partition(START)
        _, end, after = rest.partition(END)
        if not mark or not end:
            raise SystemExit(f"{options.write} has no marks to write between: {START} and {END}")
        options.write.write_text(f"{before}{START}\n{text}\n{END}{after}")


def _asked(options: argparse.Namespace) -> str:
    """What of the command line says how it was measured."""
    skipped = f" --skip {options.skip}" if options.skip else ""
    return f"--sizes {options.sizes}{' --quick' if options.quick else ''}{' --brief' if options.brief else ''}{skipped}"


def _measured(options: argparse.Namespace) -> list[Result]:
    rounds = QUICK if options.quick else BRIEF if options.brief else Rounds()
    results: list[Result] = []
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
            nodes = ground.nodes_for(size)
            with ControlPlane.start(Path(folder) / "plane", name="bench", nodes=nodes) as plane:
                skipped = frozenset(options.skip.split(","))
                measured = Bench(plane, Path(folder), size, skipped, rounds).measure()
                results.append({**measured, "options": _asked(options)})
        if options.raw:
            options.raw.write_text(json.dumps(results, indent=1))
    return results


if __name__ == "__main__":
    main()
