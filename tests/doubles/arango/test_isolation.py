"""Stream transactions: what they see, whom they keep out, how they end."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from arango.exceptions import (
    AQLQueryExecuteError,
    ArangoServerError,
    DocumentInsertError,
    DocumentReplaceError,
    DocumentUpdateError,
    TransactionAbortError,
    TransactionCommitError,
    TransactionFetchError,
    TransactionInitError,
)

from tests.doubles.arango.conftest import connect
from tests.doubles.arango.double import Settings, arango_double
from tests.doubles.arango.test_protocol import number


def begin(db, **how) -> Any:
    return db.begin_transaction(**({"write": ["things"]} | how))


def keys(db) -> list[str]:
    return list(db.aql.execute("FOR d IN things SORT d._key RETURN d._key"))


class TestWhatIsSeen:
    def test_nothing_is_seen_before_the_commit_and_all_after_it(self, db):
        db.create_collection("others")
        trx = begin(db, write=["things", "others"])
        trx.collection("things").insert({"_key": "a"})
        trx.collection("others").insert({"_key": "b"})
        assert keys(db) == []
        assert keys(trx) == ["a"]
        trx.commit_transaction()
        assert keys(db) == ["a"]
        assert db.collection("others").has("b")

    def test_nothing_is_left_of_what_was_aborted(self, db, things):
        things.insert({"_key": "a", "n": 1})
        trx = begin(db)
        trx.collection("things").delete("a")
        trx.collection("things").insert({"_key": "b"})
        assert trx.collection("things").count() == 1
        trx.abort_transaction()
        assert keys(db) == ["a"]

    def test_a_snapshot_stays_while_others_go_on(self, db, things):
        things.add_index({"type": "persistent", "fields": ["n"]})
        things.insert_many([{"_key": "a", "n": 1}, {"_key": "b", "n": 2}])
        trx = begin(db, read=["things"])
        things.update({"_key": "a", "n": 10})
        things.delete("b")
        things.insert({"_key": "c", "n": 3})
        assert trx.collection("things").get("a")["n"] == 1
        assert trx.collection("things").count() == 2
        by_index = "FOR d IN things FILTER d.n > 0 SORT d.n RETURN [d._key, d.n]"
        assert list(trx.aql.execute(by_index)) == [["a", 1], ["b", 2]]
        assert list(db.aql.execute(by_index)) == [["c", 3], ["a", 10]]
        trx.abort_transaction()

    def test_an_index_shows_ones_own_writes(self, db, things):
        things.add_index({"type": "persistent", "fields": ["tags[*]"]})
        things.insert_many([{"_key": "a", "tags": ["x"]}, {"_key": "b", "tags": ["x", "y"]}])
        trx = begin(db)
        trx.collection("things").update({"_key": "a", "tags": ["y"]})
        trx.collection("things").insert({"_key": "c", "tags": ["y", "y"]})
        found = trx.aql.execute("FOR d IN things FILTER 'y' IN d.tags[*] SORT d._key RETURN d._key")
        assert list(found) == ["a", "b", "c"]


class TestConflicts:
    def test_who_writes_second_what_changed_since_its_snapshot_has_a_conflict(self, db, things):
        things.insert({"_key": "a", "n": 1})
        trx = begin(db)
        things.update({"_key": "a", "n": 2})
        with pytest.raises(DocumentUpdateError) as caught:
            trx.collection("things").update({"_key": "a", "n": 3})
        assert number(caught) == (409, 1200)
        with pytest.raises(AQLQueryExecuteError) as statement:
            trx.aql.execute("UPDATE 'a' WITH {n: 3} IN things")
        assert number(statement) == (409, 1200)
        trx.abort_transaction()

    def test_a_key_that_a_running_transaction_wrote_is_waited_for_and_then_given_up(self, db, things):
        things.insert({"_key": "a", "n": 1})
        trx = begin(db)
        trx.collection("things").update({"_key": "a", "n": 2})
        with pytest.raises(DocumentReplaceError) as caught:
            things.replace({"_key": "a", "n": 3})
        assert number(caught) == (409, 1200)
        assert "timeout" in str(caught.value)
        trx.commit_transaction()
        assert things.get("a")["n"] == 2

    def test_a_single_write_goes_on_when_the_transaction_before_it_ends(self, double, db, things):
        things.insert({"_key": "a", "n": 1})
        trx = begin(db)
        trx.collection("things").update({"_key": "a", "n": 2})
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(things.update, {"_key": "a", "m": 1})
            trx.commit_transaction()
            assert waiting.result()["_key"] == "a"
        assert (things.get("a")["n"], things.get("a")["m"]) == (2, 1)

    def test_a_unique_value_of_a_running_transaction_is_taken(self, db, things):
        things.add_index({"type": "persistent", "fields": ["n"], "unique": True})
        one, two = begin(db), begin(db)
        one.collection("things").insert({"_key": "a", "n": 1})
        with pytest.raises(DocumentInsertError) as waited:
            two.collection("things").insert({"_key": "b", "n": 1})
        assert number(waited) == (409, 1200)
        one.commit_transaction()
        with pytest.raises(DocumentInsertError) as later:
            two.collection("things").insert({"_key": "b", "n": 1})
        assert number(later) == (409, 1200)
        two.abort_transaction()
        with pytest.raises(DocumentInsertError) as after:
            db.collection("things").insert({"_key": "b", "n": 1})
        assert number(after) == (409, 1210)

    def test_a_failed_operation_does_not_end_the_transaction(self, db, things):
        things.insert({"_key": "a"})
        trx = begin(db)
        with pytest.raises(DocumentInsertError):
            trx.collection("things").insert({"_key": "a"})
        trx.collection("things").insert({"_key": "b"})
        trx.commit_transaction()
        assert keys(db) == ["a", "b"]

    def test_a_statement_with_the_revision_of_its_document_meets_a_newer_one(self, db, things):
        rev = things.insert({"_key": "a"})["_rev"]
        things.update({"_key": "a", "n": 1})
        with pytest.raises(AQLQueryExecuteError) as caught:
            db.aql.execute(
                "UPDATE {_key: 'a', _rev: @rev} WITH {n: 2} IN things OPTIONS {ignoreRevs: false}",
                bind_vars={"rev": rev},
            )
        assert number(caught) == (409, 1200)
        db.aql.execute("UPDATE {_key: 'a', _rev: @rev} WITH {n: 2} IN things", bind_vars={"rev": rev})
        assert things.get("a")["n"] == 2


class TestWhoIsKeptOut:
    def test_who_is_exclusive_is_alone(self, db, things):
        trx = begin(db, write=[], exclusive=["things"])
        with pytest.raises(TransactionInitError) as caught:
            begin(db, lock_timeout=0.1)
        assert number(caught) == (500, 18)
        assert keys(db) == []  # readers are not kept out
        trx.commit_transaction()
        begin(db, lock_timeout=0.1).abort_transaction()

    def test_writers_come_one_after_another_and_none_is_lost(self, double, db, things):
        things.insert({"_key": "n", "n": 0})

        def add(_number: int) -> None:
            mine = connect(double, "fleet")
            trx = begin(mine, write=[], exclusive=["things"])
            seen = trx.collection("things").get("n")["n"]
            trx.collection("things").update({"_key": "n", "n": seen + 1})
            trx.commit_transaction()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, range(40)))
        assert things.get("n")["n"] == 40

    def test_a_single_write_waits_for_who_is_exclusive(self, db, things):
        trx = begin(db, write=[], exclusive=["things"])
        began = threading.Event()

        def write() -> Any:
            began.set()
            return things.insert({"_key": "b"})

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(write)
            began.wait()
            trx.collection("things").insert({"_key": "a"})
            trx.commit_transaction()
            assert waiting.result()["_key"] == "b"
        assert keys(db) == ["a", "b"]

    def test_what_was_not_declared_is_not_written(self, db):
        db.create_collection("others")
        trx = begin(db, read=["others"])
        writes: list[Callable[[], Any]] = [
            lambda: trx.collection("others").insert({}),
            lambda: trx.aql.execute("INSERT {} INTO others"),
        ]
        for write in writes:
            with pytest.raises(ArangoServerError) as caught:
                write()
            assert number(caught) == (400, 1652)
        assert trx.collection("others").count() == 0
        trx.abort_transaction()

    def test_what_was_not_declared_is_read_only_where_that_is_allowed(self, db):
        db.create_collection("others")
        trx = begin(db, allow_implicit=False)
        with pytest.raises(AQLQueryExecuteError) as caught:
            trx.aql.execute("FOR d IN others RETURN d")
        assert number(caught) == (400, 1652)
        trx.abort_transaction()

    def test_one_request_at_a_time(self, double, db, things):
        things.insert({"_key": "a"})
        other, trx = begin(db), begin(db)
        other.collection("things").update({"_key": "a", "n": 1})
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(trx.collection("things").update, {"_key": "a", "n": 2})
            while not double.call(lambda: double.server.transactions.running[trx.transaction_id].busy):
                pass
            with pytest.raises(ArangoServerError) as caught:
                trx.collection("things").get("a")
            assert number(caught) == (500, 28)
            other.abort_transaction()
            assert waiting.result()["_key"] == "a"
        trx.commit_transaction()
        assert things.get("a")["n"] == 2


class TestEnds:
    def test_an_end_may_be_asked_for_twice_but_not_changed(self, db):
        trx = begin(db)
        assert trx.transaction_status() == "running"
        assert [one["id"] for one in db.list_transactions()] == [trx.transaction_id]
        trx.commit_transaction()
        trx.commit_transaction()
        assert trx.transaction_status() == "committed"
        with pytest.raises(TransactionAbortError) as caught:
            trx.abort_transaction()
        assert number(caught) == (400, 1653)
        other = begin(db)
        other.abort_transaction()
        with pytest.raises(TransactionCommitError):
            other.commit_transaction()
        assert db.list_transactions() == []

    def test_an_id_that_nobody_gave(self, db):
        trx = begin(db)
        trx.abort_transaction()
        trx._executor._id = "123"
        for ask in (trx.transaction_status, trx.commit_transaction, lambda: trx.collection("things").insert({})):
            with pytest.raises(ArangoServerError) as caught:
                ask()
            assert number(caught) == (404, 1655)

    def test_an_idle_transaction_is_aborted(self):
        with arango_double(settings=Settings(idle_seconds=0.05)) as double:
            db = connect(double)
            things = db.create_collection("things")
            trx = begin(db, write=[], exclusive=["things"])
            trx.collection("things").insert({"_key": "a"})
            assert things.insert({"_key": "b"})  # waits until the other is given up
            assert trx.transaction_status() == "aborted"
            with pytest.raises(ArangoServerError) as caught:
                trx.collection("things").insert({})
            assert number(caught) == (410, 1654)
            assert keys(db) == ["b"]

    def test_begin_names_collections_that_are_there(self, db):
        with pytest.raises(TransactionInitError) as caught:
            begin(db, write=["nowhere"])
        assert number(caught) == (404, 1203)

    def test_a_transaction_is_of_its_database_and_user(self, double, db):
        trx = begin(db)
        connect(double).create_user("other", "secret")
        connect(double).update_permission("other", "rw", "fleet")
        with pytest.raises(TransactionFetchError):
            connect(double, "fleet", user="other", password="secret").fetch_transaction(trx.transaction_id)
        stranger = connect(double).begin_transaction(read=["_users"])
        stranger._executor._id = trx.transaction_id
        with pytest.raises(ArangoServerError) as caught:
            stranger.collection("_users").count()
        assert number(caught) == (404, 1655)
        trx.abort_transaction()
        with pytest.raises(TransactionFetchError):
            db.fetch_transaction("1")
