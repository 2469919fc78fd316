"""The back ends that the contract suites run over, and how many tests each of them passed.

A new back end joins by one fixture here, `NAME_at`, which answers how to open the registry of some name, and by its
name in REGISTRIES. A test that says the property `backend` is counted for it (tests/conftest.py prints the counts).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from reconciler.adapters.git import CheckedOut, Mirror, WorkingTree
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.ports import Registry, Source
from tests.contracts.repositories import Repository
from tests.doubles.clock import FakeClock

OpenRegistry = Callable[[], Awaitable[Registry]]
"""Opens the registry anew, as another process or a restart does: what was committed before must be there."""

REGISTRIES = ("sqlite",)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sqlite_at(tmp_path: Path, clock: FakeClock) -> Callable[[str], OpenRegistry]:
    def place(name: str) -> OpenRegistry:
        async def opener() -> Registry:
            return await SqliteRegistry.open(tmp_path / name / "registry.db", clock)

        return opener

    return place


@pytest_asyncio.fixture(params=REGISTRIES)
async def open_registry(request: pytest.FixtureRequest, record_property):
    record_property("backend", request.param)
    opener: OpenRegistry = request.getfixturevalue(f"{request.param}_at")("state")
    opened: list[Registry] = []

    async def remembering() -> Registry:
        opened.append(await opener())
        return opened[-1]

    yield remembering
    for registry in opened:
        await registry.close()


@pytest_asyncio.fixture
async def registry(open_registry: OpenRegistry) -> Registry:
    return await open_registry()


OpenSource = Callable[[], Awaitable[Source]]
"""Opens the source anew; a mirror fetches first."""

SOURCES = ("checked-out", "working-tree", "mirror")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture(params=SOURCES)
def source_kind(request: pytest.FixtureRequest, record_property) -> str:
    record_property("backend", request.param)
    kind: str = request.param
    return kind


@pytest.fixture
def open_source(source_kind: str, repository: Repository, tmp_path: Path) -> OpenSource:
    return lambda: source_of(source_kind, repository, tmp_path)


async def source_of(kind: str, repository: Repository, tmp_path: Path) -> Source:
    """A source of that kind on the repository's fleet folder."""
    if kind == "checked-out":
        return CheckedOut(repository.root, repository.fleet)
    if kind == "working-tree":
        return WorkingTree(repository.root, repository.fleet)
    mirror = Mirror(str(repository.root), tmp_path / "mirror", fleet_dir="fleet")
    await mirror.fetch()
    return mirror
