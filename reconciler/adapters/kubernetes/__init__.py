"""Kubernetes clusters: the Cluster port over an API server.

For: reading, server-side apply, deletes and watches against real API servers, every call with a deadline of ours.
Authentication, TLS and kubeconfig come from the `kubernetes` package; raw bytes are decoded here.
Must not know: agents, templates, plans or registries; no other adapter.
"""
