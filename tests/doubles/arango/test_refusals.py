"""What the double does not know it refuses with 501, and says what it was: a guess would let wrong code pass."""

import pytest
from arango.exceptions import AQLQueryExecuteError, ArangoServerError

from tests.doubles.arango.recorded import Player, Request
from tests.doubles.arango.test_protocol import number


@pytest.mark.parametrize(
    "query",
    [
        "FOR v IN 1..2 OUTBOUND 'a/b' edges RETURN v",
        "FOR d IN view SEARCH d.a == 1 RETURN d",
        "FOR d IN things WINDOW {preceding: 1} AGGREGATE s = SUM(d.n) RETURN s",
        "FOR d IN things OPTIONS {disableIndex: true} RETURN d",
        "INSERT {} INTO things OPTIONS {versionAttribute: 'v'}",
        "FOR d IN things COLLECT a = d.a OPTIONS {unheard: 1} RETURN a",
        "RETURN SLEEP(1)",
        "RETURN USER::FUNCTION(1)",
        "RETURN LEVENSHTEIN_DISTANCE('a', 'b')",
        "FOR d IN things COLLECT AGGREGATE v = VARIANCE(d.n) RETURN v",
        "FOR [a, b] IN [[1, 2]] RETURN a",
        "UPSERT @search INSERT {} UPDATE {} IN things",
    ],
)
def test_aql_that_is_not_spoken(double, db, query):
    binds: dict[str, object] = {"search": {}} if "@search" in query else {}
    with pytest.raises(AQLQueryExecuteError) as caught:
        db.aql.execute(query, bind_vars=binds)
    assert number(caught) == (501, 9)
    assert len(double.refused) == 1
    assert double.refused[0] in str(caught.value)


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "what"),
    [
        ("GET", "/_api/gharial", {}, "", "endpoint GET /_api/gharial"),
        ("GET", "/_admin/metrics", {}, "", "endpoint GET /_admin/metrics"),
        ("PATCH", "/_api/version", {}, "", "endpoint PATCH /_api/version"),
        ("GET", "/_api/version?unheard=1", {}, "", "parameter unheard"),
        ("POST", "/_api/document/_jobs?isRestore=true", {}, "{}", "parameter isRestore"),
        ("POST", "/_api/document/_jobs?versionAttribute=v", {}, "{}", "versionAttribute"),
        ("GET", "/_api/version", {"X-Arango-Async": "store"}, "", "header X-Arango-Async"),
        ("PUT", "/_api/document/_jobs/a", {"If-None-Match": "x"}, "{}", "header If-None-Match"),
        ("POST", "/_api/collection", {}, '{"name": "a", "unheard": 1}', "attribute unheard"),
        ("POST", "/_api/collection", {}, '{"name": "a", "schema": {"rule": {}}}', "schema of a collection"),
        ("POST", "/_api/index?collection=_jobs", {}, '{"type": "inverted", "fields": ["a"]}', "of type inverted"),
        ("POST", "/_api/index?collection=_jobs", {}, '{"type": "persistent", "fields": ["a"], "storedValues": ["b"]}',
         "attribute storedValues"),
        ("POST", "/_api/cursor", {}, '{"query": "RETURN 1", "options": {"unheard": 1}}', "option unheard"),
        ("POST", "/_api/cursor", {}, '{"query": "RETURN 1", "unheard": 1}', "attribute unheard"),
        ("POST", "/_api/cursor", {}, '{"query": "RETURN 1", "options": {"stream": true}}', "option stream"),
        ("POST", "/_api/cursor", {}, '{"query": "RETURN 1", "options": {"profile": 1}}', "option profile"),
        ("POST", "/_api/transaction/begin", {}, '{"collections": {"unheard": []}}', "collections.unheard"),
        ("POST", "/_api/transaction", {}, '{"collections": {}, "action": "x"}', "transaction in JavaScript"),
        ("POST", "/_api/explain", {}, '{"query": "RETURN 1", "options": {"optimizer": {"rules": ["-all"]}}}', "rules"),
        ("POST", "/_api/import?collection=_jobs", {}, '["a"]\n[1]', "import of a table"),
    ],
)  # fmt: skip
def test_requests_that_are_not_known(double, method, target, headers, body, what):
    player = Player("127.0.0.1", int(double.url.rpartition(":")[2]))
    answer = player.send(Request(method, target, headers, body.encode()))
    assert (answer.status, answer.body["errorNum"]) == (501, 9)
    assert what in answer.body["errorMessage"]
    assert what in double.refused[0]


def test_what_is_known_is_not_refused(double, db):
    assert list(db.aql.execute("RETURN 1")) == [1]
    with pytest.raises(ArangoServerError):
        db.collection("nowhere").count()
    assert double.refused == []
