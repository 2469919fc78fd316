"""What others change on a real API server behind our back: whose it is, what a plan does, and what is there afterwards.

Each case is one kind of foreign change, made as people and tools make it. Fields that Git says are set right; what was
added beside them stays; what another Apply manager or a controller holds is told and left.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.model.plan import Verb
from tests.controlplane.plane import ControlPlane
from tests.drift.stage import NAME, PLAIN, SCALING, Body, Foreign, Left, Stage, Undone, assert_judged, staged

pytestmark = pytest.mark.controlplane
POD = "spec.template.spec"
AGENT = f"{POD}.containers[agent]"
MARK = "agents.codevald.io/tracking-id"
SIDECAR = {"name": "sidecar", "image": "proxy:1"}


def kubectl(*arguments: str) -> Callable[[Stage], object]:
    return lambda stage: stage.kubectl(*arguments)


def patched(kind: str, patch: Body, *options: str) -> Callable[[Stage], object]:
    return lambda stage: stage.merge(patch, kind, *options)


def edited(change: Callable[[Body], object], kind: str = "deployment") -> Callable[[Stage], object]:
    return lambda stage: stage.edit(change, kind)


def in_container(change: Callable[[Body], object]) -> Callable[[Stage], object]:
    return lambda stage: stage.edit_container(change)


def in_pod(change: Callable[[Body], object]) -> Callable[[Stage], object]:
    return lambda stage: stage.edit(lambda body: change(body["spec"]["template"]["spec"]))


def of(kind: str, *fields: tuple[str, str]) -> tuple[Undone, ...]:
    return tuple(Undone(kind=kind, path=path, by=by) for path, by in fields)


def undone(change: Callable[[Stage], object], kind: str, *fields: tuple[str, str], **more: object) -> Foreign:
    """A change of one object that is set right in place."""
    return Foreign(change=change, drift=of(kind, *fields), verbs={kind: Verb.APPLY}, **more)  # type: ignore[arg-type]


def swapped_source(container: Body) -> None:
    entry = next(one for one in container["env"] if one["name"] == "LEVEL")
    del entry["value"]
    entry["valueFrom"] = {"fieldRef": {"fieldPath": "metadata.name"}}


def swapped_handler(container: Body) -> None:
    del container["readinessProbe"]["httpGet"]
    container["readinessProbe"]["tcpSocket"] = {"port": "http"}


def privileged(container: Body) -> None:
    container["securityContext"] |= {"privileged": True, "allowPrivilegeEscalation": True}


def swapped_volume(pod: Body) -> None:
    volume = next(one for one in pod["volumes"] if one["name"] == "agent-config")
    del volume["configMap"]
    volume["emptyDir"] = {}


def added_volume(pod: Body) -> None:
    pod["volumes"].append({"name": "theirs", "emptyDir": {}})
    pod["containers"][0]["volumeMounts"].append({"name": "theirs", "mountPath": "/theirs"})


def forgotten_with_an_edit(body: Body) -> None:
    body["metadata"]["managedFields"] = [{}]
    body["spec"]["replicas"] = 5


def copied(stage: Stage) -> None:
    body = stage.live()
    for key in ("uid", "resourceVersion", "managedFields", "creationTimestamp", "generation"):
        body["metadata"].pop(key)
    stage.kubectl("delete", "deployment", NAME)
    stage.kubectl("create", "-f", "-", input=json.dumps(body))


def by_a_stranger(stage: Stage) -> None:
    stage.kubectl("delete", "service", NAME)
    stage.kubectl("create", "service", "clusterip", NAME, "--tcp=80:80")


def owned(controller: bool) -> Callable[[Stage], None]:
    def change(stage: Stage) -> None:
        stage.kubectl("create", "configmap", "owner")
        uid = stage.live("configmap", "owner")["metadata"]["uid"]
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "controller": controller}
        stage.merge({"metadata": {"ownerReferences": [reference]}}, "service")

    return change


def scaled_by_an_autoscaler(stage: Stage) -> None:
    stage.kubectl("autoscale", "deployment", NAME, "--min=3", "--max=5", "--cpu=80%")
    stage.plane.wait_for("the autoscaler's count", lambda: stage.live()["spec"]["replicas"] == 3)


def gone_after(stage: Stage) -> bool:
    """Take a finalizer away again, so that the namespace can go; whether it was still there."""
    there: bool = stage.live("service")["metadata"].get("finalizers") == ["example.com/keep"]
    stage.merge({"metadata": {"finalizers": None}}, "service")
    return there


OF_PODS = {
    "kubectl set image": undone(
        kubectl("set", "image", f"deployment/{NAME}", "agent=other:2"), "Deployment", (f"{AGENT}.image", "kubectl-set")
    ),
    "kubectl set env changes one": undone(
        kubectl("set", "env", f"deployment/{NAME}", "LEVEL=debug"),
        "Deployment",
        (f"{AGENT}.env[LEVEL].value", "kubectl-set"),
    ),
    "kubectl set env fills an empty one": undone(
        kubectl("set", "env", f"deployment/{NAME}", "EMPTY=x"),
        "Deployment",
        (f"{AGENT}.env[EMPTY].value", "kubectl-set"),
    ),
    "kubectl set env adds one": Foreign(
        change=kubectl("set", "env", f"deployment/{NAME}", "NEW=1"),
        kept=lambda stage: any(one["name"] == "NEW" for one in stage.container()["env"]),
    ),
    "kubectl set env removes one": undone(
        kubectl("set", "env", f"deployment/{NAME}", "LEVEL-"),
        "Deployment",
        (f"{AGENT}.env[LEVEL].name", ""),
        (f"{AGENT}.env[LEVEL].value", ""),
    ),
    "a variable gets another source": undone(
        in_container(swapped_source),
        "Deployment",
        (f"{AGENT}.env[LEVEL].value", ""),
        (f"{AGENT}.env[LEVEL].valueFrom", "kubectl-edit"),
    ),
    "kubectl set resources below our request": undone(
        kubectl("set", "resources", f"deployment/{NAME}", "--limits=cpu=50m", "--requests=cpu=10m"),
        "Deployment",
        (f"{AGENT}.resources.requests.cpu", "kubectl-set"),
        (f"{AGENT}.resources.limits.cpu", "kubectl-set"),
    ),
    "a quantity in another notation": Foreign(
        change=in_container(lambda one: one["resources"]["limits"].update(memory="268435456"))
    ),
    "arguments are changed": undone(
        in_container(lambda one: one.update(args=["--slow"])), "Deployment", (f"{AGENT}.args", "kubectl-edit")
    ),
    "arguments are removed": undone(in_container(lambda one: one.pop("args")), "Deployment", (f"{AGENT}.args", "")),
    "a probe gets another handler": undone(
        in_container(swapped_handler),
        "Deployment",
        (f"{AGENT}.readinessProbe.httpGet.path", ""),
        (f"{AGENT}.readinessProbe.httpGet.port", ""),
        (f"{AGENT}.readinessProbe.httpGet.scheme", ""),
        (f"{AGENT}.readinessProbe.tcpSocket", "kubectl-edit"),
    ),
    "a container port is moved": undone(
        in_container(lambda one: one["ports"][0].update(containerPort=9090)),
        "Deployment",
        *((f"{AGENT}.ports[8080].{key}", "") for key in ("name", "containerPort", "protocol")),
        (f"{AGENT}.ports[9090]", "kubectl-edit"),
    ),
    "a sidecar is injected by an update": Foreign(
        change=in_pod(lambda pod: pod["containers"].append(SIDECAR)),
        kept=lambda stage: stage.container("sidecar")["image"] == "proxy:1",
    ),
    "a sidecar is injected by an apply": Foreign(
        change=lambda stage: stage.apply_as("mesh", {"template": {"spec": {"containers": [SIDECAR]}}}),
        kept=lambda stage: stage.container("sidecar")["image"] == "proxy:1",
    ),
    "an init container is injected": Foreign(
        change=in_pod(lambda pod: pod.update(initContainers=[SIDECAR])),
        kept=lambda stage: len(stage.pod()["initContainers"]) == 1,
    ),
    "a volume is injected": Foreign(
        change=in_pod(added_volume),
        kept=lambda stage: any(one["name"] == "theirs" for one in stage.container()["volumeMounts"]),
    ),
    "our volume gets another source": undone(
        in_pod(swapped_volume),
        "Deployment",
        (f"{POD}.volumes[agent-config].configMap.name", ""),
        (f"{POD}.volumes[agent-config].emptyDir", "kubectl-edit"),
    ),
    "kubectl rollout restart": Foreign(
        change=kubectl("rollout", "restart", f"deployment/{NAME}"),
        kept=lambda stage: (
            "kubectl.kubernetes.io/restartedAt" in stage.live()["spec"]["template"]["metadata"]["annotations"]
        ),
    ),
    "a container becomes privileged": undone(
        in_container(privileged),
        "Deployment",
        (f"{AGENT}.securityContext.allowPrivilegeEscalation", "kubectl-edit"),
        (f"{AGENT}.securityContext.privileged", "kubectl-edit"),
    ),
    "a profile of the node": undone(
        in_pod(
            lambda pod: pod["securityContext"].update(seccompProfile={"type": "Localhost", "localhostProfile": "a"})
        ),
        "Deployment",
        (f"{POD}.securityContext.seccompProfile.type", "kubectl-edit"),
        (f"{POD}.securityContext.seccompProfile.localhostProfile", "kubectl-edit"),
    ),
    "kubectl set serviceaccount": undone(
        kubectl("set", "serviceaccount", f"deployment/{NAME}", "default"),
        "Deployment",
        (f"{POD}.serviceAccountName", "kubectl-set"),
    ),
}
OF_DEPLOYMENTS = {
    "kubectl scale": undone(
        kubectl("scale", f"deployment/{NAME}", "--replicas=5"), "Deployment", ("spec.replicas", "kubectl")
    ),
    "kubectl rollout pause": undone(
        kubectl("rollout", "pause", f"deployment/{NAME}"), "Deployment", ("spec.paused", "kubectl-rollout")
    ),
    "another strategy": undone(
        patched("deployment", {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}),
        "Deployment",
        ("spec.strategy.type", "kubectl-patch"),
        ("spec.strategy.rollingUpdate.maxSurge", ""),
    ),
    "a longer wait": undone(
        patched("deployment", {"spec": {"minReadySeconds": 60}}),
        "Deployment",
        ("spec.minReadySeconds", "kubectl-patch"),
    ),
    "a real autoscaler": Foreign(
        change=scaled_by_an_autoscaler,
        drift=(Left(kind="Deployment", path="spec.replicas", by="kube-controller-manager"),),
        kept=lambda stage: stage.live()["spec"]["replicas"] == 3,
    ),
    "another autoscaling controller": Foreign(
        change=patched("deployment", {"spec": {"replicas": 4}}, "--field-manager=keda-controller"),
        drift=(Left(kind="Deployment", path="spec.replicas", by="keda-controller"),),
        kept=lambda stage: stage.live()["spec"]["replicas"] == 4,
    ),
    "another Apply manager says the same": Foreign(change=lambda stage: stage.apply_as("policy", {"replicas": 2})),
    "another Apply manager takes a field by force": Foreign(
        change=lambda stage: stage.apply_as("policy", {"replicas": 4}, "--force-conflicts"),
        drift=(Left(kind="Deployment", path="spec.replicas", by="policy"),),
        kept=lambda stage: stage.live()["spec"]["replicas"] == 4,
    ),
    "kubectl label adds one": Foreign(
        change=kubectl("label", f"deployment/{NAME}", "cost=shared"),
        kept=lambda stage: stage.live()["metadata"]["labels"]["cost"] == "shared",
    ),
    "kubectl label changes ours": undone(
        kubectl("label", "--overwrite", f"deployment/{NAME}", "app.kubernetes.io/component=x"),
        "Deployment",
        ("metadata.labels.app.kubernetes.io/component", "kubectl-label"),
    ),
    "kubectl label removes ours": undone(
        kubectl("label", f"deployment/{NAME}", "app.kubernetes.io/component-"),
        "Deployment",
        ("metadata.labels.app.kubernetes.io/component", ""),
    ),
    "kubectl annotate adds one": Foreign(
        change=kubectl("annotate", f"deployment/{NAME}", "note=x"),
        kept=lambda stage: stage.live()["metadata"]["annotations"]["note"] == "x",
    ),
    "our mark is removed": undone(
        kubectl("annotate", f"deployment/{NAME}", f"{MARK}-"), "Deployment", (f"metadata.annotations.{MARK}", "")
    ),
    "our mark becomes another fleet's": Foreign(
        change=kubectl("annotate", "--overwrite", f"deployment/{NAME}", f"{MARK}=apps/Deployment:a/b:other"),
        hold="foreign-owner",
    ),
    "managedFields are cleared": undone(
        patched("deployment", {"metadata": {"managedFields": [{}]}}), "Deployment", ("metadata.managedFields", "")
    ),
    "managedFields are cleared with an edit": undone(
        edited(forgotten_with_an_edit), "Deployment", ("metadata.managedFields", ""), ("spec.replicas", "")
    ),
    "status is written": Foreign(
        change=patched("deployment", {"status": {"observedGeneration": 1}}, "--subresource=status")
    ),
    "it is deleted": Foreign(change=kubectl("delete", "deployment", NAME), verbs={"Deployment": Verb.CREATE}),
    "it is deleted and a copy made": Foreign(change=copied, verbs={"Deployment": Verb.APPLY}),
}
PORTS = tuple((f"spec.ports[8080].{key}", "") for key in ("name", "port", "protocol", "targetPort"))
OF_OTHERS = {
    "a Service becomes a NodePort": undone(
        patched("service", {"spec": {"type": "NodePort"}}), "Service", ("spec.type", "kubectl-patch")
    ),
    "a Service becomes a load balancer": undone(
        patched("service", {"spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}}),
        "Service",
        ("spec.type", "kubectl-patch"),
        ("spec.loadBalancerSourceRanges", "kubectl-patch"),
    ),
    "a Service leads elsewhere": undone(
        patched("service", {"spec": {"type": "ExternalName", "externalName": "example.com"}}),
        "Service",
        ("spec.type", "kubectl-patch"),
    ),
    "a selector is added to": undone(
        patched("service", {"spec": {"selector": {"version": "blue"}}}), "Service", ("spec.selector", "kubectl-patch")
    ),
    "a Service's port is moved": undone(
        edited(lambda body: body["spec"]["ports"][0].update(port=9090), "service"),
        "Service",
        *PORTS,
        ("spec.ports[9090]", "kubectl-edit"),
    ),
    "a port is added": Foreign(
        change=edited(lambda body: body["spec"]["ports"].append({"name": "more", "port": 9090}), "service"),
        kept=lambda stage: len(stage.live("service")["spec"]["ports"]) == 2,
    ),
    "a target port is changed": undone(
        edited(lambda body: body["spec"]["ports"][0].update(targetPort=9090), "service"),
        "Service",
        ("spec.ports[8080].targetPort", "kubectl-edit"),
    ),
    "a finalizer is added": Foreign(
        change=patched("service", {"metadata": {"finalizers": ["example.com/keep"]}}), kept=gone_after
    ),
    "an owner is added": Foreign(
        change=owned(controller=False),
        kept=lambda stage: stage.live("service")["metadata"]["ownerReferences"][0]["name"] == "owner",
    ),
    "a controller owns it": Foreign(change=owned(controller=True), hold="foreign-owner"),
    "a stranger's object has the name": Foreign(change=by_a_stranger, hold="foreign-owner"),
    "a key is added": Foreign(
        change=patched("configmap", {"data": {"theirs": "x"}}),
        kept=lambda stage: stage.live("configmap")["data"]["theirs"] == "x",
    ),
    "a key is changed": undone(
        patched("configmap", {"data": {"agent.json": "{}"}}), "ConfigMap", ("data.agent.json", "kubectl-patch")
    ),
    "a key is removed": undone(
        patched("configmap", {"data": {"agent.json": None}}), "ConfigMap", ("data.agent.json", "")
    ),
    "a ConfigMap is sealed and Git changes": Foreign(
        change=patched("configmap", {"immutable": True}),
        git=PLAIN + "  systemMessage: Another.\n",
        verbs={"ConfigMap": Verb.REPLACE, "Deployment": Verb.APPLY},
    ),
    "a budget gets the other bound": undone(
        patched("poddisruptionbudget", {"spec": {"maxUnavailable": None, "minAvailable": 1}}),
        "PodDisruptionBudget",
        ("spec.maxUnavailable", ""),
        ("spec.minAvailable", "kubectl-patch"),
    ),
    "a budget is changed": undone(
        patched("poddisruptionbudget", {"spec": {"maxUnavailable": 2}}),
        "PodDisruptionBudget",
        ("spec.maxUnavailable", "kubectl-patch"),
    ),
    "bounds of an autoscaler are changed": undone(
        patched("horizontalpodautoscaler", {"spec": {"maxReplicas": 9}}),
        "HorizontalPodAutoscaler",
        ("spec.maxReplicas", "kubectl-patch"),
        body=SCALING,
    ),
    "what an autoscaler scales is scaled": Foreign(
        change=kubectl("scale", f"deployment/{NAME}", "--replicas=3"), body=SCALING
    ),
    "an account gets secrets": Foreign(
        change=patched("serviceaccount", {"imagePullSecrets": [{"name": "pull"}], "secrets": [{"name": "token"}]}),
        kept=lambda stage: stage.live("serviceaccount")["imagePullSecrets"] == [{"name": "pull"}],
    ),
    "an account's token is mounted": undone(
        patched("serviceaccount", {"automountServiceAccountToken": True}),
        "ServiceAccount",
        ("automountServiceAccountToken", "kubectl-patch"),
    ),
}
CASES = OF_PODS | OF_DEPLOYMENTS | OF_OTHERS


@pytest.mark.parametrize("case", CASES)
async def test_it_is_judged_right(
    case: str,
    control_plane: ControlPlane,
    namespace: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("drift", case)
    foreign = CASES[case]
    async with staged(control_plane, namespace, tmp_path / "fleet", foreign.body) as stage:
        await assert_judged(stage, foreign)
