"""What an API server reads of what we send it to be applied."""

from __future__ import annotations

import json

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.adapters.kubernetes.bodies import apply_body

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ODD = "a \t\r\n\0\x1b\x7f\x80\x85\x9b\xa0\u2028\u2029\ufeff\ufffe\uffff\U0001ffff\"\\/#:'"
odd = st.text(st.sampled_from(ODD), max_size=12)


@given(texts | odd, texts | odd)
@example("a \u2028 b\x85\n c", "\x7f")
def test_a_reader_of_yaml_and_one_of_json_read_the_same(key: str, value: str) -> None:
    body = {"data": {key: value}, "list": [value, None, 1, 0.5, True]}
    sent = apply_body(body)
    assert json.loads(sent) == body
    assert yaml.safe_load(sent) == body
