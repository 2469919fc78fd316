"""The registry in one SQLite file: records, journal, audit chain, history and leases, one transaction a write.

Must not know: plans, clusters, the engine, or any other adapter; it stores what crosses the Registry port.
"""

from reconciler.adapters.sqlite.registry import SqliteRegistry

__all__ = ["SqliteRegistry"]
