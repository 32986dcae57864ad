"""Actions on a job: who may, what is asked first, and the way back to the job's page."""

from __future__ import annotations

from functools import partial
from typing import Any

from datasette import Forbidden, NotFound, Response

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import OpenAIBatchError

from .. import compat
from ..access.job import Opened
from ..access.request import opened_job, render
from ..text import urls
from . import background
from .actions import ACTIONS, Action, address, may_act, offered


async def job_action(datasette: Any, request: Any) -> Response:
    """Ask about an action, or do it: by POST only, and only for whoever may change jobs."""
    opened = await opened_job(datasette, request)
    if not await may_act(opened, request.actor):
        raise Forbidden(compat.MANAGE)
    action = ACTIONS[request.url_vars["action"]]
    if action not in offered(opened.job, opened.failures):
        return back(opened, request, [f"Job {opened.job.id} is {opened.status_words}."], "WARNING")
    if request.method == "POST":
        return await do(opened, request, action)
    if action.question is None:
        raise NotFound(f"{action.label} is a button on the job's page.")
    return await ask(opened, request, action)


async def ask(opened: Opened, request: Any, action: Action) -> Response:
    """The page before an action."""
    question = action.question
    assert question is not None
    job_id = opened.job.id
    try:
        asked = await background.in_database(
            opened.db.path, lambda conn: question(conn, store.get_job(conn, job_id))
        )
    except OpenAIBatchError as error:
        return back(opened, request, [str(error)], "ERROR")
    return await render(
        opened.datasette,
        request,
        "action.html",
        database=opened.db.name,
        question=asked,
        action_href=address(opened, action),
        job_href=urls.job(opened.datasette, opened.db, job_id),
    )


async def do(opened: Opened, request: Any, action: Action) -> Response:
    """Do it, and go back to the job's page."""
    posted = (await request.post_vars()).get("requests") or ""
    requests = int(posted) if posted.isascii() and posted.isdigit() and len(posted) < 19 else None
    change = None if action.do is None else partial(action.do, requests)
    done = background.passed if action.passes else background.changed
    said = await done(opened.db.path, opened.job.id, change)
    return back(opened, request, said.sentences, "ERROR" if said.failed else "INFO")


def back(opened: Opened, request: Any, said: list[str], kind: str) -> Response:
    """The way back to the job's page, with what there is to say."""
    opened.datasette.add_message(request, " ".join(said), getattr(opened.datasette, kind))
    return Response.redirect(urls.job(opened.datasette, opened.db, opened.job.id))
