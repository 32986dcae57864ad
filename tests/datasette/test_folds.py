"""What a reader has opened stays open: at the end of a job, and at a click elsewhere."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import job_data
import pytest
from browser import until
from live import running

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "")
OPEN = "return [...document.querySelectorAll('details[data-fold][open]')].map(d => d.dataset.fold)"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Job 1 is done; job 2 runs; job 3 shows pictures of all shapes."""
    path = tmp_path_factory.mktemp("folds") / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 12)
    keys = list(range(1, 13))
    job_data.add_job(conn, keys, {2: "refused"})
    job_data.add_running_job(conn, keys, write=False)
    pictures(conn)
    conn.close()
    return path


def pictures(conn: sqlite3.Connection) -> None:
    """A job that asks about two pictures of each row."""
    image = pytest.importorskip("PIL.Image")
    conn.execute("CREATE TABLE shown (id INTEGER PRIMARY KEY, photo BLOB, second BLOB)")
    shapes = [(300, 200), (80, 400), (20, 20), (600, 40), (96, 96), (1, 1)]
    for n, shape in enumerate(shapes, 1):
        data = io.BytesIO()
        image.new("RGB", shape, (40 * n, 90, 120)).save(data, "PNG")
        conn.execute("INSERT INTO shown VALUES (?, ?, ?)", [n, data.getvalue(), data.getvalue()])
    content = [
        {"type": "image_url", "image_url": {"url": "{{ photo }}"}},
        {"type": "image_url", "image_url": {"url": "{{ second }}"}},
    ]
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}
    job_data.add_job(conn, list(range(1, 7)), source="shown", template=body, write=False)


@pytest.fixture(scope="module")
def base(films: Path) -> Iterator[str]:
    with running(films) as base:
        yield base


def click(driver: Any, selector: str) -> None:
    """Click an element as a script does: the same events as a person's."""
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def end(films: Path, job: int) -> None:
    """End a job, in the words of its tables."""
    conn = job_data.connect(films)
    conn.execute(
        "UPDATE openai_batch_parts SET status = 'completed', outcomes = '{\"ok\": 12}' "
        "WHERE job_id = ?",
        [job],
    )
    conn.execute(
        'UPDATE openai_batch_requests SET status = \'ok\', answer = \'{"category": "drama", '
        '"score": 3}\' WHERE job_id = ?',
        [job],
    )
    conn.execute(
        "UPDATE openai_batch_jobs SET status = 'completed', finished_at = ? WHERE id = ?",
        [job_data.recently(), job],
    )
    conn.close()


def test_sections_stay_open_at_the_end_of_a_job(driver: Any, base: str, films: Path) -> None:
    driver.get(f"{base}/films/-/openai-batch/2")
    for fold in ("parts", "part 1", "log", "exact"):
        click(driver, f"details[data-fold='{fold}'] > summary")
    assert set(driver.execute_script(OPEN)) == {"parts", "part 1", "log", "exact"}
    driver.execute_script(
        "window.stillHere = true;"
        "document.querySelector('input[name=_row]').value = '7';"
        "document.querySelector('input[name=_row]').focus();"
        "scrollTo(0, 500)"
    )
    browser.complaints(driver)
    end(films, 2)
    until(
        lambda: driver.execute_script("return !document.querySelector('[data-json]')"),
        "the end of the job",
    )
    assert driver.execute_script("return document.querySelector('.ob-headline').innerText")[:5] == (
        "Done."
    )
    assert set(driver.execute_script(OPEN)) == {"parts", "part 1", "log", "exact"}
    assert driver.execute_script("return document.querySelector('input[name=_row]').value") == "7"
    assert driver.execute_script("return document.activeElement.name") == "_row"
    assert driver.execute_script("return window.stillHere") is True
    assert driver.execute_script("return scrollY") > 0
    assert "drama" in driver.execute_script("return document.body.innerText")
    assert browser.complaints(driver) == []


def test_a_click_elsewhere_shuts_nothing(driver: Any, base: str) -> None:
    driver.get(f"{base}/films/-/openai-batch/1")
    for fold in ("parts", "part 1"):
        click(driver, f"details[data-fold='{fold}'] > summary")
    assert set(driver.execute_script(OPEN)) == {"parts", "part 1"}
    click(driver, "h1")
    assert set(driver.execute_script(OPEN)) == {"parts", "part 1"}
    click(driver, "details[data-fold='part 1'] > summary")
    assert set(driver.execute_script(OPEN)) == {"parts"}
    click(driver, "details[data-fold='parts'] > summary")
    assert driver.execute_script(OPEN) == []


@pytest.mark.parametrize("width", [390, 320, 1100])
def test_pictures_and_names_of_cells_dont_overlap(driver: Any, base: str, width: int) -> None:
    metrics = {"width": width, "height": 4000, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        driver.get(f"{base}/films/-/openai-batch/3")
        until(
            lambda: driver.execute_script(
                "return [...document.querySelectorAll('.ob-thumbnail')]"
                ".every(i => i.complete && i.naturalWidth)"
            ),
            "the pictures",
        )
        found = driver.execute_script(
            "return [...document.querySelectorAll('td')].filter(t => t.querySelector('img'))"
            ".map(t => { const a = t.getBoundingClientRect(),"
            " b = t.querySelector('img').getBoundingClientRect();"
            " return {height: a.height, inside: b.top >= a.top && b.bottom <= a.bottom"
            " && b.right <= a.right && b.left >= a.left}; })"
        )
        assert len(found) == 12
        assert all(cell["inside"] for cell in found)
        # As high as the name beside it at least, where cells are cards.
        assert width > 576 or min(cell["height"] for cell in found) >= 32
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
