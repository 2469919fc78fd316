"""Quantities and durations: strict number types of our own, compared by value, printed as written.

Grammar: Kubernetes' resource.Quantity (decimal SI m, k, M, G, T, P, E; binary Ki..Ei; exponent e/E) without signs,
and durations as `500ms`, `30s`, `2m`, `1h`, `7d` or a run of them (`1h30m`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Self

QUANTITY_PATTERN = r"^(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,2})?$"
DURATION_PATTERN = r"^(?:[0-9]{1,9}(?:ms|s|m|h|d))+$"
PERCENT_PATTERN = r"^(?:100|[0-9]{1,2})%$"

_QUANTITY = re.compile(QUANTITY_PATTERN[:-1] + r"\Z", re.ASCII)
_DURATION = re.compile(DURATION_PATTERN[:-1] + r"\Z", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)", re.ASCII)
_SUFFIX = re.compile(r"(m|k|M|G|T|P|E|[KMGTPE]i)\Z")
_SCALE = {
    "m": Fraction(1, 1000), "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12),
    "P": Fraction(10**15), "E": Fraction(10**18), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30),
    "Ti": Fraction(2**40), "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_STORED = re.compile(r"([+-]?)0*(?=[0-9.])(.*?)([nu]?)\Z", re.ASCII)
_SMALL = {"": 1, "u": 10**6, "n": 10**9}
_EXPONENT = re.compile(r"[eE][+-]?[0-9]+\Z", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
MAX_DURATION_MS = 10 * 365 * 86_400_000
MAX_TEXT = 32


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """An amount of a resource. Equal and ordered by value: `1000m` equals `1`, `0.5Gi` equals `512Mi`."""

    value: Fraction
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a quantity. Raises ValueError when it is none."""
        if len(text) > MAX_TEXT or not _QUANTITY.match(text):
            raise ValueError(f"{text[:40]!r} is not a quantity (like 500m, 1.5 or 256Mi)")
        suffix = _SUFFIX.search(text)
        if suffix:
            return cls(Fraction(text[: suffix.start()]) * _SCALE[suffix.group()], text)
        return cls(Fraction(text), text)

    def canonical(self) -> str:
        """The text under which API servers store this quantity: `1000m` as `1`, `1.5` as `1500m`, `0.5Gi` as `512Mi`.

        Source: Quantity.CanonicalizeBytes in k8s.io/apimachinery/pkg/api/resource.
        """
        return _canonical(self.value, self.text)

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=4096)
def stored_amount(text: str) -> Fraction:
    """The value of a quantity as servers keep those of others: signed, in billionths, with any number of zeros before.

    Raises ValueError for what is none.
    """
    found = _STORED.match(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a quantity")
    sign, digits, small = found.groups()
    value = Quantity.parse(digits).value / _SMALL[small]
    return -value if sign == "-" else value


@lru_cache(maxsize=4096)
def _canonical(value: Fraction, text: str) -> str:
    nano = -(-value.numerator * 10**9 // value.denominator)  # parsing rounds up to nano
    if text.endswith("i") and nano >= 1024 * 10**9 and nano % 10**9 == 0:
        whole, steps = nano // 10**9, 0
        while whole % 1024 == 0 and steps < len(_BINARY) - 1:
            whole, steps = whole // 1024, steps + 1
        return f"{whole}{_BINARY[steps]}"
    exponent = -9
    while nano and nano % 1000 == 0 and exponent < 18:
        nano, exponent = nano // 1000, exponent + 3
    if nano == 0:
        return "0"
    if _EXPONENT.search(text):
        return f"{nano}e{exponent}" if exponent else str(nano)
    return f"{nano}{_DECIMAL[exponent]}"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in whole milliseconds."""

    ms: int
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a duration. Raises ValueError when it is none, or is longer than ten years."""
        if len(text) > MAX_TEXT or not _DURATION.match(text):
            raise ValueError(f"{text[:40]!r} is not a duration (like 500ms, 30s, 2m or 1h30m)")
        ms = sum(int(number) * _UNIT_MS[unit] for number, unit in _DURATION_PART.findall(text))
        if ms > MAX_DURATION_MS:
            raise ValueError(f"{text!r} is longer than ten years")
        return cls(ms, text)

    @classmethod
    def of_ms(cls, ms: int) -> Self:
        """The duration of `ms` milliseconds, written in the largest whole unit."""
        for unit in ("d", "h", "m", "s"):
            if ms and ms % _UNIT_MS[unit] == 0:
                return cls(ms, f"{ms // _UNIT_MS[unit]}{unit}")
        return cls(ms, f"{ms}ms")

    @property
    def seconds(self) -> float:
        return self.ms / 1000

    def whole_seconds(self) -> int:
        """Seconds, rounded up: Kubernetes fields take whole seconds, and a wait must not get shorter."""
        return -(-self.ms // 1000)

    def __str__(self) -> str:
        return self.text
