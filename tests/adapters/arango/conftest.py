"""A simulated ArangoDB for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doubles.arango.double import ArangoDouble, arango_double


@pytest.fixture(scope="module")
def double() -> Iterator[ArangoDouble]:
    """It refuses what it does not know, and a test that got that far has failed."""
    with arango_double() as running:
        yield running
        assert running.refused == []
