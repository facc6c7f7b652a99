"""Real processes, killed at every point where something is written."""
