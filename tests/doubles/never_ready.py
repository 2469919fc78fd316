"""A cluster that says of chosen Deployments that they never become ready, and of all others that they are."""

from __future__ import annotations

from typing import Any

from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.adapters.embedded.unrun import ready_status
from reconciler.model.identity import ObjectRef

NEVER_READY = "never-ready"
"""In an image's name: what runs it is never ready."""


SILENT = "silent"
"""In an image's name: nobody writes the status of what runs it, so that only time can end its rollout."""


class NeverReadyCluster(EmbeddedCluster):
    """The embedded cluster, its store as always; opened with run="nothing" it starts no process.

    It plays controllers in one stroke: a Deployment whose image names NEVER_READY has passed its progress deadline as
    soon as it is applied.
    """

    def _apply(self, ref: ObjectRef, body: dict[str, Any], **options: Any) -> Any:
        applied = self._store.apply(body, **options)
        if ref.kind != "Deployment":
            return applied
        status = ready_status(applied)
        images = [item["image"] for item in applied["spec"]["template"]["spec"]["containers"]]
        if any(SILENT in image for image in images):
            return applied
        if any(NEVER_READY in image for image in images):
            for count in ("readyReplicas", "availableReplicas"):
                status.pop(count, None)
            status["conditions"] = [
                {
                    **item,
                    "status": "False",
                    "reason": "ProgressDeadlineExceeded",
                    "message": "it never becomes ready",
                }
                for item in status["conditions"]
            ]
        return self._store.patch_status(ref, status, manager="embedded-controller") or applied
