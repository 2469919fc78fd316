"""`make control-plane` builds what is missing or old, and says what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.controlplane import build

GO = """#!/bin/sh
echo "$@" >> {log}
while [ "$1" != -o ]; do shift; done
echo built > "$2"; chmod 755 "$2"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to build into, and nothing but a Go that takes notes on PATH."""
    (tmp_path / "path").mkdir()
    monkeypatch.setattr(build, "BUILT", tmp_path / "bin")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin:/usr/bin")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    write_go(tmp_path, GO.format(log=tmp_path / "log"))
    return tmp_path


def write_go(place: Path, program: str) -> None:
    go = place / "path" / "go"
    go.write_text(program)
    go.chmod(0o755)


def notes(place: Path) -> list[str]:
    log = place / "log"
    return log.read_text().splitlines() if log.exists() else []


def test_everything_is_built_once_with_the_version_that_go_mod_says(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build.main()
    assert sorted(path.name for path in (place / "bin").iterdir()) == sorted(build.PACKAGES)
    assert len(notes(place)) == len(build.PACKAGES)
    assert all("component-base/version.gitVersion=v1." in line for line in notes(place))
    assert "[6/6] kwok" in capsys.readouterr().out
    build.main()
    assert len(notes(place)) == len(build.PACKAGES), "nothing is built twice"
    assert capsys.readouterr().out == "The control plane is built.\n"


def test_what_is_older_than_go_mod_is_built_anew(place: Path) -> None:
    build.main()
    os.utime(place / "bin" / "etcd", (1, 1))
    build.main()
    assert len(notes(place)) == len(build.PACKAGES) + 1
    assert notes(place)[-1].endswith("go.etcd.io/etcd/server/v3")


def test_what_the_assets_have_is_not_built(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(place / "assets"))
    (place / "assets").mkdir()
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (place / "assets" / name).touch(mode=0o755)
    build.main()
    built = sorted(path.name for path in (place / "bin").iterdir())
    assert built == ["kube-controller-manager", "kube-scheduler", "kwok"]


def test_without_go_one_message_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place / "nothing"))
    with pytest.raises(SystemExit, match=r"(?s)Go is needed.*Install Go 1\.26.*KUBEBUILDER_ASSETS"):
        build.main()


def test_a_failed_build_shows_why_and_leaves_nothing(place: Path) -> None:
    write_go(place, "#!/bin/sh\necho no space left >&2; exit 1\n")
    with pytest.raises(SystemExit, match=r"(?s)building etcd failed:\nno space left\nMore is told by: cd "):
        build.main()
    assert list((place / "bin").iterdir()) == []


def test_it_runs_before_anything_is_installed(tmp_path: Path) -> None:
    for name in build.PACKAGES:
        (tmp_path / name).touch(mode=0o755)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(build.HERE / "build.py")],
        env=os.environ | {"KUBEBUILDER_ASSETS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "The control plane is built."
