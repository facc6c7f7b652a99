"""Chaos: real workers and a real server, one fault after the other, and what must be true when all is quiet again."""
