"""A copy of one kind's objects in memory: put, dropped and looked up by name, by namespace and by label. No I/O.

Answers are mappings that are never changed afterwards: whoever has one may keep it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from reconciler.model.identity import ObjectRef
from reconciler.model.lazy import LazyJson
from reconciler.model.objects import LiveObject


class _Labels(msgspec.Struct):
    labels: dict[str, str] = {}


class _Labelled(msgspec.Struct):
    metadata: _Labels


_labelled = msgspec.json.Decoder(_Labelled).decode
_Label = tuple[str, str]


class Copy:
    """All objects of one kind, in one namespace or everywhere."""

    def __init__(self) -> None:
        self._spaces: dict[str, _Space] = {}
        self._all: Mapping[ObjectRef, LiveObject] | None = None
        self._index: _Index | None = None

    def replace(self, objects: Mapping[ObjectRef, LiveObject]) -> Mapping[ObjectRef, LiveObject]:
        """Take a complete list, and answer what there was before."""
        before = self.objects()
        self._spaces, self._all, self._index = {}, None, None
        for one in objects.values():
            self._space(one.ref).put(one)
        return before

    def get(self, ref: ObjectRef) -> LiveObject | None:
        space = self._spaces.get(ref.namespace)
        return space.objects.get(ref) if space is not None else None

    def put(self, one: LiveObject) -> None:
        before = self._space(one.ref).put(one)
        self._all = None
        if self._index is not None:
            self._index.replace(before, one)

    def drop(self, ref: ObjectRef) -> None:
        space = self._spaces.get(ref.namespace)
        before = space.drop(ref) if space is not None else None
        if space is not None and not space.objects:
            del self._spaces[ref.namespace]
        self._all = None
        if before is not None and self._index is not None:
            self._index.replace(before, None)

    def objects(self) -> Mapping[ObjectRef, LiveObject]:
        """All of them, by namespace and name; the same mapping until something changes."""
        if self._all is None:
            found: dict[ObjectRef, LiveObject] = {}
            for _namespace, space in sorted(self._spaces.items()):
                found.update(space.lend())
            self._all = found
        return self._all

    def named(self, refs: Iterable[ObjectRef]) -> Mapping[ObjectRef, LiveObject]:
        """Those of `refs` that there are."""
        return {ref: one for ref in refs if (one := self.get(ref)) is not None}

    def selected(self, namespace: str, labels: Mapping[str, str]) -> Mapping[ObjectRef, LiveObject]:
        """Those of one namespace ("" for all) that carry all of `labels`."""
        if not labels:
            if not namespace:
                return self.objects()
            space = self._spaces.get(namespace)
            return space.lend() if space is not None else {}
        if self._index is None:
            self._index = _Index(self.objects().values())
        return self.named(sorted(ref for ref in self._index.having(labels) if namespace in ("", ref.namespace)))

    def _space(self, ref: ObjectRef) -> _Space:
        space = self._spaces.get(ref.namespace)
        if space is None:
            space = self._spaces[ref.namespace] = _Space()
        return space


class _Space:
    """The objects of one namespace: sweeps ask for each of hundreds, over and over. A mapping that was lent is not
    changed any more: the next change is made in a copy of it.
    """

    __slots__ = ("_lent", "_sorted", "objects")

    def __init__(self) -> None:
        self.objects: dict[ObjectRef, LiveObject] = {}
        self._sorted = self._lent = False

    def put(self, one: LiveObject) -> LiveObject | None:
        self._own()
        before = self.objects.get(one.ref)
        self._sorted = self._sorted and before is not None
        self.objects[one.ref] = one
        return before

    def drop(self, ref: ObjectRef) -> LiveObject | None:
        if ref not in self.objects:
            return None
        self._own()
        return self.objects.pop(ref)

    def lend(self) -> Mapping[ObjectRef, LiveObject]:
        """All of them, by name."""
        if not self._sorted:
            self.objects = dict(sorted(self.objects.items(), key=lambda item: item[0].name))
            self._sorted = True
        self._lent = True
        return self.objects

    def _own(self) -> None:
        if self._lent:
            self.objects, self._lent = dict(self.objects), False


class _Index:
    """Which objects carry a label: pods of a rollout are asked for by label, again and again."""

    def __init__(self, objects: Iterable[LiveObject]) -> None:
        self._labels: dict[ObjectRef, Mapping[str, str]] = {}
        self._refs: dict[_Label, set[ObjectRef]] = {}
        for one in objects:
            self.replace(None, one)

    def replace(self, before: LiveObject | None, after: LiveObject | None) -> None:
        if before is not None:
            for label in self._labels.pop(before.ref, {}).items():
                self._refs[label].discard(before.ref)
                if not self._refs[label]:
                    del self._refs[label]
        if after is not None:
            labels = self._labels[after.ref] = _labels_of(after)
            for label in labels.items():
                self._refs.setdefault(label, set()).add(after.ref)

    def having(self, labels: Mapping[str, str]) -> set[ObjectRef]:
        """Refs that carry all of `labels`: the rarest label first."""
        sets = sorted((self._refs.get(label, set()) for label in labels.items()), key=len)
        return set.intersection(*sets)


def _labels_of(one: LiveObject) -> Mapping[str, str]:
    if isinstance(one.body, LazyJson):
        return _labelled(one.body.data).metadata.labels
    found: Mapping[str, str] = one.metadata.get("labels") or {}
    return found
