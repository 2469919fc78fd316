"""A control plane starts, does its work, survives what tests do to it, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.controlplane import kubeconfig
from tests.controlplane.api import Refused
from tests.controlplane.commands import Ports
from tests.controlplane.fixtures import ControlPlanes
from tests.controlplane.plane import ControlPlane, KubectlFailed
from tests.controlplane.processes import DidNotStart

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30


def lives(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(look: Callable[[], object]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_deployment_of_five_becomes_ready_over_nodes_and_zones(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("-n", namespace, "create", "deployment", "web", "--image=web:1", "--replicas=5")
    control_plane.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=30s")
    assert control_plane.get("-n", namespace, "deployment", "web")["status"]["readyReplicas"] == 5
    nodes = control_plane.get("nodes")["items"]
    assert {each["metadata"]["labels"]["kubernetes.io/hostname"] for each in nodes} == {"node-1", "node-2"}
    assert len({each["metadata"]["labels"]["topology.kubernetes.io/zone"] for each in nodes}) == 2
    assert all(each["status"]["allocatable"]["cpu"] == "64" for each in nodes)


def test_stopping_leaves_no_process(control_planes: ControlPlanes) -> None:
    (plane,) = control_planes(1)
    pids = plane.pids
    assert sorted(pids) == [
        "etcd",
        "keeper",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kwok",
    ]
    assert all(lives(pid) for pid in pids.values())
    plane.stop()
    assert not any(lives(pid) for pid in pids.values())
    plane.stop()  # once more does no harm


def test_nothing_stays_when_the_user_of_a_plane_is_killed(tmp_path: Path, control_plane: ControlPlane) -> None:
    program = (
        "import sys, json, pathlib\n"
        "from tests.controlplane.plane import ControlPlane\n"
        "plane = ControlPlane.start(pathlib.Path(sys.argv[1]))\n"
        "print(*plane.pids.values(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    user = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "plane")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with user:
        assert user.stdout
        pids = [int(pid) for pid in user.stdout.readline().split()]
        assert len(pids) == 6
        user.kill()
        user.wait()
    assert eventually(lambda: not any(lives(pid) for pid in pids))


def test_nothing_stays_when_the_keeper_is_killed(control_planes: ControlPlanes) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells children that their parent died")
    (plane,) = control_planes(1)
    pids = plane.pids
    os.kill(pids["keeper"], signal.SIGKILL)
    assert eventually(lambda: not any(lives(pid) for pid in pids.values()))
    with pytest.raises(DidNotStart, match="is gone"):
        plane.kill_api_server()


def test_two_planes_are_two_clusters_and_share_one_merged_kubeconfig(
    control_planes: ControlPlanes, tmp_path: Path
) -> None:
    one, two = control_planes(2)
    assert one.uid
    assert two.uid
    assert one.uid != two.uid
    merged = kubeconfig.merge(tmp_path / "merged", one.kubeconfig, two.kubeconfig)
    for plane in (one, two):
        query = ("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
        assert one.kubectl(f"--context={plane.name}", *query, kubeconfig=merged) == plane.uid
    with pytest.raises(ValueError, match="different names"):
        kubeconfig.merge(tmp_path / "merged", one.kubeconfig, one.kubeconfig)


def test_a_killed_api_server_comes_back_on_its_port_with_its_data(control_planes: ControlPlanes) -> None:
    (plane,) = control_planes(1, durable=True)
    plane.kubectl("create", "configmap", "kept", "--from-literal=a=1")
    before = plane.get("configmap", "kept")
    plane.kill_api_server()
    with pytest.raises(OSError, match="refused"):
        plane.api.ask("GET", "/readyz")
    plane.start_api_server()
    assert plane.get("configmap", "kept") == before
    plane.kubectl("create", "deployment", "web", "--image=web:1")
    plane.kubectl("rollout", "status", "deployment/web", "--timeout=60s")  # the controllers have found it again


def test_a_paused_api_server_answers_nobody_until_it_goes_on(control_planes: ControlPlanes) -> None:
    (plane,) = control_planes(1)
    plane.pause()
    with pytest.raises(TimeoutError):
        plane.api.ask("GET", "/readyz", timeout_s=0.5)
    plane.resume()
    assert plane.api.ask("GET", "/readyz") == b"ok"


def test_a_user_may_do_what_rbac_lets_him(control_plane: ControlPlane, namespace: str) -> None:
    ann = control_plane.user("ann", "readers")
    with pytest.raises(KubectlFailed, match='User "ann" cannot list resource "pods"'):
        control_plane.kubectl("-n", namespace, "get", "pods", kubeconfig=ann)
    control_plane.kubectl("-n", namespace, "create", "rolebinding", "r", "--clusterrole=view", "--group=readers")
    # What RBAC knows comes to the server by its own watch: ask until it does.
    assert eventually(lambda: control_plane.allowed("list", "pods", namespace, kubeconfig=ann))
    assert control_plane.kubectl("-n", namespace, "get", "pods", "-o", "name", kubeconfig=ann) == ""
    with pytest.raises(KubectlFailed, match=r"cannot list resource .secrets."):
        control_plane.kubectl("-n", namespace, "get", "secrets", kubeconfig=ann)


def test_a_service_account_shows_its_token(control_plane: ControlPlane, namespace: str) -> None:
    account = control_plane.service_account_kubeconfig(namespace, "default", 600)
    who = control_plane.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", kubeconfig=account)
    assert who == f"system:serviceaccount:{namespace}:default"
    with pytest.raises(Refused, match="less than 10 minutes"):
        control_plane.service_account_token(namespace, "default", 60)


def test_a_short_token_is_taken_until_it_ends(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    content = yaml.safe_load(control_plane.kubeconfig.read_text())

    def whoami(lifetime_s: float) -> str:
        content["users"][0]["user"] = {"token": control_plane.short_token(namespace, "default", lifetime_s)}
        file = kubeconfig.write(tmp_path / "kubeconfig", content)
        return control_plane.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", kubeconfig=file)

    assert whoami(50) == f"system:serviceaccount:{namespace}:default"
    with pytest.raises(KubectlFailed, match="Unauthorized"):
        whoami(-1)


def test_a_port_that_another_program_has_taken_meanwhile_is_given_up_for_a_free_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control_plane: ControlPlane
) -> None:
    free = Ports.free
    with socket.create_server(("127.0.0.1", 0)) as another:
        first = replace(free(), scheduler=another.getsockname()[1])
        offers = iter([first])
        monkeypatch.setattr(Ports, "free", lambda: next(offers, None) or free())
        with ControlPlane.start(tmp_path / "plane") as plane:
            assert next(offers, None) is None
            assert plane.url != f"https://127.0.0.1:{first.api_server}"
            plane.kubectl("create", "deployment", "web", "--image=web:1")
            plane.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_a_program_that_does_not_come_up_is_named_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control_plane: ControlPlane
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    program = broken / "etcd"
    program.write_text("#!/bin/sh\necho no disk here; exit 3\n")
    program.chmod(0o755)
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"):
        (broken / name).symlink_to("/bin/true")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(broken))
    with pytest.raises(DidNotStart, match=r"(?s)etcd ended with code 3; .*etcd\.log ends with\nno disk here"):
        ControlPlane.start(tmp_path / "plane")
