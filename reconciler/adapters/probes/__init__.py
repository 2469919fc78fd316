"""Probes: asking agents' endpoints over HTTP, gRPC and TCP, as the Prober port.

For: bounded measurements of endpoints that may be slow, huge, redirecting or somebody else's.
Must not know: agents, health, what a measurement is for; no other adapter.
"""

from reconciler.adapters.probes.prober import HttpProber

__all__ = ["HttpProber"]
