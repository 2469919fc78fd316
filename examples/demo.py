"""The whole main job on this machine, for real, each command shown before it runs.

Copies examples/agents/ into a Git repository of its own under .demo/, takes the fleet from a commit to running
agents, changes it, breaks it, and leaves nothing running. `make demo` runs it on the embedded cluster, and
`make demo CLUSTER=playground` on the control plane that `make playground` starts: a real API server, whose nodes are
played by KWOK, so that pods come and go and become ready, and no container runs in them.
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


def prepare(place: Here | Playground) -> None:
    """A fresh repository with the example fleet; what an interrupted demo left running is ended first."""
    if (FLEET / "fleet.yaml").is_file():
        subprocess.run([RECONCILER, "destroy", "--auto-approve"], cwd=FLEET, check=False, capture_output=True)
    shutil.rmtree(DEMO, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / "agents", FLEET, ignore=shutil.ignore_patterns("__pycache__", ".reconciler"))
    place.prepare()
    git("init", "--quiet", "--initial-branch", "main")
    git("add", "--all")
    git("commit", "--quiet", "-m", "A fleet of a dozen agents")


def ready_pods(agent: str) -> list[dict[str, Any]]:
    """Pods of an agent that are ready, as `reconciler describe` gives them."""
    done = subprocess.run([RECONCILER, "describe", agent, "-o", "json"], cwd=FLEET, check=True, capture_output=True)
    return [pod for pod in json.loads(done.stdout)["pods"] if pod["ready"]]


def wait_for_another(victim: dict[str, Any], started: float, what: str) -> None:
    """Wait until an agent whose pod was `victim` is ready again with something else in its place."""
    same = ("name", "pid")
    while time.monotonic() - started < BACK_WITHIN_S:
        time.sleep(0.2)
        if any([pod[key] for key in same] != [victim[key] for key in same] for pod in ready_pods(KILLED)):
            print(f"{KILLED} is back and ready {time.monotonic() - started:.1f} s after its {what}.")
            return
    sys.exit(f"demo: {KILLED} was not back within {BACK_WITHIN_S:.0f} s")


class Here:
    """The embedded cluster: agents are processes of this machine."""

    brings_up = "agents start as processes of this machine"
    breaks = "A process is killed."

    def prepare(self) -> None:
        """Nothing: the cluster is made when it is needed."""

    def break_one(self) -> None:
        """End one agent process as a crash would, and wait until another one answers in its place."""
        victim = ready_pods(KILLED)[0]
        shown(["kill", "-KILL", str(victim["pid"])])
        os.kill(int(victim["pid"]), signal.SIGKILL)
        wait_for_another(victim, time.monotonic(), "process was killed")


class Playground:
    """The control plane of `make playground`: a real API server, and pods in which nothing runs."""

    brings_up = "pods start on a real control plane, whose nodes are simulated by KWOK: no container runs"
    breaks = "A pod is deleted."

    def __init__(self) -> None:
        record = ROOT / ".playground" / "state.json"
        if not record.is_file():
            sys.exit("demo: there is no playground; start it with: make playground")
        state = json.loads(record.read_text())
        self._kubeconfig = str(state["kubeconfig"])
        self._kubectl = [str(state["kubectl"]), f"--kubeconfig={self._kubeconfig}"]

    def prepare(self) -> None:
        """Let the fleet's one cluster be the playground, and make the namespaces, as who runs a cluster does."""
        file = FLEET / "fleet.yaml"
        before = "{name: local, embedded: {run: processes}}"
        after = f"{{name: playground, kubernetes: {{kubeconfig: {json.dumps(self._kubeconfig)}}}}}"
        text = file.read_text()
        if before not in text:
            sys.exit(f"demo: fleet.yaml has no `{before}` to replace")
        file.write_text(text.replace(before, after))
        for folder in sorted((FLEET / "agents").iterdir()):
            manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": folder.name}}
            self._run("apply", "--server-side", "-f", "-", given=json.dumps(manifest))

    def break_one(self) -> None:
        """Delete a pod as anybody might, and wait until another one is ready in its place."""
        victim = ready_pods(KILLED)[0]
        namespace = KILLED.partition("/")[0]
        shown(["kubectl", "delete", "pod", "-n", namespace, victim["name"]])
        started = time.monotonic()
        self._run("delete", "pod", "-n", namespace, victim["name"], "--wait=false")
        wait_for_another(victim, started, "pod was deleted")

    def _run(self, *arguments: str, given: str | None = None) -> None:
        subprocess.run([*self._kubectl, *arguments], check=True, text=True, input=given, stdout=subprocess.DEVNULL)


PLACES = {"": Here, "playground": Playground}


def change_template() -> None:
    template = FLEET / "templates" / "base.yaml"
    before = template.read_text()
    after = before.replace("memory: 256Mi", "memory: 320Mi")
    if after == before:
        sys.exit("demo: templates/base.yaml has no `memory: 256Mi` to change")
    template.write_text(after)


def main() -> None:
    started = time.monotonic()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in PLACES:
        sys.exit(f"demo: no cluster {name!r}; there is: {', '.join(filter(None, PLACES))}, and the embedded one")
    place = PLACES[name]()
    prepare(place)
    try:
        say("1. A fleet in Git: is it valid?")
        run("validate")
        say("2. What would be done?")
        run("plan", "--out", "first.plan")
        say(f"3. Do exactly that: {place.brings_up}.")
        run("apply", "first.plan")
        run("get", "agents", "-A")
        say("4. Are they well?")
        run("health")
        say("5. A commit changes a template. Whom does it reach?")
        change_template()
        commit("Give every agent more memory")
        run("plan", "--out", "next.plan")
        run("apply", "next.plan")
        say(f"6. {place.breaks}")
        place.break_one()
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
