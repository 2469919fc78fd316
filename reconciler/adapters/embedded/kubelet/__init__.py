"""The kubelet of the embedded cluster: pods become processes of this machine, probed, restarted, ended, and served.

For: everything that touches a process, its files, its environment, its ports and its log.
Must not know: how Deployments roll out (controllers), and agents, plans or registries.
"""
