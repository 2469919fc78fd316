"""Resource amounts as whole thousandths (milli-units), so that 10,000 agents are added up without fractions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from reconciler.model.agent import Resources
from reconciler.model.registry import Reservation
from reconciler.model.units import Quantity, stored_amount

PODS = "pods"

_BINARY = ((2**60, "Ei"), (2**50, "Pi"), (2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki"))
_BYTES = frozenset({"memory", "ephemeral-storage"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one replica asks for: `amounts` in milli-units (rounded up), `texts` as an API server stores them."""

    key: tuple[tuple[str, str], ...]
    amounts: Mapping[str, int]
    texts: Mapping[str, str]


def shape_of(resources: Resources) -> Shape:
    """What one replica reserves: its requests; where a resource has only a limit, the limit, as Kubernetes does."""
    wanted = {**resources.limits, **resources.requests} if resources.limits else resources.requests
    return _shape(tuple(sorted((name, quantity.text) for name, quantity in wanted.items())))


@lru_cache(maxsize=4096)
def _shape(items: tuple[tuple[str, str], ...]) -> Shape:
    quantities = {name: Quantity.parse(text) for name, text in items}
    return Shape(
        key=items,
        amounts={name: needed(quantity) for name, quantity in quantities.items() if quantity.value},
        texts={name: quantity.canonical() for name, quantity in quantities.items()},
    )


def reserved(requests: Mapping[str, str]) -> Mapping[str, int]:
    """A reservation's requests of one replica, in milli-units. Text that is no quantity counts as nothing."""
    return _reserved(tuple(sorted(requests.items())))


@lru_cache(maxsize=4096)
def _reserved(items: tuple[tuple[str, str], ...]) -> Mapping[str, int]:
    amounts: dict[str, int] = {}
    for name, text in items:
        try:
            amounts[name] = max(0, _milli(stored_amount(text)))
        except ValueError:
            continue
    return amounts


def held_by(reservation: Reservation) -> dict[str, int]:
    """All that a reservation holds, in milli-units, its pods among them."""
    times = reservation.replicas
    held = {name: amount * times for name, amount in reserved(reservation.requests).items()}
    held[PODS] = 1000 * times
    return held


def needed(quantity: Quantity) -> int:
    """Milli-units, rounded up."""
    return _milli(quantity.value)


def _milli(value: Fraction) -> int:
    return -(-value.numerator * 1000 // value.denominator)


def offered(quantity: Quantity) -> int:
    """Milli-units, rounded down."""
    return quantity.value.numerator * 1000 // quantity.value.denominator


def show(resource: str, milli: int) -> str:
    """An amount for people: `1.5`, `200m` of cpu as `0.2`, memory as `1.5Gi`, at most three decimals."""
    if resource in _BYTES:
        for size, suffix in _BINARY:
            if milli >= size * 1000:
                return _decimal(milli * 1000 // size) + suffix
        return _decimal(milli * 1000)
    return _decimal(milli * 1000)


def _decimal(micro: int) -> str:
    """Millionths as a decimal number, cut after three places (an amount that is there never shows as zero)."""
    if 0 < micro < 1000:
        micro = 1000
    whole, rest = divmod(micro // 1000, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") if rest else str(whole)
