"""What is measured of whom, in which order. Each phase leaves the server as empty as it found it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.cluster import drift, ground
from benchmarks.cluster.contenders import Contenders, Timing, events
from tests.controlplane.plane import ControlPlane

Result = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """How often each thing is measured, and for how many seconds nothing is done."""

    applies: int = 3
    plans: int = 5
    commits: int = 3
    drifts: int = 24
    singles: int = 25
    steady_s: int = 60


QUICK = Rounds(applies=1, plans=1, commits=1, drifts=4, singles=2, steady_s=5)
"""To see that every phase comes to its end; what it measures is worth nothing."""

BRIEF = Rounds(applies=1, plans=3, commits=1, drifts=12, singles=10, steady_s=30)
"""What takes minutes once, what takes seconds often enough for a median: for a large fleet. The report says each n."""


def numbers(timing: Timing) -> Result:
    """A timing without what the command said."""
    return {name: getattr(timing, name) for name in timing.__dataclass_fields__ if name != "said"}


def forget(root: Path) -> None:
    """Take the fleet's registry away, as if nothing had ever been applied."""
    shutil.rmtree(root / ".reconciler", ignore_errors=True)


class Ours:
    """`reconciler` on the fleet. `agents` is its size, `share` how many agents one commit changes."""

    def __init__(self, plane: ControlPlane, root: Path, contenders: Contenders, agents: int, rounds: Rounds) -> None:
        self._plane = plane
        self._root = root
        self._contenders = contenders
        self._agents = agents
        self._rounds = rounds
        self._share = max(1, agents // 100)

    def apply_all(self) -> Result:
        """From an empty cluster to a fleet that is ready; the process plans, applies and waits."""
        timing = self._contenders.ours("apply", "--auto-approve", "-o", "json", codes=(0, 1))
        last = events(timing)[-1]
        if last["type"] != "apply-finished":
            raise SystemExit(f"{self._agents} agents were to be created, and this was done: {last}")
        missing = self._agents - last["applied"]
        if missing:  # told in the report; what is measured next needs all of them
            self._contenders.ours("apply", "--auto-approve", "-o", "json")
        return {**numbers(timing), "applying_s": last["durationMs"] / 1000, "missing": missing}

    def plan_of_creates(self) -> Result:
        """The plan of a fleet of which nothing is there."""
        return numbers(self._contenders.ours("plan"))

    def cold_plans(self) -> list[Result]:
        """Plans of fresh processes that find nothing to do."""
        return [numbers(self._contenders.ours("plan", "--detailed-exitcode")) for _ in range(self._rounds.plans)]

    def apply_nothing(self) -> Result:
        """Apply what is there."""
        return numbers(self._contenders.ours("apply", "--auto-approve", "-o", "json"))

    def commits(self) -> list[Result]:
        """One commit that changes a hundredth of the fleet, applied until all of it is ready again."""
        results = []
        for number in range(self._rounds.commits):
            ground.change(self._root, range(self._share), f"commit-{number}")
            results.append(numbers(self._contenders.ours("apply", "--auto-approve", "-o", "json")))
        return results

    def singles(self, how: Callable[[int], None]) -> list[Result]:
        """One agent a commit: from the commit to ready, and what of that the change itself took."""
        results = []
        for number in range(self._rounds.singles):
            how(number)
            started = time.perf_counter()
            timing = self._contenders.ours("apply", "--auto-approve", "-o", "json")
            ended = [event for event in events(timing) if event["type"] == "change-finished"]
            if [event["outcome"] for event in ended] != ["applied"]:
                raise SystemExit(f"one agent was to be changed, and this was done: {ended}")
            results.append(
                {"commit_to_ready_s": time.perf_counter() - started, "change_s": ended[0]["durationMs"] / 1000}
            )
        return results

    def creations(self) -> list[Result]:
        """Agents that are new."""
        return self.singles(lambda number: ground.add(self._root, self._agents + number))

    def updates(self) -> list[Result]:
        """Agents whose pods are replaced."""
        return self.singles(lambda number: ground.change(self._root, [self._share + number], "update"))


class Staying:
    """The process of stay.py, led line by line."""

    def __init__(self, plane: ControlPlane, root: Path, log: Path, rounds: Rounds) -> None:
        self._plane = plane
        self._rounds = rounds
        with log.open("w") as complained:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.cluster.stay", str(root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complained,
                text=True,
            )
        self._log = log

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def ask(self, line: str) -> Result:
        """One line and its answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process that stays is gone:\n{self._log.read_text()[-3000:]}")
        result: Result = json.loads(answer)
        return result

    def steady(self) -> Result:
        """A while without changes: our own count of requests, and the server's beside what it counts without us."""
        before = ground.server_work(self._plane)
        ours = self.ask(f"steady {self._rounds.steady_s}")
        return {**ours, "server": ground.server_work(self._plane).since(before).requests}

    def drifts(self) -> list[Result]:
        """Foreign writes of several kinds to several agents, and how long each stayed."""
        results = []
        for number in range(self._rounds.drifts):
            foreign = drift.KINDS[number % len(drift.KINDS)]
            where = ground.SPACES[number % len(ground.SPACES)], f"agent-{number:05d}"
            undone = drift.undo_time(self._plane, foreign, *where)
            results.append({"what": foreign.what, "undone_s": undone})
            self._plane.wait_for("a well agent", partial(_well, self._plane, *where))
        return results


def _well(plane: ControlPlane, namespace: str, name: str) -> bool:
    """Whether an agent's Deployment has come to rest."""
    one = plane.api.json("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
    status, replicas = one["status"], one["spec"]["replicas"]
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return bool(status.get("observedGeneration") == one["metadata"]["generation"] and counts == [replicas] * 3)


def baseline(plane: ControlPlane, seconds: float) -> int:
    """Requests that the server counts while only its own controllers are there."""
    before = ground.server_work(plane)
    time.sleep(seconds)
    return ground.server_work(plane).since(before).requests
