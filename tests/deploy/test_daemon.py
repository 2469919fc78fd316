"""What deploy/ ships to run the daemon: a chart that a restricted namespace takes, an image, a unit for systemd."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.git.command import Limits
from reconciler.cli.commands import daemon
from reconciler.cli.settings import SETTINGS
from tests.controlplane.plane import ControlPlane
from tests.deploy.shipped import CHART, DEPLOY, kustomized, only
from tests.helm.helm import Helm, HelmFailed

GIVEN = (
    "--set", "daemon.repo=https://git.example/fleet.git",
    "--set", "daemon.image=registry.example/reconciler:1",
    "--set", "daemon.branch=main",
    "--set", "daemon.path=fleets/acme",
    "--set", "daemon.environmentFrom={arango}",
    "--set", "daemon.maxDeletes=5",
    "--set", "daemon.filesFrom[0].secret=fleet-ssh",
    "--set", "daemon.filesFrom[0].path=/etc/reconciler/home/.ssh",
)  # fmt: skip


def options() -> set[str]:
    """All options of `reconciler daemon`."""
    return {name for parameter in daemon.command.params for name in parameter.opts}


def arguments(text: list[str]) -> set[str]:
    return {one.partition("=")[0] for one in text if one.startswith("--")}


@pytest.mark.helm
def test_the_chart_runs_the_daemon_with_options_that_it_has(helm: Helm) -> None:
    objects = helm.template(CHART, *GIVEN, namespace="ops")
    pod = only(objects, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"][0] == "daemon"
    assert arguments(container["args"]) <= options()
    assert {"--repo=https://git.example/fleet.git", "--branch=main", "--path=fleets/acme"} <= set(container["args"])
    assert pod["serviceAccountName"] == only(objects, "ServiceAccount")["metadata"]["name"]
    assert container["envFrom"] == [{"secretRef": {"name": "arango"}}]
    assert {"--poll=10s", "--resync=1m", "--max-deletes=5"} <= set(container["args"])
    (files,) = [one for one in pod["volumes"] if "secret" in one]
    assert files["secret"]["secretName"] == "fleet-ssh"
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == files["name"]]
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/reconciler/home/.ssh", True)
    claims = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
    assert claims == {only(objects, "PersistentVolumeClaim")["metadata"]["name"]}


@pytest.mark.helm
@pytest.mark.parametrize(
    "mistake",
    [
        "daemon.image=",
        "daemon.mode=destroy",
        "daemon.branch=--upload-pack=x",
        "daemon.replicas=0",
        "daemon.shards=65",
        "daemon.shards=2.5",
        "daemon.existingClaim=one,daemon.replicas=2",
        "daemon.replicas=2,daemon.mode=plan-only",
        "daemon.maxDeletes=-1",
        "nameOverride=Not A Name",
        "fullnameOverride=under_score",
    ],
)
def test_the_chart_refuses_what_cannot_run(helm: Helm, mistake: str) -> None:
    with pytest.raises(HelmFailed, match=mistake.split("=", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1]):
        helm.template(CHART, *GIVEN, "--set", mistake, namespace="ops")


SEVERAL = (*GIVEN, "--set", "daemon.replicas=3", "--set", "daemon.shards=8")


@pytest.mark.helm
def test_several_daemons_have_a_volume_each_and_begin_only_with_a_registry_that_they_share(helm: Helm) -> None:
    objects = helm.template(CHART, *SEVERAL, namespace="ops")
    several = only(objects, "StatefulSet")
    assert not {"Deployment", "PersistentVolumeClaim"} & {one["kind"] for one in objects}
    assert (several["spec"]["replicas"], several["spec"]["podManagementPolicy"]) == (3, "Parallel")
    assert several["spec"]["serviceName"] == only(objects, "Service")["metadata"]["name"]
    pod = several["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert arguments(container["args"]) <= options()
    assert {"--shards=8", "--shared-registry"} <= set(container["args"])
    (claim,) = several["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] in {one["name"] for one in container["volumeMounts"]}
    helm("lint", str(CHART), *SEVERAL)


@pytest.mark.helm
def test_a_long_name_leaves_room_for_what_pods_of_several_are_labelled_with(helm: Helm) -> None:
    """With a name of more than 52 characters a StatefulSet makes no pod: controller-revision-hash would be too long."""
    release = "a-release-whose-name-is-as-long-as-helm-takes-it-here"
    objects = helm.template(CHART, *SEVERAL, namespace="ops", release=release)
    several = only(objects, "StatefulSet")
    assert len(several["metadata"]["name"]) <= 52
    assert several["spec"]["serviceName"] == only(objects, "Service")["metadata"]["name"]
    one = only(helm.template(CHART, *GIVEN, namespace="ops", release=release), "Deployment")
    assert one["metadata"]["name"] == several["spec"]["serviceName"]


@pytest.mark.helm
@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("2nd", "a-2nd-reconciler"),
        ("eu.1-reconciler", "eu-1-reconciler"),
        ("reconciler", "reconciler"),
        ("1" * 53, f"a-{'1' * 53}-reconci"),
    ],
)
def test_a_service_is_called_as_services_may_be(helm: Helm, release: str, name: str) -> None:
    """Of a release's name Helm takes more: a digit at its beginning, and dots."""
    objects = helm.template(CHART, *SEVERAL, namespace="ops", release=release)
    several = only(objects, "StatefulSet")
    assert only(objects, "Service")["metadata"]["name"] == several["spec"]["serviceName"] == name
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?", several["metadata"]["name"])


