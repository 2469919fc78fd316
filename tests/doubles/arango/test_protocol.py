"""The real driver speaks to the double over HTTP: each endpoint, as far as the driver knows it."""

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from arango.collection import StandardCollection
from arango.exceptions import (
    AQLQueryExecuteError,
    ArangoServerError,
    CollectionCreateError,
    CollectionDeleteError,
    CursorNextError,
    DatabaseCreateError,
    DatabaseDeleteError,
    DocumentGetError,
    DocumentInsertError,
    DocumentRevisionError,
    IndexCreateError,
    JWTAuthError,
    UserCreateError,
)

from tests.doubles.arango.conftest import connect
from tests.doubles.arango.double import Settings, arango_double
from tests.doubles.arango.recorded import Player, Request


def number(caught) -> tuple[int, int]:
    """Status and number of the error that a `pytest.raises` caught."""
    return caught.value.http_code, caught.value.error_code


class TestWhoIsLetIn:
    def test_a_token_says_who_and_until_when(self, double):
        token = connect(double).conn._token
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["iss"] == "arangodb"
        assert claims["preferred_username"] == "root"
        assert claims["exp"] - claims["iat"] == 3600

    def test_a_wrong_password_is_401(self, double):
        with pytest.raises(JWTAuthError) as caught:
            connect(double, password="wrong")
        assert number(caught) == (401, 401)

    def test_a_token_that_is_refused_is_asked_for_anew(self, double, db):
        double.expire_tokens()
        assert db.version() == "3.12.10"

    def test_a_token_ends_by_time(self):
        with arango_double(settings=Settings(token_seconds=-1)) as double, pytest.raises(Exception, match="expired"):
            connect(double)

    def test_without_credentials_nobody_comes_in(self, double):
        player = Player("127.0.0.1", int(double.url.rpartition(":")[2]))
        answer = player.send(Request("GET", "/_api/version", {"Authorization": ""}, b""))
        assert answer.status == 401
        assert answer.body["errorNum"] == 11


class TestDatabasesAndUsers:
    def test_databases_come_and_go(self, double):
        system = connect(double)
        assert system.create_database("one")
        assert "one" in system.databases()
        with pytest.raises(DatabaseCreateError) as caught:
            system.create_database("one")
        assert number(caught) == (409, 1207)
        assert system.delete_database("one")
        with pytest.raises(DatabaseDeleteError) as gone:
            system.delete_database("one")
        assert number(gone) == (404, 1228)

    def test_a_database_that_is_not_there(self, double):
        with pytest.raises(ArangoServerError) as caught:
            connect(double, "nowhere").collections()
        assert number(caught) == (404, 1228)

    def test_only_the_system_database_makes_databases(self, db):
        with pytest.raises(DatabaseCreateError) as caught:
            db.create_database("two")
        assert number(caught) == (403, 1230)

    def test_a_user_may_do_what_was_granted_and_no_more(self, double, db, things):
        system = connect(double)
        system.create_user("keeper", "secret")
        with pytest.raises(ArangoServerError) as nothing:
            connect(double, "fleet", user="keeper", password="secret").collections()
        assert number(nothing) == (403, 11)
        system.update_permission("keeper", "ro", "fleet")
        keeper = connect(double, "fleet", user="keeper", password="secret")
        assert keeper.collection("things").count() == 0
        with pytest.raises(DocumentInsertError) as write:
            keeper.collection("things").insert({})
        assert number(write) == (403, 1004)
        with pytest.raises(AQLQueryExecuteError) as statement:
            keeper.aql.execute("INSERT {} INTO things")
        assert number(statement) == (403, 1004)
        with pytest.raises(CollectionCreateError) as make:
            keeper.create_collection("more")
        assert number(make) == (403, 11)
        system.update_permission("keeper", "rw", "fleet", "things")
        assert keeper.collection("things").insert({"_key": "a"})["_key"] == "a"
        with pytest.raises(UserCreateError) as user:
            connect(double, "fleet", user="keeper", password="secret").create_user("other", "x")
        assert number(user) == (403, 11)

    def test_rights_are_told(self, double, db):
        system = connect(double)
        system.create_user("keeper", "secret", extra={"team": "a"})
        system.update_permission("keeper", "rw", "fleet")
        system.update_permission("keeper", "none", "fleet", "things")
        assert system.permission("keeper", "fleet") == "rw"
        assert system.permission("keeper", "fleet", "things") == "none"
        assert system.permissions("keeper")["fleet"]["permission"] == "rw"
        system.reset_permission("keeper", "fleet", "things")
        assert system.permission("keeper", "fleet", "things") == "rw"
        assert system.user("keeper")["extra"] == {"team": "a"}
        system.delete_user("keeper")
        assert not system.has_user("keeper")


