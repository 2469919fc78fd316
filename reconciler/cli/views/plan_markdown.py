"""A plan as a pull request's comment: deletions first and open, details folded, never longer than a budget.

GitHub refuses bodies over 65,536 characters, so the view degrades until it fits: all details, then changed attributes
without texts, then a table, then counts. User text is escaped: no markup, links or mentions, no fence broken out of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from reconciler.cli.output import clean
from reconciler.cli.views import plan_words as words
from reconciler.cli.views.diagnostics import plural
from reconciler.model.plan import Action, AttributeChange, Change, Plan, Verb

BUDGET = 60_000
MAX_ROWS = 500
MAX_HELD = 50
CUT = 160
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&-])")
_ZERO_WIDTH = "\u200b"
_LINKS = re.compile(r"(?i)\b(https?|ftp|www)(?=[:.])")
_ISSUES = re.compile(r"\b(GH|gh)-(?=\d)")
_Detail = Callable[[Change], list[str]]


def marker(plan: Plan, key: str = "") -> str:
    """The line by which one's own comment is found again: of the fleet, unless `key` says otherwise."""
    safe = re.sub(r"[^A-Za-z0-9._]+", "-", key or plan.fleet).strip("-") or "fleet"
    return f"<!-- reconciler-plan:{safe} -->"


def render_markdown(plan: Plan, *, budget: int = BUDGET, key: str = "") -> str:
    """The plan as Markdown of at most `budget` characters. Deletions and what is held are told at every level."""
    levels = [_folded(plan, detail) for detail in (_full, _attributes)]
    levels += [_table(plan, rows) for rows in (MAX_ROWS, 100, 20)]
    for level in levels:
        text = _document(plan, level, budget, key=key)
        if text is not None:
            return text
    return _counts(plan, budget, key=key)


def escape(text: str) -> str:
    """User text for the middle of a line: shown as it is, whatever it holds."""
    flat = " ".join(clean(text).split())
    flat = _ISSUES.sub(rf"\1{_ZERO_WIDTH}-", _LINKS.sub(rf"\1{_ZERO_WIDTH}", flat))
    return _SPECIAL.sub(r"\\\1", flat).replace("@", f"@{_ZERO_WIDTH}").replace("\\#", f"\\#{_ZERO_WIDTH}")


