"""What somebody may pass that is wrong, door by door: refused there by a typed error, before anything is stored."""
