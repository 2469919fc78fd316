"""What is done when a registry is opened, beside making it: search data of an older version, and what nobody needs.

Both may be done by several processes at once, and twice: they change no record, and nothing that is read as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arango.database import StandardDatabase

from reconciler.adapters.arango import documents
from reconciler.adapters.arango.documents import RECORD, Document
from reconciler.adapters.arango.statements import one, run
from reconciler.adapters.arango.terms import searchable
from reconciler.adapters.stored import codec
from reconciler.model.registry import Record

PAGE = 500
KEPT_FEED = 100_000
KEPT_OPERATIONS = 100_000
KEPT_JOURNAL = 100_000

_RECORDS = f"FOR d IN agents FILTER d.seq > @since SORT d.seq LIMIT @limit RETURN MERGE({RECORD}, {{at: d.seq}})"
_PUT = """
FOR made IN @made
  FOR d IN agents FILTER d._key == made.key AND d.seq == made.seq
  UPDATE d WITH made.found IN agents OPTIONS {mergeObjects: false}
"""
_AGELESS = "FOR d IN @@collection FILTER d.at_ms == null LIMIT @limit RETURN {key: d._key, body: d.body}"
_AGE = "FOR made IN @made UPDATE made.key WITH made.found IN @@collection"


def make_search_anew(db: StandardDatabase) -> None:
    """Make what is searched of every record as this version makes it."""
    _told_anew(db, searchable)


def note_ages(db: StandardDatabase) -> None:
    """Say beside records, revisions and journal entries how old they are: so that what is old is found by an index."""
    _told_anew(db, documents.aged)
    ages: tuple[tuple[str, Callable[[Any], Document]], ...] = (
        ("revisions", _age_of_revision),
        ("apply_journal", lambda body: {"at_ms": codec.decode_journal(body).at_ms}),
    )
    for collection, age in ages:
        named = {"@collection": collection}
        while rows := run(db, _AGELESS, limit=PAGE, **named):
            run(db, _AGE, made=[{"key": row["key"], "found": age(row["body"])} for row in rows], **named)


def _age_of_revision(body: Any) -> Document:
    revision = codec.decode_revision(body)
    return {"at_ms": revision.at_ms, "of": documents.agent_key(revision.agent)}


def _told_anew(db: StandardDatabase, told: Callable[[Record], Document]) -> None:
    """Put beside every record what `told` makes of it. One that changes meanwhile is left alone: whoever wrote it made
    its own.
    """
    since = 0
    while rows := run(db, _RECORDS, since=since, limit=PAGE):
        made = [
            {
                "key": documents.agent_key(documents.name_of(row)),
                "seq": row["at"],
                "found": told(documents.record_of(row)),
            }
            for row in rows
        ]
        run(db, _PUT, made=made)
        since = rows[-1]["at"]


def prune(db: StandardDatabase) -> None:
    """Drop what nobody can need: operations and journal entries long past any retry, superseded lines of the feed."""
    head = one(db, 'RETURN FIRST(FOR d IN counters FILTER d._key == "head" RETURN d)')
    if head["operations"] > KEPT_OPERATIONS:
        statement = "FOR d IN operations FILTER d.position < @bound REMOVE d IN operations"
        run(db, statement, bound=head["operations"] - KEPT_OPERATIONS)
    if head["journal"] > KEPT_JOURNAL:
        statement = (
            'FOR d IN apply_journal FILTER d.phase != "intent" AND d.position < @bound REMOVE d IN apply_journal'
        )
        run(db, statement, bound=head["journal"] - KEPT_JOURNAL)
    if head["seq"] > KEPT_FEED:
        last = "FIRST(FOR a IN agents FILTER a.seq == d.seq RETURN 1)"
        statement = f"FOR d IN changes FILTER d.seq < @bound FILTER {last} == null REMOVE d IN changes"
        run(db, statement, bound=head["seq"] - KEPT_FEED)