@pytest.mark.helm
def test_values_are_text_whatever_yaml_would_take_them_for(helm: Helm) -> None:
    objects = helm.template(
        CHART, *GIVEN[:4], "--set", "daemon.path=a: b #c", "--set-json", "daemon.maxDeletes=1000000",
        "--set-string", "nameOverride=2025", namespace="ops", release="1e3",
    )  # fmt: skip
    pod = only(objects, "Deployment")["spec"]["template"]
    assert {"--path=a: b #c", "--max-deletes=1000000"} <= set(pod["spec"]["containers"][0]["args"])
    for one in objects:
        labels = one["metadata"]["labels"]
        assert (labels["app.kubernetes.io/instance"], labels["app.kubernetes.io/name"]) == ("1e3", "2025")
    assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "1e3"


@pytest.mark.helm
def test_one_daemon_may_hold_all_shards_until_others_come(helm: Helm) -> None:
    deployment = only(helm.template(CHART, *GIVEN, "--set", "daemon.shards=8", namespace="ops"), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "--shards=8" in container["args"]
    assert "--shared-registry" not in container["args"]


@pytest.mark.helm
@pytest.mark.controlplane
def test_both_ways_to_install_several_have_the_same_pods(helm: Helm) -> None:
    mine = only(helm.template(CHART, *SEVERAL, namespace="reconciler"), "StatefulSet")["spec"]
    objects = kustomized(DEPLOY / "kustomize" / "overlays" / "several")
    theirs = only(objects, "StatefulSet")["spec"]
    (settings,) = [one["data"] for one in objects if one["kind"] == "ConfigMap" and "RECONCILER_REPO" in one["data"]]
    known = {setting.variable: setting for setting in SETTINGS.values()}
    for variable, value in settings.items():
        known[variable].check(value)
    assert theirs["serviceName"] == only(objects, "Service")["metadata"]["name"]
    assert theirs["selector"]["matchLabels"].items() <= theirs["template"]["metadata"]["labels"].items()
    assert theirs["template"]["spec"]["serviceAccountName"] == only(objects, "ServiceAccount")["metadata"]["name"]
    assert arguments(theirs["template"]["spec"]["containers"][0]["args"]) <= options()
    assert _bare(theirs) == _bare(mine)


def _bare(spec: dict[str, Any]) -> dict[str, Any]:
    """A set of daemons without what differs by design: names, settings, and files that only one of them is given."""
    pod = dict(spec["template"]["spec"])
    (container,) = pod["containers"]
    container = {key: value for key, value in container.items() if key not in {"args", "envFrom"}}
    container["volumeMounts"] = [one for one in container["volumeMounts"] if not one["name"].startswith("files-")]
    (spread,) = pod["topologySpreadConstraints"]
    pod |= {
        "containers": [container],
        "volumes": [one for one in pod["volumes"] if not one["name"].startswith("files-")],
        "topologySpreadConstraints": [spread | {"labelSelector": ""}],
        "serviceAccountName": "",
    }
    return spec | {"template": pod, "selector": "", "serviceName": ""}


@pytest.mark.helm
@pytest.mark.controlplane
def test_a_namespace_that_restricts_pods_takes_the_daemons(
    helm: Helm, control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """The pod is judged by admission as if it were made: a Deployment alone would only be warned about."""
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    several = only(helm.template(CHART, *SEVERAL, namespace=namespace), "StatefulSet")
    control_plane.kubectl("create", "--dry-run=server", "-f", _written(tmp_path / "several.json", several))
    deployment = only(helm.template(CHART, *GIVEN, namespace=namespace), "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"] | {"serviceAccountName": "default"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try", "namespace": namespace}, "spec": spec}
    control_plane.kubectl("create", "--dry-run=server", "-f", _written(tmp_path / "pod.json", pod))
    control_plane.kubectl("create", "--dry-run=server", "-f", _written(tmp_path / "all.json", deployment))


def _written(path: Path, body: dict[str, Any]) -> str:
    import json

    path.write_text(json.dumps(body))
    return str(path)


def test_the_unit_starts_the_daemon_with_options_that_it_has() -> None:
    text = (DEPLOY / "systemd" / "reconciler.service").read_text()
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert shlex.split(start)[1] == "daemon"
    assert arguments(shlex.split(start)) <= options()
    assert "Type=notify" in text
    (patience,) = re.findall(r"^TimeoutStartSec=(\d+)min$", text, re.MULTILINE)
    assert int(patience) * 60 > Limits().fetch_seconds, "it is ready when the first fetch has ended"


def test_the_image_runs_as_nobody_and_takes_what_the_lock_names() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
    (user,) = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert re.search(rf":x:{user}:.*>> /etc/passwd", text), "ssh refuses to run as somebody without a line"
    assert "--require-hashes -r requirements/run.txt" in text
    (folder,) = re.findall(r"^WORKDIR (/var/\S+)$", text, re.MULTILINE)
    owned = rf"install -d -o {user} -g {user} -m 0700 {folder}\n"
    assert re.search(owned, text), "a volume that is made for it is its user's, and not root's"
