"""Work on drafts beside Datasette, each in a thread and on a connection of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.store import drafts
from sqlite_utils_openai_batch.store.connection import connect, explained
from sqlite_utils_openai_batch.store.drafts import Draft

from ..access import courtesy
from ..access.settings import Settings
from ..actions import follow
from . import work
from .work import Told

logger = logging.getLogger(__name__)

#: Seconds that a page waits for work on a draft; longer work is followed by its page.
PATIENCE = 4.0
#: The same where more than MANY rows are read: that takes longer anyway.
BRIEF = 0.2
MANY = 20_000

Key = tuple[str, str]
Work = Callable[[sqlite3.Connection, Draft, str, Settings, Told], object]


@dataclass(frozen=True, slots=True)
class Done:
    """How work on a draft ended: nothing to say, or an error, at a field where it is of one."""

    field: str | None = None
    sentence: str | None = None


_running: dict[Key, Future[Done]] = {}
_rows: dict[Key, int] = {}
_starting = threading.Lock()


def is_running(path: str, token: str) -> bool:
    """Whether this process works on a draft."""
    return (path, token) in _running


def rows_read(path: str, token: str) -> int:
    """How many rows were read so far."""
    return _rows.get((path, token), 0)


def begin(path: str, draft: Draft, file: str, settings: Settings) -> Future[Done]:
    """Go on with a draft that was taken for this: look, try or make, by its status."""
    key = (path, draft.token)
    with _starting:
        if key in _running:
            return _running[key]
        _running[key] = Future()
        arguments = (key, _running[key], draft, file, settings)
        threading.Thread(target=_run, args=arguments, daemon=True).start()
        return _running[key]


async def waited(future: Future[Done], *, many: bool = False) -> Done | None:
    """The end of work on a draft, None where it takes longer than a page waits."""
    wrapped = asyncio.wrap_future(future)
    with courtesy.waiting():
        done, _ = await asyncio.wait({wrapped}, timeout=BRIEF if many else PATIENCE)
    return wrapped.result() if done else None


def _run(key: Key, future: Future[Done], draft: Draft, file: str, settings: Settings) -> None:
    try:
        done = _work(key, draft, file, settings)
    except OpenAIBatchError as error:
        done = Done(getattr(error, "field", None), str(error))
    except Exception:  # whatever it is, nobody would see it in a thread
        logger.exception("The work on draft %s of %s stopped.", draft.token, key[0])
        done = Done(None, "It stopped with an error: the server's log has it. Nothing was sent.")
    with _starting:
        del _running[key]
        _rows.pop(key, None)
    future.set_result(done)


def _work(key: Key, draft: Draft, file: str, settings: Settings) -> Done:
    path, token = key

    def told(rows: int) -> None:
        _rows[key] = rows
        # Rows are rendered without SQLite, many between two of its steps.
        courtesy.give_way()

    with closing(connect(path)) as conn, courtesy.working(), explained(path):
        conn.set_progress_handler(courtesy.give_way, courtesy.OFTEN)
        store.check_version(conn)
        try:
            if draft.status == "looking":
                work.look(conn, draft, file, settings, told)
            elif draft.status == "trying":
                work.try_rows(conn, draft, file, settings, told)
            else:
                made = work.make(conn, draft, file, settings, told)
                if made.job_id is not None and draft.wish == "send":
                    follow.sent(path, made.job_id, settings)
                return Done(None, made.sentence)
        except OpenAIBatchError as error:
            # A look that failed is to be typed again; else the look before still holds.
            if draft.status == "looking":
                wrong = json.dumps({"field": getattr(error, "field", "form")})
                drafts.leave_draft(conn, token, "asked", message=str(error), look=wrong)
            else:
                drafts.leave_draft(conn, token, "looked", message=str(error), wish=None)
            raise
    return Done()
