"""What makes an object invalid, beyond the types of its fields: names, required fields, ranges, what may not change.

Pure: an object in, problems out, in the words that API servers use (`spec.selector: Required value`). Covered are the
rules that a manifest written by hand meets; rare field combinations of pods are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reconciler.adapters.embedded.schema_tables import Kind, kind_of
from reconciler.model.errors import Rejected
from reconciler.model.identity import ObjectRef
from reconciler.model.units import stored_amount

Body = dict[str, Any]

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z")
_SERVICE = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}\Z")
_PORT_NAME = re.compile(r"(?=[-a-z0-9]{1,15}\Z)(?=.*[a-z])(?!.*--)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\Z")
_ENV_NAME = re.compile(r"[ -<>-~]+\Z")
_PERCENT = re.compile(r"[0-9]{1,9}%\Z")
_RESTART = frozenset({"Always", "OnFailure", "Never"})
_PROTOCOLS = frozenset({"TCP", "UDP", "SCTP"})
_MAX_DATA = 1_048_576
_MAX_ANNOTATIONS = 262_144
_MUTABLE_IN_POD = frozenset(
    {"activeDeadlineSeconds", "tolerations", "containers", "initContainers", "terminationGracePeriodSeconds"}
)
MAX_OBJECT = 3 * 1_048_576
"""Bytes; what API servers take in one request."""


def admit(obj: Any) -> tuple[Kind, ObjectRef]:
    """The kind and reference of an incoming object. Raises Rejected when it has none that can be."""
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
        raise Rejected("an object is a mapping with apiVersion, kind and metadata")
    api_version, name = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(api_version, str) or not isinstance(name, str) or not api_version or not name:
        raise Rejected("apiVersion and kind must be set, as text")
    group, _, version = api_version.rpartition("/")
    kind = kind_of(group, name)
    metadata = obj["metadata"]
    texts = {key: metadata.get(key) or "" for key in ("name", "namespace", "generateName")}
    if any(not isinstance(text, str) for text in texts.values()):
        raise Rejected(f"{name}: metadata.name and metadata.namespace must be text")
    namespace = (texts["namespace"] or "default") if kind.namespaced else ""
    ref = ObjectRef(group=group, kind=name, namespace=namespace, name=texts["name"])
    if version != kind.version:
        raise Rejected(f"no matches for kind {name!r} in version {api_version!r}; it is {kind.api_version}", ref=ref)
    if not kind.namespaced and texts["namespace"]:
        raise Rejected(f"{ref}: metadata.namespace: Forbidden: not allowed on this type", ref=ref)
    if not ref.name:
        raise Rejected(f"{ref}: metadata.name: Required value: name or generateName is required", ref=ref)
    if kind.namespaced and not _LABEL.match(namespace):
        raise Rejected(
            f"{ref}: metadata.namespace: Invalid value: {namespace[:80]!r}: must be an RFC 1123 label", ref=ref
        )
    return kind, ref


def validate_create(body: Body, kind: Kind, ref: ObjectRef) -> None:
    """Raises Rejected with every problem of a new object."""
    problems = [*_name(kind, ref), *_metadata(body["metadata"], "metadata")]
    check = _CHECKS.get(kind.name)
    if check is not None:
        problems += check(body)
    _refuse(problems, kind, ref)


def validate_update(live: Body, body: Body, kind: Kind, ref: ObjectRef) -> None:
    """Raises Rejected with every problem of a changed object, changes of what may not change first."""
    problems = [*_immutable(live, body, kind), *_metadata(body["metadata"], "metadata")]
    check = _CHECKS.get(kind.name)
    if check is not None:
        problems += check(body)
    _refuse(problems, kind, ref)


def _refuse(problems: list[str], kind: Kind, ref: ObjectRef) -> None:
    if problems:
        name = f"{kind.name}.{kind.group}" if kind.group else kind.name
        text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        raise Rejected(f'{name} "{ref.name}" is invalid: {text}', ref=ref)


def _name(kind: Kind, ref: ObjectRef) -> Iterator[str]:
    label = {"Service": _SERVICE, "Namespace": _LABEL}.get(kind.name, _SUBDOMAIN)
    if len(ref.name) > 253 or not label.match(ref.name):
        what = {"Service": "a DNS-1035 label", "Namespace": "an RFC 1123 label"}.get(kind.name, "an RFC 1123 subdomain")
        yield f"metadata.name: Invalid value: {ref.name[:80]!r}: must be {what}, lower case"


def _metadata(metadata: Body, path: str) -> Iterator[str]:
    for key, value in metadata.get("labels", {}).items():
        yield from _qualified(key, f"{path}.labels")
        yield from _label_value(value, f"{path}.labels")
    size = 0
    for key, value in metadata.get("annotations", {}).items():
        yield from _qualified(key, f"{path}.annotations")
        size += len(key) + len(value)
    if size > _MAX_ANNOTATIONS:
        yield f"{path}.annotations: Too long: may not be more than {_MAX_ANNOTATIONS} bytes"
    for owner in metadata.get("ownerReferences", ()):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                yield f"{path}.ownerReferences.{key}: Required value"


def _qualified(key: str, path: str) -> Iterator[str]:
    prefix, slash, name = key.rpartition("/")
    if not _QUALIFIED.match(name) or (slash and (len(prefix) > 253 or not _SUBDOMAIN.match(prefix.lower()))):
        yield f"{path}: Invalid value: {key[:80]!r}: must be a qualified name like 'example.com/name'"


def _label_value(value: str, path: str) -> Iterator[str]:
    if value and not _QUALIFIED.match(value):
        yield f"{path}: Invalid value: {value[:80]!r}: a label's value has at most 63 letters, digits, '-', '_' and '.'"


def _immutable(live: Body, body: Body, kind: Kind) -> Iterator[str]:
    old, new = live.get("spec", {}), body.get("spec", {})
    if kind.name in {"Deployment", "ReplicaSet"} and old.get("selector") != new.get("selector"):
        yield "spec.selector: Invalid value: field is immutable"
    if kind.name == "Service" and "ExternalName" not in {old.get("type"), new.get("type")}:
        for key in ("clusterIP", "clusterIPs"):
            if old.get(key) != new.get(key):
                yield f"spec.{key}: Invalid value: may not change once set"
    if kind.name in {"ConfigMap", "Secret"} and live.get("immutable") and _sealed(live) != _sealed(body):
        yield "data: Forbidden: field is immutable when `immutable` is set"
    if kind.name == "Secret" and live.get("type") != body.get("type"):
        yield "type: Invalid value: field is immutable"
    if kind.name == "Pod" and _frozen(old) != _frozen(new):
        yield "spec: Forbidden: pod updates may not change fields other than images and tolerations"


def _sealed(body: Body) -> list[Any]:
    return [body.get(key) for key in ("data", "binaryData", "immutable")]


def _frozen(spec: Body) -> Body:
    """What of a pod's spec may not change; a node may be given once."""
    result = {key: value for key, value in spec.items() if key not in _MUTABLE_IN_POD and key != "nodeName"}
    for name in ("containers", "initContainers"):
        keys = [{k: v for k, v in one.items() if k != "image"} for one in spec.get(name, ())]
        result[name] = keys
    return result


