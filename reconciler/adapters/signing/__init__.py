"""Signatures by `ssh-keygen -Y`: of keys that people have for Git already, checked by a program that others trust.

Must not know: what is signed, registries, or any other adapter.
"""

from reconciler.adapters.signing.ssh import SshSigner

__all__ = ["SshSigner"]
