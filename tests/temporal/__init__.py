"""What a Temporal user may expect, entry by entry, and which tests show it."""
