"""A daemon under way for long: `python -m benchmarks.soak [--minutes 30] [--cluster playground] [--write FILE]`.

A real `reconciler daemon` keeps a small fleet while commits, kills, scalings by hand and bad commits go on all the
time. How late it is, and what its processes take, is measured from outside. At the end everything has to come to rest.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import fleets
from benchmarks.soaking.grounds import NAMESPACE, Embedded, Ground, RealPlane, Seen
from benchmarks.soaking.report import report
from benchmarks.soaking.samples import Watched, judge

RECONCILER = Path(sys.executable).parent / "reconciler"
AGENTS = 12
LOOK_S = 0.2
SAMPLE_S = 5.0
TELL_S = 60.0
REST_WITHIN_S = 180.0
END_WITHIN_S = 60.0
STUCK_S = 120.0
"""Whoever waits so long for something is stuck."""
COMMITTED, KILLED = "commit to ready", "kill to ready"
BEGUN = "commit to work begun"
SCALED, BACK = "scaled by hand to ready", "bad commit to back on the last good one"
POLL, SWEEP = "1s", "5s"
FLEET = """\
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {{name: soak}}
spec:
  clusters: [{cluster}]
"""
AGENT = """\
apiVersion: agents.codevald.io/v1
kind: Agent
metadata: {{name: {name}, namespace: soak, annotations: {annotations}}}
spec:
  description: Agent {name}
  image: acme/agent:1
  replicas: {replicas}
  env: [{{name: MARKER, value: "{marker}"}}]
  rollout: {{settle: 1s, timeout: 30s}}
{command}"""


@dataclass(slots=True)
class Waiting:
    """Something that has to come: since when, and how it is known to be there. `what` is how it is counted."""

    what: str
    since: float
    there: Callable[[Seen], bool]
    then: Callable[[], None]
    since_ms: float
    """The same moment by the wall clock, as the daemon's log has it."""


