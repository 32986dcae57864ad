"""Who may see what, as a table of route × actor."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import job_data
import pytest
from serving import IS_1_0, cells, fetch, run

from datasette_openai_batch.access.permissions import Access, access, remembering

# ana may see everything; ben may not see the table `secret`; cleo may not see the database.
ACTORS = ("ana", "ben", "cleo", None)
CONFIG = {
    "databases": {
        "films": {
            "allow": {"id": ["ana", "ben"]},
            "tables": {"secret": {"allow": {"id": "ana"}}},
        }
    }
}

OPEN = {"ana": 200, "ben": 200, "cleo": 403, None: 403}
CLOSED = {"ana": 200, "ben": 403, "cleo": 403, None: 403}
JOBS = "/films/-/openai-batch"

ROUTES: list[tuple[str, dict[Any, int]]] = [
    ("/-/openai-batch", dict.fromkeys(ACTORS, 200)),
    (JOBS, OPEN),
    *[
        (f"{JOBS}/1{suffix}", OPEN)
        for suffix in (
            "",
            ".json",
            ".csv",
            ".xlsx",
            ".jsonl",
            "/report",
            "/image?_request=1&_column=photo",
            "/attachment?_request=1&_column=letter",
        )
    ],
    *[
        # Job 2 reads `secret`, 3 reads it by a query, 4 writes to it, 5 by a query that is broken.
        (f"{JOBS}/{job}{suffix}", CLOSED)
        for job in (2, 3, 4)
        for suffix in ("", ".json", ".csv", ".xlsx", "/report")
    ],
    (f"{JOBS}/2.jsonl", CLOSED),
    (f"{JOBS}/2/image?_request=13&_column=photo", CLOSED),
    (f"{JOBS}/2/attachment?_request=13&_column=letter", CLOSED),
    *[
        (f"/films/{table}", CLOSED)
        for table in (
            "openai_batch_jobs",
            "openai_batch_parts",
            "openai_batch_batches",
            "openai_batch_requests",
            "openai_batch_responses",
            "openai_batch_limits",
            "openai_batch_log",
            "openai_batch_samples",
            "openai_batch_reviews",
            "openai_batch_reviewed",
            "openai_batch_answers",
            "openai_batch_drafts",
            "openai_batch_results",
            "openai_batch_requests.json",
            "openai_batch_requests/1",
        )
    ],
]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("permissions") / "films.db"
    conn = job_data.connect(path)
    keys = list(range(1, 13))
    for table in ("movies", "secret"):
        job_data.movies(conn, 12, table)
        conn.execute(f"ALTER TABLE {table} ADD COLUMN photo BLOB")
        conn.execute(f"ALTER TABLE {table} ADD COLUMN letter BLOB DEFAULT x'4869'")
        conn.execute(f"UPDATE {table} SET photo = x'89504e470d0a1a0a'")
        job_data.add_job(conn, keys, {1: "refused"}, source=table, name=f"about {table}")
    query = "SELECT movies.id, movies.title, movies.overview FROM movies JOIN secret USING (id)"
    job_data.add_job(
        conn, keys, source=None, source_sql=query, output_table="answers", name="joined"
    )
    job_data.add_job(conn, keys, output_table="secret", write=False, name="written there")
    conn.close()
    return path


@pytest.mark.parametrize("actor", ACTORS)
def test_routes(serve, films: Path, actor: str | None) -> None:
    datasette = serve(films, config=CONFIG)
    expected = {route: by_actor[actor] for route, by_actor in ROUTES}
    found = {route: fetch(datasette, route, actor).status_code for route, _ in ROUTES}
    assert found == expected


def test_hidden_jobs_are_neither_named_nor_counted(serve, page, films: Path) -> None:
    datasette = serve(films, config=CONFIG)
    for address in (JOBS, "/-/openai-batch"):
        everything = page(datasette, address, "ana")
        assert [row[0] for row in cells(everything)[1:]] == [
            "4 written there",
            "3 joined",
            "2 about secret",
            "1 about movies",
        ]
        some = page(datasette, address, "ben")
        assert [row[0] for row in cells(some)[1:]] == ["1 about movies"]
        for word in ("secret", "joined", "written there"):
            assert word not in some
    assert "1 job<" in page(datasette, JOBS, "ben")
    for actor in ("cleo", None):
        nothing = page(datasette, "/-/openai-batch", actor)
        assert "films" not in nothing and "No batch jobs" in nothing


def test_menus_and_notes_count_what_the_actor_sees(serve, page, films: Path) -> None:
    datasette = serve(films, config=CONFIG)
    assert "Batch jobs (4)" in page(datasette, "/films", "ana")
    assert "Batch jobs (1)" in page(datasette, "/films", "ben")
    assert "batch job 2" not in page(datasette, "/films/movies", "ben")
    assert "Batch jobs" not in page(datasette, "/", "cleo")


def test_requests_of_another_job_stay_hidden(serve, page, films: Path) -> None:
    datasette = serve(films, config=CONFIG)
    assert "No request of this job" in page(datasette, f"{JOBS}/1?_request=14", "ben")
    page(datasette, f"{JOBS}/1/image?_request=14&_column=photo", "ben", status=404)


def test_listings_leave_out_denied_tables(serve, films: Path) -> None:
    datasette = serve(films, config=CONFIG)

    def listed(actor: str) -> set[str]:
        found = fetch(datasette, "/films.json", actor).json()
        return {table["name"] for table in found["tables"] + found["views"]}

    assert "openai_batch_jobs" in listed("ana") and "openai_batch_results" in listed("ana")
    assert not any(name.startswith("openai_batch") for name in listed("ben"))


def test_a_query_that_nobody_can_check_needs_execute_sql(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn)
    job_data.add_job(
        conn,
        [1],
        source=None,
        source_sql="SELECT id, title, overview FROM dropped_since",
        output_table="answers",
    )
    conn.close()
    page(serve(path), "/films/-/openai-batch/1")
    config = {"databases": {"films": {"allow_sql": {"id": "ana"}}}}
    datasette = serve(path, config=config)
    page(datasette, "/films/-/openai-batch/1", "ana")
    page(datasette, "/films/-/openai-batch/1", status=403)


def test_a_job_about_jobs_is_as_private_as_they_are(
    serve, page, films: Path, tmp_path: Path
) -> None:
    path = tmp_path / "films.db"
    path.write_bytes(films.read_bytes())
    conn = job_data.connect(path)
    job_data.add_job(
        conn,
        [1],
        source="openai_batch_results",
        key_columns=("request_id",),
        schema=None,
        template={"model": "m", "messages": [{"role": "user", "content": "{{ answer }}"}]},
        output_table="judged",
    )
    conn.close()
    datasette = serve(path, config=CONFIG)
    page(datasette, f"{JOBS}/5", "ana")
    page(datasette, f"{JOBS}/5", "ben", status=403)


def test_a_new_job_counts_from_the_next_request_on(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    for table in ("movies", "secret"):
        job_data.movies(conn, 3, table)
    job_data.add_job(conn, [1, 2])
    datasette = serve(path, config=CONFIG)
    page(datasette, "/films/openai_batch_jobs", "ben")
    job_data.add_job(conn, [1, 2], source="secret")
    conn.close()
    page(datasette, "/films/openai_batch_jobs", "ben", status=403)
    page(datasette, "/films/openai_batch_jobs", "ana")
    assert "Batch jobs (1)" in page(datasette, "/films", "ben")


def test_nothing_is_remembered_beyond_its_request(serve, films: Path) -> None:
    """What a request starts and leaves running asks afresh."""
    datasette = serve(films, config=CONFIG)
    started: list[asyncio.Task[bool]] = []
    ended = asyncio.Event()
    db = datasette.get_database("films")
    ben = {"id": "ben"}

    async def later() -> bool:
        await access(datasette, db, ben)
        await ended.wait()
        conn = job_data.connect(films)
        conn.execute("UPDATE openai_batch_jobs SET source = 'nowhere' WHERE source = 'movies'")
        try:
            return any(place.source == "movies" for place in (await places_of()).allowed)
        finally:
            conn.execute("UPDATE openai_batch_jobs SET source = 'movies' WHERE source = 'nowhere'")
            conn.close()

    async def places_of() -> Access:
        return await access(datasette, db, ben)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await places_of()) is (await places_of())
        started.append(asyncio.ensure_future(later()))
        await asyncio.sleep(0)

    async def ask() -> bool:
        await datasette.invoke_startup()
        await remembering(app)({"type": "http"}, None, None)
        ended.set()
        return await started[0]

    assert run(ask()) is False


def test_instance_may_be_closed_altogether(serve, page, db: Path) -> None:
    datasette = serve(db, config={"allow": {"id": "ana"}})
    for address in ("/-/openai-batch", "/films/-/openai-batch", "/films/-/openai-batch/1.csv"):
        page(datasette, address, status=403)
        page(datasette, address, "ana")


def test_managing_is_denied_unless_granted(serve, db: Path) -> None:
    datasette = serve(db)

    async def ask() -> bool:
        await datasette.invoke_startup()
        if IS_1_0:
            from datasette.resources import DatabaseResource

            return await datasette.allowed(
                action="openai-batch-manage",
                resource=DatabaseResource("films"),
                actor={"id": "ana"},
            )
        return await datasette.permission_allowed({"id": "ana"}, "openai-batch-manage", "films")

    assert run(ask()) is False


def test_json_of_a_denied_job_names_nothing(serve, films: Path) -> None:
    response = fetch(serve(films, config=CONFIG), f"{JOBS}/2.json", "ben")
    assert "secret" not in response.text
    assert "secret" not in json.dumps(dict(response.headers))
