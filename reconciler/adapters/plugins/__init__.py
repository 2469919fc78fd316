"""Plugins: health checks of an operator's own, each run in a process of its own, as the Prober port.

For: entry points of installed packages (group `reconciler.health`) and executables in a folder that the operator names.
Must not know: fleets, health, clusters; no other adapter. Nothing that is run here ever comes out of a repository.
"""

from reconciler.adapters.plugins.finding import Installed
from reconciler.adapters.plugins.prober import PluginProber

__all__ = ["Installed", "PluginProber"]