def _deployment(body: Body) -> Iterator[str]:
    yield from _workload(body)
    spec = body["spec"]
    for name in ("minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit"):
        yield from _not_negative(spec.get(name), f"spec.{name}")
    if spec.get("progressDeadlineSeconds", 600) <= spec.get("minReadySeconds", 0):
        yield "spec.progressDeadlineSeconds: Invalid value: must be greater than minReadySeconds"
    strategy = spec.get("strategy", {})
    rolling = strategy.get("rollingUpdate")
    path = "spec.strategy"
    if strategy.get("type") not in {"RollingUpdate", "Recreate"}:
        yield f'{path}.type: Unsupported value: {strategy.get("type")!r}: supported values: "Recreate", "RollingUpdate"'
    elif strategy["type"] == "Recreate" and rolling is not None:
        yield f"{path}.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"
    elif rolling is not None:
        for name in ("maxSurge", "maxUnavailable"):
            yield from _count(rolling.get(name), f"{path}.rollingUpdate.{name}")
        if all(rolling.get(name) in (0, "0%") for name in ("maxSurge", "maxUnavailable")):
            yield f"{path}.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"


def _workload(body: Body) -> Iterator[str]:
    spec = body["spec"]
    yield from _not_negative(spec.get("replicas"), "spec.replicas")
    selector, template = spec.get("selector"), spec.get("template", {})
    if selector is None:
        yield "spec.selector: Required value"
    else:
        yield from _selector(selector, "spec.selector")
        labels = template.get("metadata", {}).get("labels", {})
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield "spec.selector: Invalid value: empty selector is invalid"
        elif any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
            yield "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"
    yield from _metadata(template.get("metadata", {}), "spec.template.metadata")
    pod = template.get("spec", {})
    yield from _pod_spec(pod, "spec.template.spec")
    if pod.get("restartPolicy", "Always") != "Always":
        yield 'spec.template.spec.restartPolicy: Unsupported value: supported values: "Always"'


