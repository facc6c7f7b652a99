"""What makes workflow code nondeterministic, found without running it.

Files are read and never imported. A rule looks at workflow code: what is decorated as a workflow, and every function of the
program that it calls, in whichever file. `docs/lint.md` lists the rules.
"""

from __future__ import annotations

from durable.lint._check import check
from durable.lint._config import Config, ConfigError, check_code, find_config
from durable.lint._rule import Finding, Rule, Where
from durable.lint.rules import RULES

__all__ = ["RULES", "Config", "ConfigError", "Finding", "Rule", "Where", "check", "check_code", "find_config"]
