"""The fields that we emit, kind by kind, with their types: what a strict API server would accept of them.

A table of its own, written from the Kubernetes API reference and not from the code under test. `check` names every
field that is unknown, of another type, missing though required, or holds a value that would not be stored (but for
those that are said so that they are ours).
"""

from __future__ import annotations

import re
from typing import Any

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?\Z")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
QUANTITY = re.compile(r"[0-9]+([numkMGTPE]|[KMGTPE]i|e-?[0-9]+)?\Z")

COUNT_OR_PERCENT = "int-or-percent"
STRINGS = "map of strings"
LABELS = "labels"
QUANTITIES = "map of quantities"

SELECTOR = {"matchLabels!": LABELS}
META = {"name!": "name", "namespace!": "name", "labels!": LABELS, "annotations!": STRINGS}
PROBE = {
    "httpGet": {"path!": str, "port!": "port", "scheme!": ("HTTP", "HTTPS")},
    "tcpSocket": {"port!": "port"},
    "grpc": {"port!": int, "service!": "any string"},
    "exec": {"command!": [str]},
    "periodSeconds!": int,
    "timeoutSeconds!": int,
    "failureThreshold!": int,
    "successThreshold!": int,
    "initialDelaySeconds!": "zero or more",
}
CONTAINER = {
    "name!": "name",
    "image!": str,
    "command": [str],
    "args": ["any string"],
    "env!": [{"name!": str, "value": "any string", "valueFrom": {"secretKeyRef!": {"name!": str, "key!": str}}}],
    "ports": [{"name!": str, "containerPort!": int, "protocol!": ("TCP", "UDP")}],
    "resources": {"requests": QUANTITIES, "limits": QUANTITIES},
    "lifecycle": {"preStop!": {"sleep!": {"seconds!": int}}},
    "startupProbe": PROBE,
    "readinessProbe": PROBE,
    "livenessProbe": PROBE,
    "terminationMessagePolicy!": ("FallbackToLogsOnError",),
    "securityContext!": {
        "allowPrivilegeEscalation!": bool,
        "capabilities!": {"drop!": [str]},
        "readOnlyRootFilesystem!": (True,),
    },
    "volumeMounts!": [{"name!": str, "mountPath!": str, "readOnly": (True,)}],
}
POD = {
    "serviceAccountName!": "subdomain",
    "automountServiceAccountToken!": bool,
    "enableServiceLinks!": bool,
    "terminationGracePeriodSeconds!": int,
    "securityContext!": {"runAsNonRoot!": (True,), "runAsUser": int, "seccompProfile!": {"type!": ("RuntimeDefault",)}},
    "topologySpreadConstraints!": [
        {"maxSkew!": int, "topologyKey!": str, "whenUnsatisfiable!": ("ScheduleAnyway",), "labelSelector!": SELECTOR}
    ],
    "containers!": [CONTAINER],
    "volumes!": [{"name!": str, "configMap": {"name!": "name"}, "emptyDir": {}}],
}
TARGET = {
    "type!": ("Utilization", "AverageValue", "Value"),
    "averageUtilization": int,
    "averageValue": "quantity",
    "value": "quantity",
}
METRIC = {"name!": str, "selector": SELECTOR}
RULES = {
    "selectPolicy!": ("Max", "Min", "Disabled"),
    "stabilizationWindowSeconds": "zero or more",
    "policies": [{"type!": ("Pods", "Percent"), "value!": int, "periodSeconds!": int}],
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "ServiceAccount": ("v1", {"automountServiceAccountToken!": bool}),
    "ConfigMap": ("v1", {"data!": STRINGS}),
    "Service": (
        "v1",
        {
            "spec!": {
                "type!": ("ClusterIP",),
                "selector!": LABELS,
                "ports!": [{"name!": str, "port!": int, "protocol!": ("TCP", "UDP"), "targetPort!": "port"}],
            }
        },
    ),
    "Deployment": (
        "apps/v1",
        {
            "spec!": {
                "replicas": "zero or more",
                "paused!": (False,),
                "minReadySeconds!": "zero or more",
                "revisionHistoryLimit!": int,
                "progressDeadlineSeconds!": int,
                "selector!": SELECTOR,
                "strategy!": {
                    "type!": ("RollingUpdate",),
                    "rollingUpdate!": {"maxSurge!": COUNT_OR_PERCENT, "maxUnavailable!": COUNT_OR_PERCENT},
                },
                "template!": {"metadata!": {"labels!": LABELS, "annotations!": STRINGS}, "spec!": POD},
            }
        },
    ),
    "PodDisruptionBudget": (
        "policy/v1",
        {
            "spec!": {
                "selector!": SELECTOR,
                "minAvailable": COUNT_OR_PERCENT,
                "maxUnavailable": COUNT_OR_PERCENT,
                "unhealthyPodEvictionPolicy!": ("AlwaysAllow", "IfHealthyBudget"),
            }
        },
    ),
    "HorizontalPodAutoscaler": (
        "autoscaling/v2",
        {
            "spec!": {
                "scaleTargetRef!": {"apiVersion!": ("apps/v1",), "kind!": ("Deployment",), "name!": "name"},
                "minReplicas!": int,
                "maxReplicas!": int,
                "metrics!": [
                    {
                        "type!": ("Resource", "Pods", "Object", "External"),
                        "resource": {"name!": ("cpu", "memory"), "target!": TARGET},
                        "pods": {"metric!": METRIC, "target!": TARGET},
                        "object": {
                            "describedObject!": {"apiVersion": str, "kind!": str, "name!": str},
                            "metric!": METRIC,
                            "target!": TARGET,
                        },
                        "external": {"metric!": METRIC, "target!": TARGET},
                    }
                ],
                "behavior": {"scaleUp": RULES, "scaleDown": RULES},
            }
        },
    ),
}


