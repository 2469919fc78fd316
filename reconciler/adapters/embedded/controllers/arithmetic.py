"""Counting pods in a rollout: pure functions over numbers, the formulas of Kubernetes' deployment controller.

Sources: pkg/controller/deployment/rolling.go and util/deployment_util.go (NewRSNewReplicas, ResolveFenceposts,
reconcileOldReplicaSets, cleanupUnhealthyReplicas, scaleDownOldReplicaSetsForRollingUpdate) and
pkg/controller/podautoscaler/replica_calculator.go of Kubernetes 1.36. No objects, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

TOLERANCE = Fraction(1, 10)
"""How far usage may be off its target before an autoscaler acts (Kubernetes' default)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One ReplicaSet in numbers: how many pods it is told to have, and how many of them are available."""

    replicas: int
    available: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`surge` pods more than wanted at most, `unavailable` fewer available at most; never both zero."""

    surge: int
    unavailable: int


def scaled(value: int | str, total: int, *, up: bool) -> int:
    """An int, or a percentage of `total` rounded up or down. Raises ValueError when it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return max(0, value)
    text = str(value)
    if not text.endswith("%") or not text[:-1].isascii() or not text[:-1].isdigit():
        raise ValueError(f"{text[:40]!r} is neither a number nor a percentage")
    share = Fraction(int(text[:-1]) * total, 100)
    return math.ceil(share) if up else math.floor(share)


def bounds(max_surge: int | str, max_unavailable: int | str, *, desired: int) -> Bounds:
    """Surge rounds up, unavailability down; where both are zero one pod may be unavailable, or nothing would move"""
    surge = scaled(max_surge, desired, up=True)
    unavailable = min(scaled(max_unavailable, desired, up=False), desired)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(surge=surge, unavailable=unavailable)


def rolling_step(desired: int, limits: Bounds, new: Count, olds: Sequence[Count]) -> tuple[int, tuple[int, ...]]:
    """What the new ReplicaSet and each old one (oldest first) are told to have next.

    The sum of what is told never grows above `desired + surge`, and no available pod is given up below
    `desired - unavailable`.
    """
    grown = _grow(desired, limits, new, olds)
    return grown, _shrink(desired, limits, replace(new, replicas=grown), olds)


def _grow(desired: int, limits: Bounds, new: Count, olds: Sequence[Count]) -> int:
    if new.replicas >= desired:
        return desired
    total = new.replicas + sum(old.replicas for old in olds)
    room = desired + limits.surge - total
    return new.replicas + max(0, min(room, desired - new.replicas))


def _shrink(desired: int, limits: Bounds, new: Count, olds: Sequence[Count]) -> tuple[int, ...]:
    told = [old.replicas for old in olds]
    floor = max(0, desired - limits.unavailable)
    missing = max(0, new.replicas - new.available)
    spare = sum(told) + new.replicas - floor - missing
    for index, old in enumerate(olds):  # first those that are not available: they are no loss
        cut = max(0, min(spare, told[index] - min(old.available, old.replicas)))
        told[index] -= cut
        spare -= cut
    left = [min(old.available, count) for old, count in zip(olds, told, strict=True)]
    loss = min(new.available, new.replicas) + sum(left) - floor
    for index in range(len(told)):
        cut = max(0, min(loss, spare, told[index]))
        told[index] -= cut
        loss -= cut
        spare -= cut
    return tuple(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one pod uses (None: not measured), what it should (`wanted`), and what it is taken to use where it was not
    measured and fewer are asked for (`most`). A pod that is not `ready` may be starting: its usage says nothing yet.
    """

    used: Fraction | None
    wanted: Fraction
    most: Fraction
    ready: bool


def replicas_by(current: int, samples: Sequence[Sample]) -> int:
    """How many replicas bring usage to what is wanted of it; `current` within the tolerance, or where nothing is known.

    Pods that say nothing weigh against a change, and never turn one into its opposite.
    """
    known = [(one.used, one.wanted) for one in samples if one.used is not None and one.ready]
    missing = [one for one in samples if one.used is None]
    starting = [one for one in samples if one.used is not None and not one.ready]
    ratio = _ratio(known)
    if ratio is None:
        return current
    if not missing and not (starting and ratio > 1):
        return current if abs(ratio - 1) <= TOLERANCE else math.ceil(len(known) * ratio)
    known += [(one.most if ratio < 1 else Fraction(0), one.wanted) for one in missing]
    if ratio > 1:
        known += [(Fraction(0), one.wanted) for one in starting]
    weighed = _ratio(known)
    if weighed is None or abs(weighed - 1) <= TOLERANCE or (weighed > 1) is not (ratio > 1):
        return current
    asked = math.ceil(len(known) * weighed)
    return max(asked, current) if weighed > 1 else min(asked, current)


def _ratio(known: Sequence[tuple[Fraction, Fraction]]) -> Fraction | None:
    wanted = sum((one for _used, one in known), Fraction(0))
    return sum((used for used, _wanted in known), Fraction(0)) / wanted if wanted > 0 else None
