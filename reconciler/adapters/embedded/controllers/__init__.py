"""The controllers of the embedded cluster: Deployments become Pods, autoscalers scale, budgets are counted.

For: what kube-controller-manager does, against the object store, with its arithmetic in pure functions.
Must not know: processes, files or ports of this machine; agents, plans or registries.
"""
