"""What `get agents` asks the registry: one query out of its options, all pages of an answer, counts and plans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reconciler.cli.output import emit, note, one_line, table, to_json, to_yaml
from reconciler.model.errors import UsageError
from reconciler.model.query import (
    EVERYTHING,
    MAX_PAGE,
    And,
    Comparator,
    Compare,
    Expression,
    GroupCount,
    Or,
    Query,
    QueryPlan,
)
from reconciler.model.registry import Record
from reconciler.ports import Aging, Registry
from reconciler.query.checking import read_order, read_path, read_query
from reconciler.query.paths import RECORD, Kind
from reconciler.query.selectors import Requirement, selecting


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of one question. `limit` 0: all of the answer."""

    where: str = ""
    order_by: str = ""
    limit: int = 0
    after: str = ""
    count_by: str = ""
    explain: bool = False

    @property
    def anything(self) -> bool:
        """Whether more was asked than a listing shows anyway."""
        return self != Asked()


def query_of(
    asked: Asked, *, namespace: str, names: Iterable[str], selector: Iterable[Requirement], now_ms: int
) -> Query:
    """All that was asked as one query. Raises UsageError."""
    read = read_query(asked.where, now_ms=now_ms)
    if read.order and asked.order_by:
        raise UsageError("the order is said twice", hint="give either `order by` within --where, or --order-by")
    order = read_order(asked.order_by) if asked.order_by else read.order
    parts: list[Expression] = []
    if namespace:
        parts.append(Compare("namespace", Comparator.EQUAL, namespace))
    named = tuple(_named(name) for name in sorted(set(names)))
    if named:
        parts.append(Or(named))
    parts.extend(selecting(selector).parts)
    if read.where != EVERYTHING:
        parts.append(read.where)
    return Query(parts[0] if len(parts) == 1 else And(tuple(parts)), order)


def _named(text: str) -> Expression:
    namespace, slash, name = text.partition("/")
    if not slash:
        return Compare("name", Comparator.EQUAL, text)
    return And((Compare("namespace", Comparator.EQUAL, namespace), Compare("name", Comparator.EQUAL, name)))


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


async def check_names(registry: Registry, names: Iterable[str]) -> None:
    """Refuse names of which no record is, with what is near. Raises UsageError."""
    for text in sorted(set(names)):
        (group,) = await registry.count(Query(_named(text)))
        if not group.count:
            raise UsageError(f"no agent {text[:80]!r} on record", hint="`reconciler get agents` lists them")


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
