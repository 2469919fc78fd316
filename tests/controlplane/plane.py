"""A real control plane on loopback: etcd, API server, controllers, scheduler, and KWOK in the place of kubelets. It is
started in a folder, answers within seconds, and leaves nothing when it is stopped or when its user is killed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from tests.controlplane import binaries, commands, kubeconfig
from tests.controlplane.api import Api, Refused
from tests.controlplane.identities import Identities
from tests.controlplane.nodes import node
from tests.controlplane.pki import Authority, Identity, key_pair
from tests.controlplane.ports import LOOPBACK
from tests.controlplane.processes import DidNotStart, Process, Processes

READY_WITHIN_S = 60.0
LOOK_EVERY_S = 0.03
KUBECTL_WITHIN_S = 120
ATTEMPTS = 3
"""Another process may take a port between our looking for a free one and the listening on it."""
PORT_TAKEN = "address already in use"
ADMIN = "system:masters"
T = TypeVar("T")


class KubectlFailed(Exception):
    """A kubectl command ended with an error: what it said."""


class ControlPlane:
    """One running control plane; `start` makes it."""

    def __init__(self, name: str, layout: commands.Layout, processes: Processes, authority: Authority) -> None:
        self.name = name
        self.folder = layout.folder
        self.kubeconfig = layout.kubeconfig
        self.url = layout.url
        self._layout = layout
        self._processes = processes
        self._running: dict[str, Process] = {}
        self.api = Api(layout.url, layout.authority, layout.identity)
        self._identities = Identities(layout, authority, self.api)
        self.uid = ""

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        name: str = "test",
        nodes: int = 2,
        hpa_sync: str = "1s",
        durable: bool = False,
        controllers: bool = True,
    ) -> Self:
        """Start one in an empty folder and wait until it takes work. `name` is that of its context, cluster and user
        in the kubeconfig. Only a `durable` one keeps what it acknowledged when the machine itself goes down. Without
        `controllers` there is an API server and nobody who acts on what is stored: no nodes, no pods.
        """
        found = binaries.find()
        if isinstance(found, binaries.Missing):
            raise DidNotStart(str(found))
        for attempt in range(1, ATTEMPTS + 1):
            plane = cls._laid_out(folder if attempt == 1 else folder / f"attempt-{attempt}", found, name)
            try:
                plane._bring_up(durable=durable)
                if controllers:
                    plane._bring_to_life(nodes=nodes, hpa_sync=hpa_sync)
            except DidNotStart as error:
                plane.stop()
                if PORT_TAKEN not in str(error) or attempt == ATTEMPTS:
                    raise
            except BaseException:
                plane.stop()
                raise
            else:
                break
        return plane

    @classmethod
    def _laid_out(cls, folder: Path, found: binaries.Binaries, name: str) -> Self:
        folder.mkdir(parents=True, exist_ok=True)
        layout, authority = _lay_out(folder, found, name)
        return cls(name, layout, Processes(folder), authority)

    def _bring_up(self, *, durable: bool) -> None:
        self._run("etcd", commands.etcd(self._layout, durable=durable))
        self.start_api_server()
        self.uid = self.wait_for("the kube-system namespace", self._kube_system_uid)

    def _bring_to_life(self, *, nodes: int, hpa_sync: str) -> None:
        self._run("kube-controller-manager", commands.controller_manager(self._layout, hpa_sync=hpa_sync))
        self._run("kube-scheduler", commands.scheduler(self._layout))
        self._run("kwok", commands.kwok(self._layout))
        for number in range(nodes):
            self.api.json("POST", "/api/v1/nodes", node(number))
        for name, port in self._layout.ports.healthy():
            health = Api(f"https://{LOOPBACK}:{port}", self._layout.authority, self._layout.identity)
            self.wait_for(f"a healthy {name}", partial(health.ask, "GET", "/healthz"))
        self.wait_for("the default service account", self._default_account)
        self.wait_for("ready nodes", lambda: self._ready_nodes() >= nodes)

    def stop(self) -> None:
        """End every process, and wait for that."""
        self._processes.close()
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """The processes by name, the keeper's among them."""
        return {"keeper": self._processes.keeper_pid} | {name: each.pid for name, each in self._running.items()}

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002  # as subprocess.run names it
        kubeconfig: Path | None = None,
    ) -> str:
        """Run kubectl as the administrator, or as another kubeconfig says; return what it printed, raise
        `KubectlFailed` with what it complained of.
        """
        done = subprocess.run(
            self.kubectl_command(*arguments, kubeconfig=kubeconfig),
            input=input,
            capture_output=True,
            text=True,
            timeout=KUBECTL_WITHIN_S,
            check=False,
        )
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def kubectl_command(self, *arguments: str, kubeconfig: Path | None = None) -> list[str]:
        """Return the command line of a kubectl, for whoever runs it in the background."""
        return [str(self._layout.binaries["kubectl"]), f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]

    def get(self, *arguments: str) -> Any:
        """Run `kubectl get` and return the object or the list."""
        return json.loads(self.kubectl("get", "-o", "json", *arguments))

    def allowed(self, verb: str, resource: str, namespace: str, *, kubeconfig: Path | None = None) -> bool:
        """Whether an identity may do that."""
        try:
            self.kubectl("-n", namespace, "auth", "can-i", "-q", verb, resource, kubeconfig=kubeconfig)
        except KubectlFailed:
            return False
        return True

    def create_namespace(self, name: str) -> None:
        """Create a namespace and wait until pods may start in it."""
        self.api.json("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        self.wait_for(f"the default service account of {name}", lambda: self.api.json("GET", path))

    def user(self, name: str, *groups: str, context: str | None = None) -> Path:
        """Return the kubeconfig of a user who may do what RBAC lets him, and nothing by himself. Unless said otherwise
        its context bears the plane's name, so that one file can stand in for the other.
        """
        return self._identities.user(name, groups, context or self.name)

    def service_account_kubeconfig(
        self, namespace: str, name: str, expiry_s: int = 3600, *, context: str | None = None
    ) -> Path:
        """Return the kubeconfig of a service account, with a token that the API server issued."""
        return self._identities.service_account(namespace, name, expiry_s, context or self.name)

    def service_account_token(self, namespace: str, name: str, expiry_s: int = 3600) -> str:
        """Return a token that the API server issued, for at least ten minutes."""
        return self._identities.token(namespace, name, expiry_s)

    def short_token(self, namespace: str, name: str, lifetime_s: float) -> str:
        """Return a token that the API server refuses after so many seconds, to the second; below zero, at once."""
        return self._identities.short_token(namespace, name, time.time() + lifetime_s)

    def pods(self, namespace: str = "", selector: str = "") -> list[dict[str, Any]]:
        """Return the pods of a namespace, or of all, that a label selector finds."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        items: list[dict[str, Any]] = self.api.json("GET", f"/api/v1{scope}/pods?labelSelector={quote(selector)}")[
            "items"
        ]
        return items

    @property
    def server_identity(self) -> Identity:
        """A certificate and key with which servers on loopback may pass for the plane's own."""
        return self._layout.identity

    def pause(self) -> None:
        """Stop the API server in its tracks: connections stay open and nobody answers."""
        self._running["kube-apiserver"].signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused API server go on."""
        self._running["kube-apiserver"].signal(signal.SIGCONT)

    def kill_api_server(self) -> None:
        """Kill the API server; the database keeps what it has."""
        self._running.pop("kube-apiserver").end()

    def start_api_server(self) -> None:
        """Start the API server, on the port and with the data that it had."""
        self._run("kube-apiserver", commands.api_server(self._layout))
        self.wait_for("a ready API server", lambda: self.api.ask("GET", "/readyz"))

    def _run(self, name: str, argv: list[str]) -> None:
        self._running[name] = self._processes.start(name, argv)

    def wait_for(self, what: str, look: Callable[[], T], *, within_s: float = READY_WITHIN_S) -> T:
        """Look until there is something to return; say what was waited for, and which program ended meanwhile."""
        deadline = time.monotonic() + within_s
        seen: object = None
        while time.monotonic() < deadline:
            try:
                value = look()
            except (OSError, Refused) as error:
                seen = error
            else:
                if value:
                    return value
                seen = value
            for process in self._running.values():
                code = process.ended()
                if code is not None:
                    raise DidNotStart(
                        f"{self.name}: {process.name} ended with code {code}; {process.log} ends with\n"
                        f"{process.last_lines()}"
                    )
            time.sleep(LOOK_EVERY_S)
        logs = "\n".join(f"--- {each.log}\n{each.last_lines()}" for each in self._running.values())
        raise DidNotStart(f"{self.name}: {what} was not there within {within_s:g} s (last seen: {seen})\n{logs}")

    def _kube_system_uid(self) -> str:
        return str(self.api.json("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"])

    def _default_account(self) -> Any:
        return self.api.json("GET", "/api/v1/namespaces/default/serviceaccounts/default")

    def _ready_nodes(self) -> int:
        nodes = self.api.json("GET", "/api/v1/nodes")["items"]
        return sum(
            condition["type"] == "Ready" and condition["status"] == "True"
            for each in nodes
            for condition in each["status"].get("conditions", [])
        )


def _lay_out(folder: Path, found: binaries.Binaries, name: str) -> tuple[commands.Layout, Authority]:
    """Write keys, certificates and the administrator's kubeconfig."""
    authority = Authority.make(folder / "pki")
    private, public = key_pair(folder / "pki", "service-accounts")
    layout = commands.Layout(
        binaries=found,
        folder=folder,
        ports=commands.Ports.free(),
        authority=authority.file,
        identity=authority.issue("admin", name="admin", groups=(ADMIN,), server=True),
        signing_key=private,
        verifying_key=public,
        kubeconfig=folder / "kubeconfig",
    )
    content = kubeconfig.document(
        name=name, url=layout.url, authority=authority.encoded(), user=layout.identity.encoded()
    )
    kubeconfig.write(layout.kubeconfig, content)
    return layout, authority
