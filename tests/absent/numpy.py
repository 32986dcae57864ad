"""In front of the real one for programs that tests start: see `without_pandas` in quick.py."""

raise ImportError("The tests leave pandas out here.")
