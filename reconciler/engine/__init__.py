"""The engine: effects, in order, through ports only. Observe, plan, apply, watch, go back; journal first.

For: running the pure stages on what was observed, and doing what a plan says. Must not know: any adapter, the command
line, how a back end works; time, randomness and ids come from what it is given.
"""
