"""What somebody asked for, checked against the database: everything before the first row.

`settle` turns an `Ask` into a `Plan` or raises, and writes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import store
from ...answers.codebook import Codebook, codebook_text
from ...answers.confidence import confident, tokens_for, with_columns
from ...answers.reader import asks_for_json
from ...answers.schema import AnswerSchema
from ...base.errors import OutputError, TemplateError, UnrenderableRow, UsageError
from ...base.parameters import CHAT, json_refused, lacks_json
from ...base.text import listed
from ...pricing.estimate import capped_by_schema
from ...pricing.tokens import content_of, output_cap
from ...requests.attachments import cannot_read
from ...requests.body import check_body, elsewhere, with_logprobs
from ...requests.limits import Limits, limits_for
from ...requests.template import Renderer, Template, bind, bind_lines, hashed_columns
from ...requests.turns import check_turns
from ...tables.lines import open_lines
from ...tables.output import Output, plan_output
from ...tables.source import Source, open_source
from ...tables.sql import Row, SQLiteValue
from ...tables.triggers import trigger_warnings
from ..ballot import SHARE, voters
from .ask import DEFAULT_MODEL, Ask, default_for, tells_codebook, whole_body, with_codebook
from .selection import Choosing, Chosen, check_choice, choose, chooses

# Characters of a page: beside an emoji each takes four bytes, and two pages may be held at once.
PAGE_BYTES = 1_000_000
#: Rows whose files tell whether the model can read such.
ATTACHED = 4


@dataclass
class Plan:
    """An `Ask` that the database can answer to. `close` frees the private copy of a query."""

    ask: Ask
    source: Source
    template: Template
    renderer: Renderer
    schema: AnswerSchema | None
    """What answers hold: what is asked for, and what comes beside it (--confidence)."""
    asked_schema: AnswerSchema | None
    """What the model is asked for."""
    confidence: tuple[str, ...]
    """The label columns beside which stands how sure the model is of them."""
    codebook: Codebook | None
    """What rows are coded by, where that is what was asked with."""
    voted: tuple[str, ...]
    """The label columns that several requests about a row vote on (--times)."""
    output: Output
    limits: Limits
    model: str
    hashed: tuple[int, ...]
    warnings: list[str]
    chosen: Chosen | None = None
    earlier: tuple[int, ...] = ()
    """Jobs whose answers are taken again (--reuse)."""
    capped_by_schema: bool = False
    """Whether the answers have a cap because their schema bounds them."""

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

    def whole(self) -> int | None:
        """The number of all rows of the source, where only some of them were chosen."""
        chosen = self.ask.where is not None or self.ask.limit is not None or self.chosen is not None
        return self.source.total() if chosen else None

    def pages(self, columns: Sequence[str]) -> Iterator[list[tuple[SQLiteValue, Row]]]:
        """Yield pages of (row key, values of `columns`) of these rows, in order."""
        return (self.chosen or self.source).pages(columns, page_bytes=PAGE_BYTES)


def settle(
    conn: sqlite3.Connection,
    ask: Ask,
    *,
    default_model: str = DEFAULT_MODEL,
    rows: sqlite3.Connection | None = None,
) -> Plan:
    """Check all that can be checked without reading rows. Raises OpenAIBatchError.

    In the order of the floors, each step handed the ones before it: source, answer schema, body,
    output, limits. `rows` is where request lines are that were read for a preview only.
    """
    if ask.name is not None and (not ask.name.strip() or ask.name.isdigit()):
        raise UsageError(f"--name '{ask.name}': a name can't be only digits, they mean a job's id.")
    source = asked_source(conn, ask, rows)
    try:
        plan = settle_source(conn, ask, source, default_model)
    except BaseException:
        source.close()
        raise
    try:
        plan.warnings += json_warnings(plan) + attach_warnings(plan)
    except BaseException:
        plan.close()
        raise
    return plan


def settle_source(conn: sqlite3.Connection, ask: Ask, source: Source, default_model: str) -> Plan:
    """The rest of `settle`, once there is a source."""
    text = codebook_text(ask.codebook, files=ask.files)
    codebook = Codebook.parse(text) if text is not None else None
    ask = with_codebook(ask, codebook)
    load = AnswerSchema.load if ask.files else AnswerSchema.parse
    schema = load(ask.schema) if ask.schema else None
    if codebook is not None:
        schema = AnswerSchema(codebook.schema())
    body = whole_body(ask, source, schema, default_for(ask.endpoint, default_model))
    if ask.repair:
        check_repair(ask, body, schema)
    voted = voted_columns(ask, body, schema)
    asked_schema, sure = schema, asked_confidence(ask, schema)
    if asked_schema is not None and sure:
        body = with_logprobs(body, ask.endpoint, tokens_for(asked_schema, sure))
        schema = with_columns(asked_schema, sure)
    if schema is not None and voted:
        schema = with_columns(schema, voted, SHARE)
        body = {**body, "seed": body.get("seed", 1)}
    # Where no price is known there is no bound to bring down, and nobody would be told of the cap.
    priced = ask.money.prices is not None and ask.lines is None
    capped = capped_by_schema(body, ask.endpoint, asked_schema) if priced else None
    template = Template(capped or body, ask.endpoint)
    output = asked_output(ask, source, schema)
    doubts: list[str] = []
    if ask.lines is not None:
        renderer: Renderer = bind_lines(source, ask.endpoint, fresh=ask.fresh)
    else:
        renderer = bind(template, source, output, ask.image_settings)
        imitated = elsewhere(ask.provider, ask.money.base_url)
        doubts = check_body(ask.endpoint, body, elsewhere=imitated)
    hashed = hashed_columns(renderer, output)
    check_told_apart(source, renderer, output)
    limits = asked_limits(ask)
    source.check_keys()
    by = Choosing(tuple(renderer.columns[index] for index in hashed), output)
    return Plan(
        ask=ask,
        source=source,
        template=template,
        renderer=renderer,
        schema=schema,
        asked_schema=asked_schema,
        confidence=sure,
        codebook=codebook,
        voted=voted,
        output=output,
        limits=limits,
        model=str(body.get("model") or ""),
        hashed=hashed,
        warnings=[
            *doubts,
            *codebook_warnings(ask, codebook),
            *times_warnings(ask, body),
            *several_warnings(body, schema),
            *source.warnings,
            *trigger_warnings(conn, source, output),
            *rival_warnings(conn, source, output),
        ],
        chosen=choose(conn, ask, source, by),
        earlier=earlier_jobs(conn, ask, template, renderer, hashed, schema),
        capped_by_schema=capped is not None,
    )


def check_repair(ask: Ask, body: Mapping[str, Any], schema: AnswerSchema | None) -> None:
    """Raise UsageError where no answer can be told to be wrong, or be sent back."""
    check_turns(ask.endpoint)
    if schema is None and not asks_for_json(dict(body)) and output_cap(body) is None:
        raise UsageError(
            "--repair sends answers back that don't fit, and a free text always fits. Say what "
            "the answer looks like with --schema, or leave out --repair."
        )


def codebook_warnings(ask: Ask, codebook: Codebook | None) -> list[str]:
    """What to say where the model isn't told what the labels mean."""
    if codebook is None or tells_codebook(ask, codebook):
        return []
    return [
        "the model isn't told what the labels of the codebook mean. Put {{ codebook }} into your "
        "own text where that is to stand, or leave out --system."
    ]


