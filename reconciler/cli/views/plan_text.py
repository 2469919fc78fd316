"""A plan as people read it: Terraform's layout, drift above, waves, what is held, and one last line that counts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from reconciler.cli.output import clean, paint
from reconciler.cli.views import plan_words as words
from reconciler.cli.views.diagnostics import plural
from reconciler.model.plan import Action, AttributeChange, Change, Plan, Risk, Verb

_COLORS = {"+": "green", "-": "red", "~": "yellow", "#": "cyan", "!": "yellow", "-/+": "red", ">": "green"}
_LEGEND = (Action.CREATE, Action.UPDATE, Action.SCALE, Action.DELETE, Action.RECOVER)
_LOUD = (Risk.MODEL, Risk.TOOL_GAINED, Risk.APPROVAL_REMOVED, Risk.SECRET_CHANGED)
"""Risks that the attributes alone do not tell."""


def render_text(plan: Plan, *, color: bool) -> str:
    """The whole plan, without a line feed at the end."""
    against = words.completeness(plan)
    header = f"{words.fleet(plan)} at {words.where(plan)}" + (f", against {against}" if against else "")
    blocks: list[list[str]] = [[paint(header, "bold", color=color)]]
    blocks += [[note] for note in words.notes(plan)]
    if plan.changes:
        blocks.append([_legend(plan, color=color)])
    blocks += _drift(plan, color=color)
    for wave, changes in groupby(plan.changes, key=lambda change: change.wave):
        blocks += _wave(wave, list(changes), color=color)
    held = list(_holds(plan, color=color))
    if held:
        blocks.append(held)
    blocks.append([paint(words.totals(plan), "bold", color=color)])
    return "\n\n".join("\n".join(block) for block in blocks)


def _legend(plan: Plan, *, color: bool) -> str:
    shown = [*_LEGEND, *(action for action in Action if action not in _LEGEND and plan.count(action))]
    return "  " + "   ".join(f"{_sign(words.SYMBOLS[action], color=color)} {action}" for action in shown)


def _sign(symbol: str, *, color: bool) -> str:
    return paint(symbol, _COLORS[symbol], color=color)


def _drift(plan: Plan, *, color: bool) -> Iterator[list[str]]:
    found = words.all_drift(plan)
    if not found:
        return
    yield [paint("# drift, found outside Git", "bold", color=color)]
    for (cluster, ref), items in groupby(found, key=lambda pair: (pair[1].cluster, pair[1].ref)):
        block = [f"  # {clean(str(ref))} on {clean(cluster)}"]
        for _, item in items:
            symbol, text, who = words.drift_lines(item)
            block.append(f"      {_sign(symbol, color=color)} {text}      # {who}")
        yield block


def _wave(wave: int, changes: list[Change], *, color: bool) -> Iterator[list[str]]:
    after = sorted({name for change in changes for name in change.after})
    heading = f"# wave {wave}" + (f", after {words.names(after)}" if after else "")
    first, *rest = ([*_change(change, color=color)] for change in changes)
    yield [paint(heading, "bold", color=color), *first]
    yield from rest


def _change(change: Change, *, color: bool) -> Iterator[str]:
    place = words.cause(change)
    yield f"  # {clean(words.title(change))}" + (f"  ({place})" if place else "")
    for reason in words.told_reasons(change):
        yield f"      # {reason}"
    yield from _replicas(change, color=color)
    shown, defaults = words.shown_attributes(change)
    for attribute in shown:
        yield from attribute_lines(attribute, scale=change.action is Action.SCALE, color=color)
    yield from _objects(change, color=color)
    if left := words.left_out(change):
        yield f"      # {left}"
    risks = [str(risk) for risk in change.risks if risk in _LOUD]
    if risks and change.action is not Action.CREATE:
        yield f"        # risk: {', '.join(risks)}"
    if change.hidden and change.action is not Action.SCALE:
        yield f"        # ({plural(change.hidden, 'unchanged attribute')} hidden)"
    if defaults:
        yield f"        # ({plural(defaults, 'attribute')} at the default hidden)"


def _replicas(change: Change, *, color: bool) -> Iterator[str]:
    """Replicas that no attribute shows: an autoscaler's, or those of a scaling that is in no file."""
    if change.replicas_text:
        yield f"      # replicas: {clean(change.replicas_text)}"
    elif (
        change.action is not Action.CREATE
        and None not in change.replicas
        and change.replicas[0] != change.replicas[1]
        and not any(item.path == ("replicas",) for item in change.attributes)
        and change.action is not Action.DELETE
    ):
        sign = _sign("#" if change.action is Action.SCALE else "~", color=color)
        yield f"      {sign} replicas: {change.replicas[0]} -> {change.replicas[1]}"
    if len(change.placement) > 1 and change.action in (Action.CREATE, Action.SCALE):
        placed = ", ".join(f"{clean(item.cluster)} {item.replicas}" for item in change.placement)
        yield f"      # placement: {placed}"


def attribute_lines(item: AttributeChange, *, scale: bool, color: bool) -> Iterator[str]:
    """One attribute as a plan shows it: what it was and is, text of several lines below its name."""
    symbol = words.mark(item.before, item.after)
    sign = _sign("#" if scale and symbol == "~" else symbol, color=color)
    remark = words.remark(item)
    behind = f"      # {remark}" if remark else ""
    name = words.attribute_name(item)
    if words.is_prose(item):
        yield f"      {sign} {name}:{behind}"
        for line in words.prose(item):
            yield f"          {line}".rstrip()
    else:
        yield f"      {sign} {name}: {words.inline(item.before, item.after)}{behind}"


def _objects(change: Change, *, color: bool) -> Iterator[str]:
    """Objects that come and go; those that are changed in place show in the attributes."""
    for verb, symbol in ((Verb.CREATE, "+"), (Verb.REPLACE, "-/+"), (Verb.DELETE, "-")):
        found = words.kinds(item for item in change.objects if item.verb is verb)
        if found:
            behind = "      # forces replacement" if verb is Verb.REPLACE else ""
            yield f"      {_sign(symbol, color=color)} {found}{behind}"
    if change.action is Action.ADOPT:
        found = words.kinds(item for item in change.objects if item.verb is Verb.APPLY)
        if found:
            yield f"      {_sign('>', color=color)} {found}"


def _holds(plan: Plan, *, color: bool) -> Iterator[str]:
    for hold in plan.holds:
        origin = f"  ({words.named(f'{hold.origin.path}:{hold.origin.line}')})" if hold.origin else ""
        word = "held:" if hold.blocks_exit or hold.action else "note:"
        yield f"{paint(word, 'yellow', color=color)} {words.hold_text(hold)}{origin}"
        if len(hold.agents) > 1:
            yield f"    {words.names(hold.agents)}"
