"""A server without a list of batches: nobody can look there, so a person is asked where it counts.

Only a creation that was never answered leaves anything to be asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer

from .conftest import KEY, Paid, Zygote, asking, check_all_answered, make_table, outcome_sums


def serving(*faults: str) -> LocalServer:
    return LocalServer(answerer=SimulatedAnswerer(echo=True), faults=[*faults, "no-list"])


def cut_send(zygote: Zygote, server: LocalServer, db: Path) -> str:
    """Run into a lost reply. Returns what the program says then."""
    cut = zygote.run(*asking(db, server))
    assert cut["code"] == 4, cut["output"]
    return str(cut["output"])


def test_a_fresh_job_is_asked_with_a_warning(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    with serving() as server:
        done = zygote.run(*asking(db, server))
    assert done["code"] == 0, done["output"]
    assert "Warning: 127.0.0.1" in done["output"]
    assert "has no list of batches" in done["output"]
    check_all_answered(db)


def test_a_lost_reply_stops_and_asks(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    with serving("lost-create-reply") as server:
        said = cut_send(zygote, server, db)
        assert "No reply came to the batch of part 1 (4 rows)" in said, said
        assert f"Go on with    sqlite-utils openai-batch submit {db} 1" in said
        again = zygote.run("sync", str(db), "--silent", "--key", KEY)
        assert again["code"] == 4, "a paused job is nothing for cron to go on with"
        unsaid = zygote.run("submit", str(db), "1", "--max-cost", "1", "--key", KEY)
        assert unsaid["code"] == 2, unsaid["output"]
        assert "Without a terminal it needs -y" in unsaid["output"]
        assert zygote.run("submit", str(db), "1", "-y", "--key", KEY)["code"] == 0
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        server.faults.clear()
        assert sorted(Paid(server, KEY).twice.values()) == [2] * 4, "as it was told"
    check_all_answered(db)


def test_submit_asks_on_a_terminal(zygote: Zygote, tmp_path: Path, terminal: Any) -> None:
    db = make_table(tmp_path / "notes.db")
    with serving("lost-create-reply") as server:
        cut_send(zygote, server, db)
        screen = terminal("submit", db, "1", "--key", KEY)
        screen.wait_for("has it run, and billed, twice.")
        screen.answer("Send? [y/N]", "n\r")
        assert "Nothing was sent." in screen.end(0)
        server.faults.clear()
        assert len(Paid(server, KEY).batches) == 1


def test_once_it_has_a_list_again_it_looks(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    with serving("lost-create-reply") as server:
        cut_send(zygote, server, db)
        server.faults.clear()
        resumed = zygote.run("submit", str(db), "1", "--max-cost", "1", "--key", KEY)
        assert resumed["code"] == 0, resumed["output"]
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        assert Paid(server, KEY).twice == {}
    check_all_answered(db)


def test_cancel_needs_no_look(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    with serving("lost-create-reply") as server:
        cut_send(zygote, server, db)
        ended = zygote.run("cancel", str(db), "1", "--key", KEY)
        assert ended["code"] == 3, ended["output"]
    assert outcome_sums(db) == {"cancelled": 10}
