"""A small fleet on a real store that runs nothing, as the engine's tests have it."""

from tests.engine.conftest import world

__all__ = ["world"]
