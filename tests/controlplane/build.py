"""Build the programs of a control plane into `bin/`, as `make control-plane` does: what is missing there, or older than
go.mod. What the folder named by KUBEBUILDER_ASSETS has is not built. It needs Go and nothing of this project's own
environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.controlplane.binaries import ASSETS, BUILT  # noqa: E402  # a program puts the root on its path first

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
MODULE = HERE / "go.mod"
LAST_LINES = 15
NO_GO = """\
Go is needed to build the control plane, and there is no `go` on PATH.
Install Go 1.26 or later (https://go.dev/doc/install; an older one from 1.21 on fetches it by itself), or name a folder
that has etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok in KUBEBUILDER_ASSETS."""


def say(text: str) -> None:
    """Tell it at once, also into a pipe."""
    print(text, flush=True)


def given(name: str) -> bool:
    """Whether the folder that KUBEBUILDER_ASSETS names has the program."""
    assets = os.environ.get(ASSETS)
    return bool(assets) and os.access(Path(str(assets)) / name, os.X_OK)


def is_current(name: str) -> bool:
    """Whether the program was built from go.mod as it is."""
    path = BUILT / name
    return os.access(path, os.X_OK) and path.stat().st_mtime >= MODULE.stat().st_mtime


def flags() -> str:
    """Return the linker's flags: no symbols, and the version that the programs tell of themselves."""
    version = re.search(r"^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)\b", MODULE.read_text(), re.MULTILINE)
    if version is None:
        raise SystemExit(f"{MODULE} requires no k8s.io/kubernetes: its version would be unknown")
    fields = dict(zip(("gitVersion", "gitMajor", "gitMinor"), version.groups(), strict=True))
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in fields.items())])


def build(name: str) -> None:
    """Build one program. It appears in its place when it is whole."""
    part = BUILT / f".{name}.{os.getpid()}"
    command = ["go", "build", "-p", "2", "-trimpath", "-ldflags", flags(), "-o", str(part), PACKAGES[name]]
    try:
        done = subprocess.run(
            command, cwd=HERE, env=os.environ | {"CGO_ENABLED": "0"}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = "\n".join((done.stderr or done.stdout).splitlines()[-LAST_LINES:])
            raise SystemExit(f"building {name} failed:\n{last}\nMore is told by: cd {HERE} && {' '.join(command)}")
        os.utime(part)
        part.replace(BUILT / name)
    finally:
        part.unlink(missing_ok=True)


def main() -> None:
    """Build what has to be built."""
    assets = [name for name in PACKAGES if given(name)]
    wanted = [name for name in PACKAGES if name not in assets and not is_current(name)]
    if assets:
        say(f"From {os.environ[ASSETS]}, as {ASSETS} says: {', '.join(assets)}")
    if not wanted:
        say("The control plane is built.")
        return
    if shutil.which("go") is None:
        raise SystemExit(NO_GO)
    BUILT.mkdir(exist_ok=True)
    say(f"Building {len(wanted)} programs into {BUILT.relative_to(ROOT)}: up to ten minutes once, cached after")
    for number, name in enumerate(wanted, 1):
        say(f"[{number}/{len(wanted)}] {name} ...")
        began = time.monotonic()
        build(name)
        say(f"[{number}/{len(wanted)}] {name}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
