"""One small state machine per kind of command: a table, and the code that walks it."""
