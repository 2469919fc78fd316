"""The pods of one agent on one cluster, and having its cluster make them anew: deleted by uid, replaced, one by one.

Only pods that the agent's own Deployment made are touched. What comes in their place is the cluster's doing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.engine.ailing import (
    Complaint,
    Ward,
    floor_of,
    is_ending,
    is_made_by,
    is_ready,
    may_end,
    together_with,
    ward,
)
from reconciler.engine.effects import is_ours, look, remove
from reconciler.engine.pods import trouble
from reconciler.engine.rollout import pod_scope
from reconciler.engine.run import Failed, Run, Unfinished
from reconciler.model.agent import AgentSpec
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import Found, Unreadable
from reconciler.model.source import JsonObject
from reconciler.placement.shares import Share
from reconciler.ports import Cluster

POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The pods of one agent on one cluster, whose share it has. `said` is what is wrong with them, since `since_ms`."""

    run: Run
    spec: AgentSpec
    share: Share
    cluster: Cluster
    deployment: JsonObject
    said: Complaint
    since_ms: int

    async def found(self) -> Ward:
        """How they are now. Raises Unfinished where they cannot be read: what is not seen is not judged."""
        return self._sorted(await self._pods())

    async def ails(self) -> bool:
        """Whether something is wrong with them here, or some are not even there."""
        found = await self.found()
        return bool(found.unwell) or len(found.pods) < self._wanted

    @property
    def _wanted(self) -> int:
        return int(self.deployment.get("spec", {}).get("replicas", 1))

    async def renew(self, *, whole_nodes: bool) -> tuple[list[ObjectRef], Ward]:
        """Delete pods, each batch once the one before has been replaced; who went, and how it is then.

        Raises Failed when what comes does not become ready, Unfinished when it is stopped or the cluster is silent.
        """
        run, pods = self.run, await self._pods()
        found = self._sorted(pods)
        todo = [ref for ref in found.unwell if ref not in found.restarting | found.starting]
        if whole_nodes and found.unwell:
            todo = list(together_with(found))
        uids = {ref: str(pod["metadata"]["uid"]) for ref, pod in found.pods.items()}
        before = {str(pod["metadata"]["uid"]) for pod in pods.values()}  # those that are ending replace nobody
        floor = floor_of(self.spec, self._wanted, self.share)
        gone: list[ObjectRef] = []
        while batch := may_end(todo, found.serving, floor):
            if run.stop.is_set():
                raise Unfinished(f"stopped after {count(gone) if gone else 'nothing'}")
            for ref in batch:
                await remove(run, self.cluster.name, ref, uid=uids[ref])
                gone.append(ref)
            todo = [ref for ref in todo if ref not in gone]
            found = await self._replaced(before, len(gone))
        return gone, found

    def _sorted(self, pods: Mapping[ObjectRef, JsonObject]) -> Ward:
        before = self.spec.health.failure_threshold * self.spec.health.interval.ms  # to be called ill takes so long
        now = self.run.clock.now_ms()
        # a process that was started again in this illness, and has run for long enough since, is judged by itself
        since = max(self.since_ms, now - before) - before
        starts = self.spec.rollout.timeout.ms
        return ward(pods, self.deployment, self.said, since_ms=since, now_ms=now, starts_ms=starts)

    async def _pods(self) -> Mapping[ObjectRef, JsonObject]:
        scope = pod_scope(self.deployment)
        if scope is None:
            return {}
        match await self.run.look(self.cluster, scope):
            case Found(value=seen) if not seen.unreadable:
                return {ref: item.body for ref, item in seen.objects.items()}
            case Unreadable(reason=reason):
                raise Unfinished(f"its pods on {self.cluster.name} cannot be read: {reason}")
            case _:
                raise Unfinished(f"its pods on {self.cluster.name} cannot be read whole")

    async def _replaced(self, before: set[str], wanted: int) -> Ward:
        """Wait until as many new pods are ready as went."""
        run = self.run
        timeout = run.timeout_s if run.timeout_s is not None else self.spec.rollout.timeout.seconds
        until = run.clock.monotonic() + timeout
        while True:
            pods = await self._pods()
            made = [pod for pod in pods.values() if is_made_by(pod, self.deployment)]
            new = [pod for pod in made if pod["metadata"]["uid"] not in before]
            if sum(is_ready(pod) and not is_ending(pod) for pod in new) >= wanted:
                return self._sorted(pods)
            for pod in new:
                if (why := trouble(pod)) is not None and why.fatal:
                    raise Failed(f"the pod that came does not come up: {why.pod}: {why.text}")
            if run.stop.is_set():
                raise Unfinished("stopped while its new pods came up")
            if run.clock.monotonic() >= until:
                raise Failed(f"{count(range(wanted))} went, and what came is not ready after {timeout:g} s")
            await run.lock.keep()
            await run.clock.sleep(POLL_S)


async def patient(
    run: Run, spec: AgentSpec, share: Share, cluster: Cluster, deployment: ObjectRef, said: Complaint, *, since_ms: int
) -> Patient | None:
    """The pods of a Deployment; None where it is not there, or not ours: the next plan says what is to be done then."""
    live = await look(run, cluster, deployment)
    if live is None or not is_ours(live, run.fleet):
        return None
    return Patient(run=run, spec=spec, share=share, cluster=cluster, deployment=live.body, said=said, since_ms=since_ms)


def count(pods: Sequence[object]) -> str:
    """`2 pods`."""
    return f"{len(pods)} pod{'' if len(pods) == 1 else 's'}"
