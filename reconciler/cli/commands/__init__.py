"""One module a command, each with a `command` that main looks up by name and imports only then.

Must not know: each other. What two of them share stands in `reconciler.cli` beside this package.
"""
