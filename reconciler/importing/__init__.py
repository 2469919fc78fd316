"""Importing: from Kubernetes objects that run already to agents' files, and what such a file could not say.

For: Deployments with what belongs to them, and agents of kagent. What comes out plans to the adoption of what is there.
Must not know: where objects are read from, where files are written, fleets beside the name of a cluster.
What comes in is hostile: any field may be anything, and nothing that looks secret is written down.
"""

from reconciler.importing.importing import Imported, Options, import_objects
from reconciler.importing.notes import Fate, Note
from reconciler.importing.objects import KINDS, KubeObject, of_live, read_objects

__all__ = ["KINDS", "Fate", "Imported", "KubeObject", "Note", "Options", "import_objects", "of_live", "read_objects"]
