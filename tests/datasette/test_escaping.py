"""Whatever a string holds, it is shown and never run."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import job_data
import pytest
from serving import fetch

from sqlite_utils_openai_batch import store

EVIL = "\"'><script>alert(1)</script><img src=evil onerror=alert(1)>{{ 7*7 }}{% raise %}-->"
RECIPE = {
    **dict.fromkeys(("table", "prompt", "system", "schema", "blanks", "image_dir"), EVIL),
    "params": [[EVIL, EVIL]],
    "missing": True,
}
JOB = "/evil/-/openai-batch/1"


class Elements(HTMLParser):
    """The tags of a page, with attributes that run or load something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.bad: list[tuple[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            runs = name.startswith("on") and "alert" in (value or "")
            if runs or (name, value) == ("src", "evil"):
                self.bad.append((tag, attrs))


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job whose every string is an attack."""
    path = tmp_path_factory.mktemp("evil") / "evil.db"
    conn = job_data.connect(path)
    table = EVIL.replace('"', '""')
    conn.execute(f'CREATE TABLE "{table}" ("{table}" TEXT PRIMARY KEY, "x{table}" TEXT)')
    keys = [f"{EVIL}{n}" for n in range(6)]
    conn.executemany(f'INSERT INTO "{table}" VALUES (?, ?)', [(key, EVIL) for key in keys])
    job = job_data.add_job(
        conn,
        keys,
        {0: "refused", 1: "truncated", 2: "pending"},
        source=EVIL,
        key_columns=(EVIL,),
        schema={
            "type": "object",
            "properties": {EVIL: {"type": "string", "enum": [EVIL], "description": EVIL}},
            "required": [EVIL],
            "additionalProperties": False,
        },
        columns=[{"name": f"y{EVIL}", "type": "TEXT", "property": EVIL}],
        template={
            "model": EVIL,
            EVIL: EVIL,
            "messages": [
                {"role": EVIL, "content": EVIL},
                {"role": "user", "content": f"{EVIL.replace('{% raise %}', '')}"},
                {"role": "user", "content": [{"type": EVIL, "text": EVIL}]},
            ],
        },
        answers={n: json.dumps({EVIL: EVIL}) for n in range(6)},
        messages={"refused": EVIL, "truncated": EVIL},
        write=False,
        name=EVIL,
        model=EVIL,
        endpoint=EVIL,
        provider=EVIL,
        base_url=f"https://{EVIL}",
        account=EVIL,
        message=EVIL,
        status="paused",
        options=json.dumps({"where": EVIL, "order": EVIL, "recipe": RECIPE}),
        source_params=json.dumps({EVIL: EVIL}),
        versions=json.dumps({EVIL: EVIL}),
    )
    part = store.list_parts(conn, job)[0]
    store.update_part(
        conn,
        part.id,
        batch_id=EVIL,
        input_file_id=EVIL,
        output_file_id=EVIL,
        errors=json.dumps([{"message": EVIL, "line": EVIL, "code": EVIL}]),
    )
    store.insert_send(conn, part, 1, EVIL, b"")
    store.update_send(conn, part.id, 1, status=EVIL, batch_id=EVIL)
    conn.execute(
        "UPDATE openai_batch_requests SET error_code = :evil, error_message = :evil, model = :evil",
        {"evil": EVIL},
    )
    conn.execute(
        "UPDATE openai_batch_responses SET line = ?, file_id = ?, kind = ? WHERE id = 1", [EVIL] * 3
    )
    store.log(conn, EVIL, job_id=job, part_id=part.id, detail=EVIL)
    conn.close()
    return path


PAGES = [
    "/-/openai-batch",
    "/evil/-/openai-batch",
    f"/evil/-/openai-batch?_table={EVIL}&_status={EVIL}",
    *[
        f"{JOB}{query}"
        for query in (
            "",
            "?_status=refused",
            "?_status=pending",
            "?_request=1",
            "?_request=2",
            f"?_row={EVIL}0",
            f"?_row={EVIL}",
            f"?_after={EVIL}&_request={EVIL}&_status={EVIL}",
        )
    ],
]


@pytest.mark.parametrize("address", PAGES)
def test_nothing_of_data_runs(serve, evil: Path, address: str) -> None:
    datasette = serve(evil)
    response = fetch(datasette, address.replace("%", "%25").replace("#", "%23"))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    page = Elements()
    page.feed(response.text)
    assert page.bad == []
    assert "<script>alert" not in response.text
    plain = Elements()
    plain.feed(fetch(datasette, "/").text)
    assert page.tags.count("script") <= plain.tags.count("script") + 3


def test_templates_of_jobs_are_not_rendered_by_the_page(serve, evil: Path) -> None:
    assert "{{ 7*7 }}" in fetch(serve(evil), JOB).text


def test_own_pages_show_it_too(serve, evil: Path) -> None:
    datasette = serve(evil)
    table = fetch(datasette, "/evil.json").json()["tables"]
    name = next(one["name"] for one in table if not one["hidden"])
    for path in (datasette.urls.table("evil", name), datasette.urls.database("evil")):
        page = Elements()
        page.feed(fetch(datasette, path).text)
        assert page.bad == []


def test_json_is_json(serve, evil: Path) -> None:
    response = fetch(serve(evil), f"{JOB}.json")
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["name"] == EVIL


def test_report_is_text(serve, evil: Path) -> None:
    response = fetch(serve(evil), f"{JOB}/report")
    assert response.headers["content-type"].startswith("text/markdown")
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "xlsx"])
def test_files_are_downloads(serve, evil: Path, suffix: str) -> None:
    response = fetch(serve(evil), f"{JOB}.{suffix}")
    assert response.status_code == 200
    assert response.headers["content-disposition"].startswith("attachment; ")
    assert response.headers["x-content-type-options"] == "nosniff"
