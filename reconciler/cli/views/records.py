"""Records of the registry as people read them, beside how they look as JSON."""

from __future__ import annotations

from reconciler.shapes.records import audit_json, moment, record_json, revision_json, running

__all__ = ["age", "audit_json", "moment", "record_json", "revision_json", "running"]


def age(then_ms: int, now_ms: int) -> str:
    """How long ago, as kubectl writes it: `45s`, `12m`, `5h`, `3d`."""
    seconds = max(0, now_ms - then_ms) // 1000
    for unit, size, most in (("s", 1, 120), ("m", 60, 120), ("h", 3600, 48)):
        if seconds < size * most:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86_400}d"
