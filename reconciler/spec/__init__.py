"""Reading: from the bytes of a revision to complete, typed agents, each field with the place it was written at.

For: documents, templates, validation, JSON Schema. Must not know: clusters' state, the registry, placement, plans,
or how bytes are fetched; no I/O, no clock.
"""

from reconciler.spec.declare import SpecCache, errors, read_fleet
from reconciler.spec.documents import locate
from reconciler.spec.nearest import nearest
from reconciler.spec.provenance import origin

__all__ = ["SpecCache", "errors", "locate", "nearest", "origin", "read_fleet"]
