"""Names, labels and annotations that all objects of an agent share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from reconciler.model.agent import Agent
from reconciler.model.objects import AGENT_LABEL, TRACKING_ANNOTATION

MAX_LABEL = 63
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


def label_value(text: str) -> str:
    """`text` as a valid label value: at most 63 characters, cut with a digest so that it stays one's own."""
    value = _NOT_IN_LABELS.sub("-", text).strip("._-")
    if len(value) > MAX_LABEL:
        value = f"{value[: MAX_LABEL - 9].rstrip('._-')}-{sha256(text.encode()).hexdigest()[:8]}"
    return value


def version_of(image: str) -> str:
    """An image's tag, or the first twelve digits of its digest; "latest" where it has neither."""
    reference, at, digest = image.partition("@")
    _, colon, tag = reference.rpartition("/")[2].partition(":")
    if colon and tag:
        return tag
    return digest.rpartition(":")[2][:12] if at else "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What an agent's objects are called and labelled. `selector` depends on the agent's name alone, for ever, or on
    what its Deployment had before it was taken over; pods have it beside the labels of all objects.
    """

    fleet: str
    namespace: str
    name: str
    service: str
    selector: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @classmethod
    def of(cls, agent: Agent, *, fleet: str) -> Names:
        name = agent.name.name
        own = label_value(name)
        shape = agent.spec.deployment
        labels = {
            **agent.labels,
            AGENT_LABEL: own,
            "app.kubernetes.io/name": own,
            "app.kubernetes.io/instance": own,
            "app.kubernetes.io/version": label_value(version_of(agent.spec.image)),
            "app.kubernetes.io/component": "agent",
            "app.kubernetes.io/part-of": label_value(fleet),
            "app.kubernetes.io/managed-by": "reconciler",
        }
        return cls(
            fleet=fleet,
            namespace=agent.name.namespace,
            name=name,
            service=service_name(name),
            selector=(shape.selector if shape else None) or {AGENT_LABEL: own},
            labels=labels,
            annotations=agent.annotations,
        )

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """What pods are labelled with: they must be found by the selector, whoever chose it."""
        return {**self.labels, **self.selector}

    def head(self, group: str, version: str, kind: str) -> dict[str, Any]:
        """apiVersion, kind and metadata of one object."""
        name = self.service if kind in ("Service", "ServiceExport") else self.name
        tracking = f"{group}/{kind}:{self.namespace}/{name}:{self.fleet}"
        return {
            "apiVersion": f"{group}/{version}" if group else version,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": self.labels,
                "annotations": {**self.annotations, TRACKING_ANNOTATION: tracking},
            },
        }


def service_name(name: str) -> str:
    """A Service's name must begin with a letter (RFC 1035), which an agent's need not."""
    return name if name[:1].isalpha() else f"a-{name}"[:MAX_LABEL].rstrip("-")
