"""`reconciler registry`: look after what the fleet has on record."""

from __future__ import annotations

from reconciler.cli.command import group
from reconciler.cli.keeping import MEMBERS

command = group("registry", "Look after what the fleet has on record: check, back up, prune.", MEMBERS)
