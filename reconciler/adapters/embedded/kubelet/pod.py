"""One pod: its files, its ports, its containers from start to removal, and its status."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from reconciler.adapters.embedded.kubelet import environment, files, logs
from reconciler.adapters.embedded.kubelet.container import Container, Surroundings
from reconciler.adapters.embedded.kubelet.environment import Setting
from reconciler.adapters.embedded.kubelet.files import ConfigError, Sources
from reconciler.adapters.embedded.kubelet.ports import PortBook, is_free
from reconciler.adapters.embedded.kubelet.process import Launch, Process
from reconciler.adapters.embedded.kubelet.status import PORTS_ANNOTATION, ContainerFacts, pod_status
from reconciler.model.identity import ObjectRef

Body = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")
DEFAULT_GRACE = 30.0
RETRY_SECONDS = 1.0
CPU_NOTE = "cpu limits are not enforced on the embedded cluster"

log = logging.getLogger(__name__)


class Surface:
    """What a pod needs of its kubelet, the same for all pods."""

    def __init__(
        self,
        *,
        state: Path,
        fleet: Path,
        inherited: Mapping[str, str],
        sources: Sources,
        book: PortBook,
        threads: Executor,
        dirty: Callable[[Pod], None],
    ) -> None:
        self.state = state
        self.fleet = fleet
        self.inherited = inherited
        self.sources = sources
        self.book = book
        self.threads = threads
        self.dirty = dirty


class Pod:
    """Runs one pod, known by its uid. `run` returns when nothing of it runs any more."""

    def __init__(self, ref: ObjectRef, body: Body, surface: Surface) -> None:
        self.ref = ref
        self.uid: str = body["metadata"]["uid"]
        self.body = body
        self.terminating = False
        self.done = asyncio.Event()
        self._on = surface
        self.folder = files.pod_folder(surface.state, ref.namespace, ref.name)
        self.ports = self._known_ports(body)
        self._end_at: float | None = None
        self._end_told = asyncio.Event()
        self._setting_up = threading.Lock()
        before = body.get("status", {})
        policy = body["spec"].get("restartPolicy", "Always")
        inits = body["spec"].get("initContainers", ())
        self.inits = [
            self._container(
                each, before.get("initContainerStatuses", ()), policy, once=each.get("restartPolicy") != "Always"
            )
            for each in inits
        ]
        self.containers = [
            self._container(each, before.get("containerStatuses", ()), policy, once=False)
            for each in body["spec"].get("containers", ())
        ]

    @property
    def name(self) -> str:
        return f"{self.ref.namespace}/{self.ref.name}"

    @property
    def ready(self) -> bool:
        """Whether services may send it something."""
        return not self.terminating and bool(self.containers) and all(each.facts.ready for each in self.containers)

    def adopt(self) -> list[int]:
        """Take over what an earlier supervisor left running; the pids."""
        return [each.process.pid for each in [*self.inits, *self.containers] if each.adopt() and each.process]

    def status(self) -> Body:
        limited = any(each.spec.get("resources", {}).get("limits", {}).get("cpu") for each in self.containers)
        facts = [each.facts for each in self.containers]
        inits = [each.facts for each in self.inits]
        message = CPU_NOTE if limited else ""
        return pod_status(self.body, facts, inits, terminating=self.terminating, message=message, now=time.time())

    async def run(self) -> None:
        """The pod's life. An error of ours is logged with its name and tried again; its processes run on meanwhile."""
        working = asyncio.create_task(self._keep())
        told = asyncio.create_task(self._end_told.wait())
        try:
            await told
            await self._stop()
        finally:
            for task in (working, told):
                task.cancel()
            await asyncio.gather(working, told, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._on.threads, files.remove, self.folder)
        self._on.book.release(self.uid)
        self.done.set()

    def terminate(self, grace: float) -> None:
        """End it within `grace` seconds. A second call may only make it sooner."""
        end = time.monotonic() + grace
        self._end_at = end if self._end_at is None else min(end, self._end_at)
        if not self.terminating:
            self.terminating = True
            self._on.dirty(self)
        elif grace == 0:
            for each in [*self.inits, *self.containers]:
                if each.process is not None:
                    each.process.signal(9)
        self._end_told.set()

    def release(self) -> None:
        """Let go of the containers of a pod that is done: they know it too, and all that was read of it would lie about
        until the garbage collector looks at everything.
        """
        self.inits, self.containers = [], []

    def leave(self) -> None:
        """Stop looking after it, and let its processes run on."""
        for each in [*self.inits, *self.containers]:
            each.leave()

    async def refresh_files(self) -> None:
        """Write its volumes anew when a ConfigMap of its changed; a pod that is being ended keeps what it has."""
        if self.terminating:
            return
        try:
            await self._in_thread(self._lay_out)
        except (ConfigError, OSError) as error:
            log.warning("%s: its files cannot be written anew: %s", self.name, error)

    async def _keep(self) -> None:
        for each in self.inits:
            if each.once:
                await self._care(each)
        await asyncio.gather(*(self._care(each) for each in [*self.containers, *self.inits] if not each.once))
        self._on.dirty(self)

    async def _care(self, container: Container) -> None:
        """Run one container, taken up again after an error of ours; the others run on meanwhile."""
        while True:
            try:
                return await container.run()
            except Exception:
                name = container.spec["name"]
                log.exception("%s: the care for container %s failed and is taken up again", self.name, name)
            await asyncio.sleep(RETRY_SECONDS)

    async def _stop(self) -> None:
        grace = max(0.0, (self._end_at or 0.0) - time.monotonic())
        found = await asyncio.gather(
            *(each.stop(grace) for each in [*self.containers, *self.inits]), return_exceptions=True
        )
        for error in found:
            if isinstance(error, Exception):
                log.error("%s: a container could not be ended", self.name, exc_info=error)

    def _container(self, spec: Body, statuses: Any, policy: str, *, once: bool) -> Container:
        before = next((each for each in statuses if each.get("name") == spec["name"]), None)
        facts = ContainerFacts.restore(spec["name"], spec.get("image", ""), before)
        around = Surroundings(
            name=self.name,
            grace=float(self.body["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE)),
            prepare=self._prepare,
            start=self._start,
            ports=lambda: self.ports,
            taken=self._taken,
            changed=lambda: self._on.dirty(self),
        )
        return Container(spec, facts, around, policy=policy, once=once)

    async def _prepare(self, spec: Body) -> Launch:
        return await self._in_thread(self._prepare_now, spec)

    def _prepare_now(self, spec: Body) -> Launch:
        """Files, ports, environment, command line. Raises ConfigError, LaunchError, OSError."""
        self._lay_out()
        setting = Setting(
            pod=self.body,
            container=spec,
            sources=self._on.sources,
            paths=files.mounts(spec, self.folder),
            ports=self.ports,
            inherited=self._on.inherited,
            tmp=self.folder / "tmp",
        )
        env = environment.build(setting)
        argv = environment.command(setting, env)
        executable = environment.find(argv, env, self._on.fleet, written=str(spec["command"][0]))
        path = logs.log_file(self._on.state, self.ref.namespace, self.ref.name, spec["name"])
        return Launch(executable=executable, argv=argv, env=env, cwd=self._on.fleet, log=path)

    def _lay_out(self) -> None:
        """Ports and files, which the containers of a pod share."""
        with self._setting_up:
            self._allocate()
            files.lay_out(self.body, self.folder, self._on.sources)

    async def _start(self, launch: Launch) -> Process:
        """Start a process in a thread: a fork takes milliseconds."""

        def start() -> Process:
            logs.prepare(launch.log)
            return Process.start(launch)

        return await self._in_thread(start)

    async def _in_thread(self, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run in a thread to its end, even when the waiting task is cancelled: a started process must not be lost."""
        bound = functools.partial(call, *arguments, **named)
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._on.threads, bound))

    def _known_ports(self, body: Body) -> dict[str, int]:
        """What the annotation of an earlier supervisor says, where it can still be had."""
        try:
            found = json.loads(body["metadata"].get("annotations", {}).get(PORTS_ANNOTATION, "{}"))
            ports = {str(key): int(value) for key, value in found.items()}
        except (ValueError, AttributeError, TypeError):
            return {}
        return ports if all(self._on.book.take(self.uid, port) for port in ports.values()) else {}

    def _allocate(self) -> None:
        """Give every declared port a real one; a pod without any gets one all the same."""
        ports = dict(self.ports)
        for spec in [*self.body["spec"].get("initContainers", ()), *self.body["spec"].get("containers", ())]:
            for port in spec.get("ports", ()):
                key = environment.port_key(port)
                if key not in ports:
                    ports[key] = self._on.book.allocate(self.uid)
                if name := port.get("name"):
                    ports[name] = ports[key]
        if not ports:
            ports["default"] = self._on.book.allocate(self.uid)
        self.ports = ports

    async def _taken(self, spec: Body) -> bool:
        """Whether somebody else listens on a port of this container, whose process has ended; it then gets others."""
        keys = [environment.port_key(port) for port in spec.get("ports", ())] or ["default"]
        taken = {self.ports[key] for key in keys if key in self.ports and not is_free(self.ports[key])}
        if not taken:
            return False
        log.warning("%s: another program listens on port %s: it gets another one", self.name, sorted(taken))
        self.ports = {key: port for key, port in self.ports.items() if port not in taken}
        return True
