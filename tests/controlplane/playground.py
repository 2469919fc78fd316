"""`make playground`: a real control plane that stays, for people to point `reconciler` at, and its end.

`start` leaves a holder in the background, which starts the plane and keeps it; what it holds is recorded in
`.playground/state.json` by process id and start time. `stop` ends it by that record. Nothing else is signalled.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from reconciler.adapters.embedded.kubelet.machine import Identity, identify, is_running
from tests.controlplane import binaries, kubeconfig
from tests.controlplane.metrics import served
from tests.controlplane.plane import ControlPlane
from tests.controlplane.processes import DidNotStart

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".playground"
NAME = "playground"
NODES = 3
USAGE = {"cpu": "50m", "memory": "96Mi"}
START_WITHIN_S = 180.0
STOP_WITHIN_S = 30.0
LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What runs, as recorded: the holder first."""

    processes: dict[str, str]
    kubeconfig: str
    kubectl: str
    url: str
    version: str

    @classmethod
    def read(cls, home: Path) -> State | None:
        """Read the record; None when there is none."""
        try:
            return cls(**json.loads((home / "state.json").read_text()))
        except FileNotFoundError:
            return None

    def write(self, home: Path) -> None:
        """Write the record, whole or not at all."""
        part = home / "state.json.part"
        part.write_text(json.dumps(asdict(self), indent=2))
        part.replace(home / "state.json")

    def running(self) -> list[Identity]:
        """Return the recorded processes that still run: no other that has got one of their ids meanwhile."""
        known = [identity for text in self.processes.values() if (identity := Identity.parse(text))]
        return [identity for identity in known if is_running(identity)]

    def holds(self) -> bool:
        """Whether the holder runs."""
        holder = Identity.parse(self.processes["holder"])
        return holder is not None and is_running(holder)


def main(arguments: list[str]) -> int:
    """Start or stop the one in `.playground/`, or in the folder that is named."""
    verbs: dict[str, Callable[[Path], int]] = {"start": start, "stop": stop, "hold": hold}
    match arguments:
        case [verb] if verb in verbs:
            return verbs[verb](HOME)
        case [verb, folder] if verb in verbs:
            return verbs[verb](Path(folder))
    print("usage: python -m tests.controlplane.playground start|stop [FOLDER]", file=sys.stderr)
    return 1


def start(home: Path) -> int:
    """Start one in the background, unless one runs."""
    with one_at_a_time(home):
        state = State.read(home)
        if state and state.holds():
            print(f"The playground is running already.\n{how_to_use(state)}")
            return 0
        clear(home)
        print("Starting a control plane ...", flush=True)
        state = wait_for_state(home, launch(home))
        if state is None:
            print(f"The playground did not start:\n{(home / 'holder.log').read_text().strip()}", file=sys.stderr)
            return 1
        print(how_to_use(state))
        return 0


def launch(home: Path) -> subprocess.Popen[bytes]:
    """Start the holder, in a session of its own."""
    with (home / "holder.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.controlplane.playground", "hold", str(home)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for_state(home: Path, holder: subprocess.Popen[bytes]) -> State | None:
    """Wait for the holder's record; None when it ended without one. An interrupted start leaves no holder."""
    deadline = time.monotonic() + START_WITHIN_S
    try:
        while holder.poll() is None and time.monotonic() < deadline:
            if state := State.read(home):
                return state
            time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        holder.terminate()
        holder.wait()
        raise
    holder.terminate()
    holder.wait()
    return None


def hold(home: Path) -> int:
    """Start the plane, record it, and keep it until told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with ControlPlane.start(home / "plane", name=NAME, nodes=NODES) as plane, served(plane) as metrics:
            metrics.use_everywhere(**USAGE)
            record(home, plane).write(home)
            while True:
                signal.pause()
    except DidNotStart as error:
        print(error)
        return 1


def record(home: Path, plane: ControlPlane) -> State:
    """Return what a later `stop` needs to know."""
    pids = {"holder": os.getpid()} | plane.pids
    return State(
        processes={name: str(identity) for name, pid in pids.items() if (identity := identify(pid))},
        kubeconfig=str(kubeconfig.merge(home / "kubeconfig", plane.kubeconfig)),
        kubectl=plane.kubectl_command()[0],
        url=plane.url,
        version=plane.api.json("GET", "/version")["gitVersion"],
    )


def stop(home: Path) -> int:
    """End the recorded processes: the holder ends the others, and what it leaves is killed."""
    with one_at_a_time(home):
        state = State.read(home)
        if state is None:
            print("No playground is running.")
            return 0
        if state.holds():
            holder = Identity.parse(state.processes["holder"])
            assert holder
            os.kill(holder.pid, signal.SIGTERM)
        if not ended(state):
            for left in state.running():
                with suppress(ProcessLookupError):
                    os.kill(left.pid, signal.SIGKILL)
        if not ended(state):
            print(f"These processes do not end: {[each.pid for each in state.running()]}", file=sys.stderr)
            return 1
        clear(home)
        print("The playground is stopped.")
        return 0


def ended(state: State) -> bool:
    """Wait for the end of every recorded process."""
    deadline = time.monotonic() + STOP_WITHIN_S
    while state.running():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


@contextmanager
def one_at_a_time(home: Path) -> Iterator[None]:
    """Let a second start or stop wait for the first."""
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def clear(home: Path) -> None:
    """Remove what an ended one left; the lock stays."""
    for path in home.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def how_to_use(state: State) -> str:
    """Say what a person types next."""
    stages = binaries.HERE.relative_to(ROOT) / "stages" / "README.md"
    return f"""\
Kubernetes {state.version} at {state.url}, with {NODES} nodes. KWOK plays the pods: they are ready at once and nothing
runs in them; {stages} says how to let them be slow, or crash. What they use is invented.

Point reconciler at it, in fleet.yaml:

  spec:
    clusters:
      - {{name: {NAME}, kubernetes: {{kubeconfig: {state.kubeconfig}, context: {NAME}}}}}

Look at it:   {state.kubectl} --kubeconfig {state.kubeconfig} get pods -A
Stop it:      make playground-stop"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
