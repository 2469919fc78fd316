"""Copies of a kind: what was handed out never changes, and every namespace is answered by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.kubernetes.copies import Copy
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import LiveObject

REFS = [ObjectRef(group="", kind="Pod", namespace=space, name=name) for space in "ba" for name in ("z", "y", "x")]
Step = tuple[str, ObjectRef, str]


def live(ref: ObjectRef, version: str) -> LiveObject:
    labels = {"odd": "yes"} if int(version) % 2 else {}
    return LiveObject(ref=ref, uid=str(ref), resource_version=version, body={"metadata": {"labels": labels}})


def ordered(objects: dict[ObjectRef, LiveObject], namespace: str = "") -> list[tuple[ObjectRef, LiveObject]]:
    chosen = (item for item in objects.items() if namespace in ("", item[0].namespace))
    return sorted(chosen, key=lambda item: (item[0].namespace, item[0].name))


@given(
    st.lists(st.tuples(st.sampled_from(["put", "drop", "replace"]), st.sampled_from(REFS), st.integers(0, 9).map(str)))
)
def test_a_copy_answers_as_a_plain_mapping_would_and_what_it_answered_stays(steps: list[Step]) -> None:
    copy = Copy()
    plain: dict[ObjectRef, LiveObject] = {}
    told = []
    for what, ref, version in steps:
        one = live(ref, version)
        match what:
            case "put":
                copy.put(one)
                plain[ref] = one
            case "drop":
                copy.drop(ref)
                plain.pop(ref, None)
            case _:
                assert list(copy.replace({ref: one}).items()) == ordered(plain)
                plain = {ref: one}
        for space in ("", "a", "b", "c"):
            for labels in ({}, {"odd": "yes"}):
                wanted = {key: item for key, item in plain.items() if labels.items() <= item.metadata["labels"].items()}
                answer = copy.selected(space, labels)
                assert list(answer.items()) == ordered(wanted, space)
                told.append((answer, ordered(wanted, space)))
        assert [copy.get(ref) for ref in REFS] == [plain.get(ref) for ref in REFS]
    for answer, then in told:
        assert list(answer.items()) == then, "an answer changed after it was given"


def test_a_namespace_that_did_not_change_is_answered_with_the_same_mapping() -> None:
    copy = Copy()
    for ref in REFS:
        copy.put(live(ref, "1"))
    before = copy.selected("a", {})
    copy.put(live(REFS[0], "2"))
    assert copy.selected("a", {}) is before
    assert copy.selected("b", {})[REFS[0]].resource_version == "2"
