"""A database from somebody else: nothing in it is a path, an address or a command before it has
the one form that this program writes, and no key goes where it was never given for.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import ConfigurationError
from sqlite_utils_openai_batch.jobs.plan.options import command_line
from sqlite_utils_openai_batch.provider import places
from sqlite_utils_openai_batch.provider.accounts import fingerprint
from sqlite_utils_openai_batch.store.records import is_address, is_endpoint, is_folder, is_id

ASK = ("--prompt", "Say: {{ text }}")
NONE_LISTED = {"object": "list", "data": [], "has_more": False}
CHANGED = "This database was changed by another program: job 1 has "
KEY = "sk-test-of-mine-0001"


@pytest.fixture
def journal() -> str:
    """Nothing here depends on SQLite's journal mode."""
    return "delete"


def change(path: Path, table: str = "jobs", **values: Any) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        for name, value in values.items():
            conn.execute(f"UPDATE openai_batch_{table} SET {name} = ?", [value])


def change_options(path: Path, **values: Any) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        (text,) = conn.execute("SELECT options FROM openai_batch_jobs").fetchone()
        options = json.loads(text)
        for name, value in values.items():
            options["recipe"][name] = value
        conn.execute("UPDATE openai_batch_jobs SET options = ?", [json.dumps(options)])


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A folder that belongs to somebody, and what is in it."""
    folder = tmp_path / "treasure"
    (folder / "files").mkdir(parents=True)
    (folder / "thesis.txt").write_text("three years")
    return folder


@pytest.fixture
def local(run: Any, notes: Path) -> Path:
    """A database with a job that was to run on this machine, and has its batches open."""
    run("prepare", notes, "notes", *ASK, "--upstream", run.base_url, "-m", "x")
    return notes


def upward(home: Path, folder: Path) -> str:
    """A way from where local servers keep their files to another folder."""
    return "/".join([".."] * 6) + str(folder)


# Folders


@pytest.mark.parametrize("kind", ["absolute", "upward", "dots", "empty", "long"])
def test_no_folder_but_the_servers_own_is_removed_or_made(
    run: Any, local: Path, treasure: Path, tmp_path: Path, kind: str
) -> None:
    uid = {
        "absolute": str(treasure),
        "upward": upward(tmp_path, treasure),
        "dots": "..",
        "empty": "",
        "long": "a" * 13,
    }[kind]
    change(local, uid=uid)
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "answers.jsonl").write_text('{"custom_id": "a-1"}\n')
    for command in (
        ("sync", local),
        ("watch", local, "--poll", "0.05"),
        ("sync", local, "1"),
        ("submit", local, "1", "-y"),
        ("cancel", local, "1"),
        ("delete", local, "1", "-y"),
        ("run", local, "notes", *ASK, *run.there, "--output", "other"),
        ("try", local, "notes", *ASK, *run.there[:3], "-n", "1"),
        ("preview", local, "notes", *ASK, *run.there[:2]),
        ("import-responses", local, "answers.jsonl"),
        ("show", local, "1"),
        ("jobs", local),
    ):
        said = run(*command, code=1)
        assert CHANGED + f"'{uid[:40]}" in said.err, command
    assert {path for path in before if treasure in (path, *path.parents)} <= set(
        tmp_path.rglob("*")
    )
    assert (treasure / "thesis.txt").read_text() == "three years"
    new = {path.name for path in set(tmp_path.rglob("*")) - set(before)}
    assert new <= {"answers.jsonl"}


def test_a_folder_that_holds_something_else_stays(
    run: Any, notes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The uid has the right form, and the folder of that name holds more than a server's state."""
    folder = places.local_folder("abc")
    for name in ("state.db", "server.lock", "thesis.txt"):
        (folder / name).write_text("")
    places.forget_local("abc")
    assert (folder / "thesis.txt").exists()
    (folder / "thesis.txt").unlink()
    (folder / "files").symlink_to(tmp_path)
    places.forget_local("abc")
    assert folder.exists()
    (folder / "files").unlink()
    places.forget_local("abc")
    assert not folder.exists()
    folder.symlink_to(tmp_path)
    places.forget_local("abc")
    assert folder.is_symlink()
    assert notes.exists()


