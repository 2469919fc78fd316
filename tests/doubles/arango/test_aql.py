"""AQL as the double runs it: order of types, clauses, writes, and what is a mistake. Queries go through the driver."""

import pytest
from arango.exceptions import AQLQueryExecuteError, AQLQueryExplainError, AQLQueryValidateError

from tests.doubles.arango.test_protocol import number

PEOPLE = [
    {"_key": "a", "ns": "x", "n": 1, "tags": ["red", "blue"], "deep": {"k": 1}},
    {"_key": "b", "ns": "x", "n": 2, "tags": ["blue"], "deep": {"k": None}},
    {"_key": "c", "ns": "y", "n": None, "tags": []},
    {"_key": "d", "ns": "y", "n": "2"},
    {"_key": "e", "ns": "y", "n": 2.5, "tags": ["red", "red"]},
]


@pytest.fixture
def ask(db, things):
    things.insert_many(PEOPLE, raise_on_document_error=True)

    def run(query: str, **binds):
        return list(db.aql.execute(query, bind_vars=binds))

    return run


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("null < false && false < 0 && 0 < '' && '' < [] && [] < {}", True),
        ("null < 10", True),
        ("[1, 2] < [1, 2, 0]", True),
        ("{a: 1} == {a: 1.0}", True),
        ("{} == {a: null}", True),
        ("{b: 1} < {a: 0}", True),
        ("1 == '1'", False),
        ("true == 1", False),
        ("'a' < 'B'", True),  # as ICU orders, and bytes do not
        ("'a' < 'A'", True),
        ("'_' < '0' && '0' < 'a'", True),
        ("'a' == 'A'", False),
        ("3 NOT IN [1, 2]", True),
        ("missing.attribute NOT IN ['a']", True),
        ("[1, 2, 3] ANY == 2", True),
        ("[1, 2, 3] ALL > 0", True),
        ("[1, 2, 3] NONE IN [4]", True),
        ("'foobar' LIKE 'f__b%'", True),
        ("'foobar' NOT LIKE 'F%'", True),
        ("'a%b' LIKE 'a\\\\%b'", True),
        ("1 / 0", None),
        ("7 % 3 == 1 && -7 % 3 == -1", True),
        ("5 / 2", 2.5),
        ("4 / 2", 2),
        ("'1' + 2", 3),
        ("null || 'x'", "x"),
        ("0 ?: 'y'", "y"),
        ("1 ? 'yes' : 'no'", "yes"),
        ("NOT true", False),
        ("1..3", [1, 2, 3]),
        ("[1, 2, 3][-1]", 3),
        ("{a: {b: [{c: 1}, {c: 2}]}}.a.b[*].c", [1, 2]),
        ("[[1, [2]], 3][**]", [1, [2], 3]),
        ("[1, 2, 3, 4][* FILTER CURRENT % 2 == 0 LIMIT 1 RETURN CURRENT * 10]", [20]),
        ("{a: 1}.b.c.d", None),
        ("LENGTH('äöü')", 3),
        ("TO_HEX('ü')", "c3bc"),
        ("TO_NUMBER('12')", 12),
        ("TO_STRING([1, 'a'])", '[1,"a"]'),
        ("SUM([1, null, 2])", 3),
        ("MIN([null, 3, 2])", 2),
        ("MAX([1, 'a'])", "a"),
        ("MERGE({a: 1, b: 2}, {b: 3})", {"a": 1, "b": 3}),
        ("UNSET({a: 1, b: 2}, 'a')", {"b": 2}),
        ("KEEP({a: 1, b: 2}, 'a')", {"a": 1}),
        ("HAS({a: null}, 'a')", True),
        ("UNIQUE([1, 1.0, '1'])", [1, "1"]),
        ("SORTED(['b', null, 2, 'A', true])", [None, True, 2, "A", "b"]),
        ("FIRST([])", None),
        ("(FOR i IN 1..3 FILTER i > 1 RETURN i)", [2, 3]),
        ("LENGTH(FOR i IN 1..3 RETURN i)", 3),
        ("{['a' + 1]: 1, 'b c': 2}", {"1": 1, "b c": 2}),
    ],
)
def test_an_expression_has_its_value(db, expression, value):
    [found] = db.aql.execute(f"LET missing = {{}} RETURN {expression}")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ("FOR d IN things FILTER d.n < 2 SORT d.n, d._key RETURN d._key", ["c", "a"]),
        ("FOR d IN things SORT d.n DESC RETURN d.n", ["2", 2.5, 2, 1, None]),
        ("FOR d IN things FILTER d.ns == 'x' && d.deep.k == null RETURN d._key", ["b"]),
        ("FOR d IN things FILTER 'red' IN d.tags SORT d._key RETURN d._key", ["a", "e"]),
        ("FOR d IN things FILTER 'red' NOT IN d.tags SORT d._key RETURN d._key", ["b", "c", "d"]),
        ("FOR d IN things COLLECT ns = d.ns WITH COUNT INTO n RETURN [ns, n]", [["x", 2], ["y", 3]]),
        ("FOR d IN things COLLECT ns = d.ns INTO g RETURN {ns, k: g[*].d._key}",
         [{"ns": "x", "k": ["a", "b"]}, {"ns": "y", "k": ["c", "d", "e"]}]),
        ("FOR d IN things COLLECT ns = d.ns INTO k = d._key RETURN k", [["a", "b"], ["c", "d", "e"]]),
        ("FOR d IN things COLLECT AGGREGATE n = COUNT(1), top = MAX(d.n), low = MIN(d.n) RETURN [n, top, low]",
         [[5, "2", 1]]),
        ("FOR d IN things FILTER false COLLECT AGGREGATE n = COUNT(1), low = MIN(d.n) RETURN [n, low]", [[0, None]]),
        ("FOR d IN things FILTER false COLLECT WITH COUNT INTO n RETURN n", [0]),
        ("FOR d IN things COLLECT ns = d.ns SORT ns DESC LIMIT 1 RETURN ns", ["y"]),
        ("FOR d IN things RETURN DISTINCT d.ns", ["x", "y"]),
        ("FOR a IN things FOR b IN things FILTER a.n == b.n && a._key < b._key RETURN [a._key, b._key]", []),
        ("FOR d IN things LET t = d.tags FOR one IN t || [] COLLECT tag = one WITH COUNT INTO n RETURN [tag, n]",
         [["blue", 2], ["red", 3]]),
        ("RETURN DOCUMENT('things/a').n", [1]),
        ("RETURN DOCUMENT(things, ['a', 'zz'])[*]._key", [["a"]]),
        ("RETURN LENGTH(things)", [5]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("fields", [None, ["n"], ["ns", "n"], ["tags[*]"]], ids=str)
def test_a_query_has_its_result_with_any_index(ask, things, fields, query, result):
    if fields is not None:
        things.add_index({"type": "persistent", "fields": fields})
    assert ask(query) == result


class TestWriting:
    def test_insert_update_replace_remove(self, ask):
        assert ask("INSERT {_key: 'z', n: 1} INTO things RETURN NEW.n") == [1]
        assert ask("UPDATE 'z' WITH {m: 2} IN things RETURN [OLD.m, NEW.m, NEW.n]") == [[None, 2, 1]]
        assert ask("FOR d IN things FILTER d._key == 'z' REPLACE d WITH {k: 3} IN things RETURN NEW.m") == [None]
        assert ask("REMOVE 'z' IN things RETURN OLD.k") == [3]
        assert ask("RETURN DOCUMENT('things/z')") == [None]

    def test_options_of_an_update(self, ask):
        told = (
            "FOR d IN things FILTER d._key == 'a' UPDATE d WITH @patch IN things OPTIONS @@ RETURN UNSET(NEW, '_rev')"
        )
        flat = told.replace("@@", "{keepNull: false, mergeObjects: false}")
        assert ask(flat, patch={"n": None, "deep": {"m": 1}}) == [
            {"_key": "a", "_id": "things/a", "ns": "x", "tags": ["red", "blue"], "deep": {"m": 1}}
        ]
        assert ask(told.replace("@@", "{}"), patch={"deep": {"k": None}})[0]["deep"] == {"m": 1, "k": None}

    def test_upsert(self, ask):
        query = "UPSERT {n: @n} INSERT {n: @n, c: 1} UPDATE {c: OLD.c + 1} IN things RETURN [OLD == null, NEW.c]"
        assert ask(query, n=77) == [[True, 1]]
        assert ask(query, n=77) == [[False, 2]]

    def test_a_statement_reads_what_was_there_before_it(self, ask):
        assert ask("FOR d IN things INSERT {from: d._key} INTO things COLLECT WITH COUNT INTO n RETURN n") == [5]
        assert ask("RETURN LENGTH(things)") == [10]

    def test_a_statement_is_all_or_nothing(self, ask):
        with pytest.raises(AQLQueryExecuteError) as caught:
            ask("FOR k IN ['new', 'a'] INSERT {_key: k} INTO things")
        assert number(caught) == (409, 1210)
        assert ask("RETURN LENGTH(things)") == [5]

    def test_errors_may_be_ignored(self, ask):
        ask("FOR k IN ['new', 'a'] INSERT {_key: k} INTO things OPTIONS {ignoreErrors: true}")
        assert ask("RETURN LENGTH(things)") == [6]


@pytest.mark.parametrize(
    ("query", "binds", "error"),
    [
        ("", {}, (400, 1502)),
        ("FOR d IN", {}, (400, 1501)),
        ("RETURN 1 RETURN 2", {}, (400, 1501)),
        ("RETURN @x", {}, (400, 1551)),
        ("RETURN 1", {"x": 1}, (400, 1552)),
        ("FOR d IN @@c RETURN d", {"@c": 3}, (400, 1553)),
        ("FOR d IN @@c RETURN d", {"@c": "nowhere"}, (404, 1203)),
        ("RETURN NOBODY_HAS_THIS(1)", {}, (400, 1540)),
        ("RETURN SUBSTRING('a')", {}, (400, 1541)),
        ("LET a = 1 LET a = 2 RETURN a", {}, (400, 1511)),
        ("RETURN nowhere", {}, (404, 1203)),
        ("RETURN things", {}, (500, 1568)),
        ("INSERT {} INTO things FOR d IN things RETURN d", {}, (400, 1579)),
        ("INSERT {} INTO things RETURN LENGTH(things)", {}, (400, 1579)),
        ("REMOVE 'a' IN things REMOVE 'b' IN things", {}, (400, 1579)),
        ("LET x = (INSERT {} INTO things RETURN NEW) FOR d IN things RETURN d", {}, (400, 1579)),
        ("FOR d IN things LIMIT d.n RETURN d", {}, (400, 1575)),
        ("UPDATE 'zz' WITH {} IN things", {}, (404, 1202)),
        ("INSERT {_key: 'a b'} INTO things", {}, (400, 1221)),
        ("INSERT 1 INTO things", {}, (400, 1227)),
    ],
)
def test_a_mistake_has_its_number(ask, query, binds, error):
    with pytest.raises(AQLQueryExecuteError) as caught:
        ask(query, **binds)
    assert number(caught) == error


def test_the_place_of_a_syntax_error_is_told(db):
    with pytest.raises(AQLQueryValidateError) as caught:
        db.aql.validate("FOR d IN things\n  FILTER d.n = 1 RETURN d")
    assert "unexpected assignment near '= 1 RETURN d' at position 2:14" in str(caught.value)


def test_a_warning_may_be_an_error(db):
    assert list(db.aql.execute("RETURN 1 / 0")) == [None]
    assert db.aql.execute("RETURN 1 / 0").warnings() == [{"code": 1562, "message": "division by zero"}]
    with pytest.raises(AQLQueryExecuteError) as caught:
        db.aql.execute("RETURN 1 / 0", fail_on_warning=True)
    assert number(caught) == (400, 1562)


class TestIndexes:
    @pytest.fixture
    def used(self, db, ask):
        """Which index a query uses, "" for none."""

        def names(query: str, **binds) -> str:
            plan = db.aql.explain(query, bind_vars=binds)
            return ",".join(index["name"] for node in plan["nodes"] for index in node.get("indexes", ()))

        return names

    def test_what_an_index_can_serve(self, things, used):
        things.add_index({"type": "persistent", "fields": ["ns", "n", "_key"], "name": "order"})
        things.add_index({"type": "persistent", "fields": ["tags[*]"], "name": "tags"})
        things.add_index({"type": "persistent", "fields": ["deep.k"], "name": "sparse", "sparse": True})
        assert used("FOR d IN things FILTER d.ns == @x RETURN d", x="x") == "order"
        assert used("FOR d IN things FILTER d.ns == 'x' SORT d.n, d._key LIMIT 1 RETURN d") == "order"
        assert used("FOR d IN things FILTER d.n == 1 RETURN d") == ""
        assert used("FOR d IN things FILTER @t IN d.tags[*] RETURN d", t="red") == "tags"
        assert used("FOR d IN things FILTER @t IN d.tags RETURN d", t="red") == ""
        assert used("FOR d IN things FILTER d.deep.k == 1 RETURN d") == "sparse"
        assert used("FOR d IN things FILTER d.deep.k == null RETURN d") == ""
        assert used("FOR d IN things FILTER d._key == 'a' RETURN d") == "primary"
        assert used("FOR d IN things FILTER d._key IN ['a', 'b'] RETURN d") == "primary"
        assert used("FOR d IN things FILTER d.ns != 'x' RETURN d") == ""

    def test_a_page_by_name_needs_no_sorting(self, db, things, used):
        things.add_index({"type": "persistent", "fields": ["ns", "n", "_key"], "name": "order"})
        query = (
            "FOR d IN things FILTER d.ns == @ns FILTER d.n >= @n FILTER d.n > @n OR d._key > @key "
            "SORT d.ns, d.n, d._key LIMIT 2 RETURN d._key"
        )
        binds = {"ns": "y", "n": 2.5, "key": ""}
        assert "SortNode" not in [one["type"] for one in db.aql.explain(query, bind_vars=binds)["nodes"]]
        assert list(db.aql.execute(query, bind_vars=binds)) == ["e", "d"]

    def test_an_index_may_be_hinted(self, things, used):
        for name in ("one", "two"):
            fields = ["ns"] if name == "one" else ["ns", "n"]
            things.add_index({"type": "persistent", "fields": fields, "name": name})
        query = "FOR d IN things OPTIONS {indexHint: @hint, forceIndexHint: true} FILTER d.ns == 'x' RETURN d"
        assert used(query, hint="two") == "two"
        with pytest.raises(AQLQueryExplainError) as caught:
            used(query, hint="three")
        assert number(caught) == (400, 1577)
