"""The pass of all controllers over the store: what changed is looked at again, each object by itself.

Here live the effects: reads and writes of the object store. What to write is decided by pure functions in the modules
beside. Runs in one thread; a failure in one object is logged with its name and tried again, its neighbours go on.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any, assert_never

from reconciler.adapters.embedded.controllers import autoscaler, disruption, replicasets
from reconciler.adapters.embedded.controllers.deployments import CreateSet, DeleteSet, Effect, ScaleSet, decide
from reconciler.adapters.embedded.controllers.replicasets import REVISION, SetState
from reconciler.adapters.embedded.controllers.view import View, controller_uid, ref_of
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.adapters.embedded.times import stamp
from reconciler.model.errors import ClusterError, PreconditionFailed
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import MustBe

Body = dict[str, Any]
MANAGER = "kube-controller-manager"
RETRY_SECONDS = 1.0
RESYNC_SECONDS = 30.0
MAX_ROUNDS = 8
"""How often one pass follows its own writes before others get a turn."""
_BATCH = 50
"""Pods of one ReplicaSet that one look makes or deletes."""

log = logging.getLogger(__name__)


class Controllers:
    """Deployments, ReplicaSets, autoscalers and disruption budgets. `clock` gives seconds since 1970."""

    def __init__(self, store: ObjectStore, view: View, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._wake: dict[ObjectRef, float] = {}
        self._untold: set[ObjectRef] = set()
        """What changed, kept over a pass that failed: the view has taken it in, and would not say it again."""
        self._resync = 0.0
        self._autoscaler = autoscaler.Autoscaler(store, view)

    def run(self) -> tuple[set[ObjectRef], float]:
        """Take in changes and act until nothing is left to do; what changed, and in how many seconds to come again."""
        for _ in range(MAX_ROUNDS):
            found = self._view.refresh(self._store)
            self._untold |= found
            dirty = self._concerned(found) | self._due()
            if not dirty:
                break
            for ref in sorted(dirty):
                self._handle(ref)
        now = self._clock()
        self._autoscaler.run(now)
        changed, self._untold = self._untold, set()
        return changed, max(0.0, min([self._resync, self._autoscaler.due, *self._wake.values()]) - now)

    def _due(self) -> set[ObjectRef]:
        """What asked to be looked at by now; from time to time simply everything."""
        now = self._clock()
        if now >= self._resync or self._resync > now + 2 * RESYNC_SECONDS:
            self._resync = now + RESYNC_SECONDS
            kinds = (("apps", "Deployment"), ("apps", "ReplicaSet"), ("policy", "PodDisruptionBudget"))
            return {ref for kind in kinds for ref in self._view.refs(*kind)}
        due = {ref for ref, at in self._wake.items() if at <= now}
        for ref in due:
            del self._wake[ref]
        return due

    def _concerned(self, changed: set[ObjectRef]) -> set[ObjectRef]:
        """The objects whose controllers must look: those that changed and what controls them."""
        concerned: set[ObjectRef] = set()
        spaces: set[str] = set()
        for ref in changed:
            if ref.kind == "Pod":
                spaces.add(ref.namespace)
                name = self._pod_owner(ref)
                concerned |= {ObjectRef(group="apps", kind="ReplicaSet", namespace=ref.namespace, name=name)}
            elif ref.kind in ("Deployment", "ReplicaSet", "PodDisruptionBudget"):
                concerned.add(ref)
        for ref in list(concerned):
            if ref.kind == "ReplicaSet":
                concerned |= {self._set_owner(ref)}
        concerned |= {ref for ref in self._view.refs("policy", "PodDisruptionBudget") if ref.namespace in spaces}
        return {ref for ref in concerned if self._view.get(ref) is not None}

    def _pod_owner(self, ref: ObjectRef) -> str:
        """The ReplicaSet of a pod; of one that is gone, by its name, which is the set's with a random end."""
        pod = self._view.get(ref)
        for owner in (pod or {"metadata": {}})["metadata"].get("ownerReferences", ()):
            if owner.get("controller"):
                return str(owner["name"])
        return ref.name.rpartition("-")[0]

    def _set_owner(self, ref: ObjectRef) -> ObjectRef:
        replica_set = self._view.get(ref)
        owners = (replica_set or {"metadata": {}})["metadata"].get("ownerReferences", ())
        name = next((str(owner["name"]) for owner in owners if owner.get("controller")), ref.name.rpartition("-")[0])
        return ObjectRef(group="apps", kind="Deployment", namespace=ref.namespace, name=name)

    def _handle(self, ref: ObjectRef) -> None:
        body = self._view.get(ref)
        if body is None:
            return
        try:
            match ref.kind:
                case "Deployment":
                    self._deployment(ref, body)
                case "ReplicaSet":
                    self._replica_set(ref, body)
                case _:
                    self._write_status(ref, body, disruption.make_status(body, self._pods(ref.namespace)))
        except PreconditionFailed:
            self._again(ref, 0.0)  # it changed meanwhile: the next round sees how
        except ClusterError as error:
            log.warning("%s: %s", ref, error.message)
            self._again(ref, RETRY_SECONDS)
        except Exception:
            log.exception("%s: its controller failed; the others go on", ref)
            self._again(ref, RETRY_SECONDS)

    def _again(self, ref: ObjectRef, seconds: float) -> None:
        at = self._clock() + seconds
        self._wake[ref] = min(at, self._wake.get(ref, at))

    def _pods(self, namespace: str) -> list[Body]:
        return self._view.all("", "Pod", namespace=namespace)

    def _measure(self, replica_set: Body, now: float) -> SetState:
        return replicasets.measure(replica_set, self._view.children(replica_set["metadata"]["uid"], "Pod"), now=now)

    def _deployment(self, ref: ObjectRef, body: Body) -> None:
        now = self._clock()
        owned = self._view.children(body["metadata"]["uid"], "ReplicaSet")
        decision = decide(body, [self._measure(each, now) for each in owned], now=now)
        if decision.wake is not None:
            self._again(ref, decision.wake - now)
        for effect in decision.effects:
            self._do(effect)
        annotations = body["metadata"].get("annotations", {})
        if decision.revision and annotations.get(REVISION) != str(decision.revision):
            changed = copy.deepcopy(body)
            changed["metadata"].setdefault("annotations", {})[REVISION] = str(decision.revision)
            self._store.update(changed, manager=MANAGER)
        self._write_status(ref, body, decision.status)

    def _do(self, effect: Effect) -> None:
        match effect:
            case CreateSet(body=body):
                self._store.create(body, manager=MANAGER)
            case ScaleSet(body=body, replicas=replicas, revision=revision, min_ready_seconds=wait):
                changed = copy.deepcopy(body)
                changed["spec"] |= {"replicas": replicas, "minReadySeconds": wait}
                changed["metadata"].setdefault("annotations", {})[REVISION] = str(revision)
                self._store.update(changed, manager=MANAGER)
            case DeleteSet(body=body):
                ref = ref_of("apps", "ReplicaSet", body)
                self._store.delete(ref, MustBe(uid=body["metadata"]["uid"]))
            case _:
                assert_never(effect)

    def _replica_set(self, ref: ObjectRef, body: Body) -> None:
        now = self._clock()
        state = self._measure(body, now)
        failure = ""
        try:
            count = replicasets.missing(state)
            for _ in range(min(max(0, count), _BATCH)):
                self._store.create(replicasets.make_pod(body), manager=MANAGER)
            for pod in replicasets.surplus(state, min(max(0, -count), _BATCH)):
                self._store.delete(ref_of("", "Pod", pod), MustBe(uid=pod["metadata"]["uid"]))
        except PreconditionFailed:
            raise
        except ClusterError as error:
            failure = error.message
            self._again(ref, RETRY_SECONDS)
        if state.next_available is not None:
            self._again(ref, state.next_available - now)
        status = replicasets.set_status(state, failure=failure, now=stamp(now))
        self._write_status(ref, body, status)

    def _write_status(self, ref: ObjectRef, body: Body, status: Body) -> None:
        """Write a status that differs. If the store has another one than the view, that is news, and looked at next."""
        if body.get("status") != status:
            self._store.patch_status(ref, status, manager=MANAGER, uid=body["metadata"]["uid"])


__all__ = ["MANAGER", "Controllers", "controller_uid"]
