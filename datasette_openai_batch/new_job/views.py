"""The pages of a new job: what comes by GET is shown, what comes by POST is done.

A form is posted with a button: *Look* keeps it as a draft and reads its rows, *Try* asks three of
them, *Send* and *Save* make the draft a job. All of them lead to the draft's page by a redirect,
so that a reload asks nothing twice; the draft's token makes one job of however many presses.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from datasette import Forbidden, NotFound, Response

from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.pricing.ceiling import parse_ceiling
from sqlite_utils_openai_batch.pricing.prices import usd
from sqlite_utils_openai_batch.store import drafts
from sqlite_utils_openai_batch.store.drafts import Draft

from .. import compat
from ..access import forgery, permissions
from ..access.job import open_job
from ..access.request import Typed, database_of, render
from ..access.request import posted as read_posted
from ..access.settings import Settings, settings_of
from ..actions import background
from ..text import urls
from . import counts, page, threads, work
from .filters import Chosen, chosen_by
from .form import Errors, Rights, options_of_job, read_form, typed_of

#: Names in the address that aren't filters of the table.
OURS = ("table", "sql", "draft", "edit", "like", "filters", "pk")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, where, and what they may."""

    datasette: Any
    request: Any
    db: Any
    settings: Settings
    rights: Rights

    @property
    def actor(self) -> str | None:
        """The id of whoever asks."""
        return actor_id(self.request.actor)

    @property
    def path(self) -> str:
        """The database's file."""
        return str(self.db.path)

    @property
    def href(self) -> str:
        """The address of a new job in this database."""
        return urls.new_job(self.datasette, self.db)

    def draft_href(self, token: str, **query: str) -> str:
        """The address of a draft."""
        return f"{self.href}?{urlencode({'draft': token, **query})}"


def actor_id(actor: Any) -> str | None:
    """The id of an actor, as text."""
    found = actor.get("id") if isinstance(actor, dict) else None
    return None if found is None else str(found)


async def new_job(datasette: Any, request: Any) -> Response:
    """The pages of a new job. Raises Forbidden for whoever may not start one."""
    db = await database_of(datasette, request)
    if not await compat.may_create(datasette, request.actor, db.name):
        raise Forbidden(compat.CREATE)
    rights = Rights(sql=await compat.may_execute_sql(datasette, request.actor, db.name))
    try:
        settings = await settings_of(datasette, db.name)
    except OpenAIBatchError as error:
        return await closed(datasette, request, db, str(error))
    if reason := compat.unwritable(db):
        return await closed(datasette, request, db, reason)
    asking = Asking(datasette, request, db, settings, rights)
    if request.method == "POST":
        return await posted(asking)
    if typed := forgery.refused(request):
        return await refused_page(asking, typed)
    if token := request.args.get("draft"):
        return await draft_page(asking, token)
    return await ask_page(asking)


async def closed(datasette: Any, request: Any, db: Any, reason: str) -> Response:
    """Why no job can be started here."""
    response = await render(
        datasette,
        request,
        "closed.html",
        database=db.name,
        reason=reason,
        jobs_href=urls.jobs(datasette, db),
    )
    response.status = 409 if request.method == "POST" else 200
    return response


# By GET


async def ask_page(asking: Asking) -> Response:
    """The empty form, or one that asks again what a job asked."""
    args = asking.request.args
    if like := args.get("like"):
        if not (like.isascii() and like.isdigit() and len(like) < 19):
            raise NotFound("No such job.")
        opened = await open_job(asking.datasette, asking.db, asking.request.actor, int(like))
        typed = typed_of(options_of_job(opened.job.id, opened.job.settings))
    else:
        typed = Typed({name: args.getlist(name) for name in ("table", "sql", "pk") if name in args})
        typed.values["filters"] = [filters_of(asking.request)]
        if asking.settings.local_first:
            typed.values["local"] = ["1"]
    return await form_page(asking, typed, {})


def filters_of(request: Any) -> str:
    """The filters that came along in the address."""
    given = request.args.get("filters") or ""
    more = [(name, value) for name in request.args if name not in OURS
            for value in request.args.getlist(name)]  # fmt: skip
    return "&".join(piece for piece in (given, urlencode(more)) if piece)