HARDENING = ("securityContext!", "automountServiceAccountToken!", "enableServiceLinks!")
SERVICE_TYPE = "type!"
"""What pods have that were not there before their agent."""


def check(body: dict[str, Any], *, as_found: bool = False) -> list[str]:
    """What is wrong with an object; [] when nothing is."""
    version, shape = KINDS[body["kind"]]
    if as_found and body["kind"] == "Deployment":
        shape = _as_found(shape, HARDENING)
    if as_found and body["kind"] == "Service":
        shape = _as_found(shape, (SERVICE_TYPE,))
    whole = {"apiVersion!": (version,), "kind!": (body["kind"],), "metadata!": META, **shape}
    return list(_object(body, whole, ""))


def _as_found(shape: Any, without: tuple[str, ...]) -> Any:
    if isinstance(shape, dict):
        kept = {key: _as_found(inner, without) for key, inner in shape.items() if key not in without}
        if "runAsUser" in shape.get("securityContext!", ()) and "securityContext!" in without:
            kept["securityContext"] = {"runAsUser!": int}  # all that is said of them, where it is
        return kept
    return [_as_found(inner, without) for inner in shape] if isinstance(shape, list) else shape


def _object(value: Any, shape: dict[str, Any], path: str) -> Any:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
        return
    required = {key[:-1] for key in shape if key.endswith("!")}
    allowed = {key.rstrip("!"): kind for key, kind in shape.items()}
    yield from (f"{path}.{key} is missing" for key in required - value.keys())
    for key, item in value.items():
        if key not in allowed:
            yield f"{path}.{key} is no field"
        else:
            yield from _value(item, allowed[key], f"{path}.{key}")


def _value(value: Any, kind: Any, path: str) -> Any:
    if isinstance(kind, dict):
        if kind and not value:
            yield f"{path}: an empty object is not stored"
        yield from _object(value, kind, path)
    elif isinstance(kind, list):
        if not isinstance(value, list) or not value:
            yield f"{path}: {value!r} is no list, or an empty one, which is not stored"
        else:
            for index, item in enumerate(value):
                yield from _value(item, kind[0], f"{path}[{index}]")
    elif not _LEAVES[kind](value) if isinstance(kind, str) else not _plain(value, kind):
        yield f"{path}: {value!r} is no {kind}"


def _plain(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return any(value == one and type(value) is type(one) for one in kind)
    if kind is int:
        return type(value) is int and value > 0  # zero is what absence means in all of these
    return type(value) is kind and value != ""


def _is_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(
        LABEL_KEY.match(key) and isinstance(item, str) and LABEL_VALUE.match(item) for key, item in value.items()
    )


_LEAVES: dict[str, Any] = {
    "subdomain": lambda value: isinstance(value, str) and all(map(DNS_LABEL.match, value.split("."))),
    "name": lambda value: isinstance(value, str) and DNS_LABEL.match(value),
    "port": lambda value: (type(value) is int and 0 < value < 65536) or (isinstance(value, str) and value),
    "any string": lambda value: isinstance(value, str),
    "zero or more": lambda value: type(value) is int and value >= 0,
    "quantity": lambda value: isinstance(value, str) and QUANTITY.match(value),
    COUNT_OR_PERCENT: lambda value: (
        (type(value) is int and value >= 0) or (isinstance(value, str) and re.fullmatch(r"[0-9]+%", value))
    ),
    STRINGS: lambda value: (
        isinstance(value, dict) and all(isinstance(part, str) for item in value.items() for part in item)
    ),
    LABELS: _is_labels,
    QUANTITIES: lambda value: (
        isinstance(value, dict) and value and all(QUANTITY.match(amount) for amount in value.values())
    ),
}
