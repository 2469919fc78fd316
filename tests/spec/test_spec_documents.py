"""Documents: what YAML means, and where each key and value stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.identity import FieldPath
from reconciler.model.source import Document, Position
from reconciler.spec import locate
from reconciler.spec.documents import item_name, read_documents, snippet
from reconciler.spec.scalars import plain
from tests.spec.writing import blob


def document(text: str | bytes) -> Document:
    documents, found = read_documents("f.yaml", blob(text), "abc")
    assert found == ()
    return documents[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("TRUE", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("NULL", None),
        ("nULL", "nULL"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("0x_", "0x_"),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("-12", -12),
        ("+12", 12),
        ("12:30", "12:30"),
        ("2024-13-45", "2024-13-45"),
        ("2024-01-02", "2024-01-02"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        (".", "."),
        ("-", None),
        ("-x", "-x"),
        (".inf.", ".inf."),
        ("9223372036854775807", 2**63 - 1),
        ("'1'", "1"),
        ('"true"', "true"),
        ("! 1", "1"),
        ("!!str 1", "1"),
        ("=", "="),
        ("9" * 41 + "x", "9" * 41 + "x"),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    read = document("a:\n- ").value["a"][0] if text == "-" else document(f"a: {text}\n").value["a"]
    assert (read, type(read)) == (value, type(value))


TEXT = """\
# a comment
name: Grüße
spec:
  env:
    - {name: LOG, value: info}
    - name: PORT
      value: "80"
  "quoted": [a, b]
  block: |
    one
    two
  none:
