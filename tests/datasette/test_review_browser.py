"""Two people review fifty rows in a real browser, by keyboard alone, and the server is killed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import browser
import pytest
from finished import answered
from itsdangerous import URLSafeSerializer
from live import running
from serving import IS_1_0
from test_browser import NOT_OURS, text, until

from sqlite_utils_openai_batch.store.connection import connect

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "")
ROWS = 50
SECRET = "of-this-test"
REVIEW = "/data/-/openai-batch/1/review"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        conn.executemany(
            "INSERT INTO t VALUES (?, ?)", [(n, f"text {n}") for n in range(1, ROWS + 1)]
        )
    with closing(connect(path)) as conn:
        answers = {n: {"mood": "good"} for n in range(1, ROWS + 1)}
        answered(conn, tmp_path, "t", answers, schema="mood bad|zebra|good")
    return path


def serving(data: Path, *, killed: bool = False) -> Any:
    allowed = {"openai-batch-review": {"id": ["ana", "ben"]}}
    config = data.with_name("config.json")
    config.write_text(json.dumps({"databases": {"data": {"permissions": allowed}}}))
    options = ("-c" if IS_1_0 else "-m", str(config), "--secret", SECRET)
    return running(data, options=options, killed=killed)


def sign_in(driver: Any, base: str, actor: str) -> None:
    driver.get(f"{base}/data")
    signed = URLSafeSerializer(SECRET, "actor").dumps({"a": {"id": actor}})
    driver.delete_all_cookies()
    driver.add_cookie({"name": "ds_actor", "value": signed, "path": "/"})
    driver.get(base + REVIEW)


def keys(driver: Any, typed: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(typed).perform()


def heading(driver: Any) -> str:
    return text(driver, "h1")


def label(driver: Any, first: int, last: int, key: str) -> None:
    """Label rows by one key and Enter each."""
    for row in range(first, last + 1):
        until(lambda row=row: heading(driver) == f"Row {row} of {ROWS}", f"row {row}")
        assert "zebra" not in text(driver, ".ob-review section"), (
            "the answer's labels stand on the right only"
        )
        assert "The model says" not in text(driver, "body")
        keys(driver, f"{key}\ue007")


def kept(data: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(data)) as conn:
        return conn.execute(
            "SELECT coder, value, count(*), min(blind) FROM openai_batch_reviews "
            "GROUP BY coder, value ORDER BY coder, value"
        ).fetchall()


def test_fifty_rows_by_keyboard_two_coders_and_a_kill(driver: Any, data: Path) -> None:
    with ExitStack() as first:
        base = first.enter_context(serving(data, killed=True))
        sign_in(driver, base, "ana")
        label(driver, 1, 20, "2")
        until(lambda: heading(driver) == f"Row 21 of {ROWS}", "row 21")
        keys(driver, "1")
        assert kept(data) == [("ana", "zebra", 20, 1)], "what wasn't saved isn't kept"
    with serving(data) as base:
        sign_in(driver, base, "ana")
        label(driver, 21, 25, "3")
        until(lambda: heading(driver) == f"Row 26 of {ROWS}", "row 26")
        keys(driver, "s")
        until(lambda: heading(driver) == f"Row 27 of {ROWS}", "row 27")
        keys(driver, "b")
        until(lambda: heading(driver) == f"Row 26 of {ROWS}", "back at 26")
        keys(driver, "nhard one\ue00c1\ue007")
        label(driver, 27, ROWS, "2")
        until(lambda: heading(driver) == "You are done", "the end")
        sign_in(driver, base, "ben")
        assert heading(driver) == f"Row 1 of {ROWS}"
        assert "You said" not in text(driver, "body")
        label(driver, 1, 2, "1")
        until(lambda: heading(driver) == f"Row 3 of {ROWS}", "ben's third row")
    assert kept(data) == [
        ("ana", None, 1, 1),
        ("ana", "bad", 1, 1),
        ("ana", "good", 5, 1),
        ("ana", "zebra", 44, 1),
        ("ben", "bad", 2, 1),
    ]


def test_it_works_without_a_script_and_on_a_phone(driver: Any, data: Path) -> None:
    with serving(data) as base:
        sign_in(driver, base, "ana")
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        try:
            driver.get(base + REVIEW)
            # The first label has the focus: an arrow chooses the next, Enter keeps it.
            keys(driver, "\ue015\ue007")
            until(lambda: f"Row 2 of {ROWS}" in driver.page_source, "row 2")
            keys(driver, " \ue007")
            until(lambda: f"Row 3 of {ROWS}" in driver.page_source, "row 3")
        finally:
            driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        driver.get(base + REVIEW)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        if axe := browser.axe():
            for address in (REVIEW, f"{REVIEW}?_rows=1", f"{REVIEW}?_row=1&_show=1"):
                driver.get(base + address)
                driver.execute_script(axe.read_text(encoding="utf-8"))
                found = driver.execute_async_script("axe.run().then(arguments[0])")
                serious = [
                    one["id"]
                    for one in found["violations"]
                    if one["impact"] in ("serious", "critical") and one["id"] not in NOT_OURS
                ]
                assert serious == [], address
    assert kept(data) == [("ana", "bad", 1, 1), ("ana", "zebra", 1, 1)]
