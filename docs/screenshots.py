"""Make the pictures of README and docs/datasette.md: a real Datasette over real jobs of `demo.db`.

    python docs/screenshots.py

needs Chromium with its driver, and selenium. The first job is the demo's own, answered by the
small model; the others are answered by the simulator of the local server, and say so.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
WIDTH = 1000
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
BATCH = [sys.executable, "-m", "sqlite_utils", "openai-batch"]


@contextmanager
def process(command: list[str], said: str) -> Iterator[re.Match[str]]:
    """Run a server while the body runs; yields what it said that matches `said`."""
    with tempfile.TemporaryFile("w+") as log:
        running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield until(lambda: re.search(said, text_of(log)), said)
        finally:
            running.terminate()
            running.wait(20)


def text_of(log: Any) -> str:
    """All that a log file holds."""
    log.seek(0)
    return str(log.read())


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something for a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise SystemExit(f"Not within a minute: {what}")


def simulator(*options: str) -> Any:
    """A local batch server that makes answers up."""
    return process([*BATCH, "serve", "--simulate", *options], r"(http://\S+/v1)")


def run(db: Path, *options: str) -> None:
    """Run a job to its end, or leave it running with --no-wait."""
    command = [*BATCH, "run", str(db), *options, "--key", "none", "-y", "--poll", "0.5"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    # 3: some requests failed, which is what the pictures are to show.
    if ended.returncode not in (0, 3):
        raise SystemExit(ended.stderr)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(str(shutil.which("chromedriver")))
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield driver
        finally:
            driver.quit()


def picture(driver: Any, address: str, name: str, *, top: str = "", height: int = 0) -> None:
    """Take a picture of a page, from the element `top` on, `height` high; else all of it."""
    driver.set_window_size(WIDTH, 800)
    driver.get(address)
    take(driver, name, top=top, height=height)


def take(driver: Any, name: str, *, top: str = "", height: int = 0) -> None:
    """Take a picture of the page that the browser shows."""
    page = driver.execute_script("return document.documentElement.scrollHeight")
    driver.set_window_size(WIDTH, page + 200)
    start = 0
    if top:
        find = "return document.querySelector(arguments[0]).getBoundingClientRect().top"
        start = max(int(driver.execute_script(find, top)) - 12, 0)
    clip = {"x": 0, "y": start, "width": WIDTH, "height": height or page - start, "scale": 1}
    shot = driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
    )
    (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
    sys.stdout.write(f"{name}.png\n")


def finished_jobs(db: Path) -> None:
    """A job with failures over `reviews`, and one over pictures."""
    with simulator("--rate", "200", "--fault", "refuse:19", "--fault", "cut:41") as said:
        run(
            db,
            "reviews",
            *("--name", "reviews", "--system", "You read product reviews."),
            *("--prompt", "{{ product }}: {{ body }}"),
            *("--schema", "mood good|bad|mixed, score 0..1, summary", "-o", "max_tokens", "200"),
            *("--part-requests", "80", "--base-url", said[1]),
        )
    with simulator("--rate", "200") as said:
        run(
            db,
            "furniture",
            *("--name", "pictures", "--model", "gpt-4o", "--prompt", "Describe this {{ name }}."),
            *("--image", "image", "--output", "described", "--base-url", said[1]),
        )


def running_job(db: Path, base: str) -> None:
    """A job that is half done: its watcher goes when some answers are there."""
    with simulator("--rate", "12") as said:
        run(
            db,
            "movies",
            *("--name", "nightly", "--prompt", "{{ title }}: {{ overview }}"),
            *("--output", "tagline", "--part-requests", "16", "--base-url", said[1], "--no-wait"),
        )
        command = [*BATCH, "watch", str(db), "--key", "none", "--poll", "0.2"]
        watch = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: answered(f"{base}/4.json") > 40, "40 answers")
        finally:
            # As Ctrl-C does it: between two transactions.
            watch.send_signal(signal.SIGINT)
            watch.wait(20)


def answered(address: str) -> int:
    """How many answers a job has."""
    with urllib.request.urlopen(address) as response:
        return int(json.load(response)["outcomes"].get("ok", 0))


def new_job(db: Path, driver: Any) -> None:
    """The form of a new job, filled in, as `browse` shows it."""
    with simulator() as said:
        os.environ |= {"OPENAI_BASE_URL": said[1], "OPENAI_API_KEY": "any"}
        with process([*BATCH, "browse", str(db), "--no-open"], r"(http://\S+)") as link:
            driver.get(link[1])
            form = f"{link[1].partition('/-/')[0]}/demo/-/openai-batch/new?table=reviews"
            driver.get(form)
            for name, text in (
                ("prompt", "How does this customer feel? {{ body }}"),
                ("answer_name", "feeling"),
                ("answer_kind", "one of"),
                ("answer_values", "happy|angry|neither"),
            ):
                driver.find_element("name", name).send_keys(text)
            take(driver, "new-job", height=988)


def main() -> None:
    """Make all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "demo.db"
        shutil.copy(HERE.parent / "demo.db", db)
        finished_jobs(db)
        serve = [sys.executable, "-m", "datasette", str(db), "-p", "0"]
        with process(serve, r"running on (http://\S+)") as said, chromium() as driver:
            base = f"{said[1]}/demo/-/openai-batch"
            running_job(db, base)
            picture(driver, f"{base}/4", "datasette-running", height=620)
            picture(driver, base, "datasette-jobs", height=360)
            picture(driver, f"{base}/2", "datasette-job", height=1010)
            picture(driver, f"{base}/2", "datasette-errors", top="#errors", height=885)
            picture(driver, f"{base}/3", "datasette-pictures", top="#rows", height=520)
            picture(driver, f"{said[1]}/demo/reviews/19", "datasette-row", height=260)
            new_job(db, driver)


if __name__ == "__main__":
    main()
