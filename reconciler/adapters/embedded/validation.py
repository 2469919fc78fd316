"""What makes an object invalid, beyond the types of its fields: names, required fields, ranges, what may not change.

Pure: an object in, problems out, in the words that API servers use (`spec.selector: Required value`). Covered are the
rules that a manifest written by hand meets. Pods are in `validation_pods`, values of every kind in `validation_leaves`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reconciler.adapters.embedded import validation_leaves as leaf
from reconciler.adapters.embedded.schema_tables import Kind, kind_of
from reconciler.adapters.embedded.validation_pods import pod_spec
from reconciler.model.errors import Rejected
from reconciler.model.identity import ObjectRef
from reconciler.model.units import stored_amount

Body = dict[str, Any]

_SERVICE = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}\Z")
_MAX_DATA = 1_048_576
_MAX_STABILIZATION_S, _MAX_PERIOD_S = 3_600, 1_800
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
    if kind.namespaced and not leaf.LABEL.match(namespace):
        raise Rejected(
            f"{ref}: metadata.namespace: Invalid value: {namespace[:80]!r}: must be an RFC 1123 label", ref=ref
        )
    return kind, ref


def validate_create(body: Body, kind: Kind, ref: ObjectRef) -> None:
    """Raises Rejected with every problem of a new object."""
    problems = [*_name(kind, ref), *leaf.metadata(body["metadata"], "metadata")]
    check = _CHECKS.get(kind.name)
    if check is not None:
        problems += check(body)
    _refuse(problems, kind, ref)


def validate_update(live: Body, body: Body, kind: Kind, ref: ObjectRef) -> None:
    """Raises Rejected with every problem of a changed object, changes of what may not change first."""
    problems = [*_immutable(live, body, kind), *leaf.metadata(body["metadata"], "metadata")]
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
    label = {"Service": _SERVICE, "Namespace": leaf.LABEL}.get(kind.name, leaf.SUBDOMAIN)
    if len(ref.name) > 253 or not label.match(ref.name):
        what = {"Service": "a DNS-1035 label", "Namespace": "an RFC 1123 label"}.get(kind.name, "an RFC 1123 subdomain")
        yield f"metadata.name: Invalid value: {ref.name[:80]!r}: must be {what}, lower case"


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
        yield from leaf.not_negative(spec.get(name), f"spec.{name}")
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
            yield from leaf.count(rolling.get(name), f"{path}.rollingUpdate.{name}")
        yield from leaf.at_most_all(rolling.get("maxUnavailable"), f"{path}.rollingUpdate.maxUnavailable")
        if all(rolling.get(name) in (0, "0%") for name in ("maxSurge", "maxUnavailable")):
            yield f"{path}.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"


def _workload(body: Body) -> Iterator[str]:
    spec = body["spec"]
    yield from leaf.not_negative(spec.get("replicas"), "spec.replicas")
    selector, template = spec.get("selector"), spec.get("template", {})
    if selector is None:
        yield "spec.selector: Required value"
    else:
        yield from leaf.selector(selector, "spec.selector")
        labels = template.get("metadata", {}).get("labels", {})
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield "spec.selector: Invalid value: empty selector is invalid"
        elif any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
            yield "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"
    yield from leaf.metadata(template.get("metadata", {}), "spec.template.metadata")
    pod = template.get("spec", {})
    yield from pod_spec(pod, "spec.template.spec")
    if pod.get("restartPolicy", "Always") != "Always":
        yield 'spec.template.spec.restartPolicy: Unsupported value: supported values: "Always"'


def _pod(body: Body) -> Iterator[str]:
    yield from pod_spec(body["spec"], "spec")


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
    if spec.get("ipFamilyPolicy") == "RequireDualStack" or len(spec.get("ipFamilies", ())) > 1:
        yield "spec.ipFamilyPolicy: Invalid value: this cluster is not configured for dual-stack services"
    if spec.get("sessionAffinity") not in {"None", "ClientIP"}:
        yield f"spec.sessionAffinity: Unsupported value: {spec.get('sessionAffinity')!r}"
    for key, value in spec.get("selector", {}).items():
        yield from leaf.qualified(key, "spec.selector")
        yield from leaf.label_value(value, "spec.selector")


def _service_ports(ports: Sequence[Body]) -> Iterator[str]:
    names = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        yield from leaf.port(port.get("port"), f"{where}.port")
        yield from leaf.protocol(port.get("protocol"), f"{where}.protocol")
        target = port.get("targetPort")
        if isinstance(target, int):
            yield from leaf.port(target, f"{where}.targetPort")
        elif not leaf.PORT_NAME.match(str(target)):
            yield f"{where}.targetPort: Invalid value: {target!r}: at most 15 of a-z, 0-9 and '-', one a letter"
        name = port.get("name", "")
        if len(ports) > 1 and not name:
            yield f"{where}.name: Required value"
        if name:
            yield from leaf.dns_label(name, f"{where}.name")
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
    for key in body.get("data", {}).keys() & body.get("binaryData", {}).keys():
        yield f"data[{key}]: Invalid value: {key!r}: duplicate of key present in binaryData"
    for key, value in {**body.get("binaryData", {}), **(body.get("data", {}) if _is_secret(body) else {})}.items():
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            yield f"data[{key[:80]}]: Invalid value: illegal base64 data"
    if size > _MAX_DATA:
        yield f"data: Too long: may not be more than {_MAX_DATA} bytes"


def _is_secret(body: Body) -> bool:
    return bool(body["kind"] == "Secret")


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

    for index, metric in enumerate(spec.get("metrics", ())):
        for source in metric.values():
            if isinstance(source, dict):
                yield from _metric(source, f"spec.metrics[{index}]")
    for name, rules in spec.get("behavior", {}).items():
        yield from _scaling_rules(rules, f"spec.behavior.{name}")


def _metric(source: Body, path: str) -> Iterator[str]:
    """A metric's name is part of the address at which it is asked for; what is aimed at is more than nothing."""
    name = source.get("metric", {}).get("name", "")
    if name in {".", ".."} or "/" in name or "%" in name:
        yield f"{path}.metric.name: Invalid value: {name[:80]!r}: may not be '.' or '..', nor contain '/' or '%'"
    for key in ("value", "averageValue"):
        if key in source["target"] and stored_amount(source["target"][key]) <= 0:
            yield f"{path}.target.{key}: Invalid value: {source['target'][key]!r}: must be positive"


def _scaling_rules(rules: Body, path: str) -> Iterator[str]:
    if not 0 <= rules.get("stabilizationWindowSeconds", 0) <= _MAX_STABILIZATION_S:
        yield f"{path}.stabilizationWindowSeconds: Invalid value: must be between 0 and {_MAX_STABILIZATION_S}"
    for index, policy in enumerate(rules.get("policies", ())):
        if policy.get("periodSeconds", 0) > _MAX_PERIOD_S:
            yield f"{path}.policies[{index}].periodSeconds: Invalid value: must be at most {_MAX_PERIOD_S}"
        for key in ("value", "periodSeconds"):
            if policy.get(key, 0) < 1:
                yield f"{path}.policies[{index}].{key}: Invalid value: {policy.get(key, 0)}: must be greater than zero"


def _disruption(body: Body) -> Iterator[str]:
    spec = body.get("spec", {})
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield "spec: Invalid value: minAvailable and maxUnavailable cannot be both set"
    for name in ("minAvailable", "maxUnavailable"):
        yield from leaf.count(spec.get(name), f"spec.{name}")
        yield from leaf.at_most_all(spec.get(name), f"spec.{name}")
    yield from leaf.selector(spec.get("selector") or {}, "spec.selector")


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
