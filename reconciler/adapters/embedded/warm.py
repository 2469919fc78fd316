"""A copy of the store in memory, brought up to date by what changed: an unchanged store costs one read of a counter."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.adapters.embedded.storage_sql import Row
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import LiveObject, LiveSet, Scope

_KindKey = tuple[str, str]
_ScopeKey = tuple[tuple[_KindKey, ...], frozenset[str] | None, tuple[tuple[str, str], ...]]
_Objects = dict[ObjectRef, LiveObject]


class WarmCopy:
    """Decoded objects by kind, as of a version each. Used by one thread at a time."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._kinds: dict[_KindKey, _Objects] = {}
        self._versions: dict[_KindKey, int] = {}
        self._answer: tuple[_ScopeKey, int, LiveSet] | None = None

    def observe(self, scope: Scope) -> LiveSet:
        """All objects of the scope at one version, by kind as asked for, namespace and name."""
        kinds = tuple(dict.fromkeys((group, kind) for group, _, kind in scope.kinds))
        version = self._refresh(kinds)
        if scope.names is not None:
            return LiveSet(objects=self._named(kinds, scope))
        key = (kinds, scope.namespaces, tuple(sorted(scope.labels.items())))
        if self._answer is not None and self._answer[:2] == (key, version):
            return self._answer[2]
        objects: _Objects = {}
        for kind in kinds:
            objects.update(_selected(self._kinds[kind], scope))
        answer = LiveSet(objects=objects)
        self._answer = (key, version, answer)
        return answer

    def _named(self, kinds: Iterable[_KindKey], scope: Scope) -> _Objects:
        """The objects that a scope names, without looking at any other."""
        found: _Objects = {}
        for group, kind in kinds:
            for namespace in sorted(scope.namespaces or ()):
                for name in sorted(scope.names or ()):
                    ref = ObjectRef(group=group, kind=kind, namespace=namespace, name=name)
                    if ref in self._kinds[group, kind]:
                        found[ref] = self._kinds[group, kind][ref]
        return _selected(found, scope)

    def _refresh(self, kinds: Iterable[_KindKey]) -> int:
        since = {kind: self._versions.get(kind, 0) for kind in kinds}
        version = self._store.resource_version()
        if all(known == version for known in since.values()):
            return version
        with _uncollected() if 0 in since.values() else contextlib.nullcontext():
            return self._load(since)

    def _load(self, since: Mapping[_KindKey, int]) -> int:
        delta = self._store.delta(since)
        if delta is None:
            self._kinds.clear()
            self._versions.clear()
            return self._refresh(since)
        deleted: dict[_KindKey, list[ObjectRef]] = {}
        for ref in delta.deleted:
            deleted.setdefault((ref.group, ref.kind), []).append(ref)
        for kind, after in since.items():
            old = self._kinds[kind] if after else {}
            self._kinds[kind] = _updated(old, deleted.get(kind, ()), delta.rows.get(kind, []))
            self._versions[kind] = delta.version
        return delta.version


def _updated(old: _Objects, deleted: Iterable[ObjectRef], rows: list[Row]) -> _Objects:
    """`old` less what was deleted, plus rows; never changed in place, since it was handed out."""
    gone, new = set(deleted), _decoded(rows)
    if not (gone or new):
        return old
    result = {ref: one for ref, one in old.items() if ref not in gone} if gone else dict(old)
    added = bool(result) and any(ref not in result for ref in new)
    result.update(new)
    if added:
        return dict(sorted(result.items(), key=lambda item: (item[0].namespace, item[0].name)))
    return result


def _decoded(rows: list[Row]) -> _Objects:
    """The rows' objects. Empties the list on the way, so that bytes go as objects come."""
    result: _Objects = {}
    rows.reverse()
    while rows:
        row = rows.pop()
        result[row.ref] = LiveObject(ref=row.ref, uid=row.uid, resource_version=str(row.version), body=row.lazy_body())
    return result


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: reading a whole kind makes many objects and no garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _selected(objects: _Objects, scope: Scope) -> _Objects:
    if scope.namespaces is None and not scope.labels:
        return objects
    wanted, labels = scope.namespaces, scope.labels
    result = {}
    for ref, one in objects.items():
        if wanted is not None and ref.namespace not in wanted:
            continue
        have: dict[str, Any] = one.metadata.get("labels", {})
        if all(have.get(key) == value for key, value in labels.items()):
            result[ref] = one
    return result
