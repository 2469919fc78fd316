"""Adapters: one folder a technology, each implementing ports with it.

Must not know: the engine, each other, or what a plan or an agent is beyond the values that cross their port.
"""
