"""`reconciler secret`: secrets of agents on the embedded cluster, as files that only their owner reads."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from reconciler.cli.command import build, group
from reconciler.cli.files import make_private, write_atomically
from reconciler.cli.fleets import read_working_tree, run, state_folder
from reconciler.cli.options import secret_name
from reconciler.cli.output import note, terminal
from reconciler.cli.views.diagnostics import plural
from reconciler.model.agent import SecretRef
from reconciler.model.errors import UsageError
from reconciler.model.fleet import Declaration, EmbeddedCluster

MAX_BYTES = 1024 * 1024
"""What Kubernetes allows of a Secret."""
_KEY = re.compile(r"[A-Za-z0-9_-][-._A-Za-z0-9]{0,252}\Z")


def set_(
    secret: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The secret that an agent's spec names.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key in it.")],
) -> None:
    """Keep one key of a secret, read from standard input.

    The value is kept as it is, but for one line feed at its end. It becomes the file
    .reconciler/secrets/NAMESPACE/NAME/KEY with mode 0600.
    On Kubernetes secrets are the cluster's own, and this command is not for them.
    """
    name = secret_name(secret)
    if not _KEY.match(key) or ".." in key:
        raise UsageError(f"{key[:60]!r} is not a key: letters, digits, '-', '_' and '.'", hint="like: api-key")
    declared = run(read_working_tree())
    if declared.fleet and not any(isinstance(one.backend, EmbeddedCluster) for one in declared.fleet.clusters):
        raise UsageError(
            "this fleet has no embedded cluster, and secrets of Kubernetes are the cluster's own",
            hint=f"like: kubectl create secret generic {name.name} -n {name.namespace} --from-file {key}=FILE",
        )
    folder = state_folder() / "secrets" / name.namespace / name.name
    for part in (folder.parent.parent, folder.parent, folder, folder / key):
        if part.is_symlink():
            raise UsageError(f"{part} is a link", hint="remove it: secrets are only kept in real folders")
    value = _read()
    for part in (folder.parent.parent, folder.parent, folder):
        make_private(part)
    write_atomically(folder / key, value, mode=0o600)
    note(f"Kept key {key} of secret {name} ({plural(len(value), 'byte')}).")
    if SecretRef(name=name.name, key=key) not in _named(declared, name.namespace):
        note(f"No agent in {name.namespace} names it yet.")


def _named(declared: Declaration, namespace: str) -> Iterator[SecretRef]:
    """The secrets that agents of a namespace name, in the files as they are."""
    for name, agent in declared.agents.items():
        if name.namespace == namespace:
            yield from (one.secret for one in agent.spec.env if one.secret is not None)
            if agent.spec.model_config is not None and agent.spec.model_config.secret is not None:
                yield agent.spec.model_config.secret


def _read() -> bytes:
    """The value from standard input, asked for without echo on a terminal. Raises UsageError when it is none."""
    if terminal(sys.stdin):
        import getpass

        value = getpass.getpass("Value (not shown): ", stream=sys.stderr).encode()
    else:
        value = sys.stdin.buffer.read(MAX_BYTES + 2)
        value = value[:-1] if value.endswith(b"\n") else value
    if not value:
        raise UsageError("standard input holds no value", hint="like: reconciler secret set ns/name key < key.txt")
    if len(value) > MAX_BYTES:
        raise UsageError("the value is larger than 1 MiB", hint="that is what Kubernetes allows of a Secret")
    return value


command = group(
    "secret",
    "Keep secrets for agents on the embedded cluster.",
    {
        "set": build(
            set_,
            name="set",
            examples=(
                "reconciler secret set support/anthropic api-key < key.txt",
                'printf %s "$KEY" | reconciler secret set support/anthropic api-key',
            ),
        )
    },
)
