"""Properties: an index changes no answer, and transactions are as a simple model of snapshot isolation says."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles.arango import documents
from tests.doubles.arango.aql.context import Context
from tests.doubles.arango.aql.execute import Executor
from tests.doubles.arango.aql.parse import parse
from tests.doubles.arango.documents import Options
from tests.doubles.arango.errors import ArangoError, Blocked
from tests.doubles.arango.store import DOCUMENTS, Store
from tests.doubles.arango.transactions import Transaction, Transactions
from tests.doubles.arango.values import equal, key, less

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, -1.5]),
    st.sampled_from(["", "a", "A", "b", "_", "é"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
)
DOCS = st.lists(
    st.fixed_dictionaries({}, optional={"a": VALUES, "b": SCALARS, "t": st.lists(SCALARS, max_size=3)}), max_size=12
)
FIELDS = st.lists(st.sampled_from(["a", "b", "t[*]", "a.b", "_key"]), min_size=1, max_size=3, unique=True)
CONDITIONS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["d.a", "d.b", "d.a.b"]), st.sampled_from(["==", "<", "<=", ">", ">=", "!=", "IN"]), SCALARS
        ).map(lambda one: (f"{one[0]} {one[1]} {'[@p, 1]' if one[1] == 'IN' else '@p'}", one[2])),
        SCALARS.map(lambda one: ("@p IN d.t[*]", one)),
    ),
    max_size=3,
)
SORTS = st.lists(st.tuples(st.sampled_from(["d.a", "d.b"]), st.sampled_from(["ASC", "DESC"])), max_size=2)


def definition(*fields: str, sparse: bool = False) -> dict[str, Any]:
    return {"type": "persistent", "fields": list(fields), "unique": False, "sparse": sparse}


@given(VALUES, VALUES, VALUES)
def test_the_order_of_values_is_total(a, b, c):
    assert less(a, b) + less(b, a) + equal(a, b) == 1
    if less(a, b) and less(b, c):
        assert less(a, c)
    assert equal(a, b) == (key(a) == key(b))


@settings(max_examples=150, deadline=None)
@given(DOCS, DOCS, st.lists(FIELDS, min_size=1, max_size=3), CONDITIONS, SORTS, st.booleans())
def test_an_index_changes_no_answer(committed, own, fields, conditions, sorts, sparse):
    query, binds = "FOR d IN c", {}
    for place, (text, value) in enumerate(conditions):
        query += f" FILTER {text.replace('@p', f'@p{place}')}"
        binds[f"p{place}"] = value
    order = ", ".join([*(f"{path} {way}" for path, way in sorts), "d._key"])
    query += f" SORT {order} RETURN d._key"
    answers = []
    for indexed in (False, True):
        store = Store()
        db, transactions = store.database("_system"), Transactions(store)
        collection = store.create_collection(db, "c", DOCUMENTS, {})
        if indexed:
            for one in fields:
                store.create_index(
                    db, collection, {"type": "persistent", "fields": one, "unique": False, "sparse": sparse}
                )
        first = transactions.single(db, "root")
        for place, doc in enumerate(committed):
            documents.insert(first, collection, {"_key": f"k{place}", **doc}, Options())
        transactions.end(first, "committed")
        trx = transactions.single(db, "root")
        for place, doc in enumerate(own):  # some replace committed ones, some are new
            documents.insert(trx, collection, {"_key": f"k{place * 2}", **doc}, Options(overwrite_mode="replace"))
        executor = Executor(Context(db, trx, dict(binds), now_ms=0))
        answers.append(list(executor.compile(parse(query)).run({})))
    assert answers[0] == answers[1]


@dataclass(slots=True)
class Seen:
    """A transaction in the model: a copy of what was committed when it began, and what it wrote."""

    state: dict[str, int]
    began: int
    written: set[str] = field(default_factory=set)


class Both:
    """The transactions of the double beside a model of snapshot isolation: copies, and the first to commit wins."""

    def __init__(self) -> None:
        store = Store()
        self.db, self.transactions = store.database("_system"), Transactions(store)
        self.collection = store.create_collection(self.db, "c", DOCUMENTS, {})
        store.create_index(self.db, self.collection, definition("n"))
        self.committed: dict[str, int] = {}
        self.versions: dict[str, int] = {}  # key -> number of the commit that wrote it last
        self.commits = 0
        self.running: dict[int, tuple[Transaction, Seen]] = {}

    def begin(self, who: int) -> None:
        trx = Transaction(str(self.transactions.store.tick()), self.db, self.transactions, {"c": "write"})
        self.transactions.running[trx.id] = trx
        self.running[who] = (trx, Seen(dict(self.committed), self.commits))

    def write(self, who: int, name: str, value: int | None) -> None:
        trx, seen = self.running[who]
        expected = "done"
        if self.versions.get(name, 0) > seen.began:
            expected = "conflict"
        if any(name in other.written for number, (_, other) in self.running.items() if number != who):
            expected = "blocked"
        if value is None and name not in seen.state:  # it is looked for before its key is waited for
            expected = "conflict" if self.versions.get(name, 0) > seen.began else "missing"
        assert _write(trx, self.collection, name, value) == expected
        if expected == "done":
            seen.written.add(name)
            seen.state.pop(name, None)
            if value is not None:
                seen.state[name] = value

    def end(self, who: int, status: str) -> None:
        trx, seen = self.running.pop(who)
        self.transactions.end(trx, status)
        if status == "committed" and seen.written:
            self.commits += 1
            for name in seen.written:
                self.versions[name] = self.commits
                self.committed.pop(name, None)
                if name in seen.state:
                    self.committed[name] = seen.state[name]

    def check(self) -> None:
        for trx, seen in self.running.values():
            assert _read(trx, self.collection) == seen.state
        assert {one.key: one.doc["n"] for one in self.collection.rows.values()} == self.committed
        assert all(holder.status == "running" for holder in self.transactions.locks.values())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "put", "put", "put", "remove", "committed", "aborted"]),
        st.integers(0, 2),
        st.sampled_from("xyz"),
        st.integers(0, 9),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_transactions_are_as_the_model_says(steps):
    both = Both()
    for action, who, name, value in steps:
        if who not in both.running:
            both.begin(who)
        elif action in ("committed", "aborted"):
            both.end(who, action)
        elif action != "begin":
            both.write(who, name, value if action == "put" else None)
        both.check()


def _write(trx: Transaction, collection: Any, name: str, value: int | None) -> str:
    try:
        if value is None:
            documents.remove(trx, collection, name, None)
        else:
            documents.insert(trx, collection, {"_key": name, "n": value}, Options(overwrite_mode="replace"))
    except Blocked:
        return "blocked"
    except ArangoError as error:
        return "missing" if error.number == 1202 else "conflict"
    return "done"


def _read(trx: Transaction, collection: Any) -> dict[str, int]:
    """By scan and by index, which have to agree."""
    view = trx.view(collection)
    scanned = {row.key: row.doc["n"] for row in view.scan()}
    indexed = [row.key for row in view.by_index(collection.indexes[0], (), ((9,),))]
    assert sorted(indexed) == sorted(scanned)
    assert view.count() == len(scanned)
    return scanned
