"""Small pieces that need nothing but the standard library: instants, ids, backoff, named SQL."""
