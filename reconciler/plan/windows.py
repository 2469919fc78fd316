"""Which changes wait for a change window, and which window and until when.

What comes from Git waits. What undoes drift, brings back what is gone, finishes what has begun, leaves a cluster that
is unwell, or was asked for by hand does not: it is no change of what runs, or somebody decided for just now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from reconciler.model.identity import AgentName
from reconciler.model.plan import Change, Hold, HoldCode, ReasonCode
from reconciler.model.registry import AgentState, Record
from reconciler.model.window import DAYS, Effect, Opening, Window, opening

FROM_GIT = frozenset(
    {
        ReasonCode.NEW,
        ReasonCode.SPEC_CHANGED,
        ReasonCode.TEMPLATE_CHANGED,
        ReasonCode.REPLICAS_CHANGED,
        ReasonCode.PLACEMENT_CHANGED,
        ReasonCode.FAILED_BACK,
        ReasonCode.IMMUTABLE_FIELD,
        ReasonCode.FOREIGN_OBJECT,
        ReasonCode.REMOVED_FROM_GIT,
        ReasonCode.EXPORTED,
        ReasonCode.RENDERING_CHANGED,
    }
)
"""Reasons that can wait. So can a suspension or its end that stand in a file."""
_BOTH_WAYS = frozenset({ReasonCode.SUSPENDED, ReasonCode.RESUMED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Changes that may go out now, each with when its window closes, and why the others wait."""

    changes: tuple[Change, ...]
    holds: tuple[Hold, ...]


def waits(change: Change, record: Record | None) -> bool:
    """Whether a change goes out in change windows only. `record` is its agent's."""
    codes = {reason.code for reason in change.reasons}
    in_file = any(reason.code in _BOTH_WAYS and reason.origin is not None for reason in change.reasons)
    finishes = ReasonCode.UNFINISHED in codes and _was_begun(change, record)
    return not finishes and (in_file or not codes.isdisjoint(FROM_GIT))


def _was_begun(change: Change, record: Record | None) -> bool:
    """Whether what Git asks for is what is under way, or what was applied last; not a commit that came after.

    A remedy begins no spec. What an earlier version of this program began is not noted: that is gone on with.
    """
    if change.agent is None or record is None or change.agent.spec_hash == record.spec_hash:
        return True
    return record.state is not AgentState.RECOVERING and record.begun in ("", change.agent.spec_hash)


def bound(
    changes: Iterable[Change],
    windows: Sequence[Window],
    records: Mapping[AgentName, Record],
    now_ms: int,
    *,
    ignored: bool = False,
) -> Bound:
    """`changes` bound to `windows`. Where those are `ignored` all go out, and the holds only tell of it."""
    if not windows:
        return Bound(changes=tuple(changes), holds=())
    openings: dict[tuple[str, ...], Opening] = {}
    kept: list[Change] = []
    held: dict[tuple[str, ...], list[AgentName]] = {}
    for change in changes:
        bound_by = windows if waits(change, records.get(change.name)) else ()
        concerned = [window for window in bound_by if _concerns(window, change, records)]
        key = tuple(window.name for window in concerned)
        if key not in openings:
            openings[key] = opening(concerned, now_ms)
        now = openings[key]
        if not now.open:
            held.setdefault(key, []).append(change.name)
        if now.open or ignored:
            until = (now.until_ms or 0) if now.open and not ignored else 0
            kept.append(replace(change, until_ms=until) if until else change)
    holds = (_hold(tuple(sorted(names)), openings[key], ignored=ignored) for key, names in held.items())
    return Bound(changes=tuple(kept), holds=tuple(holds))


def _concerns(window: Window, change: Change, records: Mapping[AgentName, Record]) -> bool:
    labels = change.agent.labels if change.agent is not None else records[change.name].labels
    return window.concerns(change.name.namespace, labels)


def _hold(names: tuple[AgentName, ...], now: Opening, *, ignored: bool) -> Hold:
    one = len(now.by) == 1
    by = f"the change window{'' if one else 's'} {' and '.join(window.name for window in now.by)}"
    who = f"{names[0]} waits" if len(names) == 1 else f"{len(names)} changes wait"
    until = "with no end in sight" if now.until_ms is None else f"until {_moment(now.until_ms, now.by[0].timezone)}"
    if now.by[0].effect is Effect.DENY:
        text = f"{who} {until}: nothing goes out in {by}"
    else:
        text = f"{who} {until}: {'it goes' if len(names) == 1 else 'they go'} out in {by} only"
    return Hold(
        code=HoldCode.WINDOW,
        agents=names,
        action=None,
        text=f"{text}, which is ignored" if ignored else text,
        lift="" if ignored else "--ignore-windows does not wait, and is audited",
        blocks_exit=not ignored,
        until_ms=now.until_ms or 0,
    )


def _moment(ms: int, timezone: str) -> str:
    """A time for people, on the clock of a place."""
    at = datetime.fromtimestamp(ms / 1000, ZoneInfo(timezone))
    return f"{DAYS[at.weekday()].capitalize()} {at:%Y-%m-%d %H:%M} {timezone}"
