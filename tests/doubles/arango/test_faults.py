"""Faults, coordinators, restarts, and a process that is killed: what a client meets, and what is there afterwards."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from arango.client import ArangoClient
from arango.exceptions import ArangoServerError, CursorNextError, DocumentInsertError, TransactionStatusError
from requests.exceptions import ChunkedEncodingError, ReadTimeout
from requests.exceptions import ConnectionError as Broken

from tests.doubles.arango.conftest import OnceClient, connect
from tests.doubles.arango.double import Kind, arango_double
from tests.doubles.arango.process import ArangoProcess
from tests.doubles.arango.test_protocol import number

INSERT = "POST /_api/document/things"
COMMIT = "PUT /_api/transaction/"


@pytest.mark.parametrize(
    ("kind", "done"), [(Kind.CUT_BEFORE, False), (Kind.CUT_DURING, True), (Kind.CUT_AFTER, True)], ids=str
)
def test_a_connection_breaks_before_during_and_after(double, things, kind, done):
    fault = double.fault(kind, INSERT)
    with pytest.raises((Broken, ChunkedEncodingError, ConnectionAbortedError)):
        things.insert({"_key": "a"})
    assert fault.met == 1
    assert things.has("a") is done


@pytest.mark.parametrize(("kind", "ends"), [(Kind.CUT_BEFORE, "running"), (Kind.CUT_AFTER, "committed")], ids=str)
def test_after_a_commit_that_broke_the_status_tells_what_became_of_it(double, db, kind, ends):
    trx = db.begin_transaction(write=["things"])
    trx.collection("things").insert({"_key": "a"})
    double.fault(kind, COMMIT)
    with pytest.raises((Broken, ConnectionAbortedError)):
        trx.commit_transaction()
    assert trx.transaction_status() == ends
    assert db.collection("things").has("a") is (ends == "committed")


def test_errors_are_given_in_place_of_an_answer(double, things):
    double.fault(Kind.UNAVAILABLE, INSERT)
    with pytest.raises((Broken, ConnectionAbortedError)):  # what the driver makes of a 503
        things.insert({"_key": "a"})
    double.fault(Kind.ERROR, INSERT, error=1200)
    with pytest.raises(DocumentInsertError) as caught:
        things.insert({"_key": "a"})
    assert number(caught) == (409, 1200)
    assert things.insert({"_key": "a"})


@pytest.mark.parametrize(("kind", "done"), [(Kind.HANG_BEFORE, False), (Kind.HANG_AFTER, True)], ids=str)
def test_an_answer_does_not_come(double, things, kind, done):
    fault = double.fault(kind, INSERT)
    impatient = connect(double, "fleet", seconds=0.2).collection("things")
    with pytest.raises(ReadTimeout):
        impatient.insert({"_key": "a"})
    assert things.has("a") is done
    double.release(fault)


def test_a_fault_meets_the_request_that_it_is_for(double, db, things):
    fault = double.fault(Kind.ERROR, "POST /_api/cursor", body="REMOVE", skip=1, times=2, error=1200)
    told = []
    for _ in range(4):
        try:
            list(db.aql.execute("FOR d IN things REMOVE d IN things"))
            told.append("done")
        except ArangoServerError as error:
            told.append(str(error.error_code))
    assert told == ["done", "1200", "1200", "done"]
    assert fault.met == 2
    assert list(db.aql.execute("RETURN 1")) == [1]
    double.clear_faults()


def test_late_answers_come(double, things):
    double.fault(Kind.DELAY, INSERT, seconds=0.01)
    assert things.insert({"_key": "a"})


class TestCoordinators:
    def test_two_have_one_store(self):
        with arango_double(coordinators=2) as double:
            one, two = (_at(url) for url in double.urls)
            one.create_collection("things").insert({"_key": "a"})
            assert two.collection("things").has("a")

    def test_a_transaction_is_lost_with_its_coordinator_and_goes_on_with_it_from_another(self):
        with arango_double(coordinators=2) as double:
            one, two = (_at(url) for url in double.urls)
            things = two.create_collection("things")
            trx = one.begin_transaction(exclusive=["things"])
            trx.collection("things").insert({"_key": "a"})
            assert two.fetch_transaction(trx.transaction_id).collection("things").has("a")
            double.stop_coordinator(0)
            with pytest.raises((Broken, ConnectionAbortedError)):
                trx.commit_transaction()
            assert things.insert({"_key": "b"})
            double.start_coordinator(0)
            with pytest.raises(TransactionStatusError) as caught:
                trx.transaction_status()
            assert number(caught) == (404, 1655)
            assert [one["_key"] for one in things.all()] == ["b"]

    def test_it_does_not_look_like_a_single_server(self):
        with arango_double(coordinators=2) as double:
            assert _at(double.url).role() == "COORDINATOR"
        with arango_double() as double:
            assert _at(double.url).role() == "SINGLE"


def _at(url: str) -> Any:
    return ArangoClient(hosts=url, http_client=OnceClient(), resolver_max_tries=1).db("_system")


class TestRestart:
    def test_data_stays_and_the_rest_is_gone(self, double, db, things):
        things.add_index({"type": "persistent", "fields": ["n"], "unique": True})
        things.insert({"_key": "a", "n": 1})
        trx = db.begin_transaction(exclusive=["things"])
        trx.collection("things").insert({"_key": "b"})
        cursor = db.aql.execute("FOR i IN 1..3 RETURN i", batch_size=1)
        double.restart()
        assert things.get("a")["n"] == 1
        assert things.get("b") is None
        assert things.insert({"_key": "c"})
        with pytest.raises(DocumentInsertError):
            things.insert({"n": 1})
        with pytest.raises(TransactionStatusError):
            trx.transaction_status()
        with pytest.raises(CursorNextError):
            cursor.fetch()

    def test_a_file_keeps_all_that_was_said(self, tmp_path):
        file = tmp_path / "store"
        with arango_double(file=file) as double:
            system = connect(double)
            system.create_database("fleet")
            system.create_user("keeper", "secret")
            system.update_permission("keeper", "rw", "fleet")
            db = connect(double, "fleet")
            things = db.create_collection("things", edge=True)
            things.add_index({"type": "persistent", "fields": ["n"], "name": "by_n"})
            db.create_collection("old").rename("new")
            db.delete_collection("new")
            things.insert_many([{"_key": key, "_from": "a/1", "_to": "a/2", "n": 1} for key in "abc"])
            things.delete("b")
            rev = things.get("a")["_rev"]
        with arango_double(file=file) as double:
            db = connect(double, "fleet", user="keeper", password="secret")
            assert [one["name"] for one in db.collections() if not one["system"]] == ["things"]
            things = db.collection("things")
            assert [one["_key"] for one in things.all()] == ["a", "c"]
            assert things.get("a")["_rev"] == rev
            assert [one["name"] for one in things.indexes()] == ["primary", "edge", "by_n"]
            assert list(db.aql.execute("FOR d IN things FILTER d.n == 1 RETURN d._key")) == ["a", "c"]
            assert things.insert({"_from": "a/1", "_to": "a/2"})["_rev"] > ""

    def test_a_line_that_is_torn_never_happened(self, tmp_path):
        file = tmp_path / "store"
        with arango_double(file=file) as double:
            connect(double).create_collection("things").insert({"_key": "a"})
            connect(double).collection("things").insert({"_key": "b"})
        file.write_bytes(file.read_bytes()[:-10])
        for keys in (["a"], ["a", "c"]):
            with arango_double(file=file) as double:
                things = connect(double).collection("things")
                assert [one["_key"] for one in things.all()] == keys
                things.insert({"_key": "c"}, overwrite_mode="ignore")


def test_a_process_that_is_killed_has_what_was_committed_and_nothing_else(tmp_path):
    with ArangoProcess(tmp_path / "store") as process:
        db = _at(process.url)
        db.create_collection("things")
        db.create_collection("others")
        done = []

        def write(place: int) -> None:
            trx = db.begin_transaction(write=["things", "others"])
            trx.collection("things").insert({"_key": f"k{place}"})
            trx.collection("others").insert({"_key": f"k{place}"})
            trx.commit_transaction()
            done.append(f"k{place}")

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(write, place) for place in range(200)]
            running[20].result()
            process.kill()
            assert any(one.exception() for one in running)
        process.start()
        db = _at(process.url)
        things, others = ({one["_key"] for one in db.collection(name).all()} for name in ("things", "others"))
        assert things == others
        assert set(done) <= things
