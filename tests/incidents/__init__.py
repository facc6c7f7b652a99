"""What went wrong in other systems of this kind, one test for each report; `test_table.py` says which is where.

DURABLE_INCIDENTS multiplies the sizes, as for a nightly run: `DURABLE_INCIDENTS=10 pytest tests/incidents`.
"""

import os

FACTOR = int(os.environ.get("DURABLE_INCIDENTS", "1"))
