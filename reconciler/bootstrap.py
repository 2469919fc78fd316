"""The one place that chooses adapters: finds a fleet, and joins its ports into a Session.

Adapters are imported where they are opened, so that a command which needs none of them pays for none.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from reconciler.adapters.statefolder import STATE_FOLDER, cluster_folder, inside, prepare_state, share_secrets
from reconciler.engine.world import Retry, Stores
from reconciler.model.agent import AlertRoute
from reconciler.model.checks import Finding
from reconciler.model.errors import ReconcilerError, RegistryError
from reconciler.model.fleet import (
    ArangoRegistry,
    ClusterDeclaration,
    EmbeddedCluster,
    FleetSpec,
    KubernetesCluster,
    SqliteRegistry,
)
from reconciler.model.objects import Unreadable
from reconciler.ports import AlertBook, AlertSink, Clock, Cluster, Prober, Registry, Signer, Source

if TYPE_CHECKING:
    from reconciler.adapters.arango import Access
    from reconciler.adapters.arango import ArangoRegistry as OpenArango
    from reconciler.adapters.cache import Used
    from reconciler.adapters.embedded.cluster import EmbeddedCluster as OpenCluster
    from reconciler.adapters.git import Followed
    from reconciler.adapters.kubernetes.cluster import KubernetesCluster as ReachedCluster
    from reconciler.adapters.sqlite import SqliteRegistry as OpenSqlite

FLEET_FILE = "fleet.yaml"
RECORDS_MIRROR = "mirror.db"
"""A copy of the records of a registry that is far. It may be removed at any time."""
ALERTS = "alerts.db"
"""Which alerts are active, who was told, and what is still to be sent."""
GIT_MIRROR = "mirror"
"""A copy of the repository that is followed, where it is far."""


class FleetNotFound(ReconcilerError):
    """There is no fleet.yaml from a folder up to the root of its Git repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLocation:
    """Where a fleet lies. `git_root` holds `root`; it is `root` itself where there is no repository.

    `followed` is the repository that is mirrored there, where nothing is checked out.
    """

    root: Path
    git_root: Path
    versioned: bool
    followed: Followed | None = None

    @property
    def state_dir(self) -> Path:
        """Where the embedded parts keep their state."""
        return self.root / STATE_FOLDER


def find_fleet(start: Path) -> FleetLocation:
    """The fleet whose fleet.yaml is nearest: in `start` or above it, up to the root of its Git repository.

    Without a repository only `start` itself is looked at. A folder where a daemon keeps the mirror of a repository and
    its state is a fleet's too. Raises FleetNotFound, and SourceError for a mirror that does not say of what.
    """
    from reconciler.adapters.git import recall

    here = start.absolute()
    if not (here / FLEET_FILE).exists() and (followed := recall(here / STATE_FOLDER / GIT_MIRROR)):
        return _mirrored(here, followed)
    git_root = _git_root(here)
    for folder in (here, *here.parents):
        if (folder / FLEET_FILE).is_file():
            return FleetLocation(root=folder, git_root=git_root or folder, versioned=git_root is not None)
        if folder == (git_root or here):
            break
    raise FleetNotFound(
        f"there is no {FLEET_FILE} in {start} or above it, up to the Git root",
        hint="go to a fleet's folder, or where a daemon keeps its state, or name it with -C DIR; "
        "`reconciler init NAME` starts one",
    )


def _git_root(folder: Path) -> Path | None:
    """The root of the repository that a folder is in."""
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)


def _mirrored(folder: Path, followed: Followed) -> FleetLocation:
    """A folder with a mirror; it may be one of another repository, and what is committed there is not used."""
    git_root = _git_root(folder)
    return FleetLocation(root=folder, git_root=git_root or folder, versioned=git_root is not None, followed=followed)


