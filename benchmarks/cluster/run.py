"""All measurements against one API server: `python -m benchmarks.cluster.run [--sizes 1000] [--write FILE]`.

`reconciler`, kubectl, kapp and a bare client-go loop bring the same manifests to a server, one after another, each to
one that was just started. Programs: those of `make control-plane`, and kapp and bareloop in benchmarks/bin.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.cluster import ground
from benchmarks.cluster.contenders import Contenders, Timing
from benchmarks.cluster.phases import BRIEF, QUICK, Ours, Result, Rounds, Staying, baseline, forget, numbers
from benchmarks.cluster.report import renewed, report
from tests.controlplane.plane import ControlPlane

START = "<!-- figures on a real API server: written by `make bench-kubernetes` -->"
END = "<!-- end of figures on a real API server -->"
Answer = TypeVar("Answer")
KUBECTL_DIFF_AT_ONCE = 10
WARMING_AGENTS = 1000
"""How many agents are enough to make a server's schemas and caches what they are on one that has been used."""


class Bench:
    """One size: each program on a fresh server of its own, for what the one before has left is not the next one's."""

    def __init__(
        self, folder: Path, results: Result, keep: Callable[[], None], skipped: frozenset[str], rounds: Rounds
    ) -> None:
        self._root = folder / "fleet"
        self._skipped = skipped
        self._rounds = rounds
        self._keep = keep
        self._manifests = folder / "manifests.yaml"
        self._changed = folder / "changed.yaml"
        self._warming = folder / "warming.yaml"
        self._folder = folder
        self._agents: int = results["agents"]
        self._plane: ControlPlane
        self.contenders: Contenders
        self.results = results
        self.results.update(peers_at_once=KUBECTL_DIFF_AT_ONCE)
        self.results.setdefault("load", 0.0)

    def measure(self) -> None:
        """Everything, in order; what has been measured so far is kept when the next step begins."""
        for number in range(self._rounds.applies):
            last = number + 1 == self._rounds.applies
            self._on_a_server("bare", partial(self._bare, last=last))
            self._on_a_server("ours", partial(self._ours, last=last))
        self._on_a_server("kubectl", lambda: self._peer("kubectl", self._kubectl()))
        self._on_a_server("kapp", lambda: self._peer("kapp", self._kapp()))

    def _on_a_server(self, name: str, work: Callable[[], None]) -> None:
        """Do it on a control plane that was just started, whose caches are as on one that has been used."""
        if name in self._skipped:
            return
        place, nodes = self._folder / "plane", ground.nodes_for(self._agents)
        with ControlPlane.start(place, name="bench", nodes=nodes) as self._plane:
            self.contenders = Contenders(self._plane, self._root, self._folder)
            ground.create_spaces(self._plane)
            if not self._root.exists():
                self._write()
            forget(self._root)
            self._told(f"{name}: warm up", lambda: self.contenders.warm_up(self._warming))
            self._told(f"{name}: empty", lambda: ground.empty(self._plane))
            work()
        self._keep()
        shutil.rmtree(place, ignore_errors=True)

    def _write(self) -> None:
        """The fleet, and its manifests for the others."""
        ground.write_fleet(self._root, self._agents, self._plane)
        self.results["objects"] = ground.write_manifests(self._root, self._manifests)
        ground.write_manifests(self._root, self._warming, WARMING_AGENTS)
        ground.change(self._root, range(max(1, self._agents // 100)), "peers")
        ground.write_manifests(self._root, self._changed)
        ground.change(self._root, range(max(1, self._agents // 100)), "info")

    def _peer(self, name: str, steps: Mapping[str, Callable[[], Timing]]) -> None:
        result: Result = self.results.setdefault(name, {})
        for step, work in steps.items():
            if f"{name}.{step}" not in self._skipped:
                result[step] = numbers(self._told(f"{name}: {step}", work))

    def _told(self, what: str, work: Callable[[], Answer]) -> Answer:
        self._keep()  # what the step before has measured
        started = time.perf_counter()
        result = work()
        load = os.getloadavg()[0]
        self.results["load"] = max(load, self.results["load"])
        print(
            f"{self._agents} agents: {what}: {time.perf_counter() - started:.1f} s (load {load:.1f})", file=sys.stderr
        )
        return result

    def _bare(self, *, last: bool) -> None:
        bare: Result = self.results.setdefault("bare", {"apply": []})
        again = self.contenders.bare_loop
        timing = self._told("bare: apply", lambda: again(self._manifests, "-wait"))
        bare["apply"].append({**numbers(timing), **json.loads(timing.said)})
        if last:
            bare["again"] = numbers(self._told("bare: again", lambda: again(self._manifests)))
            bare["commit"] = numbers(self._told("bare: 1 %", lambda: again(self._changed, "-wait")))

    def _ours(self, *, last: bool) -> None:
        ours = Ours(self._plane, self._root, self.contenders, self._agents, self._rounds)
        mine: Result = self.results.setdefault("ours", {"apply": []})
        if last:
            seconds = self._rounds.steady_s
            self.results["baseline_requests"] = self._told("ours: idle", lambda: baseline(self._plane, seconds))
            mine["plan_of_creates"] = self._told("ours: plan of creates", ours.plan_of_creates)
        mine["apply"].append(self._told("ours: apply", ours.apply_all))
        if not last:
            return
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

    def _kubectl(self) -> Mapping[str, Callable[[], Timing]]:
        act, (all_of, changed) = self.contenders, (self._manifests, self._changed)
        waiting = ("-apply=false", "-wait")
        return {
            "apply": lambda: act.kubectl_apply(all_of),
            "then_ready": lambda: act.bare_loop(all_of, *waiting),
            "diff": lambda: act.kubectl_diff(all_of, 1),
            "commit": lambda: act.kubectl_apply(changed),
            "commit_then_ready": lambda: act.bare_loop(changed, *waiting),
            "again": lambda: act.kubectl_apply(changed),
            "diff_at_once": lambda: act.kubectl_diff(changed, KUBECTL_DIFF_AT_ONCE),
        }

    def _kapp(self) -> Mapping[str, Callable[[], Timing]]:
        act, (all_of, changed) = self.contenders, (self._manifests, self._changed)
        return {
            "apply": lambda: act.kapp_deploy(all_of),
            "diff": lambda: act.kapp_deploy(all_of, "--diff-run"),
            "commit": lambda: act.kapp_deploy(changed),
            "again": lambda: act.kapp_deploy(changed),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000")
    parser.add_argument("--skip", default="", help="programs to leave out, or steps of peers, as kapp,kubectl.again")
    parser.add_argument("--raw", type=Path, help="where to keep all numbers as JSON, step by step")
    parser.add_argument("--go-on", action="store_true", help="add to what --raw kept, as of a run that was cut short")
    parser.add_argument("--from-raw", type=Path, help="measure nothing: report what --raw kept earlier")
    parser.add_argument("--write", type=Path, help="the document to write the report into, between its marks")
    parser.add_argument("--quick", action="store_true", help="each thing once or twice: only to see that it works")
    parser.add_argument("--brief", action="store_true", help="what takes minutes once, all else a few times")
    options = parser.parse_args()
    results = json.loads(options.from_raw.read_text()) if options.from_raw else _measured(options)
    text = report(results)
    print(text)
    if options.write is not None:
        options.write.write_text(_renewed(options.write, results))


def _renewed(document: Path, results: Sequence[Result]) -> str:
    """The document with these figures between its marks, and those of other sizes as they were."""
    before, mark, rest = document.read_text().partition(START)
    figures, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{document} has no marks to write between: {START} and {END}")
    return f"{before}{START}\n{renewed(figures, results)}\n{END}{after}"


def _asked(options: argparse.Namespace) -> str:
    """What of the command line says how it was measured."""
    skipped = f" --skip {options.skip}" if options.skip else ""
    return f"--sizes {options.sizes}{' --quick' if options.quick else ''}{' --brief' if options.brief else ''}{skipped}"


def _measured(options: argparse.Namespace) -> list[Result]:
    rounds = QUICK if options.quick else BRIEF if options.brief else Rounds()
    known: list[Result] = json.loads(options.raw.read_text()) if options.go_on else []
    results: list[Result] = []
    skipped = frozenset(options.skip.split(","))

    def keep() -> None:
        if options.raw:
            fresh = options.raw.with_suffix(".new")
            fresh.write_text(json.dumps(results, indent=1))
            fresh.replace(options.raw)

    for size in map(int, options.sizes.split(",")):
        fresh: Result = {"agents": size, "options": _asked(options)}
        before = next((one for one in known if one["agents"] == size), fresh)
        before["runs"] = before.get("runs", 0) + 1
        results.append(before)
        with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
            Bench(Path(folder), before, keep, skipped, rounds).measure()
        keep()
    return results


if __name__ == "__main__":
    main()