@pytest.mark.parametrize("uid", ["", "..", "../..", "/", "A", "a b", "a/b", "é", "abc\0", "a" * 13])
def test_no_folder_is_named_by_what_is_no_uid(
    uid: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what in (places.local_folder, places.forget_local):
        with pytest.raises(ConfigurationError, match="not a uid of a job"):
            what(uid)


# Records


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ("jobs", "status", "sold"),
        ("jobs", "provider", "gpt"),
        ("jobs", "endpoint", "https://evil.example/v1/chat/completions"),
        ("jobs", "endpoint", "/v1/../files"),
        ("jobs", "base_url", "file:///etc/passwd"),
        ("jobs", "base_url", "https://me:secret@evil.example/v1"),
        ("jobs", "base_url", "https://evil.example/v1\r\nX: y"),
        ("jobs", "account", "; rm -rf ~"),
        ("jobs", "skipped", "many"),
        ("jobs", "max_cost_nanousd", "ten"),
        ("jobs", "template_hash", "text"),
        ("parts", "batch_id", "../files/file-1"),
        ("parts", "batch_id", "batch_1?after=x"),
        ("parts", "output_file_id", "file-1/%2e%2e/x"),
        ("parts", "error_file_id", "//evil.example/x"),
        ("parts", "input_file_id", "file 1"),
        ("parts", "error_file_id", b"\xff\x00"),
        ("parts", "token", "../../x"),
        ("parts", "status", "sold"),
        ("parts", "number", -1),
    ],
)
def test_a_column_that_holds_what_we_never_write(
    run: Any, notes: Path, table: str, name: str, value: Any, web: Any
) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    change(notes, table, **{name: value})
    change(notes, approved_at="2026-11-20T14:00:00.000Z")
    if name != "status" or table == "parts":
        change(notes, status="running")
    for command in ("sync", "show"):
        said = run(command, notes, "1", code=1)
        assert said.err.startswith(f"Error: {CHANGED}'"), said.err
        assert f"openai_batch_{table}.{name}" in said.err
        assert "\r" not in said.err
    said = run("jobs", notes, code=1)
    assert CHANGED in said.err


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("output", {"table": None, "columns": [{"name": "a", "type": "TEXT DEFAULT (1)"}]}),
        ("output", {"table": "openai_batch_jobs", "columns": []}),
        ("output", {"table": False, "columns": []}),
        ("output", {"table": 0, "columns": [{"name": "a", "type": "TEXT"}]}),
        ("output", {"table": None, "columns": [{"name": "a", "type": "TEXT", "judged": "x"}]}),
        ("output", {"table": "sqlite_master", "columns": []}),
        ("output", {"table": None, "columns": [{"name": 7, "type": "TEXT"}]}),
        ("output", {"table": None, "columns": [], "replace": "yes"}),
        ("output", {"table": None, "columns": [], "responses": "../x"}),
        ("created_columns", ["text", 3]),
        ("created_columns", {"text": 1}),
        ("options", {"image_dir": "../../etc"}),
        ("options", {"image_dir": "/home/../etc"}),
        ("options", {"attempts": "many"}),
        ("options", {"concurrency": -4}),
        ("options", {"recipe": "rm"}),
        ("key_columns", [1]),
        ("template", ["x"]),
    ],
)
def test_json_that_we_never_write(
    run: Any, notes: Path, unchanged: Any, column: str, value: Any
) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    change(notes, approved_at="2026-11-20T14:00:00.000Z", status="running")
    change(notes, **{column: json.dumps(value)})
    check = unchanged(notes)
    said = run("sync", notes, code=1)
    assert said.err.startswith(f"Error: {CHANGED}'")
    assert f"in openai_batch_jobs.{column}" in said.err
    run("revert", notes, "1", code=1)
    run("run", notes, "--like", "1", "--output", "x", "-y", code=1)
    check()


def test_one_changed_job_keeps_no_other_from_going_on(run: Any, notes: Path, rows: Any) -> None:
    for output in ("a", "b", "c"):
        run("prepare", notes, "notes", *ASK, *run.there[:2], "--output", output)
    change(notes, status="running", approved_at="2026-11-20T14:00:00.000Z")
    with closing(sqlite3.connect(notes)) as conn, conn:
        conn.execute("UPDATE openai_batch_jobs SET uid = '../..' WHERE id = 1")
        conn.execute("UPDATE openai_batch_jobs SET output = '[]' WHERE id = 2")
    said = run("watch", notes, "--poll", "0.05", code=1)
    assert CHANGED + "'../..'" in said.err
    assert "job 2 has '[]' in openai_batch_jobs.output" in said.err
    assert rows(notes, "SELECT count(c) FROM notes") == [(12,)]