def _selector(selector: Body, path: str) -> Iterator[str]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield from _qualified(key, f"{path}.matchLabels")
        yield from _label_value(value, f"{path}.matchLabels")
    for item in selector.get("matchExpressions") or ():
        operator, values = item.get("operator"), item.get("values")
        if operator not in {"In", "NotIn", "Exists", "DoesNotExist"}:
            yield f"{path}.matchExpressions.operator: Invalid value: {operator!r}: not a valid selector operator"
        elif (operator in {"In", "NotIn"}) != bool(values):
            yield f"{path}.matchExpressions.values: must be set for In and NotIn, and only for them"


def _pod(body: Body) -> Iterator[str]:
    yield from _pod_spec(body["spec"], "spec")


def _pod_spec(pod: Body, path: str) -> Iterator[str]:
    containers = pod.get("containers", [])
    if not containers:
        yield f"{path}.containers: Required value"
    volumes = {volume.get("name") for volume in pod.get("volumes", ())}
    for volume in pod.get("volumes", ()):
        yield from _dns_label(volume.get("name"), f"{path}.volumes.name")
        if len(set(volume) - {"name"}) > 1:
            yield f"{path}.volumes[{volume.get('name')}]: Forbidden: may not specify more than 1 volume type"
    for name in ("containers", "initContainers"):
        for index, container in enumerate(pod.get(name, ())):
            yield from _container(container, volumes, f"{path}.{name}[{index}]")
    if pod.get("restartPolicy") not in _RESTART:
        yield f"{path}.restartPolicy: Unsupported value: {pod.get('restartPolicy')!r}"
    yield from _not_negative(pod.get("terminationGracePeriodSeconds"), f"{path}.terminationGracePeriodSeconds")


def _container(container: Body, volumes: set[Any], path: str) -> Iterator[str]:
    yield from _dns_label(container.get("name"), f"{path}.name")
    if not container.get("image", "").strip():
        yield f"{path}.image: Required value"
    yield from _container_ports(container.get("ports", ()), f"{path}.ports")
    for index, variable in enumerate(container.get("env", ())):
        yield from _variable(variable, f"{path}.env[{index}]")
    for index, mount in enumerate(container.get("volumeMounts", ())):
        if mount.get("name") not in volumes:
            yield f"{path}.volumeMounts[{index}].name: Not found: {mount.get('name')!r}"
    yield from _resources(container.get("resources", {}), f"{path}.resources")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            yield from _probe(container[name], f"{path}.{name}", settles=name == "readinessProbe")


def _container_ports(ports: Sequence[Body], path: str) -> Iterator[str]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        yield from _port(port.get("containerPort"), f"{where}.containerPort")
        yield from _protocol(port.get("protocol"), f"{where}.protocol")
        name = port.get("name", "")
        if name and not _PORT_NAME.match(name):
            yield f"{where}.name: Invalid value: {name[:80]!r}: at most 15 of a-z, 0-9 and '-', one of them a letter"
        if name and name in names:
            yield f"{where}.name: Duplicate value: {name!r}"
        names.add(name)


def _variable(variable: Body, path: str) -> Iterator[str]:
    if not _ENV_NAME.match(variable.get("name", "")):
        yield f"{path}.name: Invalid value: {variable.get('name', '')[:80]!r}: printable ASCII without '='"
    source = variable.get("valueFrom")
    if source is None:
        return
    if variable.get("value"):
        yield f"{path}.valueFrom: Invalid value: may not be specified when `value` is not empty"
    if len(source) != 1:
        yield f"{path}.valueFrom: Invalid value: must specify exactly one of its sources"


def _resources(resources: Body, path: str) -> Iterator[str]:
    limits = resources.get("limits", {})
    for group in ("requests", "limits"):
        for name, text in resources.get(group, {}).items():
            if text.startswith("-"):
                yield f"{path}.{group}[{name}]: Invalid value: {text!r}: must be greater than or equal to 0"
    for name, text in resources.get("requests", {}).items():
        limit = limits.get(name)
        if limit is not None and stored_amount(text) > stored_amount(limit):
            yield f"{path}.requests: Invalid value: {text!r}: must be less than or equal to {name} limit of {limit}"


def _probe(probe: Body, path: str, *, settles: bool) -> Iterator[str]:
    handlers = [name for name in ("exec", "grpc", "httpGet", "tcpSocket") if name in probe]
    if len(handlers) != 1:
        problem = "Required value: must specify a handler type" if not handlers else "Forbidden: one handler type only"
        yield f"{path}: {problem}"
    for name in ("failureThreshold", "initialDelaySeconds", "periodSeconds", "successThreshold", "timeoutSeconds"):
        yield from _not_negative(probe.get(name), f"{path}.{name}")
    if not settles and probe.get("successThreshold", 1) != 1:
        yield f"{path}.successThreshold: Invalid value: {probe['successThreshold']}: must be 1"


