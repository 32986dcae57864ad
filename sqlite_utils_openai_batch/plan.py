"""What somebody asked for, checked against the database: everything before the first row.

`Ask` is the command line as data; `settle` turns it into a `Plan` or raises, and writes nothing.
"""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import store
from .binding import bind
from .body import build_body, change_body
from .choose import Choosing, Chosen, check_choice, choose, chooses
from .errors import JobError, TemplateError, UsageError
from .estimate import Money
from .firing import firing
from .images import WEB
from .keys import SQLiteValue
from .limits import Limits, limits_for
from .making import fold
from .nearest import listed, meant, nearest_first
from .output import Output, check_output, plan_output
from .parameters import CHAT, EMBEDDINGS, RESPONSES
from .reading import Row
from .rivals import refuse_rivals, rival_warnings
from .schema import AnswerSchema
from .source import Source, open_source
from .template import Renderer, Template

DEFAULT_MODEL = "gpt-4o-mini"
EMBEDDING_MODEL = "text-embedding-3-small"
# Characters of a page: beside an emoji each takes four bytes, and two pages may be held at once.
PAGE_BYTES = 1_000_000
BLANKS = ("skip", "send", "error")


@dataclass(frozen=True)
class Ask:
    """The options of `run`, `preview` and `prepare`, as they were given."""

    table: str | None = None
    sql: str | None = None
    pk: Sequence[str] = ()
    where: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    order: str | None = None
    limit: int | None = None
    sample: int | None = None
    seed: int | None = None
    missing: bool = False
    changed: bool = False
    reuse: bool = False
    model: str | None = None
    system: str | None = None
    prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    schema: str | None = None
    endpoint: str = CHAT
    name: str | None = None
    blanks: str = "skip"
    output: str | None = None
    output_table: str | None = None
    prefix: str = ""
    replace: bool = False
    write: bool = True
    responses: str = "all"
    part_requests: int | None = None
    part_bytes: int | None = None
    part_tokens: int | None = None
    enqueued_tokens: int | None = None
    attempts: int | None = None
    template: Mapping[str, Any] | None = None
    images: Sequence[str] = ()
    image_dir: str | None = None
    image_detail: str | None = None
    image_size: int | None = None
    provider: str = "openai"
    new: bool = False
    money: Money = field(default_factory=Money)

    @property
    def image_settings(self) -> dict[str, Any]:
        """What a job keeps of how images are read."""
        kept = {"image_dir": self.image_dir, "image_size": self.image_size}
        return {name: value for name, value in kept.items() if value is not None}


@dataclass
class Plan:
    """An `Ask` that the database can answer to. `close` frees the private copy of a query."""

    ask: Ask
    source: Source
    template: Template
    renderer: Renderer
    schema: AnswerSchema | None
    output: Output
    limits: Limits
    model: str
    hashed: tuple[int, ...]
    warnings: list[str]
    chosen: Chosen | None = None
    earlier: tuple[int, ...] = ()
    """Jobs whose answers are taken again (--reuse)."""

    def close(self) -> None:
        """Drop what was read from a view or query, and the list of chosen rows."""
        if self.chosen is not None:
            self.chosen.close()
        self.source.close()

    def count(self) -> int:
        """Return how many rows are asked about, blank ones counted."""
        return self.source.count() if self.chosen is None else self.chosen.count()

    def at_most(self) -> int:
        """Return a bound of how many rows are asked about; counting them may take a while."""
        return self.source.at_most() if self.chosen is None else self.chosen.count()

    def pages(self, columns: Sequence[str]) -> Iterator[list[tuple[SQLiteValue, Row]]]:
        """Yield pages of (row key, values of `columns`) of these rows, in order."""
        return (self.chosen or self.source).pages(columns, page_bytes=PAGE_BYTES)


def text_or_file(value: str | None) -> str | None:
    """The text of the file of that name where there is one, else the value itself."""
    if value is None or "\n" in value or len(value) > 1_000:
        return value
    try:
        file = Path(value)
        if file.is_file():
            # The line end that editors put last is no part of a prompt.
            return file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError):
        # A prompt may well be no possible file name.
        return value
    return value


