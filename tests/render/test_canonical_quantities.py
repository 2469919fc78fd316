"""Quantities in the form in which an API server stores them."""

from __future__ import annotations

import pytest

from reconciler.model.units import Quantity


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1000m", "1"),
        ("1.50", "1500m"),
        ("0.5", "500m"),
        ("100m", "100m"),
        ("0.5Gi", "512Mi"),
        ("1024Mi", "1Gi"),
        ("1000Mi", "1000Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1023", "1023"),
        ("0.1Gi", "107374182400m"),
        ("1500M", "1500M"),
        ("1000M", "1G"),
        ("2000", "2k"),
        ("1E", "1E"),
        ("1e3", "1e3"),
        ("12e4", "120e3"),
        ("1e0", "1"),
        (".0001", "100u"),
        ("0", "0"),
        ("0Gi", "0"),
        ("0.0000000001", "1n"),
    ],
)
def test_a_quantity_is_stored_canonically(written: str, stored: str) -> None:
    assert Quantity.parse(written).canonical() == stored