def fence(lines: Sequence[str], language: str = "diff") -> list[str]:
    """A code block whose fence is longer than any run of backticks inside. Nothing is read as markup in there."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    bar = "`" * max(3, longest + 1)
    return [f"{bar}{language}", *(line.replace("@", f"@{_ZERO_WIDTH}") for line in lines), bar]


def _document(plan: Plan, changes: Iterable[str], budget: int, *, key: str) -> str | None:
    """The whole text, or None as soon as it is longer than `budget`."""
    lines: list[str] = []
    room = budget
    for line in chain(_head(plan, key), _deletions(plan, MAX_ROWS), _held(plan), _drift(plan), changes):
        room -= len(line) + 1
        if room < 0:
            return None
        lines.append(line)
    return "\n".join(lines) + "\n"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _head(plan: Plan, key: str) -> list[str]:
    lines = [marker(plan, key), f"### Plan for {escape(_lower(words.fleet(plan)))} at {escape(words.where(plan))}", ""]
    lines += [f"**{escape(words.totals(plan))}**", ""]
    problems = [f"{item.source}: {item.problem}" for item in plan.completeness if item.problem]
    if problems:
        lines += [f"> **Incomplete:** {escape('; '.join(problems)[:2000])}", ""]
    for note in words.notes(plan):
        lines += [f"> {escape(note[:2000])}", ""]
    return lines


def _deletions(plan: Plan, limit: int) -> list[str]:
    """Agents that go or are replaced, never folded."""
    found = [
        change
        for change in plan.changes
        if change.action in (Action.DELETE, Action.REPLACE) or words.replaced_kinds(change)
    ]
    if not found:
        return []
    lines = [
        f"- {escape(words.title(change))}"
        + (f" ({escape(words.kinds(change.objects))})" if change.objects else "")
        + (f", {escape(left)}" if change.action is Action.DELETE and (left := words.left_out(change)) else "")
        for change in found[:limit]
    ]
    more = [f"- and {len(found) - limit} more"] if len(found) > limit else []
    return ["#### Deletions and replacements", "", *lines, *more, ""]


def _held(plan: Plan) -> list[str]:
    if not plan.holds:
        return []
    lines = []
    for hold in plan.holds[:MAX_HELD]:
        named = f": {escape(words.names(hold.agents, 10))}" if len(hold.agents) > 1 else ""
        lines.append(f"- {escape(words.hold_text(hold)[:1000])}{named}")
    more = [f"- and {len(plan.holds) - MAX_HELD} more"] if len(plan.holds) > MAX_HELD else []
    return ["#### Held", "", *lines, *more, ""]


def _drift(plan: Plan) -> list[str]:
    found = words.all_drift(plan)
    if not found:
        return []
    lines = []
    for _, item in found[:MAX_HELD]:
        _, text, who = words.drift_lines(item)
        lines.append(f"- {escape(f'{item.ref} on {item.cluster}')}: {escape(text[:CUT])}, {escape(who)}")
    more = [f"- and {len(found) - MAX_HELD} more"] if len(found) > MAX_HELD else []
    return ["#### Drift, found outside Git", "", *lines, *more, ""]


def _folded(plan: Plan, detail: _Detail) -> Iterable[str]:
    for change in plan.changes:
        if change.action is Action.DELETE:
            continue
        place = words.cause(change)
        summary = escape(words.title(change)) + (f" ({escape(place)})" if place else "")
        risks = f" <b>{_html(escape(', '.join(change.risks)))}</b>" if change.risks else ""
        yield f"<details><summary>{_html(summary)}{risks}</summary>"
        yield ""
        yield from fence(detail(change))
        yield ""
        yield "</details>"
        yield ""


def _html(escaped: str) -> str:
    """Escaped Markdown for inside a tag, where backslashes are no escapes: entities instead."""
    plain = re.sub(r"\\(.)", r"\1", escaped)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _full(change: Change) -> list[str]:
    lines = [f"# {text}" for text in words.told_reasons(change)]
    if change.replicas_text:
        lines.append(f"# replicas: {clean(change.replicas_text)}")
    shown, defaults = words.shown_attributes(change)
    for item in shown:
        lines += _prose(item) if words.is_prose(item) else [_line(item, words.MAX_VALUE)]
    kept = words.kinds(item for item in change.objects if item.verb is not Verb.REPLACE)
    lines += [f"  {kept}"] if kept else []
    gone = words.kinds(item for item in change.objects if item.verb is Verb.REPLACE)
    lines += [f"- {gone}  # forces replacement"] if gone else []
    lines += [f"# {left}"] if (left := words.left_out(change)) else []
    if change.hidden:
        lines.append(f"# ({plural(change.hidden, 'unchanged attribute')} hidden)")
    if defaults:
        lines.append(f"# ({plural(defaults, 'attribute')} at the default hidden)")
    return lines


def _attributes(change: Change) -> list[str]:
    shown, _ = words.shown_attributes(change)
    return [_line(item, CUT) for item in shown] or [f"# {text}" for text in words.told_reasons(change)]


def _prose(item: AttributeChange) -> list[str]:
    lines = [f"! {words.attribute_name(item)}:"]
    for line in words.prose(item):
        symbol = "!" if "{-" in line and "{+" in line else "+" if "{+" in line else "-" if "{-" in line else " "
        lines.append(f"{symbol}     {line}")
    return lines


def _line(item: AttributeChange, limit: int) -> str:
    """A line of a diff fence: GitHub colours `+`, `-` and `!`."""
    symbol = {"~": "!"}.get(mark := words.mark(item.before, item.after), mark)
    text = words.inline(item.before, item.after)
    text = text if len(text) <= limit else f"{text[:limit]}…"
    behind = f"  # {remark}" if (remark := words.remark(item)) else ""
    return f"{symbol} {words.attribute_name(item)}: {text}{behind}"


def _table(plan: Plan, rows: int) -> Iterable[str]:
    changes = [change for change in plan.changes if change.action is not Action.DELETE]
    if not changes:
        return
    yield "| Agent | Action | Changed | Risks |"
    yield "| --- | --- | --- | --- |"
    for change in changes[:rows]:
        paths = [words.attribute_name(item) for item in change.attributes[:5]]
        more = f" and {len(change.attributes) - 5} more" if len(change.attributes) > 5 else ""
        risks = escape(", ".join(change.risks))
        yield f"| {escape(str(change.name))} | {change.action} | {escape(', '.join(paths)[:CUT])}{more} | {risks} |"
    if len(changes) > rows:
        yield ""
        yield f"and {plural(len(changes) - rows, 'more change')}."


def _counts(plan: Plan, budget: int, *, key: str) -> str:
    """What always fits: the counts, and as many deletions and holds as there is room for."""
    tail = "\n_The whole plan is too long for a comment; `reconciler plan` shows it._\n"
    lines: list[str] = []
    room = budget - len(tail)
    for line in [*_head(plan, key), *_deletions(plan, MAX_ROWS), *_held(plan)]:
        if len(line) + 1 > room:
            break
        room -= len(line) + 1
        lines.append(line)
    return "\n".join(lines) + tail
