"""The embedded cluster: a Kubernetes-shaped object store in one SQLite file, and a supervisor that runs its pods.

For: `Cluster` of ports on one machine, with nothing to set up. The store is the API (objects, server-side apply,
preconditions, changes); the supervisor plays controllers and kubelet against it, as any other client would.
Must not know: agents, templates, plans or registries; a plain Deployment written by hand would run too.
"""
