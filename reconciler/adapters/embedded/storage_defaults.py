"""Fields that API servers fill in, one function a kind; they belong to no applier.

Covered: what the built-in defaulting of Kubernetes 1.36 stores for the kinds that are known here. Left out: what
admission plugins add to pods (tolerations, priority, tokens).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from reconciler.adapters.embedded.schema_tables import Kind

Body = dict[str, Any]

_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_MODE = 420
_STORAGE: dict[str, Body] = {
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "kind": "Shared", "readOnly": False},
    "iscsi": {"iscsiInterface": "default", "lun": 0},
    "rbd": {"keyring": "/etc/ceph/keyring", "pool": "rbd", "user": "admin"},
    "scaleIO": {"fsType": "xfs", "storageMode": "ThinProvisioned"},
}
_UP = [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]
_OF_OTHER_VERSIONS = frozenset(
    f"autoscaling.alpha.kubernetes.io/{name}" for name in ("behavior", "conditions", "current-metrics", "metrics")
)
"""Annotations in which autoscaling/v1 keeps what it has no fields for; in v2 they mean nothing."""
_DOWN = [{"type": "Percent", "value": 100, "periodSeconds": 15}]


def set_defaults(body: Body, kind: Kind) -> Body:
    """Fill in what is missing, in place, and answer the same dict."""
    function = _BY_KIND.get(kind.name)
    if function is not None:
        function(body)
    return body


def _deployment(body: Body) -> None:
    spec = body.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    _pod_spec(spec)


def _replica_set(body: Body) -> None:
    spec = body.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _pod_spec(spec)


def _pod(body: Body) -> None:
    spec = body.setdefault("spec", {})
    spec.setdefault("enableServiceLinks", True)
    _pod_defaults(spec)
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        resources = container["resources"]
        for name, limit in resources.get("limits", {}).items():
            resources.setdefault("requests", {}).setdefault(name, limit)
    body.setdefault("status", {}).setdefault("phase", "Pending")


def _pod_spec(spec: Body) -> None:
    pod = spec.setdefault("template", {}).get("spec")
    if pod is not None:
        _pod_defaults(pod)


def _pod_defaults(pod: Body) -> None:
    pod.setdefault("dnsPolicy", "ClusterFirst")
    pod.setdefault("restartPolicy", "Always")
    pod.setdefault("schedulerName", "default-scheduler")
    pod.setdefault("securityContext", {})
    pod.setdefault("terminationGracePeriodSeconds", 30)
    account = pod.get("serviceAccountName") or pod.get("serviceAccount")
    if account:
        pod["serviceAccountName"] = pod["serviceAccount"] = account
    for name in ("containers", "initContainers", "ephemeralContainers"):
        for container in pod.get(name, ()):
            _container(container)
    for volume in pod.get("volumes", ()):
        _volume(volume)


def _container(container: Body) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = _pull_policy(container.get("image", ""))
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is not None:
            for key, value in _PROBE.items():
                probe.setdefault(key, value)
            _handler(probe)
    for handler in container.get("lifecycle", {}).values():
        if isinstance(handler, dict):
            _handler(handler)
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        _of_the_pod(source)
        if "fileKeyRef" in source:
            source["fileKeyRef"].setdefault("optional", False)


def _of_the_pod(source: Body) -> None:
    """A field or a resource of the pod itself, wherever it is asked for."""
    if "fieldRef" in source:
        source["fieldRef"].setdefault("apiVersion", "v1")
    if "resourceFieldRef" in source:
        source["resourceFieldRef"].setdefault("divisor", "0")


def _pull_policy(image: str) -> str:
    """Always for `latest`, and for neither a tag nor a digest."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2] or ("" if digest else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def _handler(handler: Body) -> None:
    http = handler.get("httpGet")
    if http is not None:
        http.setdefault("path", "/")
        http.setdefault("scheme", "HTTP")
    grpc = handler.get("grpc")
    if grpc is not None:
        grpc.setdefault("service", "")


def _volume(volume: Body) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if source in volume:
            volume[source].setdefault("defaultMode", _MODE)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    if "image" in volume and "pullPolicy" not in volume["image"]:
        volume["image"]["pullPolicy"] = _pull_policy(volume["image"].get("reference", ""))
    for item in (volume, *volume.get("projected", {}).get("sources", ())):
        _volume_source(item)
    for source, defaults in _STORAGE.items():
        for key, value in defaults.items() if source in volume else ():
            volume[source].setdefault(key, value)


def _volume_source(source: Body) -> None:
    if "serviceAccountToken" in source:
        source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    for file in source.get("downwardAPI", {}).get("items", ()):
        _of_the_pod(file)
    template = source.get("ephemeral", {}).get("volumeClaimTemplate")
    if template is not None:
        template.setdefault("metadata", {})
        claim = template.setdefault("spec", {})
        claim.setdefault("volumeMode", "Filesystem")
        claim.setdefault("resources", {})


def _service(body: Body) -> None:
    spec = body.setdefault("spec", {})
    if spec.setdefault("sessionAffinity", "None") == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault("timeoutSeconds", 10_800)
    type_ = spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port")
    if type_ == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    if type_ in {"NodePort", "LoadBalancer"} or spec.get("externalIPs"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if type_ == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    body.setdefault("status", {}).setdefault("loadBalancer", {})


def _autoscaler(body: Body) -> None:
    annotations = body["metadata"].get("annotations", {})
    for name in _OF_OTHER_VERSIONS & annotations.keys():
        del annotations[name]
    spec = body.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is None:
        return
    up = behavior.setdefault("scaleUp", {})
    up.setdefault("stabilizationWindowSeconds", 0)
    for rules, policies in ((up, _UP), (behavior.setdefault("scaleDown", {}), _DOWN)):
        rules.setdefault("selectPolicy", "Max")
        if not rules.get("policies"):
            rules["policies"] = [dict(policy) for policy in policies]


def _secret(body: Body) -> None:
    body.setdefault("type", "Opaque")
    for key, text in body.pop("stringData", {}).items():
        body.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()


def _namespace(body: Body) -> None:
    metadata = body["metadata"]
    metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]
    body.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    body.setdefault("status", {}).setdefault("phase", "Active")


_BY_KIND: dict[str, Callable[[Body], None]] = {
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "Pod": _pod,
    "Service": _service,
    "HorizontalPodAutoscaler": _autoscaler,
    "Secret": _secret,
    "Namespace": _namespace,
}
