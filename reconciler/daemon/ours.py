"""Which objects of a cluster are the fleet's: a cluster tells of all that changes, also of what is others'."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.engine.reconcile import PlanningCache
from reconciler.model.identity import ObjectRef

Key = tuple[str, ObjectRef]


@dataclass(slots=True, kw_only=True)
class Ours:
    """Knows what the last plan wanted, and what is on record; before there was a plan everything counts."""

    cache: PlanningCache
    _made_of: tuple[object, object] = (None, None)
    _known: frozenset[Key] = field(default_factory=frozenset)

    def __call__(self, cluster: str, ref: ObjectRef) -> bool:
        """Whether a change of an object is a reason to look again."""
        rendered, placed = self.cache.rendered, self.cache.placed
        if rendered is None or placed is None:
            return True
        records = placed.request.records
        if self._made_of[0] is not rendered or self._made_of[1] is not records:
            wanted = {
                (name, one.ref) for shares in rendered.desired.values() for name, some in shares.items() for one in some
            }
            held = {(item.cluster, item.ref) for record in records.values() for item in record.inventory}
            self._known, self._made_of = frozenset(wanted | held), (rendered, records)
        return (cluster, ref) in self._known
