"""Endpoint: import of many documents, as lines or as an array of JSON. The one of tables is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.doubles.arango import documents, values
from tests.doubles.arango.call import Answer, Call, route
from tests.doubles.arango.documents import Options
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.store import EDGES, Collection
from tests.doubles.arango.transactions import Transaction

MODES = {"error": "conflict", "ignore": "ignore", "replace": "replace", "update": "update"}
PARAMS = (
    "collection",
    "type",
    "complete",
    "details",
    "onDuplicate",
    "overwrite",
    "waitForSync",
    "fromPrefix",
    "toPrefix",
)


@route("POST", "/_api/import", *PARAMS)
async def import_documents(call: Call) -> Answer:
    if not call.params.get("collection"):
        raise ArangoError(1204)
    collection = call.collection(call.params["collection"], "rw")
    mode = MODES.get(call.params.get("onDuplicate", "error"))
    if mode is None:
        raise ArangoError(10, "bad parameter")
    items, empty = _items(call)
    counts = Counter[str](empty=empty)
    details: list[str] = []

    def run(trx: Transaction) -> None:
        counts.clear()
        details.clear()
        counts["empty"] = empty
        if call.flag("overwrite"):
            for row in list(trx.view(collection).scan()):
                trx.put(collection, row.key, None)
        for place, one in enumerate(items):
            try:
                counts[_import(trx, collection, _prefixed(call, collection, one), mode)] += 1
            except ArangoError as error:
                if call.flag("complete"):
                    raise ArangoError(error.number, error.message.partition(" - ")[0], http=error.http) from None
                counts["errors"] += 1
                why = error.message.partition(" - ")[0]
                told = f"creating document failed with error '{why}', offending document: {values.dumps(one)}"
                details.append(f"at position {place}: {told}")

    await call.within(run, writes=(collection,))
    body: dict[str, Any] = {"error": False}
    body |= {name: counts[name] for name in ("created", "errors", "empty", "updated", "ignored")}
    return Answer(201, body | ({"details": details} if call.flag("details") else {}))


def _items(call: Call) -> tuple[list[Any], int]:
    """The documents, and how many lines were empty."""
    kind, text = call.params.get("type", ""), call.body.decode()
    if kind == "auto":
        kind = "list" if text.lstrip().startswith("[") else "documents"
    if kind in ("list", "array"):
        found = call.json()
        if not isinstance(found, list):
            raise ArangoError(400, "expecting a JSON array in the request")
        return found, 0
    if kind == "documents":
        lines = text.split("\n")
        lines = lines[:-1] if lines and not lines[-1] else lines
        full = [one for one in lines if one.strip()]
        try:
            return [values.loads(one) for one in full], len(lines) - len(full)
        except ValueError:
            raise Unsupported("an import of lines that are no JSON") from None
    if not kind:
        return _table(text)
    raise ArangoError(10, "invalid type")


def _table(text: str) -> tuple[list[Any], int]:
    """The form with names first. Only its first check is known."""
    first, newline, second = text.partition("\n")
    if not newline or not second.lstrip().startswith("["):
        raise ArangoError(400, "no JSON array found in second line")
    raise Unsupported(f"an import of a table with {first}")


def _prefixed(call: Call, collection: Collection, one: Any) -> Any:
    if collection.type != EDGES or not isinstance(one, dict):
        return one
    made = dict(one)
    for name, prefix in (("_from", call.params.get("fromPrefix")), ("_to", call.params.get("toPrefix"))):
        if prefix and isinstance(made.get(name), str) and "/" not in made[name]:
            made[name] = f"{prefix.rstrip('/')}/{made[name]}"
    return made


def _import(trx: Transaction, collection: Collection, one: Any, mode: str) -> str:
    written = documents.insert(trx, collection, one, Options(overwrite_mode=mode))
    if written.new is None:
        return "ignored"
    return "updated" if written.old is not None else "created"
