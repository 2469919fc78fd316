"""Those who are measured, each as people type it: one command, timed from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cluster import ground
from tests.controlplane import binaries
from tests.controlplane.plane import ControlPlane

HERE = Path(__file__).parent
BUILT = HERE.parent / "bin"
CONCURRENCY = 10
"""How many agents `reconciler apply` writes at once, as it is without an option; the bare loop has as many workers."""

KAPP = ("--yes", "--wait-timeout=2h")
"""It asks nobody, and does not give up on a large fleet after the 15 minutes that are its default."""


class DidNotWork(Exception):
    """A measured command ended with an error: what it is worth nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One command. Processor times tell more than wall time on a machine that others use too."""

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    requests: int
    said: str


class Contenders:
    """Commands against one plane, with the fleet in `root` and what is written for the others in `work`."""

    def __init__(self, plane: ControlPlane, root: Path, work: Path) -> None:
        found = binaries.find()
        if isinstance(found, binaries.Missing):
            raise SystemExit(str(found))
        self._plane = plane
        self._work = work
        self._root = root
        self._kubectl = [found["kubectl"], f"--kubeconfig={plane.kubeconfig}"]
        self._environment = {**os.environ, "KUBECACHEDIR": str(work / "kubectl-cache"), "HOME": str(work)}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled once

    def ours(self, *arguments: str, codes: Sequence[int] = (0,)) -> Timing:
        """`reconciler ...` in a process of its own."""
        program = str(Path(sys.executable).with_name("reconciler"))
        return self._timed([program, *arguments, "-C", str(self._root)], codes=codes)

    def kubectl_apply(self, manifests: Path) -> Timing:
        """`kubectl apply --server-side`: one object after another, and it waits for nothing."""
        return self._timed([*self._kubectl, "apply", "--server-side", "-f", str(manifests)])

    def kubectl_diff(self, manifests: Path, concurrency: int) -> Timing:
        """`kubectl diff --server-side`: a read and a dry run an object."""
        command = [*self._kubectl, "diff", "--server-side", f"--concurrency={concurrency}", "-f", str(manifests)]
        return self._timed(command)

    def kapp_deploy(self, manifests: Path, *options: str) -> Timing:
        """`kapp deploy`, which waits until all is ready; with `--diff-run` it is a plan."""
        where = [f"--kubeconfig={self._plane.kubeconfig}", "--namespace=default", "--app=bench"]
        return self._timed([str(BUILT / "kapp"), "deploy", *where, *KAPP, "--file", str(manifests), *options])

    def bare_loop(self, manifests: Path, *options: str) -> Timing:
        """The client-go loop of clientgo/."""
        where = ["-kubeconfig", str(self._plane.kubeconfig), "-f", str(manifests)]
        return self._timed([str(BUILT / "bareloop"), *where, "-concurrency", str(CONCURRENCY), *options])

    def warm_up(self, manifests: Path) -> None:
        """Let the server build its schemas and kubectl fill its caches, as on any server that has been used."""
        self._timed([*self._kubectl, "api-resources"])
        self.bare_loop(manifests, "-wait")

    def _timed(self, command: Sequence[str], codes: Sequence[int] = (0,)) -> Timing:
        before = ground.server_work(self._plane)
        said, complained = self._work / "stdout", self._work / "stderr"
        with said.open("wb") as out, complained.open("wb") as err:
            started = time.perf_counter()
            process = subprocess.Popen(
                list(command), stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=self._environment
            )
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        work = ground.server_work(self._plane).since(before)
        if process.returncode not in codes:
            last = (said.read_text() + complained.read_text())[-3000:]
            raise DidNotWork(f"{' '.join(command[:4])}... ended with {process.returncode}:\n{last}")
        return Timing(
            wall_s=wall,
            client_cpu_s=used.ru_utime + used.ru_stime,
            server_cpu_s=work.cpu_s,
            requests=work.requests,
            said=said.read_text(),
        )


def events(timing: Timing) -> list[Mapping[str, Any]]:
    """The events of `reconciler apply -o json`."""
    return [json.loads(line) for line in timing.said.splitlines() if line.startswith("{")]
