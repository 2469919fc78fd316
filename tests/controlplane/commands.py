"""The command lines of a control plane's programs: a function each, from where things are to what to type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.controlplane.binaries import Binaries
from tests.controlplane.pki import Identity
from tests.controlplane.ports import LOOPBACK, free_ports

STAGES = Path(__file__).parent / "stages"
LOGS = Path(__file__).parent / "logs"
ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Ports:
    """A port for each listener."""

    etcd: int
    etcd_peer: int
    api_server: int
    controller_manager: int
    scheduler: int
    kubelet: int

    @classmethod
    def free(cls) -> Ports:
        """Take six that are free now."""
        return cls(*free_ports(6))

    def healthy(self) -> list[tuple[str, int]]:
        """Return who says of itself whether it is well, beside the API server, and where."""
        return [
            ("kube-controller-manager", self.controller_manager),
            ("kube-scheduler", self.scheduler),
            ("kwok", self.kubelet),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where one plane's files and listeners are."""

    binaries: Binaries
    folder: Path
    ports: Ports
    authority: Path
    identity: Identity
    signing_key: Path
    verifying_key: Path
    kubeconfig: Path

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://{LOOPBACK}:{self.ports.api_server}"

    @property
    def etcd_url(self) -> str:
        """The database's address."""
        return f"http://{LOOPBACK}:{self.ports.etcd}"


def etcd(at: Layout, *, durable: bool) -> list[str]:
    """The database. Unless durability matters it does not wait for the disk."""
    peer = f"http://{LOOPBACK}:{at.ports.etcd_peer}"
    return [
        at.binaries["etcd"],
        f"--data-dir={at.folder / 'etcd'}",
        "--name=node0",
        f"--listen-client-urls={at.etcd_url}",
        f"--advertise-client-urls={at.etcd_url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=node0={peer}",
        *([] if durable else ["--unsafe-no-fsync"]),
    ]


def api_server(at: Layout) -> list[str]:
    """The API server, with RBAC and the plane's own authority."""
    return [
        at.binaries["kube-apiserver"],
        f"--etcd-servers={at.etcd_url}",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",  # the nodes' names are known to no resolver
        "--endpoint-reconciler-type=none",
        "--authorization-mode=Node,RBAC",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={at.ports.api_server}",
        *_shown_by_servers(at),
        f"--client-ca-file={at.authority}",
        f"--service-account-key-file={at.verifying_key}",
        f"--service-account-signing-key-file={at.signing_key}",
        f"--service-account-issuer={ISSUER}",
        "--service-cluster-ip-range=10.0.0.0/16",
    ]


def controller_manager(at: Layout, *, hpa_sync: str) -> list[str]:
    """The controllers; the autoscaler among them looks once in `hpa_sync`."""
    return [
        at.binaries["kube-controller-manager"],
        f"--kubeconfig={at.kubeconfig}",
        f"--root-ca-file={at.authority}",
        f"--service-account-private-key-file={at.signing_key}",
        "--kube-api-qps=5000",
        "--kube-api-burst=10000",
        "--leader-elect=false",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={at.ports.controller_manager}",
        *_shown_by_servers(at),
        f"--horizontal-pod-autoscaler-sync-period={hpa_sync}",
    ]


def scheduler(at: Layout) -> list[str]:
    """The scheduler."""
    return [
        at.binaries["kube-scheduler"],
        f"--kubeconfig={at.kubeconfig}",
        "--kube-api-qps=5000",
        "--kube-api-burst=10000",
        "--leader-elect=false",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={at.ports.scheduler}",
        *_shown_by_servers(at),
    ]


def kwok(at: Layout) -> list[str]:
    """The player of kubelets: nodes and pods go through our stages, and nothing runs."""
    return [
        at.binaries["kwok"],
        f"--kubeconfig={at.kubeconfig}",
        *(f"--config={path}" for path in [*sorted(STAGES.glob("*.yaml")), _pod_logs(at.folder)]),
        "--manage-all-nodes=true",
        f"--node-ip={LOOPBACK}",
        "--node-name=localhost",
        f"--node-port={at.ports.kubelet}",
        f"--server-address={LOOPBACK}:{at.ports.kubelet}",
        "--node-lease-duration-seconds=40",
        "--cidr=10.64.0.0/10",
        *_shown_by_servers(at),
    ]


def _shown_by_servers(at: Layout) -> list[str]:
    return [f"--tls-cert-file={at.identity.certificate}", f"--tls-private-key-file={at.identity.key}"]


def _pod_logs(folder: Path) -> Path:
    """Write what KWOK answers when somebody asks for the logs of any container."""
    files = {"logsFile": str(LOGS / "current.log"), "previousLogsFile": str(LOGS / "previous.log")}
    answer = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": "every-container"},
        "spec": {"logs": [files]},
    }
    path = folder / "pod-logs.yaml"
    path.write_text(yaml.safe_dump(answer))
    return path
