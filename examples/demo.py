"""The whole main job on this machine, for real, each command shown before it runs.

Copies examples/agents/ into a Git repository of its own under .demo/, takes the fleet from a commit to running
agents, changes it, breaks it, and leaves nothing running. `make demo` runs it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
FLEET = DEMO / "fleet"
RECONCILER = Path(sys.executable).parent / "reconciler"
BOLD, DIM, END = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
COMMITTER = ("-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")
KILLED = "support/triage"
BACK_WITHIN_S = 30.0


def say(text: str) -> None:
    print(f"\n{BOLD}{text}{END}", flush=True)


def shown(arguments: list[str]) -> None:
    print(f"{DIM}${END} {shlex.join(arguments)}", flush=True)


def run(*arguments: str, expect: int = 0) -> None:
    """Show a `reconciler` command and run it; the demo ends where it does not end as expected."""
    shown(["reconciler", *arguments])
    code = subprocess.run([RECONCILER, *arguments], cwd=FLEET, check=False).returncode
    if code != expect:
        sys.exit(f"demo: `reconciler {shlex.join(arguments)}` ended with {code} where {expect} was expected")


def git(*arguments: str) -> None:
    subprocess.run(["git", *COMMITTER, *arguments], cwd=FLEET, check=True, stdout=subprocess.DEVNULL)


def commit(message: str) -> None:
    shown(["git", "commit", "-am", message])
    git("commit", "--quiet", "-am", message)


def prepare() -> None:
    """A fresh repository with the example fleet; what an interrupted demo left running is ended first."""
    if (FLEET / "fleet.yaml").is_file():
        subprocess.run([RECONCILER, "destroy", "--auto-approve"], cwd=FLEET, check=False, capture_output=True)
    shutil.rmtree(DEMO, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / "agents", FLEET, ignore=shutil.ignore_patterns("__pycache__", ".reconciler"))
    git("init", "--quiet", "--initial-branch", "main")
    git("add", "--all")
    git("commit", "--quiet", "-m", "A fleet of a dozen agents")


def ready_pods(agent: str) -> list[dict[str, Any]]:
    """Pods of an agent that are ready, as `reconciler describe` gives them."""
    done = subprocess.run([RECONCILER, "describe", agent, "-o", "json"], cwd=FLEET, check=True, capture_output=True)
    return [pod for pod in json.loads(done.stdout)["pods"] if pod["ready"]]


def kill_one() -> None:
    """End one agent process as a crash would, and wait until another one answers in its place."""
    victim = ready_pods(KILLED)[0]
    pid = int(victim["pid"])
    shown(["kill", "-KILL", str(pid)])
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    while time.monotonic() - started < BACK_WITHIN_S:
        time.sleep(0.2)
        if any(pod["name"] == victim["name"] and pod["pid"] != pid for pod in ready_pods(KILLED)):
            print(f"{KILLED} is back and ready {time.monotonic() - started:.1f} s after its process was killed.")
            return
    sys.exit(f"demo: {KILLED} was not back within {BACK_WITHIN_S:.0f} s")


def change_template() -> None:
    template = FLEET / "templates" / "base.yaml"
    before = template.read_text()
    after = before.replace("memory: 256Mi", "memory: 320Mi")
    if after == before:
        sys.exit("demo: templates/base.yaml has no `memory: 256Mi` to change")
    template.write_text(after)


def main() -> None:
    started = time.monotonic()
    prepare()
    try:
        say("1. A fleet in Git: is it valid?")
        run("validate")
        say("2. What would be done?")
        run("plan", "--out", "first.plan")
        say("3. Do exactly that: agents start as processes of this machine.")
        run("apply", "first.plan")
        run("get", "agents", "-A")
        say("4. Are they well?")
        run("health")
        say("5. A commit changes a template. Whom does it reach?")
        change_template()
        commit("Give every agent more memory")
        run("plan", "--out", "next.plan")
        run("apply", "next.plan")
        say("6. A process is killed.")
        kill_one()
        say("7. Nothing is left to do.")
        run("plan", "--detailed-exitcode")
        run("audit", "verify")
        say("8. Take it all down again: nothing stays running.")
    finally:
        run("destroy", "--auto-approve")
    print(f"\nThat took {time.monotonic() - started:.0f} s. The fleet and its history are in .demo/fleet. Next:")
    print("  cd .demo/fleet && ../../.venv/bin/reconciler apply     # bring it up again, and look around")
    print("  .venv/bin/reconciler init fleet                        # start a fleet of your own")


if __name__ == "__main__":
    main()
