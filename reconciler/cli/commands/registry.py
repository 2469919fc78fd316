"""`reconciler registry`: look after what the fleet has on record."""

from __future__ import annotations

from reconciler.cli import keeping, moving
from reconciler.cli.command import group

command = group(
    "registry",
    "Look after what the fleet has on record: check, back up, prune, move.",
    {**keeping.MEMBERS, **moving.MEMBERS},
)
