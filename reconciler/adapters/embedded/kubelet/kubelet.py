"""All pods of this machine: which ones are to run, their status written back, their memory watched, their logs cut.

Runs in the event loop; the store is written from threads. Reads the view only while the controllers rest (`look`), but
for single objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from reconciler.adapters.embedded.capacity import MACHINE_NODE as NODE
from reconciler.adapters.embedded.controllers.view import View
from reconciler.adapters.embedded.kubelet import logs, machine
from reconciler.adapters.embedded.kubelet.files import Sources
from reconciler.adapters.embedded.kubelet.pod import DEFAULT_GRACE, Pod, Surface
from reconciler.adapters.embedded.kubelet.ports import PortBook
from reconciler.adapters.embedded.kubelet.proxy import Proxies
from reconciler.adapters.embedded.kubelet.status import PORTS_ANNOTATION
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.errors import ClusterError
from reconciler.model.identity import ObjectRef
from reconciler.model.units import stored_amount

Body = dict[str, Any]
MANAGER = "kubelet"
SAMPLE_SECONDS = 1.0
USAGE_EVERY = 3
LOGS_EVERY = 5
SWEEP_EVERY = 3600
WRITE_PAUSE = 0.01
_RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class Kubelet:
    """`inherited`: PATH, HOME and LANG for the processes; `fleet`: the folder that they run in."""

    def __init__(
        self, store: ObjectStore, view: View, *, state: Path, fleet: Path, inherited: Mapping[str, str]
    ) -> None:
        self._store = store
        self._view = view
        self._state = state
        self._pods: dict[ObjectRef, Pod] = {}
        self._ending: dict[str, Pod] = {}
        self._dirty: dict[str, Pod] = {}
        self._news = asyncio.Event()
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="kubelet")
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="status")
        self._tasks: set[asyncio.Task[None]] = set()
        self._cpu: dict[int, tuple[float, float]] = {}
        self._first = True
        book = PortBook()
        sources = Sources(state=state, config_map=self._config_map)
        self._surface = Surface(
            state=state,
            fleet=fleet,
            inherited={"LANG": "C.UTF-8", **inherited},
            sources=sources,
            book=book,
            threads=self._threads,
            dirty=self._mark,
        )
        self.proxies = Proxies(store, book, writer=self._writer)

    def busy(self) -> bool:
        """Whether anything runs, or is to run."""
        return bool(self._ending) or any(not _is_over(pod.body) or pod.terminating for pod in self._pods.values())

    def look(self, changed: set[ObjectRef]) -> None:
        """Start, change and end pods as the view says, for what changed. The first call adopts what runs already."""
        left = machine.table() if self._first else []
        for ref in sorted(changed):
            try:
                if ref.kind == "Pod":
                    self._look_at(ref)
                elif ref.kind == "ConfigMap":
                    self._config_changed(ref)
            except Exception:
                log.exception("%s: the kubelet failed on it; the others go on", ref)
        if self._first:
            self._first = False
            self._spawn(self._write_statuses())
            self._spawn(self._sample())
            self._spawn(self.end_orphans(left))
        if any(ref.kind in ("Pod", "Service") for ref in changed):
            self.proxies.look(self._view.all("", "Service"), list(self._pods.values()))

    async def end_all(self) -> None:
        """End every pod at once: the store is gone."""
        for pod in [*self._pods.values(), *self._ending.values()]:
            pod.terminate(0.0)
        await asyncio.gather(*(pod.done.wait() for pod in [*self._pods.values(), *self._ending.values()]))

    async def close(self) -> None:
        """Let go of everything; processes run on, and their last status is written."""
        with contextlib.suppress(ClusterError):
            self._flush(list(self._dirty.values()))
        for pod in [*self._pods.values(), *self._ending.values()]:
            pod.leave()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.proxies.close()
        self._threads.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=True)

    def _look_at(self, ref: ObjectRef) -> None:
        body, pod = self._view.get(ref), self._pods.get(ref)
        if pod is not None and (body is None or body["metadata"]["uid"] != pod.uid):
            self._retire(pod, 0.0)
            pod = None
        if body is None:
            return
        deleted = body["metadata"].get("deletionTimestamp")
        if pod is None:
            if body["spec"].get("nodeName", NODE) != NODE or body["metadata"]["uid"] in self._ending:
                return
            pod = self._take(ref, body)
        pod.body = {**body, "status": pod.body.get("status", {})}  # of its status this process knows more
        if deleted:
            spec_grace = body["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE)
            self._retire(pod, float(body["metadata"].get("deletionGracePeriodSeconds", spec_grace)))

    def _take(self, ref: ObjectRef, body: Body) -> Pod:
        pod = self._pods[ref] = Pod(ref, body, self._surface)
        if pids := pod.adopt():
            log.info("%s: adopted, pids %s", pod.name, pids)
        before = [each for each in self._ending.values() if each.ref == ref]
        self._spawn(self._run(pod, before))
        self._mark(pod)
        return pod

    def _retire(self, pod: Pod, grace: float) -> None:
        self._ending[pod.uid] = pod
        if self._pods.get(pod.ref) is pod:
            del self._pods[pod.ref]
        pod.terminate(grace)

    async def _run(self, pod: Pod, before: list[Pod]) -> None:
        """A pod from its start to its removal from the store; it waits for an older one of the same name."""
        for other in before:
            await other.done.wait()
        await pod.run()
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._writer, self._store.remove, pod.ref, pod.uid)
                break
            except ClusterError as error:
                log.warning("%s: it has ended and cannot be removed yet: %s", pod.name, error.message)
                await asyncio.sleep(_RETRY_SECONDS)
        self._ending.pop(pod.uid, None)
        self._dirty.pop(pod.uid, None)
        pod.release()

    def _config_map(self, namespace: str, name: str) -> Body | None:
        return self._view.get(ObjectRef(group="", kind="ConfigMap", namespace=namespace, name=name))

    def _config_changed(self, ref: ObjectRef) -> None:
        if self._view.get(ref) is None:
            return  # what was laid out stays, as on a cluster
        text = json.dumps(ref.name)
        for pod in self._pods.values():
            if pod.ref.namespace == ref.namespace and text in json.dumps(pod.body["spec"].get("volumes", ())):
                self._spawn(pod.refresh_files())

    def _mark(self, pod: Pod) -> None:
        """A pod's facts changed: proxies know at once, the store in a moment. Also called from threads' results."""
        self._dirty[pod.uid] = pod
        self._news.set()
        self.proxies.changed()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a task of the kubelet failed", exc_info=error)

    async def _write_statuses(self) -> None:
        """Write what changed, all that gathered in a moment at once."""
        while True:
            await self._news.wait()
            await asyncio.sleep(WRITE_PAUSE)
            self._news.clear()
            await self._write_batch()  # which holds its pods no longer than it takes

    async def _write_batch(self) -> None:
        batch, self._dirty = self._dirty, {}
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._flush, list(batch.values()))
        except ClusterError as error:
            log.warning("statuses cannot be written yet: %s", error.message)
            self._dirty = {**batch, **self._dirty}
            self._news.set()
            await asyncio.sleep(_RETRY_SECONDS)

    def _flush(self, pods: list[Pod]) -> None:
        for pod in pods:
            try:
                self._annotate(pod)
                written = self._store.patch_status(pod.ref, pod.status(), manager=MANAGER, uid=pod.uid)
                if written is not None:
                    pod.body = {**pod.body, "status": written.get("status", {})}
            except ClusterError:
                raise
            except Exception:
                log.exception("%s: its status cannot be written; the others are", pod.name)

    def _annotate(self, pod: Pod) -> None:
        """Say on the pod which ports it has, and which node."""
        text = json.dumps(pod.ports, sort_keys=True)
        have = pod.body["metadata"].get("annotations", {}).get(PORTS_ANNOTATION, "{}")
        said = have == text or not pod.ports
        if pod.terminating or (said and pod.body["spec"].get("nodeName")):
            return
        live = self._store.get(pod.ref)
        if live is None or live["metadata"]["uid"] != pod.uid:
            return
        changed = copy.deepcopy(live)
        if pod.ports:
            changed["metadata"].setdefault("annotations", {})[PORTS_ANNOTATION] = text
        changed["spec"].setdefault("nodeName", NODE)
        pod.body = self._store.update(changed, manager=MANAGER)

    async def _sample(self) -> None:
        """Measure all processes, hold them to their memory limits, cut their logs."""
        loop = asyncio.get_running_loop()
        count = 0
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            count += 1
            if not self._pods and not self._ending:
                continue
            try:
                rows = await loop.run_in_executor(self._threads, machine.table)
                groups = {group for _log, group in self._running()}
                usage = self._measure(await loop.run_in_executor(self._threads, machine.samples, rows, groups))
                if count % USAGE_EVERY == 0:
                    await loop.run_in_executor(self._writer, self._put_usage, usage)
                if count % LOGS_EVERY == 0:
                    await loop.run_in_executor(self._threads, self._cut_logs, self._running())
                if count % SWEEP_EVERY == 1:
                    names = {(ref.namespace, ref.name) for ref in self._pods}
                    await loop.run_in_executor(self._threads, _sweep, self._state, names)
            except Exception:
                log.exception("processes could not be measured this time")

    def _measure(self, samples: dict[int, machine.Sample]) -> dict[ObjectRef, tuple[float, int]]:
        """Usage by pod since the last sample; containers over their memory limit are killed."""
        now = time.monotonic()
        found: dict[ObjectRef, tuple[float, int]] = {}
        seen: dict[int, tuple[float, float]] = {}
        for pod in self._pods.values():
            cpu, memory, measured = 0.0, 0, False
            for container in [*pod.containers, *pod.inits]:
                sample = samples.get(container.process.pid) if container.process else None
                if container.process is None or sample is None:
                    continue
                before = self._cpu.get(container.process.pid)
                seen[container.process.pid] = (now, sample.cpu)
                if before and now > before[0]:
                    cpu += max(0.0, sample.cpu - before[1]) / (now - before[0])
                    measured = True
                memory += sample.memory
                limit = _memory_limit(container.spec)
                if limit is not None and sample.memory > limit:
                    container.kill_for_memory(sample.memory, limit)
            if measured:
                found[pod.ref] = (cpu, memory)
        self._cpu = seen
        return found

    def _put_usage(self, usage: dict[ObjectRef, tuple[float, int]]) -> None:
        for ref, (cpu, memory) in usage.items():
            self._store.put_usage(ref, cpu, memory)

    def _running(self) -> list[tuple[Path, int]]:
        """Logs of running containers and the process group that writes each."""
        return [
            (logs.log_file(self._state, pod.ref.namespace, pod.ref.name, each.spec["name"]), each.process.pid)
            for pod in [*self._pods.values(), *self._ending.values()]
            for each in [*pod.containers, *pod.inits]
            if each.process is not None
        ]

    def _cut_logs(self, running: list[tuple[Path, int]]) -> None:
        for path, group in running:
            try:
                logs.rotate(path, group)
            except OSError as error:
                log.warning("%s cannot be cut: %s", path, error)

    async def end_orphans(self, rows: list[machine.ProcessRow]) -> None:
        """End those of `rows` that an earlier supervisor, or a pod that is gone, left behind.

        They are known by their TMPDIR. `rows` is older than any process that this kubelet starts meanwhile. What a pod
        that runs has started in a session of its own belongs to it.
        """
        pods = [*self._pods.values(), *self._ending.values()]
        running = [pod.folder for pod in pods if any(each.process for each in [*pod.containers, *pod.inits])]
        loop = asyncio.get_running_loop()
        for pid in await loop.run_in_executor(self._threads, _orphans, self._state, rows, running):
            log.warning("pid %s belongs to no pod and is ended", pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def _orphans(state: Path, rows: list[machine.ProcessRow], running: list[Path]) -> list[int]:
    ours, spared = f"{state / 'pods'}{os.sep}", tuple(f"{folder}{os.sep}" for folder in running)
    leaders = [row.pid for row in rows if row.pid == row.session and row.state not in "ZX"]
    told = ((pid, machine.environment_value(pid, "TMPDIR") or "") for pid in leaders)
    return [pid for pid, place in told if place.startswith(ours) and not place.startswith(spared)]


def _sweep(state: Path, names: set[tuple[str, str]]) -> None:
    logs.sweep(state, lambda namespace, pod: (namespace, pod) in names, now=time.time())


def _memory_limit(spec: Body) -> int | None:
    text = spec.get("resources", {}).get("limits", {}).get("memory")
    try:
        return int(stored_amount(str(text))) if text is not None else None
    except ValueError:
        return None


def _is_over(pod: Body) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
