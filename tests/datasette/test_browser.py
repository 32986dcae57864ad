"""The pages in a real browser. Skipped, with the reason, where there is none."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import browser
import job_data
import pytest
from browser import until
from live import running
from serving import IS_1_0

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("browser") / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 60)
    keys = list(range(1, 61))
    job_data.add_job(conn, keys, {2: "refused", 5: "truncated"}, parts=2)
    job_data.add_running_job(conn, keys, name="nightly", write=False)
    conn.close()
    return path


@pytest.fixture(scope="module")
def base(films: Path) -> Iterator[str]:
    with running(films) as base:
        yield base


def text(driver: Any, selector: str) -> str:
    return str(
        driver.execute_script(
            "return document.querySelector(arguments[0])?.innerText || ''", selector
        )
    )


def answer(path: Path, job: int, count: int) -> None:
    """What `sync` does when answers come in, in the words of its tables."""
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute(
        "UPDATE openai_batch_parts SET outcomes = ? WHERE job_id = ?",
        [json.dumps({"ok": count, "pending": 60 - count}), job],
    )
    conn.execute(
        "UPDATE openai_batch_jobs SET checked_at = ? WHERE id = ?", [job_data.recently(), job]
    )
    conn.close()


def test_pages_load_without_complaint_or_foreign_host(driver: Any, base: str) -> None:
    browser.requested(driver)
    browser.complaints(driver)
    for address in (
        "/-/openai-batch",
        "/films/-/openai-batch",
        "/films/-/openai-batch/1",
        "/films/-/openai-batch/2",
        "/films/movies",
        "/films/movies/3",
    ):
        driver.get(base + address)
        assert "atch job" in text(driver, "body")
    assert browser.complaints(driver) == []
    hosts = {urlsplit(url).netloc for url in browser.requested(driver) if url.startswith("http")}
    assert hosts == {urlsplit(base).netloc}


def test_progress_moves_by_itself(driver: Any, base: str, films: Path) -> None:
    answer(films, 2, 0)
    driver.get(f"{base}/films/-/openai-batch/2")
    assert "0 of 60 rows answered" in text(driver, "#ob-live")
    driver.execute_script("window.stillHere = true")
    until(lambda: polls(driver), "a poll")
    answer(films, 2, 30)
    until(lambda: "30 of 60 rows answered" in text(driver, "#ob-live"), "30 answers")
    said = driver.execute_script("return document.getElementById('ob-said').textContent")
    assert said == "waiting for OpenAI: 30 of 60 requests"
    assert driver.execute_script("return window.stillHere") is True


def polls(driver: Any) -> list[str]:
    return [url for url in browser.requested(driver) if url.endswith("/2.json")]


def in_zone(driver: Any, zone: str) -> None:
    driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": zone})


def test_moments_are_in_the_reader_s_zone(driver: Any, base: str, films: Path) -> None:
    in_zone(driver, "Asia/Kolkata")
    try:
        driver.get(f"{base}/films/-/openai-batch/1")
        # The script runs once the page is there.
        until(lambda: "20 Nov, 21:11" in text(driver, ".ob-headline"), "the reader's time")
        assert "UTC" not in text(driver, "main") + text(driver, ".ob-headline")
        title = driver.execute_script("return document.querySelector('.ob-headline time').title")
        assert title.endswith("; 2026-11-20 15:41:00 UTC") and title[0] == "A"
        driver.get(f"{base}/films/-/openai-batch")
        until(lambda: "20 Nov, 19:32" in text(driver, ".ob-jobs"), "the reader's time")
        driver.get(f"{base}/films/-/openai-batch/2")
        driver.execute_script("window.stillHere = true")
        until(lambda: polls(driver), "a poll")
        answer(films, 2, 7)
        until(lambda: "7 of 60 rows answered" in text(driver, "#ob-live"), "7 answers")
        # What a poll brought is in that zone, too: the window ends at 14:02 UTC.
        assert "at the latest 21 Nov, 19:32." in text(driver, "#ob-live")
    finally:
        in_zone(driver, "")


def test_progress_survives_failed_polls(driver: Any, base: str, films: Path) -> None:
    answer(films, 2, 0)
    driver.get(f"{base}/films/-/openai-batch/2")
    until(lambda: polls(driver), "a poll")
    browser.complaints(driver)
    driver.execute_script(
        "window.failures = 0; const real = window.fetch;"
        "window.fetch = (...all) =>"
        " window.failures++ < 2 ? Promise.reject(new Error('down')) : real(...all);"
    )
    answer(films, 2, 12)
    until(lambda: "12 of 60 rows answered" in text(driver, "#ob-live"), "12 answers")
    assert driver.execute_script("return window.failures") > 2
    assert browser.complaints(driver) == []


def test_what_came_while_the_first_polls_failed_is_shown(
    driver: Any, base: str, films: Path
) -> None:
    answer(films, 2, 0)
    down = (
        "window.failures = 0; const real = window.fetch;"
        "window.fetch = (...all) => window.up ? real(...all)"
        " : (window.failures++, Promise.reject(new Error('down')));"
    )
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": down})
    try:
        driver.get(f"{base}/films/-/openai-batch/2")
        until(lambda: driver.execute_script("return window.failures") > 0, "a poll that fails")
        answer(films, 2, 12)
        driver.execute_script("window.up = true")
        until(lambda: "12 of 60 rows answered" in text(driver, "#ob-live"), "12 answers")
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert browser.complaints(driver) == []


def test_a_hidden_tab_asks_nothing(driver: Any, base: str, films: Path) -> None:
    answer(films, 2, 0)
    driver.get(f"{base}/films/-/openai-batch/2")
    until(lambda: polls(driver), "a poll")
    hide = (
        "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'));"
    )
    driver.execute_script(hide, True)
    # A poll may be under way; whatever it finds, none follows it.
    driver.execute_async_script("setTimeout(arguments[0], 300)")
    polls(driver)
    driver.execute_async_script("setTimeout(arguments[0], 2500)")
    assert polls(driver) == []
    driver.execute_script(hide, False)
    until(lambda: polls(driver), "a poll once it is seen again")


def test_the_end_of_a_job_shows_everything(driver: Any, base: str, films: Path) -> None:
    answer(films, 2, 0)
    driver.get(f"{base}/films/-/openai-batch/2")
    until(lambda: polls(driver), "a poll")
    answer(films, 2, 60)
    conn = sqlite3.connect(films, isolation_level=None)
    conn.execute(
        "UPDATE openai_batch_jobs SET status = 'completed', finished_at = checked_at WHERE id = 2"
    )
    until(lambda: text(driver, ".ob-headline").startswith("Done."), "the end")
    until(
        lambda: not driver.execute_script("return document.querySelector('[data-json]')"),
        "no polling",
    )
    conn.execute("UPDATE openai_batch_jobs SET status = 'running', finished_at = NULL WHERE id = 2")
    conn.close()


def test_csv_is_what_the_database_holds(
    driver: Any, base: str, films: Path, tmp_path: Path
) -> None:
    driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    driver.get(f"{base}/films/-/openai-batch/1")
    driver.find_element("link text", "CSV").click()
    file = tmp_path / "films-job-1.csv"
    until(file.is_file, "the download")
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.reader(opened))
    conn = sqlite3.connect(films)
    expected = conn.execute(
        "SELECT movies.id, title, overview, category, score, status, error_message "
        "FROM movies JOIN openai_batch_requests ON row_key = movies.id WHERE job_id = 1 ORDER BY 1"
    ).fetchall()
    conn.close()
    shown = [["" if value is None else str(value) for value in row] for row in expected]
    assert rows == [["id", "title", "overview", "category", "score", "status", "error"], *shown]


def test_all_can_be_reached_by_keyboard(driver: Any, base: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    driver.get(f"{base}/films/-/openai-batch")
    reached = walk(driver, "Job 1 by keys", lambda: driver.switch_to.active_element.text == "1")
    assert reached > 0
    ActionChains(driver).send_keys(Keys.ENTER).perform()
    until(lambda: text(driver, "h1") == "Job 1", "the job's page")
    seen: list[str] = []

    def at_summary() -> bool:
        element = driver.switch_to.active_element
        seen.append(element.text.split("\n")[0])
        return "exact request" in element.text

    walk(driver, "the exact request", at_summary)
    for wanted in ("refused", "Excel", "CSV", "Report", "Another ten"):
        assert wanted in seen
    ActionChains(driver).send_keys(Keys.ENTER, Keys.TAB, "7", Keys.ENTER).perform()
    until(lambda: "Film 7: What happens" in text(driver, "#request"), "the request of row 7")


def walk(driver: Any, what: str, there: Callable[[], bool]) -> int:
    """Press Tab until the focus is there; each stop must show that it has the focus."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    for step in range(1, 200):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        if there():
            outline = driver.execute_script(
                "return getComputedStyle(document.activeElement).outlineStyle"
            )
            assert outline != "none"
            return step
    raise AssertionError(f"never reached: {what}")