def test_ids_of_other_sends_are_looked_at_too(run: Any, notes: Path, server: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there)
    for column in ("input_file_id", "batch_id"):
        change(notes, "batches", input_file_id="../batches/batch_1")
        before = len(server.journal())
        said = run("delete", notes, "1", "-y", "--only", "remote", code=1)
        assert CHANGED + "'../batches/batch_1'" in said.err, column
        assert len(server.journal()) == before


def test_forms() -> None:
    good = (
        "batch_1",
        "file-abc",
        "batches/x-1",
        "gs%3A%2F%2Fbucket%2Ffile",
        "file-bGl0ZQ==",
        "a.b:c",
    )
    bad = ("", "..", "a/..", "../a", "a//b", "/a", "a/", "a b", "a?b", "a#b", "a\\b", "%2e%2E/a",
           "a%2f..%2Fb", "a\n", "https://evil.example/x", "x" * 1_001)  # fmt: skip
    assert [one for one in good if not is_id(one)] == []
    assert [one for one in bad if is_id(one)] == []
    addresses = ("http://127.0.0.1:8000/v1", "https://api.openai.com/v1", "http://[::1]:8/v1")
    others = ("", "ftp://x/v1", "http://", "http://x/v1/", "http://x/v1?a=b", "http://x/#a",
              "http://a@x/v1", "http://x:port/v1",
              "http://x /v1")  # fmt: skip
    assert [one for one in addresses if not is_address(one)] == []
    assert [one for one in others if is_address(one)] == []
    assert is_endpoint("/v1/chat/completions") and is_endpoint("/chat/completions")
    for endpoint in ("v1/x", "//evil.example/x", "/v1//x", "/v1/..", "/v1/x?y", "/v1/ x", "/"):
        assert not is_endpoint(endpoint), endpoint
    assert is_folder("/home/me") and is_folder("C:\\images")
    for folder in ("", "images", "../x", "/a/../b", "~", 3, None):
        assert not is_folder(folder), folder


# Files of this machine


@pytest.fixture
def pictures(run: Any, notes: Path, tmp_path: Path) -> Path:
    """A folder with a file for each row, and a prepared job that reads them."""
    folder = tmp_path / "private"
    folder.mkdir()
    with closing(sqlite3.connect(notes)) as conn, conn:
        conn.execute("ALTER TABLE notes ADD COLUMN file TEXT")
        conn.execute("UPDATE notes SET file = id || '.txt'")
        ids = [one for (one,) in conn.execute("SELECT id FROM notes")]
    for one in ids:
        (folder / f"{one}.txt").write_text(f"my secret {one}")
    run(
        "prepare", notes, "notes", *ASK, *run.there[:2], "--attach", "file",
        "--attach-dir", folder,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("how", ["another machine", "another folder", "another job"])
def test_no_file_goes_out_by_the_word_of_a_database(
    run: Any, notes: Path, pictures: Path, server: Any, monkeypatch: Any, rows: Any, how: str
) -> None:
    change(notes, approved_at="2026-11-20T14:00:00.000Z", status="running")
    if how == "another machine":
        monkeypatch.setenv("XDG_DATA_HOME", str(pictures.parent / "elsewhere"))
    elif how == "another folder":
        with closing(sqlite3.connect(notes)) as conn, conn:
            conn.execute(
                "UPDATE openai_batch_jobs SET options = json_set(options, '$.image_dir', ?)",
                [str(pictures.parent)],
            )
    else:
        change(notes, uid="abcdefghij")
    before = len(server.journal())
    for command in (("sync",), ("watch", "--poll", "0.05")):
        run(command[0], notes, *command[1:], code=1)
    assert "nobody named that folder on this machine" in run("sync", notes, code=1).err
    assert not [one for one in server.journal()[before:] if one["method"] == "POST"]
    run("export-requests", notes, "1", pictures.parent / "out", code=1)
    assert not list((pictures.parent / "out").glob("*.jsonl"))
    run("submit", notes, "1", "-y", "--image-dir", pictures)
    run("watch", notes, "--poll", "0.05")
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]


def test_like_takes_up_no_folder_that_nobody_named(
    run: Any, notes: Path, pictures: Path, unchanged: Any
) -> None:
    change_options(notes, image_dir=str(pictures.parent))
    check = unchanged(notes)
    said = run("run", notes, "--like", "1", "--output", "x", "-y", code=1)
    assert "nobody named that folder on this machine. If it is right, type --image-dir" in said.err
    check()


