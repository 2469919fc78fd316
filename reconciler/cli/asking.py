"""What `get agents` asks the registry: all pages of an answer, counts and plans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reconciler.cli.output import emit, note, one_line, table, to_json, to_yaml
from reconciler.model.errors import UsageError
from reconciler.model.query import MAX_PAGE, And, Comparator, Compare, GroupCount, Query, QueryPlan
from reconciler.model.registry import Record
from reconciler.ports import Aging, Registry
from reconciler.query.asked import Asked, named
from reconciler.query.checking import read_path
from reconciler.query.paths import RECORD, Kind


async def records(registry: Registry, query: Query, asked: Asked) -> tuple[list[Record], str]:
    """The records of an answer and, where a limit cut it, what continues it."""
    found: list[Record] = []
    after = asked.after
    while True:
        page = await registry.find(query, limit=asked.limit or MAX_PAGE, after=after)
        found.extend(page.records)
        after = page.next
        if asked.limit or not after:
            return found, after


def note_age(registry: Registry, now_ms: int) -> None:
    """Say so where an answer came from a copy because the registry is away."""
    stale = registry.stale if isinstance(registry, Aging) else None
    if stale is not None:
        from reconciler.cli.views.records import age

        ago = age(stale.as_of_ms, now_ms)
        note(f"warning: the registry is away, and this is as of {ago} ago: {one_line(stale.reason, 300)}")


async def check_names(registry: Registry, names: Iterable[str], namespace: str) -> None:
    """Refuse names of which no record is, in the namespace or, for "", in any. Raises UsageError."""
    where = f" in the namespace {one_line(namespace)}" if namespace else ""
    for text in sorted(set(names)):
        one = named(text)
        within = And((Compare("namespace", Comparator.EQUAL, namespace), one)) if namespace else one
        (group,) = await registry.count(Query(within))
        if not group.count:
            raise UsageError(f"no agent {text[:80]!r} on record{where}", hint="`reconciler get agents -A` lists them")


def show_counts(groups: tuple[GroupCount, ...], by: str, output: str, *, headers: bool) -> None:
    values: list[dict[str, Any]] = [{"value": plain(group), "count": group.count} for group in groups]
    if output in ("json", "yaml"):
        value = {"kind": "counts", "by": by, "items": values}
        emit(to_json(value) if output == "json" else to_yaml(value))
    elif groups:
        shown = [(_shown(group, by), str(group.count)) for group in groups]
        emit(table((by.upper(), "AGENTS"), shown, show_headers=headers))


def plain(group: GroupCount) -> Any:
    """A group's value as JSON: whole numbers as such."""
    value = group.value
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _shown(group: GroupCount, by: str) -> str:
    from reconciler.cli.views.records import moment

    value = plain(group)
    if value is None:
        return "<none>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and RECORD.get(by) is Kind.TIME:
        return moment(value)
    return str(value) or '""'


def count_path(text: str) -> str:
    """The path to count by. Raises UsageError."""
    return read_path(text)


def show_plan(plan: QueryPlan, output: str) -> None:
    """How a query is answered, for people or programs."""
    if output in ("json", "yaml"):
        value = {
            "kind": "queryPlan",
            "statement": plan.statement,
            "indexes": list(plan.indexes),
            "scans": plan.scans,
            "notes": list(plan.notes),
        }
        emit(to_json(value) if output == "json" else to_yaml(value))
        return
    emit(plan.statement)
    emit("")
    emit("indexes: " + (", ".join(plan.indexes) or "none"))
    emit("scans: " + ("yes" if plan.scans else "no"))
    for one in plan.notes:
        emit(f"  {one}")
