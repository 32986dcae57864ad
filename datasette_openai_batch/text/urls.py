"""Addresses of pages and files. All of them start with Datasette's `base_url`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from datasette.utils import tilde_encode


def all_jobs(datasette: Any) -> str:
    """The page over all databases."""
    return str(datasette.urls.path("/-/openai-batch"))


def jobs(datasette: Any, db: Any) -> str:
    """The jobs of a database."""
    return f"{datasette.urls.database(db.name)}/-/openai-batch"


def new_job(datasette: Any, db: Any, *query: tuple[str, Any]) -> str:
    """The form of a new job in a database."""
    address = f"{jobs(datasette, db)}/new"
    return f"{address}?{urlencode(query)}" if query else address


def job(datasette: Any, db: Any, job_id: int, suffix: str = "", **query: Any) -> str:
    """A job's page; `suffix` names a file of it: `.csv`, `/report`."""
    address = f"{jobs(datasette, db)}/{job_id}{suffix}"
    return f"{address}?{urlencode(query)}" if query else address


def with_query(address: str, *query: tuple[str, Any]) -> str:
    """An address with what is asked of it; a name may come several times."""
    return f"{address}?{urlencode(query)}" if query else address


def table(datasette: Any, db: Any, name: str, *query: tuple[str, Any]) -> str:
    """A table's own page in Datasette."""
    address = str(datasette.urls.table(db.name, name))
    return f"{address}?{urlencode(query)}" if query else address


def row(datasette: Any, db: Any, name: str, values: Sequence[Any]) -> str:
    """A row's own page in Datasette."""
    return f"{datasette.urls.table(db.name, name)}/{key(values)}"


def key(values: Sequence[Any]) -> str:
    """The last step of a row's address: the values of its key."""
    return ",".join(tilde_encode(str(value)) for value in values)


@lru_cache(maxsize=100)
def blob_query(column: str) -> str:
    """What asks Datasette for the BLOB of a row."""
    return urlencode({"_blob_column": column})


def static(datasette: Any, name: str) -> str:
    """A file that ships with the plugin."""
    return str(datasette.urls.static_plugins("sqlite_utils_openai_batch", name))
