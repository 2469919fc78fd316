"""The back ends that the contract suites run over, and how many tests each of them passed.

A new back end joins by one fixture here, `NAME_at`, which answers how to open the registry of some name, and by its
name in REGISTRIES. A test that says the property `backend` is counted for it (tests/conftest.py prints the counts).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from arango.client import ArangoClient

from reconciler.adapters.arango import Access, ArangoRegistry
from reconciler.adapters.cache import CachedRegistry, MirroredRegistry
from reconciler.adapters.git import CheckedOut, Mirror, WorkingTree
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.adapters.sqlite.mirror import SqliteMirror
from reconciler.adapters.stored.ids import IdMaker
from reconciler.ports import Registry, Source
from tests.contracts.repositories import Repository
from tests.doubles.arango.double import ArangoDouble
from tests.doubles.arango.double import arango_double as started_double
from tests.doubles.clock import FakeClock

OpenRegistry = Callable[[], Awaitable[Registry]]
"""Opens the registry anew, as another process or a restart does: what was committed before must be there."""

REGISTRIES = ("sqlite", "arango-double", "arango-server")
WRAPPED = ("sqlite-cached", "sqlite-mirrored")
"""Registries behind a cache: they are held to all that a registry is, and not to how one is moved."""
SERVER_VARIABLE = "RECONCILER_TEST_ARANGO_URL"
"""Where a real ArangoDB is, for tests that make databases there and drop them again; user and password in the
variables of the same name that end in _USER and _PASSWORD (root, and none)."""


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


@pytest.fixture
def sqlite_cached_at(sqlite_at: Callable[[str], OpenRegistry], clock: FakeClock) -> Callable[[str], OpenRegistry]:
    def place(name: str) -> OpenRegistry:
        async def opener() -> Registry:
            return CachedRegistry(await sqlite_at(name)(), clock)

        return opener

    return place


@pytest.fixture
def sqlite_mirrored_at(
    sqlite_at: Callable[[str], OpenRegistry], tmp_path: Path, clock: FakeClock
) -> Callable[[str], OpenRegistry]:
    """Each opening finds the copy that the one before it left."""

    def place(name: str) -> OpenRegistry:
        async def opener() -> Registry:
            mirror = await SqliteMirror.open(tmp_path / f"{name}-mirror" / "mirror.db", clock, source=name)
            return MirroredRegistry(sqlite_at(name), mirror, clock, IdMaker(clock))

        return opener

    return place


@pytest.fixture(scope="session")
def arango_double() -> Iterator[ArangoDouble]:
    """A simulated server. It says 501 to what it does not know, and a test that got that far has failed."""
    with started_double() as double:
        yield double
        assert double.refused == []


@pytest.fixture
def arango_double_at(arango_double: ArangoDouble, clock: FakeClock) -> Callable[[str], OpenRegistry]:
    access = Access(urls=(arango_double.url,), database="", username="root", password=arango_double.password)
    return _databases(access, clock)


@pytest.fixture
def arango_server_at(clock: FakeClock) -> Iterator[Callable[[str], OpenRegistry]]:
    url = os.environ.get(SERVER_VARIABLE, "")
    if not url:
        pytest.skip(f"NOT RUN on a real ArangoDB: {SERVER_VARIABLE} says none (deploy/compose.yaml starts one)")
    username = os.environ.get("RECONCILER_TEST_ARANGO_USER", "root")
    password = os.environ.get("RECONCILER_TEST_ARANGO_PASSWORD", "")
    prefix = f"reconciler-test-{secrets.token_hex(4)}-"
    access = Access(urls=tuple(url.split(",")), database="", username=username, password=password)
    yield _databases(access, clock, prefix=prefix)
    system = ArangoClient(hosts=url.split(",")[0]).db("_system", username, password)
    databases: Any = system.databases()
    for name in databases:
        if name.startswith(prefix):
            system.delete_database(name)


def _databases(access: Access, clock: FakeClock, *, prefix: str = "") -> Callable[[str], OpenRegistry]:
    """Registries in databases that no other test has."""
    prefix = prefix or f"test-{secrets.token_hex(4)}-"

    def place(name: str) -> OpenRegistry:
        async def opener() -> Registry:
            return await ArangoRegistry.open(replace(access, database=prefix + name), clock)

        return opener

    return place


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a registry over all of them, or over the BACK_ENDS of its module."""
    if "open_registry" in metafunc.fixturenames:
        names = getattr(metafunc.module, "BACK_ENDS", (*REGISTRIES, *WRAPPED))
        metafunc.parametrize("open_registry", names, indirect=True)


@pytest_asyncio.fixture
async def open_registry(request: pytest.FixtureRequest, record_property):
    record_property("backend", request.param)
    opener: OpenRegistry = request.getfixturevalue(f"{request.param.replace('-', '_')}_at")("state")
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
