"""A state folder with a real supervisor, for tests: objects in, processes out, nothing left behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from reconciler.adapters.embedded import lifecycle
from reconciler.adapters.embedded.kubelet.machine import Identity
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.identity import ObjectRef

T = TypeVar("T")
Body = dict[str, Any]
WAIT_SECONDS = 40.0
IDLE_SECONDS = 0.5

SERVER = """
import http.server, os, signal, sys, threading
TEXT = (sys.argv[1] if len(sys.argv) > 1 else "ok").encode()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        self.wfile.write(TEXT)
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("serving", flush=True)
server.serve_forever()
server.server_close()
"""


def eventually(look: Callable[[], T], *, within: float = WAIT_SECONDS, what: str = "") -> T:
    """What `look` gives, as soon as that is true."""
    end = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < end, f"not within {within} s: {what or look}"
        time.sleep(0.02)
    return found


class Machine:
    """One state folder beside a fleet folder."""

    def __init__(self, folder: Path) -> None:
        self.fleet = folder
        self.state = folder / ".reconciler"
        self.state.mkdir()
        (folder / "server.py").write_text(SERVER)
        self.store = ObjectStore.open(self.state / lifecycle.DATABASE)

    def start(self) -> int:
        """See to it that a supervisor runs; its pid."""
        lifecycle.ensure_running(self.state, self.fleet, idle_seconds=IDLE_SECONDS)
        said = lifecycle.read_said(self.state)
        assert said is not None
        return said.pid

    def log(self) -> str:
        return (self.state / lifecycle.LOG).read_text()

    def apply(self, body: Body) -> None:
        self.store.apply(body, manager="test", force=True)
        self.start()

    def deployment(
        self, name: str, container: Body, *, replicas: int | None = 1, pod: Body | None = None, **spec: Any
    ) -> Body:
        """Apply a Deployment of one container; `pod` adds to the pod's spec, the rest to the Deployment's."""
        labels = {"app": name}
        template = {
            "metadata": {"labels": labels},
            "spec": {
                "terminationGracePeriodSeconds": 2,
                "containers": [{"name": "main", "image": "none", **container}],
                **(pod or {}),
            },
        }
        more = {} if replicas is None else {"replicas": replicas}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {"selector": {"matchLabels": labels}, "template": template, **more, **spec},
        }
        self.apply(body)
        return body

    def serving(self, name: str, *arguments: str, **more: Any) -> Body:
        """Apply a Deployment that serves HTTP and is probed."""
        container = {
            "command": [sys.executable, "server.py", *arguments],
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
            "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
        }
        return self.deployment(name, container, **more)

    def service(self, name: str) -> str:
        """Apply a Service for a Deployment and wait for its address: HOST:PORT."""
        spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "ns"}, "spec": spec})
        import json

        def address() -> str:
            body = self.get("", "Service", name)
            text = body["metadata"].get("annotations", {}).get("agents.codevald.io/address", "{}")
            return str(json.loads(text).get("http", ""))

        return str(eventually(address))

    def get(self, group: str, kind: str, name: str) -> Body:
        return self.store.get(ObjectRef(group=group, kind=kind, namespace="ns", name=name)) or {
            "metadata": {},
            "status": {},
        }

    def status(self, name: str) -> Body:
        found: Body = self.get("apps", "Deployment", name).get("status", {})
        return found

    def condition(self, name: str, kind: str) -> Body:
        return next((each for each in self.status(name).get("conditions", ()) if each["type"] == kind), {})

    def pods(self, name: str) -> list[Body]:
        return self.store.list("", "Pod", namespace="ns", labels={"app": name})[0]

    def container(self, name: str) -> Body:
        """The status of the one container of the one pod."""
        for pod in self.pods(name):
            for status in pod.get("status", {}).get("containerStatuses", ()):
                found: Body = status
                return found
        return {}

    def ready(self, name: str, replicas: int = 1) -> None:
        """Wait until a rollout is complete."""

        def look() -> bool:
            body = self.get("apps", "Deployment", name)
            status = body.get("status", {})
            seen = status.get("observedGeneration") == body["metadata"].get("generation")
            counts = {
                status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
            }
            return seen and counts == {replicas}

        eventually(look, what=f"{name} is ready: {self.log()[-2000:]}")

    def pids(self, name: str) -> list[int]:
        """Process ids of the running containers."""
        found = []
        for pod in self.pods(name):
            for status in pod.get("status", {}).get("containerStatuses", ()):
                identity = Identity.parse(status.get("containerID", ""))
                if identity and "running" in status["state"]:
                    found.append(identity.pid)
        return sorted(found)

    def delete(self, group: str, kind: str, name: str) -> None:
        self.store.delete(ObjectRef(group=group, kind=kind, namespace="ns", name=name))
        self.start()

    def output(self, name: str, *, previous: bool = False) -> str:
        """What the one pod's container has written."""
        end = ".log.previous" if previous else ".log"
        for pod in self.pods(name):
            path = self.state / "logs" / "ns" / pod["metadata"]["name"] / f"main{end}"
            if path.exists():
                return str(path.read_text())
        return ""


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A machine; all that it runs is ended at the end."""
    made = Machine(folder)
    try:
        yield made
    finally:
        made.store.close()
        if made.state.exists():
            lifecycle.end_everything(made.state, made.fleet)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
