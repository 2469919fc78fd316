"""COLLECT: groups, aggregates, INTO, WITH COUNT. Groups come out in order, as ArangoDB gives them by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.doubles.arango.aql import nodes
from tests.doubles.arango.aql.context import Context, Env
from tests.doubles.arango.aql.expressions import Eval, Expressions
from tests.doubles.arango.aql.functions import FUNCTIONS, distinct
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.values import Value, key, less

Stream = Iterator[Env]
Step = Callable[[Stream], Stream]
Aggregate = Callable[[list[Value]], Value]


def _extreme(values: list[Value], *, greatest: bool) -> Value:
    found = None
    for one in values:
        if one is not None and (found is None or (less(found, one) if greatest else less(one, found))):
            found = one
    return found


def _distinct_in_order(values: list[Value]) -> list[Value]:
    return sorted(distinct(values), key=key)


AGGREGATES: dict[str, Aggregate] = {
    **dict.fromkeys(("LENGTH", "COUNT"), len),
    "MIN": lambda values: _extreme(values, greatest=False),
    "MAX": lambda values: _extreme(values, greatest=True),
    "UNIQUE": distinct,
    "SORTED_UNIQUE": _distinct_in_order,
    **dict.fromkeys(("COUNT_DISTINCT", "COUNT_UNIQUE"), lambda values: len(distinct(values))),
    "PUSH": list,
}


class Collecting:
    def __init__(self, context: Context, expressions: Expressions) -> None:
        self._context = context
        self._expressions = expressions

    def compile(self, clause: nodes.Collect, scope: frozenset[str], local: list[str]) -> tuple[Step, frozenset[str]]:
        """The step, and the variables that are there after it; those of `local` are not."""
        self._check_options(clause)
        groups = [(name, self._expressions.compile(value, scope)) for name, value in clause.groups]
        aggregates = [(name, *self._aggregate(value, scope)) for name, value in clause.aggregates]
        project = self._projection(clause, scope, local)
        fresh = [name for name, *_ in groups] + [name for name, *_ in aggregates]
        fresh += [name for name in (clause.into, clause.count_into) if name]
        if len(set(fresh)) < len(fresh):
            raise ArangoError(1511, "AQL: a variable of COLLECT is assigned multiple times (while parsing)")
        outer = scope - frozenset(local)

        def step(stream: Stream) -> Stream:
            found: dict[Any, tuple[list[Value], list[Env]]] = {}
            base: Env = {}
            for env in stream:
                base = base or {name: env[name] for name in outer if name in env}
                values = [value(env) for _, value in groups]
                found.setdefault(tuple(key(one) for one in values), (values, []))[1].append(env)
            if not groups and not found:
                found[()] = ([], [])
            for mark in sorted(found):
                values, rows = found[mark]
                made = base | dict(zip((name for name, _ in groups), values, strict=True))
                for name, function, argument in aggregates:
                    made[name] = function([argument(env) for env in rows])
                if clause.count_into:
                    made[clause.count_into] = len(rows)
                if clause.into and project is not None:
                    made[clause.into] = [project(env) for env in rows]
                yield made

        return step, frozenset(fresh)

    def _check_options(self, clause: nodes.Collect) -> None:
        for name, _ in clause.options.items if clause.options is not None else ():
            if name not in ("method", "disableIndex"):
                raise Unsupported(f"AQL option {name} of COLLECT")

    def _projection(self, clause: nodes.Collect, scope: frozenset[str], local: list[str]) -> Eval | None:
        if clause.into is None:
            return None
        if clause.projection is not None:
            return self._expressions.compile(clause.projection, scope)
        kept = list(clause.keep) if clause.keep is not None else local
        for name in kept:
            if name not in scope:
                raise ArangoError(1512, f"AQL: unknown variable '{name}' (while parsing)")
        return lambda env: {name: env[name] for name in kept}

    def _aggregate(self, node: nodes.Expr, scope: frozenset[str]) -> tuple[Aggregate, Eval]:
        if not isinstance(node, nodes.Call):
            raise ArangoError(1574, "AQL: aggregate expression must be a function call (while parsing)", http=500)
        name = node.name
        argument = self._expressions.compile(node.arguments[0], scope) if node.arguments else (lambda _env: None)
        if name in AGGREGATES:
            return AGGREGATES[name], argument
        if name in ("SUM", "AVERAGE", "AVG"):
            function, context = FUNCTIONS[name][2], self._context
            return (lambda values: function(context, values)), argument
        if name in FUNCTIONS:
            raise ArangoError(1574, "AQL: unknown aggregate function used (while parsing)", http=500)
        raise Unsupported(f"AQL aggregate {name}()")
