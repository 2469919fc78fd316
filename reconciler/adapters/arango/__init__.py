"""The registry in one ArangoDB database: the same records, journal, audit chain, history and leases as in SQLite.

Must not know: plans, clusters, the engine, or any other adapter; it stores what crosses the Registry port.
"""

from reconciler.adapters.arango.registry import ArangoRegistry
from reconciler.adapters.arango.servers import Access, Patience

__all__ = ["Access", "ArangoRegistry", "Patience"]