def test_like_takes_up_no_cluster(run: Any, notes: Path, unchanged: Any) -> None:
    run("prepare", notes, "notes", *ASK, "--local")
    with closing(sqlite3.connect(notes)) as conn, conn:
        conn.execute(
            "UPDATE openai_batch_jobs SET options = json_set(options, '$.ray', 'evil:6379')"
        )
    check = unchanged(notes)
    said = run("run", notes, "--like", "1", "--output", "x", "-y", code=1)
    assert "Job 1 ran on a Ray cluster" in said.err and "Type --ray" in said.err
    check()


# What --like takes up


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", "work"),
        ("yes", True),
        ("template", "/etc/passwd"),
        ("base_url", "https://me@evil.example/v1"),
        ("endpoint", "https://evil.example/v1/chat/completions"),
        ("image_dir", ".."),
        ("limit", "all"),
        ("provider", "evil"),
        ("pk", "id"),
        ("options", [["temperature"]]),
        ("local", "yes"),
    ],
)
def test_like_takes_up_no_other_options(
    run: Any, notes: Path, unchanged: Any, name: str, value: Any
) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    change_options(notes, **{name: value})
    check = unchanged(notes)
    said = run("run", notes, "--like", "1", "--output", "x", "-y", code=1)
    assert said.err.startswith(f"Error: {CHANGED}'{name}: ")
    check()


@pytest.mark.parametrize("name", ["system", "prompt", "schema"])
def test_a_text_of_a_job_names_no_file_here(
    run: Any, notes: Path, tmp_path: Path, name: str
) -> None:
    """Else a stranger's job would have any file of this machine sent with each row."""
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    secret = tmp_path / "secret"
    secret.write_text("the secret {{ text }}")
    change_options(notes, **{name: str(secret)})
    said = run("preview", notes, "--like", "1", "--raw", code=1 if name == "prompt" else 0)
    assert "the secret" not in said.out + said.err


def test_a_command_to_copy_is_quoted(run: Any, notes: Path) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    change_options(notes, table="x; rm -rf ~", name="$(curl evil)", yes=True)
    with closing(sqlite3.connect(notes)) as conn:
        command = str(command_line(store.get_job(conn, 1), "data.db"))
    assert "'x; rm -rf ~'" in command and "--name '$(curl evil)'" in command
    assert "yes" not in command


# Keys


def keys_seen(web: Any) -> set[str]:
    return {asked.headers.get("authorization", "") for asked in web.asked}


@pytest.fixture
def evil(web: Any, reply: Any) -> Any:
    """A server that would like to have a key."""
    web.reply("GET /batches", reply(200, NONE_LISTED))
    web.reply("GET /models", reply(200, {"object": "list", "data": []}))
    return web


def host(url: str) -> str:
    return url.removeprefix("http://").removesuffix("/v1")


@pytest.mark.parametrize("command", ["sync", "watch", "submit", "cancel", "retry", "delete"])
def test_a_key_goes_to_no_host_that_a_job_never_had_it_at(
    run: Any, notes: Path, evil: Any, command: str, unchanged: Any
) -> None:
    run("prepare", notes, "notes", *ASK, "--base-url", evil.base_url, "--key", "sk-of-a-stranger")
    status = "running" if command in ("sync", "watch", "cancel") else "prepared"
    if command in ("retry", "delete"):
        status = "completed"
        change(notes, "parts", status="completed", collected_at="2026-11-20T14:00:00.000Z",
               ended_at="2026-11-20T14:00:00.000Z", batch_id="batch_1")  # fmt: skip
        change(notes, "requests", status="missing")
        change(notes, "parts", outcomes='{"missing": 12}')
    change(notes, status=status, approved_at="2026-11-20T14:00:00.000Z")
    more = {
        "submit": ("1", "-y"), "cancel": ("1",), "retry": ("1", "-y"),
        "delete": ("1", "--only", "remote", "-y"), "watch": ("--poll", "0.05"),
    }.get(command, ())  # fmt: skip
    evil.asked.clear()
    check = unchanged(notes)
    said = run(command, notes, *more, "--key", KEY, code=1)
    assert f"The key of --key would go to {host(evil.base_url)}" in said.err
    assert f"Bearer {KEY}" not in keys_seen(evil)
    if command not in ("sync", "watch"):
        check()