class Session:
    """The ports of one fleet, opened when they are asked for and then kept. Implements engine.world.World."""

    def __init__(self, location: FleetLocation, source: Source, clock: Clock) -> None:
        self.location = location
        self.state_dir = location.state_dir
        self._source = source
        self._clock = clock
        self._registries: dict[SqliteRegistry | ArangoRegistry, Registry] = {}
        self._clusters: dict[str, tuple[ClusterDeclaration, Cluster]] = {}
        self._opened: list[OpenCluster | ReachedCluster] = []
        self._used: Used | None = None

    @property
    def source(self) -> Source:
        return self._source

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def retry(self) -> Retry:
        """How calls are tried again: with real randomness."""
        return Retry(jitter=random.random)

    def prober(self, plugins: Path | None = None) -> Prober:
        """Who asks endpoints how they are; whoever takes it closes it.

        `plugins` is a folder with health checks of the operator's own; see Installed.given. Raises ReconcilerError.
        """
        from reconciler.adapters.plugins import Installed, PluginProber
        from reconciler.adapters.probes import HttpProber
        from reconciler.engine.probers import Probers

        installed = Installed.given(plugins, repository=self.location.git_root if self.location.versioned else None)
        checks = PluginProber(clock=self._clock, installed=installed)
        return Probers(endpoints=HttpProber(clock=self._clock), plugins=checks)

    async def alert_book(self, seat: str = "") -> AlertBook:
        """What is kept of alerts, by one of several daemons at its seat; whoever takes it closes it.

        Raises RegistryError.
        """
        from reconciler.adapters.sqlite.alertbook import SqliteAlertBook

        prepare_state(self.state_dir)
        return await SqliteAlertBook.open(self.state_dir / (f"alerts-{seat}.db" if seat else ALERTS))

    def alert_seats(self) -> tuple[str, ...]:
        """The seats of daemons that have kept alerts in this state folder; "" for one that has none."""
        found = sorted(self.state_dir.glob("alerts*.db")) if self.state_dir.is_dir() else []
        return tuple(path.stem.removeprefix("alerts").removeprefix("-") for path in found)

    def alert_sink(self, route: AlertRoute) -> AlertSink:
        """Where a route's alerts go; whoever takes it closes it. Raises UsageError for what cannot be used."""
        from reconciler.adapters.alerts import open_sink

        return open_sink(route, os.environ, self._clock)

    def keep_answers(self, used: Used) -> None:
        """Keep what registries answer also in this process, as long as it is true: for one that stays. To be called
        before they are opened; `used` hears what the caches are good for.
        """
        self._used = used

    async def stores(self, fleet: FleetSpec) -> Stores:
        """See World. Raises ReconcilerError when the registry cannot be opened."""
        if not self._registries:
            await _refuse_committed_state(self.location)
        prepare_state(self.state_dir)
        registry = self._registries.get(fleet.registry)
        if registry is None:
            registry = self._registries[fleet.registry] = await self._near(fleet.registry)
        clusters = {one.name: await self._refused(one) or self._cluster(one) for one in fleet.clusters}
        return Stores(registry=registry, clusters=clusters)

    async def _near(self, declared: SqliteRegistry | ArangoRegistry) -> Registry:
        """A registry, with the caches that it is to have. Raises RegistryError when it cannot be opened."""
        if isinstance(declared, SqliteRegistry):
            registry: Registry = await self.open_registry(declared)
        else:
            registry = await self._mirrored(declared)
        if self._used is None:
            return registry
        from reconciler.adapters.cache import CachedRegistry

        return CachedRegistry(registry, self._clock, used=self._used)

    async def _mirrored(self, declared: ArangoRegistry) -> Registry:
        """A registry that is far, with a copy on this machine, which answers queries also while it is away.

        Raises RegistryError when it cannot be opened, and there is no copy.
        """
        from reconciler.adapters.cache import MirroredRegistry, unheard
        from reconciler.adapters.sqlite.mirror import SqliteMirror
        from reconciler.adapters.stored.ids import IdMaker

        async def reach() -> Registry:
            return await self.open_registry(declared)

        source = f"{declared.url}/{declared.database}"
        try:
            mirror = await SqliteMirror.open(self.state_dir / RECORDS_MIRROR, self._clock, source=source)
        except RegistryError:  # written to by another process for long, or nothing can be: it is only a copy
            return await reach()
        near = MirroredRegistry(reach, mirror, self._clock, IdMaker(self._clock), used=self._used or unheard)
        try:
            await near.open()
        except BaseException:
            await near.close()
            raise
        return near

    async def open_registry(
        self, declared: SqliteRegistry | ArangoRegistry, *, to_fill: bool = False
    ) -> OpenSqlite | OpenArango:
        """Open a registry, which the caller closes. `to_fill`: also one in which an import was broken off.

        Raises RegistryError.
        """
        match declared:
            case SqliteRegistry(path=path):
                from reconciler.adapters.sqlite import SqliteRegistry as Opened

                return await Opened.open(inside(self.state_dir, path), self._clock)
            case ArangoRegistry():
                from reconciler.adapters.arango import ArangoRegistry as OpenedThere

                access = arango_access(declared, self.location.root)
                return await OpenedThere.open(access, self._clock, half_filled=to_fill)

    async def examine_registry(self, declared: SqliteRegistry | ArangoRegistry) -> list[Finding]:
        """Look closer at the server that a registry is on; a file needs no such look. Raises RegistryError."""
        if isinstance(declared, SqliteRegistry):
            return []
        from reconciler.adapters.arango.checks import examine

        return await asyncio.to_thread(examine, arango_access(declared, self.location.root))

    async def _refused(self, declared: ClusterDeclaration) -> Unreadable | None:
        """Why a cluster is not even tried: a kubeconfig that came with a commit may name a program, which we would run.

        Raises SourceError.
        """
        named = declared.backend.kubeconfig if isinstance(declared.backend, KubernetesCluster) else ""
        if not (named and self.location.versioned):
            return None
        from reconciler.adapters.git import tracks

        for each in _names_of(Path(_kubeconfig(named, self.location.root))):
            if each.is_relative_to(self.location.git_root) and await tracks(self.location.git_root, each):
                why = f"cluster {declared.name}: {named} is part of the repository, and is not used"
                return Unreadable(reason=why, refused=True)
        return None

    def _cluster(self, declared: ClusterDeclaration) -> Cluster | Unreadable:
        known = self._clusters.get(declared.name)
        if known is not None and known[0] == declared:
            return known[1]
        opened = self._open_cluster(declared)
        if not isinstance(opened, Unreadable):  # what could not be opened is tried again by the next who asks
            self._clusters[declared.name] = declared, opened
        return opened

    def _open_cluster(self, declared: ClusterDeclaration) -> Cluster | Unreadable:
        match declared.backend:
            case KubernetesCluster():
                from reconciler.adapters.kubernetes.cluster import KubernetesCluster as Reached
                from reconciler.adapters.kubernetes.connection import Login

                login = Login(
                    context=declared.backend.context,
                    kubeconfig=_kubeconfig(declared.backend.kubeconfig, self.location.root),
                    in_cluster=declared.backend.in_cluster,
                )
                reached = Reached(declared.name, login, self._clock)
                self._opened.append(reached)
                return reached
            case EmbeddedCluster(run=run):
                from reconciler.adapters.embedded.cluster import EmbeddedCluster as Opened
                from reconciler.adapters.embedded.lifecycle import ensure_running

                folder = cluster_folder(self.state_dir, declared.name)
                start: Callable[[Path], None] = lambda state: ensure_running(state, self.location.root)  # noqa: E731
                try:
                    prepare_state(folder)
                    share_secrets(self.state_dir, folder)
                    opened = Opened.open(declared.name, folder, run=run, ensure_supervisor=start)
                except ReconcilerError as error:
                    return Unreadable(reason=error.message)
                self._opened.append(opened)
                return opened

    async def close_others(self, stores: Stores) -> None:
        """Close the clusters that `stores` lacks: the fleet names them no more, or others by their names.

        Only for who knows that nobody works with them any more.
        """
        for cluster in [one for one in self._opened if all(one is not kept for kept in stores.clusters.values())]:
            self._opened.remove(cluster)
            self._clusters = {name: held for name, held in self._clusters.items() if held[1] is not cluster}
            await cluster.close()

    async def close(self) -> None:
        """Close what was opened. Agents go on running."""
        for cluster in self._opened:
            await cluster.close()
        for registry in self._registries.values():
            await registry.close()
        self._opened.clear()
        self._registries.clear()
        self._clusters.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def made_state(folder: Path) -> None:
    """Make the folder in which embedded parts keep their state. Raises ReconcilerError."""
    prepare_state(folder)