# Datasette 0.65's own page lacks a language; its header and filters aren't ours to mend.
NOT_OURS = {"html-has-lang"} if not IS_1_0 else set()


@pytest.mark.skipif(browser.axe() is None, reason="no axe-core: npm install --no-save axe-core")
@pytest.mark.parametrize(
    "address",
    [
        "/-/openai-batch",
        "/films/-/openai-batch",
        "/films/-/openai-batch/1?_request=3",
        "/films/-/openai-batch/2",
    ],
)
@pytest.mark.parametrize("width", [1100, 420])
def test_axe_finds_nothing_serious(driver: Any, base: str, address: str, width: int) -> None:
    script = browser.axe()
    assert script is not None
    driver.set_window_size(width, 900)
    driver.get(base + address)
    driver.execute_script("document.querySelectorAll('details').forEach((one) => one.open = true)")
    driver.execute_script(script.read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[0])")
    driver.set_window_size(1100, 900)
    serious = [
        (one["id"], node["html"][:200])
        for one in found["violations"]
        for node in one["nodes"]
        if one["impact"] in ("serious", "critical") and one["id"] not in NOT_OURS
    ]
    assert serious == []


def test_page_is_complete_without_script(base: str, driver: Any) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(f"{base}/films/-/openai-batch/1")
        source = driver.page_source
        for place in ("take-away", "rows", "asked", "errors", "cost", "distribution", "history"):
            assert f'id="{place}"' in source
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
