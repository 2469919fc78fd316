"""The rules of the house that no linter knows, held by reading the tree."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "reconciler"
PACKAGES = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in names.decode().split("\0") if name]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            if b"\0" not in data:
                found.append((path, data.decode("utf-8", "replace")))
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_says_what_it_is_for_and_what_it_must_not_know(package: Path) -> None:
    doc = ast.get_docstring(ast.parse((package / "__init__.py").read_text()))
    assert doc, "a package opens with what it is for"
    assert re.search(r"must not know|knows? nothing|Must not", doc, re.IGNORECASE), "and with what it must not know"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_opens_with_what_may_live_there_and_stays_a_small_room(module: Path) -> None:
    source = module.read_text()
    assert ast.get_docstring(ast.parse(source)), "a module opens with what may live there"
    assert source.count("\n") <= 450, "a module of more than 450 lines is two rooms"


def test_functions_stay_readable() -> None:
    long = []
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 80:
                    long.append(f"{module.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert long == []


def test_nothing_unfinished_stands_in_the_package() -> None:
    words = re.compile(r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + "Error")
    assert [str(path) for path, text in texts() if PACKAGE in path.parents and words.search(text)] == []


def test_no_path_of_one_machine_and_no_package_host_is_committed() -> None:
    hosts = re.compile("pypi" + r"\.org|files\.python" + r"hosted|proxy\.golang" + r"\.org|registry\.npm" + r"js\.org")
    homes = re.compile(r"(?<![\w.$}])/(?:home|Users|root|work)/\w+")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts()
        for pattern in (hosts, homes)
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_every_lock_line_has_a_hash() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        entries = re.split(r"\n(?=\S)", lock.read_text().strip())
        bare = [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry]
        assert bare == []
