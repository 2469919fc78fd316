"""Ids of records: ordered by time, unique without asking anybody."""

from __future__ import annotations

import secrets
import threading

from reconciler.ports import Clock

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: ascending in ASCII, so ids sort as their numbers do."""
_RANDOM_BITS = 66
_COUNTER_BITS = 16
_CHARACTERS = 26


class IdMaker:
    """Makes ids of 48 bits of Unix milliseconds, a 16-bit counter and 66 random bits, behind the letter `a`.

    27 lower-case characters, a DNS label (RFC 1035). Ids of one process ascend strictly, also when the wall clock is
    set back; ids of several processes ascend as their clocks do, and the random bits keep them apart.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> str:
        with self._lock:
            self._last = max(self._clock.now_ms() << _COUNTER_BITS, self._last + 1)
            number = self._last << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        return "a" + "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (_CHARACTERS - 1), -1, -5))