def settle(conn: sqlite3.Connection, ask: Ask, *, default_model: str = DEFAULT_MODEL) -> Plan:
    """Check all that can be checked without reading rows. Raises OpenAIBatchError."""
    if ask.name is not None and (not ask.name.strip() or ask.name.isdigit()):
        raise UsageError(f"--name '{ask.name}': a name can't be only digits, they mean a job's id.")
    source = open_source(
        conn,
        ask.table,
        sql=ask.sql,
        params=ask.params,
        pk=ask.pk,
        where=ask.where,
        order=ask.order,
        limit=None if chooses(ask) else ask.limit,
    )
    try:
        return settle_source(conn, ask, source, default_model)
    except BaseException:
        source.close()
        raise


def default_for(endpoint: str, default_model: str = DEFAULT_MODEL) -> str:
    """The model that is asked at an endpoint where none is named."""
    if endpoint == EMBEDDINGS and default_model == DEFAULT_MODEL:
        return EMBEDDING_MODEL
    return default_model


def settle_source(conn: sqlite3.Connection, ask: Ask, source: Source, default_model: str) -> Plan:
    """The rest of `settle`, once there is a source."""
    schema = AnswerSchema.load(ask.schema) if ask.schema else None
    default_model = default_for(ask.endpoint, default_model)
    body = whole_body(ask, source, schema, default_model)
    template = Template(body, ask.endpoint)
    output = plan_output(
        source,
        schema,
        output=ask.output,
        output_table=ask.output_table,
        prefix=ask.prefix,
        replace=ask.replace,
        write=ask.write,
        responses=ask.responses,
        answer_type="BLOB" if ask.endpoint.endswith("/embeddings") else "TEXT",
    )
    check_choice(ask, output)
    renderer = bind(template, source, output, ask.image_settings)
    hashed = hashed_columns(renderer, output)
    limits = limits_for(
        ask.provider,
        ask.endpoint,
        requests=ask.part_requests,
        bytes=ask.part_bytes,
        tokens=ask.part_tokens,
    )
    source.check_keys()
    by = Choosing(tuple(renderer.columns[index] for index in hashed), output)
    return Plan(
        ask=ask,
        source=source,
        template=template,
        renderer=renderer,
        schema=schema,
        output=output,
        limits=limits,
        model=str(body.get("model") or ""),
        hashed=hashed,
        warnings=[
            *source.warnings,
            *trigger_warnings(conn, source, output),
            *rival_warnings(conn, source, output),
        ],
        chosen=choose(conn, ask, source, by),
        earlier=earlier_jobs(conn, ask, template, renderer, hashed),
    )


def trigger_warnings(conn: sqlite3.Connection, source: Source, output: Output) -> list[str]:
    """What will happen beside the writing of answers: each one fires the table's triggers."""
    table = output.table or source.name
    if not output.write or table is None:
        return []
    event = "INSERT" if output.table else "UPDATE"
    names = firing(conn, table, event)
    if not names:
        return []
    one = len(names) == 1
    return [
        f"writing the answers fires {table}'s trigger{'' if one else 's'} {listed(names)} for each "
        f"row; with full-text search that takes about 14 times as long."
    ]


def earlier_jobs(
    conn: sqlite3.Connection,
    ask: Ask,
    template: Template,
    renderer: Renderer,
    hashed: Sequence[int],
) -> tuple[int, ...]:
    """The jobs that asked the same of the same model, in case their answers are to be reused.

    Raises UsageError where it can't be told which requests are identical.
    """
    if not ask.reuse:
        return ()
    reads = [renderer.columns[index] for index in hashed]
    if len(reads) < len(renderer.columns):
        raise UsageError("--reuse: the prompt reads a column that the answers go to. Leave it out.")
    if ask.image_dir is not None:
        # What a file held when it was asked about isn't known.
        return ()
    image_size = ask.image_settings.get("image_size")
    return tuple(
        job.id
        for job in store.list_jobs(conn)
        if job.template_hash == template.hash
        and job.base_url == ask.money.base_url
        and job.settings.get("reads") == reads
        and job.settings.get("image_size") == image_size
        and "image_dir" not in job.settings
    )


