"""`python -m durable.testing.simulation`."""

from __future__ import annotations

import sys

from durable.testing.simulation._campaign import main

if __name__ == "__main__":
    sys.exit(main())
