"""What really happened on an API server: every object that came and every one that went, by a watch of its own."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Self

import aiohttp

from tests.controlplane.plane import ControlPlane

KINDS = {
    "ServiceAccount": "/api/v1/{}serviceaccounts",
    "ConfigMap": "/api/v1/{}configmaps",
    "Service": "/api/v1/{}services",
    "Deployment": "/apis/apps/v1/{}deployments",
    "PodDisruptionBudget": "/apis/policy/v1/{}poddisruptionbudgets",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/{}horizontalpodautoscalers",
}
"""Paths by kind; in the place of {} stands the namespace, or nothing."""
_SPECS: dict[str, dict[str, Any]] = {
    "Service": {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 1}]},
    "Deployment": {
        "replicas": 0,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
    "HorizontalPodAutoscaler": {
        "maxReplicas": 1,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"},
    },
}
OF_EVERY_NAMESPACE = {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")}
Key = tuple[str, str]
"""Kind and name."""


Book = defaultdict[str, defaultdict[Key, list[str]]]
"""Uids by namespace, kind and name, in the order of their coming or going."""


class _Old(Exception):
    """The server no longer knows what came after the version that we have."""


def abandon(answer: aiohttp.ClientResponse) -> None:
    """End the connection of an answer that is not read to its end, at once."""
    if answer.connection is not None and answer.connection.transport is not None:
        answer.connection.transport.abort()


class Ledger:
    """Follows the kinds that we make, in all namespaces. Use it as an asynchronous context."""

    def __init__(self, plane: ControlPlane, trusting: ssl.SSLContext) -> None:
        self._plane = plane
        self._trusting = trusting
        self.created: Book = defaultdict(lambda: defaultdict(list))
        self.deleted: Book = defaultdict(lambda: defaultdict(list))

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._trusting, limit=0))
        started = [asyncio.Event() for _ in KINDS]
        self._tasks = [
            asyncio.create_task(self._follow(kind, path.format(""), event))
            for (kind, path), event in zip(KINDS.items(), started, strict=True)
        ]
        await asyncio.gather(*(event.wait() for event in started))
        return self

    async def __aexit__(self, *_error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _follow(self, kind: str, path: str, started: asyncio.Event) -> None:
        version = ""
        while True:
            with suppress(aiohttp.ClientError, OSError, _Old):
                version = version or await self._list(kind, path)
                started.set()
                async for event in self._events(path, version):
                    version = self._take(kind, event)
                continue
            version = ""  # the server went away, or remembers less than we do: what happened meanwhile shows in a list
            await asyncio.sleep(0.05)

    async def _list(self, kind: str, path: str) -> str:
        listed = await self.read(path)
        there = defaultdict(set)
        for one in listed["items"]:
            self._note(self.created, kind, one["metadata"])
            there[one["metadata"]["namespace"]].add(one["metadata"]["uid"])
        for namespace, keys in self.created.items():
            for key, uids in keys.items():
                if key[0] == kind:
                    self._note_gone(namespace, key, set(uids) - there[namespace])
        return str(listed["metadata"]["resourceVersion"])

    def _note_gone(self, namespace: str, key: Key, uids: set[str]) -> None:
        for uid in uids - set(self.deleted[namespace][key]):
            self.deleted[namespace][key].append(uid)

    async def _events(self, path: str, version: str) -> AsyncIterator[Any]:
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        timeout = aiohttp.ClientTimeout(total=None)
        where = self._plane.url + path
        async with self._session.get(where, params=query, timeout=timeout, read_bufsize=2**22) as watch:
            try:
                async for line in watch.content:
                    yield json.loads(line)
            finally:
                abandon(watch)

    def _take(self, kind: str, event: Any) -> str:
        metadata = event["object"]["metadata"]
        match event["type"]:
            case "ADDED":
                self._note(self.created, kind, metadata)
            case "DELETED":
                self._note(self.deleted, kind, metadata)
            case "ERROR":
                raise _Old
        return str(metadata["resourceVersion"])

    def _note(self, book: Book, kind: str, metadata: Any) -> None:
        uids = book[metadata["namespace"]][kind, metadata["name"]]
        if metadata["uid"] not in uids:
            uids.append(metadata["uid"])

    async def objects(self, namespace: str) -> dict[Key, Any]:
        """What is there in a namespace, but for what every namespace has."""
        found: dict[Key, Any] = {}
        for kind, path in KINDS.items():
            listed = await self.read(path.format(f"namespaces/{namespace}/"))
            found |= {(kind, one["metadata"]["name"]): one for one in listed["items"]}
        return {key: one for key, one in found.items() if key not in OF_EVERY_NAMESPACE}

    async def read(self, path: str) -> Any:
        async with self._session.get(self._plane.url + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def settle(self, namespace: str) -> None:
        """Wait until all that has happened in a namespace is in here: of each kind a mark is made, and waited for."""
        mark = f"mark-{uuid.uuid4().hex[:8]}"
        for kind, path in KINDS.items():
            version = path.removeprefix("/apis/").removeprefix("/api/").partition("/{}")[0]
            body = {"apiVersion": version, "kind": kind, "metadata": {"name": mark}, "spec": _SPECS.get(kind)}
            where = self._plane.url + path.format(f"namespaces/{namespace}/")
            async with self._session.post(where, json=body) as made:
                assert made.status == 201, await made.text()
            async with self._session.delete(f"{where}/{mark}") as gone:
                assert gone.status == 200, await gone.text()
        async with asyncio.timeout(60):
            while any((kind, mark) not in self.deleted[namespace] for kind in KINDS):  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def made(self, namespace: str) -> dict[Key, list[str]]:
        """Uids of all that came to be, without marks and what every namespace has."""
        return {key: uids for key, uids in self.created[namespace].items() if uids and _is_ours(key)}

    def gone(self, namespace: str) -> dict[Key, list[str]]:
        """Uids of all that was deleted, without marks."""
        return {key: uids for key, uids in self.deleted[namespace].items() if uids and _is_ours(key)}


def _is_ours(key: Key) -> bool:
    return key not in OF_EVERY_NAMESPACE and not key[1].startswith("mark-")
