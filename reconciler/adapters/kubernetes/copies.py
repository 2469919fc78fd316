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
        self._objects: dict[ObjectRef, LiveObject] = {}
        self._sorted = True
        self._snapshot: Mapping[ObjectRef, LiveObject] | None = None
        self._index: _Index | None = None

    def replace(self, objects: Mapping[ObjectRef, LiveObject]) -> Mapping[ObjectRef, LiveObject]:
        """Take a complete list, and answer what there was before."""
        before, self._objects = self._objects, dict(objects)
        self._sorted, self._snapshot, self._index = False, None, None
        return before

    def get(self, ref: ObjectRef) -> LiveObject | None:
        return self._objects.get(ref)

    def put(self, one: LiveObject) -> None:
        before = self._objects.get(one.ref)
        self._sorted = self._sorted and before is not None
        self._objects[one.ref] = one
        self._snapshot = None
        if self._index is not None:
            self._index.replace(before, one)

    def drop(self, ref: ObjectRef) -> None:
        before = self._objects.pop(ref, None)
        self._snapshot = None
        if before is not None and self._index is not None:
            self._index.replace(before, None)

    def objects(self) -> Mapping[ObjectRef, LiveObject]:
        """All of them, by namespace and name; the same mapping until something changes."""
        if self._snapshot is None:
            if not self._sorted:
                items = sorted(self._objects.items(), key=lambda item: (item[0].namespace, item[0].name))
                self._objects, self._sorted = dict(items), True
            self._snapshot = dict(self._objects)
        return self._snapshot

    def named(self, refs: Iterable[ObjectRef]) -> Mapping[ObjectRef, LiveObject]:
        """Those of `refs` that there are."""
        return {ref: self._objects[ref] for ref in refs if ref in self._objects}

    def selected(self, namespace: str, labels: Mapping[str, str]) -> Mapping[ObjectRef, LiveObject]:
        """Those of one namespace ("" for all) that carry all of `labels`."""
        if not labels:
            if not namespace:
                return self.objects()
            return {ref: one for ref, one in self.objects().items() if ref.namespace == namespace}
        if self._index is None:
            self._index = _Index(self._objects.values())
        refs = sorted(ref for ref in self._index.having(labels) if namespace in ("", ref.namespace))
        return {ref: self._objects[ref] for ref in refs}


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
