"""All functions of AQL that are spoken here, each as documented."""

from __future__ import annotations

from tests.doubles.arango.aql import functions_arrays, functions_numbers, functions_text, functions_types
from tests.doubles.arango.aql.functions_arrays import distinct
from tests.doubles.arango.aql.table import FUNCTIONS

AREAS = (functions_types, functions_text, functions_numbers, functions_arrays)
"""The modules that fill the table; to be here is all that they need."""

__all__ = ["AREAS", "FUNCTIONS", "distinct"]
