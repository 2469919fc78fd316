"""Endpoints: queries, their cursors, explain and parse."""

from __future__ import annotations

import time
from typing import Any

from tests.doubles.arango.aql import astjson
from tests.doubles.arango.aql.context import Context
from tests.doubles.arango.aql.execute import Compiled, Executor
from tests.doubles.arango.aql.explain import Explainer
from tests.doubles.arango.aql.parse import parse as parse_query
from tests.doubles.arango.call import Answer, Call, route
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.transactions import Transaction

# Options that change an answer or that must be obeyed; those in HARMLESS change only how fast or where it comes about.
OPTIONS = (
    "fullCount",
    "failOnWarning",
    "maxWarningCount",
    "allowRetry",
    "profile",
    "optimizer",
    "maxRuntime",
    "stream",
)
HARMLESS = (
    *("maxNumberOfPlans", "maxPlans", "cache", "fillBlockCache", "usePlanCache", "memoryLimit", "satelliteSyncWait"),
    *("intermediateCommitCount", "intermediateCommitSize", "maxTransactionSize", "maxDNFConditionMembers"),
    *("maxNodesPerCallstack", "spillOverThresholdMemoryUsage", "spillOverThresholdNumRows"),
)
TOP = ("query", "bindVars", "batchSize", "count", "ttl", "options")


