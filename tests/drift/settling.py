"""Manifests, what a plan says of them straight after an apply, and in what two clusters differ that were told the same.

The corpus is in `corpus/`: a folder a kind, and `refused` for what no cluster takes. Each file says what corner it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import FIELD_MANAGER, TRACKING_ANNOTATION, AnyState, LiveObject, Manifest, MustBe
from reconciler.model.registry import InventoryEntry
from reconciler.model.units import stored_amount
from reconciler.plan.foreign import tracking_id
from reconciler.plan.judgement import ObjectVerdict, Terms, judge
from reconciler.plan.ownership import lost_fields
from reconciler.ports import Cluster
from reconciler.render.canonical import digest

Body = dict[str, Any]
FLEET = "settling"
CORPUS = Path(__file__).parent / "corpus"
REFUSED = sorted(path.stem for path in (CORPUS / "refused").glob("*.yaml"))
ACCEPTED = sorted(
    f"{path.parent.name}/{path.stem}" for path in CORPUS.glob("*/*.yaml") if path.parent.name != "refused"
)
_SERVERS = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "selfLink", "generation")


def manifest(name: str, namespace: str) -> Manifest:
    """A file of the corpus, as an object of a fleet."""
    body = yaml.load((CORPUS / f"{name}.yaml").read_bytes(), yaml.CSafeLoader)
    return manifest_of(body, namespace)


def manifest_of(body: Body, namespace: str) -> Manifest:
    group = body["apiVersion"].rpartition("/")[0]
    metadata = body["metadata"] | {"namespace": namespace}
    ref = ObjectRef(group=group, kind=body["kind"], namespace=namespace, name=metadata["name"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TRACKING_ANNOTATION: tracking_id(ref, FLEET)}
    body = {**body, "metadata": metadata}
    return Manifest(ref=ref, body=body, hash=digest(body), agent=AgentName(namespace=namespace, name="any"))


def bare(wanted: Manifest) -> Manifest:
    """The least that an object of that name can be: what it becomes when all that may be dropped is dropped."""
    body, spec = wanted.body, wanted.body.get("spec") or {}
    least: Body = {key: body[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": wanted.ref.name}}
    match body["kind"]:
        case "Deployment":
            pod = spec["template"]
            container = {"name": pod["spec"]["containers"][0]["name"], "image": "bare:1"}
            template = {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": {"containers": [container]}}
            least["spec"] = {"selector": spec["selector"], "template": template}
        case "Service":
            kept = {key: spec[key] for key in ("clusterIP", "externalName", "selector") if spec.get(key)}
            kind = {"type": "ExternalName"} if spec.get("type") == "ExternalName" else {"ports": [{"port": 99}]}
            least["spec"] = kept | kind
        case "HorizontalPodAutoscaler":
            least["spec"] = {"maxReplicas": 7, "scaleTargetRef": spec["scaleTargetRef"]}
        case "PodDisruptionBudget":
            least["spec"] = {key: spec[key] for key in ("selector",) if spec.get(key) is not None}
    return manifest_of(least, wanted.ref.namespace)


async def settled(cluster: Cluster, wanted: Manifest, *, fleet: str = FLEET) -> LiveObject:
    """Apply, and hold that a plan has nothing to do then and that a second apply does nothing.

    An entry of the inventory without a version, as one of an object that controllers wrote a status of since, is what
    makes the plan look at every field. Raises what `apply` raises.
    """
    live = await cluster.apply(wanted, AnyState())
    entry = InventoryEntry(cluster=cluster.name, ref=wanted.ref, uid=live.uid, resource_version="", hash=wanted.hash)
    verdict = judge(cluster.name, wanted, live, entry, Terms(fleet=fleet))
    assert verdict == ObjectVerdict()
    assert lost_fields(wanted.body, live.body, changed=True) == ()
    again = await cluster.apply(wanted, MustBe(uid=live.uid, resource_version=live.resource_version))
    assert again == live
    return live


def owned(live: LiveObject) -> Body:
    """What managedFields say is ours; nobody else is in them."""
    (entry,) = live.metadata["managedFields"]
    assert entry["manager"] == FIELD_MANAGER
    fields: Body = entry["fieldsV1"]
    return fields


def unlike(wanted: Any, live: Any, path: str = "") -> Iterator[str]:
    """Paths of what is wanted that is not there as it is wanted: a look at values that knows nothing of owners.

    What is zero is as good as absent, or as its default; amounts are compared by value.
    """
    if isinstance(wanted, Mapping):
        for key, value in wanted.items():
            if (path == "" and key == "status") or (path == ".metadata" and key in _SERVERS):
                continue
            yield from unlike(value, live.get(key) if isinstance(live, Mapping) else None, f"{path}.{key}")
    elif isinstance(wanted, list) and wanted:
        if not isinstance(live, list) or len(live) != len(wanted):
            yield path
        else:
            for index, (one, other) in enumerate(zip(wanted, live, strict=True)):
                yield from unlike(one, other, f"{path}[{index}]")
    elif wanted and wanted != live and not _same_amount(wanted, live):
        yield path


def _same_amount(one: Any, other: Any) -> bool:
    try:
        return stored_amount(str(one)) == stored_amount(str(other))
    except ValueError:
        return False


def comparable(live: LiveObject) -> Any:
    """An object without what each cluster says of its own: identity, time, addresses, and the status."""
    body = dict(live.body)
    body.pop("status", None)
    metadata = {key: value for key, value in live.metadata.items() if key not in _SERVERS}
    if body["kind"] == "Service":
        spec = {key: value for key, value in body["spec"].items() if key != "healthCheckNodePort"}
        for key in ("clusterIP", "clusterIPs"):
            spec[key] = spec.get(key) if spec.get(key) in (None, "None", ["None"]) else "given"
        ports = spec.get("ports", ())
        spec["ports"] = [port | ({"nodePort": "given"} if "nodePort" in port else {}) for port in ports]
        body["spec"] = spec
    return {**body, "metadata": metadata}


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Paths at which two values differ; null is as good as absent."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{path}[{index}]")
    elif one != other or type(one) is not type(other):
        yield path
