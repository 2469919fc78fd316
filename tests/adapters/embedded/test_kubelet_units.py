"""What a process is told, where its files lie, how it is probed, restarted and logged: parts of the kubelet alone."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded.kubelet import files, logs, machine, probes
from reconciler.adapters.embedded.kubelet import process as process_module
from reconciler.adapters.embedded.kubelet.container import MAX_BACKOFF_SECONDS, backoff
from reconciler.adapters.embedded.kubelet.environment import LaunchError, Setting, build, command, expand, find
from reconciler.adapters.embedded.kubelet.files import ConfigError, PathMap, Sources, lay_out, mounts
from reconciler.adapters.embedded.kubelet.machine import Identity
from reconciler.adapters.embedded.kubelet.ports import PortBook, is_free
from reconciler.adapters.embedded.kubelet.process import Launch, Process
from reconciler.adapters.embedded.kubelet.status import ContainerFacts, pod_status, waiting

Body = dict[str, Any]
POD: Body = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"team": "a"}},
    "spec": {"nodeName": "this-machine", "containers": []},
}


def setting(
    container: Body, tmp_path: Path, *, config: Body | None = None, ports: dict[str, int] | None = None
) -> Setting:
    whole = {"name": "c", **container}
    return Setting(
        pod={**POD, "spec": {**POD["spec"], "containers": [whole]}},
        container=whole,
        sources=Sources(state=tmp_path, config_map=lambda _, name: (config or {}).get(name)),
        paths=mounts(whole, tmp_path),
        ports=ports or {"default": 5000},
        inherited={"PATH": "/bin"},
        tmp=tmp_path / "tmp",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)-$(B)", "1-$(B)"), ("$$(A)", "$(A)"), ("$(A", "$(A"), ("$A", "$A"), ("$$$(A)", "$1"), ("$()", "$()")],
)
def test_references_are_expanded_as_on_a_cluster(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_mount_paths_become_the_folders_that_stand_for_them() -> None:
    paths = PathMap(pairs=(("/etc/agent/sub", Path("/s")), ("/etc/agent", Path("/a"))))
    assert paths.translate("/etc/agent") == "/a"
    assert paths.translate("/etc/agent/x.json") == "/a/x.json"
    assert paths.translate("/etc/agent/sub/x") == "/s/x"
    assert paths.translate("/etc/agents") == "/etc/agents"
    assert paths.translate("see /etc/agent") == "see /etc/agent"


def test_a_program_below_a_mount_path_is_that_program_unless_the_volume_has_one_of_its_name(tmp_path: Path) -> None:
    here, volume = tmp_path / "here", tmp_path / "volume"
    for folder in (here, volume):
        folder.mkdir()
    (here / "python").touch()
    paths = PathMap(pairs=((str(here), volume),))
    assert paths.translate(f"{here}/python") == f"{here}/python"
    assert paths.translate(f"{here}/new") == f"{volume}/new"
    (volume / "python").touch()
    assert paths.translate(f"{here}/python") == f"{volume}/python"


def test_host_and_port_are_told_whatever_the_spec_says(tmp_path: Path) -> None:
    ports = [{"containerPort": 80, "name": "web-ui"}, {"containerPort": 81}]
    spec = {"ports": ports, "env": [{"name": "HOST", "value": "example.org"}, {"name": "PORT", "value": "80"}]}
    env = build(setting(spec, tmp_path, ports={"80": 5001, "web-ui": 5001, "81": 5002}))
    assert env == {
        "PATH": "/bin",
        "TMPDIR": str(tmp_path / "tmp"),
        "HOST": "127.0.0.1",
        "PORT": "5001",
        "PORT_WEB_UI": "5001",
    }


def test_values_come_from_where_they_are_said_to(tmp_path: Path) -> None:
    config = {"conf": {"data": {"level": "high"}, "binaryData": {"raw": "AAE="}}}
    (tmp_path / "secrets" / "ns" / "s").mkdir(parents=True)
    (tmp_path / "secrets" / "ns" / "s" / "k").write_bytes(b"v\n")
    fields = {
        "NAME": "metadata.name",
        "TEAM": "metadata.labels['team']",
        "NODE": "spec.nodeName",
        "ADDRESS": "status.podIP",
    }
    env = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    env += [
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "no", "optional": True}}},
        {"name": "NEITHER", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "no", "optional": True}}},
    ]
    resources = {"limits": {"cpu": "1.5", "memory": "100Mi"}}
    sources = [
        {"configMapRef": {"name": "conf"}, "prefix": "C_"},
        {"secretRef": {"name": "s"}},
        {"secretRef": {"name": "no", "optional": True}},
    ]
    found = build(setting({"env": env, "envFrom": sources, "resources": resources}, tmp_path, config=config))
    for name in ("PATH", "TMPDIR", "HOST", "PORT"):
        del found[name]
    assert found == {
        "C_level": "high",
        "k": "v\n",
        "NAME": "p",
        "TEAM": "a",
        "NODE": "this-machine",
        "ADDRESS": "127.0.0.1",
        "CPU": "1500",
        "MEMORY": "100",
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, "reconciler secret set ns/s k"),
        ({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "../../../etc/passwd"}}}, "not a name"),
        ({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}, 'configmap "ns/c" not found'),
        ({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.secrets"}}}, "no field 'spec.secrets'"),
        ({"name": "A", "valueFrom": {"fileKeyRef": {}}}, "fileKeyRef"),
        ({"name": "A=B", "value": ""}, "cannot be the name"),
        ({"name": "A", "value": "a\0b"}, "NUL"),
    ],
)
def test_what_cannot_be_told_is_an_error_that_says_what_is_missing(tmp_path: Path, entry: Body, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(setting({"env": [entry]}, tmp_path))


def test_a_secret_that_is_a_link_or_too_large_is_not_read(tmp_path: Path) -> None:
    sources = Sources(state=tmp_path, config_map=lambda *_: None)
    folder = tmp_path / "secrets" / "ns" / "s"
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("x")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "large").write_bytes(b"x" * (1 << 20) + b"x")
    os.mkfifo(folder / "pipe")
    for key in ("link", "large", "pipe"):
        with pytest.raises(ConfigError, match=f'key "{key}"'):
            sources.secret("ns", "s", key)


def test_a_command_is_looked_up_in_the_path_of_the_process(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "agent"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    with pytest.raises(LaunchError, match="not executable"):
        find(["bin/agent"], {"PATH": "/bin"}, tmp_path, written="bin/agent")
    program.chmod(0o755)
    assert find(["bin/agent"], {"PATH": "/bin"}, tmp_path, written="bin/agent") == str(program)
    assert find(["agent"], {"PATH": "bin"}, tmp_path, written="agent") == str(program)
    with pytest.raises(LaunchError, match=r"'agent' not found on this machine \(PATH /bin\)"):
        find(["agent"], {"PATH": "/bin"}, tmp_path, written="agent")
    with pytest.raises(LaunchError, match="there is no"):
        find(["./agent"], {}, tmp_path, written="./agent")
    with pytest.raises(LaunchError, match="NUL"):
        find(["a\0"], {}, tmp_path, written="a")


@pytest.mark.parametrize("word", ["serve --key $(KEY)", "./serve --key $(KEY)"])
def test_a_program_that_is_not_there_is_named_as_the_spec_writes_it(tmp_path: Path, word: str) -> None:
    """The command line holds secrets by then, and what is said here ends up in plans, history and the audit."""
    env = {"PATH": "/bin", "KEY": "hunter2"}
    argv = command(setting({"command": [word], "args": ["$(KEY)"]}, tmp_path), env)
    with pytest.raises(LaunchError) as found:
        find(argv, env, tmp_path, written=word)
    assert "hunter2" in argv[0]
    assert "hunter2" not in found.value.message
    assert "--key $(KEY)" in found.value.message


def test_an_image_without_a_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError) as found:
        command(setting({"image": "x", "args": ["a"]}, tmp_path), {})
    assert found.value.reason == "RunContainerError"


def test_volumes_are_laid_out_and_follow_their_config_map(tmp_path: Path) -> None:
    config: Body = {"conf": {"data": {"a.json": "1", "b.json": "2"}}}
    sources = Sources(state=tmp_path, config_map=lambda _, name: config.get(name))
    volumes: list[Body] = [
        {"name": "all", "configMap": {"name": "conf"}},
        {"name": "some", "configMap": {"name": "conf", "items": [{"key": "a.json", "path": "deep/a"}]}},
        {"name": "maybe", "secret": {"secretName": "no", "optional": True}},
        {"name": "both", "projected": {"sources": [{"configMap": {"name": "conf"}}]}},
        {"name": "empty", "emptyDir": {}},
    ]
    pod = {**POD, "spec": {"volumes": volumes}}
    lay_out(pod, tmp_path / "pod", sources)
    at = tmp_path / "pod" / "volumes"
    (at / "empty" / "mine").write_text("kept")
    assert sorted(str(path.relative_to(at)) for path in at.rglob("*") if path.is_file()) == [
        "all/a.json", "all/b.json", "both/a.json", "both/b.json", "empty/mine", "some/deep/a"
    ]  # fmt: skip
    config["conf"] = {"data": {"a.json": "new"}}
    lay_out(pod, tmp_path / "pod", sources)
    assert (at / "all" / "a.json").read_text() == (at / "some" / "deep" / "a").read_text() == "new"
    assert not (at / "all" / "b.json").exists()
    assert (at / "empty" / "mine").read_text() == "kept"
    for volume in (
        {"name": "v", "configMap": {"name": "conf", "items": [{"key": "a.json", "path": "../a"}]}},
        {"name": "v", "nfs": {}},
    ):
        with pytest.raises(ConfigError):
            lay_out({**POD, "spec": {"volumes": [volume]}}, tmp_path / "other", sources)


def test_a_sub_path_stays_inside_its_volume(tmp_path: Path) -> None:
    inside = mounts({"volumeMounts": [{"name": "v", "mountPath": "/x/", "subPath": "a/b"}]}, tmp_path)
    assert inside.translate("/x") == str(tmp_path / "volumes" / "v" / "a" / "b")
    with pytest.raises(ConfigError):
        mounts({"volumeMounts": [{"name": "v", "mountPath": "/x", "subPath": "../b"}]}, tmp_path)


def test_ports_are_given_once() -> None:
    book = PortBook()
    ports = [book.allocate("a") for _ in range(20)]
    assert len(set(ports)) == 20
    assert not book.take("b", ports[0])
    book.release("a")
    assert book.take("b", ports[0])


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert not is_free(other.getsockname()[1])
    assert is_free(other_port := PortBook().allocate("x")), other_port


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 0), (2, 1), (3, 2), (6, 16), (50, MAX_BACKOFF_SECONDS)])
def test_back_off_doubles_from_a_second(failures: int, seconds: float) -> None:
    assert backoff(failures) == seconds


def test_the_identity_of_a_process_is_more_than_its_pid() -> None:
    own = machine.identify(os.getpid())
    assert own is not None
    assert Identity.parse(str(own)) == own
    assert machine.is_running(own)
    assert not machine.is_running(Identity(pid=own.pid, start="1", boot=own.boot))
    for text in ("", "docker://abc", "process://1", "process://x/1/2", "process://1/2/3/4"):
        assert Identity.parse(text) is None


def test_the_table_of_processes_knows_this_one() -> None:
    row = next(row for row in machine.table() if row.pid == os.getpid())
    assert row.memory > 1 << 20
    assert machine.samples([row], {row.group})[row.group].memory == row.memory


def test_only_the_processes_that_are_asked_for_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def proportional(row: machine.ProcessRow) -> int:
        asked.append(row.pid)
        return 1

    monkeypatch.setattr(machine, "_proportional", proportional)
    own = next(row for row in machine.table() if row.pid == os.getpid())
    rows = [replace(own, pid=pid, group=group) for pid, group in ((11, 1), (12, 1), (21, 2), (22, 2), (31, 3))]
    assert machine.samples(rows, {1, 4}).keys() == {1}
    assert asked == ([11, 12] if machine.LINUX else [])


async def test_output_goes_to_the_log_and_the_end_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    launch = Launch(
        executable="/bin/sh", argv=["sh", "-c", "echo out; echo err >&2; exit 3"], env={}, cwd=tmp_path, log=log
    )
    process = Process.start(launch)
    assert (await process.wait()).code == 3
    assert log.read_text() == "out\nerr\n"
    process.signal(15)  # to nobody: its pid may be somebody else's by now


async def test_an_adopted_process_is_watched_and_ended_with_its_group(tmp_path: Path) -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 600 & wait"], start_new_session=True)  # noqa: ASYNC220 - not ours to await
    identity = machine.identify(child.pid)
    assert identity is not None
    process = Process.adopt(identity)
    assert process is not None
    reaping = asyncio.get_running_loop().run_in_executor(None, child.wait)
    assert (await process.stop(5)).code is None
    await reaping
    assert Process.adopt(identity) is None
    assert [row for row in machine.table() if row.group == child.pid and row.state not in "ZX"] == []


def test_a_log_is_cut_while_it_is_written_and_no_line_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "c.log"
    program = "import os\nfor i in range(60000): os.write(1, b'%06d\\n' % i)"
    with log.open("ab") as stream:
        writer = subprocess.Popen([sys.executable, "-I", "-c", program], stdout=stream, start_new_session=True)
    found: list[str] = []
    cuts = 0
    while writer.poll() is None and cuts < 3:
        if logs.rotate(log, writer.pid, limit=10_000):
            cuts += 1
            found += (tmp_path / "c.log.1").read_text().splitlines()
        time.sleep(0.002)
    assert writer.wait() == 0
    found += log.read_text().splitlines()
    assert cuts > 0
    assert found == [f"{number:06d}" for number in range(60000)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to be had")
def test_on_a_full_disk_a_log_is_cut_to_its_newest_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_CHUNK", 8)
    log, aside, copy = (tmp_path / name for name in ("c.log", "c.log.1", "c.log.tmp"))
    log.write_text("old\n" * 10 + "new\nest\n")
    aside.write_text("what was cut before")
    copy.symlink_to("/dev/full")
    assert logs.rotate(log, -1, limit=10)
    assert log.read_text() == ""
    assert aside.read_text() == "est\n"
    assert not copy.is_symlink()


def test_a_log_that_cannot_be_copied_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_group: int) -> list[int]:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(logs, "_halt", refuse)
    log = tmp_path / "c.log"
    log.write_text("text\n" * 10)
    with pytest.raises(OSError, match="too many"):
        logs.rotate(log, -1, limit=10)
    assert [path.name for path in tmp_path.iterdir()] == ["c.log"]
    assert log.read_text() == "text\n" * 10


def test_logs_of_the_last_run_are_put_aside_and_old_ones_of_the_gone_removed(tmp_path: Path) -> None:
    log = logs.log_file(tmp_path, "ns", "p", "c")
    logs.prepare(log)
    log.write_text("first")
    logs.prepare(log)
    assert logs.log_file(tmp_path, "ns", "p", "c", previous=True).read_text() == "first"
    logs.sweep(tmp_path, lambda *_: False, now=time.time())
    assert log.parent.exists()
    logs.sweep(tmp_path, lambda *_: True, now=time.time() + 2 * logs.KEEP_GONE_SECONDS)
    assert log.parent.exists()
    logs.sweep(tmp_path, lambda *_: False, now=time.time() + 2 * logs.KEEP_GONE_SECONDS)
    assert not log.parent.exists()


async def answer_with(data: bytes) -> tuple[asyncio.Server, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def nothing(_: list[str]) -> int:
    return 1


@pytest.mark.parametrize(
    ("data", "ok", "message"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True, "HTTP status 204"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", True, "HTTP status 302"),
        (b"HTTP/1.1 500 No\r\n\r\n", False, "HTTP status 500"),
        (b"SSH-2.0\r\n", False, "the answer is no HTTP"),
        (b"", False, "the answer is no HTTP"),
        (b"x" * 200_000, False, ""),
    ],
)
async def test_an_http_probe_reads_the_status_line_and_no_more(data: bytes, ok: bool, message: str) -> None:
    server, port = await answer_with(data)
    async with server:
        result = await probes.attempt({"httpGet": {"path": "/", "port": "http"}}, {"http": port}, nothing)
    assert result.ok is ok
    assert message in result.message


async def test_other_probes_connect_or_run() -> None:
    server, port = await answer_with(b"")
    async with server:
        assert (await probes.attempt({"tcpSocket": {"port": 80}}, {"80": port}, nothing)).ok
        assert (await probes.attempt({"grpc": {"port": port}}, {}, nothing)).ok
    refused = await probes.attempt({"tcpSocket": {"port": 80}}, {"80": port}, nothing)
    assert refused == probes.Result(ok=False, message="connection refused")
    assert not (await probes.attempt({"exec": {"command": ["x"]}}, {}, nothing)).ok
    assert "no port is named" in (await probes.attempt({"tcpSocket": {"port": "x"}}, {}, nothing)).message


async def test_a_probe_that_hangs_is_given_up() -> None:
    async def forever(_: list[str]) -> int:
        return await asyncio.Event().wait() or 0

    result = await probes.attempt({"exec": {"command": []}, "timeoutSeconds": 0.1}, {}, forever)
    assert result == probes.Result(ok=False, message="no answer within 0.1 s")


def test_thresholds_decide() -> None:
    tally = probes.Tally(timing=probes.Timing.of({"successThreshold": 2, "failureThreshold": 3}))
    seen = [tally.count(ok=ok) for ok in (True, False, True, True, False, False, True, False, False, False)]
    assert seen == [None, None, None, True, True, True, True, True, True, False]


def facts(state: Body, *, ready: bool = False, last: Body | None = None) -> ContainerFacts:
    return ContainerFacts(name="c", image="i", state=state, ready=ready, last=last or {})


@pytest.mark.parametrize(
    ("policy", "state", "last", "phase"),
    [
        ("Always", waiting("ContainerCreating"), None, "Pending"),
        ("Always", waiting("CrashLoopBackOff"), {"terminated": {"exitCode": 1}}, "Running"),
        ("Always", {"running": {}}, None, "Running"),
        ("Always", {"terminated": {"exitCode": 0}}, None, "Running"),
        ("Never", {"terminated": {"exitCode": 0}}, None, "Succeeded"),
        ("Never", {"terminated": {"exitCode": 1}}, None, "Failed"),
        ("OnFailure", {"terminated": {"exitCode": 1}}, None, "Running"),
    ],
)
def test_the_phase_follows_from_the_containers(policy: str, state: Body, last: Body | None, phase: str) -> None:
    pod = {"metadata": {}, "spec": {"restartPolicy": policy}}
    status = pod_status(pod, [facts(state, last=last)], [], terminating=False, message="", now=0.0)
    assert status["phase"] == phase


def test_conditions_keep_their_time_until_they_change() -> None:
    pod: Body = {"metadata": {}, "spec": {}}
    pod["status"] = pod_status(pod, [facts({"running": {}}, ready=True)], [], terminating=False, message="", now=0.0)
    same = pod_status(pod, [facts({"running": {}}, ready=True)], [], terminating=False, message="", now=60.0)
    assert same == pod["status"]
    ending = pod_status(pod, [facts({"running": {}}, ready=True)], [], terminating=True, message="", now=60.0)
    ready = next(each for each in ending["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["lastTransitionTime"]) == ("False", "1970-01-01T00:01:00Z")


def test_removing_a_pods_folder_leaves_its_neighbours(tmp_path: Path) -> None:
    for name in ("a", "b"):
        files.pod_folder(tmp_path, "ns", name).mkdir(parents=True)
    files.remove(files.pod_folder(tmp_path, "ns", "a"))
    assert files.pod_folder(tmp_path, "ns", "b").exists()
    files.remove(files.pod_folder(tmp_path, "ns", "b"))
    assert not (tmp_path / "pods" / "ns").exists()


@pytest.mark.skipif(shutil.which("ps") is None, reason="this machine has no ps, so there is nothing to read")
def test_ps_tells_the_same_as_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no /proc; the columns asked for are those that both systems have."""
    monkeypatch.setattr(machine, "LINUX", False)
    own = machine.identify(os.getpid())
    assert own is not None
    assert Identity.parse(str(own)) == own
    row = next(row for row in machine.table() if row.pid == os.getpid())
    assert row.group == os.getpgrp()
    assert row.memory > 1 << 20
    assert machine._ps_time("1-02:03:04") == 93784.0
    assert machine._ps_time("0:01.50") == 1.5


async def test_without_anything_to_wait_for_the_end_is_still_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_bell", lambda _: None)
    launch = Launch(executable="/bin/sh", argv=["sh", "-c", "exit 4"], env={}, cwd=tmp_path, log=tmp_path / "log")
    assert (await Process.start(launch).wait()).code == 4