def _asked(call: Call) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Text, bind parameters, options, body. Options stand in `options`, or beside it as the driver sends them."""
    body = call.object(*TOP, *OPTIONS, ignored=HARMLESS)
    options = {name: value for name, value in body.items() if name in OPTIONS} | (body.get("options") or {})
    for name in options:
        if name not in OPTIONS and name not in HARMLESS and name != "allPlans":
            raise Unsupported(f"option {name} of a query")
    query = body.get("query")
    for name in ("stream", "profile"):
        if options.get(name):
            raise Unsupported(f"option {name} of a query")
    if query is None or query == "":
        raise ArangoError(1502)
    if not isinstance(query, str):
        raise ArangoError(600, "expecting a string for <query>")
    binds = body.get("bindVars") or {}
    if not isinstance(binds, dict):
        raise ArangoError(1550, "expecting an object for <bindVars>", http=400)
    return query, binds, options, body


def _prepare(
    call: Call, trx: Transaction, query: str, binds: dict[str, Any], options: dict[str, Any]
) -> tuple[Executor, Compiled]:
    context = Context(
        call.db,
        trx,
        binds,
        now_ms=int(time.time() * 1000),
        full_count=bool(options.get("fullCount")),
        fail_on_warning=bool(options.get("failOnWarning")),
        max_warnings=options.get("maxWarningCount", 10),
    )
    executor = Executor(context)
    compiled = executor.compile(parse_query(query))
    executor.check_binds()
    for name in context.read:
        call.need_collection(name, "rw" if name in context.written else "ro")
        trx.check_declared(context.read[name], write=name in context.written)
    return executor, compiled


@route("POST", "/_api/cursor", headers=("x-arango-allow-dirty-read",))
async def create_cursor(call: Call) -> Answer:
    query, binds, options, body = _asked(call)
    size = body.get("batchSize", 1000)
    if not isinstance(size, int) or size < 1:
        raise ArangoError(10, "expecting a positive number for <batchSize>")
    # First only to learn which collections it writes to: they are locked before it begins.
    looked, _ = _prepare(call, call.server.transactions.single(call.db, call.user), query, binds, options)
    writes = list(looked.context.written.values())

    def run(trx: Transaction) -> tuple[list[Any], dict[str, Any]]:
        executor, compiled = _prepare(call, trx, query, binds, options)
        started = time.perf_counter()
        found = list(compiled.run({}))
        took = time.perf_counter() - started
        if 0 < float(options.get("maxRuntime") or 0) < took:
            raise ArangoError(1500, "query killed")
        stats = executor.context.stats.shown(took)
        return found, {"warnings": executor.context.warnings, "stats": stats}

    found, extra = await call.within(run, writes=writes, exclusive=looked.context.exclusive, again=False)
    return _first_batch(call, found, extra, size, body, options)


def _first_batch(
    call: Call, found: list[Any], extra: dict[str, Any], size: int, body: dict[str, Any], options: dict[str, Any]
) -> Answer:
    server = call.server
    shown: dict[str, Any] = {"cached": False, "extra": extra}
    if body.get("count"):
        shown["count"] = len(found)
    if len(found) <= size:
        return Answer(201, {"result": found, "hasMore": False, **shown, "error": False, "code": 201})
    number = str(server.store.tick())
    made = server.cursor(number, call, found[size:], size, shown, retry=bool(options.get("allowRetry")))
    server.forget_cursor(made, float(body.get("ttl") or server.settings.cursor_seconds))
    first = {"result": found[:size], "hasMore": True, "id": made.id, "nextBatchId": "2", **shown}
    return Answer(201, first | {"error": False, "code": 201})


@route("POST", "/_api/cursor/{id}")
@route("PUT", "/_api/cursor/{id}")
@route("POST", "/_api/cursor/{id}/{batch}")
async def next_batch(call: Call) -> Answer:
    cursor = call.server.cursors.get(call.names["id"])
    if cursor is None or cursor.user != call.user or cursor.database != call.database:
        raise ArangoError(1600)
    wanted = call.names.get("batch")
    if wanted is not None and cursor.last is not None and cursor.retry and wanted == cursor.last[0]:
        return Answer(200, cursor.last[1])
    if wanted is not None and wanted != str(cursor.batch + 1):
        raise ArangoError(1600)
    if not cursor.rest and cursor.batch > 1:
        raise ArangoError(1600)
    cursor.batch += 1
    part, cursor.rest = cursor.rest[: cursor.batch_size], cursor.rest[cursor.batch_size :]
    more = bool(cursor.rest)
    body: dict[str, Any] = {"result": part, "hasMore": more, "id": cursor.id, **cursor.shown}
    if more or cursor.retry:
        body["nextBatchId"] = str(cursor.batch + 1)
    body |= {"error": False, "code": 200}
    cursor.last = (str(cursor.batch), body)
    if not more and not cursor.retry:
        del call.server.cursors[cursor.id]
    return Answer(200, body)


@route("PUT", "/_api/cursor")
async def no_cursor_named(_call: Call) -> Answer:
    raise ArangoError(400, "expecting POST /_api/cursor/<cursor-id>")


@route("DELETE", "/_api/cursor/{id}")
async def close_cursor(call: Call) -> Answer:
    cursor = call.server.cursors.get(call.names["id"])
    if cursor is None or cursor.user != call.user:
        raise ArangoError(1600)
    del call.server.cursors[cursor.id]
    return Answer(202, {"id": cursor.id, "error": False, "code": 202})


@route("POST", "/_api/explain")
async def explain(call: Call) -> Answer:
    query, binds, options, _ = _asked(call)
    if options.get("optimizer"):
        raise Unsupported("rules of the optimizer")
    executor, _ = _prepare(call, call.server.transactions.single(call.db, call.user), query, binds, options)
    plan = Explainer(executor, parse_query(query)).plan()
    stats = {"rulesExecuted": 59, "rulesSkipped": 0, "plansCreated": 1, "rules": {}, "peakMemoryUsage": 0}
    body: dict[str, Any] = {"plans": [plan]} if options.get("allPlans") else {"plan": plan, "cacheable": True}
    body |= {"warnings": executor.context.warnings, "stats": stats | {"executionTime": 0.0001}}
    return Answer(200, body | {"error": False, "code": 200})


@route("POST", "/_api/query")
async def parse(call: Call) -> Answer:
    query = call.object("query").get("query")
    if not query:
        raise ArangoError(1502)
    tree = parse_query(query)
    shown = {"collections": astjson.collections(tree), "bindVars": list(dict.fromkeys(astjson.bound(tree)))}
    ast = {"ast": astjson.parsed(tree), "warnings": []}
    return Answer(200, {"error": False, "code": 200, "parsed": True} | shown | ast)