class TestCollectionsAndIndexes:
    def test_collections_come_and_go(self, db):
        made = db.create_collection("edges", edge=True, sync=True)
        assert made.properties()["edge"] is True
        assert made.properties()["sync"] is True
        assert {"edges", "things"} <= {one["name"] for one in db.collections()}
        with pytest.raises(CollectionCreateError) as caught:
            db.create_collection("edges")
        assert number(caught) == (409, 1207)
        with pytest.raises(CollectionCreateError) as named:
            db.create_collection("1 2")
        assert number(named) == (400, 1208)
        db.delete_collection("edges")
        with pytest.raises(CollectionDeleteError) as gone:
            db.delete_collection("edges")
        assert number(gone) == (404, 1203)

    def test_a_collection_is_emptied_renamed_and_reconfigured(self, things):
        things.insert_many([{}, {}])
        assert things.count() == 2
        things.truncate()
        assert things.count() == 0
        assert things.configure(sync=True)["sync"] is True
        things.rename("stuff")
        assert things.name == "stuff"

    def test_an_index_is_made_once(self, things):
        made = things.add_index({"type": "persistent", "fields": ["a", "b"], "unique": True, "name": "ab"})
        assert made["isNewlyCreated"] is True
        again = things.add_index({"type": "persistent", "fields": ["a", "b"], "unique": True, "name": "ab"})
        assert again["isNewlyCreated"] is False
        assert again["id"] == made["id"]
        assert [one["name"] for one in things.indexes()] == ["primary", "ab"]
        assert things.get_index("ab")["fields"] == ["a", "b"]
        things.delete_index("ab")
        assert [one["name"] for one in things.indexes()] == ["primary"]

    def test_an_index_that_the_documents_contradict_is_not_made(self, things):
        things.insert_many([{"a": 1}, {"a": 1}])
        with pytest.raises(IndexCreateError) as caught:
            things.add_index({"type": "persistent", "fields": ["a"], "unique": True})
        assert number(caught) == (409, 1210)
        assert len(things.indexes()) == 1

    def test_a_sparse_unique_index_lets_nulls_be(self, things):
        things.add_index({"type": "persistent", "fields": ["a"], "unique": True, "sparse": True})
        things.insert_many([{}, {"a": None}, {"a": 1}], raise_on_document_error=True)
        with pytest.raises(DocumentInsertError):
            things.insert({"a": 1})

    def test_a_ttl_index_is_kept(self, things):
        made = things.add_index({"type": "ttl", "fields": ["at"], "expireAfter": 60})
        assert made["expireAfter"] == 60
        assert made["sparse"] is True

    def test_edges_need_their_ends(self, db):
        edges = db.create_collection("edges", edge=True)
        with pytest.raises(DocumentInsertError) as caught:
            edges.insert({"_from": "things/a"})
        assert number(caught) == (400, 1233)
        assert edges.insert({"_from": "things/a", "_to": "things/b"})["_key"]


