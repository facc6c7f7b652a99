"""`python -m durable.lint PATH...`."""

from __future__ import annotations

import sys

from durable.lint._command import main

sys.exit(main())
