"""The frozen vocabulary: every value that travels between stages.

For: small immutable types with the words of docs/architecture.md. May hold pure
methods that read their own fields. Must not know: any other package of ours, I/O,
the clock, randomness, logging.
"""
