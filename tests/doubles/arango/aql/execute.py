"""Runs a query: each clause turns a stream of variables into another one. Reads and writes within one transaction."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tests.doubles.arango.aql import nodes
from tests.doubles.arango.aql.collect import Collecting
from tests.doubles.arango.aql.context import Context, Env
from tests.doubles.arango.aql.expressions import Eval, Expressions
from tests.doubles.arango.aql.modify import Modifying
from tests.doubles.arango.aql.planner import Access, Planner, Scope, conjuncts
from tests.doubles.arango.errors import ArangoError
from tests.doubles.arango.values import Value, key, to_number, truth

Stream = Iterator[Env]
Step = Callable[[Stream], Stream]


@dataclass(slots=True)
class Compiled:
    """A query ready to run."""

    steps: list[Step]
    result: Eval | None
    distinct: bool

    def run(self, env: Env) -> Iterator[Value]:
        stream: Stream = iter((env,))
        for step in self.steps:
            stream = step(stream)
        if self.result is None:
            for _ in stream:
                pass
            return
        seen: set[Any] = set()
        for one in stream:
            found = self.result(one)
            if self.distinct:
                mark = key(found)
                if mark in seen:
                    continue
                seen.add(mark)
            yield found


class Executor:
    """Compiles and runs one query."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.expressions = Expressions(context, self._subquery)
        self.planner = Planner(context, self.expressions)
        self.modifying = Modifying(context, self.expressions, self.planner)
        self.collecting = Collecting(context, self.expressions)
        # How each FOR over a collection finds its documents, and what that makes unnecessary; by identity of nodes.
        self.accesses: dict[int, Access] = {}
        self.covered: set[int] = set()
        self.sorted_already: set[int] = set()

    def compile(  # noqa: C901 - one case a kind of clause
        self, query: nodes.Query, scope: Scope = frozenset(), *, top: bool = True
    ) -> Compiled:
        made = Compiled([], None, distinct=False)
        clauses = query.clauses
        last_limit = max((at for at, one in enumerate(clauses) if isinstance(one, nodes.Limit)), default=-1)
        outermost = True
        local: list[str] = []
        for place, clause in enumerate(clauses):
            rest = clauses[place + 1 :]
            match clause:
                case nodes.For(variable, source, _):
                    _fresh(variable, scope)
                    step = self._for(clause, source, rest, scope, outermost=outermost)
                    made.steps.append(step)
                    scope |= {variable}
                    local.append(variable)
                    outermost = False
                case nodes.Filter(condition):
                    made.steps.append(self._filter(condition, scope))
                case nodes.Let(variable, value):
                    _fresh(variable, scope)
                    made.steps.append(self._let(variable, self.expressions.compile(value, scope)))
                    scope |= {variable}
                    local.append(variable)
                case nodes.Sort():
                    if id(clause) not in self.sorted_already:
                        made.steps.append(self._sort(clause, scope))
                case nodes.Limit(offset, count):
                    counts = top and place == last_limit and self.context.full_count
                    made.steps.append(self._limit(self._bound(offset), self._bound(count), counts=counts))
                case nodes.Collect():
                    step, fresh = self.collecting.compile(clause, scope, local)
                    made.steps.append(step)
                    scope = (scope - frozenset(local)) | fresh
                    local = sorted(fresh)
                    outermost = False
                case nodes.Modify():
                    made.steps.append(self.modifying.modify(clause, scope))
                    scope |= {"OLD", "NEW"}
                case nodes.Upsert():
                    made.steps.append(self.modifying.upsert(clause, scope))
                    scope |= {"OLD", "NEW"}
                case nodes.Return(value, distinct):
                    made.result, made.distinct = self.expressions.compile(value, scope), distinct
        return made

    def check_binds(self) -> None:
        for name in self.context.binds:
            if name not in self.context.used_binds:
                raise ArangoError(1552, f"AQL: bind parameter '{name}' was not declared in the query (while parsing)")

    def _subquery(self, query: nodes.Query, scope: Scope) -> Callable[[Env], list[Value]]:
        compiled = self.compile(query, scope, top=False)
        return lambda env: list(compiled.run(env))

    def _for(
        self,
        clause: nodes.For,
        source: nodes.Expr,
        rest: tuple[nodes.Clause, ...],
        scope: Scope,
        *,
        outermost: bool,
    ) -> Step:
        variable = clause.variable
        name = self.expressions.collection_of(source, scope)
        if name is None:
            values = self._values(source, scope)
            return lambda stream: ({**env, variable: one} for env in stream for one in values(env))
        collection = self.context.reading(name)
        access = self.planner.choose(clause, collection, rest, scope, outermost=outermost)
        self.accesses[id(clause)] = access
        # Entries of an array index say null of what is no array, too: there the condition is looked at again.
        self.covered |= {id(one.node) for one in access.conditions if "[*]" not in one.path}
        if access.sorts is not None:
            self.sorted_already.add(next(id(one) for one in rest if isinstance(one, nodes.Sort)))
        context = self.context
        return lambda stream: ({**env, variable: row.doc} for env in stream for row in access.rows(context, env))

    def _values(self, source: nodes.Expr, scope: Scope) -> Callable[[Env], Iterator[Value]]:
        if isinstance(source, nodes.Binary) and source.operator == "..":
            low, high = (self.expressions.compile(one, scope) for one in (source.left, source.right))

            def count(env: Env) -> Iterator[Value]:
                first, last = int(to_number(low(env))), int(to_number(high(env)))
                return iter(range(first, last + 1) if first <= last else range(first, last - 1, -1))

            return count
        values = self.expressions.compile(source, scope)

        def members(env: Env) -> Iterator[Value]:
            found = values(env)
            if not isinstance(found, list):
                self.context.warn(1563, "collection or array expected as operand to FOR loop")
                return iter(())
            return iter(found)

        return members

    def _filter(self, condition: nodes.Expr, scope: Scope) -> Step:
        left = [one for one in conjuncts(condition) if id(one) not in self.covered]
        tests = [self.expressions.compile(one, scope) for one in left]
        stats = self.context.stats

        def step(stream: Stream) -> Stream:
            for env in stream:
                for test in tests:
                    if not truth(test(env)):
                        stats.filtered += 1
                        break
                else:
                    yield env

        return step

    @staticmethod
    def _let(variable: str, value: Eval) -> Step:
        return lambda stream: ({**env, variable: value(env)} for env in stream)

    def _sort(self, clause: nodes.Sort, scope: Scope) -> Step:
        criteria = [(self.expressions.compile(one, scope), bool(ascending)) for one, ascending in clause.criteria]

        def step(stream: Stream) -> Stream:
            rows = list(stream)
            for value, ascending in reversed(criteria):
                rows.sort(key=lambda env, value=value: key(value(env)), reverse=not ascending)  # type: ignore[misc]
            return iter(rows)

        return step

    def _bound(self, node: nodes.Expr) -> int:
        """A bound of LIMIT; null is no bound, as the driver sends it for all."""
        found = self.expressions.constant(node)
        if found is None:
            return sys.maxsize // 2
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise ArangoError(1504, "AQL: number out of range (while optimizing plan)")
        return found

    def _limit(self, offset: int, count: int, *, counts: bool) -> Step:
        stats = self.context.stats

        def counting(stream: Stream) -> Stream:
            total = 0
            for place, env in enumerate(stream):
                total = place + 1
                if offset <= place < offset + count:
                    yield env
            stats.full_count = total

        return counting if counts else lambda stream: islice(stream, offset, offset + count)


def _fresh(variable: str, scope: Scope) -> None:
    if variable in scope:
        raise ArangoError(1511, f"AQL: variable '{variable}' is assigned multiple times (while parsing)")
