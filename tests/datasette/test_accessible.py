"""Every page of ours in a real browser, with axe: on a desk and on a phone, light and dark.

The steps of a new job after the first are looked at in `test_story`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import job_data
import pytest
from itsdangerous import URLSafeSerializer
from live import running
from serving import IS_1_0

from datasette_openai_batch.actions.actions import ACTIONS
from datasette_openai_batch.routes import ROUTES
from sqlite_utils_openai_batch.local import LocalServer

pytestmark = [
    pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or ""),
    pytest.mark.skipif(browser.axe() is None, reason="no axe-core: npm install --no-save axe-core"),
]

JOBS = "/films/-/openai-batch"
NEW = f"{JOBS}/new"
SECRET = "no secret"
# What a dark theme of a Datasette does to every page.
DARK = "body, .content { background: #16191d; color: #e8e6e3 } a:link, a:visited { color: #8ab4f8 }"
JOB_PAGES = {
    f"{JOBS}/1",
    f"{JOBS}/1?_request=3",
    f"{JOBS}/1/answers",
    f"{JOBS}/1/answers?category=drama&_search=film&_answer=category&_by=id",
    f"{JOBS}/1/answers?_search=nowhere",
    f"{JOBS}/1/review",
    f"{JOBS}/2",
    f"{JOBS}/3",
    f"{JOBS}/4",
}
QUESTIONS = {
    1: ("retry", "apply", "revert", "rename", "delete"),
    2: ("cancel", "ceiling"),
    3: ("submit",),
    4: ("resume",),
}
PAGES = sorted(
    {
        "/-/openai-batch",
        JOBS,
        NEW,
        f"{NEW}?table=movies",
        f"{NEW}?table=movies&id__gt=3&_sort=title",
        f"{NEW}?like=1",
        *JOB_PAGES,
        *(f"{JOBS}/{job}/{name}" for job, names in QUESTIONS.items() for name in names),
    }
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("accessible") / "films.db"
    conn = job_data.connect(path, journal="wal")
    job_data.movies(conn, 60)
    keys = list(range(1, 61))
    job_data.add_job(conn, keys, {2: "refused", 5: "truncated"}, parts=2)
    waits = dict.fromkeys(range(60), "pending")
    more: dict[str, Any] = {"cost_nanousd": None, "finished_at": None, "write": False}
    job_data.add_job(
        conn, keys, waits, name="nightly", status="running", part_status="in_progress", **more
    )
    job_data.add_job(conn, keys, waits, status="prepared", part_status="prepared", **more)
    job_data.add_job(
        conn, keys, waits, status="paused", part_status="prepared",
        message="Out of credit.", **more,
    )  # fmt: skip
    conn.close()
    return path


@pytest.fixture(scope="module")
def base(films: Path) -> Iterator[str]:
    with LocalServer() as server:
        config = films.with_name("config.json")
        config.write_text(
            json.dumps(
                {
                    "permissions": {
                        "openai-batch-create": True,
                        "openai-batch-manage": True,
                        "openai-batch-review": True,
                    },
                    "plugins": {
                        "sqlite-utils-openai-batch": {"base_url": server.base_url, "key": "any"}
                    },
                }
            )
        )
        options = ("-c" if IS_1_0 else "-m", str(config), "--secret", SECRET)
        with running(films, options=options) as base:
            yield base


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, base: str) -> Iterator[Any]:
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as driver:
        driver.get(f"{base}/-/openai-batch")
        signed = URLSafeSerializer(SECRET, "actor").dumps({"a": {"id": "ana"}})
        driver.add_cookie({"name": "ds_actor", "value": signed})
        yield driver


def found(driver: Any) -> list[str]:
    """What axe finds on the page as it is shown now, folds open; and what sticks out of it."""
    script = browser.axe()
    assert script is not None
    driver.execute_script("document.querySelectorAll('details').forEach((one) => one.open = true)")
    driver.execute_script(script.read_text(encoding="utf-8"))
    told = []
    for look, width in (("light", 1100), ("light", 390), ("dark", 1100)):
        driver.set_window_size(width, 900)
        if look == "dark":
            driver.execute_script(
                "const style = document.createElement('style'); style.textContent = arguments[0];"
                "document.head.append(style)",
                DARK,
            )
        result = driver.execute_async_script(
            "axe.run(document.querySelector('.content')).then(arguments[0])"
        )
        told += [
            f"{look}, {width} px: {one['id']}: {node['html'][:200]}: "
            f"{(node['any'] or [{}])[0].get('message', '')}"
            for one in result["violations"]
            for node in one["nodes"]
            # Where regions and landmarks are is up to the page around ours.
            if one["id"] not in ("region", "landmark-one-main")
        ]
        wide = driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        if wide > 0:
            told.append(f"{look}, {width} px: {wide} px stick out")
    return told


@pytest.mark.parametrize("address", PAGES)
def test_axe_finds_nothing(driver: Any, base: str, address: str) -> None:
    driver.get(base + address)
    assert driver.find_elements("css selector", "body.openai-batch"), driver.page_source[:2000]
    assert driver.current_url.partition("?")[0] == base + address.partition("?")[0]
    assert "\n".join(found(driver)) == ""


def test_no_page_is_left_out() -> None:
    """A new route that answers with a page, or a new question, belongs into the list above."""
    pages = {name for pattern, view in ROUTES if (name := view.__name__).endswith("_page")}
    assert pages == {"all_jobs_page", "jobs_page", "job_page", "answers_page"}
    asked = {name for name, action in ACTIONS.items() if action.question is not None}
    assert asked == {name for names in QUESTIONS.values() for name in names}
    files = {"attachment", "csv", "xlsx", "jsonl", "report", "image", "json", "webhook"}
    others = {view.__name__ for _, view in ROUTES} - pages
    assert {name for name in others if not files & set(name.split("_"))} == {
        "new_job", "review", "job_action", "nowhere",
    }  # fmt: skip
