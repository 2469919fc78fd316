"""What tests of charts ask for: `helm`. Where the program is missing they are skipped, and one line at the end says
what to type; in CI they fail.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helm.helm import Helm, program


def require_helm() -> None:
    """Skip where Helm is missing; in CI fail."""
    if not os.access(program(), os.X_OK):
        missing = f"no Helm at {program()}: type `make helm`"
        if os.environ.get("CI"):
            pytest.fail(f"{missing} (in CI it must be there)", pytrace=False)
        pytest.skip(missing)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster."""
    require_helm()
    home: Path = tmp_path_factory.mktemp("helm")
    return Helm(home)
