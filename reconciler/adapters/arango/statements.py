"""How AQL is run: values only as bind parameters, results in as few batches as need be."""

from __future__ import annotations

from typing import Any

from arango.database import Database, StandardDatabase

BATCH = 10_000
"""More than any statement of ours answers: a cursor that never has to be asked again."""


def run(db: Database, statement: str, **values: Any) -> list[Any]:
    """Run a statement and answer its rows. Raises what the driver raises."""
    cursor: Any = db.aql.execute(statement, bind_vars=values, batch_size=BATCH)
    rows: list[Any] = list(cursor.batch())
    while cursor.has_more():
        rows += cursor.fetch()["batch"]
    return rows


def one(db: Database, statement: str, **values: Any) -> Any:
    """The only row of a statement's answer."""
    return run(db, statement, **values)[0]


def collections(db: StandardDatabase) -> set[str]:
    """The names of all collections. Raises what the driver raises."""
    listed: Any = db.collections()
    return {str(each["name"]) for each in listed}
