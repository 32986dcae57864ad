"""All that changes something, as one table: route × actor × method.

Nobody is granted anything but what their name says; a new route belongs into the table, or among
those that only read.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from job_data import AWAY
from serving import IS_1_0, run

from datasette_openai_batch.actions.actions import ACTIONS
from datasette_openai_batch.routes import ROUTES

JOBS = "/films/-/openai-batch"
NEW = f"{JOBS}/new"
#: Nobody who is signed in; who may see nothing; who may view; and who was granted one thing more.
ACTORS = (None, "stranger", "viewer", "creator", "manager", "reviewer", "root")
CREATE, MANAGE, REVIEW = "creator", "manager", "reviewer"
GRANTED = {
    "permissions": {
        f"openai-batch-{what}": {"id": [who, "root"]}
        for what, who in (("create", CREATE), ("manage", MANAGE), ("review", REVIEW))
    },
    "databases": {"films": {"allow": {"id": ["viewer", CREATE, MANAGE, REVIEW, "root"]}}},
    "plugins": {"sqlite-utils-openai-batch": {"base_url": AWAY}},
}
ASK = {"table": "movies", "prompt": "{{ title }}", "price_input": "1", "price_output": "1",
       "max_tokens": "20"}  # fmt: skip
#: What is posted where, and who may: everybody else is refused, and nothing changes.
CHANGES: dict[str, tuple[str, dict[str, str], set[str]]] = {
    "new: look": (NEW, {"do": "look", **ASK}, {CREATE, "root"}),
    "new: insert a column": (NEW, {"insert": "title", **ASK}, {CREATE, "root"}),
    "new: more lines": (NEW, {"do": "more", **ASK}, {CREATE, "root"}),
    "new: the first requests": (NEW, {"do": "live", **ASK}, {CREATE, "root"}),
    **{
        f"new: {button} without a look": (NEW, {"do": button, "agree": "1", **ASK},
                                          {CREATE, "root"})
        for button in ("try", "send", "save", "again")
    },
    "check": (f"{JOBS}/2/check", {}, {MANAGE, "root"}),
    "pause": (f"{JOBS}/2/pause", {}, {MANAGE, "root"}),
    "cancel": (f"{JOBS}/2/cancel", {"requests": "12"}, {MANAGE, "root"}),
    "ceiling": (f"{JOBS}/2/ceiling", {"max_cost": "12"}, {MANAGE, "root"}),
    # who may start jobs may send one that was saved
    "submit": (f"{JOBS}/3/submit", {}, {CREATE, MANAGE, "root"}),
    "resume": (f"{JOBS}/4/resume", {}, {MANAGE, "root"}),
    "retry": (f"{JOBS}/1/retry", {"requests": "2"}, {MANAGE, "root"}),
    "apply": (f"{JOBS}/1/apply", {"output_table": "elsewhere"}, {MANAGE, "root"}),
    "revert": (f"{JOBS}/1/revert", {}, {MANAGE, "root"}),
    "rename": (f"{JOBS}/1/rename", {"name": "thesis"}, {MANAGE, "root"}),
    "delete": (f"{JOBS}/1/delete", {}, {MANAGE, "root"}),
    "review": (
        f"{JOBS}/1/review",
        {"do": "save", "sample": "0", "row": "1", "column": "category", "say-0": "drama"},
        {REVIEW, "root"},
    ),
    "review: which rows": (
        f"{JOBS}/1/review",
        {"do": "begin", "size": "5", "which": "random", "seed": "1"},
        {REVIEW, "root"},
    ),
    # by its signature, whoever brings it: `test_webhook`
    "webhook": ("/-/openai-batch/webhook", {}, set()),
}  # fmt: skip
#: These draw the form again and keep nothing; a check without an answer of the server neither.
NOTHING_KEPT = {"new: insert a column", "new: more lines", "new: the first requests", "check"}
READS = {
    "all_jobs_page", "all_jobs_json", "jobs_page", "jobs_json", "job_page", "job_json", "job_csv",
    "job_xlsx", "job_jsonl", "job_report", "answers_page", "job_image", "job_attachment",
    "nowhere",
}  # fmt: skip
READ = ["/-/openai-batch", "/-/openai-batch.json", JOBS, f"{JOBS}.json", f"{JOBS}/nightly", *(
    f"{JOBS}/1{what}"
    for what in ("", ".json", ".csv", ".xlsx", ".jsonl", "/report", "/answers",
                 "/image?_request=1&_column=title", "/attachment?_request=1&_column=title")
)]  # fmt: skip


@pytest.fixture
def films(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "films.db"))


@pytest.fixture
def site(serve: Callable[..., Any], films: Path) -> Any:
    return serve(films, config=GRANTED)


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as conn:
        return list(conn.iterdump())


def ask(datasette: Any, method: str, path: str, actor: str | None, fields: dict[str, str]) -> Any:
    """A request of an actor, a form with the token that a page of Datasette gave the browser."""

    async def sent() -> Any:
        await datasette.invoke_startup()
        cookies = {"ds_actor": datasette.sign({"a": {"id": actor}}, "actor")} if actor else {}
        if method == "GET" or IS_1_0:
            shown = ""
        else:
            first = await datasette.client.get("/-/permissions", cookies=cookies)
            shown, cookies = first.text, cookies | dict(first.cookies)
        token = re.search(r'name="csrftoken" value="([^"]*)"', shown)
        given = {"csrftoken": token[1], **fields} if token else fields
        return await datasette.client.request(method, path, data=given, cookies=cookies)

    return run(sent())


@pytest.mark.parametrize("actor", ACTORS)
def test_who_may_not_changes_nothing(site: Any, films: Path, actor: str | None) -> None:
    before = dump(films)
    found = {
        name: ask(site, "POST", path, actor, fields).status_code
        for name, (path, fields, may) in CHANGES.items()
        if actor not in may
    }
    assert found == {name: 404 if name == "webhook" else 403 for name in found}
    assert dump(films) == before


@pytest.mark.parametrize(
    ("name", "actor"),
    [(name, actor) for name, (_, _, may) in CHANGES.items() for actor in sorted(may)],
)
def test_who_may_does_it(site: Any, films: Path, name: str, actor: str) -> None:
    path, fields, _ = CHANGES[name]
    before = dump(films)
    answer = ask(site, "POST", path, actor, fields)
    assert answer.status_code in (200, 302), answer.text
    # a page waits a little for a pass that it began; it is done all the same
    deadline = time.monotonic() + 60
    while name not in NOTHING_KEPT and dump(films) == before:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    assert (dump(films) != before) is (name not in NOTHING_KEPT)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_a_post_changes_anything(site: Any, films: Path, method: str) -> None:
    before = dump(films)
    for actor in (None, "viewer", "root"):
        for path, fields, _ in CHANGES.values():
            query = "&".join(f"{key}={value}" for key, value in fields.items())
            answer = ask(site, method, f"{path}?{query}", actor, fields)
            assert answer.status_code < 500, f"{method} {path}: {answer.text}"
    assert dump(films) == before


def test_pages_that_only_read_do_so_whatever_is_posted(site: Any, films: Path) -> None:
    before = dump(films)
    for actor in ACTORS:
        for path in READ:
            fields = {"do": "send", "agree": "1", "name": "thesis"}
            answer = ask(site, "POST", path, actor, fields)
            assert answer.status_code < 500, f"{path}: {answer.text}"
    assert dump(films) == before


KEY = "sk-of-the-plugin-0123456789"


@pytest.mark.parametrize(
    "wrong",
    [{}, {"base_url": "here"}],
    ids=["right", "base_url"],
)
def test_no_secret_is_in_the_traceback_of_a_page(
    serve: Callable[..., Any], films: Path, told: list[str], wrong: dict[str, str]
) -> None:
    settings = {"base_url": AWAY, "key": KEY, **wrong}
    site = serve(films, config={**GRANTED, "plugins": {"sqlite-utils-openai-batch": settings}})
    absent = [f"{JOBS}/99", f"{JOBS}/1/review?_sample=99", f"{NEW}?like=99", f"{NEW}?like=x",
              f"{NEW}?draft=0123456789abcdef", f"{NEW}?table=absent", f"{NEW}?sql=select",
              f"{JOBS}/1.csv?_status=absent", f"{JOBS}/1/check"]  # fmt: skip
    for actor in ("stranger", "root"):
        for path, fields, _ in CHANGES.values():
            ask(site, "POST", path, actor, fields | {"output_table": "openai_batch_jobs"})
            ask(site, "GET", path, actor, {})
        for path in (*READ, *absent):
            ask(site, "GET", path, actor, {})
    assert len(told) > 5
    assert not [one for one in told if KEY[:12] in one]


def test_no_route_is_left_out() -> None:
    table = [path.partition("?")[0] for path, _, _ in CHANGES.values()]
    for pattern, view in ROUTES:
        if view.__name__ in READS:
            assert any(re.search(pattern, path.partition("?")[0]) for path in READ), pattern
        else:
            assert any(re.search(pattern, path) for path in table), f"{pattern} isn't in the table"
    assert {path.rpartition("/")[2] for path in table} >= set(ACTIONS)
