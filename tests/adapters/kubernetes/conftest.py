"""A scripted server in the place of an API server, and clusters and transports that reach it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.kubernetes.access import Access
from reconciler.adapters.kubernetes.cluster import KubernetesCluster
from reconciler.adapters.kubernetes.connection import Login
from reconciler.adapters.kubernetes.transport import Request, Transport
from reconciler.ports import Clock
from tests.doubles.scripted_server import ScriptedServer

TOKEN = (
    '"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from the plugin"}'
)
"""What a credential plugin prints, without its braces."""

Reach = Callable[..., KubernetesCluster]
Connect = Callable[..., Transport]


async def until(look: Callable[[], object], within_s: float = 30.0) -> None:
    """Let others run until something holds. Raises TimeoutError when it never does."""
    async with asyncio.timeout(within_s):
        while not look():  # noqa: ASYNC110 - what is waited for is another's doing, and sets no event
            await asyncio.sleep(0.001)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to notice."""
    if Path("/proc/self/stat").exists():
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
    return subprocess.run(["kill", "-0", str(pid)], check=False, capture_output=True).returncode != 0


async def lines_of(transport: Transport, request: Request) -> list[bytes]:
    """A stream to its end."""
    async with transport.stream(request, silence_s=30) as lines:
        return [line async for line in lines]


def plugin_that(folder: Path, script: str) -> dict[str, Any]:
    """The user of a kubeconfig whose credential plugin is a shell script."""
    plugin = folder / "plugin"
    plugin.write_text(f"#!/bin/sh\n{script}\n")
    plugin.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": str(plugin), "interactiveMode": "Never"}}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as started:
        yield started


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def reach(server: ScriptedServer, tmp_path: Path, opened: AsyncExitStack) -> Reach:
    """Opens a cluster named `double`; `user` and `cluster` are those parts of its kubeconfig."""

    def open_cluster(*, clock: Clock | None = None, **kubeconfig: Any) -> KubernetesCluster:
        login = Login(kubeconfig=server.kubeconfig(tmp_path, **kubeconfig))
        cluster = KubernetesCluster("double", login, clock or SystemClock())
        opened.push_async_callback(cluster.close)
        return cluster

    return open_cluster


@pytest.fixture
def connect(server: ScriptedServer, tmp_path: Path, opened: AsyncExitStack) -> Connect:
    """Opens a transport to the server; `user` and `cluster` are those parts of its kubeconfig."""

    def open_transport(*, clock: Clock | None = None, **kubeconfig: Any) -> Transport:
        login = Login(kubeconfig=server.kubeconfig(tmp_path, **kubeconfig))
        transport = Transport("double", Access(login), clock or SystemClock())
        opened.push_async_callback(transport.close)
        return transport

    return open_transport
