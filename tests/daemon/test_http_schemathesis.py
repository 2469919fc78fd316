"""A whole daemon that runs, asked for all that its OpenAPI document says and for what it does not: nothing is answered
in a way that is not written down, nothing hidden is done, and no fault is met. RECONCILER_TEST_EXAMPLES asks for more.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from reconciler.daemon.http.__main__ import described
from tests.daemon.behind import daemon
from tests.daemon.serving import WRITER

EXAMPLES = os.environ.get("RECONCILER_TEST_EXAMPLES", "5")
SEED = os.environ.get("RECONCILER_TEST_SEED", "1")
GRAMMARS = ("where", "selector", "orderBy", "continue", "agent")
"""Parameters whose values follow a grammar that no JSON Schema says: most texts are refused, and rightly so."""


def configuration(document: dict[str, object]) -> str:
    """What is not expected of some operations: that every text is a query, and that a delivery is believed."""
    parts = []
    for path, operations in document["paths"].items():  # type: ignore[attr-defined]
        for method, operation in operations.items():
            if any(one["name"] in GRAMMARS for one in operation.get("parameters", ())) or path == "/webhook":
                name = f'include-name = "{method.upper()} {path}"'
                parts.append(f"[[operations]]\n{name}\nchecks.positive_data_acceptance.enabled = false\n")
    return "\n".join(parts)


def test_a_daemon_answers_as_its_document_says_whatever_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(described())
    (tmp_path / "schemathesis.toml").write_text(configuration(json.loads(described())))
    with daemon(tmp_path / "state") as address:
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "run", "openapi.json", "--url", f"http://{address}",
            "-H", f"Authorization: Bearer {WRITER}", "--max-examples", EXAMPLES, "--seed", SEED, "--no-color",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False)
    said = re.sub(r"0{80,}", "0...", done.stdout)
    assert done.returncode == 0, said[-10_000:] + done.stderr[-2_000:]
    asked = re.search(r"(\d+) generated", said)
    assert asked is not None
    assert int(asked[1]) > 300
    print(asked[0])  # noqa: T201 - a figure