def voted_columns(
    ask: Ask, body: Mapping[str, Any], schema: AnswerSchema | None
) -> tuple[str, ...]:
    """The labels that are voted on (--times). Raises UsageError where there is nothing to vote."""
    if ask.times is None:
        return ()
    if ask.lines is not None:
        raise UsageError("--times: each line of a file is sent as it is. Leave it out.")
    if ask.reuse:
        raise UsageError("--times asks the same several times, and --reuse once: give one of them.")
    found = voters(schema)
    if not found:
        raise UsageError(
            "--times has the answers to a row vote, and a vote needs labels: give them with "
            "--schema, such as 'mood good|bad', or leave out --times."
        )
    if ask.endpoint != CHAT:
        raise UsageError(f"--times gives each request a seed, which {ask.endpoint} doesn't take.")
    if not isinstance(body.get("seed", 1), int):
        raise UsageError("--times counts on from -o seed: give it a whole number.")
    return found


def times_warnings(ask: Ask, body: Mapping[str, Any]) -> list[str]:
    """What to say of a vote whose voices can't differ."""
    if ask.times is None or body.get("temperature") != 0:
        return []
    return [
        f"--times {ask.times} with temperature 0: {ask.times} times the same, most likely, and "
        f"{ask.times} times the cost. Leave out -o temperature."
    ]