async def form_page(
    asking: Asking, typed: Typed, errors: Errors, *, token: str | None = None, status: int = 200
) -> Response:
    """The form with what was typed, and a sentence beside each field that can't be used."""
    table = typed.one("table")
    chosen = Chosen()
    if table:
        await check_table(asking, table)
        try:
            chosen = await chosen_of(asking, typed)
        except OpenAIBatchError as error:
            errors.setdefault("filters", str(error))
    shown = await page.form(
        asking.datasette, asking.db, asking.request.actor, typed, chosen, asking.settings
    )
    response = await render(
        asking.datasette,
        asking.request,
        "new.html",
        database=asking.db.name,
        href=asking.href,
        jobs_href=urls.jobs(asking.datasette, asking.db),
        token=token or secrets.token_urlsafe(16),
        typed=typed,
        errors=errors,
        chosen=chosen,
        rights=asking.rights,
        settings=asking.settings,
        ask_js=urls.static(asking.datasette, "ask.js"),
        **shown,
    )
    response.status = status
    return response


async def check_table(asking: Asking, table: str) -> None:
    """Raise Forbidden or NotFound for a table that the actor may not ask about."""
    if permissions.is_ours(table):
        raise NotFound(f"Table not found: {table}")
    actor = asking.request.actor
    if not await compat.may_view_table(asking.datasette, actor, asking.db.name, table):
        raise Forbidden("view-table")


async def chosen_of(asking: Asking, typed: Typed) -> Chosen:
    """The rows that the table page's filters chose."""
    query, table = typed.one("filters"), typed.one("table")
    if not query or not table:
        return Chosen()
    return await chosen_by(asking.datasette, asking.db, table, query, sql=asking.rights.sql)


async def own_draft(asking: Asking, token: str) -> Draft:
    """The draft with this token, where it is the actor's own. Raises NotFound."""
    found: Draft | None = None
    if _TOKEN.fullmatch(token):
        found = await asking.db.execute_fn(lambda conn: drafts.get_draft(conn, token))
    if found is None or found.actor != asking.actor:
        raise NotFound("No such draft: it may be older than a month. Start a new job.")
    await check_tables(asking, found.options)
    return found


async def check_tables(asking: Asking, options: dict[str, Any]) -> None:
    """Raise Forbidden where the actor may not see a table that is asked about or written to."""
    if table := options.get("table"):
        await check_table(asking, str(table))
    elif not asking.rights.sql:
        raise Forbidden("execute-sql")
    if pilot := options.get("pilot_job"):
        await open_job(asking.datasette, asking.db, asking.request.actor, int(pilot))
    output = options.get("output_table")
    if output and await asking.db.table_exists(output):
        await check_table(asking, str(output))


async def draft_page(asking: Asking, token: str) -> Response:
    """A draft: its form again, how far it is, or what was looked at."""
    running = threads.is_running(asking.path, token)
    draft = await own_draft(asking, token)
    if draft.left(running):
        # unless it began, or ended, between these two looks
        running = threads.is_running(asking.path, token)
        draft = await own_draft(asking, token)
    if draft.job_id is not None and draft.status == "done":
        return Response.redirect(urls.job(asking.datasette, asking.db, draft.job_id))
    typed = Typed(draft.form)
    if "edit" in asking.request.args:
        return await form_page(asking, typed, {}, token=token)
    if draft.status == "asked" and not running:
        errors = {draft.look.get("field", "form"): draft.message} if draft.message else {}
        return await form_page(asking, typed, errors, token=token)
    return await looked_page(asking, draft, running=running, errors={})


async def refused_page(asking: Asking, typed: Typed) -> Response:
    """The form or the draft that was posted with a token that isn't the browser's any more."""
    drafted = typed.one("draft")
    if not drafted:
        token = typed.one("token")
        kept = token if _TOKEN.fullmatch(token) else None
        return await form_page(asking, typed, {"form": forgery.PRESS}, token=kept)
    draft = await own_draft(asking, drafted)
    running = threads.is_running(asking.path, draft.token)
    # That texts may go there is said with the button that sends them, not before.
    typed.values.pop("agree", None)
    errors = {"form": forgery.RELOAD if draft.status == "done" else forgery.PRESS}
    return await looked_page(asking, draft, running=running, errors=errors, typed=typed)


async def looked_page(
    asking: Asking,
    draft: Draft,
    *,
    running: bool,
    errors: Errors,
    typed: Typed | None = None,
    status: int = 200,
) -> Response:
    """What was looked at and tried, and the confirmation below it, as it was filled in."""
    busy = draft.status in drafts.BUSY and not draft.left(running)
    response = await render(
        asking.datasette,
        asking.request,
        "draft.html",
        database=asking.db.name,
        draft=draft,
        busy=busy,
        left=draft.left(running),
        rows_read=threads.rows_read(asking.path, draft.token),
        errors=errors,
        typed=typed,
        href=asking.href,
        self_href=asking.draft_href(draft.token),
        edit_href=asking.draft_href(draft.token, edit="1"),
        jobs_href=urls.jobs(asking.datasette, asking.db),
        **page.draft(asking.settings, draft, asking.path, asking.db),
    )
    response.status = status
    if busy:
        response.headers["cache-control"] = "no-store"
    return response


