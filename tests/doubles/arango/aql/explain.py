"""The plan of a query as `/_api/explain` shows it: the nodes that run, with the indexes that are used.

Which rules the real optimizer would have applied is not told apart; what is named of them is what was done here.
"""

from __future__ import annotations

import math
from typing import Any

from tests.doubles.arango.aql import nodes
from tests.doubles.arango.aql.astjson import TreeView, variables
from tests.doubles.arango.aql.execute import Executor
from tests.doubles.arango.aql.expressions import free
from tests.doubles.arango.aql.planner import Access, conjuncts
from tests.doubles.arango.indexes import Index

Shown = dict[str, Any]
SCAN = {
    "projections": [],
    "filterProjections": [],
    "count": False,
    "producesResult": True,
    "readOwnWrites": False,
    "useCache": True,
    "maxProjections": 5,
}
PLACE = {"satellite": False, "isSatellite": False, "isSatelliteOf": None}
COVERS = {"indexCoversProjections": False, "indexCoversOutProjections": False, "indexCoversFilterProjections": False}
TAIL = {
    "evalFCalls": True,
    "waitForSync": False,
    "limit": 0,
    "isLateMaterialized": False,
    "lookahead": 1,
}


def index_shown(index: Index | None) -> Shown:
    if index is None:
        primary = {"id": "0", "type": "primary", "name": "primary", "fields": ["_key"], "selectivityEstimate": 1}
        return primary | {"unique": True, "sparse": False}
    known = {name: value for name, value in index.definition.items() if name != "hidden"}
    return known | {"id": str(index.id), "selectivityEstimate": index.selectivity()}


