"""`python -m durable`: the command line, where the program `durable` is not on the path."""

from __future__ import annotations

import sys

from durable.cli import main

if __name__ == "__main__":
    sys.exit(main())
