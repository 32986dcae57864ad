"""Actions on a job: who may, what is asked first, and the way back to the job's page."""

from __future__ import annotations

from typing import Any

from datasette import Forbidden, NotFound, Response

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.provider.accounts import LOCAL
from sqlite_utils_openai_batch.store.connection import transaction

from .. import compat
from ..access import forgery, permissions
from ..access.job import Opened
from ..access.request import Typed, in_address, opened_job, posted, render
from ..access.settings import settings_of
from ..text import urls
from . import background, follow
from .actions import ACTIONS, Action, Doing, address, may_do, offered


async def job_action(datasette: Any, request: Any) -> Response:
    """Ask about an action, or do it: by POST only, and only for whoever may change jobs."""
    opened = await opened_job(datasette, request)
    action = ACTIONS[request.url_vars["action"]]
    if not await may_do(opened, request.actor, action):
        raise Forbidden(compat.MANAGE)
    if action not in offered(opened.job, opened.failures):
        return back(opened, request, [f"Job {opened.job.id} is {opened.status_words}."], "WARNING")
    try:
        settings = await settings_of(datasette, opened.db.name)
    except OpenAIBatchError as error:
        return back(opened, request, [str(error)], "ERROR")
    file = str(opened.db.path)
    if request.method == "POST":
        return await do(opened, request, action, Doing(await posted(request), settings, file))
    if typed := forgery.refused(request):
        return await ask_again(opened, request, action, Doing(typed, settings, file))
    if action.question is None:
        raise NotFound(f"{action.label} is a button on the job's page.")
    return await ask(opened, request, action, Doing(in_address(request), settings, file))


async def ask(
    opened: Opened,
    request: Any,
    action: Action,
    doing: Doing,
    errors: dict[str, str] | None = None,
) -> Response:
    """The page before an action; `errors` are those of fields that were posted.

    One of the whole form leaves the fields as good as they were: they are looked at again.
    """
    question = action.question
    assert question is not None
    job_id = opened.job.id
    good = not errors or "form" in errors
    looking = doing if good else Doing(Typed({}), doing.settings, doing.file)
    try:
        asked = await background.in_database(
            opened.db.path, lambda conn: question(looking, conn, store.get_job(conn, job_id))
        )
    except OpenAIBatchError as error:
        name = getattr(error, "field", None)
        if name is None or not good:
            return back(opened, request, [str(error)], "ERROR")
        return await ask(opened, request, action, doing, {name: str(error)})
    response = await render(
        opened.datasette,
        request,
        "action.html",
        database=opened.db.name,
        question=asked,
        errors=errors or {},
        typed=doing.typed if errors else None,
        action_href=address(opened, action),
        job_href=urls.job(opened.datasette, opened.db, job_id),
    )
    response.status = 400 if errors and not good else 200
    return response


async def ask_again(opened: Opened, request: Any, action: Action, doing: Doing) -> Response:
    """The page before an action whose form was refused for its token, with what was typed."""
    if action.question is None:
        raise Forbidden(forgery.RELOAD)
    return await ask(opened, request, action, doing, {"form": forgery.PRESS})


async def do(opened: Opened, request: Any, action: Action, doing: Doing) -> Response:
    """Do it, and go back to the job's page."""
    table = doing.typed.one("output_table")
    if table and (permissions.is_ours(table) or not await may_write(opened, request.actor, table)):
        raise Forbidden("view-table")
    change = noted(action, doing, request.actor) if action.do is not None else None
    path, job_id = opened.db.path, opened.job.id
    if action.passes:
        said = await background.passed(path, job_id, change, doing.settings.key_for)
        if opened.job.provider == LOCAL and not said.failed:
            follow.follow_local(path, doing.settings)
    else:
        said = await background.changed(path, job_id, change)
    if said.field is not None and action.question is not None:
        return await ask(opened, request, action, doing, {said.field: said.sentences[0]})
    gone = action.name == "delete" and not said.failed and not doing.typed.one("only")
    return back(opened, request, said.sentences, "ERROR" if said.failed else "INFO", gone=gone)


async def may_write(opened: Opened, actor: Any, table: str) -> bool:
    """Whether answers may go to a table: to a new one, or one that the actor sees."""
    if not await opened.db.table_exists(table):
        return True
    return await compat.may_view_table(opened.datasette, actor, opened.db.name, table)


def noted(action: Action, doing: Doing, actor: Any) -> background.Do:
    """An action that keeps who did it."""
    act = action.do
    assert act is not None
    found = actor.get("id") if isinstance(actor, dict) else None

    def change(conn: Any, job: store.Job) -> str:
        said = act(doing, conn, job)
        with transaction(conn):
            store.log(conn, "by", job_id=job.id, did=action.name, actor=found)
        return said

    return change


def back(
    opened: Opened, request: Any, said: list[str], kind: str, *, gone: bool = False
) -> Response:
    """The way back to the job's page, or to the list of jobs, with what there is to say."""
    opened.datasette.add_message(request, " ".join(said), getattr(opened.datasette, kind))
    if gone:
        return Response.redirect(urls.jobs(opened.datasette, opened.db))
    return Response.redirect(urls.job(opened.datasette, opened.db, opened.job.id))