class Explainer:
    """Tells the plan of one compiled query."""

    def __init__(self, executor: Executor, query: nodes.Query) -> None:
        self._executor = executor
        self._names = variables(query)
        self._full: set[str] = set()
        self._next_variable = len(self._names)
        self._next_node = 1
        self._last: int | None = None
        self._cost, self._items = 0.0, 1.0
        self._rules: dict[str, None] = {}
        self._nodes: list[Shown] = []
        self._limited = any(isinstance(one, nodes.Limit) for one in query.clauses)
        self._single = len(query.clauses) == len([one for one in query.clauses if not isinstance(one, nodes.Let)])
        self._late: list[Shown] = []
        self._query = query

    # -- pieces ------------------------------------------------------------------------------------------------------

    def _view(self) -> TreeView:
        names = self._names
        return TreeView(lambda name: names.index(name) if name in names else None, typed=True)

    def _variable(self, name: str) -> Shown:
        return {"id": self._names.index(name), "name": name, "isFullDocumentFromCollection": name in self._full}

    def _temporary(self) -> str:
        name = str(len(self._names))
        self._names.append(name)
        return name

    def _number(self) -> int:
        self._next_node += 1
        return self._next_node - 1

    def _add(self, kind: str, number: int, cost: float, items: float, more: Shown) -> None:
        self._cost, self._items = self._cost + cost, items
        before = [] if self._last is None else [self._last]
        shown = {"type": kind, "dependencies": before, "id": number}
        self._nodes.append(shown | {"estimatedCost": _whole(self._cost), "estimatedNrItems": _whole(items)} | more)
        self._last = number

    def _calculate(self, expression: nodes.Expr) -> str:
        """A node for an expression that is no variable already; answers the variable that holds it."""
        if isinstance(expression, nodes.Ref) and expression.name in self._names:
            return expression.name
        name = self._temporary()
        kind = "attribute" if isinstance(expression, nodes.Attribute) else "simple"
        more = {"expression": self._view().expression(expression), "outVariable": self._variable(name)}
        self._add(
            "CalculationNode",
            self._number(),
            self._items,
            self._items,
            more | {"canThrow": False, "expressionType": kind},
        )
        return name

    # -- clauses -----------------------------------------------------------------------------------------------------

    def plan(self) -> Shown:
        for clause in self._query.clauses:
            if isinstance(clause, nodes.For) and id(clause) in self._executor.accesses:
                self._full.add(clause.variable)
        self._add("SingletonNode", self._number(), 1, 1, {"bindParameterVariables": {}})
        numbers = self._renumber()
        for clause in self._query.clauses:
            self._clause(clause, numbers)
        if self._prefetches():
            self._rules["async-prefetch"] = None
        context = self._executor.context
        used = [{"name": name, "type": "write" if name in context.written else "read"} for name in context.read]
        return {
            "nodes": self._nodes,
            "rules": list(self._rules),
            "asyncPrefetchNodes": int(self._prefetches()),
            "estimatedCost": _whole(self._cost),
            "estimatedNrItems": _whole(self._items),
            "collections": used,
            "variables": [self._variable(name) for name in reversed(self._names)],
            "isModificationQuery": bool(context.written),
        }

    def _prefetches(self) -> bool:
        return not self._limited and not self._executor.context.written and len(self._full) > 0

    def _renumber(self) -> dict[int, int]:
        """Nodes for indexes come to be after all others were numbered: count those first."""
        numbers: dict[int, int] = {}
        place = 2
        for clause in self._query.clauses:
            numbers[id(clause)] = place
            match clause:
                case nodes.Filter(condition):
                    place += 1 + (not isinstance(condition, nodes.Ref))
                case nodes.Sort(criteria):
                    place += 1 + sum(not isinstance(one, nodes.Ref) for one, _ in criteria)
                case nodes.Return(value, _):
                    place += 1 + (not isinstance(value, nodes.Ref))
                case _:
                    place += 1
        numbers[0] = place
        return numbers

    def _clause(self, clause: nodes.Clause, numbers: dict[int, int]) -> None:  # noqa: C901 - one case a kind of clause
        more: Shown
        self._next_node = numbers[id(clause)]
        match clause:
            case nodes.For():
                self._for(clause, numbers)
            case nodes.Filter(condition):
                self._filter(condition)
            case nodes.Let(variable, value):
                kind = "attribute" if isinstance(value, nodes.Attribute) else "simple"
                more = {"expression": self._view().expression(value), "outVariable": self._variable(variable)}
                more |= {"canThrow": False, "expressionType": kind}
                self._add("CalculationNode", self._number(), self._items, self._items, more)
            case nodes.Sort(criteria):
                self._sort(clause, criteria)
            case nodes.Limit(offset, count):
                first, most = (self._executor.expressions.constant(one) for one in (offset, count))
                items = min(self._items, most)
                more = {"offset": first, "limit": most, "fullCount": False}
                self._add("LimitNode", self._number(), items, items, more)
            case nodes.Return(value, distinct):
                name = self._calculate(value)
                if distinct:
                    self._add(
                        "CollectNode", self._number(), self._items, self._items, {"inVariable": self._variable(name)}
                    )
                more = {"inVariable": self._variable(name), "count": True}
                self._add("ReturnNode", self._number(), self._items, self._items, more)
            case nodes.Collect():
                made = {"groups": [{"outVariable": self._variable(name)} for name, _ in clause.groups]}
                self._add("CollectNode", self._number(), self._items, self._items, made)
            case nodes.Modify(kind, _, _, _, _):
                named = {"collection": next(iter(self._executor.context.written), "")}
                self._add(f"{kind.capitalize()}Node", self._number(), self._items, self._items, named)
            case nodes.Upsert():
                named = {"collection": next(iter(self._executor.context.written), "")}
                self._add("UpsertNode", self._number(), self._items, self._items, named)

    def _for(self, clause: nodes.For, numbers: dict[int, int]) -> None:
        access = self._executor.accesses.get(id(clause))
        number = self._number()
        if access is None:
            more = {"inVariable": None, "outVariable": self._variable(clause.variable)}
            self._add("EnumerateListNode", number, self._items * 100, self._items * 100, more)
        elif access.index is None and not access.primary:
            count = len(access.collection.rows)
            prefetch: Shown = {"isAsyncPrefetchEnabled": True} if self._prefetches() else {}
            hint = {"random": False, "indexHint": {"forced": False, "lookahead": 1, "type": "none"}}
            more = prefetch | hint | {"outVariable": self._variable(clause.variable)} | SCAN
            named = {"collection": access.collection.name}
            self._add(
                "EnumerateCollectionNode", number, self._items * count + 1, self._items * count, more | named | PLACE
            )
        else:
            number = numbers[0]
            numbers[0] += 1
            self._index(clause, access, number)

    def _index(self, clause: nodes.For, access: Access, number: int) -> None:
        count = len(access.collection.rows)
        items = min(access.estimate, count)
        cost = math.log2(count) + items * 0.05 if count and access.conditions else float(items)
        self._rules["use-indexes"] = None
        if access.conditions:
            self._rules["remove-filter-covered-by-index"] = None
        if access.sorts is not None:
            self._rules["use-index-for-sort"] = None
        self._rules["remove-unnecessary-calculations-2"] = None
        prefetch: Shown = {"isAsyncPrefetchEnabled": True} if self._prefetches() else {}
        more = prefetch | {"outVariable": self._variable(clause.variable)} | SCAN
        more |= {"collection": access.collection.name} | PLACE | {"strategy": "document"}
        more |= {"needsGatherNodeSort": access.sorts is not None} | COVERS
        more |= {"indexes": [index_shown(access.index)], "condition": self._condition(access)}
        more |= {"allCoveredByOneIndex": False, "sorted": True, "ascending": not access.descending}
        self._add("IndexNode", number, self._items * cost, self._items * items, more | TAIL)

    def _condition(self, access: Access) -> Shown:
        if not access.conditions:
            return {}
        parts = [self._view().expression(self._bound(one.node)) for one in access.conditions if not _expands(one.path)]
        every = {"type": "n-ary and", "typeID": 62, "subNodes": parts}
        return {"type": "n-ary or", "typeID": 63, "subNodes": [every]}

    def _bound(self, node: nodes.Expr) -> nodes.Expr:
        """The comparison with what it compares to in place of bind parameters and constant expressions."""
        if isinstance(node, nodes.Binary):
            parts = []
            for one in (node.left, node.right):
                constant = not isinstance(one, nodes.Literal) and not free(one)
                parts.append(nodes.Literal(self._executor.expressions.constant(one)) if constant else one)
            return nodes.Binary(node.operator, parts[0], parts[1])
        return node

    def _filter(self, condition: nodes.Expr) -> None:
        left = [one for one in conjuncts(condition) if id(one) not in self._executor.covered]
        if not left:
            if not isinstance(condition, nodes.Ref):
                self._temporary()
            return
        joined = left[0]
        for one in left[1:]:
            joined = nodes.Binary("AND", joined, one)
        name = self._temporary() if not isinstance(joined, nodes.Ref) else joined.name
        if not isinstance(joined, nodes.Ref):
            shown = {"type": "expression"} if not _showable(joined) else self._view().expression(self._bound(joined))
            more = {"expression": shown, "outVariable": self._variable(name), "canThrow": False}
            self._add("CalculationNode", self._number(), self._items, self._items, more | {"expressionType": "simple"})
        self._add("FilterNode", self._number(), self._items, self._items, {"inVariable": self._variable(name)})

    def _sort(self, clause: nodes.Sort, criteria: tuple[Any, ...]) -> None:
        if id(clause) in self._executor.sorted_already:
            return
        elements = [{"inVariable": self._variable(self._calculate(one)), "ascending": up} for one, up in criteria]
        cost = self._items * math.log2(self._items) if self._items > 1 else self._items
        self._add("SortNode", self._number(), cost, self._items, {"elements": elements, "stable": False})


def _expands(path: str) -> bool:
    return "[*]" in path


def _showable(node: Any) -> bool:
    if isinstance(node, nodes.Expansion | nodes.Quantified | nodes.Subquery):
        return False
    if isinstance(node, tuple):
        return all(_showable(one) for one in node)
    if hasattr(node, "__dataclass_fields__"):
        return all(_showable(getattr(node, name)) for name in node.__dataclass_fields__)
    return True


def _whole(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value
