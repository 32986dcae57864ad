"""The whole story in a real browser: from a CSV file to answers in a file on disk."""

from __future__ import annotations

import base64
import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import until
from quick import without_pandas
from serving import IS_1_0

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
        env = {**without_pandas(), "OPENAI_BASE_URL": run.base_url, "OPENAI_API_KEY": "sk-test"}
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
            f"//a[starts-with(normalize-space(), '{label}')] | "
            f"//summary[starts-with(normalize-space(), '{label}')]"
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
    rows = downloaded(tmp_path)
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


class Keyboard:
    """Somebody who has no mouse: Tab, Enter, Space and letters, and where the focus is."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def types(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def at(self) -> dict[str, Any]:
        """What has the focus: its name, address, text, and whether it can be seen."""
        found: dict[str, Any] = self.driver.execute_script(
            "const at = document.activeElement, where = at.getBoundingClientRect();"
            "return {name: at.name || '', href: at.getAttribute('href') || '',"
            " says: (at.innerText || '').trim(), tag: at.localName,"
            " within: at.parentElement?.className || '',"
            " seen: at === document.body || !document.body.matches('.openai-batch')"
            " || (where.width > 0 && where.height > 0 && where.left >= 0"
            " && where.right <= innerWidth + 1 && where.bottom > 0 && where.top < innerHeight)}"
        )
        return found

    def goes_to(self, what: str, field: str = "says", key: str = "\ue004") -> None:
        """Press Tab until something whose `field` begins so has the focus, always in sight."""
        passed: list[str] = []
        for _ in range(300):
            self.types(key)
            at = self.at()
            assert at["seen"], f"the focus is where nobody sees it: {at}"
            if at[field].startswith(what) and (field != "name" or at[field] == what):
                return
            passed.append(at["name"] or at["says"] or at["tag"])
        raise AssertionError(f"no way to {what!r} by keyboard, only to {passed}")


def test_by_keyboard_only(reader: Reader, site: Callable[..., str], tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    driver, keys = reader.driver, Keyboard(reader.driver)
    driver.get(site())
    keys.goes_to("/survey/survey", "href")
    keys.types(Keys.ENTER)
    until(lambda: driver.current_url.endswith("/survey/survey"), "the table's page")
    keys.goes_to("actions-menu-links", "within")
    keys.types(Keys.ENTER)
    # the menus of 1.0 go by the arrows
    keys.goes_to("Ask a model about these rows", key=Keys.ARROW_DOWN if IS_1_0 else Keys.TAB)
    keys.types(Keys.ENTER)
    reader.sees("5 rows of survey")
    keys.goes_to("said")
    keys.types(Keys.ENTER)
    assert keys.at()["name"] == "prompt"
    keys.types(" is what a customer says. How do they feel?")
    reader.sees("Wonderful, thank you is what a customer says")
    keys.goes_to("answer_name", "name")
    keys.types("mood", Keys.TAB, "one of", Keys.TAB, "good|bad|mixed", Keys.TAB, "of them")
    # what is wrong is said at its field while one types, and the focus stays
    keys.goes_to("model", "name")
    keys.types("gpt-4o-mini")  # Tab marks what is there
    keys.goes_to("max_tokens", "name")
    keys.types("many")
    reader.sees('"many" is not a number of tokens')
    assert keys.at()["name"] == "max_tokens"
    keys.types(*[Keys.BACKSPACE] * 4, "50")
    until(lambda: "not a number of tokens" not in reader.text(), "no error any more")
    keys.goes_to("More: ")
    keys.types(Keys.ENTER)
    keys.goes_to("confidence", "name")
    keys.types(Keys.SPACE)
    assert reader.field("model").get_attribute("value") == "gpt-4o-mini"
    reader.picture("new-more")
    assert accessible(driver) == []
    keys.goes_to("Look at it")
    keys.types(Keys.ENTER)
    reader.sees("5 to ask")
    reader.sees("mood_confidence")
    keys.goes_to("Try 3 rows now")
    keys.types(Keys.ENTER)
    reader.sees("What they answered")
    keys.goes_to("agree", "name")
    keys.types(Keys.SPACE)
    keys.goes_to("Send 5 rows")
    keys.types(Keys.ENTER)
    reader.sees("5 of 5 rows answered")
    reader.sees("Label rows by hand")
    keys.goes_to("CSV")
    keys.types(Keys.ENTER)
    rows = downloaded(tmp_path)
    assert [row["said"] for row in rows] == list(ROWS)
    assert {row["mood"] for row in rows} <= {"good", "bad", "mixed"}
    assert all(0 < float(row["mood_confidence"]) <= 1 for row in rows)


def test_on_a_phone(reader: Reader, site: Callable[..., str], tmp_path: Path) -> None:
    link = site()
    base = link.partition("/-/")[0]
    driver = reader.driver
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    driver.get(link)
    driver.get(f"{base}/survey/-/openai-batch")
    reader.press("New job")
    reader.press("Choose this table")
    reader.press("said")
    reader.write("prompt", "How satisfied is this customer? {{ said }}")
    reader.write("answer_name", "mood")
    reader.field("answer_kind").send_keys("one of")
    reader.write("answer_values", "good|bad|mixed")
    reader.sees("How satisfied is this customer? Wonderful")
    reader.press("More: ")
    for step, look, sees in (
        ("ask", "", "More about the rows"),
        ("look", "Look at it", "5 to ask"),
        ("tried", "Try 3 rows now", "What they answered"),
        ("untold", "Send 5 rows", "Tick this first"),
    ):
        if look:
            reader.press(look)
        reader.sees(sees)
        phone_picture(reader, f"phone-{step}")
        assert is_wide_enough(driver), step
        assert accessible(driver) == [], step
    reader.field("agree").click()
    reader.press("Send 5 rows")
    reader.sees("5 of 5 rows answered")
    phone_picture(reader, "phone-job")
    assert is_wide_enough(driver)
    assert accessible(driver) == []
    reader.press("All rows, filtered and searched")
    reader.sees("Answers of job 1")
    phone_picture(reader, "phone-answers")
    assert is_wide_enough(driver)
    assert accessible(driver) == []
    driver.back()
    reader.press("CSV")
    assert [row["said"] for row in downloaded(tmp_path)] == list(ROWS)


def phone_picture(reader: Reader, name: str) -> None:
    """A picture of the whole page, as wide as a phone is."""
    if folder := os.environ.get("OPENAI_BATCH_PICTURES"):
        whole = reader.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "format": "png"}
        )
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(whole["data"]))


def downloaded(folder: Path) -> list[dict[str, str]]:
    """The rows of the CSV file that the browser put on the disk."""
    file = until(lambda: list(folder.glob("*openai*.csv")) or done_files(folder), "the file")
    with file[0].open(encoding="utf-8-sig") as opened:
        return list(csv.DictReader(opened))
