"""A plan for programs, as text: the document is that of reconciler.shapes."""

from __future__ import annotations

import msgspec

from reconciler.model.plan import Plan
from reconciler.shapes.plan import plan_json


def render_json(plan: Plan) -> str:
    """The plan as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(plan_json(plan)), indent=2).decode()
