"""How much is looked at before a query is answered another way. Only numbers live here: what they cost is measured.

`python -m benchmarks.registry` measures; times that stand beside them are of 100,000 agents.
"""

from __future__ import annotations

FEW = 2_000
"""Agents that are looked at one by one without a thought."""
MAX_GROUPS = 300
"""Values of an order that are gone through one after another."""
SLOW_GROUPS = 8
"""Of those, such as took long."""
NAMED_VALUES = 64
"""Values that a statement names, instead of a condition on them."""
SORTED = 8_000
"""Records of a list that is not in order and may be sorted, to be gone through beside others."""
SIDE_BY_SIDE = 20
"""Times as many records as the shortest list has that another in order may have to be gone through beside it: to look
each of the shortest up costs about so much more than a step in a list.
"""
PATIENCE = 40_000
"""Steps of SQLite's machine that a walk may take at most: a few milliseconds."""
STEPS_EACH = 5
"""Steps of a walk that cost about as much as one agent that is looked up."""
TICK = 1000
"""So often steps are counted. SQLite goes on counting where the same statement ended before: a tick may come early."""
