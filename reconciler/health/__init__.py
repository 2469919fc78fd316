"""Health: measurements in, judgement out, with hysteresis so that one bad second is no illness.

For: assessing an agent over its dimensions (connectivity, performance, resources, lifecycle, dependencies, card).
Must not know: how anything is measured, clusters, registries, the clock; times come in as arguments.
"""

from reconciler.health.assess import assess, fails_now, stands
from reconciler.health.requests import plugin_request, probe_request

__all__ = ["assess", "fails_now", "plugin_request", "probe_request", "stands"]