class TestDocuments:
    def test_a_document_lives(self, things):
        made = things.insert({"_key": "a", "n": 1, "deep": {"x": 1, "y": None}}, return_new=True)
        assert made["new"] == {
            "_key": "a",
            "_id": "things/a",
            "_rev": made["_rev"],
            "n": 1,
            "deep": {"x": 1, "y": None},
        }
        changed = things.update({"_key": "a", "deep": {"z": 2}}, return_old=True, return_new=True)
        assert changed["_old_rev"] == made["_rev"]
        assert changed["new"]["deep"] == {"x": 1, "y": None, "z": 2}
        assert changed["old"]["deep"] == {"x": 1, "y": None}
        flat = things.update({"_key": "a", "deep": {"w": None}}, merge=False, keep_none=False, return_new=True)
        assert flat["new"]["deep"] == {}
        put = things.replace({"_key": "a", "m": 2}, return_new=True)
        assert put["new"] == {"_key": "a", "_id": "things/a", "_rev": put["_rev"], "m": 2}
        assert things.delete("a", return_old=True)["old"]["m"] == 2
        assert things.get("a") is None

    def test_an_integral_number_is_printed_without_a_point(self, things):
        things.insert({"_key": "a", "n": 2.0, "m": 2.5})
        found = things.get("a")
        assert (type(found["n"]), type(found["m"])) == (int, float)

    def test_revisions_are_compared_only_when_asked(self, things):
        old = things.insert({"_key": "a"})["_rev"]
        things.update({"_key": "a", "n": 1})
        stale: list[Callable[[], Any]] = [
            lambda: things.update({"_key": "a", "_rev": old}),
            lambda: things.replace({"_key": "a", "_rev": old}),
            lambda: things.delete({"_key": "a", "_rev": old}, check_rev=True),
            lambda: things.get({"_key": "a", "_rev": old}),
        ]
        for each in stale:
            with pytest.raises(DocumentRevisionError) as caught:
                each()
            assert number(caught) == (412, 1200)
        assert things.update({"_key": "a", "_rev": old}, check_rev=False)

    def test_what_is_not_there(self, things):
        with pytest.raises(ArangoServerError) as caught:
            things.update({"_key": "a"})
        assert number(caught) == (404, 1202)
        with pytest.raises(DocumentGetError) as nowhere:
            StandardCollection(things.conn, things._executor, "nowhere").get("a")
        assert number(nowhere) == (404, 1203)

    def test_keys_have_rules(self, things):
        for bad in ("a b", "ü", "x" * 255, "", "a/b"):
            with pytest.raises(DocumentInsertError) as caught:
                things.insert({"_key": bad})
            assert number(caught) == (400, 1221)
        assert things.insert({"_key": "Aa0_-.@()+,=;$!*'%:"})["_key"] == "Aa0_-.@()+,=;$!*'%:"

    def test_overwriting_has_modes(self, things):
        things.insert({"_key": "a", "n": 1})
        with pytest.raises(DocumentInsertError) as caught:
            things.insert({"_key": "a"})
        assert number(caught) == (409, 1210)
        things.insert({"_key": "a", "n": 2}, overwrite_mode="ignore")
        assert things.get("a")["n"] == 1
        things.insert({"_key": "a", "m": 2}, overwrite_mode="update")
        assert (things.get("a")["n"], things.get("a")["m"]) == (1, 2)
        assert things.insert({"_key": "a", "k": 3}, overwrite_mode="replace")["_old_rev"]
        assert "n" not in things.get("a")

    def test_many_at_a_time_fail_one_by_one(self, things):
        things.insert({"_key": "b"})
        made = things.insert_many([{"_key": "a"}, {"_key": "b"}, {"_key": "c"}])
        assert [isinstance(one, Exception) for one in made] == [False, True, False]
        assert made[1].error_code == 1210
        rev = things.get("a")["_rev"]
        changed = things.update_many([{"_key": "a", "_rev": rev, "n": 1}, {"_key": "c", "_rev": "old", "n": 1}])
        assert [isinstance(one, DocumentRevisionError) for one in changed] == [False, True]
        assert [one["_key"] for one in things.get_many(["a", "x", "c"])] == ["a", "c"]
        replaced = things.replace_many([{"_key": "a", "k": 1}, {"_key": "zz"}])
        assert replaced[1].error_code == 1202
        gone = things.delete_many(["a", "zz"])
        assert (gone[0]["_key"], gone[1].error_code) == ("a", 1202)

    def test_import(self, things):
        told = things.import_bulk([{"_key": "a", "n": 1}, {"_key": "a", "n": 2}], details=True, halt_on_error=False)
        assert (told["created"], told["errors"]) == (1, 1)
        told = things.import_bulk([{"_key": "a", "n": 3}, {"_key": "b"}], on_duplicate="update")
        assert (told["created"], told["updated"]) == (1, 1)
        with pytest.raises(ArangoServerError) as caught:
            things.import_bulk([{"_key": "c"}, {"_key": "c"}], halt_on_error=True)
        assert number(caught) == (409, 1210)
        assert things.get("c") is None


class TestCursors:
    def test_a_result_comes_in_batches(self, db):
        cursor = db.aql.execute("FOR i IN 1..5 RETURN i", batch_size=2, count=True)
        assert (cursor.has_more(), cursor.count()) == (True, 5)
        assert list(cursor) == [1, 2, 3, 4, 5]

    def test_a_batch_may_be_asked_for_again(self, db):
        cursor = db.aql.execute("FOR i IN 1..5 RETURN i", batch_size=2, allow_retry=True)
        assert list(cursor) == [1, 2, 3, 4, 5]

    def test_a_cursor_that_is_closed_is_gone(self, db):
        cursor = db.aql.execute("FOR i IN 1..5 RETURN i", batch_size=2)
        cursor.close()
        with pytest.raises(CursorNextError) as caught:
            cursor.fetch()
        assert number(caught) == (404, 1600)

    def test_full_count_is_what_there_was_before_the_last_limit(self, db):
        cursor = db.aql.execute("FOR i IN 1..100 FILTER i > 10 LIMIT 5, 3 RETURN i", full_count=True)
        assert cursor.statistics()["fullCount"] == 90
        assert list(cursor) == [16, 17, 18]

    def test_a_plan_names_the_index(self, db, things):
        things.add_index({"type": "persistent", "fields": ["n"], "name": "by_n"})
        plan = db.aql.explain("FOR d IN things FILTER d.n > @n SORT d.n LIMIT 3 RETURN d", bind_vars={"n": 1})
        used = [index["name"] for node in plan["nodes"] for index in node.get("indexes", ())]
        assert used == ["by_n"]
        assert "SortNode" not in [node["type"] for node in plan["nodes"]]
        scan = db.aql.explain("FOR d IN things FILTER d.m > 1 RETURN d")
        assert "EnumerateCollectionNode" in [node["type"] for node in scan["nodes"]]

    def test_a_query_is_parsed(self, db):
        told = db.aql.validate("FOR d IN @@c FILTER d.n == @n RETURN d")
        assert told["bind_vars"] == ["@c", "n"]
