"""How a FOR over a collection finds its documents: by the primary key, by an index, or by looking at all.

An optimizer of our own, and an honest one: what it says is what runs. It takes equality on the leading fields of an
index, then one range, `value IN doc.array[*]` for array indexes, and an order that the index has already. Of several
indexes it takes the one with the fewest entries in the way, counted; the real one estimates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from tests.doubles.arango.aql import nodes
from tests.doubles.arango.aql.context import Context, Env
from tests.doubles.arango.aql.expressions import Eval, Expressions, free
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.indexes import Index, Row
from tests.doubles.arango.store import Collection
from tests.doubles.arango.values import TOP, Key, key

RANGES = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
Scope = frozenset[str]


@dataclass(frozen=True, slots=True)
class Condition:
    """`path operator value`, of the documents looked for; `node` is where it was written."""

    path: str
    operator: str  # ==, IN, <, <=, >, >=
    value: nodes.Expr
    node: nodes.Expr


@dataclass(slots=True)
class Access:
    """The way to the documents. No index and not `primary`: a full scan."""

    collection: Collection
    primary: bool = False
    index: Index | None = None
    equal: list[tuple[Condition, Eval]] = field(default_factory=list)
    ranges: list[tuple[Condition, Eval]] = field(default_factory=list)
    sorts: nodes.Sort | None = None  # a SORT that the index makes unnecessary
    descending: bool = False
    cost: float = 0
    estimate: int = 0
    keys_only: bool = False  # nothing but keys is needed: the primary index says them all

    @property
    def conditions(self) -> list[Condition]:
        return [one for one, _ in (*self.equal, *self.ranges)]

    def rows(self, context: Context, env: Env) -> Iterator[Row]:
        view = context.trx.view(self.collection)
        stats = context.stats
        if self.primary:
            stats.cursors_created += 1
            for row in self._by_key(view, env):
                stats.scanned_index += 1
                stats.document_lookups += 1
                yield row
        elif self.index is not None:
            stats.cursors_created += 1
            for row in self._by_index(view, env):
                stats.scanned_index += 1
                stats.document_lookups += 1
                yield row
        else:
            stats.cursors_created += self.keys_only
            for row in view.scan():
                if self.keys_only:
                    stats.scanned_index += 1
                else:
                    stats.scanned_full += 1
                yield row

    def _by_key(self, view: Any, env: Env) -> Iterator[Row]:
        condition, value = self.equal[0]
        found = value(env)
        sought = found if condition.operator == "IN" else [found]
        names: dict[str, None] = {}
        for one in sought if isinstance(sought, list) else []:
            if isinstance(one, str):
                name, slash, rest = one.partition("/")
                if condition.path == "_key":
                    names[one] = None
                elif slash and name == self.collection.name:
                    names[rest] = None
        for name in names:
            row = view.get(name)
            if row is not None:
                yield row

    def _by_index(self, view: Any, env: Env) -> Iterator[Row]:
        index = self.index
        assert index is not None
        spans = list(self._spans(env))
        once = len(spans) > 1 and any(one.expands for one in index.fields)
        seen: set[str] = set()
        for low, high in reversed(spans) if self.descending else spans:
            for row in view.by_index(index, low, high, descending=self.descending):
                if once:
                    if row.key in seen:
                        continue
                    seen.add(row.key)
                yield row

    def _spans(self, env: Env) -> Iterator[tuple[Key, Key]]:
        choices: list[list[Key]] = []
        for condition, value in self.equal:
            found = value(env)
            if condition.operator == "IN":
                members = found if isinstance(found, list) else []
                choices.append(sorted({key(one) for one in members}))
            else:
                choices.append([key(found)])
        low_end: Key | None = None
        high_end: Key | None = None
        for condition, value in self.ranges:
            bound = key(value(env))
            if condition.operator in (">", ">="):
                start = (bound, TOP) if condition.operator == ">" else (bound,)
                low_end = start if low_end is None else max(low_end, start)
            else:
                end = (bound, TOP) if condition.operator == "<=" else (bound,)
                high_end = end if high_end is None else min(high_end, end)
        for prefix in product(*choices):
            low = (*prefix, *low_end) if low_end is not None else prefix
            high = (*prefix, *high_end) if high_end is not None else (*prefix, TOP)
            if low < high:
                yield low, high


class Planner:
    """Chooses the access of each FOR of one query."""

    def __init__(self, context: Context, expressions: Expressions) -> None:
        self._context = context
        self._expressions = expressions

    def choose(
        self,
        clause: nodes.For,
        collection: Collection,
        rest: tuple[nodes.Clause, ...],
        scope: Scope,
        *,
        outermost: bool,
    ) -> Access:
        hint = self._hint(clause)
        conditions, sort = gather(clause.variable, rest, scope)
        best = Access(collection, cost=len(collection.rows) + 2, estimate=len(collection.rows))
        sort = sort if outermost else None
        if sort is not None:
            best.cost += _sorting(len(collection.rows))
        candidates = [self._by_key(collection, conditions, scope)]
        candidates += [
            self._by_index(collection, one, conditions, sort, clause.variable, scope) for one in collection.indexes
        ]
        usable = [one for one in candidates if one is not None]
        if hint is not None:
            usable = [one for one in usable if one.index is not None and one.index.name in hint[0]] or (
                self._unusable() if hint[1] else usable
            )
        for one in usable:
            if one.cost < best.cost or (hint is not None and best.index is None):
                best = one
        if best.index is None and not best.primary:
            best.keys_only = _only_keys_needed(clause.variable, rest)
        return best

    @staticmethod
    def _unusable() -> list[Access]:
        raise ArangoError(1577, "AQL: could not use index hint to serve query (while optimizing plan)")

    def _hint(self, clause: nodes.For) -> tuple[list[str], bool] | None:
        names: list[str] | None = None
        force = False
        for name, value in clause.options.items if clause.options is not None else ():
            found = self._expressions.constant(value)
            match name:
                case "indexHint":
                    names = found if isinstance(found, list) else [found]
                case "forceIndexHint":
                    force = bool(found)
                case "useCache" | "maxProjections" | "lookahead":
                    pass  # they change speed, not answers
                case _:
                    raise Unsupported(f"AQL option {name} of FOR")
        return None if names is None else (names, force)

    def _by_key(self, collection: Collection, conditions: list[Condition], scope: Scope) -> Access | None:
        for one in conditions:
            if one.path in ("_key", "_id") and one.operator in ("==", "IN"):
                value = self._expressions.compile(one.value, scope)
                return Access(collection, primary=True, equal=[(one, value)], cost=1, estimate=1)
        return None

    def _by_index(
        self,
        collection: Collection,
        index: Index,
        conditions: list[Condition],
        sort: nodes.Sort | None,
        variable: str,
        scope: Scope,
    ) -> Access | None:
        made = Access(collection, index=index)
        for path in index.fields:
            here = [one for one in conditions if one.path == path.text]
            same = next((one for one in here if one.operator == "=="), None)
            same = same or next((one for one in here if one.operator == "IN"), None)
            if same is None:
                ranges = [one for one in here if one.operator in RANGES]
                made.ranges = [(one, self._expressions.compile(one.value, scope)) for one in ranges]
                break
            made.equal.append((same, self._expressions.compile(same.value, scope)))
        if index.sparse and not self._never_null(index, made, scope):
            return None
        if sort is not None and not index.sparse:
            direction = self._order(index, made, sort, variable)
            if direction is not None:
                made.sorts, made.descending = sort, direction == "DESC"
        if not made.equal and not made.ranges and made.sorts is None:
            return None
        if any(path.expands for path in index.fields[len(made.equal) :]):
            return None  # entries for each member: documents would come more than once
        self._estimate(made, sort, scope)
        return made

    def _never_null(self, index: Index, access: Access, scope: Scope) -> bool:
        if len(access.conditions) < len(index.fields):
            return False
        for condition, value in (*access.equal, *access.ranges[:1]):
            if free(condition.value) & scope or condition.operator in ("<", "<="):
                return False
            found = value({})
            if found is None and condition.operator != ">":
                return False
            if condition.operator == "IN" and (not isinstance(found, list) or None in found):
                return False
        return True

    def _order(self, index: Index, access: Access, sort: nodes.Sort, variable: str) -> str | None:
        if any(one.operator == "IN" for one, _ in access.equal):
            return None  # several stretches of the index, each in order
        bound = {one.path for one, _ in access.equal}
        fields = [one.text for one in index.fields]
        place = len(access.equal)
        directions = set()
        for expression, ascending in sort.criteria:
            path = path_of(expression, variable)
            if path is None or not isinstance(ascending, bool):
                return None
            if path in bound:
                continue
            if place >= len(fields) or fields[place] != path:
                return None
            place += 1
            directions.add("ASC" if ascending else "DESC")
        if len(directions) > 1:
            return None
        return directions.pop() if directions else "ASC"

    def _estimate(self, access: Access, sort: nodes.Sort | None, scope: Scope) -> None:
        index = access.index
        assert index is not None
        if any(free(one.value) & scope for one in access.conditions):
            share = 10 ** (len(access.equal) + 0.5 * bool(access.ranges))
            entries = math.ceil(len(index.entries) / share)
        else:
            spans = list(access._spans({}))
            entries = sum(end - start for start, end in (index.span(*one) for one in spans))
        access.estimate = entries
        access.cost = 1 + entries * 1.1
        if sort is not None and access.sorts is None:
            access.cost += _sorting(entries)


def _sorting(count: int) -> float:
    return count * math.log2(count) if count > 1 else 0


def path_of(expression: nodes.Expr, variable: str) -> str | None:
    """`a.b` where the expression is `variable.a.b`."""
    names: list[str] = []
    while isinstance(expression, nodes.Attribute):
        if not isinstance(expression.name, str):
            return None
        names.append(expression.name)
        expression = expression.target
    if isinstance(expression, nodes.Ref) and expression.name == variable and names:
        return ".".join(reversed(names))
    return None


def _expanded_path(expression: nodes.Expr, variable: str) -> str | None:
    """`a[*]` or `a[*].b` where the expression is that of `variable`."""
    if not isinstance(expression, nodes.Expansion) or expression.levels != 1:
        return None
    if expression.filter or expression.limit or expression.projection:
        return None
    head = path_of(expression.target, variable)
    if expression.follows == nodes.Ref(nodes.CURRENT_MEMBER):
        return None if head is None else f"{head}[*]"
    tail = path_of(expression.follows, nodes.CURRENT_MEMBER)
    return None if head is None or tail is None else f"{head}[*].{tail}"


def conjuncts(expression: nodes.Expr) -> Iterator[nodes.Expr]:
    if isinstance(expression, nodes.Binary) and expression.operator == "AND":
        yield from conjuncts(expression.left)
        yield from conjuncts(expression.right)
    else:
        yield expression


def gather(variable: str, rest: tuple[nodes.Clause, ...], scope: Scope) -> tuple[list[Condition], nodes.Sort | None]:
    """Conditions on `variable` in what follows its FOR, and the SORT that its order could serve."""
    found: list[Condition] = []
    lets: dict[str, nodes.Expr] = {}
    alone = True
    for clause in rest:
        match clause:
            case nodes.Filter(condition):
                for one in conjuncts(condition):
                    made = _condition(inlined(one, lets), variable, scope)
                    if made is not None:
                        found.append(replace(made, node=one))
            case nodes.Let(name, value):
                lets[name] = inlined(value, lets)
            case nodes.For():
                alone = False
            case nodes.Sort(criteria) if alone:
                return found, nodes.Sort(tuple((inlined(one, lets), ascending) for one, ascending in criteria))
            case _:
                break
    return found, None


def inlined(expression: nodes.Expr, lets: dict[str, nodes.Expr]) -> nodes.Expr:
    """The expression with variables of LET replaced, where that is a comparison or a path."""
    match expression:
        case nodes.Ref(name) if name in lets:
            return lets[name]
        case nodes.Attribute(target, name):
            return nodes.Attribute(inlined(target, lets), name)
        case nodes.Binary(operator, left, right):
            return nodes.Binary(operator, inlined(left, lets), inlined(right, lets))
        case _:
            return expression


def _condition(  # noqa: PLR0911 - a table of cases, one return each
    node: nodes.Expr, variable: str, scope: Scope
) -> Condition | None:
    if not isinstance(node, nodes.Binary):
        return None
    operator, left, right = node.operator, node.left, node.right
    if operator == "IN":
        path = path_of(left, variable)
        if path is not None and free(right) <= scope:
            return Condition(path, "IN", right, node)
        path = _expanded_path(right, variable)
        if path is not None and free(left) <= scope:
            return Condition(path, "==", left, node)
        return None
    if operator not in ("==", *RANGES):
        return None
    path = path_of(left, variable)
    if path is not None and free(right) <= scope:
        return Condition(path, operator, right, node)
    path = path_of(right, variable)
    if path is not None and free(left) <= scope:
        return Condition(path, RANGES.get(operator, operator), left, node)
    return None


def _only_keys_needed(variable: str, rest: tuple[nodes.Clause, ...]) -> bool:
    match rest:
        case (nodes.Modify("REMOVE", nodes.Ref(name), None, _, _),) if name == variable:
            return True
        case _:
            return False
