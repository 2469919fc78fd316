"""Words and marks that the views of a plan share: titles, symbols, values, word differences, counts. Pure text.

May live here: what text and Markdown both say of a plan. User data comes out with control characters made visible and
is never read as markup; masked values stay masked, for they come in as Masked.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from reconciler.cli.output import clean, few
from reconciler.cli.views.diagnostics import plural
from reconciler.model.identity import AgentName, format_path
from reconciler.model.objects import KIND_ORDER
from reconciler.model.plan import (
    Action,
    AttributeChange,
    Change,
    Drift,
    Hold,
    Masked,
    Missing,
    ObjectChange,
    Plan,
    ReasonCode,
    Verb,
)

SYMBOLS: Mapping[Action, str] = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.SCALE: "#",
    Action.DELETE: "-",
    Action.RECOVER: "!",
    Action.REPLACE: "-/+",
    Action.ADOPT: ">",
}
TITLES: Mapping[Action, str] = {
    Action.CREATE: "will be created",
    Action.UPDATE: "will be updated in place",
    Action.SCALE: "will be scaled",
    Action.DELETE: "will be deleted",
    Action.RECOVER: "will be recovered",
    Action.REPLACE: "must be replaced",
    Action.ADOPT: "will be adopted",
}
ALWAYS_COUNTED = (Action.CREATE, Action.UPDATE, Action.SCALE, Action.DELETE)
TOLD = frozenset(ReasonCode) - {
    ReasonCode.NEW,
    ReasonCode.SPEC_CHANGED,
    ReasonCode.TEMPLATE_CHANGED,
    ReasonCode.REPLICAS_CHANGED,
}
"""Reasons that are said in words; the others show in the attributes."""
_BESIDE_PODS = frozenset({"adopt", "autoscaling", "disruption", "placement", "protect", "replicas", "suspend", "wave"})
"""Fields that no pod is made of."""
NAMES_SHOWN = 20
MAX_VALUE = 2000
MAX_LINES = 1000
MAX_COMPARED = 5_000_000
"""Words times words that are held against each other in one text; lines beyond are shown as they were and are."""
MAX_ALIKE = 8
"""What stands more often than that in a text tells nothing of where its parts went, and costs the most to compare."""
CONTEXT = 2
_PLAIN = re.compile(r"[^\s\"'{}\[\],:#&*!|>%@`][^\n\t\"{}\[\],#]*\Z")
_KIND_ORDER = {kind: index for index, (_, _, kind) in enumerate(KIND_ORDER)}


def named(text: str) -> str:
    """A name that others chose, of a key or a file, on one line: no end of a line in it may begin a line of ours."""
    return clean(text).replace("\n", "\\x0a").replace("\t", "\\x09")


def title(change: Change) -> str:
    """`support/triage will be scaled`, with what an update does to the pods."""
    words = TITLES[change.action]
    if _moves(change) and not change.attributes:
        words = "will be moved"
    replaced = replaced_kinds(change) if change.action is not Action.REPLACE else ""
    if replaced:
        words += f", its {replaced} replaced"
    if change.action is Action.UPDATE and _rolls(change):
        rollout = change.agent.spec.rollout if change.agent else None
        words += ", its pods replaced"
        if rollout is not None:  # a saved plan does not say it
            gently = rollout.max_surge in (0, 1) and rollout.max_unavailable in (0, 1)
            words += " one by one" if gently else " a few at a time"
    return f"{change.name} {words}"


def _moves(change: Change) -> bool:
    return any(reason.code in (ReasonCode.FAILED_OVER, ReasonCode.FAILED_BACK) for reason in change.reasons)


def left_out(change: Change) -> str:
    """`not on eu-1, which is left for later`: clusters on which a change leaves something to be done; "" for none."""
    return f"not on {clean(' and '.join(change.behind))}, which is left for later" if change.behind else ""


def replaced_kinds(change: Change) -> str:
    """`Deployment` or `Deployment and Service`: kinds of objects that are deleted and made anew; "" for none."""
    found = {item.ref.kind for item in change.objects if item.verb is Verb.REPLACE}
    return " and ".join(sorted(found, key=lambda kind: (_KIND_ORDER.get(kind, 99), kind)))


def _rolls(change: Change) -> bool:
    if change.attributes and all(item.path[0] in _BESIDE_PODS for item in change.attributes):
        return False
    placed = any(reason.code is ReasonCode.PLACEMENT_CHANGED for reason in change.reasons) or _moves(change)
    if placed and not change.attributes:
        return False
    applied = any(item.ref.kind == "Deployment" and item.verb is Verb.APPLY for item in change.objects)
    return applied and (not change.placement or any(placed.replicas for placed in change.placement))


def cause(change: Change) -> str:
    """Where the first cause was written: `agents/a.yaml:9`, `templates/base.yaml:6 changed`; "" when in no file."""
    for reason in change.reasons:
        if reason.origin is not None and reason.origin.position is not None:
            position = reason.origin.position
            changed = " changed" if reason.origin.layer.startswith("template ") else ""
            return named(f"{position.path}:{position.line}{changed}")
    return ""


def told_reasons(change: Change) -> Iterator[str]:
    """Reasons that no attribute shows, in words."""
    for reason in change.reasons:
        if reason.code in TOLD and reason.text:
            forced = "      # forces replacement" if reason.code is ReasonCode.IMMUTABLE_FIELD else ""
            yield clean(" ".join(reason.text.split())) + forced


def value(item: Any) -> str:
    """A JSON value on one line, as YAML would write it; masked ones as their mask."""
    if isinstance(item, Masked | Missing):
        return str(item)
    if isinstance(item, str):
        text = item if _PLAIN.match(item) and item == item.strip() else json.dumps(item, ensure_ascii=False)
    elif isinstance(item, list | tuple):
        text = "[" + ", ".join(value(part) for part in item) + "]"
    elif isinstance(item, Mapping):
        text = "{" + ", ".join(f"{value(key)}: {value(part)}" for key, part in item.items()) + "}"
    else:
        text = json.dumps(item, ensure_ascii=False, default=str)
    text = clean(text)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text) - MAX_VALUE} more characters)"


def mark(before: Any, after: Any) -> str:
    """`+`, `-` or `~`."""
    if before is Missing.FIELD:
        return "+"
    return "-" if after is Missing.FIELD else "~"


def is_prose(change: AttributeChange) -> bool:
    """Whether a value is text of several lines, which is shown below its name."""
    sides = (change.before, change.after)
    return any(isinstance(side, str) and not isinstance(side, Masked | Missing) and "\n" in side for side in sides)


def inline(before: Any, after: Any) -> str:
    """`2 -> 4`, or the one side that there is."""
    if before is Missing.FIELD:
        return value(after)
    if after is Missing.FIELD:
        return value(before)
    return f"{value(before)} -> {value(after)}"


def prose(change: AttributeChange) -> list[str]:
    """Text of several lines, changed words marked `{+so+}` and `{-so-}`; far unchanged lines are counted only."""
    sides = [
        "" if side is Missing.FIELD else value(side) if isinstance(side, Masked) or not isinstance(side, str) else side
        for side in (change.before, change.after)
    ]
    return [clean(line) for line in word_diff(sides[0], sides[1])]


def word_diff(before: str, after: str) -> list[str]:
    """Lines of `after` with words that came and went marked. Bounded: long texts are compared by line only."""
    old, new = before.splitlines(), after.splitlines()
    if len(old) > MAX_LINES or len(new) > MAX_LINES:
        return [f"({plural(len(old), 'line')} replaced by {plural(len(new), 'line')})"]
    lines: list[str] = []
    blocks = _blocks(old, new)
    room = MAX_COMPARED
    for number, (tag, start, end, begin, stop) in enumerate(blocks):
        if tag == "equal":
            lines += _context(old[start:end], first=number == 0, last=number == len(blocks) - 1)
        elif tag == "replace" and end - start == stop - begin:
            for left, right in zip(old[start:end], new[begin:stop], strict=True):
                words = left.split(), right.split()
                room -= len(words[0]) * len(words[1])
                lines.append(_words(left, right, *words, compared=room >= 0))
        else:
            lines += ["{-" + line + "-}" for line in old[start:end]] + ["{+" + line + "+}" for line in new[begin:stop]]
    if old == new:
        lines.append("(only the ends of lines differ)")
    return lines


_Block = tuple[str, int, int, int, int]


def _blocks(old: Sequence[str], new: Sequence[str]) -> list[_Block]:
    """What is equal and what is not, as difflib says it, in a time that is bounded whatever repeats."""
    least = min(len(old), len(new))
    head = next((index for index in range(least) if old[index] != new[index]), least)
    tail = next((index for index in range(least - head) if old[-1 - index] != new[-1 - index]), least - head)
    end, stop = len(old) - tail, len(new) - tail
    often = {item for item, count in Counter(new[head:stop]).items() if count > MAX_ALIKE}
    matcher = SequenceMatcher(often.__contains__, old[head:end], new[head:stop], autojunk=False)
    blocks: list[_Block] = [("equal", 0, head, 0, head)] if head else []
    blocks += [(tag, i + head, j + head, k + head, m + head) for tag, i, j, k, m in matcher.get_opcodes()]
    return [*blocks, ("equal", end, len(old), stop, len(new))] if tail else blocks


def _context(lines: Sequence[str], *, first: bool, last: bool) -> list[str]:
    head = 0 if first else CONTEXT
    tail = 0 if last else CONTEXT
    if len(lines) <= head + tail + 1:
        return list(lines)
    left = len(lines) - head - tail
    return [*lines[:head], f"({plural(left, 'unchanged line')})", *lines[len(lines) - tail :]]


def _words(before: str, after: str, old: Sequence[str], new: Sequence[str], *, compared: bool) -> str:
    """A line of `after`, made of the words `new`, with what it has of other words than `before`."""
    if old == new or not compared:
        return f"{{-{before}-}} {{+{after}+}}"
    indent = after[: len(after) - len(after.lstrip())]
    parts: list[str] = []
    for tag, start, end, begin, stop in _blocks(old, new):
        if tag == "equal":
            parts += old[start:end]
            continue
        if start < end:
            parts.append("{-" + " ".join(old[start:end]) + "-}")
        if begin < stop:
            parts.append("{+" + " ".join(new[begin:stop]) + "+}")
    return indent + " ".join(parts)


def attribute_name(change: AttributeChange) -> str:
    """The path of an attribute as people write it."""
    return named(format_path(change.path))


def remark(change: AttributeChange) -> str:
    """What stands behind an attribute: the template that it came from, or that it cannot be changed in place."""
    if change.forces_replacement:
        return "forces replacement"
    if change.origin is not None and change.origin.layer.startswith("template "):
        return clean(f"from {change.origin.layer}")
    return ""


def shown_attributes(change: Change) -> tuple[list[AttributeChange], int]:
    """Attributes to show, and how many defaults of a new agent go without saying."""
    if change.action not in (Action.CREATE, Action.ADOPT):
        return list(change.attributes), 0
    shown = [item for item in change.attributes if item.origin is None or item.origin.layer != "default"]
    return shown, len(change.attributes) - len(shown)


def drift_lines(drift: Drift) -> tuple[str, str, str]:
    """(mark, text, who and what becomes of it) of a drift."""
    who = f"by {named(drift.manager)}" if drift.manager else "by somebody who left no name"
    fate = "will be undone" if drift.undone else "is reported and left"
    if not drift.path and drift.before is Missing.FIELD:
        return "+", "the object carries this fleet's mark and is on no record", "is reported and left"
    if not drift.path:
        return "-", "the object is gone", "will be made again" if drift.undone else fate
    return (
        mark(drift.before, drift.after),
        f"{named(drift.path)}: {inline(drift.before, drift.after)}",
        f"{who}; {fate}",
    )


def left_text(drift: Drift) -> str:
    """`Deployment.apps support/triage on eu-1: spec.replicas is 7 and held by keda, 3 is declared`."""
    who = named(drift.manager) or "somebody who left no name"
    have = "absent" if drift.after is Missing.FIELD else value(drift.after)
    place = named(f"{drift.ref} on {drift.cluster}: {drift.path}")
    return f"{place} is {have} and held by {who}, {value(drift.before)} is declared"


def left_to_others(plan: Plan) -> list[Drift]:
    """Fields of our objects that another manager holds: told, and not changed."""
    return [item for item in plan.drift if item.path]


def all_drift(plan: Plan) -> list[tuple[AgentName | None, Drift]]:
    """Drift that is undone (with its agent) and drift that is left, in order of cluster and object."""
    found: list[tuple[AgentName | None, Drift]] = [(c.name, item) for c in plan.changes for item in c.drift]
    found += [(None, item) for item in plan.drift]
    return sorted(found, key=lambda pair: (pair[1].cluster, pair[1].ref, pair[1].path, pair[1].manager))


def kinds(objects: Iterable[ObjectChange]) -> str:
    """`Deployment, Service on eu-1; Deployment on us-1`."""
    by_cluster: dict[str, list[str]] = {}
    for item in objects:
        by_cluster.setdefault(item.cluster, []).append(item.ref.kind)
    return "; ".join(
        f"{', '.join(sorted(found, key=lambda kind: (_KIND_ORDER.get(kind, 99), kind)))} on {clean(cluster)}"
        for cluster, found in sorted(by_cluster.items())
    )


def names(agents: Sequence[AgentName], limit: int = NAMES_SHOWN) -> str:
    """`a/b, c/d and 3 more`."""
    return few(agents, limit, lambda name: clean(str(name)))


def hold_text(hold: Hold) -> str:
    """`41 deletes, over the budget of 3; raise it with --max-deletes 41`, with the agent where there is one."""
    text = clean(" ".join(hold.text.split()))
    if len(hold.agents) == 1 and str(hold.agents[0]) not in text:
        text = f"{clean(str(hold.agents[0]))}: {text}"
    return f"{text}; {clean(' '.join(hold.lift.split()))}" if hold.lift else text


def completeness(plan: Plan) -> str:
    """`local: complete; registry: complete`; git only where it has a problem."""
    parts = [
        f"{clean(item.source)}: {clean(' '.join(item.problem.split())) or 'complete'}"
        for item in plan.completeness
        if item.problem or item.source != "git"
    ]
    return "; ".join(parts)


def fleet(plan: Plan) -> str:
    """`Fleet acme`; its name is unknown where fleet.yaml cannot be used."""
    return f"Fleet {clean(plan.fleet)}" if plan.fleet else "The fleet (fleet.yaml cannot be used)"


def where(plan: Plan) -> str:
    """`3f2c1ab (main)`: the commit and what it was asked for by."""
    revision = plan.revision
    commit = revision.short or "no commit yet"
    if revision.working_tree:
        commit += " with the working tree's files"
    ref = revision.ref.removeprefix("refs/heads/")
    return clean(f"{commit} ({ref})" if ref and not revision.commit.startswith(ref) else commit)


def notes(plan: Plan) -> list[str]:
    """What a reader must know before the changes: what was left aside."""
    found = []
    revision = plan.revision
    if revision.dirty and not revision.working_tree:
        shown = few(revision.dirty, NAMES_SHOWN, named)
        found.append(f"Uncommitted files differ and are not in this plan (--working-tree plans them): {shown}")
    if plan.partial:
        scope = [names(plan.policy.targets)] if plan.policy.targets else []
        scope += [f"cluster {clean(name)}" for name in plan.policy.clusters]
        found.append(f"This plan is partial: only {', '.join(scope)}." if scope else "This plan is partial.")
    return found + idle_notes(plan.idle)


def idle_notes(clusters: Iterable[str]) -> list[str]:
    """One sentence for each cluster that starts no processes: nothing that is applied there ever runs."""
    return [
        f"Cluster {clean(name)} runs nothing: no processes are started there (`run: nothing`)." for name in clusters
    ]


def totals(plan: Plan) -> str:
    """The last line: `Plan: 0 to create, ... The template base changes 1 of 3 agents.` or `No changes.`

    A plan that is empty because all of it is held is another fact than one that finds nothing to do.
    """
    if not plan.changes and any(hold.blocks_exit for hold in plan.holds):
        return "Nothing is planned, and something is held: it stands above, with what lifts it."
    if not plan.changes:
        return "No changes."
    counted = [f"{plan.count(action)} to {action}" for action in ALWAYS_COUNTED]
    counted += [f"{n} to {action}" for action in Action if action not in ALWAYS_COUNTED and (n := plan.count(action))]
    words = [f"Plan: {', '.join(counted)}."]
    words += [
        f"The template {clean(item.template)} changes {len(item.changed)} of {plural(item.total, 'agent')}."
        for item in plan.blast_radius
    ]
    return " ".join(words)
