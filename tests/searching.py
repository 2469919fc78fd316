"""How many made-up examples a test is played with, where somebody asked for few."""

from __future__ import annotations

import os

FEW = "RECONCILER_TEST_EXAMPLES"
"""The variable that bounds them: where only what is reached is asked, and for mutants, of which there are thousands."""


def at_most(usual: int) -> int:
    """`usual`, or fewer where the environment says so."""
    return min(usual, int(os.environ.get(FEW, usual)))
