"""The rows of a job with their answers, for a program: dicts, or a data frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

from .. import store
from ..base.errors import ConfigurationError
from ..results.reader import Reader

if TYPE_CHECKING:
    import sqlite3

    import pandas
    import polars


class Results:
    """Rows one after the other: the source's columns, the answer's, `status` and `error`.

    Read as they are wanted, once: `list(…)`, `for row in …`, or a data frame of what is left.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[sqlite3.Connection]],
        job_id: int,
        statuses: Sequence[str],
        columns: Sequence[str],
    ) -> None:
        self._opened = opened
        self._job_id = job_id
        self._statuses = statuses
        self._wanted = columns
        self._rows = self._read()
        # The columns are known, and errors raised, before the first row is asked for.
        self.columns: list[str] = next(self._rows)

    def _read(self) -> Iterator[Any]:
        """Yield the names of the columns, then each row."""
        with self._opened() as conn:
            job = store.get_job(conn, self._job_id)
            reader = Reader(conn, job, self._statuses, columns=self._wanted)
            with closing(reader):
                yield list(reader.headers)
                # Plain tuples: those of a reader have the length of their values.
                yield from map(tuple, reader.rows())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        return dict(zip(self.columns, next(self._rows), strict=True))

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame of pandas. Whole numbers stay whole where a cell is empty.

        Raises ConfigurationError where pandas isn't installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise missing("pandas") from error
        return pandas.DataFrame(list(self._rows), columns=self.columns).convert_dtypes()

    def to_polars(self) -> polars.DataFrame:
        """A data frame of Polars. Raises ConfigurationError where it isn't installed."""
        try:
            import polars
        except ImportError as error:
            raise missing("polars") from error
        return polars.DataFrame(
            list(self._rows), schema=self.columns, orient="row", infer_schema_length=None
        )


def missing(name: str) -> ConfigurationError:
    """The error for a package that this one doesn't bring."""
    return ConfigurationError(f"{name} isn't installed here. Install it with: pip install {name}")
