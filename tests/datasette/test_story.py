"""The whole story in a real browser: from a CSV file to answers in a file on disk."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import until

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "")
ROWS = ("Wonderful, thank you", "It broke on arrival", "Na ja", "Works as said", "Awful")


@pytest.fixture
def journal() -> str:
    """The pages are asked here, not SQLite."""
    return "wal"


@pytest.fixture
def site(run: Any, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`browse survey.csv`, whose jobs go to the local batch server; gives the link."""
    lines = "".join(f"{n},{text!r}\n".replace("'", '"') for n, text in enumerate(ROWS, 1))
    (tmp_path / "survey.csv").write_text(f"id,said\n{lines}")

    def begin() -> str:
        env = {**os.environ, "OPENAI_BASE_URL": run.base_url, "OPENAI_API_KEY": "sk-test"}
        browse = run.start("browse", "survey.csv", "--no-open", env=env)
        return str(browse.stdout.readline().strip())

    yield begin


class Reader:
    """Somebody at the browser."""

    def __init__(self, driver: Any, folder: Path) -> None:
        self.driver = driver
        self.folder = folder

    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def sees(self, words: str) -> None:
        until(lambda: words in self.text(), f"{words!r} in {self.text()[:3000]}")

    def field(self, name: str) -> Any:
        return self.driver.find_element("name", name)

    def write(self, name: str, text: str) -> None:
        found = self.field(name)
        found.clear()
        found.send_keys(text)

    def press(self, label: str) -> None:
        """Press the button, or follow the link, with this label."""
        path = (
            f"//button[starts-with(normalize-space(), '{label}')] | "
            f"//a[starts-with(normalize-space(), '{label}')]"
        )
        found = until(
            lambda: [one for one in self.driver.find_elements("xpath", path) if one.is_displayed()],
            label,
        )[0]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def picture(self, name: str) -> None:
        """Keep a picture of the page, where somebody asked for that."""
        if folder := os.environ.get("OPENAI_BATCH_PICTURES"):
            height = self.driver.execute_script("return document.documentElement.scrollHeight")
            width = self.driver.execute_script("return window.innerWidth")
            self.driver.set_window_size(width, min(height + 150, 4000))
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))
            self.driver.set_window_size(width, 900)


@pytest.fixture
def reader(driver: Any, tmp_path: Path) -> Reader:
    browser.fresh(driver)
    behavior = {"behavior": "allow", "downloadPath": str(tmp_path)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
    return Reader(driver, tmp_path)


def is_wide_enough(driver: Any) -> bool:
    """Whether nothing sticks out of the window."""
    return bool(
        driver.execute_script(
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def accessible(driver: Any) -> list[str]:
    """What axe finds on the page, where it is there."""
    script = browser.axe()
    if script is None:
        return []
    driver.execute_script(script.read_text())
    found = driver.execute_async_script(
        "const done = arguments[0]; axe.run(document.querySelector('.content') || document)"
        ".then((result) => done(result.violations.map((one) => one.id + ': ' + "
        "one.nodes.map((node) => node.html).join(' '))))"
    )
    return [str(one) for one in found]


def test_by_mouse(reader: Reader, site: Callable[..., str], tmp_path: Path) -> None:
    link = site()
    base = link.partition("/-/")[0]
    reader.driver.get(link)
    reader.driver.get(f"{base}/survey/survey")
    reader.driver.execute_script("document.querySelector('details.actions-menu-links').open = true")
    reader.press("Ask a model about these rows")
    reader.sees("5 rows of survey")
    reader.press("said")
    assert "{{ said }}" in reader.field("prompt").get_attribute("value")
    reader.write("prompt", "How satisfied is this customer? {{ said }}")
    reader.write("model", "gpt-4o-mini")
    reader.sees("The first requests")
    reader.sees("How satisfied is this customer? Wonderful")
    reader.write("prompt", "How satisfied is this customer? {{ sad }}")
    reader.sees("sad")
    until(lambda: "Did you mean" in reader.text() or "has no" in reader.text(), "an error")
    reader.write("prompt", "How satisfied is this customer? {{ said }}")
    until(lambda: "Did you mean" not in reader.text(), "no error any more")
    reader.write("answer_name", "mood")
    reader.write("answer_values", "good|bad|mixed")
    reader.write("answer_note", "of the customer")
    kinds = reader.driver.find_elements("name", "answer_kind")
    kinds[0].send_keys("one of")
    reader.sees("mood (3 labels)")
    reader.picture("new-ask")
    assert accessible(reader.driver) == []
    reader.press("Look at it")
    reader.sees("5 to ask")
    reader.picture("new-look")
    assert accessible(reader.driver) == []
    reader.press("Try 3 rows now")
    reader.sees("What they answered")
    reader.press("Send 5 rows")
    reader.sees("Tick this first")
    reader.field("agree").click()
    reader.picture("new-confirm")
    reader.press("Send 5 rows")
    reader.sees("Job 1")
    reader.sees("5 of 5 rows answered")
    reader.picture("new-job")
    assert accessible(reader.driver) == []
    reader.press("All rows, filtered and searched")
    reader.sees("Answers of job 1")
    reader.picture("new-answers")
    assert accessible(reader.driver) == []
    reader.driver.get(f"{base}/survey/-/openai-batch/1")
    reader.press("CSV")
    file = until(lambda: list(tmp_path.glob("*openai*.csv")) or done_files(tmp_path), "the file")
    with file[0].open(encoding="utf-8-sig") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["said"] for row in rows] == list(ROWS)
    assert all(row["status"] == "ok" for row in rows)
    assert {row["mood"] for row in rows} <= {"good", "bad", "mixed"}


def done_files(folder: Path) -> list[Path]:
    """CSV files that were downloaded whole."""
    found = [file for file in folder.glob("*.csv") if file.name != "survey.csv"]
    return found if not list(folder.glob("*.crdownload")) else []


def test_by_keyboard_without_a_script_on_a_phone(reader: Reader, site: Callable[..., str]) -> None:
    from selenium.webdriver.common.keys import Keys

    link = site()
    base = link.partition("/-/")[0]
    driver = reader.driver
    driver.set_window_size(390, 844)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    driver.get(link)
    driver.get(f"{base}/survey/-/openai-batch/new?table=survey")
    prompt = reader.field("prompt")
    prompt.send_keys("Sum up: {{ said }}")
    driver.find_element("name", "answer_name").send_keys("mood")
    driver.find_element("name", "answer_kind").send_keys("one of")
    driver.find_element("name", "answer_values").send_keys("good|bad" + Keys.ENTER)
    until(lambda: driver.find_elements("name", "agree"), "the confirmation")
    reader.picture("new-phone")
    assert is_wide_enough(driver)
    driver.find_element("name", "agree").send_keys(Keys.SPACE)
    send = driver.find_element("xpath", "//button[@value='send']")
    send.send_keys(Keys.ENTER)
    until(lambda: driver.current_url.endswith("/openai-batch/1"), "the job's page")

    def answered() -> bool:
        driver.refresh()
        return "5 of 5 rows answered" in driver.page_source

    until(answered, "answers")
    assert is_wide_enough(driver)
    driver.get(f"{base}/survey/-/openai-batch/new?table=survey")
    assert is_wide_enough(driver)
    driver.get(f"{base}/survey/-/openai-batch/1/answers")
    assert is_wide_enough(driver)
