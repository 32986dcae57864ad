"""A job's life: planned, sent, collected, written back, mended."""
