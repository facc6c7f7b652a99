"""The databases, clients and judges of the scenarios."""

from tests.scenarios.conftest import cached, env, plain, proxied

__all__ = ["cached", "env", "plain", "proxied"]
