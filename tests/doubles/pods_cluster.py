"""An embedded cluster that starts nothing and shows pods all the same: as many as a Deployment wants, as a test says.

It plays the controllers and the kubelet in one stroke: a pod that is deleted is replaced at once, unless it is barren.
"""

from __future__ import annotations

from typing import Any

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import Precondition
from tests.doubles.never_ready import NeverReadyCluster

OLD = "2026-01-01T00:00:00Z"
DIGEST = "abc"


class PodsCluster(NeverReadyCluster):
    """Pods are named after their Deployment, and counted; the address of number 7 is 127.0.0.7."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made = 0
        self.barren = False
        self.deleted: list[str] = []
        self.serving: list[int] = []
        """How many pods were left that are ready, after each that was deleted."""

    def _apply(self, ref: ObjectRef, body: dict[str, Any], **options: Any) -> Any:
        applied = super()._apply(ref, body, **options)
        if ref.kind == "Deployment":
            for _ in range(int(applied["spec"].get("replicas", 1)) - len(self.of(ref.name))):
                self.add(applied)
        return applied

    def of(self, name: str) -> list[dict[str, Any]]:
        pods, _version = self._store.list("", "Pod")
        return [pod for pod in pods if pod["metadata"]["name"].startswith(f"{name}-{DIGEST}-")]

    def add(self, deployment: dict[str, Any], **status: Any) -> None:
        """One more pod of a Deployment."""
        self.made += 1
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        ref = ObjectRef(
            group="", kind="Pod", namespace=metadata["namespace"], name=f"{metadata['name']}-{DIGEST}-{self.made}"
        )
        owner = {
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{metadata['name']}-{DIGEST}", "controller": True,
            "uid": metadata["uid"],
        }  # fmt: skip
        labels = template["metadata"].get("labels", {}) | {"pod-template-hash": DIGEST}
        body = {
            "apiVersion": "v1", "kind": "Pod", "spec": {**template["spec"], "nodeName": "node-1"},
            "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": labels, "ownerReferences": [owner]},
        }  # fmt: skip
        self._store.apply(body, manager="kubelet")
        self.say(ref, **status)

    def say(self, ref: ObjectRef, *, ready: bool = True, began: str = OLD, lost: str = "", **status: Any) -> None:
        """Write a pod's status."""
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": lost or began}
        number = int(ref.name.rpartition("-")[2])
        container = {"name": "agent", "restartCount": 0, "state": {"running": {"startedAt": began}}}
        said = {"phase": "Running", "podIP": f"127.0.0.{number}", "conditions": [condition]}
        self._store.patch_status(ref, said | {"containerStatuses": [container | status]}, manager="kubelet")

    async def tell(self, name: str, number: int, **status: Any) -> None:
        """Write the status of one of an agent's pods."""
        ref = ObjectRef(group="", kind="Pod", namespace="support", name=f"{name}-{DIGEST}-{number}")
        await self._call(lambda: self.say(ref, **status))

    async def names(self, name: str) -> list[str]:
        """The pods of an agent."""
        return [pod["metadata"]["name"] for pod in await self._call(self.of, name)]

    async def delete(self, ref: ObjectRef, expect: Precondition) -> None:
        await super().delete(ref, expect)
        if ref.kind == "Pod":
            await self._call(self._replace, ref)

    def _replace(self, ref: ObjectRef) -> None:
        self.deleted.append(ref.name)
        name = ref.name.removesuffix(f"-{DIGEST}-{ref.name.rpartition('-')[2]}")
        self.serving.append(sum(map(_is_ready, self.of(name))))
        deployment = self._store.get(ObjectRef(group="apps", kind="Deployment", namespace=ref.namespace, name=name))
        if deployment is not None and not self.barren:
            self.add(deployment)


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(item["type"] == "Ready" and item["status"] == "True" for item in pod["status"]["conditions"])
