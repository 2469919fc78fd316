"""A control plane with metrics: the metrics API double, registered at the plane's aggregation layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from tests.controlplane.plane import ControlPlane
from tests.doubles.metrics_api import MetricsApi


@contextmanager
def served(plane: ControlPlane) -> Iterator[MetricsApi]:
    """Serve the three metrics APIs at a plane while the block lasts."""
    shown = plane.server_identity
    with MetricsApi(shown.certificate, shown.key, plane.pods) as double:
        manifests = double.manifests()
        content = yaml.safe_dump_all(manifests)
        plane.kubectl("apply", "-f", "-", input=content)
        apis = [f"apiservice/{each['metadata']['name']}" for each in manifests if each["kind"] == "APIService"]
        plane.kubectl("wait", "--for=condition=Available", "--timeout=60s", *apis)
        yield double
        # An API that is gone and still registered would keep namespaces from being deleted.
        plane.kubectl("delete", "-f", "-", input=content)
