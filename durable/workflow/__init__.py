"""What workflow authors call."""
