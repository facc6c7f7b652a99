"""Bridges to libraries that `durable` does not need: each module imports its own, and nothing else imports these."""