@dataclass(slots=True)
class Soak:
    """One run. `say` tells people how far it is."""

    root: Path
    ground: Ground
    chance: random.Random
    say: Callable[[str], None]
    lags: dict[str, list[float]] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    replicas: dict[str, int] = field(default_factory=dict)
    watched: dict[int, Watched] = field(default_factory=dict)
    bad: int = 1
    """How often a commit never works, where ten do."""
    committed: list[tuple[str, float]] = field(default_factory=list)
    """Commits that came to be ready: which agent, and when by the wall clock."""
    hands: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    """Commands by hand that have not ended, by agent."""
    resting: dict[str, float] = field(default_factory=dict)
    """Agents that are left in peace until a moment: scaled by hand, or with a spec that is on its way back."""
    _marker: int = 0
    _log: Path = field(init=False)

    def __post_init__(self) -> None:
        self._log = self.root.parent / "daemon.log"

    def prepare(self) -> None:
        """The fleet, committed."""
        (self.root / "agents").mkdir(parents=True)
        (self.root / "fleet.yaml").write_text(FLEET.format(cluster=self.ground.cluster))
        (self.root / ".gitignore").write_text(".reconciler/\n")
        for number in range(AGENTS):
            self.replicas[f"agent-{number:02d}"] = 1 + number % 3
            self._write(number)
        fleets.git(self.root, "init", "--quiet", "--initial-branch", "main")
        fleets.commit(self.root, "A fleet to keep")

    def run(self, minutes: float) -> dict[str, Any]:
        """Everything, and what came of it."""
        command = [RECONCILER, "daemon", "--log", "json", "--poll", POLL, "--sweep", SWEEP]
        started = time.monotonic()
        with self._log.open("wb") as log, subprocess.Popen([*map(str, command)], cwd=self.root, stderr=log) as daemon:
            try:
                self._until("all agents are up", self._all_well, REST_WITHIN_S, started)
                self._go_on(daemon, started, minutes * 60)
                rested = self._rest()
                code, ended_s = self._end(daemon)
                self._count_begun()
            finally:
                if daemon.poll() is None:
                    daemon.kill()
        return {
            "cluster": self.ground.name, "says": self.ground.says, "minutes": minutes, "agents": AGENTS,
            "lags": self.lags, "stuck": self.stuck, "rested_s": rested,
            "exit": code, "ended_s": ended_s, "events": self._events(), "log_mb": self._log.stat().st_size / 1e6,
            "verdicts": [one for each in self.watched.values() if (one := judge(each)) is not None],
            "load": os.getloadavg()[0],
        }  # fmt: skip

    def _go_on(self, daemon: subprocess.Popen[bytes], started: float, seconds: float) -> None:
        acted = sampled = told = time.monotonic()
        while (now := time.monotonic()) - started < seconds:
            if daemon.poll() is not None:
                raise SystemExit(
                    f"the daemon ended by itself with {daemon.returncode}: {self._log.read_text()[-2000:]}"
                )
            self._look(now)
            if now >= acted:
                self._act(now)
                acted = now + self.chance.uniform(0.5, 3.0)
            if now >= sampled:
                self._sample({"daemon": daemon.pid, **self.ground.beside()}, now - started)
                sampled = now + SAMPLE_S
            if now >= told:
                self.say(f"{(now - started) / 60:.0f} min: {self._counts()}, {len(self.waiting)} under way")
                told = now + TELL_S
            time.sleep(LOOK_S)

    def _sample(self, processes: dict[str, int], at: float) -> None:
        for name, pid in processes.items():
            self.watched.setdefault(pid, Watched(name, pid)).sample(at)

    def _look(self, now: float) -> None:
        """Note what has come."""
        self._see_hands()
        if not self.waiting:
            return
        seen = self.ground.look()
        for name, item in list(self.waiting.items()):
            if name in seen and item.there(seen[name]):
                self.lags.setdefault(item.what, []).append(time.monotonic() - item.since)
                if item.what == COMMITTED:
                    self.committed.append((name, item.since_ms))
                del self.waiting[name]
                item.then()
            elif now - item.since > STUCK_S:
                told = "; ".join(self._told_of(name))
                self.stuck.append(f"{name}: {item.what}, for {STUCK_S:.0f} s: {seen.get(name)}; the daemon: {told}")
                del self.waiting[name]

    def _act(self, now: float) -> None:
        free = sorted(name for name in self.replicas if name not in self.waiting and self.resting.get(name, 0.0) < now)
        if not free:
            return
        name = self.chance.choice(free)
        act = self.chance.choices([self._commit, self._kill, self._scale, self._bad], [10, 10, 2, self.bad])[0]
        act(name)

    def _commit(self, name: str) -> None:
        """A commit changes one agent: its pods are replaced."""
        if self.chance.random() < 0.2:
            self.replicas[name] = 1 + self.replicas[name] % 3
        marker = self._write(int(name[-2:]))
        since = self._committed(f"Change {name}")
        wanted = self.replicas[name]
        self._wait(name, COMMITTED, lambda seen: seen.marker == marker and seen.well and seen.wanted == wanted, since)

    def _committed(self, message: str) -> float:
        """Commit all, and answer when the commit was there: Git goes on for a while, and the daemon does not wait."""
        fleets.commit(self.root, message)
        return time.monotonic() - (time.time() - (self.root / ".git/logs/HEAD").stat().st_mtime)

    def _kill(self, name: str) -> None:
        """One process, or pod, of an agent ends."""
        seen = self.ground.look().get(name)
        if seen is None or not seen.running or not seen.well:
            return
        victim = self.chance.choice(sorted(seen.running))
        self._wait(name, KILLED, lambda now: victim not in now.running and now.well and bool(now.running))
        self.ground.kill(victim)

    def _scale(self, name: str) -> None:
        """By hand, for a while; then Git takes over again."""
        wanted = 1 + self.replicas[name] % 3
        since = time.monotonic()
        command = [RECONCILER, "scale", f"{NAMESPACE}/{name}", str(wanted), "--for", "30s"]
        self.hands[name] = subprocess.Popen(
            [*map(str, command)], cwd=self.root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.resting[name] = since + 100  # it ends by itself, and is seen by the next look at everything
        self._wait(name, SCALED, lambda seen: seen.wanted == wanted and seen.well, since)

    def _see_hands(self) -> None:
        """What was done by hand and failed counts as stuck. Nobody waits for it: agents are looked at meanwhile."""
        for name in [name for name, done in self.hands.items() if done.poll() is not None]:
            done = self.hands.pop(name)
            _out, said = done.communicate()
            if done.returncode:
                self.stuck.append(f"scale {name}: {said}")
                self.waiting.pop(name, None)

    def _bad(self, name: str) -> None:
        """A commit that never works; when the agent is back on what it had, one that does."""
        before = self.ground.look().get(name)
        if before is None or not before.well:
            return
        good = before.marker
        self._write(int(name[-2:]), bad=True)
        since = self._committed(f"Break {name}")

        def back(seen: Seen) -> bool:
            """There and back are two changes: a look every now and then may see neither."""
            return seen.generation >= before.generation + 2 and seen.marker == good and seen.well

        self._wait(name, BACK, back, since, then=lambda: self._commit(name))

    def _wait(
        self,
        name: str,
        what: str,
        there: Callable[[Seen], bool],
        since: float | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        now = time.monotonic()
        since = now if since is None else since
        self.waiting[name] = Waiting(what, since, there, then, (time.time() - (now - since)) * 1000)

    def _write(self, number: int, *, bad: bool = False) -> str:
        self._marker += 1
        annotations, command = self.ground.bad() if bad else ("{}", self.ground.command(number))
        name = f"agent-{number:02d}"
        text = AGENT.format(
            name=name, annotations=annotations, replicas=self.replicas[name], marker=self._marker, command=command
        )
        (self.root / "agents" / f"{name}.yaml").write_text(text)
        return str(self._marker)

    def _counts(self) -> str:
        return ", ".join(f"{len(lags)} {what}" for what, lags in sorted(self.lags.items()))

    def _all_well(self) -> bool:
        seen = self.ground.look()
        return len(seen) == AGENTS and all(one.well for one in seen.values())

    def _rest(self) -> float:
        """All that is under way ends, scalings by hand too; then a plan finds nothing. Seconds that it took."""
        began = time.monotonic()
        self.say("the storm is over")
        until = max([began, *self.resting.values()])
        while self.waiting or self.hands or time.monotonic() < until:
            self._look(time.monotonic())
            time.sleep(LOOK_S)
        self._until("nothing is left to do", self._planned_nothing, REST_WITHIN_S, began)
        self._until("all agents are ready", self._all_well, REST_WITHIN_S, began)
        return time.monotonic() - began

    def _planned_nothing(self) -> bool:
        command = [str(RECONCILER), "plan", "--detailed-exitcode"]
        return subprocess.run(command, cwd=self.root, check=False, capture_output=True).returncode == 0

    def _until(self, what: str, look: Callable[[], bool], within_s: float, since: float) -> None:
        until = time.monotonic() + within_s
        while not look():
            if time.monotonic() > until:
                self.stuck.append(f"{what}: not within {within_s:.0f} s")
                return
            time.sleep(LOOK_S)
        self.say(f"{what} after {time.monotonic() - since:.1f} s")

    def _end(self, daemon: subprocess.Popen[bytes]) -> tuple[int, float]:
        began = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        try:
            code = daemon.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.stuck.append(f"the daemon did not end within {END_WITHIN_S:.0f} s")
            daemon.kill()
            code = daemon.wait()
        return code, time.monotonic() - began

    def _count_begun(self) -> None:
        """How long commits waited until work on them began, as the daemon tells it: the rest is the rollout's."""
        begun: dict[str, list[float]] = {}
        for line in self._log.read_text().splitlines():
            if '"change-started"' in line:
                said = json.loads(line)
                begun.setdefault(said["agent"], []).append(said["at_ms"])
        for name, since_ms in self.committed:
            first = next((at for at in begun.get(f"{NAMESPACE}/{name}", ()) if at >= since_ms), None)
            if first is not None:
                self.lags.setdefault(BEGUN, []).append((first - since_ms) / 1000)

    def _told_of(self, name: str) -> list[str]:
        """What the daemon said last of an agent."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if f'"{NAMESPACE}/{name}"' in line]
        now_ms = time.time() * 1000
        return [
            " ".join(f"{key}={value}" for key, value in line.items() if key not in {"level", "agent", "at_ms"})
            + f" {(now_ms - line['at_ms']) / 1000:.1f} s ago"
            for line in lines[-6:]
        ]

    def _events(self) -> dict[str, int]:
        """What the daemon said, by level and event: warnings and worse."""
        counted: Counter[str] = Counter()
        for line in self._log.read_text().splitlines():
            said = json.loads(line) if line.startswith("{") else {"level": "error", "event": line[:80]}
            if said["level"] in {"warning", "error"}:
                counted[f"{said['event']} {said.get('outcome', '')}".strip()] += 1
        return dict(counted.most_common())

    def destroy(self) -> None:
        """Leave nothing running."""
        command = [str(RECONCILER), "destroy", "--auto-approve"]
        subprocess.run(command, cwd=self.root, check=False, capture_output=True)


def _ground(cluster: str, folder: Path) -> Ground:
    return RealPlane(folder / "plane") if cluster == "playground" else Embedded(folder / "fleet")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--cluster", choices=("embedded", "playground"), default="embedded")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bad", type=int, default=1, help="how often a commit never works, where ten do")
    parser.add_argument("--log", type=Path, help="keep what the daemon said in this file")
    parser.add_argument("--write", type=Path, help="put the report into this file, between its marks")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        ground = _ground(given.cluster, Path(folder))
        soak = Soak(
            Path(folder) / "fleet",
            ground,
            random.Random(given.seed),
            lambda text: print(text, file=sys.stderr),
            bad=given.bad,
        )
        try:
            soak.prepare()
            result = soak.run(given.minutes)
        finally:
            soak.destroy()
            ground.close()
            if given.log is not None:
                shutil.copy(Path(folder) / "daemon.log", given.log)
    text, well = report(result)
    print(text)
    if given.write is not None:
        put(given.write, given.cluster, text)
    return 0 if well else 1


def put(file: Path, cluster: str, text: str) -> None:
    """Replace this cluster's part between its marks."""
    start, end = (f"<!-- {word} of a soak on {cluster}: written by `make soak` -->" for word in ("figures", "end"))
    before, found, rest = file.read_text().partition(start)
    _old, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{file} has no marks {start} and {end}")
    file.write_text(f"{before}{start}\n{text}\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