async def open_fleet(location: FleetLocation, *, working_tree: bool = False, clock: Clock | None = None) -> Session:
    """A session on the commits of a fleet's repository, or with `working_tree` on its files as they are.

    Where a repository is mirrored and nothing is checked out, both are what was fetched last. Opens no cluster and no
    registry yet. Raises SourceError when there is no repository to read commits of.
    """
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.git import CheckedOut, WorkingTree

    source: Source
    if location.followed:
        await _refuse_committed_state(location)
        source = _mirror(location.followed.url, location.state_dir, location.followed)
    elif working_tree:
        source = WorkingTree(location.git_root, location.root)
    else:
        source = CheckedOut(location.git_root, location.root)
    return Session(location, source, clock or SystemClock())


async def follow_remote(
    url: str, folder: Path, fleet_dir: str, *, branch: str = "", clock: Clock | None = None
) -> Session:
    """A session on a remote repository: it is mirrored below `folder`, where state is kept too; nothing is checked out.
    `folder` is absolute.

    Programs of the repository are therefore not there for an embedded cluster to start; images on Kubernetes are.
    Raises SourceError for an address that cannot be meant. It is fetched when its source is asked to.
    """
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.git import Followed, mask, remember

    followed = Followed(url=mask(url), branch=branch, fleet_dir=fleet_dir)
    location = _mirrored(folder, followed)
    source = _mirror(url, location.state_dir, followed)
    await _refuse_committed_state(location)
    prepare_state(location.state_dir)
    remember(location.state_dir / GIT_MIRROR, followed)
    return Session(location, source, clock or SystemClock())


