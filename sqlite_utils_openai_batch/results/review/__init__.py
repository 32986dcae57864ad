"""People label rows of a job: which rows, what they may say, sheets, one row at a time."""

__all__ = ["columns", "sample", "sheet", "turns"]
