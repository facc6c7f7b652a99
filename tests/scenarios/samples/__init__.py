"""Small programs as users of Temporal bring them along: their spelling, their results, and what is recorded."""
