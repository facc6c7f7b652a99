"""What goes through a workflow is tried on both databases."""

from tests.scenarios.conftest import plain, proxied

__all__ = ["plain", "proxied"]
