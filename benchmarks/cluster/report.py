"""Raw numbers of run.py as Markdown. Ratios are of medians; nothing is measured here."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

Result = dict[str, Any]
NONE = "-"
_HEAD = re.compile(r"^(?=### )", re.MULTILINE)


def report(results: Sequence[Result]) -> str:
    """All sizes, one after another."""
    return "\n\n".join(_size(result) for result in results)


def renewed(figures: str, results: Sequence[Result]) -> str:
    """Earlier figures with these in the place of those of the same sizes, smallest fleet first."""
    parts = {_agents(part): part for part in _HEAD.split(figures)[1:]}
    parts.update({int(result["agents"]): _size(result) for result in results})
    return "\n\n".join(parts[agents].strip() for agents in sorted(parts))


def _agents(part: str) -> int:
    return int(part.removeprefix("### ").split()[0].replace(",", ""))


def _size(result: Result) -> str:
    head = f"### {result['agents']:,} agents, {result['objects']:,} objects"
    runs = result.get("runs", 1)
    command = f"By `python -m benchmarks.cluster.run {result['options']}`, {'one run' if runs == 1 else f'{runs} runs'}"
    machine = (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    )
    load = (
        f"{command}: {machine} that server, controllers and clients share; the machine's load was "
        f"{result['load']:.0f} at most, the work of others on it included."
    )
    tables = (_nothing, _all, _share, _one, _staying)
    return "\n\n".join([head, load, *(table(result) for table in tables)])


def _nothing(result: Result) -> str:
    ours, kubectl, kapp = result["ours"], result.get("kubectl", {}), result.get("kapp", {})
    base = _seconds(ours["cold"])
    rows = [
        _client("`reconciler plan`, a fresh process", ours["cold"], base),
        _client("`reconciler apply`, which finds nothing to do", ours["apply_nothing"], base),
        _warm("a plan in a process that stays, by lists", ours["warm"], base),
        _warm("a plan in a process that stays, out of its watches", ours["watching"], base),
        _client("`kubectl diff --server-side`", kubectl.get("diff"), base),
        _client(f"the same, {result['peers_at_once']} at once", kubectl.get("diff_at_once"), base),
        _client("`kapp deploy --diff-run`", kapp.get("diff"), base),
        _client("`kubectl apply --server-side` again", kubectl.get("again"), base),
        _client("`kapp deploy` again", kapp.get("again"), base),
        _client("bare loop again", result["bare"].get("again"), base),
    ]
    return _table("All is as declared", "times `reconciler plan`", rows)


def _all(result: Result) -> str:
    ours, kubectl, kapp = result["ours"], result.get("kubectl", {}), result.get("kapp", {})
    both = (result["bare"], ours)
    base = _seconds(result["bare"]["apply"])
    rows = [
        _client("bare loop, then wait", result["bare"]["apply"], base, inverse=True),
        _client("`reconciler apply` (plans, writes its journal, waits)", ours["apply"], base, inverse=True),
        _client("`kubectl apply --server-side`, then wait", _both(kubectl, "apply", "then_ready"), base, inverse=True),
        _client("`kapp deploy` (waits)", kapp.get("apply"), base, inverse=True),
    ]
    table = _table("All is new: from nothing to ready", "speed, of the bare loop's", rows)
    bare, mine = _middle(result["bare"]["apply"], "ready_s"), _middle(ours["apply"], "applying_s")
    all_bare, all_mine = (_middle(one["apply"], "client_cpu_s") + _middle(one["apply"], "server_cpu_s") for one in both)
    missing = sum(one.get("missing", 0) for one in _listed(ours["apply"]))
    lacking = f"\n\n`reconciler apply` did not bring up {missing:,} of them at first." if missing else ""
    return (
        f"{table}{lacking}\n\nWithout start and plan, from the first write until all is ready: bare loop {_s(bare)}, "
        f"`reconciler apply` {_s(mine)}, {bare / mine:.2f} of its speed. Processor time of client and control plane "
        f"together: {_s(all_bare)} and {_s(all_mine)}, a ratio of {all_bare / all_mine:.2f}; this one does not hang on "
        "what else the machine does."
    )


def _share(result: Result) -> str:
    ours, kubectl, kapp = result["ours"], result.get("kubectl", {}), result.get("kapp", {})
    base = _seconds(ours["commits"])
    together = _both(kubectl, "commit", "commit_then_ready")
    rows = [
        _client("`reconciler apply`", ours["commits"], base),
        _client("bare loop over all objects, then wait", result["bare"].get("commit"), base),
        _client("`kubectl apply --server-side` of all files, then wait", together, base),
        _client("`kapp deploy` of all files", kapp.get("commit"), base),
    ]
    return _table("One commit changes 1 % of the agents: until they are ready", "times `reconciler apply`", rows)


def _one(result: Result) -> str:
    ours = result["ours"]
    lines = ["| One agent a commit, in this fleet | n | p50 | p99 |", "|---|---:|---:|---:|"]
    for title, key in (("created", "creations"), ("changed, its pods replaced", "updates")):
        for what, field in (("commit to ready, a fresh process each", "commit_to_ready_s"), ("the change", "change_s")):
            times = [one[field] for one in ours[key]]
            cells = (str(len(times)), _s(quantile(times, 0.5)), _s(quantile(times, 0.99)))
            lines.append(_row(f"{title}: {what}", *cells))
    return "\n".join(lines)


def _staying(result: Result) -> str:
    ours = result["ours"]
    steady, minute = ours["steady"], f"{ours['steady']['seconds']:.0f} s"
    quiet = (
        f"In {minute} without changes it sends {steady['requests']} requests; the server counts {steady['server']} "
        f"in all, and {result['baseline_requests']} in {minute} before anybody came."
    )
    lines = [
        "| Drift in a process that stays: from its event to that of its undoing | n | p50 | p99 |",
        "|---|---:|---:|---:|",
        *(
            _row(what, str(len(times)), _s(quantile(times, 0.5)), _s(quantile(times, 0.99)))
            for what, times in _by_kind(ours["drift"])
        ),
        "",
        quiet,
    ]
    return "\n".join(lines)


def _by_kind(drifts: Iterable[Result]) -> list[tuple[str, list[float]]]:
    found: dict[str, list[float]] = {}
    for one in drifts:
        found.setdefault(one["what"], []).append(one["undone_s"])
    return [*found.items(), ("all of these", [time for times in found.values() for time in times])]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed: of few values the p99 is the most."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _listed(timings: Any) -> list[Result]:
    return timings if isinstance(timings, list) else [timings]


def _middle(timings: Any, field: str) -> float:
    return float(median(one[field] for one in _listed(timings)))


def _seconds(timings: Any) -> float:
    return _middle(timings, "wall_s")


def _both(results: Result, *names: str) -> Result | None:
    """One command after another, as one; None where it was not measured."""
    if not all(name in results for name in names):
        return None
    return {field: sum(results[name][field] for name in names) for field in results[names[0]]}


def _client(title: str, timings: Any, base: float, *, inverse: bool = False) -> str:
    if timings is None:
        return ""
    wall = _seconds(timings)
    ratio = f"{base / wall:.2f}" if inverse else f"{wall / base:.2g}" if wall < base else f"{wall / base:.1f}"
    cpu = (_s(_middle(timings, "client_cpu_s")), _s(_middle(timings, "server_cpu_s")))
    return _row(title, str(len(_listed(timings))), _s(wall), *cpu, f"{_middle(timings, 'requests'):,.0f}", ratio)


def _warm(title: str, timing: Result, base: float) -> str:
    wall = timing["plan_s"]
    return _row(title, str(timing["rounds"]), _s(wall), NONE, NONE, f"{timing['requests']:,.0f}", f"{wall / base:.2g}")


def _table(title: str, ratio: str, rows: Iterable[str]) -> str:
    head = _row(title, "n", "wall", "client's processor", "control plane's", "requests", ratio)
    return "\n".join([head, "|---|" + "---:|" * 6, *filter(None, rows)])


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _row(title: str, *cells: str) -> str:
    return f"| {title} | " + " | ".join(cells) + " |"