# By POST


async def posted(asking: Asking) -> Response:
    """Do what a button says."""
    try:
        typed = await read_posted(asking.request)
    except ValueError:
        return Response.text("This form has too many fields. Nothing was done.", status=400)
    args = asking.request.args
    for name in ("table", "filters", "sql"):
        if not typed.one(name) and args.get(name):
            typed.values[name] = [args[name]]
    drafted = typed.one("draft") or args.get("draft") or ""
    token = typed.one("token") or drafted
    if not _TOKEN.fullmatch(token):
        token = secrets.token_urlsafe(16)
    button = typed.one("do")
    if typed.one("insert"):
        typed.values["prompt"] = [inserted(typed.one("prompt"), typed.one("insert"))]
        return await form_page(asking, typed, {}, token=token)
    if button == "more":
        return await form_page(asking, typed, {}, token=token)
    if button == "live":
        return await live(asking, typed)
    # A button of the later steps without a draft: what was typed is looked at first.
    if button in BUTTONS and (drafted or not typed.one("table")):
        return await BUTTONS[button](asking, await own_draft(asking, token), typed)
    return await look(asking, typed, token)


def inserted(prompt: str, column: str) -> str:
    """A prompt with a column's placeholder at its end."""
    return f"{prompt} {page.placeholder(column)}".strip()


async def look(asking: Asking, typed: Typed, token: str) -> Response:
    """Keep what was typed, and read its rows."""
    options, errors = await read(asking, typed)
    if errors:
        return await form_page(asking, typed, errors, token=token, status=400)
    await check_tables(asking, options)
    running = threads.is_running(asking.path, token)
    kept = {name: values for name, values in typed.values.items()
            if name not in ("csrftoken", "token", "do")}  # fmt: skip

    def take(conn: Any) -> Draft | None:
        if drafts.put_draft(conn, token, asking.actor, options, kept, running) is None:
            return None
        return drafts.take_draft(conn, token, "looking", ("asked",))

    try:
        work.check(options)
        draft = await background.in_database(asking.path, take)
    except OpenAIBatchError as error:
        field = getattr(error, "field", "form")
        return await form_page(asking, typed, {field: str(error)}, token=token, status=400)
    if draft is None:
        # pressed twice, or gone back to after it was sent
        return Response.redirect(asking.draft_href(token))
    begun = threads.begin(asking.path, draft, asking.path, asking.settings)
    done = await threads.waited(begun, many=await are_many(asking, options))
    if done is not None and done.sentence:
        errors = {done.field or "form": done.sentence}
        return await form_page(asking, typed, errors, token=token, status=400)
    return Response.redirect(asking.draft_href(token))


async def are_many(asking: Asking, options: dict[str, Any]) -> bool:
    """Whether so many rows are read that no page should wait for them."""
    table = options.get("table")
    if not table:
        return False
    return bool(
        await asking.db.execute_fn(lambda conn: counts.are_more(conn, str(table), threads.MANY))
    )


async def read(asking: Asking, typed: Typed) -> tuple[dict[str, Any], Errors]:
    """The options that were typed, and what is wrong with them."""
    if not typed.one("table") and not typed.one("sql"):
        return {}, {"table": "Which table is it about? Choose one."}
    if typed.one("table"):
        await check_table(asking, typed.one("table"))
    try:
        chosen = await chosen_of(asking, typed)
    except OpenAIBatchError as error:
        return {}, {"filters": str(error)}
    return read_form(typed, chosen, asking.rights, asking.settings)


async def live(asking: Asking, typed: Typed) -> Response:
    """The first requests of what is being typed, for the script beside the form."""
    options, errors = await read(asking, typed)
    shown: list[dict[str, Any]] = []
    if not errors:
        await check_tables(asking, options)
        try:
            shown = await background.in_database(
                asking.path,
                lambda conn: work.live(conn, options, asking.path, asking.settings),
            )
        except OpenAIBatchError as error:
            errors = {getattr(error, "field", "form"): str(error)}
    html = await asking.datasette.render_template(
        "openai_batch/_requests.html", {"requests": shown}, request=asking.request
    )
    return Response.json({"errors": errors, "html": html})


async def again(asking: Asking, draft: Draft, typed: Typed) -> Response:
    """Look at a draft anew: as it is, or with answers capped so that the ceiling holds."""
    form = Typed(draft.form)
    for name in ("max_cost", "max_tokens"):
        if typed.one(name):
            form.values[name] = [typed.one(name)]
    return await look(asking, form, draft.token)


