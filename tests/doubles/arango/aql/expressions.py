"""Expressions of AQL to Python functions of the variables in scope. Clauses are in execute.py, functions beside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from tests.doubles.arango.aql import nodes
from tests.doubles.arango.aql.context import Context, Env
from tests.doubles.arango.aql.functions import FUNCTIONS
from tests.doubles.arango.aql.unspoken import UNSPOKEN
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.indexes import Row
from tests.doubles.arango.values import (
    Value,
    arithmetic,
    contains,
    equal,
    less,
    less_equal,
    number,
    to_number,
    to_string,
    truth,
)

Eval = Callable[[Env], Value]
Test = Callable[[Value, Value], bool]
RunSubquery = Callable[[nodes.Query, frozenset[str]], Callable[[Env], list[Value]]]


@lru_cache(maxsize=1000)
def like_pattern(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """The regular expression of a LIKE pattern: `%` any, `_` one, backslash makes them plain."""
    parts = []
    place = 0
    while place < len(pattern):
        char = pattern[place]
        if char == "\\" and place + 1 < len(pattern) and pattern[place + 1] in "%_\\":
            place += 1
            parts.append(re.escape(pattern[place]))
        else:
            parts.append({"%": ".*", "_": "."}.get(char, re.escape(char)))
        place += 1
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def like(text: Value, pattern: Value) -> bool:
    return like_pattern(to_string(pattern)).fullmatch(to_string(text)) is not None


def matches(text: Value, pattern: Value) -> bool:
    try:
        return re.search(to_string(pattern), to_string(text)) is not None
    except re.error:
        raise ArangoError(1543, "AQL: invalid regex value (while executing)") from None


TESTS: dict[str, Test] = {
    "==": equal,
    "!=": lambda a, b: not equal(a, b),
    "<": less,
    "<=": less_equal,
    ">": lambda a, b: less(b, a),
    ">=": lambda a, b: less_equal(b, a),
    "IN": lambda a, b: contains(b, a),
    "NOT IN": lambda a, b: not contains(b, a),
    "LIKE": like,
    "NOT LIKE": lambda a, b: not like(a, b),
    "=~": matches,
    "!~": lambda a, b: not matches(a, b),
}


def free(node: Any) -> frozenset[str]:
    """The names of variables that an expression may look at (bound ones of its subqueries included: a superset)."""
    if isinstance(node, nodes.Ref):
        return frozenset((node.name,))
    if isinstance(node, tuple):
        return frozenset().union(*(free(one) for one in node))
    if hasattr(node, "__dataclass_fields__"):
        return frozenset().union(*(free(getattr(node, name)) for name in node.__dataclass_fields__))
    return frozenset()


class Expressions:
    """Compiles expressions of one query; `subquery` runs what stands in parentheses."""

    def __init__(self, context: Context, subquery: RunSubquery) -> None:
        self.context = context
        self._subquery = subquery

    def compile(self, node: nodes.Expr, scope: frozenset[str]) -> Eval:  # noqa: C901, PLR0911, PLR0912 - one case a kind
        match node:
            case nodes.Literal(value):
                return lambda _env: value
            case nodes.Bind(name):
                bound = self.context.bind(name)
                return lambda _env: bound
            case nodes.BindCollection(name):
                raise self._as_operand(self.context.reading(self.context.bind_name(name)).name)
            case nodes.Ref(name):
                if name not in scope:
                    raise self._as_operand(self.context.reading(name).name)
                return lambda env: env[name]
            case nodes.Attribute():
                return self._attribute(node, scope)
            case nodes.Subscript(target, index):
                return self._subscript(self.compile(target, scope), self.compile(index, scope))
            case nodes.Expansion():
                return self._expansion(node, scope)
            case nodes.Array(items):
                parts = [self.compile(one, scope) for one in items]
                return lambda env: [one(env) for one in parts]
            case nodes.Object(items):
                return self._object(items, scope)
            case nodes.Unary(operator, operand):
                return self._unary(operator, self.compile(operand, scope))
            case nodes.Binary(operator, left, right):
                return self._binary(operator, self.compile(left, scope), self.compile(right, scope))
            case nodes.Quantified():
                return self._quantified(node, scope)
            case nodes.Ternary(condition, yes, no):
                test, otherwise = self.compile(condition, scope), self.compile(no, scope)
                if yes is None:
                    return lambda env: found if truth(found := test(env)) else otherwise(env)
                then = self.compile(yes, scope)
                return lambda env: then(env) if truth(test(env)) else otherwise(env)
            case nodes.Call(name, arguments):
                return self._call(name, arguments, scope)
            case nodes.Subquery(query):
                return self._subquery(query, scope)

    def constant(self, node: nodes.Expr | None) -> Value:
        """The value of an expression that looks at no variable. Raises 1575 for others."""
        if node is None:
            return None
        if free(node):
            raise ArangoError(1575, "AQL: query options must be readable at query compile time (while parsing)")
        return self.compile(node, frozenset())({})

    @staticmethod
    def _as_operand(name: str) -> ArangoError:
        return ArangoError(1568, f"AQL: collection '{name}' used as expression operand (while parsing)")

    def _attribute(self, node: nodes.Attribute, scope: frozenset[str]) -> Eval:
        target = self.compile(node.target, scope)
        name: Any = node.name
        if isinstance(name, nodes.Bind):
            name = self.context.bind(name.name)
            if isinstance(name, list) and name and all(isinstance(one, str) for one in name):
                for one in name[:-1]:
                    target = self._get(target, one)
                name = name[-1]
            if not isinstance(name, str):
                bad = node.name.name if isinstance(node.name, nodes.Bind) else ""
                raise ArangoError(1553, f"AQL: bind parameter '{bad}' has an invalid value or type (while parsing)")
        return self._get(target, name)

    @staticmethod
    def _get(target: Eval, name: str) -> Eval:
        def get(env: Env) -> Value:
            value = target(env)
            return value.get(name) if isinstance(value, dict) else None

        return get

    @staticmethod
    def _subscript(target: Eval, index: Eval) -> Eval:
        def get(env: Env) -> Value:
            value, place = target(env), index(env)
            if isinstance(value, dict):
                return value.get(to_string(place))
            if isinstance(value, list) and not isinstance(place, dict | list):
                number = int(to_number(place))
                return value[number] if -len(value) <= number < len(value) else None
            return None

        return get

    def _expansion(self, node: nodes.Expansion, scope: frozenset[str]) -> Eval:
        target = self.compile(node.target, scope)
        inner = scope | {"CURRENT", nodes.CURRENT_MEMBER}
        test = self.compile(node.filter, inner) if node.filter is not None else None
        bounds = [self.compile(one, scope) for one in node.limit] if node.limit is not None else None
        project = self.compile(node.projection, inner) if node.projection is not None else None
        follows = self.compile(node.follows, inner)

        def expand(env: Env) -> Value:
            found = target(env)
            members = _flattened(found, node.levels - 1) if isinstance(found, list) else []
            made = []
            inside = dict(env)
            for one in members:
                inside["CURRENT"] = one
                if test is None or truth(test(inside)):
                    made.append(one)
            if bounds is not None:
                offset, count = (int(to_number(one(env))) for one in bounds)
                made = made[offset : offset + count]
            shown = []
            for one in made:
                inside["CURRENT"] = inside[nodes.CURRENT_MEMBER] = one
                if project is not None:
                    inside[nodes.CURRENT_MEMBER] = project(inside)
                shown.append(follows(inside))
            return shown

        return expand

    def _object(self, items: tuple[tuple[str | nodes.Expr, nodes.Expr], ...], scope: frozenset[str]) -> Eval:
        parts: list[tuple[Eval, Eval]] = []
        for name, value in items:
            if isinstance(name, str):
                parts.append((lambda _env, name=name: name, self.compile(value, scope)))  # type: ignore[misc]
            else:
                parts.append((self.compile(name, scope), self.compile(value, scope)))
        return lambda env: {to_string(name(env)): value(env) for name, value in parts}

    @staticmethod
    def _unary(operator: str, operand: Eval) -> Eval:
        match operator:
            case "NOT":
                return lambda env: not truth(operand(env))
            case "-":
                return lambda env: number(-to_number(operand(env)))
            case _:
                return lambda env: to_number(operand(env))

    def _binary(self, operator: str, left: Eval, right: Eval) -> Eval:
        if operator in TESTS:
            test = TESTS[operator]
            return lambda env: test(left(env), right(env))
        match operator:
            case "AND":
                return lambda env: right(env) if truth(found := left(env)) else found
            case "OR":
                return lambda env: found if truth(found := left(env)) else right(env)
            case "..":
                return lambda env: list(_range(left(env), right(env)))
            case "+" | "-" | "*" | "/" | "%":
                warn = self.context.warn
                return lambda env: arithmetic(operator, left(env), right(env), warn)
        raise Unsupported(f"AQL operator {operator}")

    def _quantified(self, node: nodes.Quantified, scope: frozenset[str]) -> Eval:
        left, right = self.compile(node.left, scope), self.compile(node.right, scope)
        test, quantifier = TESTS[node.operator], node.quantifier

        def check(env: Env) -> bool:
            members, other = left(env), right(env)
            if not isinstance(members, list):
                return False
            found = (test(one, other) for one in members)
            return all(found) if quantifier == "ALL" else any(found) is (quantifier == "ANY")

        return check

    # -- calls -------------------------------------------------------------------------------------------------------

    def _call(self, name: str, arguments: tuple[nodes.Expr, ...], scope: frozenset[str]) -> Eval:
        if name == "DOCUMENT":
            return self._document(arguments, scope)
        if name in ("LENGTH", "COUNT") and len(arguments) == 1:
            collection = self.collection_of(arguments[0], scope)
            if collection is not None:
                reading = self.context.reading(collection)
                return lambda _env: self.context.trx.view(reading).count()
        if name not in FUNCTIONS:
            if "::" in name or name in UNSPOKEN:
                raise Unsupported(f"AQL function {name}()")
            raise ArangoError(1540, f"usage of unknown function '{name}()'")
        least, most, function = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            told = f"expected number of arguments: minimum: {least}, maximum: {most}"
            raise ArangoError(1541, f"invalid number of arguments for function '{name}()', {told}")
        parts = [self.compile(one, scope) for one in arguments]
        context = self.context
        return lambda env: function(context, *(one(env) for one in parts))

    def collection_of(self, node: nodes.Expr, scope: frozenset[str]) -> str | None:
        """The name of the collection that an operand is, where it is one."""
        if isinstance(node, nodes.BindCollection):
            return self.context.bind_name(node.name)
        return node.name if isinstance(node, nodes.Ref) and node.name not in scope else None

    def _document(self, arguments: tuple[nodes.Expr, ...], scope: frozenset[str]) -> Eval:
        if self.context.modified:
            raise ArangoError(1579, "AQL: access after data-modification by DOCUMENT() (while instantiating plan)")
        named = self.collection_of(arguments[0], scope) if len(arguments) == 2 else None
        if named is not None:
            self.context.reading(named)
            sought = self.compile(arguments[1], scope)
            return lambda env: self._fetch(named, sought(env))
        parts = [self.compile(one, scope) for one in arguments]
        if len(parts) == 2:
            return lambda env: self._fetch(to_string(parts[0](env)), parts[1](env))
        if len(parts) != 1:
            raise ArangoError(1541, "invalid number of arguments for function 'DOCUMENT()'")
        return lambda env: self._fetch(None, parts[0](env))

    def _fetch(self, collection: str | None, sought: Value) -> Value:
        if isinstance(sought, list):
            return [one for one in (self._fetch(collection, each) for each in sought) if one is not None]
        if not isinstance(sought, str):
            return None
        name, slash, key = sought.partition("/")
        if not slash:
            name, key = collection or "", sought
        elif collection is not None and collection != name:
            return None
        if name not in self.context.db.collections:
            if collection is None and not slash:
                return None
            raise ArangoError(1203, f"collection or view not found: {name}")
        row = self.context.trx.view(self.context.db.collections[name]).get(key)
        self.context.stats.document_lookups += row is not None
        return None if row is None else row.doc


def _range(low: Value, high: Value) -> range:
    first, last = int(to_number(low)), int(to_number(high))
    return range(first, last + 1) if first <= last else range(first, last - 1, -1)


def _flattened(values: list[Value], levels: int) -> Iterator[Value]:
    for one in values:
        if levels > 0 and isinstance(one, list):
            yield from _flattened(one, levels - 1)
        else:
            yield one


def documents(rows: Iterator[Row]) -> Iterator[Value]:
    return (row.doc for row in rows)
