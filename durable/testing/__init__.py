"""What helps to test: programs written with `durable`, and databases it is to run on."""