def whole_body(
    ask: Ask, source: Source, schema: AnswerSchema | None, default_model: str
) -> dict[str, Any]:
    """The body with its placeholders: a template's, or built of prompt, system and images."""
    if ask.template is not None:
        given = (("--prompt", ask.prompt), ("--system", ask.system), ("--image", ask.images))
        for option, value in given:
            if value:
                raise UsageError(f"--template is the whole body: {option} belongs in it.")
        if ask.endpoint == CHAT and "messages" not in ask.template:
            raise TemplateError(
                f"The template has no messages, which {CHAT} needs. "
                "Is it for another endpoint? Name it by --endpoint."
            )
        return change_body(
            ask.template,
            endpoint=ask.endpoint,
            model=ask.model or (default_model if needs_model(ask) else None),
            schema=schema,
            options=ask.options,
        )
    prompt = text_or_file(ask.prompt)
    if not prompt:
        columns = [column for column in source.columns if column not in source.key_columns]
        example = columns[0] if columns else "column"
        raise TemplateError(
            f"What is to be asked? Give a prompt with a column in it: "
            f"--prompt 'Summarise: {{{{ {example} }}}}'. Columns: {', '.join(source.columns)}"
        )
    return build_body(
        endpoint=ask.endpoint,
        model=ask.model or default_model,
        prompt=prompt,
        system=text_or_file(ask.system),
        schema=schema,
        options=ask.options,
        images=[image_slot(given, source) for given in ask.images],
        detail=ask.image_detail,
    )


def needs_model(ask: Ask) -> bool:
    """Whether a template names no model, and its endpoint wants one."""
    assert ask.template is not None
    return "model" not in ask.template and ask.endpoint in (CHAT, RESPONSES, EMBEDDINGS)


def image_slot(given: str, source: Source) -> str:
    """What stands in a body for `--image`: a column's placeholder, a template or a URL."""
    if given in source.columns:
        return f"{{{{ row[{json.dumps(given, ensure_ascii=False)}] }}}}"
    lowered = given.lower()
    if "{{" in given or "{%" in given or lowered.startswith((*WEB, "data:image/")):
        return given
    near = listed(nearest_first(given, source.columns))
    raise TemplateError(
        f"--image {given!r} is no column, no template and no URL. "
        f"{meant(given, source.columns)}Columns: {near}."
    )


def hashed_columns(renderer: Renderer, output: Output) -> tuple[int, ...]:
    """Which of the rendered columns a row's hash covers: all but those the job writes itself."""
    written = {fold(name) for name in output.names} if output.table is None else set()
    return tuple(index for index, name in enumerate(renderer.columns) if fold(name) not in written)


def check_free(conn: sqlite3.Connection, plan: Plan, path: str) -> None:
    """Raise JobError or OutputError where this would be asked, or written, a second time."""
    # --missing and --changed leave out whatever another job is still asking.
    if not (plan.ask.new or plan.ask.missing or plan.ask.changed):
        refuse_unfinished_twin(conn, plan, path)
        refuse_rivals(conn, plan, path)
    check_writable(conn, plan)


def check_writable(conn: sqlite3.Connection, plan: Plan) -> None:
    """Raise OutputError where answers would overwrite something, or can't be written."""
    # Rows whose cells hold something of others are never among these.
    careful = plan.ask.missing or plan.ask.changed
    check_output(conn, plan.source, replace(plan.output, replace=careful or plan.output.replace))


def refuse_unfinished_twin(conn: sqlite3.Connection, plan: Plan, path: str) -> None:
    """Raise JobError where an unfinished job has the same source, template and output."""
    for job in store.unfinished_jobs(conn):
        same = (
            job.source == plan.source.name
            and job.source_sql == plan.source.sql
            and job.template_hash == plan.template.hash
            and Output.from_json(job.output).names == plan.output.names
            and Output.from_json(job.output).table == plan.output.table
        )
        if same and job.requests is not None:
            step = "submit" if job.approved_at is None else "watch"
            raise JobError(
                f"Job {job.id} asks the same of {job.source or 'the same query'} and isn't "
                f"finished ({job.status}). Go on with: sqlite-utils openai-batch {step} "
                f"{shlex.quote(path)} {job.id} (or ask once more with --new)"
            )
