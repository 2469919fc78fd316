"""Releases of charts on a real control plane: installed, upgraded, rolled back, uninstalled, looked at after each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.model.agent import Agent, HttpTarget, Probe, Probes
from reconciler.model.units import Duration
from tests.controlplane.plane import ControlPlane
from tests.helm.helm import Helm, HelmFailed, write
from tests.kubernetes.fleets import watched_status
from tests.placement.builders import agent, scaling
from tests.render.charts import by_kind, files, objects

SECOND = Duration.parse("1s")
READY = Probe(target=HttpTarget(path="/healthz", port="http"), period=SECOND, timeout=SECOND, initial_delay=SECOND)
KINDS = "serviceaccounts,configmaps,services,deployments,poddisruptionbudgets,horizontalpodautoscalers"


class Release:
    """One release of one agent's chart, and the objects that it has made."""

    def __init__(self, helm: Helm, plane: ControlPlane, folder: Path, declared: Agent) -> None:
        self.helm = Helm(helm.home, plane.kubeconfig)
        self.plane = plane
        self.folder = folder
        self.name = declared.name.name
        self.namespace = declared.name.namespace

    def do(self, verb: str, *arguments: str) -> str:
        """Run a command on the release, and wait until it is done."""
        chart = [str(self.folder)] if verb in ("install", "upgrade") else []
        scope = ["--namespace", self.namespace, "--wait", "--timeout", "60s"]
        return self.helm(verb, self.name, *chart, *arguments, *scope)

    def live(self) -> dict[str, Any]:
        """The objects of the agent by kind."""
        items = self.plane.get(KINDS, "-n", self.namespace, "-l", f"agents.codevald.io/agent={self.name}")["items"]
        return dict(by_kind(items))

    def container(self) -> Any:
        return self.live()["Deployment"]["spec"]["template"]["spec"]["containers"][0]

    def images(self) -> set[str]:
        """What the pods that are not going away run."""
        pods = self.plane.get("pods", "-n", self.namespace, "-l", f"agents.codevald.io/agent={self.name}")["items"]
        return {pod["spec"]["containers"][0]["image"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


@pytest.fixture
def declared(namespace: str) -> Agent:
    return agent(
        f"{namespace}/triage",
        replicas=3,
        description="Sorts {{ tickets }}",
        system_message='Be "kind".\n  # and quick\n',
        probes=Probes(readiness=READY),
    )


@pytest.fixture
def release(helm: Helm, control_plane: ControlPlane, declared: Agent, tmp_path: Path) -> Release:
    return Release(helm, control_plane, write(files(declared, 3), tmp_path / "chart"), declared)


def differences(wanted: Any, live: Any, path: str = "") -> list[str]:
    """Where `live` lacks what is wanted, or has it otherwise."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        return [line for key, value in wanted.items() for line in differences(value, live.get(key), f"{path}.{key}")]
    if isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        pairs = enumerate(zip(wanted, live, strict=True))
        return [line for index, (one, other) in pairs for line in differences(one, other, f"{path}[{index}]")]
    same = wanted == live or (live is None and wanted in ("", 0, False))  # zero values are not stored
    return [] if same else [f"{path}: {wanted!r} is {live!r}"]


def test_what_is_installed_is_what_render_gives_but_for_helms_own_marks(release: Release, declared: Agent) -> None:
    told = release.do("install")
    assert f"rollout status deployment/{release.name}" in told
    live = release.live()
    wanted = by_kind(objects(declared, 3))
    assert set(live) == set(wanted)
    for kind, body in wanted.items():
        found = differences(body, live[kind])
        assert found == [".metadata.labels.app.kubernetes.io/managed-by: 'reconciler' is 'Helm'"], kind
        assert live[kind]["metadata"]["annotations"]["meta.helm.sh/release-name"] == release.name
    assert live["Deployment"]["status"]["readyReplicas"] == 3
    assert release.helm.status(release.name, release.namespace)["info"]["status"] == "deployed"


def test_an_upgrade_rolls_the_pods_a_rollback_rolls_them_back_and_nothing_is_left_in_the_end(release: Release) -> None:
    release.do("install")
    first = release.live()
    with watched_status(release.plane, release.namespace, release.name) as seen:
        release.do("upgrade", "--set", "image.tag=2.0.0")
    assert release.container()["image"] == "ghcr.io/acme/agent:2.0.0"
    assert release.images() == {"ghcr.io/acme/agent:2.0.0"}
    assert '"version": "2.0.0"' in release.live()["ConfigMap"]["data"]["agent-card.json"]
    assert min(available for _, available in seen) >= 3, "an update is without a gap"
    assert len(seen) > 1

    release.do("rollback", "1")
    back = release.live()
    assert back["Deployment"]["spec"] == first["Deployment"]["spec"]
    assert back["ConfigMap"]["data"] == first["ConfigMap"]["data"]
    assert release.images() == {"ghcr.io/acme/agent:1.0.0"}
    assert release.helm.status(release.name, release.namespace)["version"] == 3

    release.do("uninstall")
    assert release.live() == {}
    assert release.plane.get("secrets", "-n", release.namespace, "-l", "owner=helm")["items"] == []


def test_another_system_message_rolls_the_pods(release: Release) -> None:
    release.do("install")
    before = release.live()["Deployment"]
    release.do("upgrade", "--set", "systemMessage=Be quick.")
    after = release.live()
    mark = "agents.codevald.io/config-hash"
    hashes = [one["spec"]["template"]["metadata"]["annotations"][mark] for one in (before, after["Deployment"])]
    assert hashes[0] != hashes[1]
    assert after["Deployment"]["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert '"systemMessage": "Be quick."' in after["ConfigMap"]["data"]["agent.json"]


def test_an_upgrade_that_does_not_become_ready_goes_back_and_serves_all_the_while(release: Release) -> None:
    release.do("install")
    broken = ["--set", "podAnnotations.kwok\\.test/behaviour=never-ready", "--set", "image.tag=9.0.0"]
    scope = ["--namespace", release.namespace, "--wait", "--timeout", "3s", "--rollback-on-failure"]
    with (
        watched_status(release.plane, release.namespace, release.name) as seen,
        pytest.raises(HelmFailed, match=r"rolled back"),
    ):
        release.helm("upgrade", release.name, str(release.folder), *broken, *scope)
    assert min(available for _, available in seen) >= 3
    assert release.container()["image"] == "ghcr.io/acme/agent:1.0.0"
    release.do("upgrade")
    assert release.images() == {"ghcr.io/acme/agent:1.0.0"}


def test_an_autoscaled_release_leaves_its_replicas_to_the_autoscaler(
    helm: Helm, control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    declared = agent(f"{namespace}/busy", autoscaling=scaling(2, 5))
    release = Release(helm, control_plane, write(files(declared, 2), tmp_path / "chart"), declared)
    release.do("install")
    live = release.live()
    assert live["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 2
    control_plane.wait_for("two replicas", lambda: release.live()["Deployment"]["status"].get("readyReplicas") == 2)
    release.do("upgrade", "--set", "autoscaling.maxReplicas=9", "--set", "image.tag=2.0.0")
    live = release.live()
    assert live["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 9
    assert live["Deployment"]["spec"]["replicas"] == 2, "an upgrade takes no replicas away"
    release.do("upgrade", "--set", "replicaCount=0")
    live = release.live()
    assert live["Deployment"]["spec"]["replicas"] == 0
    assert "HorizontalPodAutoscaler" not in live