def several_warnings(body: Mapping[str, Any], schema: AnswerSchema | None) -> list[str]:
    """What to say where each row gets more answers than the columns of a schema hold."""
    several = body.get("n")
    if schema is None or not isinstance(several, int) or several < 2:
        return []
    return [
        f"n {several} pays for {several} answers to each row, and the columns of --schema hold "
        "one: rows with several fail. Leave out n; --times has the answers to a row vote."
    ]


def asked_confidence(ask: Ask, schema: AnswerSchema | None) -> tuple[str, ...]:
    """The columns of --confidence; none without it. Raises UsageError where it can't be told."""
    if not ask.confidence:
        return ()
    if ask.lines is not None:
        raise UsageError("--confidence: each line of a file is sent as it is. Leave it out.")
    return confident(schema, ask.endpoint)


def asked_source(
    conn: sqlite3.Connection, ask: Ask, rows: sqlite3.Connection | None = None
) -> Source:
    """The rows that are asked about; request lines in `rows`, if given. Raises SourceError."""
    if ask.lines is not None:
        return open_lines(
            rows or conn,
            str(ask.table),
            params=ask.params,
            where=ask.where,
            order=ask.order,
            limit=None if chooses(ask) else ask.limit,
        )
    return open_source(
        conn,
        ask.table,
        sql=ask.sql,
        params=ask.params,
        pk=ask.pk,
        where=ask.where,
        order=ask.order,
        limit=None if chooses(ask) else ask.limit,
    )


def asked_output(ask: Ask, source: Source, schema: AnswerSchema | None) -> Output:
    """Where the answers go. Raises OutputError, and UsageError for rows chosen in two ways."""
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
    return output


def asked_limits(ask: Ask) -> Limits:
    """What a part may hold. Raises UsageError for more than the provider takes."""
    return limits_for(
        ask.provider,
        ask.endpoint,
        requests=ask.part_requests,
        bytes=ask.part_bytes,
        tokens=ask.part_tokens,
    )


def json_warnings(plan: Plan) -> list[str]:
    """What to say of JSON mode where only the rows can say the word JSON, which it wants.

    The first page of rows tells. Raises TemplateError where none of it says the word.
    """
    endpoint, body = plan.template.endpoint, plan.template.body
    if not lacks_json(endpoint, body):
        return []
    rows = said = 0
    for page in plan.pages(plan.renderer.columns):
        rows = len(page)
        said = sum(any("json" in str(value).lower() for value in values) for _, values in page)
        break
    if said == rows:
        return []
    refused = json_refused(endpoint).message
    if said == 0 and not elsewhere(plan.ask.provider, plan.ask.money.base_url):
        raise TemplateError(f"Each request would be refused: {refused}, in --prompt or --system.")
    where = "Some rows" if said else "All rows"
    return [f"{where} would be refused by OpenAI: {refused}, in --prompt or --system."]


