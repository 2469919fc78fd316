"""The supervisor's own life: one at a time, adopting what it finds, ending when nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters.embedded import lifecycle
from reconciler.adapters.embedded.kubelet.machine import identify
from reconciler.adapters.embedded.store import ObjectStore
from tests.adapters.embedded.supervised import Machine, eventually, is_alive, machine

SLEEP = ["sleep", "600"]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def test_a_supervisor_that_was_killed_leaves_processes_that_the_next_one_adopts(here: Machine) -> None:
    here.serving("web", replicas=2)
    address = here.service("web")
    here.ready("web", 2)
    pids, first = here.pids("web"), here.start()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not lifecycle.is_locked(here.state))
    second = here.start()
    assert second != first
    eventually(lambda: f"adopted, pids [{pids[0]}]" in here.log())
    here.ready("web", 2)
    assert here.pids("web") == pids
    assert {status["restartCount"] for pod in here.pods("web") for status in pod["status"]["containerStatuses"]} == {0}
    assert here.service("web") == address
    os.kill(pids[0], signal.SIGKILL)  # the end of an adopted one is seen as well
    eventually(lambda: len(here.pids("web")) == 2 and pids[0] not in here.pids("web"))


def test_what_a_pod_started_in_a_session_of_its_own_lives_as_long_as_the_pods_do(here: Machine) -> None:
    program = (
        "import subprocess, time; helper = subprocess.Popen(['sleep', '600'], start_new_session=True);"
        "print(helper.pid, flush=True); helper.wait()"
    )
    here.deployment("web", {"command": [sys.executable, "-c", program]})
    here.ready("web")
    helper = int(eventually(lambda: here.output("web").strip()))
    os.kill(here.start(), signal.SIGKILL)
    eventually(lambda: not lifecycle.is_locked(here.state))
    here.deployment("orphaned", {"command": SLEEP})  # the next supervisor has looked for orphans when this one runs
    here.ready("orphaned")
    assert "adopted" in here.log()
    assert identify(helper)
    assert here.container("web")["restartCount"] == 0
    for name in ("web", "orphaned"):
        here.delete("apps", "Deployment", name)
    eventually(lambda: not lifecycle.is_locked(here.state))
    eventually(lambda: identify(helper) is None)  # it is told to end, which takes it a moment


def test_what_ended_while_no_supervisor_watched_is_started_again(here: Machine) -> None:
    here.deployment("web", {"command": SLEEP})
    here.ready("web")
    (pid,) = here.pids("web")
    os.kill(here.start(), signal.SIGTERM)
    eventually(lambda: not lifecycle.is_locked(here.state))
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    here.start()
    eventually(lambda: here.container("web")["restartCount"] == 1 and here.pids("web") != [pid])
    assert here.container("web")["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"


def test_it_ends_when_nothing_is_left_to_run_and_is_started_again_when_there_is(here: Machine) -> None:
    here.deployment("web", {"command": SLEEP})
    here.ready("web")
    here.delete("apps", "Deployment", "web")
    eventually(lambda: not lifecycle.is_locked(here.state))
    assert "nothing is left to run" in here.log()
    here.deployment("web", {"command": SLEEP})
    here.ready("web")


def test_two_started_at_once_are_one(here: Machine) -> None:
    program = (
        "import sys; from pathlib import Path; from reconciler.adapters.embedded import lifecycle as l;"
        "s = Path(sys.argv[1]); l.ensure_running(s, s.parent); print(l.read_said(s).pid)"
    )
    words = [sys.executable, "-c", program, str(here.state)]
    callers = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(3)]
    said = {caller.communicate(timeout=60)[0] for caller in callers}
    assert [caller.returncode for caller in callers] == [0, 0, 0]
    assert len(said) == 1
    assert here.log().count("up: watching") == 1


def test_it_holds_no_file_and_no_session_of_its_caller(here: Machine) -> None:
    with (here.fleet / "held").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        pid = here.start()
        if Path("/proc/self/fd").exists():
            open_files = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
            assert str(here.fleet / "held") not in open_files
    assert os.getsid(pid) == pid


def test_when_its_folder_is_removed_it_ends_all_that_runs(here: Machine) -> None:
    here.deployment("web", {"command": SLEEP})
    here.ready("web")
    (pid,) = here.pids("web")
    supervisor = here.start()
    shutil.rmtree(here.state)
    eventually(lambda: not is_alive(pid))
    eventually(lambda: not is_alive(supervisor))


def test_when_its_folder_is_replaced_it_leaves_the_new_one_to_another(here: Machine) -> None:
    here.deployment("web", {"command": SLEEP})
    here.ready("web")
    (pid,) = here.pids("web")
    first = here.start()
    os.kill(first, signal.SIGSTOP)  # all of it happens between two looks
    here.store.close()
    shutil.rmtree(here.state)
    here.state.mkdir()
    here.store = ObjectStore.open(here.state / lifecycle.DATABASE)
    here.deployment("web", {"command": SLEEP})
    os.kill(first, signal.SIGCONT)
    eventually(lambda: not is_alive(first))
    assert not is_alive(pid)
    here.ready("web")
    assert lifecycle.is_locked(here.state)


def test_a_process_that_was_started_but_not_written_down_is_ended(here: Machine) -> None:
    env = {"TMPDIR": str(here.state / "pods" / "ns" / "gone" / "tmp"), "PATH": os.environ["PATH"]}
    lost = subprocess.Popen(SLEEP, env=env, start_new_session=True)
    try:
        here.start()
        assert lost.wait(timeout=30) == -signal.SIGKILL
    finally:
        lost.kill()
        lost.wait()


def test_one_failing_object_does_not_hold_up_the_others(here: Machine) -> None:
    here.deployment("bad", {"command": SLEEP}, pod={"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})
    here.deployment("huge", {"command": SLEEP}, replicas=2_000_000)
    here.deployment("good", {"command": SLEEP})
    here.ready("good")
    eventually(
        lambda: "no hostPath volumes" in here.container("bad").get("state", {}).get("waiting", {}).get("message", "")
    )
    eventually(lambda: "one machine is given" in here.condition("huge", "ReplicaFailure").get("message", ""))
