"""Services: one stable loopback address each, forwarded to the pods that are ready. The embedded kube-proxy.

Round-robin; a pod that refuses is passed over. A pod that is being ended gets nothing new; what it is answering it may
finish. How one connection is carried is in `relay`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from reconciler.adapters.embedded.kubelet.ports import HOST, PortBook
from reconciler.adapters.embedded.kubelet.relay import CHUNK, LOOK_SECONDS, Link, carry
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.errors import ClusterError
from reconciler.model.identity import ObjectRef

if TYPE_CHECKING:
    from reconciler.adapters.embedded.kubelet.pod import Pod

Body = dict[str, Any]
ADDRESS_ANNOTATION = "agents.codevald.io/address"
"""On a Service: JSON, each port by name and by number -> HOST:PORT of this machine that leads to ready pods."""
MANAGER = "kube-proxy"
MAX_CONNECTIONS = 4096
CONNECT_SECONDS = 2.0
WAIT_FOR_READY_SECONDS = 5.0
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class Proxies:
    """The listeners of all Services."""

    def __init__(self, store: ObjectStore, book: PortBook, *, writer: Executor) -> None:
        self._store = store
        self._book = book
        self._writer = writer
        self._services: dict[str, Service] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, services: list[Body], pods: list[Pod]) -> None:
        """Open, change and close listeners as the Services say; `pods` are those that may be chosen."""
        wanted = {body["metadata"]["uid"]: body for body in services if body["spec"].get("selector")}
        for uid in sorted(set(self._services) - set(wanted)):
            self._spawn(self._services.pop(uid).close())
            self._book.release(uid)
        for uid, body in wanted.items():
            service = self._services.get(uid)
            if service is None:
                service = self._services[uid] = Service(uid, self._book)
                service.take(body)
                self._spawn(self._open(service))
            elif service.take(body):
                self._spawn(self._open(service))
            service.choose(pods)

    def changed(self) -> None:
        """A pod became ready or not: who waits for one looks again."""
        for service in self._services.values():
            service.news.set()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(service.close() for service in self._services.values()), return_exceptions=True)

    async def _open(self, service: Service) -> None:
        """Open and publish a Service, tried until it succeeds or the Service is gone: no later look would do it."""
        loop, said = asyncio.get_running_loop(), ""
        while self._services.get(service.uid) is service:
            body = service.body
            try:
                addresses = await service.open(body)
                await loop.run_in_executor(self._writer, self._publish, body, addresses)
            except (OSError, ClusterError) as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("service %s/%s: %s", body["metadata"]["namespace"], body["metadata"]["name"], said)
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)

    def _publish(self, body: Body, addresses: dict[str, str]) -> None:
        metadata = body["metadata"]
        ref = ObjectRef(group="", kind="Service", namespace=metadata["namespace"], name=metadata["name"])
        live = self._store.get(ref)
        text = json.dumps(addresses, sort_keys=True)
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            return
        if live["metadata"].get("annotations", {}).get(ADDRESS_ANNOTATION) == text:
            return
        changed = copy.deepcopy(live)
        changed["metadata"].setdefault("annotations", {})[ADDRESS_ANNOTATION] = text
        self._store.update(changed, manager=MANAGER)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Service:
    """One Service: its listeners, and the pods behind it."""

    def __init__(self, uid: str, book: PortBook) -> None:
        self.uid = uid
        self.body: Body = {}
        self.news = asyncio.Event()
        self._book = book
        self._ports: list[Body] = []
        self._namespace = self._name = ""
        self._selector: dict[str, str] = {}
        self._servers: dict[str, asyncio.Server] = {}
        self._pods: list[Pod] = []
        self._next = 0
        self._opening = asyncio.Lock()
        self._closed = False
        self._connections: set[asyncio.Task[None]] = set()

    def take(self, body: Body) -> bool:
        """Take in a changed Service; True when its listeners must be looked at."""
        self.body, metadata = body, body["metadata"]
        self._namespace, self._name = metadata["namespace"], f"{metadata['namespace']}/{metadata['name']}"
        self._selector = body["spec"].get("selector") or {}
        ports, self._ports = self._ports, body["spec"].get("ports", [])
        return ports != self._ports

    def choose(self, pods: list[Pod]) -> None:
        self._pods = [
            pod
            for pod in sorted(pods, key=lambda pod: pod.ref)
            if pod.ref.namespace == self._namespace
            and self._selector.items() <= pod.body["metadata"].get("labels", {}).items()
        ]
        self.news.set()

    async def open(self, body: Body) -> dict[str, str]:
        """Listen for each port, where possible as before; the addresses by port name and number. Raises OSError."""
        self.take(body)
        async with self._opening:
            return await self._open(_known(body))

    async def _open(self, known: dict[str, int]) -> dict[str, str]:
        addresses: dict[str, str] = {}
        wanted = {str(port["port"]): port for port in self._ports if port.get("protocol", "TCP") == "TCP"}
        for key in set(self._servers) - set(wanted):
            self._servers.pop(key).close()
        for key, port in wanted.items():
            if self._closed:
                break
            if key not in self._servers:
                self._servers[key] = await self._listen(key, known.get(key, 0))
            real = self._servers[key].sockets[0].getsockname()[1]
            addresses[key] = f"{HOST}:{real}"
            if port.get("name"):
                addresses[port["name"]] = addresses[key]
        return addresses

    async def close(self) -> None:
        self._closed = True
        async with self._opening:  # what is just being opened would listen on for nobody
            for server in self._servers.values():
                server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _listen(self, key: str, before: int) -> asyncio.Server:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(key, reader, writer))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        for port in [before, 0] if before and self._book.take(self.uid, before) else [0]:
            with contextlib.suppress(OSError):
                server = await asyncio.start_server(accept, HOST, port, limit=CHUNK)
                self._book.take(self.uid, server.sockets[0].getsockname()[1])
                return server
        raise OSError("no port of this machine could be had for it")

    async def _serve(self, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if len(self._connections) <= MAX_CONNECTIONS:
                await carry(reader, writer, lambda: self._connect(key))
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # one of both sides broke off: so does the other
        except asyncio.CancelledError:
            return
        except Exception:
            log.exception("a connection of service %s failed; the others go on", self._name)
        finally:
            writer.close()

    async def _connect(self, key: str) -> Link | None:
        """A connection to a ready pod, whichever accepts first, waiting a while for one to be ready."""
        loop = asyncio.get_running_loop()
        end = loop.time() + WAIT_FOR_READY_SECONDS
        while loop.time() < end:
            ready = [pod for pod in self._pods if pod.ready]
            for offset in range(len(ready)):
                pod = ready[(self._next + offset) % len(ready)]
                port = self._target(key, pod)
                with contextlib.suppress(OSError):
                    if port:
                        async with asyncio.timeout(CONNECT_SECONDS):
                            reader, writer = await asyncio.open_connection(HOST, port, limit=CHUNK)
                        self._next = (self._next + offset + 1) % len(ready)
                        return Link(target=pod, reader=reader, writer=writer)
            self.news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.news.wait()
        return None

    def _target(self, key: str, pod: Pod) -> int | None:
        port = next((each for each in self._ports if str(each["port"]) == key), None)
        target = (port or {}).get("targetPort") or (port or {}).get("port")
        return pod.ports.get(str(target))


def _known(body: Body) -> dict[str, int]:
    """The ports of the addresses that were published before."""
    try:
        found = json.loads(body["metadata"].get("annotations", {}).get(ADDRESS_ANNOTATION, "{}"))
        return {str(key): int(str(value).rpartition(":")[2]) for key, value in found.items()}
    except (ValueError, AttributeError, TypeError):
        return {}