"""


@pytest.mark.parametrize(
    ("path", "key", "line", "column", "length"),
    [
        ((), False, 2, 1, 1),
        (("name",), False, 2, 7, 5),
        (("name",), True, 2, 1, 4),
        (("spec", "env", "[LOG]", "value"), False, 5, 26, 4),
        (("spec", "env", "[LOG]", "value"), True, 5, 19, 5),
        (("spec", "env", "[1]", "value"), False, 7, 14, 2),
        (("spec", "env", "[PORT]", "name"), True, 6, 7, 4),
        (("spec", "env", "[1]"), True, 6, 7, 1),
        (("spec", "quoted", "[1]"), False, 8, 17, 1),
        (("spec", "quoted"), True, 8, 3, 6),
        (("spec", "block"), False, 9, 10, 1),
        (("spec", "none"), True, 12, 3, 4),
        (("spec", "missing", "deeper"), False, 4, 3, 1),
        (("spec", "missing"), True, 3, 1, 4),
        (("spec", "env", "[9]"), False, 5, 5, 1),
        (("name", "not-a-map"), False, 2, 7, 5),
    ],
)
def test_every_key_and_value_has_its_place(path: FieldPath, key: bool, line: int, column: int, length: int) -> None:
    position = locate(document(TEXT), path, key=key)
    assert position == Position(path="f.yaml", line=line, column=column, length=length)


def test_a_value_from_an_alias_stands_where_its_anchor_is() -> None:
    read = document("a: &x\n  b: [1, {c: 2}]\nd: *x\ne: 3\nf: *x\n")
    assert read.value["d"] == {"b": [1, {"c": 2}]}
    assert locate(read, ("d",), key=True).line == 3
    assert locate(read, ("d", "b", "[1]", "c")).line == 2
    assert locate(read, ("e",)) == Position(path="f.yaml", line=4, column=4, length=1)
    assert locate(read, ("f", "b", "[0]")).line == 2


def test_keys_and_scalars_can_be_anchors_too() -> None:
    read = document("&k name: &v one\nboth: [*k, *v]\n")
    assert read.value == {"name": "one", "both": ["name", "one"]}


def test_an_anchor_means_what_it_meant_last() -> None:
    assert document("a: &x 1\nb: *x\nc: &x 2\nd: *x\n").value == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_several_documents_each_count_from_the_top_of_the_file() -> None:
    documents, found = read_documents("f.yaml", blob("a: 1\n---\n---\n# x\nb: 2\n"))
    assert found == ()
    assert [(one.index, one.value) for one in documents] == [(0, {"a": 1}), (1, {"b": 2})]
    assert locate(documents[1], ("b",)).line == 5


def test_carriage_returns_end_lines() -> None:
    read = document(b"a: 1\r\nb: 2\rc: 3\n")
    assert read.value == {"a": 1, "b": 2, "c": 3}
    assert [locate(read, (key,)).line for key in "abc"] == [1, 2, 3]


def test_columns_count_characters() -> None:
    assert locate(document("{äöü: 1, b: 2}"), ("b",), key=True).column == 10


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("a:\n\tb: 1\n", (2, 1), "a tab cannot indent", "use spaces"),
        ("a: @b\n", (1, 4), "plain text cannot begin with @", "quote it"),
        ("a: 1\nb:2\nc: 3\n", (2, 1), "could not find expected ':'", "a key ends with a colon and a space"),
        (
            "a:\n  b: 1\n   c: 2\n",
            (3, 5),
            "mapping values are not allowed in this context",
            "quote a text that has a colon in it, and begin keys of one mapping in one column",
        ),
        (
            "a:\n  b: |\n    x\n   c: 2\n",
            (4, 4),
            "did not find expected key",
            "keys of one mapping stand in one column; this one begins in line 2",
        ),
        (
            "a: {b: 1\nc:\n",
            (2, 2),
            "did not find expected ',' or '}'",
            "what is open here begins in line 1",
        ),
    ],
)
def test_what_people_mistype_is_told_with_what_to_do(
    text: str, place: tuple[int, int], message: str, hint: str
) -> None:
    _, (found,) = read_documents("f.yaml", blob(text))
    assert (found.code, found.message, found.hint) == ("bad-yaml", message, hint)
    assert (found.position.line, found.position.column) == place


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "words"),
    [
        ("a: 1\na: 2\n", "duplicate-key", 2, 1, "first in line 1"),
        ("a: {b: 1, b: 2}\n", "duplicate-key", 1, 11, "first in line 1"),
        ("a:\n  <<: {b: 1}\n", "merge-key", 2, 3, "merge keys"),
        ("a:\n  - !!python/name:os x\n", "tag", 2, 5, "not known here"),
        ("a:\n\tb: 1\n", "bad-yaml", 2, 1, "tab"),
        ("a: [1\n", "bad-yaml", 2, 1, ""),
        ("a: b: c\n", "bad-yaml", 1, 5, ""),
        ("a: x\x00\n", "control-character", 1, 5, "control character"),
        ("a: 1\nb: *c\n", "bad-alias", 2, 4, "*c"),
        ("ok: 1\n? [a]\n: 2\n", "bad-key", 2, 3, "a key is text"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_line(text: str, code: str, line: int, column: int, words: str) -> None:
    documents, found = read_documents("f.yaml", blob(text))
    assert documents == ()
    assert (found[0].code, found[0].position.line, found[0].position.column) == (code, line, column)
    assert words in found[0].message
    assert found[0].snippet == (text.split("\n")[line - 1])


def test_not_utf8_is_placed_in_characters() -> None:
    _, found = read_documents("f.yaml", blob("ä: ö\nü: ".encode() + b"\xff"))
    assert (found[0].code, found[0].position.line, found[0].position.column) == ("not-utf8", 2, 4)


def test_a_snippet_is_one_line_and_short() -> None:
    assert snippet(b"a\nb" + b"x" * 500 + b"\nc", 2) == "b" + "x" * 199
    assert snippet(b"a\n", 9) == ""
    assert snippet("a\x85b\u2028c\r\nd".encode(), 4) == "d"


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ({"name": "a", "id": "b"}, "b"),
        ({"id": "b"}, "b"),
        ({"mcpServer": {"name": "m"}}, "mcpServer:m"),
        ({"agent": {"name": "x"}}, "agent:x"),
        ({"name": 1}, None),
        ({"agent": {}}, None),
        ("text", None),
    ],
)
def test_what_names_an_item(item: object, name: str | None) -> None:
    assert item_name(item) == name


def printable(text: str) -> bool:
    return all(one.isprintable() and one != "\ufeff" for one in text)


LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text(max_size=12).filter(printable)


def mappings(texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    inside = st.recursive(
        LEAVES | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=20,
    )
    return st.dictionaries(texts, inside, min_size=1, max_size=5)


MAPPINGS = mappings(TEXTS)


def means_itself(text: str) -> bool:
    try:
        return plain(text) == text and text != "<<"
    except ValueError:
        return False


@given(MAPPINGS)
def test_any_json_is_read_as_it_was_written(value: dict[str, Any]) -> None:
    assert document(json.dumps(value, ensure_ascii=False)).value == value


@given(mappings(TEXTS.filter(means_itself)), st.booleans())
def test_any_json_survives_a_yaml_writer(value: dict[str, Any], flow: bool) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True, width=1000)
    read, found = read_documents("f.yaml", blob(text))
    assert found == ()
    assert read[0].value == value


@given(MAPPINGS)
def test_every_path_of_any_document_is_inside_of_it(value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    read = document(text)
    lines = text.split("\n")

    def walk(here: Any, path: FieldPath) -> None:
        place = locate(read, path)
        shown = json.dumps(here, ensure_ascii=False)
        assert lines[place.line - 1][place.column - 1 :].startswith(shown[0])
        if isinstance(here, dict):
            for key, item in here.items():
                at = locate(read, (*path, key), key=True)
                assert lines[at.line - 1][at.column - 1 :].startswith(json.dumps(key, ensure_ascii=False))
                walk(item, (*path, key))
        elif isinstance(here, list):
            for index, item in enumerate(here):
                walk(item, (*path, f"[{index}]"))

    walk(value, ())


@given(st.binary(max_size=200))
def test_any_bytes_give_documents_or_a_finding(data: bytes) -> None:
    documents, found = read_documents("f.yaml", blob(data))
    assert bool(documents) != bool(found)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@,?# \n\t0", max_size=60))
def test_any_punctuation_gives_documents_or_a_finding(text: str) -> None:
    documents, found = read_documents("f.yaml", blob(text))
    assert bool(documents) != bool(found)
