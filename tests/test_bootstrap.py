"""Finding a fleet and opening its ports; what is not there is said, and hurts nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from reconciler.adapters.git import Followed
from reconciler.adapters.statefolder import cluster_folder, prepare_state
from reconciler.bootstrap import FleetNotFound, find_fleet, follow_remote, open_fleet
from reconciler.engine.reconcile import compute_plan
from reconciler.model.errors import ReconcilerError, RegistryError, SourceError
from reconciler.model.fleet import (
    ArangoRegistry,
    ClusterDeclaration,
    EmbeddedCluster,
    FleetSpec,
    KubernetesCluster,
    SqliteRegistry,
)
from reconciler.model.objects import Found, Scope, Unreadable
from reconciler.model.plan import HoldCode, Policy
from tests.engine.fleets import FleetRepo, agent, applied, finished

LOCAL = ClusterDeclaration(name="local", backend=EmbeddedCluster(run="nothing"))
FAR = ClusterDeclaration(name="eu-1", backend=KubernetesCluster(context="eu-1"))


def fleet(*clusters: ClusterDeclaration, registry=None) -> FleetSpec:
    return FleetSpec(name="acme", clusters=clusters, registry=registry or SqliteRegistry())


def test_a_fleet_is_found_from_below_up_to_the_git_root(tmp_path):
    repo = FleetRepo(tmp_path / "repo" / "fleets" / "acme")
    below = repo.root / "agents" / "support"
    below.mkdir(parents=True)
    found = find_fleet(below)
    assert (found.root, found.git_root, found.versioned) == (repo.root, repo.root, True)
    assert found.state_dir == repo.root / ".reconciler"


def test_a_fleet_may_lie_below_the_root_of_its_repository(tmp_path):
    repo = FleetRepo(tmp_path)
    inner = tmp_path / "fleets" / "inner"
    inner.mkdir(parents=True)
    (inner / "fleet.yaml").write_text("kind: Fleet\n")
    found = find_fleet(inner)
    assert (found.root, found.git_root) == (inner, repo.root)


def test_state_behind_a_link_is_refused_and_what_it_leads_to_is_left_alone(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    state = tmp_path / "fleet" / ".reconciler"
    state.parent.mkdir()
    state.symlink_to(victim)
    with pytest.raises(ReconcilerError, match="is a link"):
        prepare_state(state)
    assert (victim.stat().st_mode & 0o777, list(victim.iterdir())) == (0o755, [])


@pytest.mark.parametrize("name", ["supervisor.log", "registry.db", "secrets", "clusters"])
def test_a_link_within_the_state_is_refused_but_for_the_shared_secrets(tmp_path, name):
    state = tmp_path / ".reconciler"
    state.mkdir()
    (state / name).symlink_to(tmp_path / "victim")
    with pytest.raises(ReconcilerError, match=f"{name} is a link"):
        prepare_state(state)
    folder = cluster_folder(tmp_path / "other" / ".reconciler", "eu-1")
    prepare_state(folder)
    (folder / "secrets").symlink_to("../../secrets")
    prepare_state(folder)
    (folder / "secrets").unlink()
    (folder / "secrets").symlink_to("../../../elsewhere")
    with pytest.raises(ReconcilerError, match="secrets is a link"):
        prepare_state(folder)


def test_no_fleet_above_the_git_root_is_looked_for(tmp_path):
    (tmp_path / "fleet.yaml").write_text("kind: Fleet\n")
    inside = tmp_path / "project"
    (inside / ".git").mkdir(parents=True)
    with pytest.raises(FleetNotFound) as raised:
        find_fleet(inside)
    assert "reconciler init" in raised.value.hint


async def test_state_is_for_its_owner_alone(tmp_path):
    repo = FleetRepo(tmp_path / "fleet")
    async with await repo.session() as session:
        await session.stores(fleet(LOCAL))
        assert session.state_dir.stat().st_mode & 0o777 == 0o700


async def test_a_cluster_without_credentials_is_unreadable_and_the_others_work(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    repo = FleetRepo(tmp_path / "fleet")
    async with await repo.session() as session:
        stores = await session.stores(fleet(LOCAL, FAR))
        far, local = stores.clusters["eu-1"], stores.clusters["local"]
        assert not isinstance(far, Unreadable)
        assert not isinstance(local, Unreadable)
        answer = await far.observe(Scope())
        assert isinstance(answer, Unreadable)
        assert str(tmp_path / "nowhere") in answer.reason
        assert isinstance(await local.observe(Scope()), Found)


async def test_a_kubeconfig_that_came_with_a_commit_is_not_used(tmp_path):
    """It may name a credential plugin: a pull request could have its plan run any program."""
    repo = FleetRepo(tmp_path / "fleet")
    ran = tmp_path / "ran"
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(ran)]}}
    config = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "a", "user": user}],
    }
    repo.commit({"deploy/kubeconfig": json.dumps(config)})
    far = ClusterDeclaration(name="eu-1", backend=KubernetesCluster(kubeconfig="deploy/kubeconfig"))
    async with await repo.session() as session:
        found = (await session.stores(fleet(LOCAL, far))).clusters["eu-1"]
        assert isinstance(found, Unreadable)
        assert "part of the repository" in found.reason
    assert not ran.exists()


async def test_agents_of_an_unreadable_cluster_are_held_and_the_rest_is_applied(tmp_path):
    repo = FleetRepo(
        tmp_path / "fleet",
        "apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {name: acme}\nspec:\n  clusters:\n"
        "    - {name: local, embedded: {run: nothing}}\n    - {name: eu-1, kubernetes: {context: eu-1}}\n",
    )
    repo.commit(
        {
            "agents/here.yaml": agent("here", "  placement: {clusters: {names: [local]}}\n"),
            "agents/there.yaml": agent("there", "  placement: {clusters: {names: [eu-1]}}\n"),
        }
    )
    async with await repo.session() as session:
        plan = await compute_plan(session, policy=Policy())
        assert {str(change.name) for change in plan.changes} == {"support/here"}
        held = [hold for hold in plan.holds if "support/there" in map(str, hold.agents)]
        assert held
        assert all(hold.code in (HoldCode.UNREADABLE, HoldCode.UNPLACEABLE) for hold in held)
        assert set(finished(await applied(session, plan))) == {"support/here"}


async def test_plugins_that_a_commit_could_write_are_not_run(tmp_path):
    repo = FleetRepo(tmp_path / "fleet")
    inside, outside = repo.root / "plugins", tmp_path / "plugins"
    inside.mkdir()
    link = tmp_path / "link"
    link.symlink_to(inside)
    async with await open_fleet(find_fleet(repo.root)) as session:
        for folder in (inside, link):
            with pytest.raises(ReconcilerError, match="a commit could have any program run here"):
                session.prober(folder)
        with pytest.raises(ReconcilerError, match="is no folder"):
            session.prober(outside)
        outside.mkdir()
        await session.prober(outside).close()


async def test_the_same_stores_are_answered_again(tmp_path):
    repo = FleetRepo(tmp_path / "fleet")
    async with await repo.session() as session:
        first, again = await session.stores(fleet(LOCAL)), await session.stores(fleet(LOCAL))
        assert first.registry is again.registry
        assert first.clusters["local"] is again.clusters["local"]


ARANGO = ArangoRegistry(
    url="http://127.0.0.1:9", database="a", username_env="ARANGO_USER", password_env="ARANGO_PASSWORD"
)


async def test_a_registry_in_arangodb_takes_its_credentials_from_the_environment(tmp_path, monkeypatch):
    repo = FleetRepo(tmp_path / "fleet")
    monkeypatch.delenv("ARANGO_USER", raising=False)
    async with await repo.session() as session:
        with pytest.raises(RegistryError, match="ARANGO_USER is not set"):
            await session.stores(fleet(LOCAL, registry=ARANGO))
        monkeypatch.setenv("ARANGO_USER", "someone")
        monkeypatch.setenv("ARANGO_PASSWORD", "invented")
        with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9/a: cannot open the registry.*refused"):
            await session.stores(fleet(LOCAL, registry=ARANGO))


async def test_only_variables_that_are_named_for_it_are_sent_to_a_registry(tmp_path, monkeypatch):
    repo = FleetRepo(tmp_path / "fleet")
    monkeypatch.setenv("CLOUD_KEY", "hush")
    async with await repo.session() as session:
        with pytest.raises(RegistryError, match="only what begins with ARANGO_"):
            await session.stores(fleet(LOCAL, registry=replace(ARANGO, username_env="CLOUD_KEY")))


async def test_certificates_that_are_not_there_are_named(tmp_path, monkeypatch):
    repo = FleetRepo(tmp_path / "fleet")
    monkeypatch.setenv("ARANGO_USER", "someone")
    monkeypatch.setenv("ARANGO_PASSWORD", "invented")
    async with await repo.session() as session:
        with pytest.raises(RegistryError, match=r"fleet/ca\.pem does not exist"):
            await session.stores(fleet(LOCAL, registry=replace(ARANGO, ca_file="ca.pem")))


@pytest.mark.parametrize("path", ["/etc/registry.db", "../registry.db"])
async def test_a_registry_outside_of_the_state_folder_is_refused(tmp_path, path):
    repo = FleetRepo(tmp_path / "fleet")
    async with await repo.session() as session:
        with pytest.raises(ReconcilerError, match="leads out"):
            await session.stores(fleet(LOCAL, registry=SqliteRegistry(path=path)))


def test_clusters_do_not_share_a_folder(tmp_path):
    folders = {cluster_folder(tmp_path, name) for name in ("local", "one", "two")}
    assert len(folders) == 3
    assert cluster_folder(tmp_path, "local") == tmp_path


async def test_clusters_share_the_secrets_of_the_fleet(tmp_path):
    repo = FleetRepo(tmp_path / "fleet")
    east = ClusterDeclaration(name="east", backend=EmbeddedCluster(run="nothing"))
    async with await repo.session() as session:
        await session.stores(fleet(LOCAL, east))
        key = session.state_dir / "secrets" / "support" / "anthropic" / "api-key"
        key.parent.mkdir(parents=True)
        key.write_text("invented")
        shared = cluster_folder(session.state_dir, "east") / "secrets" / "support" / "anthropic" / "api-key"
        assert shared.read_text() == "invented"


async def test_the_working_tree_is_read_when_asked_for(tmp_path):
    repo = FleetRepo(tmp_path / "fleet")
    (repo.root / "agents").mkdir()
    (repo.root / "agents" / "new.yaml").write_text(agent("new"))
    async with await open_fleet(find_fleet(repo.root), working_tree=True) as session:
        assert len((await compute_plan(session, policy=Policy())).changes) == 1
    async with await repo.session() as session:
        assert (await compute_plan(session, policy=Policy())).changes == ()


def test_importing_bootstrap_pays_for_no_adapter():
    code = (
        "import sys, reconciler.bootstrap; "
        "print(sorted({'kubernetes', 'arango', 'sqlite3', 'aiohttp', 'git', 'starlette'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "path", ["cluster.db", "cluster.db-wal", "supervisor.json", "secrets", "../registry.db", "./mirror.db"]
)
async def test_a_registry_lies_in_a_file_of_its_own(tmp_path, path):
    repo = FleetRepo(tmp_path)
    async with await open_fleet(find_fleet(repo.root)) as session:
        with pytest.raises(ReconcilerError, match="registry path"):
            await session.stores(fleet(LOCAL, registry=SqliteRegistry(path=path)))


@pytest.mark.parametrize("below", ["", "fleets/inner"])
async def test_state_that_came_with_a_commit_is_refused(tmp_path, below):
    """With its objects would come workloads, and the next look at the cluster would start them."""
    repo = FleetRepo(tmp_path)
    root = repo.root / below
    repo.commit({".gitignore": "", f"{below}/.reconciler/cluster.db".lstrip("/"): "", "other/.reconciler/x": ""})
    (root / "fleet.yaml").write_text("kind: Fleet\n")
    async with await open_fleet(find_fleet(root)) as session:
        with pytest.raises(ReconcilerError, match="part of the repository"):
            await session.stores(fleet(LOCAL))
    repo.commit({f"{below}/.reconciler/cluster.db".lstrip("/"): None})
    async with await open_fleet(find_fleet(root)) as session:
        await session.stores(fleet(LOCAL))


async def test_the_mirror_of_a_repository_and_the_copy_of_a_far_registry_lie_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("ARANGO_USER", "someone")
    monkeypatch.setenv("ARANGO_PASSWORD", "invented")
    repo = FleetRepo(tmp_path / "fleet")
    async with await follow_remote(str(repo.root), tmp_path / "state", "") as session:
        await session.source.fetch()
        with pytest.raises(RegistryError, match="refused"):
            await session.stores(fleet(registry=ARANGO))
        assert (await session.source.revision("")).commit
    assert (tmp_path / "state/.reconciler/mirror").is_dir()
    assert (tmp_path / "state/.reconciler/mirror.db").is_file()


async def test_where_no_copy_can_be_had_the_registry_is_asked_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("ARANGO_USER", "someone")
    monkeypatch.setenv("ARANGO_PASSWORD", "invented")
    async with await FleetRepo(tmp_path / "fleet").session() as session:
        prepare_state(session.state_dir)
        (session.state_dir / "mirror.db" / "in-the-way").mkdir(parents=True)
        with pytest.raises(RegistryError, match="refused"):
            await session.stores(fleet(registry=ARANGO))


async def test_a_cluster_that_could_not_be_opened_is_tried_again(tmp_path):
    repo = FleetRepo(tmp_path / "fleet")
    other = replace(LOCAL, name="other")
    async with await repo.session() as session:
        in_the_way = session.state_dir / "clusters"
        prepare_state(session.state_dir)
        in_the_way.write_text("")
        assert isinstance((await session.stores(fleet(other))).clusters["other"], Unreadable)
        in_the_way.unlink()
        assert not isinstance((await session.stores(fleet(other))).clusters["other"], Unreadable)


async def test_a_folder_that_cannot_hold_a_mirror_is_told_as_a_fault_of_the_source(tmp_path):
    prepare_state(tmp_path / ".reconciler")
    (tmp_path / ".reconciler/mirror").write_text("")
    with pytest.raises(SourceError, match="cannot be used for a mirror"):
        await follow_remote("https://git.example/fleet.git", tmp_path, "")


async def test_where_a_repository_is_mirrored_its_fleet_is_found(tmp_path):
    repo = FleetRepo(tmp_path / "fleet")
    repo.commit({"inner/fleet.yaml": "kind: Fleet\n"})
    state = tmp_path / "state"
    async with await follow_remote(str(repo.root), state, "inner", branch="main") as session:
        await session.source.fetch()
    location = find_fleet(state)
    assert location.followed == Followed(url=str(repo.root), branch="main", fleet_dir="inner")
    async with await open_fleet(location, working_tree=True) as session:
        revision = await session.source.revision("")
        assert revision.ref == "main"
        assert list(await session.source.blobs(revision)) == ["fleet.yaml"]


async def test_what_is_noted_of_a_mirror_holds_no_password(tmp_path):
    async with await follow_remote("https://someone:invented@git.example/fleet.git", tmp_path, ""):
        note = tmp_path / ".reconciler/mirror/followed.json"
        assert "git.example" in note.read_text()
        assert "invented" not in note.read_text()
        assert "someone" not in note.read_text()


@pytest.mark.parametrize("said", ["", "[]", '{"url": 1}', "\0"])
async def test_a_mirror_that_does_not_say_of_what_is_told(tmp_path, said):
    async with await follow_remote("https://git.example/fleet.git", tmp_path, ""):
        (tmp_path / ".reconciler/mirror/followed.json").write_text(said)
    with pytest.raises(SourceError, match="does not say what is mirrored"):
        find_fleet(tmp_path)


@pytest.mark.parametrize("below", ["", "ops"])
async def test_a_mirror_that_came_with_a_commit_is_refused(tmp_path, below):
    """Its state would be used, and what it names be run, as if nobody had committed it."""
    repo = FleetRepo(tmp_path / "far")
    root = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", root], check=True)  # noqa: ASYNC221 - the test has nothing else to do
    here = root / below
    here.mkdir(exist_ok=True)
    async with await follow_remote(str(repo.root), here, "") as session:
        await session.source.fetch()
    subprocess.run(["git", "add", "-Af", "."], cwd=root, check=True)  # noqa: ASYNC221 - as above
    location = find_fleet(here)
    assert location.followed is not None
    with pytest.raises(ReconcilerError, match="part of the repository"):
        await open_fleet(location)
    with pytest.raises(ReconcilerError, match="part of the repository"):
        await follow_remote(str(repo.root), here, "")


async def test_a_branch_that_a_mirror_has_no_more_is_told(tmp_path):
    repo = FleetRepo(tmp_path / "fleet")
    async with await follow_remote(str(repo.root), tmp_path / "state", "", branch="away") as session:
        with pytest.raises(SourceError, match="was never fetched"):
            await session.source.revision("")
        await session.source.fetch()
        with pytest.raises(SourceError, match="has no branch away as it was fetched last"):
            await session.source.revision("")


@pytest.mark.parametrize("named", ["./inner/", "inner", "/inner/.", "x/../inner"])
async def test_a_fleet_in_a_folder_of_the_repository_is_found_however_it_is_named(tmp_path, named):
    repo = FleetRepo(tmp_path / "fleet")
    repo.commit({"inner/fleet.yaml": "kind: Fleet\n"})
    async with await follow_remote(str(repo.root), tmp_path / "state", named) as session:
        await session.source.fetch()
        assert list(await session.source.blobs(await session.source.revision(""))) == ["fleet.yaml"]


async def test_a_folder_out_of_the_repository_is_refused(tmp_path):
    with pytest.raises(SourceError, match="leads out of the repository"):
        await follow_remote("https://git.example/fleet.git", tmp_path, "../other")


async def test_files_beside_a_mirror_come_first(tmp_path):
    async with await follow_remote("https://git.example/fleet.git", tmp_path, ""):
        (tmp_path / "fleet.yaml").write_text("kind: Fleet\n")
    assert find_fleet(tmp_path).followed is None


async def test_clusters_that_the_fleet_names_no_more_are_closed_and_opened_anew_when_it_does(tmp_path):
    repo = FleetRepo(tmp_path / "fleet")
    other = replace(LOCAL, name="other")
    async with await repo.session() as session:
        before = await session.stores(fleet(LOCAL, other))
        now = await session.stores(fleet(LOCAL))
        await session.close_others(now)
        again = await session.stores(fleet(LOCAL, other))
        assert again.clusters["other"] is not before.clusters["other"]
        assert again.clusters["local"] is before.clusters["local"]
        for cluster in again.clusters.values():
            assert not isinstance(cluster, Unreadable)
            assert isinstance(await cluster.observe(Scope()), Found)
