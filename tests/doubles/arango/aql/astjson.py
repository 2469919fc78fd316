"""The syntax tree as ArangoDB shows it: `/_api/query` without numbers of types, `/_api/explain` with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.doubles.arango.aql import nodes
from tests.doubles.arango.errors import Unsupported

TYPE_IDS = {
    "compare ==": 25,
    "compare !=": 26,
    "compare <": 27,
    "compare <=": 28,
    "compare >": 29,
    "compare >=": 30,
    "compare in": 31,
    "compare not in": 32,
    "logical and": 18,
    "logical or": 19,
    "unary not": 17,
    "unary plus": 15,
    "unary minus": 16,
    "plus": 20,
    "minus": 21,
    "times": 22,
    "division": 23,
    "modulus": 24,
    "ternary": 33,
    "attribute access": 35,
    "indexed access": 37,
    "expansion": 38,
    "iterator": 39,
    "value": 40,
    "array": 41,
    "object": 42,
    "object element": 43,
    "collection": 44,
    "reference": 45,
    "parameter": 46,
    "function call": 47,
    "range": 49,
    "no-op": 50,
    "n-ary and": 62,
    "n-ary or": 63,
    "variable": 13,
    "calculated object element": 53,
    "bound attribute access": 36,
    "subquery": 34,
}
OPERATORS = {
    **{one: f"compare {one}" for one in ("==", "!=", "<", "<=", ">", ">=")},
    "IN": "compare in",
    "NOT IN": "compare not in",
    "AND": "logical and",
    "OR": "logical or",
    "+": "plus",
    "-": "minus",
    "*": "times",
    "/": "division",
    "%": "modulus",
    "..": "range",
}
UNARY = {"NOT": "unary not", "-": "unary minus", "+": "unary plus"}
Shown = dict[str, Any]


class TreeView:
    """Shows nodes. `number` gives the id of a variable; `typed` adds the numbers of types."""

    def __init__(self, number: Callable[[str], int | None], *, typed: bool) -> None:
        self._number = number
        self._typed = typed

    def _node(self, kind: str, *children: Shown, **more: Any) -> Shown:
        made: Shown = {"type": kind}
        if self._typed:
            made["typeID"] = TYPE_IDS.get(kind, -1)
        made |= more
        if children:
            made["subNodes"] = list(children)
        return made

    def variable(self, name: str) -> Shown:
        return self._node("variable", name=name, id=self._number(name))

    def expression(self, node: nodes.Expr) -> Shown:  # noqa: C901, PLR0911, PLR0912 - one case a kind of node
        match node:
            case nodes.Literal(value):
                return self._value(value)
            case nodes.Ref(name):
                number = self._number(name)
                if number is None:
                    return self._node("collection", name=name)
                return self._node("reference", name=name, id=number, subqueryReference=False)
            case nodes.Bind(name):
                return self._node("parameter", name=name)
            case nodes.BindCollection(name):
                return self._node("datasource parameter", name=name)
            case nodes.Attribute(target, str(name)):
                return self._node("attribute access", self.expression(target), name=name)
            case nodes.Attribute(target, nodes.Bind(name)):
                parameter = self._node("parameter", name=name)
                return self._node("bound attribute access", self.expression(target), parameter)
            case nodes.Subscript(target, index):
                return self._node("indexed access", self.expression(target), self.expression(index))
            case nodes.Array(items):
                return self._node("array", *(self.expression(one) for one in items))
            case nodes.Object(items):
                return self._node("object", *(self._pair(name, value) for name, value in items))
            case nodes.Unary(operator, operand):
                return self._node(UNARY[operator], self.expression(operand))
            case nodes.Binary(operator, left, right) if operator in OPERATORS:
                more = {"excludesNull": False} if self._typed and operator in ("==", "!=", "<", "<=", ">", ">=") else {}
                return self._node(OPERATORS[operator], self.expression(left), self.expression(right), **more)
            case nodes.Binary(operator, left, right):
                name = {"LIKE": "LIKE", "NOT LIKE": "NOT_LIKE"}.get(operator, "REGEX_TEST")
                return self._call(name, (left, right))
            case nodes.Ternary(condition, yes, no):
                parts = (condition, yes, no) if yes is not None else (condition, no)
                return self._node("ternary", *(self.expression(one) for one in parts))
            case nodes.Call(name, arguments):
                return self._call(name, arguments)
            case nodes.Subquery(query):
                return self._node("subquery", *(self.clause(one) for one in query.clauses))
            case _:
                raise Unsupported(f"showing {type(node).__name__} of AQL as JSON")

    def _call(self, name: str, arguments: tuple[nodes.Expr, ...]) -> Shown:
        return self._node("function call", self.expression(nodes.Array(arguments)), name=name)

    def _pair(self, name: str | nodes.Expr, value: nodes.Expr) -> Shown:
        if isinstance(name, str):
            return self._node("object element", self.expression(value), name=name)
        return self._node("calculated object element", self.expression(name), self.expression(value))

    def _value(self, value: Any) -> Shown:
        kinds = {type(None): 0, bool: 1, int: 2, float: 3, str: 4}
        if type(value) not in kinds:
            return self._node("array" if isinstance(value, list) else "object")
        return self._node("value", value=value, **({"vTypeID": kinds[type(value)]} if self._typed else {}))

    def clause(self, clause: nodes.Clause) -> Shown:  # noqa: PLR0911 - one case a kind of clause
        match clause:
            case nodes.For(variable, source, _):
                return self._node("for", self.variable(variable), self.expression(source), self._node("no-op"))
            case nodes.Filter(condition):
                return self._node("filter", self.expression(condition))
            case nodes.Let(variable, value):
                return self._node("let", self.variable(variable), self.expression(value))
            case nodes.Sort(criteria):
                parts = [
                    self._node("sort element", self.expression(one), self._value(ascending))
                    for one, ascending in criteria
                ]
                return self._node("sort", self._node("array", *parts))
            case nodes.Limit(offset, count):
                return self._node("limit", self.expression(offset), self.expression(count))
            case nodes.Return(value, distinct=False):
                return self._node("return", self.expression(value))
            case nodes.Return(value, distinct=True):
                return self._node("return", self._node("distinct", self.expression(value)))
            case nodes.Modify(kind, document, patch, collection, _):
                parts = [self.expression(document)] + ([self.expression(patch)] if patch is not None else [])
                return self._node(kind.lower(), self._node("no-op"), self.expression(collection), *parts)
            case _:
                raise Unsupported(f"showing {type(clause).__name__} of AQL as JSON")


def bound(node: Any) -> list[str]:
    """The names of bind parameters of a tree, in the order in which they stand."""
    if isinstance(node, nodes.Bind | nodes.BindCollection):
        return [node.name]
    if isinstance(node, tuple):
        return [name for one in node for name in bound(one)]
    if hasattr(node, "__dataclass_fields__"):
        return [name for field in node.__dataclass_fields__ for name in bound(getattr(node, field))]
    return []


def variables(query: nodes.Query) -> list[str]:
    """The names of the variables that clauses make, in the order in which they are made."""
    made: list[str] = []
    for clause in query.clauses:
        match clause:
            case nodes.For(variable, _, _) | nodes.Let(variable, _):
                made.append(variable)
            case nodes.Collect():
                made += [name for name, _ in (*clause.groups, *clause.aggregates)]
                made += [name for name in (clause.into, clause.count_into) if name]
            case nodes.Modify() | nodes.Upsert():
                made += [one for one in ("OLD", "NEW") if one not in made]
            case _:
                pass
    return made


def collections(query: nodes.Query) -> list[str]:
    """The names of the collections that a query names itself."""
    known = set(variables(query))
    found: dict[str, None] = {}
    for clause in query.clauses:
        for source in (getattr(clause, "source", None), getattr(clause, "collection", None)):
            if isinstance(source, nodes.Ref) and source.name not in known:
                found[source.name] = None
    return list(found)


def parsed(query: nodes.Query) -> list[Shown]:
    """`ast` of `/_api/query`."""
    names = variables(query)
    view = TreeView(lambda name: names.index(name) if name in names else None, typed=False)
    return [{"type": "root", "subNodes": [view.clause(one) for one in query.clauses]}]
