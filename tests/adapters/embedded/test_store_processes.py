"""Several processes at one store: nothing lost, nothing torn, and a killed writer leaves whole objects."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from reconciler.adapters.embedded.store import ObjectStore

ROOT = Path(__file__).parents[3]

COUNTER = """
import sys
from pathlib import Path
from reconciler.adapters.embedded.store import ObjectStore
from reconciler.model.errors import PreconditionFailed
from reconciler.model.identity import ObjectRef

store = ObjectStore.open(Path(sys.argv[1]))
ref = ObjectRef(group="", kind="ConfigMap", namespace="team", name="counter")
done = 0
while done < int(sys.argv[2]):
    body = store.get(ref)
    body["data"]["n"] = str(int(body["data"]["n"]) + 1)
    try:
        store.update(body, manager=f"writer-{sys.argv[3]}")
        done += 1
    except PreconditionFailed:
        pass
store.close()
"""

ENDLESS = """
import sys
from pathlib import Path
from reconciler.adapters.embedded.store import ObjectStore

store = ObjectStore.open(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    for name in ("one", "two"):
        store.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "team"},
                     "data": {"n": str(number), "copy": str(number)}}, manager="m")
    if number == 20:
        print("going", flush=True)
"""


def spawn(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cluster.db"


def test_opening_twice_in_a_process_takes_no_locks_away(path):
    """A cluster has its file open twice. A process loses all its locks on a file when it closes any descriptor of it,
    and without them the next process to leave folds up the log that this one still writes."""
    store, watcher = ObjectStore.open(path), ObjectStore.open(path)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counter", "namespace": "team"}}
    store.create({**body, "data": {"n": "0"}}, manager="m")
    other = spawn(COUNTER, str(path), "1", "0")
    other.communicate(timeout=60)
    assert other.returncode == 0
    assert path.with_name("cluster.db-wal").exists(), "this process still has it open"
    store.close()
    watcher.close()


def test_optimistic_writers_lose_no_update(path):
    store = ObjectStore.open(path)
    store.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "counter", "namespace": "team"},
            "data": {"n": "0"},
        },
        manager="m",
    )
    writers = [spawn(COUNTER, str(path), "40", str(number)) for number in range(3)]
    for writer in writers:
        output, _ = writer.communicate(timeout=120)
        assert writer.returncode == 0, output
    (found,), version = store.list("", "ConfigMap", namespace="team")
    assert found["data"]["n"] == "120"
    assert found["metadata"]["resourceVersion"] == str(version)
    assert len(store.events(0, 1000)) == version - 1
    store.close()


def test_a_killed_writer_leaves_whole_objects(path):
    writer = spawn(ENDLESS, str(path))
    assert writer.stdout is not None
    assert writer.stdout.readline() == "going\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait(timeout=30)
    writer.stdout.close()
    store = ObjectStore.open(path)
    objects, version = store.list("", "ConfigMap")
    one, two = (int(body["data"]["n"]) for body in objects)
    assert [body["data"]["copy"] for body in objects] == [str(one), str(two)]
    assert one - two in (0, 1)
    assert one >= 20
    assert max(event.resource_version for event in store.events(0, 100_000)) == version
    for body in objects:
        body["data"]["n"] = "0"
        store.update(body, manager="after")
    (check,) = store._db._connection.execute("PRAGMA integrity_check").fetchone()
    assert check == "ok"
    store.close()
