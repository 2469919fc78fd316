"""The whole main job on this machine, for real, each command shown before it runs.

Copies examples/agents/ into a Git repository of its own under .demo/ and takes the fleet from a commit to running
agents. Then a daemon keeps it: commits go in, a process is killed, a commit that cannot work is undone, and nothing is
left running. `make demo` runs it on the embedded cluster, and
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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
FLEET = DEMO / "fleet"
RECONCILER = Path(sys.executable).parent / "reconciler"
BOLD, DIM, END = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
COMMITTER = ("-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")
KILLED = "support/triage"
BROKEN = FLEET / "agents" / "research" / "glossary.yaml"
BACK_WITHIN_S = 30.0
DONE_WITHIN_S = 60.0
SHOWN = {"leads", "planned", "change-ended", "health", "stops", "stopped"}
LEFT_OUT = ("was=unknown", "busy=", "already as planned")
"""What of the daemon's lines is worth reading here."""
WIDTH = 160
ALERTS = "  alerts: [{name: on-call, webhook: {urlEnv: ONCALL_URL}, group: {wait: 1s, interval: 1s}}]\n"
"""A line of fleet.yaml: whom the daemon tells what people have to know of."""


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


class OnCall(BaseHTTPRequestHandler):
    """Where alerts arrive: a receiver of webhooks on this machine."""

    told: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Take a message, and print it."""
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        print(f"{DIM}on call|{END} {message['title']}", flush=True)
        self.told.extend(message["alerts"])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
        """Say nothing of requests."""

    @classmethod
    def knows(cls, agent: str, status: str) -> bool:
        """Whether an alert about an agent has arrived."""
        return any(alert["agent"] == agent and alert["status"] == status for alert in cls.told)


@contextmanager
def on_call() -> Iterator[str]:
    """Be there for alerts while the block lasts; answers where."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), OnCall)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class Daemon:
    """`reconciler daemon` beside all that follows. What it decides is printed as it says it."""

    def __init__(self, receiver: str) -> None:
        command = ["daemon", "--branch", "main", "--poll", "1s", "--sweep", "5s"]
        shown(["reconciler", *command, "&"])
        self._process = subprocess.Popen(
            [str(RECONCILER), *command],
            cwd=FLEET, env=os.environ | {"ONCALL_URL": receiver}, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def mark(self) -> int:
        """How much it has said so far."""
        return len(self._lines)

    def until(self, *words: str, since: int, within_s: float = DONE_WITHIN_S) -> None:
        """Wait for a line with all of `words`, said after `since`; the demo ends where it does not come."""
        self.wait(lambda: any(all(word in line for word in words) for line in self._lines[since:]), words, within_s)

    def wait(self, there: Callable[[], bool], what: object, within_s: float = DONE_WITHIN_S) -> None:
        """Wait until something is there while the daemon works; the demo ends where it does not come."""
        until = time.monotonic() + within_s
        while not there():
            if self._process.poll() is not None or time.monotonic() > until:
                sys.exit("\n".join(["demo: the daemon did not come to that:", str(what), *self._lines[-20:]]))
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask it to end, as whoever runs it does. What is under way writes down where it is; agents run on."""
        if self._process.poll() is None:
            shown(["kill", "-TERM", str(self._process.pid)])
            self._process.terminate()
        if (code := self._process.wait(30)) != 0:
            sys.exit(f"demo: the daemon ended with {code}")
        self._reader.join(5)

    def _read(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - it was asked for
        for line in self._process.stderr:
            self._lines.append(line)
            _time, _level, event, *rest = [*line.rstrip().split(maxsplit=3), "", "", ""]
            if (
                event in SHOWN
                and not any(words in line for words in LEFT_OUT)
                and (event != "health" or KILLED in line)
            ):
                text = f"{event} {rest[0]}".rstrip()
                print(f"{DIM}daemon|{END} {text if len(text) <= WIDTH else text[: WIDTH - 3] + '...'}", flush=True)


def prepare(place: Here | Playground) -> None:
    """A fresh repository with the example fleet; what an interrupted demo left running is ended first."""
    if (FLEET / "fleet.yaml").is_file():
        subprocess.run([RECONCILER, "destroy", "--auto-approve"], cwd=FLEET, check=False, capture_output=True)
    shutil.rmtree(DEMO, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / "agents", FLEET, ignore=shutil.ignore_patterns("__pycache__", ".reconciler"))
    with (FLEET / "fleet.yaml").open("a") as file:
        file.write(ALERTS)
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
    breaks = "A process is killed"
    cannot_work = ("command: [python3, programs/glossary.py]", "command: [python3, programs/missing.py]")

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
    breaks = "A pod is deleted"
    cannot_work = (
        "metadata: {name: glossary,",
        "metadata: {annotations: {kwok.test/behaviour: crash-loop}, name: glossary,",
    )

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


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    if before not in text:
        sys.exit(f"demo: {file.relative_to(FLEET)} has no `{before}` to change")
    file.write_text(text.replace(before, after))


def nothing_to_do() -> bool:
    """Whether a plan finds all as Git says."""
    command = [str(RECONCILER), "plan", "--detailed-exitcode"]
    return subprocess.run(command, cwd=FLEET, check=False, capture_output=True).returncode == 0


def by_commands(place: Here | Playground) -> None:
    """From a fleet in Git to agents that run, each command typed by a person."""
    say("1. A fleet in Git: is it valid?")
    run("validate")
    say("2. What would be done?")
    run("plan", "--out", "first.plan")
    say(f"3. Do exactly that: {place.brings_up}.")
    run("apply", "first.plan")
    run("get", "agents", "-A")
    say("4. Are they well?")
    run("health")


def by_daemon(place: Here | Playground, daemon: Daemon) -> None:
    """Nobody types `apply` any more: what is committed to main is done."""
    daemon.until("leads", since=0)
    daemon.until("planned", since=0)
    say("6. A commit on a branch changes a template. Whom would it reach?")
    shown(["git", "switch", "-c", "more-memory"])
    git("switch", "--quiet", "-c", "more-memory")
    change(FLEET / "templates" / "base.yaml", "memory: 256Mi", "memory: 320Mi")
    commit("Give every agent more memory")
    run("plan")
    say("   Merged, it is done: agent by agent, each ready before the next of its kind.")
    shown(["git", "switch", "main"])
    git("switch", "--quiet", "main")
    shown(["git", "merge", "more-memory"])
    git("merge", "--quiet", "more-memory")
    daemon.wait(nothing_to_do, "all agents have more memory")
    say(f"7. {place.breaks}; nobody is called for that.")
    place.break_one()
    say("8. A commit that cannot work reaches main. It is rolled back, and not tried again.")
    change(BROKEN, *place.cannot_work)
    since = daemon.mark()
    commit("Improve the glossary")
    daemon.until("change-ended", "research/glossary", "outcome=rolled-back", since=since)
    run("why", "research/glossary")
    say("   Who is on call is told.")
    daemon.wait(lambda: OnCall.knows("research/glossary", "firing"), "an alert about the glossary")
    say("   What is in Git is taken back; the agent runs on as it did all the while.")
    shown(["git", "revert", "--no-edit", "HEAD"])
    git("revert", "--no-edit", "HEAD")
    daemon.wait(nothing_to_do, "the glossary is as Git says again")
    daemon.wait(lambda: OnCall.knows("research/glossary", "resolved"), "that the alert is over")


def main() -> None:
    started = time.monotonic()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in PLACES:
        sys.exit(f"demo: no cluster {name!r}; there is: {', '.join(filter(None, PLACES))}, and the embedded one")
    place = PLACES[name]()
    prepare(place)
    try:
        by_commands(place)
        say("5. From now on a daemon keeps it.")
        with on_call() as receiver:
            daemon = Daemon(receiver)
            try:
                by_daemon(place, daemon)
            finally:
                daemon.stop()
        say("9. Nothing is left to do, and every step is on record.")
        run("plan", "--detailed-exitcode")
        run("audit", "verify")
        say("10. Take it all down again: nothing stays running.")
    finally:
        run("destroy", "--auto-approve")
    print(f"\nThat took {time.monotonic() - started:.0f} s. The fleet and its history are in .demo/fleet. Next:")
    print("  cd .demo/fleet && ../../.venv/bin/reconciler daemon    # bring it up again, commit, and look around")
    print("  .venv/bin/reconciler init fleet                        # start a fleet of your own")


if __name__ == "__main__":
    main()
