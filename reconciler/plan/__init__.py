"""Planning: from what is declared and what was observed to an ordered, guarded, inert Plan.

For: drift by field ownership, the diff, guards, order, fingerprints, saved plans. Must not know: how anything is
observed or applied, adapters, views; no I/O, no clock, no randomness.
"""

from reconciler.plan.planner import PlanCache, PlanInput, make_plan

__all__ = ["PlanCache", "PlanInput", "make_plan"]