def _mirror(url: str, state_dir: Path, followed: Followed) -> Source:
    from reconciler.adapters.git import Mirror

    return Mirror(url, state_dir / GIT_MIRROR, fleet_dir=followed.fleet_dir, branch=followed.branch)


def arango_access(declared: ArangoRegistry, root: Path) -> Access:
    """Where a registry in ArangoDB is, and as whom we come. Raises RegistryError for credentials that are not there."""
    from reconciler.adapters.arango import Access

    ca_file = str(root / Path(declared.ca_file).expanduser()) if declared.ca_file else ""
    if ca_file and not Path(ca_file).exists():
        raise RegistryError(f"{ca_file} does not exist", hint="look at `caFile` of the registry in fleet.yaml")
    return Access(
        urls=(declared.url, *declared.coordinators),
        database=declared.database,
        username=_credential(declared.username_env, "usernameEnv"),
        password=_credential(declared.password_env, "passwordEnv"),
        ca_file=ca_file,
    )


def _credential(name: str, field: str) -> str:
    """The value of an environment variable that fleet.yaml names.

    Only variables that are named for this are used: a commit could otherwise have any secret of this environment sent
    to an address of its choice. Raises RegistryError.
    """
    if not name.startswith(_CREDENTIALS):
        raise RegistryError(
            f"the registry's {field} is {name}: only what begins with {' or '.join(_CREDENTIALS)} is sent there",
            hint=f"name it {_CREDENTIALS[0]}{name} in fleet.yaml and where it is set",
        )
    value = os.environ.get(name)
    if value is None:
        raise RegistryError(
            f"the environment variable {name} is not set", hint=f"the registry's {field} in fleet.yaml names it"
        )
    return value


_CREDENTIALS = ("ARANGO_", "RECONCILER_")


def signer() -> Signer:
    """Who makes and checks signatures."""
    from reconciler.adapters.signing import SshSigner

    return SshSigner()


def _kubeconfig(path: str, root: Path) -> str:
    """A kubeconfig as fleet.yaml names it: `~` is our home, other relative paths start at the fleet."""
    return str(root / Path(path).expanduser()) if path else ""


def _names_of(path: Path) -> set[Path]:
    """A file as it is named, and as it is without links."""
    return {path.absolute(), path.resolve()}


async def _refuse_committed_state(location: FleetLocation) -> None:
    """Refuse state that came with a commit: to look at it would start what its author put there to be run.

    Raises ReconcilerError.
    """
    from reconciler.adapters.git import tracks

    if location.versioned and await tracks(location.git_root, location.state_dir):
        raise ReconcilerError(
            f"{location.state_dir} is part of the repository, and is not used: state is made here, or not at all",
            hint=f"look at who committed it; `git rm -r --cached {STATE_FOLDER}` takes it out",
        )
