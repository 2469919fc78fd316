"""SshSigner: signs and checks by running ssh-keygen. No key ever enters this process."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import subprocess
import tempfile
from pathlib import Path

from reconciler.model.errors import ReconcilerError

KINDS = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com")
CHECK_WITHIN_S = 30.0
_PUBLIC = re.compile(r"(?P<kind>\S+) (?P<blob>[A-Za-z0-9+/]+={0,2})(?: [^\n]*)?\n?\Z")
_WHO = "signer"
_MAGIC = b"SSHSIG"
_NONE_HINT = "install OpenSSH 8.2 or later (openssh-client), as people have who sign commits with SSH keys"


class SshSigner:
    """Implements ports.Signer."""

    def sign(self, data: bytes, key: Path, *, purpose: str) -> str:
        """Sign with a private key file, or with an agent's key that a public key file names.

        ssh-keygen itself asks for a passphrase, on the terminal. Raises ReconcilerError.
        """
        if not key.is_file():
            raise ReconcilerError(
                f"there is no key {key}", hint="`ssh-keygen -t ed25519 -f KEY` makes one; name it with --key"
            )
        done = _run(["ssh-keygen", "-Y", "sign", "-n", purpose, "-f", str(key)], data, within_s=None)
        signature = done.stdout.decode("ascii", "replace")
        if done.returncode or not signature:
            raise ReconcilerError(f"{key} cannot be signed with: {_last(done.stderr)}", hint=_hint(done.stderr))
        kind = _kind_of(_public_of(signature))
        if kind not in KINDS:
            raise ReconcilerError(
                f"{key} is a key of kind {kind[:40]}, and only Ed25519 is used",
                hint="`ssh-keygen -t ed25519 -f KEY` makes one",
            )
        return signature

    def verify(self, data: bytes, signature: str, public: Path, *, purpose: str) -> str:
        """Check a signature against a public key file; answers the key's fingerprint. Raises ReconcilerError."""
        kind, blob = _read_public(public)
        with tempfile.TemporaryDirectory(prefix="reconciler-") as name:
            allowed, signed = Path(name, "allowed"), Path(name, "signature")
            allowed.write_text(f'{_WHO} namespaces="{purpose}" {kind} {blob}\n', encoding="ascii")
            signed.write_bytes(signature.encode("utf-8", "replace"))
            command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", _WHO, "-n", purpose, "-s", str(signed)]
            done = _run(command, data, within_s=CHECK_WITHIN_S)
        if done.returncode:
            raise ReconcilerError(
                f"the signature was not made of this with the key in {public}: {_last(done.stderr)}",
                hint="it, or what was signed, was changed since; or it is another key's",
            )
        return fingerprint(base64.b64decode(blob))


def fingerprint(public: bytes) -> str:
    """How OpenSSH writes the fingerprint of a public key."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def _run(command: list[str], data: bytes, *, within_s: float | None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=data, capture_output=True, timeout=within_s, check=False)
    except FileNotFoundError as error:
        raise ReconcilerError(
            "there is no ssh-keygen, which signatures are made and checked with", hint=_NONE_HINT
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ReconcilerError(f"ssh-keygen did not end within {within_s:.0f} s") from error


def _read_public(path: Path) -> tuple[str, str]:
    """Kind and key of a public key file. Raises ReconcilerError for anything but one line of a kind that we use."""
    try:
        with path.open("rb") as stream:
            text = stream.read(16 * 1024).decode("ascii", "replace")
    except OSError as error:
        raise ReconcilerError(f"the key {path} cannot be read: {error.strerror}") from error
    match = _PUBLIC.match(text)
    if match is None or match["kind"] not in KINDS or _kind_of(_decoded(match["blob"])) != match["kind"]:
        raise ReconcilerError(
            f"{path} is not a public Ed25519 key of OpenSSH",
            hint="name the file that ends in .pub, of one line that begins with ssh-ed25519",
        )
    return match["kind"], match["blob"]


def _public_of(signature: str) -> bytes:
    """The public key inside of an armoured signature; nothing where it cannot be found."""
    body = _decoded("".join(line for line in signature.split("\n") if not line.startswith("-----")))
    return _field(body, len(_MAGIC) + 4) if body.startswith(_MAGIC) else b""


def _kind_of(public: bytes) -> str:
    return _field(public, 0).decode("ascii", "replace")


def _field(data: bytes, at: int) -> bytes:
    """A field of the SSH wire format: four bytes of length, then so many bytes."""
    length = int.from_bytes(data[at : at + 4], "big")
    return data[at + 4 : at + 4 + length]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _last(stderr: bytes) -> str:
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip(" @\r")]
    return (lines[-1] if lines else "ssh-keygen does not say why").strip()[:300]


def _hint(stderr: bytes) -> str:
    if b"UNPROTECTED" in stderr:
        return "others can read that key: chmod 600"
    return "a private Ed25519 key, or the public one of a key that ssh-agent holds"
