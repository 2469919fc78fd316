"""The reference pages: complete, and as fresh as the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.cli.main import COMMANDS
from reconciler.cli.reference import fields_page, main, pages
from reconciler.cli.settings import SETTINGS

from .conftest import ROOT


def test_the_pages_in_the_repository_are_up_to_date() -> None:
    assert main(["--check", str(ROOT / "docs" / "reference")]) == 0


def test_every_command_and_setting_is_told() -> None:
    page = pages()["cli.md"]
    for name in COMMANDS:
        assert re.search(rf"^## {name}( |$)", page, re.MULTILINE), name
    for setting in SETTINGS.values():
        assert f"`{setting.key}` | `{setting.variable}`" in page


def test_fields_are_told_to_the_leaves() -> None:
    page = pages()["fields.md"]
    for path in ("spec.resources.limits", "spec.probes.readiness.http.path", "spec.tools[].requireApproval"):
        assert f"`{path}`" in page
    assert re.search(r'^\| `spec\.rollout\.timeout` \| duration \| .*default `"2m"` \|$', page, re.MULTILINE)
    assert "`spec.quotas[].memory` | quantity" in page


def test_a_schema_that_refers_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "a|b": {"type": ["string", "null"]}}}
    page = fields_page(
        {"x.json": {"title": "X", "properties": {"node": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}}
    )
    assert page.count("node.next`") == 1
    assert "string or null" in page


def test_stale_pages_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--write", str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    (tmp_path / "cli.md").write_text("old")
    assert main(["--check", str(tmp_path)]) == 1
    assert "cli.md" in capsys.readouterr().err
    assert main(["--frobnicate"]) == 1
