"""The playground stays until it is stopped, and is stopped by what it recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from reconciler.adapters.embedded.kubelet.machine import identify
from tests.controlplane import playground
from tests.controlplane.fixtures import require_programs

Typed = Callable[..., str]


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Typed]:
    """Run the program as make does, with a folder of the test's own."""

    def run(verb: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tests.controlplane.playground", verb, str(tmp_path)],
            cwd=playground.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    run("stop")


@pytest.mark.controlplane
def test_it_stays_between_commands_and_is_used_as_it_says(typed: Typed, tmp_path: Path) -> None:
    require_programs()
    told = typed("start")
    fleet = yaml.safe_load(told[told.index("  spec:") : told.index("Look at it")])
    (cluster,) = fleet["spec"]["clusters"]
    assert cluster["name"] == "playground"
    state = playground.State.read(tmp_path)
    assert state
    kubectl = [state.kubectl, f"--kubeconfig={cluster['kubernetes']['kubeconfig']}", "--context=playground"]
    nodes = subprocess.run([*kubectl, "get", "nodes", "-o", "name"], capture_output=True, text=True, check=True).stdout
    assert nodes.count("node/") == 3
    subprocess.run([*kubectl, "top", "pods", "-A"], capture_output=True, check=True)  # usage is told here too

    again = typed("start")
    assert again.startswith("The playground is running already.")
    assert playground.State.read(tmp_path) == state

    assert typed("stop") == "The playground is stopped.\n"
    assert state.running() == []
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert typed("stop") == "No playground is running.\n"


@pytest.mark.controlplane
def test_one_whose_holder_was_killed_is_gone_and_gives_way_to_a_new_one(typed: Typed, tmp_path: Path) -> None:
    require_programs()
    typed("start")
    first = playground.State.read(tmp_path)
    assert first
    os.kill(int(first.processes["holder"].split("/")[2]), signal.SIGKILL)
    assert "is running already" not in typed("start")
    assert first.running() == []
    assert playground.State.read(tmp_path) != first


def test_a_process_that_got_a_recorded_id_is_left_alone(typed: Typed, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        identity = identify(stranger.pid)
        assert identity
        earlier = str(identity).replace(f"/{identity.start}/", "/1/")
        state = playground.State(processes={"holder": earlier}, kubeconfig="", kubectl="", url="", version="")
        state.write(tmp_path)
        assert json.loads((tmp_path / "state.json").read_text())["processes"] == {"holder": earlier}
        assert typed("stop") == "The playground is stopped.\n"
        assert stranger.poll() is None
        stranger.communicate(b"\n")


def test_a_start_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "assets"
    broken.mkdir()
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"):
        (broken / name).write_text("#!/bin/sh\necho no disk here; exit 3\n")
        (broken / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(broken))
    home = tmp_path / "home"
    assert playground.main(["start", str(home)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("The playground did not start:\nplayground: etcd ended with code 3; ")
    assert "no disk here" in told
    assert "Traceback" not in told
