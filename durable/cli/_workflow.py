"""`durable workflow`: its verbs, which are in the modules beside."""

from __future__ import annotations

import argparse

from durable.cli import _workflow_look, _workflow_operate, _workflow_tell
from durable.cli._options import verbs_of


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its verbs."""
    verbs = verbs_of(parser)
    _workflow_look.add(verbs)
    _workflow_tell.add(verbs)
    _workflow_operate.add(verbs)