@pytest.mark.parametrize(
    "typed",
    [("batches", "data.db"), ("batches", "data.db", "--files"),
     ("batches", "data.db", "--cancel", "batch_1", "-y"),
     ("batches", "data.db", "--delete-files", "-y"),
     ("fetch", "batch_1", "--into", "data.db"),
     ("fetch", "batch_1", "--into", "data.db", "notes", "--key", "custom_id=id")],
    ids=lambda typed: "-".join(one for one in typed if one.isalpha()),
)  # fmt: skip
def test_no_list_of_an_account_is_asked_for_where_a_job_never_had_the_key(
    run: Any, notes: Path, evil: Any, typed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("prepare", notes, "notes", *ASK, "--base-url", evil.base_url, "--key", "sk-of-a-stranger")
    evil.asked.clear()
    monkeypatch.chdir(notes.parent)
    said = run(*typed, "--key", KEY, code=1)
    assert f"The key of --key would go to {host(evil.base_url)}" in said.err
    assert f"say so with --base-url {evil.base_url}." in said.err
    assert evil.asked == []
    if typed == ("batches", "data.db"):
        run(*typed, "--key", KEY, "--base-url", evil.base_url)
        run(*typed, "--key", "sk-of-a-stranger")
        assert keys_seen(evil) == {f"Bearer {KEY}", "Bearer sk-of-a-stranger"}


def test_a_key_goes_to_one_host(run: Any, notes: Path, evil: Any) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2], "--key", KEY)
    run("prepare", notes, "notes", *ASK, "--output", "b", "--base-url", evil.base_url,
        "--key", KEY)  # fmt: skip
    change(notes, status="running", approved_at="2026-11-20T14:00:00.000Z")
    evil.asked.clear()
    said = run("sync", notes, "--key", KEY, code=1)
    assert f"{host(run.base_url)} (job 1) and {host(evil.base_url)} (job 2)" in said.err
    assert evil.asked == []
    run("watch", notes, "1", "--key", KEY, "--poll", "0.05")


def test_a_job_that_was_sent_elsewhere_names_both_hosts(
    run: Any, notes: Path, evil: Any, server: Any
) -> None:
    """Somebody changed where a job of one's own goes."""
    run("prepare", notes, "notes", *ASK, *run.there[:2], "--key", KEY)
    change(notes, base_url=evil.base_url)
    said = run("submit", notes, "-y", "--key", KEY, code=1)
    assert host(evil.base_url) in said.err
    assert f"it ran at {host(run.base_url)}" in said.err
    change(notes, account=f"{host(evil.base_url)}:{fingerprint(run.base_url, KEY)[-10:]}")
    run("submit", notes, "-y", "--key", KEY, code=1)
    assert evil.asked == []


def test_a_stored_name_is_a_key_too(run: Any, notes: Path, evil: Any, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "keys.json").write_text(json.dumps({"work": KEY}))
    run("prepare", notes, "notes", *ASK, "--base-url", evil.base_url, "--key", "sk-of-a-stranger")
    evil.asked.clear()
    run("submit", notes, "-y", "--key", "work", code=1)
    assert evil.asked == []


def test_an_upstream_gets_no_other_key(run: Any, notes: Path, evil: Any) -> None:
    run("prepare", notes, "notes", *ASK, "--upstream", evil.base_url, "-m", "x")
    evil.asked.clear()
    said = run("submit", notes, "-y", "--key", KEY, code=1)
    assert f"would go to {host(evil.base_url)}" in said.err
    assert evil.asked == []


def test_like_gives_no_key_to_a_host_that_it_was_not_given_for(
    run: Any, notes: Path, evil: Any
) -> None:
    run("prepare", notes, "notes", *ASK, "--base-url", evil.base_url, "--key", "sk-of-a-stranger")
    evil.asked.clear()
    for command in ("run", "try", "prepare"):
        yes = () if command == "prepare" else ("-y",)
        said = run(command, notes, "--like", "1", "--output", "x", *yes, "--key", KEY, code=1)
        assert f"would go to {host(evil.base_url)}" in said.err
    assert evil.asked == []
    # Who types the address says so.
    run("prepare", notes, "--like", "1", "--output", "x", "--base-url", evil.base_url,
        "--key", KEY)  # fmt: skip