def _service(body: Body) -> Iterator[str]:
    spec = body["spec"]
    if spec["type"] not in {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}:
        yield f"spec.type: Unsupported value: {spec['type']!r}"
    ports = spec.get("ports", [])
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield "spec.ports: Required value"
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        yield "spec.externalName: Required value"
    yield from _service_ports(ports)
    if spec.get("sessionAffinity") not in {"None", "ClientIP"}:
        yield f"spec.sessionAffinity: Unsupported value: {spec.get('sessionAffinity')!r}"
    for key, value in spec.get("selector", {}).items():
        yield from _qualified(key, "spec.selector")
        yield from _label_value(value, "spec.selector")


def _service_ports(ports: Sequence[Body]) -> Iterator[str]:
    names = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        yield from _port(port.get("port"), f"{where}.port")
        yield from _protocol(port.get("protocol"), f"{where}.protocol")
        if isinstance(port.get("targetPort"), int):
            yield from _port(port["targetPort"], f"{where}.targetPort")
        name = port.get("name", "")
        if len(ports) > 1 and not name:
            yield f"{where}.name: Required value"
        if name:
            yield from _dns_label(name, f"{where}.name")
        if name and name in names:
            yield f"{where}.name: Duplicate value: {name!r}"
        names.add(name)


def _data(body: Body) -> Iterator[str]:
    size = 0
    for name in ("data", "binaryData"):
        for key, value in body.get(name, {}).items():
            size += len(value.encode())
            if not _DATA_KEY.match(key) or key in {".", ".."} or key.startswith(".."):
                yield f"{name}[{key[:80]}]: Invalid value: a key has letters, digits, '-', '_' and '.'"
    if size > _MAX_DATA:
        yield f"data: Too long: may not be more than {_MAX_DATA} bytes"


def _autoscaler(body: Body) -> Iterator[str]:
    spec = body["spec"]
    lowest, highest = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    if lowest < 1:
        yield f"spec.minReplicas: Invalid value: {lowest}: must be greater than or equal to 1"
    if highest < 1:
        yield "spec.maxReplicas: Invalid value: must be greater than 0"
    elif highest < lowest:
        yield f"spec.maxReplicas: Invalid value: {highest}: must be greater than or equal to `minReplicas`"
    target = spec.get("scaleTargetRef", {})
    for key in ("kind", "name"):
        if not target.get(key):
            yield f"spec.scaleTargetRef.{key}: Required value"


def _disruption(body: Body) -> Iterator[str]:
    spec = body.get("spec", {})
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield "spec: Invalid value: minAvailable and maxUnavailable cannot be both set"
    for name in ("minAvailable", "maxUnavailable"):
        yield from _count(spec.get(name), f"spec.{name}")
    yield from _selector(spec.get("selector") or {}, "spec.selector")


def _count(value: Any, path: str) -> Iterator[str]:
    """A number that is not negative, or a percentage."""
    if isinstance(value, str):
        if not _PERCENT.match(value):
            yield f"{path}: Invalid value: {value[:80]!r}: a valid percent string must be a number followed by '%'"
    else:
        yield from _not_negative(value, path)


def _not_negative(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, int) and value < 0:
        yield f"{path}: Invalid value: {value}: must be greater than or equal to 0"
    if isinstance(value, int) and value >= 2**31:
        yield f"{path}: Invalid value: {value}: must fit into 32 bits"


def _port(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, int):
        yield f"{path}: Required value"
    elif not 1 <= value <= 65_535:
        yield f"{path}: Invalid value: {value}: must be between 1 and 65535, inclusive"


def _protocol(value: Any, path: str) -> Iterator[str]:
    if value not in _PROTOCOLS:
        yield f'{path}: Unsupported value: {value!r}: supported values: "SCTP", "TCP", "UDP"'


def _dns_label(value: Any, path: str) -> Iterator[str]:
    if not value:
        yield f"{path}: Required value"
    elif not _LABEL.match(value):
        yield f"{path}: Invalid value: {value[:80]!r}: must be an RFC 1123 label: at most 63 of a-z, 0-9 and '-'"


_CHECKS: dict[str, Callable[[Body], Iterator[str]]] = {
    "Deployment": _deployment,
    "ReplicaSet": _workload,
    "Pod": _pod,
    "Service": _service,
    "ConfigMap": _data,
    "Secret": _data,
    "HorizontalPodAutoscaler": _autoscaler,
    "PodDisruptionBudget": _disruption,
}
