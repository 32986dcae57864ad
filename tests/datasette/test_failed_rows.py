"""`?_status=failed` on a job's page and its files: all that ended without an answer."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from serving import fetch

ONE = "/films/-/openai-batch/1"


def test_the_page_shows_them_together(serve, page, db: Path) -> None:
    html = page(serve(db), f"{ONE}?_status=failed")
    assert 'id="rows">Rows that failed</h2>' in html
    happened = re.findall(r'data-label="What happened">([^<]*)<', html)
    assert happened == ["refused: Failed: refused", "truncated: Failed: truncated"]


def test_files_of_them(serve, page, db: Path) -> None:
    datasette = serve(db)
    html = page(datasette, ONE)
    for suffix in ("csv", "xlsx"):
        assert f'href="{ONE}.{suffix}?_status=failed"' in html
        assert fetch(datasette, f"{ONE}.{suffix}?_status=failed").status_code == 200
    text = page(datasette, f"{ONE}.csv?_status=failed")
    assert [row["status"] for row in csv.DictReader(io.StringIO(text))] == ["refused", "truncated"]
    refused = page(datasette, f"{ONE}.csv?_status=fail", status=400)
    assert "Did you mean failed?" in refused


def test_a_job_in_which_nothing_failed(serve, page, db: Path) -> None:
    html = page(serve(db), "/films/-/openai-batch/2?_status=failed")
    assert "No more of these." in html
    assert page(serve(db), "/films/-/openai-batch/2.csv?_status=failed").count("\n") == 1