def test_the_key_goes_on_where_it_was_given(
    run: Any, notes: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("run", notes, "notes", *ASK, *run.there, "--no-wait", "--key", KEY)
    run("watch", notes, "--key", KEY, "--poll", "0.05")
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]


def test_a_new_key_is_accepted_when_told(run: Any, notes: Path, rows: Any) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2], "--key", "sk-first")
    run("submit", notes, "-y", "--key", KEY, code=1)
    said = run("submit", notes, "-y", "--key", KEY, "--accept-account")
    assert "Job 1 goes on with this key's account from now on." in said.err
    run("watch", notes, "--key", KEY, "--poll", "0.05")
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]
    # A job that has ended, too: its failed rows may be asked again with the new key.
    run("submit", notes, "1", "-y", "--key", "sk-third", "--accept-account")
    assert rows(notes, "SELECT account, status FROM openai_batch_jobs") == [
        (fingerprint(run.base_url, "sk-third"), "completed")
    ]


# Where rows go


def test_like_goes_where_the_job_went(
    run: Any, notes: Path, rows: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address came from the environment, and the cron line hasn't it."""
    monkeypatch.setenv("OPENAI_BASE_URL", run.base_url)
    run("run", notes, "notes", *ASK, "-y", "--poll", "0.05")
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    run("run", notes, "--like", "1", "--output", "again", "-y", "--poll", "0.05")
    assert rows(notes, "SELECT DISTINCT base_url FROM openai_batch_jobs") == [(run.base_url,)]
    assert rows(notes, "SELECT count(again) FROM notes") == [(12,)]
    with closing(sqlite3.connect(notes)) as conn:
        command = str(command_line(store.get_job(conn, 1), "data.db"))
    assert f"--base-url {run.base_url}" in command


@pytest.mark.parametrize("command", ["run", "preview", "prepare", "try"])
def test_like_where_the_environment_says_another_host(
    run: Any, notes: Path, evil: Any, monkeypatch: pytest.MonkeyPatch, command: str, unchanged: Any
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", run.base_url)
    run("prepare", notes, "notes", *ASK)
    monkeypatch.setenv("OPENAI_BASE_URL", evil.base_url)
    check = unchanged(notes)
    yes = ("-y",) if command in ("run", "try") else ()
    said = run(command, notes, "--like", "1", "--output", "x", *yes, code=1)
    assert f"Job 1 went to {host(run.base_url)}, and OPENAI_BASE_URL now says " in said.err
    assert host(evil.base_url) in said.err
    check()
    assert evil.asked == []
    said = run("preview", notes, "--like", "1", "--output", "x", "--base-url", evil.base_url)
    assert host(evil.base_url) in said.err


def test_like_of_an_azure_job(
    run: Any, notes: Path, evil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = run.base_url.removesuffix("/v1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", here)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    run("prepare", notes, "notes", *ASK, "-m", "d", "--provider", "azure")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", evil.base_url.removesuffix("/v1"))
    said = run("run", notes, "--like", "1", "--output", "x", "-y", code=1)
    assert f"Job 1 went to {host(run.base_url)}, and AZURE_OPENAI_ENDPOINT now says" in said.err
    assert evil.asked == []


def test_like_of_a_job_on_this_machine(run: Any, notes: Path, rows: Any, evil: Any,
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    run("prepare", notes, "notes", *ASK, "--upstream", run.base_url, "-m", "x")
    monkeypatch.setenv("OPENAI_BASE_URL", evil.base_url)
    run("prepare", notes, "--like", "1", "--output", "again")
    assert rows(notes, "SELECT DISTINCT provider, base_url FROM openai_batch_jobs") == [
        ("local", run.base_url)
    ]
    assert evil.asked == []


# Row keys, what was written, what servers say


@pytest.mark.parametrize(
    "previous",
    [
        "not json",
        "[]",
        '{"wrote": 1, "x": 2}',
        '{"wrote": []}',
        '{"wrote": "what"}',
        '{"was": [1]}',
        '{"was": {"answer": [1]}}',
        '{"was": {"answer": true}}',
        '{"was": {"answer": 9223372036854775808}}',
        '{"became": {"answer": "\\ud800"}}',
    ],
)
def test_a_memory_that_we_never_wrote(run: Any, notes: Path, previous: str) -> None:
    run("run", notes, "notes", *ASK, *run.there, "--name", "n")
    change(notes, "requests", previous=previous)
    commands = [("revert", notes, "1")]
    if "wrote" in previous:
        commands.append(("run", notes, "--like", "n", "--changed", "-y"))
    for command in commands:
        said = run(*command, code=1)
        assert said.err.startswith("Error: This database was changed by another program: ")
        assert "openai_batch_requests.previous" in said.err


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ("reviews", "request_id", "all"),
        ("reviews", "request_id", 999),
        ("reviews", "request_id", 13),
        ("reviews", "column", b"answer"),
        ("reviews", "coder", b"ana"),
        ("reviews", "note", b"\xff"),
        ("reviews", "seconds", "long"),
        ("samples", "kind", "<b>"),
        ("samples", "population", "many"),
        ("samples", "requests", "[{}]"),
        ("samples", "requests", "[1, 9223372036854775808]"),
    ],
)
def test_labels_that_we_never_wrote(
    run: Any, notes: Path, tmp_path: Path, table: str, name: str, value: Any
) -> None:
    """13 is a request of another job: its rows are shown to nobody as this one's."""
    for output in ("a", "b"):
        run("run", notes, "notes", *ASK, *run.there, "--output", output)
    sheet = tmp_path / "sheet.csv"
    lines = run("review", notes, "1", "--csv", "-n", "1").out.splitlines()
    sheet.write_text("\n".join([lines[0], f"{lines[1]}x"]))
    run("review", notes, "1", "--import", sheet, "--coder", "ana")
    change(notes, table, **{name: value})
    commands = [("report", notes, "1"), ("shares", notes, "1", "answer")]
    if table == "reviews":
        commands += [("compare", notes, "1"), ("apply", notes, "1", "--reviewed")]
    if name == "request_id" and value != "all":
        # What people say of a row that isn't the job's has no share in its figures.
        commands = commands[2:]
    for command in commands:
        said = run(*command, code=1)
        assert said.err.startswith("Error: This database was changed by another program: job 1")
        assert "label" in said.err or f"in openai_batch_{table}.{name}" in said.err


@pytest.mark.parametrize(
    "key",
    ["not json", "[1]", "[1, 2, 3]", '[{"x": 1}, 2]', "7", "[[1], 2]", "[true, 2]",
     "[9223372036854775808, 2]", '["\\ud800", 2]'],
)  # fmt: skip
def test_a_row_key_that_we_never_wrote(run: Any, database: Any, key: str) -> None:
    pairs = database("CREATE TABLE notes (a, b, text, PRIMARY KEY (a, b));"
                     "INSERT INTO notes VALUES (1, 2, 'one')")  # fmt: skip
    run("run", pairs, "notes", *ASK, *run.there)
    change(pairs, "requests", row_key=key)
    for command in ("results", "revert"):
        said = run(command, pairs, "1", code=1)
        assert said.err.startswith("Error: This database was changed by another program: ")
        assert "openai_batch_requests.row_key" in said.err


@pytest.mark.parametrize("name", ["../files", "batch 1", "a/../../b", "https://x/y"])
def test_a_server_that_names_its_batches_so(
    run: Any, notes: Path, evil: Any, reply: Any, rows: Any, name: str
) -> None:
    """It isn't recorded, and so never asked for."""
    evil.reply("POST /files", reply(200, {"id": "file-1", "object": "file"}))
    evil.reply("POST /batches", reply(200, {"id": name, "object": "batch", "status": "validating"}))
    run("run", notes, "notes", *ASK, "-y", "--no-wait", "--base-url", evil.base_url)
    assert rows(notes, "SELECT batch_id FROM openai_batch_parts") == [(None,)]
    assert all(name not in asked.path for asked in evil.asked)


def test_a_message_names_no_other_command_to_copy() -> None:
    """Pages of a job set its commands apart, to be copied: the message may be a stranger's."""
    from datasette_openai_batch.pages.job import _COMMAND

    ours = "sqlite-utils openai-batch submit 'a b.db' 3 --max-cost 2.50"
    assert _COMMAND.findall(f"Out of credit. Go on with {ours}, or wait.") == [ours]
    for more in ("$(curl evil)", "`curl evil`", "; curl evil", "| sh", "&& curl evil",
                 "\ncurl evil", "> ~/.bashrc", "\\\ncurl evil"):  # fmt: skip
        found = _COMMAND.findall(f"Go on with sqlite-utils openai-batch submit x {more}")
        assert found == ["sqlite-utils openai-batch submit x"], more
