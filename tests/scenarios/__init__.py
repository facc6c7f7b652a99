"""What the library does for workflow code, activities and clients, on every database, with runs in memory and without."""
