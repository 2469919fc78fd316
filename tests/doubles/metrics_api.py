"""A metrics API double: an HTTPS server on loopback that answers the three metrics APIs which an autoscaler asks, with
values that a test sets. It stands behind an API server's aggregation layer, where a cluster has metrics-server and a
metrics adapter. It measures nothing: which pods there are it learns from whom it is given.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

LOOPBACK = "127.0.0.1"
SERVICE = {"namespace": "kube-system", "name": "metrics-double"}
RESOURCE, CUSTOM, EXTERNAL = (
    "metrics.k8s.io/v1beta1",
    "custom.metrics.k8s.io/v1beta2",
    "external.metrics.k8s.io/v1beta1",
)
APIS = (RESOURCE, CUSTOM, EXTERNAL)
WINDOW = "1s"

V = TypeVar("V")
PodsOf = Callable[[str, str], list[dict[str, Any]]]
"""The pods of a namespace ("" for all) that a label selector finds, as the API server has them."""


@dataclass(slots=True)
class Values:
    """What a test has set. Pods are told by the name of their workload: the pod's name up to its generated parts."""

    usage: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    usage_everywhere: dict[str, str] | None = None
    pods: dict[tuple[str, str, str], str] = field(default_factory=dict)
    objects: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    external: dict[tuple[str, str], str] = field(default_factory=dict)


