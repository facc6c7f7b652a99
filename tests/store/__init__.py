"""What every store promises, and what only one of them can do wrong."""
