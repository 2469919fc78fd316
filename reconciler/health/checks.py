"""What one measurement says of one check: a table of small functions by dimension. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from reconciler.model.agent import Dimension, HealthCheck
from reconciler.model.health import CheckState, Evidence, Sample

WINDOW = 60
"""Measurements that percentiles and error rates look back on."""
CARD_FIELDS = ("name", "description", "version", "skills")
"""What a served card must agree with the declared one in. Addresses differ by cluster and are left out."""


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    NOT_MEASURED = "not-measured"


class Finding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What this sweep says of a check, with the windows to carry on."""

    verdict: Verdict
    text: str
    latencies: tuple[float, ...] = ()
    outcomes: tuple[bool, ...] = ()
    restarts: int | None = None
    pods: tuple[str, ...] = ()
    """Those that failed."""


def judge(check: HealthCheck, evidence: Evidence, before: CheckState | None) -> Finding:
    """Judge one check by this sweep's evidence; `before` holds the windows and counters of earlier ones."""
    return _JUDGES[check.dimension](check, evidence, before)


def percentile(values: tuple[float, ...], percent: int) -> float:
    """The nearest-rank percentile (smallest value that at least `percent` % of all do not exceed)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _measured(check: HealthCheck, evidence: Evidence) -> tuple[Sample, ...]:
    return tuple([sample for sample in evidence.samples.get(check.name, ()) if not sample.refused])


def _not_measured(check: HealthCheck, evidence: Evidence, before: CheckState | None) -> Finding:
    refused = [sample.problem for sample in evidence.samples.get(check.name, ()) if sample.refused]
    return Finding(
        verdict=Verdict.NOT_MEASURED,
        text=refused[0] if refused else "not measured",
        latencies=before.latencies if before else (),
        outcomes=before.outcomes if before else (),
        restarts=before.restarts if before else None,
    )


def _connectivity(check: HealthCheck, evidence: Evidence, before: CheckState | None) -> Finding:
    samples = _measured(check, evidence)
    if not samples:
        return _not_measured(check, evidence, before)
    bad = [sample for sample in samples if not sample.ok]
    if bad:
        where = f"{bad[0].pod}: " if bad[0].pod else ""
        text = f"{len(bad)} of {len(samples)} do not answer; {where}{bad[0].problem}"
        return Finding(
            verdict=Verdict.FAIL, text=text, pods=tuple(sorted({sample.pod for sample in bad if sample.pod}))
        )
    slowest = max([sample.latency_ms for sample in samples])
    return Finding(verdict=Verdict.PASS, text=f"{len(samples)} of {len(samples)} answer within {slowest:.0f} ms")


def _performance(check: HealthCheck, evidence: Evidence, before: CheckState | None) -> Finding:
    samples = _measured(check, evidence)
    if not samples:
        return _not_measured(check, evidence, before)
    answered = tuple(sample.latency_ms for sample in samples if sample.ok)
    latencies = ((before.latencies if before else ()) + answered)[-WINDOW:]
    outcomes = ((before.outcomes if before else ()) + tuple(sample.ok for sample in samples))[-WINDOW:]
    failures: list[str] = []
    seen: list[str] = []
    for percent, bound in ((50, check.p50), (95, check.p95), (99, check.p99)):
        if bound is None or not latencies:
            continue
        value = percentile(latencies, percent)
        seen.append(f"p{percent} {value:.0f} ms")
        if value > bound.ms:
            failures.append(f"p{percent} is {value:.0f} ms, over {bound}")
    rate = 100 * outcomes.count(False) / len(outcomes)
    if check.error_rate is not None:
        seen.append(f"{rate:.0f}% errors")
        if rate > check.error_rate:
            failures.append(f"{rate:.0f}% of calls fail, over {check.error_rate}%")
    if not answered and check.error_rate is None:  # only percentiles are asked for, and there is no call to count
        failures.append("nothing answers")
    verdict = Verdict.FAIL if failures else Verdict.PASS
    return Finding(verdict=verdict, text="; ".join(failures or seen), latencies=latencies, outcomes=outcomes)


def _resources(check: HealthCheck, evidence: Evidence, before: CheckState | None) -> Finding:
    if not evidence.resources:
        return _not_measured(check, evidence, before)
    bounds = [(name, most) for name, most in (("cpu", check.cpu), ("memory", check.memory)) if most is not None]
    worst: dict[str, tuple[float, str]] = {}
    failing: set[str] = set()
    for pod in evidence.resources:
        for name, most in bounds:
            used, bound = (pod.cpu, pod.cpu_bound) if name == "cpu" else (pod.memory, pod.memory_bound)
            if bound:
                share = 100 * used / bound, pod.pod
                worst[name] = max(worst[name], share) if name in worst else share
                if share[0] > most:
                    failing.add(pod.pod)
    asked = [(name, *worst[name], most) for name, most in bounds if name in worst]
    if not asked:
        return _not_measured(check, evidence, before)
    if failing:
        over = [f"{pod}: {name} at {used:.0f}%, over {most}%" for name, used, pod, most in asked if used > most]
        return Finding(verdict=Verdict.FAIL, text="; ".join(over), pods=tuple(sorted(failing)))
    return Finding(verdict=Verdict.PASS, text=", ".join([f"{name} {used:.0f}%" for name, used, _, _ in asked]))


def _lifecycle(check: HealthCheck, evidence: Evidence, before: CheckState | None) -> Finding:
    pods = evidence.pods
    if pods is None:
        return _not_measured(check, evidence, before)
    restarted = pods.restarts - before.restarts if before and before.restarts is not None else 0
    if pods.ready < pods.wanted:
        more = f"; {pods.problems[0]}" if pods.problems else ""
        text = f"{pods.ready} of {pods.wanted} pods ready{more}"
        return Finding(verdict=Verdict.FAIL, text=text, restarts=pods.restarts)
    if restarted > 0:
        text = f"{pods.ready} of {pods.wanted} pods ready, restarted {restarted} times since the last look"
        return Finding(verdict=Verdict.FAIL, text=text, restarts=pods.restarts)
    return Finding(verdict=Verdict.PASS, text=f"{pods.ready} of {pods.wanted} pods ready", restarts=pods.restarts)


def _dependencies(check: HealthCheck, evidence: Evidence, before: CheckState | None) -> Finding:
    unwell = sorted(str(name) for name, well in evidence.dependencies.items() if well is False)
    if unwell:
        return Finding(verdict=Verdict.FAIL, text=f"unwell: {', '.join(unwell)}")
    if any(well for well in evidence.dependencies.values()):
        return Finding(verdict=Verdict.PASS, text=f"{len(evidence.dependencies)} dependencies are well")
    return _not_measured(check, evidence, before)


def _plugin(check: HealthCheck, evidence: Evidence, before: CheckState | None) -> Finding:
    samples = _measured(check, evidence)
    if not samples:
        return _not_measured(check, evidence, before)
    bad = [sample.problem for sample in samples if not sample.ok]
    if bad:
        return Finding(verdict=Verdict.FAIL, text=bad[0])
    return Finding(verdict=Verdict.PASS, text=f"plugin {check.plugin} finds it well")


def _card(check: HealthCheck, evidence: Evidence, before: CheckState | None) -> Finding:
    samples = _measured(check, evidence)
    if not samples or evidence.card is None:
        return _not_measured(check, evidence, before)
    for sample in samples:
        where = f"{sample.pod}: " if sample.pod else ""
        if not sample.ok or sample.card is None:
            return Finding(verdict=Verdict.FAIL, text=f"{where}{sample.problem or 'no card'}")
        if differing := card_differences(evidence.card, sample.card):
            return Finding(verdict=Verdict.FAIL, text=f"{where}serves another {', '.join(differing)} than declared")
    return Finding(verdict=Verdict.PASS, text="the card served is the card declared")


def card_differences(declared: Mapping[str, Any], served: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of CARD_FIELDS in which the card that an agent serves is not the one declared; skills by their ids."""

    def value(card: Mapping[str, Any], name: str) -> Any:
        found = card.get(name)
        if name != "skills" or not isinstance(found, list | tuple):
            return found
        return sorted(str(skill.get("id")) for skill in found if isinstance(skill, Mapping))

    return tuple(name for name in CARD_FIELDS if value(declared, name) != value(served, name))


_JUDGES: Mapping[Dimension, Callable[[HealthCheck, Evidence, CheckState | None], Finding]] = {
    Dimension.CONNECTIVITY: _connectivity,
    Dimension.PERFORMANCE: _performance,
    Dimension.RESOURCES: _resources,
    Dimension.LIFECYCLE: _lifecycle,
    Dimension.DEPENDENCIES: _dependencies,
    Dimension.CARD: _card,
    Dimension.PLUGIN: _plugin,
}
