"""INSERT, UPDATE, REPLACE, REMOVE and UPSERT within a query."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.doubles.arango import documents
from tests.doubles.arango.aql import nodes
from tests.doubles.arango.aql.context import Context, Env
from tests.doubles.arango.aql.expressions import Eval, Expressions
from tests.doubles.arango.aql.planner import Planner, Scope
from tests.doubles.arango.errors import ArangoError, Unsupported, in_query
from tests.doubles.arango.store import Collection
from tests.doubles.arango.values import Value, truth

Stream = Iterator[Env]
Step = Callable[[Stream], Stream]
_FOUND = "$found"


@dataclass(frozen=True, slots=True)
class How:
    options: documents.Options
    ignore_errors: bool = False


class Modifying:
    def __init__(self, context: Context, expressions: Expressions, planner: Planner) -> None:
        self._context = context
        self._expressions = expressions
        self._planner = planner

    def modify(self, clause: nodes.Modify, scope: Scope) -> Step:
        document = self._expressions.compile(clause.document, scope)
        patch = self._expressions.compile(clause.patch, scope) if clause.patch is not None else document
        collection, how = self._target(clause.collection), self._how(clause)
        act = self._action(clause.kind, collection, how, document, patch)
        return self._each(act, collection, how, f"{clause.kind.capitalize()}Node")

    def _each(self, act: Callable[[Env], documents.Written], collection: Collection, how: How, node: str) -> Step:
        stats = self._context.stats

        def step(stream: Stream) -> Stream:
            made = []
            for env in stream:
                try:
                    written = act(env)
                except ArangoError as error:
                    if not how.ignore_errors:
                        raise self._failed(error, node) from None
                    stats.writes_ignored += 1
                    continue
                stats.writes_executed += 1
                made.append({**env, "OLD": _doc(written.old), "NEW": _doc(written.new)})
            return iter(made)

        return step

    def _failed(self, error: ArangoError, node: str) -> ArangoError:
        failed = in_query(error, f"node #{self._context.node_number}: {node}")
        if error.number == 1200:
            failed.http = 409  # a revision that does not match is a conflict here, and no failed precondition
        return failed

    def _action(
        self, kind: str, collection: Collection, how: How, document: Eval, patch: Eval
    ) -> Callable[[Env], documents.Written]:
        trx, options = self._context.trx, how.options

        def act(env: Env) -> documents.Written:
            value = document(env)
            if kind == "INSERT":
                written = documents.insert(trx, collection, value, options)
                return written if written.new is not None else documents.Written(written.old, None)
            key, rev = self._key(value, collection, options)
            if kind == "REMOVE":
                return documents.remove(trx, collection, key, rev)
            if kind == "UPDATE":
                return documents.update(trx, collection, key, patch(env), options, rev)
            return documents.replace(trx, collection, key, patch(env), options, rev)

        return act

    @staticmethod
    def _key(value: Value, collection: Collection, options: documents.Options) -> tuple[str, Any]:
        if isinstance(value, str):
            return value, None
        if not isinstance(value, dict):
            raise ArangoError(1227)
        handle = value.get("_key", value.get("_id"))
        if not isinstance(handle, str):
            raise ArangoError(
                1221 if handle is not None else 1226, None if handle is not None else "missing document key"
            )
        rev = None if options.ignore_revs else value.get("_rev")
        return documents.split_handle(handle, collection), rev

    def _target(self, node: nodes.Expr) -> Collection:
        name = self._expressions.collection_of(node, frozenset())
        if name is None:
            raise Unsupported(f"AQL: a data-modification in {node}")
        found = self._context.writing(name)
        self._context.modified.add(found.name)
        return found

    def _how(self, clause: nodes.Modify | nodes.Upsert) -> How:
        given: dict[str, Value] = {}
        for name, value in clause.options.items if clause.options is not None else ():
            given[name if isinstance(name, str) else ""] = self._expressions.constant(value)
        known = {
            *("waitForSync", "keepNull", "mergeObjects", "overwrite", "overwriteMode", "ignoreRevs", "ignoreErrors"),
            *("exclusive", "refillIndexCaches"),
        }
        for name in given:
            if name not in known:
                raise Unsupported(f"AQL option {name} of {clause.kind}")
        if truth(given.get("exclusive")):
            self._context.exclusive = True
        mode = given.get("overwriteMode") or ("replace" if truth(given.get("overwrite")) else "conflict")
        if mode not in ("conflict", "ignore", "replace", "update"):
            raise Unsupported(f"AQL option overwriteMode {mode!r}")
        options = documents.Options(
            overwrite_mode=mode,
            keep_null=truth(given.get("keepNull", True)),
            merge_objects=truth(given.get("mergeObjects", True)),
            ignore_revs=truth(given.get("ignoreRevs", True)),
        )
        return How(options, truth(given.get("ignoreErrors")))

    def upsert(self, clause: nodes.Upsert, scope: Scope) -> Step:
        """Look for one document, then change it or insert one. As on the server, nothing holds the two together."""
        insert = self._expressions.compile(clause.insert, scope)
        patch = self._expressions.compile(clause.patch, scope | {"OLD"})
        name = self._expressions.collection_of(clause.collection, frozenset())
        searched = self._context.reading(name or "")
        filters = tuple(nodes.Filter(one) for one in _conditions(clause.search, nodes.Ref(_FOUND)))
        loop = nodes.For(_FOUND, clause.collection, None)
        access = self._planner.choose(loop, searched, filters, scope, outermost=False)
        tests = [self._expressions.compile(one.condition, scope | {_FOUND}) for one in filters]
        collection, how = self._target(clause.collection), self._how(clause)
        trx, options, context = self._context.trx, how.options, self._context

        def act(env: Env) -> documents.Written:
            for row in access.rows(context, env):
                inside = {**env, _FOUND: row.doc, "OLD": row.doc}
                if all(truth(test(inside)) for test in tests):
                    change = documents.update if clause.kind == "UPDATE" else documents.replace
                    return change(trx, collection, row.key, patch(inside), options, None)
            return documents.insert(trx, collection, insert(env), options)

        return self._each(act, collection, how, "UpsertNode")


def _conditions(search: nodes.Expr, target: nodes.Expr) -> Iterator[nodes.Expr]:
    if not isinstance(search, nodes.Object):
        raise Unsupported("AQL UPSERT by something else than an object literal")
    for name, value in search.items:
        if not isinstance(name, str):
            raise Unsupported("AQL UPSERT by a computed attribute")
        path = nodes.Attribute(target, name)
        if isinstance(value, nodes.Object):
            yield from _conditions(value, path)
        else:
            yield nodes.Binary("==", path, value)


def _doc(row: Any) -> Value:
    return None if row is None else row.doc
