"""How often the process of a daemon looks for garbage in cycles. Nothing else may live here."""

from __future__ import annotations

import gc

YOUNG = 50_000
"""Python looks after 700 new objects. A sweep of ten thousand agents makes hundreds of thousands that all go by
themselves, and looking at them over and over took a quarter of its time (`benchmarks/sweep.py`).
"""


def collect_seldom() -> None:
    """Look for cycles after 50,000 new objects: of those that are garbage some megabytes wait for it at most."""
    gc.set_threshold(YOUNG, 10, 10)
