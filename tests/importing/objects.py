"""Kubernetes objects as people write them and clusters show them, for tests: small, and changed by keyword."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.importing import Imported, KubeObject, Options, import_objects, read_objects

Body = dict[str, Any]
SELECTOR = {"app": "triage"}


def container(**fields: Any) -> Body:
    return {"name": "main", "image": "ghcr.io/acme/triage:1"} | fields


def deployment(*containers: Body, pod: Mapping[str, Any] | None = None, live: bool = True, **spec: Any) -> Body:
    """A Deployment support/triage; `pod` are further fields of its pods, `spec` of itself."""
    template = {
        "metadata": {"labels": SELECTOR | {"team": "support"}},
        "spec": {"containers": list(containers or (container(),)), **(pod or {})},
    }
    body = {"replicas": 2, "selector": {"matchLabels": SELECTOR}, "template": template} | spec
    return made("apps/v1", "Deployment", "triage", body, live=live)


def service(*ports: Body, name: str = "triage", live: bool = True, **spec: Any) -> Body:
    return made("v1", "Service", name, {"selector": SELECTOR, "ports": list(ports)} | spec, live=live)


def autoscaler(*metrics: Body, name: str = "triage", **spec: Any) -> Body:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "triage"}
    body = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 9, "metrics": list(metrics)} | spec
    return made("autoscaling/v2", "HorizontalPodAutoscaler", name, body)


def budget(name: str = "triage", **spec: Any) -> Body:
    return made("policy/v1", "PodDisruptionBudget", name, {"selector": {"matchLabels": SELECTOR}} | spec)


def made(version: str, kind: str, name: str, spec: Mapping[str, Any], *, live: bool = True) -> Body:
    metadata = {"name": name, "namespace": "support"} | ({"uid": f"uid-{kind}-{name}"} if live else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": dict(spec)}


def objects(*bodies: Body) -> tuple[KubeObject, ...]:
    """The bodies, as `kubectl get -o json` gives them."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)})
    found, wrong = read_objects("dump.json", text.encode())
    assert wrong == ()
    return found


def imported(*bodies: Body, **options: Any) -> Imported:
    """The one agent that is in them."""
    (one,) = import_objects(objects(*bodies), Options(fleet="acme", **options))
    return one


def spec_of(*bodies: Body, **options: Any) -> Body:
    one = imported(*bodies, **options)
    assert one.problem == ""
    spec: Body = one.document["spec"]
    return spec


def told(one: Imported) -> dict[str, str]:
    """What is told of an import, by path."""
    return {note.path: note.text for note in one.notes}


def in_container(found: Iterable[str]) -> list[str]:
    """Paths within the agent's container, without the way there."""
    start = "Deployment spec.template.spec.containers[main]."
    return [path.removeprefix(start) for path in found if path.startswith(start)]
