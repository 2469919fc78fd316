"""Free ports on loopback. They lie below the range from which the system takes ports for outgoing connections, so that
a server that is killed finds its port free when it comes back.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"
LOWEST, HIGHEST = 15_000, 29_999
TRIES = 1_000


def free_ports(count: int) -> list[int]:
    """Return as many different ports that nobody listens on now."""
    chance = random.SystemRandom()
    ports: list[int] = []
    with ExitStack() as held:
        for _ in range(TRIES):
            if len(ports) == count:
                return ports
            port = chance.randint(LOWEST, HIGHEST)
            listener = held.enter_context(socket.socket())
            try:
                listener.bind((LOOPBACK, port))
            except OSError:
                continue
            ports.append(port)
    raise OSError(f"no {count} free ports on {LOOPBACK} between {LOWEST} and {HIGHEST}")