def attach_warnings(plan: Plan) -> list[str]:
    """What to say of a model that, for all that is published, can't read what is attached.

    The first rows tell.
    """
    if not plan.renderer.attaches:
        return []
    for page in plan.pages(plan.renderer.columns):
        return list(dict.fromkeys(unread_files(plan, [values for _, values in page[:ATTACHED]])))
    return []


def unread_files(plan: Plan, rows: Sequence[Row]) -> Iterator[str]:
    """A sentence for each PDF or sound in these rows that the model can't read."""
    for values in rows:
        try:
            body = plan.renderer.body(values)
        except UnrenderableRow:
            # That row is told of by itself.
            continue
        for file in content_of(body, plan.template.endpoint).attached:
            said = cannot_read(plan.model, file)
            if said is not None:
                yield said


def earlier_jobs(
    conn: sqlite3.Connection,
    ask: Ask,
    template: Template,
    renderer: Renderer,
    hashed: Sequence[int],
    schema: AnswerSchema | None,
) -> tuple[int, ...]:
    """The jobs that asked the same of the same model, in case their answers are to be reused.

    Raises UsageError where it can't be told which requests are identical.
    """
    if not ask.reuse:
        return ()
    if ask.lines is not None:
        raise UsageError("--reuse: each line of a file is sent as it is. Leave it out.")
    reads = [renderer.columns[index] for index in hashed]
    if len(reads) < len(renderer.columns):
        raise UsageError("--reuse: the prompt reads a column that the answers go to. Leave it out.")
    if ask.image_dir is not None:
        # What a file held when it was asked about isn't known.
        return ()
    checked = schema.to_json() if schema else None
    image_size = ask.image_settings.get("image_size")
    return tuple(
        job.id
        for job in store.list_jobs(conn)
        if job.template_hash == template.hash
        # `apply` may have checked its answers by another schema since
        and job.answer_schema == checked
        and job.base_url == ask.money.base_url
        and job.settings.get("reads") == reads
        and job.settings.get("image_size") == image_size
        and "image_dir" not in job.settings
    )


def check_told_apart(source: Source, renderer: Renderer, output: Output) -> None:
    """Raise OutputError where answers take the place of what tells rows without a key apart.

    A row number may name another row once rows were deleted and the file was vacuumed. The hash of
    what was asked shows that, and it can't cover the cells that the answers replace.
    """
    hashed = hashed_columns(renderer, output)
    if not source.uses_rowid or not output.write or len(hashed) == len(renderer.columns):
        return
    replaced = [name for n, name in enumerate(renderer.columns) if n not in hashed]
    raise OutputError(
        f"{source.name} has no primary key, and the prompt reads {listed(replaced)}, which the "
        "answers replace: if VACUUM renumbers its rows, nobody can tell them apart any more. Write "
        "the answers elsewhere with --output, --prefix or --output-table, or give it a key with "
        "sqlite-utils transform and --pk."
    )


def rivals(
    conn: sqlite3.Connection, source: Source, output: Output
) -> list[tuple[store.Job, list[str]]]:
    """Unfinished jobs that write to the same columns, and which ones those are."""
    if not output.write or output.replace:
        return []
    target, names = output.table or source.name, {name.lower() for name in output.names}
    found = []
    for job in store.unfinished_jobs(conn):
        theirs = Output.of(job)
        shared = sorted(names & {name.lower() for name in theirs.names})
        if theirs.write and (theirs.table or job.source) == target and shared:
            found.append((job, shared))
    return found


def rival_warnings(conn: sqlite3.Connection, source: Source, output: Output) -> list[str]:
    """What unfinished jobs will write to the same columns, as sentences."""
    return [
        f"job {job.id}, which isn't finished, writes {listed(shared)} of "
        f"{output.table or source.name} too: a cell that it fills first is left as it is. "
        "Name other columns with --output or --prefix."
        for job, shared in rivals(conn, source, output)
    ]
