"""`python -m reconciler.cli`: the same program as the `reconciler` script."""

from reconciler.cli.entry import run

if __name__ == "__main__":
    run()
