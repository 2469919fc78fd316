"""The JSON Schemas of the files that people write, as text for editors and for `schemas/`."""

from __future__ import annotations

import json


def schema_files() -> dict[str, str]:
    """File name to the text of its schema; the same bytes each time."""
    from reconciler.spec.schema import schemas

    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas().items()}
