"""Caches over the Registry port: in this process, and on the disk of this machine for a registry that is far.

Must not know: any back end, nor any other adapter. What keeps a mirror on disk is given to it.
"""

from reconciler.adapters.cache.cached import CachedRegistry
from reconciler.adapters.cache.mirrored import MirroredRegistry
from reconciler.adapters.cache.told import Outcome, Used, unheard

__all__ = ["CachedRegistry", "MirroredRegistry", "Outcome", "Used", "unheard"]
