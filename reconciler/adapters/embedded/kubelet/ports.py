"""Free loopback ports of this machine, unique among the live pods."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading

HOST = "127.0.0.1"
_ATTEMPTS = 64


class PortBook:
    """Which ports are given to which pod (its uid) or service. Ports of the living are never given twice.

    Threads may share it.
    """

    def __init__(self) -> None:
        self._owners: dict[int, str] = {}
        self._lock = threading.Lock()

    def take(self, owner: str, port: int) -> bool:
        """Claim a known port (from an earlier supervisor, or a pod's last run); False when another owner has it."""
        with self._lock:
            return self._owners.setdefault(port, owner) == owner

    def allocate(self, owner: str) -> int:
        """A port that is free now. Raises OSError when the machine has none left."""
        for _ in range(_ATTEMPTS):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind((HOST, 0))
                port: int = probe.getsockname()[1]
            with self._lock:
                if port not in self._owners:
                    self._owners[port] = owner
                    return port
        raise OSError(errno.EADDRNOTAVAIL, "no free port was found on the loopback interface")

    def release(self, owner: str) -> None:
        with self._lock:
            for port in [port for port, holder in self._owners.items() if holder == owner]:
                del self._owners[port]


def is_free(port: int) -> bool:
    """Whether nobody listens on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False
