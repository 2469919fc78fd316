"""Files with very many findings: the first are told, the others counted, and the work grows with the file alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import pytest

from reconciler.spec.documents import snippet
from tests.spec.writing import FLEET, agent, read, template

PATH = "agents/demo/one.yaml"
FLOODS = {
    "unknown fields of an agent": lambda many: {PATH: agent("\n".join(f"fielt{one}: 1" for one in range(many)))},
    "unknown fields of a template": lambda many: {
        "templates/t.yaml": template("t", "\n".join(f"fielt{one}: 1" for one in range(many)))
    },
    "unknown fields beside the spec": lambda many: {
        PATH: agent("{image: x}") + "".join(f"speck{one}: 1\n" for one in range(many))
    },
    "wrong fields of the fleet": lambda many: {
        "fleet.yaml": FLEET + "spec:\n" + "".join(f"  clustr{one}: 1\n" for one in range(many))
    },
    "wrong values": lambda many: {PATH: agent("image: x\nargs:\n" + "".join("- 1\n" for _ in range(many)))},
    "wrong labels": lambda many: {
        PATH: agent("{image: x}", metadata=", labels: {" + ",\n ".join(f"l{one}: -" for one in range(many)) + "}")
    },
    "literal secrets": lambda many: {
        PATH: agent("image: x\nconfig:\n" + "".join(f"  a{one}_key: s3cr3t\n" for one in range(many)))
    },
}


@pytest.mark.parametrize("flood", FLOODS)
def test_of_very_many_findings_in_a_file_the_first_are_told_and_the_others_counted(flood: str) -> None:
    few, many = read(FLOODS[flood](50)).diagnostics, read(FLOODS[flood](300)).diagnostics
    assert len(few) == 50
    assert len(many) == 51
    assert [found.message for found in many if " more in this file" in found.message] == ["and 250 more in this file"]
    assert many[-1].severity is few[-1].severity


@pytest.mark.parametrize("flood", FLOODS)
def test_twice_as_many_findings_are_no_more_than_twice_the_work(flood: str) -> None:
    few, many = (calls(partial(read, FLOODS[flood](size))) for size in (600, 1200))
    assert many < 2.1 * few


def calls(work: Callable[[], object]) -> int:
    """How many functions are called meanwhile."""
    count = 0

    def count_one(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count_one)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_a_file_is_read_once_for_all_lines_that_are_quoted_of_it() -> None:
    class Watched(bytes):
        decoded = 0

        def decode(self, *_: str) -> str:
            Watched.decoded += 1
            return super().decode("utf-8", "replace")

    data = Watched("a\r\nb\rc\n\n\x85d\u2028é\u2029".encode() + b"\xffg" + 300 * b"h")
    quoted = ["a", "b", "c", "", "", "d", "é", "\ufffdg" + 198 * "h", ""]
    assert [snippet(data, line) for line in range(1, 10)] == quoted
    assert snippet(data, 0) == ""
    assert Watched.decoded == 0
