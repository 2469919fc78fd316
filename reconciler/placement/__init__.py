"""Placement: how many replicas of each agent run on which cluster, and what that reserves.

For: the policies all, spread, weighted and failover; quotas; what clusters can still take.
Must not know: files, manifests, plans, how a cluster is reached; the time comes in as a value.
"""

from reconciler.placement.place import place
from reconciler.placement.request import PlacementRequest, PlacementResult

__all__ = ["PlacementRequest", "PlacementResult", "place"]