class MetricsApi:
    """The server, and the setters of its values. Quantities are given as Kubernetes writes them: `250m`, `1Gi`."""

    def __init__(self, certificate: Path, key: Path, pods_of: PodsOf) -> None:
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate, key)
        self._pods_of = pods_of
        self._values = Values()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="metrics-double", daemon=True)
        self.asked: list[str] = []
        """Every path, in order."""

    def use(self, namespace: str, workload: str, *, cpu: str = "0", memory: str = "0") -> None:
        """Let every container of the workload's pods use so much."""
        self._values.usage[namespace, workload] = {"cpu": cpu, "memory": memory}

    def use_everywhere(self, *, cpu: str, memory: str) -> None:
        """Let every container use so much of which nothing else is said."""
        self._values.usage_everywhere = {"cpu": cpu, "memory": memory}

    def pods(self, namespace: str, workload: str, metric: str, value: str) -> None:
        """Give a custom metric to each of the workload's pods."""
        self._values.pods[namespace, workload, metric] = value

    def object(self, namespace: str, resource: str, name: str, metric: str, value: str) -> None:
        """Give a custom metric to one object; `resource` is a plural with its group: `ingresses.networking.k8s.io`."""
        self._values.objects[namespace, resource, name, metric] = value

    def external(self, namespace: str, metric: str, value: str) -> None:
        """Set a metric of something outside of the cluster."""
        self._values.external[namespace, metric] = value

    def forget(self, namespace: str) -> None:
        """Forget every value of a namespace: its metrics are answered with 404."""
        tables: tuple[dict[Any, Any], ...] = (
            self._values.usage,
            self._values.pods,
            self._values.objects,
            self._values.external,
        )
        for table in tables:
            for key in [key for key in table if key[0] == namespace]:
                del table[key]

    def manifests(self) -> list[dict[str, Any]]:
        """Return what registers the double at an API server: a Service for its address, an APIService for each API."""
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": SERVICE,
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        }
        return [service, *(self._api_service(*api.split("/")) for api in APIS)]

    def _api_service(self, group: str, version: str) -> dict[str, Any]:
        return {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}"},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": SERVICE | {"port": self.port},
            },
        }

    def start(self) -> Self:
        """Serve on a free port, from a thread."""
        self._thread.start()
        self._started.wait()
        return self

    def stop(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = web.Application()
        app.router.add_get("/apis/{group}/{version}", self._discovery)
        resource = f"/apis/{RESOURCE}"
        app.router.add_get(resource + "/pods", self._usage)
        app.router.add_get(resource + "/namespaces/{namespace}/pods", self._usage)
        app.router.add_get(resource + "/namespaces/{namespace}/pods/{name}", self._usage_of_one)
        custom = f"/apis/{CUSTOM}/namespaces/{{namespace}}"
        app.router.add_get(custom + "/pods/*/{metric}", self._pods_metric)
        app.router.add_get(custom + "/metrics/{metric}", self._object_metric)
        app.router.add_get(custom + "/{resource}/{name}/{metric}", self._object_metric)
        app.router.add_get(f"/apis/{EXTERNAL}/namespaces/{{namespace}}/{{metric}}", self._external_metric)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, 0, ssl_context=self._tls).start()
        self.port = int(runner.addresses[0][1])
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _discovery(self, request: web.Request) -> web.Response:
        api = "{group}/{version}".format(**request.match_info)
        if api not in APIS:
            return _not_found(request.path)
        values = self._values
        kinds: dict[str, set[tuple[str, str]]] = {
            RESOURCE: {("pods", "PodMetrics")},
            CUSTOM: {(f"pods/{metric}", "MetricValueList") for _, _, metric in values.pods}
            | {(f"{resource}/{metric}", "MetricValueList") for _, resource, _, metric in values.objects},
            EXTERNAL: {(metric, "ExternalMetricValueList") for _, metric in values.external},
        }
        resources = [
            {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get", "list"]}
            for name, kind in sorted(kinds[api])
        ]
        return web.json_response(
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api, "resources": resources}
        )

    async def _pods(self, request: web.Request) -> list[dict[str, Any]]:
        self.asked.append(request.path)
        namespace = request.match_info.get("namespace", "")
        return await asyncio.to_thread(self._pods_of, namespace, request.query.get("labelSelector", ""))

    async def _usage(self, request: web.Request) -> web.Response:
        items = [item for pod in await self._pods(request) if (item := self._pod_metrics(pod))]
        return web.json_response({"kind": "PodMetricsList", "apiVersion": RESOURCE, "metadata": {}, "items": items})

    async def _usage_of_one(self, request: web.Request) -> web.Response:
        for pod in await self._pods(request):
            if pod["metadata"]["name"] == request.match_info["name"] and (item := self._pod_metrics(pod)):
                return web.json_response(item | {"kind": "PodMetrics", "apiVersion": RESOURCE})
        return _not_found(request.path)

    def _pod_metrics(self, pod: Mapping[str, Any]) -> dict[str, Any] | None:
        meta = pod["metadata"]
        usage = _of_workload(self._values.usage, meta["namespace"], meta["name"]) or self._values.usage_everywhere
        if usage is None:
            return None
        return {
            "metadata": {key: meta[key] for key in ("name", "namespace", "labels") if key in meta},
            "timestamp": _now(),
            "window": WINDOW,
            "containers": [{"name": each["name"], "usage": usage} for each in pod["spec"]["containers"]],
        }

    async def _pods_metric(self, request: web.Request) -> web.Response:
        metric = request.match_info["metric"]
        values = {key[:2]: value for key, value in self._values.pods.items() if key[2] == metric}
        items = []
        for pod in await self._pods(request):
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            value = _of_workload(values, namespace, name)
            if value is not None:
                items.append(_metric_value("Pod", namespace, name, metric, value))
        return _metric_values(items) if items else _not_found(request.path)

    async def _object_metric(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        at = request.match_info
        namespace, metric = at["namespace"], at["metric"]
        resource, name = at.get("resource", "namespaces"), at.get("name", namespace)
        value = self._values.objects.get((namespace, resource, name, metric))
        if value is None:
            return _not_found(request.path)
        return _metric_values([_metric_value(resource, namespace, name, metric, value)])

    async def _external_metric(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        namespace, metric = request.match_info["namespace"], request.match_info["metric"]
        value = self._values.external.get((namespace, metric))
        if value is None:
            return _not_found(request.path)
        item = {"metricName": metric, "metricLabels": {}, "timestamp": _now(), "value": value}
        return web.json_response(
            {"kind": "ExternalMetricValueList", "apiVersion": EXTERNAL, "metadata": {}, "items": [item]}
        )


def _of_workload(table: Mapping[tuple[str, str], V], namespace: str, pod: str) -> V | None:
    """Return the value of the workload that a pod's name begins with: the longest, as `web-cache` beside `web`."""
    fitting = [key for key in table if key[0] == namespace and (pod == key[1] or pod.startswith(f"{key[1]}-"))]
    return table[max(fitting, key=lambda key: len(key[1]))] if fitting else None


def _metric_value(kind: str, namespace: str, name: str, metric: str, value: str) -> dict[str, Any]:
    described = {"kind": kind, "namespace": namespace, "name": name, "apiVersion": "v1"}
    return {"describedObject": described, "metric": {"name": metric}, "timestamp": _now(), "value": value}


def _metric_values(items: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"kind": "MetricValueList", "apiVersion": CUSTOM, "metadata": {}, "items": items})


def _not_found(path: str) -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": "NotFound",
        "message": f"no value is set for {path}",
        "code": 404,
    }
    return web.json_response(status, status=404)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