async def try_now(asking: Asking, draft: Draft, typed: Typed) -> Response:
    """Ask the rows that the draft's page shows; a draft that was tried isn't again."""
    errors = refusals(asking, draft)
    if draft.tried or draft.status not in ("looked", "trying"):
        return Response.redirect(asking.draft_href(draft.token))
    if errors:
        return await looked_page(asking, draft, running=False, errors=errors, status=400)
    return await begin(asking, draft, "trying")


def refusals(asking: Asking, draft: Draft) -> Errors:
    """Why nothing can be sent: no key."""
    if draft.options.get("local"):
        return {}
    return {"form": asking.settings.no_key} if asking.settings.no_key else {}


async def send(asking: Asking, draft: Draft, typed: Typed) -> Response:
    """Make a job of what was looked at, and send it."""
    return await confirm(asking, draft, typed, "send")


async def save(asking: Asking, draft: Draft, typed: Typed) -> Response:
    """Make a job of what was looked at, to be sent later."""
    return await confirm(asking, draft, typed, "save")


async def confirm(asking: Asking, draft: Draft, typed: Typed, wish: str) -> Response:
    """The draft becomes a job, once, if it is still what was looked at."""
    running = threads.is_running(asking.path, draft.token)
    if draft.status not in ("looked", "trying", "preparing") or running:
        return Response.redirect(asking.draft_href(draft.token))
    errors, ceiling = confirmed(asking, draft, typed, wish)
    if errors:
        return await looked_page(
            asking, draft, running=False, errors=errors, typed=typed, status=400
        )
    options = draft.options | ({"max_cost": ceiling} if ceiling else {})
    if typed.ticked("new"):
        options["new"] = True
    return await begin(asking, draft, "preparing", wish=wish, options=json.dumps(options))


def confirmed(asking: Asking, draft: Draft, typed: Typed, wish: str) -> tuple[Errors, str | None]:
    """What keeps a draft from being sent, and the ceiling that was typed last."""
    errors = refusals(asking, draft) if wish == "send" else {}
    if wish == "send" and not typed.ticked("agree"):
        errors["agree"] = "Tick this first: nothing was sent."
    if draft.look.get("blocked") and not typed.ticked("new"):
        errors.setdefault("form", draft.look["blocked"])
    text = typed.one("max_cost").lstrip("$") or draft.options.get("max_cost")
    if draft.look.get("own"):
        return errors, text
    if not text:
        errors["max_cost"] = "Say at how many dollars to stop."
        return errors, None
    try:
        ceiling = parse_ceiling(text)
    except OpenAIBatchError as error:
        errors["max_cost"] = str(error)
        return errors, None
    most = asking.settings.max_cost
    if most is not None and ceiling > most:
        errors["max_cost"] = f"This Datasette lets a job cost at most {usd(most)}: lower it."
    elif draft.cost_nanousd is not None and ceiling < draft.cost_nanousd:
        errors["max_cost"] = (
            f"{usd(ceiling)} can't hold: it may cost up to {usd(draft.cost_nanousd, up=True)}. "
            "Raise it, or change the form: a longest answer that is shorter, or fewer rows."
        )
    return errors, text


async def begin(asking: Asking, draft: Draft, status: str, **values: Any) -> Response:
    """Go on with a draft in a thread, and lead to what became of it."""

    def take(conn: Any) -> Draft | None:
        running = threads.is_running(asking.path, draft.token)
        return drafts.take_draft(conn, draft.token, status, ("looked",), running, **values)

    try:
        taken = await background.in_database(asking.path, take)
    except OpenAIBatchError as error:
        errors = {"form": str(error)}
        return await looked_page(asking, draft, running=False, errors=errors, status=400)
    if taken is not None:
        begun = threads.begin(asking.path, taken, asking.path, asking.settings)
        await threads.waited(begun, many=await are_many(asking, taken.options))
    return Response.redirect(asking.draft_href(draft.token))


#: Buttons of a draft's page; those of the form are `look`, `more` and `insert`.
BUTTONS: dict[str, Callable[[Asking, Draft, Typed], Awaitable[Response]]] = {
    "try": try_now,
    "send": send,
    "save": save,
    "again": again,
}


def resume(path: str, settings: Settings) -> None:
    """Go on with confirmed drafts that a killed Datasette left; for the sync in the background."""
    from contextlib import closing

    from sqlite_utils_openai_batch.store.connection import connect, explained

    with closing(connect(path)) as conn, explained(path):
        left = [
            draft
            for draft in drafts.unfinished_drafts(conn)
            if draft.left(threads.is_running(path, draft.token))
        ]
        for draft in left:
            taken = drafts.take_draft(conn, draft.token, "preparing", ())
            if taken is not None:
                threads.begin(path, taken, path, settings)
