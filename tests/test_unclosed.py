"""Whoever opens a database closes it; only Datasette may leave that to the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
from collections.abc import Callable

import pytest
from datasette.app import Datasette
from datasette.database import Database
from datasette.utils.sqlite import sqlite_version, supports_table_xinfo
from unclosed import OfDatasette

WARNS = sys.version_info >= (3, 13)


def opened_by_test() -> sqlite3.Connection:
    return sqlite3.connect(":memory:")


def opened_through_datasette() -> sqlite3.Connection:
    datasette = Datasette()
    conn: sqlite3.Connection = Database(datasette, is_memory=True).connect()
    return conn


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("opened", [opened_by_test, opened_through_datasette])
def test_ours_warn(
    opened: Callable[[], sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda seen: said.append(str(seen.exc_value)))
    conn = opened()
    assert not isinstance(conn, OfDatasette)
    del conn
    gc.collect()
    assert ["unclosed database" in one for one in said] == [True] * WARNS


def test_datasette_s_own_don_t() -> None:
    """The internal database, one in memory, and what it asks of SQLite."""

    async def ask() -> None:
        datasette = Datasette(memory=True)
        await datasette.invoke_startup()
        for path in ("/", "/_memory?sql=select+1", "/-/versions.json"):
            assert (await datasette.client.get(path)).status_code in (200, 302)

    for cached in (supports_table_xinfo, sqlite_version):
        getattr(cached, "cache_clear", lambda: None)()
    asyncio.run(ask())
    gc.collect()
