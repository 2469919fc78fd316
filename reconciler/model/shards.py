"""Shards of a fleet: which agents belong together, and which of several daemons looks after which shard.

Pure, and the same for everybody who is told the same. Must not know: leases, or who is alive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from reconciler.model.identity import AgentName


def shard_of(name: AgentName, count: int) -> int:
    """The shard of an agent among `count`: by its identity alone, in every process and version the same."""
    return _weight("agent", str(name)) % count


def assigned(count: int, seats: Iterable[int]) -> Mapping[int, int]:
    """The seat that looks after each shard.

    Each shard has an order of its own among all seats that there could be, and goes to the first that is taken and not
    full (rendezvous hashing with bounds): who comes or goes moves few other shards, and no two seats differ by more
    than one.
    """
    taken = sorted(set(seats))
    if not taken:
        return {}
    least, more = divmod(count, len(taken))
    loads = dict.fromkeys(taken, 0)
    found = {}
    for shard in range(count):
        order = sorted(taken, key=lambda seat: (_weight("seat", f"{shard}/{seat}"), seat))
        free = next(seat for seat in order if loads[seat] < least or (loads[seat] == least and more))
        more -= loads[free] == least
        loads[free] += 1
        found[shard] = free
    return found


def _weight(kind: str, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=kind.encode()).digest())
