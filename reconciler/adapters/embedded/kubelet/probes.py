"""Probes: is this container started, ready, alive? One try of each kind, and the counting of tries.

HTTP answers of the process are hostile input: the head is bounded, the body is not read, redirects are not followed.
Source: pkg/kubelet/prober of Kubernetes 1.36.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.adapters.embedded.kubelet.ports import HOST

Body = dict[str, Any]
MAX_HEAD_BYTES = 64 * 1024
FIRST_LOOK_SECONDS = 0.05
"""Until its first success a probe looks sooner than its period: after this time, doubling. People wait for it."""
_OK_LOW, _OK_HIGH = 200, 400
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""What this machine has run out of: no fault of a container."""

Runner = Callable[[list[str]], Awaitable[int]]
"""Runs a command in the container's surroundings and answers its exit code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`ok` is None where the container could not be asked: neither a success nor a failure of it."""

    ok: bool | None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds and counts of a probe, with Kubernetes' defaults."""

    delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def of(cls, probe: Body) -> Timing:
        return cls(
            delay=float(probe.get("initialDelaySeconds", 0)),
            period=max(1.0, float(probe.get("periodSeconds", 10))),
            timeout=max(0.1, float(probe.get("timeoutSeconds", 1))),
            successes=max(1, int(probe.get("successThreshold", 1))),
            failures=max(1, int(probe.get("failureThreshold", 3))),
        )


@dataclass(slots=True, kw_only=True)
class Tally:
    """Successes and failures in a row, and the verdict: None until a threshold is reached for the first time."""

    timing: Timing
    verdict: bool | None = None
    row: int = 0
    last: bool | None = None

    def count(self, *, ok: bool) -> bool | None:
        """Take in one result; the verdict after it."""
        self.row = self.row + 1 if ok is self.last else 1
        self.last = ok
        if self.row >= (self.timing.successes if ok else self.timing.failures):
            self.verdict = ok
        return self.verdict


async def attempt(probe: Body, ports: Mapping[str, int], run: Runner) -> Result:
    """One try, within its time-out. Never raises but for cancellation."""
    timing = Timing.of(probe)
    try:
        async with asyncio.timeout(timing.timeout):
            return await _attempt(probe, ports, run)
    except TimeoutError:
        return Result(ok=False, message=f"no answer within {timing.timeout:g} s")
    except Exception as error:  # noqa: BLE001 - whatever it is, the probe has failed, and is to go on
        ours = isinstance(error, OSError) and error.errno in _OURS
        return Result(ok=None if ours else False, message=_reason(error))


async def _attempt(probe: Body, ports: Mapping[str, int], run: Runner) -> Result:
    if action := probe.get("httpGet"):
        return await http_get(action, ports)
    if action := probe.get("tcpSocket"):
        return await _connect(resolve(action.get("port"), ports))
    if action := probe.get("grpc"):
        return await _connect(resolve(action.get("port"), ports))  # only whether it accepts: no gRPC is spoken here
    if action := probe.get("exec"):
        code = await run([str(word) for word in action.get("command", ())])
        return Result(ok=code == 0, message=f"command ended with {code}")
    return Result(ok=True)


def resolve(port: int | str | None, ports: Mapping[str, int]) -> int:
    """The real port of a container port, by name or number; an undeclared number stands for itself."""
    found = ports.get(str(port))
    if found is not None:
        return found
    if isinstance(port, int) or (isinstance(port, str) and port.isascii() and port.isdigit()):
        return int(port)
    raise ValueError(f"no port is named {port!r}")


async def http_get(action: Body, ports: Mapping[str, int]) -> Result:
    """One GET: the status line counts, 200 to 399 is well. Raises OSError, ValueError."""
    port = resolve(action.get("port"), ports)
    secure = str(action.get("scheme", "HTTP")).upper() == "HTTPS"
    reader, writer = await asyncio.open_connection(
        HOST, port, ssl=_trusting() if secure else None, limit=MAX_HEAD_BYTES
    )
    try:
        writer.write(_request(action, port))
        await writer.drain()
        line = await reader.readline()
        words = line.split(maxsplit=2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            return Result(ok=False, message="the answer is no HTTP")
        status = int(words[1])
        return Result(ok=_OK_LOW <= status < _OK_HIGH, message=f"HTTP status {status}")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            writer.transport.abort()


def _request(action: Body, port: int) -> bytes:
    path = str(action.get("path") or "/")
    headers = {"Host": f"{HOST}:{port}", "User-Agent": "kube-probe/embedded", "Accept": "*/*", "Connection": "close"}
    headers |= {str(each["name"]): str(each.get("value", "")) for each in action.get("httpHeaders", ())}
    lines = [
        f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1",
        *(f"{key}: {text}" for key, text in headers.items()),
    ]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a path or header of the probe holds a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _connect(port: int) -> Result:
    _, writer = await asyncio.open_connection(HOST, port)
    writer.close()
    return Result(ok=True)


def _trusting() -> ssl.SSLContext:
    """As Kubernetes' probes: certificates are not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)[:200] or type(error).__name__
