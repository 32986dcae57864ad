"""The tables, as one migration of the set `openai_batch`.

Everything that later versions may need is here from the start, so that a database written by
one version is read by the next without being rebuilt. Money is in nano-dollars and NULL where
it is unknown; hashes are the first 16 bytes of SHA-256. What a column holds is said beside it:
SQLite keeps these words in the schema, and docs/tables.md is made of them.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import cache
from typing import NamedTuple

from sqlite_utils import Database, Migrations

from ..base.errors import DatabaseError
from .connection import transaction

migrations = Migrations("openai_batch")

#: The browser's pages make it too, in databases that were made before there were drafts.
DRAFTS = """
CREATE TABLE IF NOT EXISTS openai_batch_drafts (
    token TEXT PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    actor TEXT,
    status TEXT NOT NULL,
    options TEXT NOT NULL,
    form TEXT,
    rows INTEGER,
    cost_nanousd INTEGER,
    hash BLOB,
    look TEXT,
    tried TEXT,
    wish TEXT,
    message TEXT,
    job_id INTEGER,
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    lease_owner TEXT,
    lease_until TEXT
)"""

TABLES = """
CREATE TABLE openai_batch_jobs (
    -- One template over one source: all its requests, parts, answers and costs.
    id INTEGER PRIMARY KEY,  -- number of the job, as commands and pages name it
    uid TEXT NOT NULL UNIQUE,  -- short random text; begins each custom_id of the job
    name TEXT,  -- what --name gave; may repeat, the newest wins
    status TEXT NOT NULL,  -- prepared, running, completed, paused, cancelling, cancelled or failed
    source TEXT,  -- table or view that is asked about; NULL for a query
    source_sql TEXT,  -- the query of --sql
    source_params TEXT,  -- JSON: its parameters by name
    key_columns TEXT NOT NULL,  -- JSON: the columns of the row key
    endpoint TEXT NOT NULL,  -- path of the API, such as /v1/chat/completions
    model TEXT,  -- model asked; what answered is with each request
    template TEXT NOT NULL,  -- JSON: the whole request body, placeholders in it
    template_hash BLOB NOT NULL,  -- tells this template from others
    answer_schema TEXT,  -- JSON: the schema that answers are checked against
    output TEXT NOT NULL,  -- JSON: table and columns that answers are written to
    created_columns TEXT,  -- JSON: columns and tables that this job made, for revert
    provider TEXT NOT NULL,  -- openai, azure or local
    base_url TEXT,  -- server that the rows go to
    account TEXT,  -- host, a keyed hash of the key, and organisation or project
    options TEXT NOT NULL DEFAULT '{}',  -- JSON: rows chosen, limits, prices, what was typed
    requests INTEGER,  -- how many rows are asked about; NULL while it is being prepared
    skipped INTEGER,  -- blank rows, which aren't asked about
    estimated_input_tokens INTEGER,  -- counted or sampled before anything was sent
    estimated_cost_nanousd INTEGER,  -- what it was thought to cost
    upper_cost_nanousd INTEGER,  -- the most that it can cost; NULL where nothing bounds it
    max_cost_nanousd INTEGER,  -- the ceiling of --max-cost
    cost_nanousd INTEGER,  -- sum over its parts; NULL while one is unknown
    created_at TEXT NOT NULL,  -- when it was prepared
    approved_at TEXT,  -- when a person said that it may be sent
    submitted_at TEXT,  -- when its first batch was made
    checked_at TEXT,  -- when a pass last asked the provider
    finished_at TEXT,  -- when it ended
    message TEXT,  -- why it is paused or failed, and the command that mends it
    lease_owner TEXT,  -- process that works on it now
    lease_until TEXT,  -- until when the job is that process's
    versions TEXT  -- JSON: versions of the programs that made it
);
CREATE TABLE openai_batch_parts (
    -- A run of a job's requests that goes out as one JSONL file.
    id INTEGER PRIMARY KEY,  -- number of the part in this database
    job_id INTEGER NOT NULL,  -- its job
    number INTEGER NOT NULL,  -- 1 to n within the job; retries go on counting
    status TEXT NOT NULL,  -- prepared, uploading, uploaded, creating, then as the provider says
    requests INTEGER NOT NULL,  -- lines of its file
    bytes INTEGER NOT NULL,  -- size of its file, rendered as the rows were
    estimated_tokens INTEGER,  -- input tokens, for the provider's queue
    upper_cost_nanousd INTEGER,  -- the most that it can cost; NULL where nothing bounds it
    cost_nanousd INTEGER,  -- what its batches reported, priced; NULL for unknown
    sends INTEGER NOT NULL DEFAULT 0,  -- attempts to get it to the provider
    overrides TEXT,  -- JSON: changes to the body; $repair: answers go back; $voice: of a vote
    fingerprint BLOB,  -- XXH3-128 of its newest file
    token TEXT,  -- of its newest send; the provider's metadata holds it too
    intent_at TEXT,  -- when that send was about to begin
    next_try_at TEXT,  -- not to be sent before
    input_file_id TEXT,  -- of the newest send
    batch_id TEXT,  -- of the newest send
    output_file_id TEXT,  -- file of its answers at the provider
    error_file_id TEXT,  -- file of its failed requests at the provider
    completed INTEGER,  -- as the provider counts
    failed INTEGER,  -- as the provider counts
    outcomes TEXT NOT NULL DEFAULT '{}',  -- JSON: {outcome: how many requests}
    prompt_tokens INTEGER,  -- input tokens, as its batches reported
    cached_tokens INTEGER,  -- of the prompt tokens, those billed at the lower price
    completion_tokens INTEGER,  -- output tokens, as its batches reported
    reasoning_tokens INTEGER,  -- of the completion tokens
    errors TEXT,  -- JSON: why the provider refused the batch
    created_at TEXT NOT NULL,  -- when it was planned
    submitted_at TEXT,  -- when its batch was made
    in_progress_at TEXT,  -- when the provider began
    finalizing_at TEXT,  -- when the provider began to make its files
    ended_at TEXT,  -- when its batch ended
    expires_at TEXT,  -- when the provider gives its batch up
    collected_at TEXT,  -- when its answers were all here
    written_at TEXT,  -- when its answers were all written beside their rows
    lease_owner TEXT,  -- process that works on it now
    lease_until TEXT,  -- until when the part is that process's
    UNIQUE (job_id, number)
);
CREATE TABLE openai_batch_batches (
    -- One attempt to get a part to the provider; makes at most one batch.
    id INTEGER PRIMARY KEY,  -- number of the send in this database
    part_id INTEGER NOT NULL,  -- its part
    send INTEGER NOT NULL,  -- 1 to n within the part
    token TEXT NOT NULL,  -- the part's uid, number and send, as the provider's metadata holds it
    fingerprint BLOB NOT NULL,  -- XXH3-128 of the file sent
    input_file_id TEXT,  -- file of its requests at the provider
    batch_id TEXT UNIQUE,  -- NULL until the provider has said it
    status TEXT,  -- as last seen, word for word
    errors TEXT,  -- JSON: as the provider gave them
    created_at TEXT NOT NULL,  -- when it was recorded, before anything was sent
    ended_at TEXT  -- when it was taken in
);
CREATE INDEX openai_batch_batches_part ON openai_batch_batches (part_id);
CREATE TABLE openai_batch_requests (
    -- One row's question, and what became of it.
    id INTEGER PRIMARY KEY,  -- ends the custom_id: uid-id
    job_id INTEGER NOT NULL,  -- its job
    part_id INTEGER,  -- part of its newest send
    row_key,  -- the key value itself; a JSON array for a compound key
    source_hash BLOB,  -- over the values that the template read: tells an edited row
    status TEXT NOT NULL DEFAULT 'pending',  -- its outcome
    attempts INTEGER NOT NULL DEFAULT 0,  -- how often it was sent
    same_as INTEGER,  -- the request whose answer this one shares (--reuse)
    answer,  -- text, JSON under a schema, or a BLOB of 32-bit floats for an embedding
    error_code TEXT,  -- HTTP status and the provider's code; vote: several requests voted for it
    error_message TEXT,  -- the provider's words, or ours; a note where the outcome is ok
    finish_reason TEXT,  -- as the provider said it
    model TEXT,  -- model that answered, with its date
    prompt_tokens INTEGER,  -- input tokens
    cached_tokens INTEGER,  -- of those, billed at the lower price
    completion_tokens INTEGER,  -- output tokens
    reasoning_tokens INTEGER,  -- of those, spent on reasoning
    write_status TEXT,  -- NULL, written, kept_existing, stale or row_gone
    previous TEXT  -- JSON: what write-back replaced, and a hash of what it wrote
);
CREATE TABLE openai_batch_answers (
    -- What a row was answered before it was asked again: nothing that was paid for is lost.
    id INTEGER PRIMARY KEY,  -- number of the answer; a row's history goes by it
    request_id INTEGER NOT NULL,  -- the row, by its request, which holds the answer that counts
    job_id INTEGER NOT NULL,  -- its job
    part_id INTEGER,  -- part that brought it
    status TEXT NOT NULL,  -- its outcome
    answer,  -- text, JSON under a schema
    error_code TEXT,  -- HTTP status and the provider's code
    error_message TEXT,  -- the provider's words, or ours
    finish_reason TEXT,  -- as the provider said it
    model TEXT,  -- model that gave it, with its date
    prompt_tokens INTEGER,  -- input tokens
    cached_tokens INTEGER,  -- of those, billed at the lower price
    completion_tokens INTEGER,  -- output tokens
    reasoning_tokens INTEGER,  -- of those, spent on reasoning
    write_status TEXT,  -- what became of it when it was written
    previous TEXT,  -- JSON: what write-back replaced, and a hash of what it wrote
    why TEXT NOT NULL,  -- asked again by retry, repair or sync; replaced by late or vote; unused
    standing INTEGER NOT NULL DEFAULT 0,  -- 1 while it counts: until a better one has come
    at TEXT NOT NULL  -- when the row was asked again
);
CREATE INDEX openai_batch_answers_request ON openai_batch_answers (request_id);
CREATE INDEX openai_batch_answers_job ON openai_batch_answers (job_id);
CREATE TABLE openai_batch_responses (
    -- Response lines as they came; only added to.
    id INTEGER PRIMARY KEY,  -- number of the line in this database
    request_id INTEGER,  -- NULL where no request has its custom_id
    part_id INTEGER,  -- the part whose file it stood in
    kind TEXT NOT NULL,  -- output, error, import or try
    file_id TEXT NOT NULL,  -- the file at the provider, or a name for one from elsewhere
    line_number INTEGER NOT NULL,  -- from 1
    line,  -- the bytes as received: TEXT where they are UTF-8, else BLOB
    received_at TEXT NOT NULL,  -- when it was taken in
    UNIQUE (file_id, line_number)
);
CREATE TABLE openai_batch_limits (
    -- What providers said about their limits.
    account TEXT NOT NULL,  -- as in openai_batch_jobs
    model TEXT NOT NULL,  -- model that the limit is for
    kind TEXT NOT NULL,  -- such as enqueued_tokens
    value INTEGER NOT NULL,  -- the limit
    seen_at TEXT NOT NULL,  -- when it was seen
    source TEXT,  -- the provider's own words, or that somebody typed it
    PRIMARY KEY (account, model, kind)
);
CREATE TABLE openai_batch_log (
    -- What was done, and when.
    id INTEGER PRIMARY KEY,  -- number of the entry
    at TEXT NOT NULL,  -- when it was done
    job_id INTEGER,  -- the job that it is about
    part_id INTEGER,  -- the part that it is about
    event TEXT NOT NULL,  -- what was done
    detail TEXT  -- JSON
);
CREATE TABLE openai_batch_samples (
    -- Rows of a job that were chosen for people to label.
    id INTEGER PRIMARY KEY,  -- number of the sample
    job_id INTEGER NOT NULL,  -- its job
    kind TEXT NOT NULL,  -- random, or how they were chosen: status, least_sure or differ
    seed INTEGER,  -- of a random sample: the same seed draws the same rows
    size INTEGER NOT NULL,  -- how many rows were asked for
    population INTEGER NOT NULL,  -- how many rows they were chosen from
    blind INTEGER NOT NULL,  -- 1 where the answers were hidden from who labelled
    requests TEXT NOT NULL,  -- JSON: ids of the requests, in the order in which they are labelled
    created_at TEXT NOT NULL  -- when it was drawn
);
CREATE TABLE openai_batch_reviews (
    -- What people say of a row; only added to, and the newest of each coder counts.
    id INTEGER PRIMARY KEY,  -- number of the review
    job_id INTEGER NOT NULL,  -- its job
    request_id INTEGER NOT NULL,  -- the row, by its request
    column TEXT NOT NULL,  -- property of the answer; answer where answers have no schema
    value,  -- what the coder says, as the answer's column would hold it
    skipped INTEGER NOT NULL DEFAULT 0,  -- 1 where the coder gave no value, or took it back
    note TEXT,  -- what the coder wrote beside it
    coder TEXT NOT NULL,  -- who says so: a name, or an actor of Datasette
    blind INTEGER,  -- 1 where the answer was hidden until then; NULL where that isn't known
    seconds REAL,  -- how long the coder took; NULL where it isn't known
    at TEXT NOT NULL  -- when it was said
);
CREATE VIEW openai_batch_reviewed AS
-- What most coders say of a row, by the newest of each; where as many say another, nothing.
SELECT
    request_id AS request_id,  -- id in openai_batch_requests
    json_group_object(
        column, CASE WHEN json_valid(value) AND value LIKE '[%' THEN json(value) ELSE value END
    ) AS labels  -- JSON: the value by column
FROM (
    SELECT request_id, column, value FROM (
        SELECT
            request_id, column, value, count(*) AS voices,
            max(count(*)) OVER (PARTITION BY request_id, column) AS most
        FROM openai_batch_reviews
        WHERE NOT skipped AND id IN (
            SELECT max(id) FROM openai_batch_reviews GROUP BY request_id, column, coder
        )
        GROUP BY request_id, column, value
    )
    WHERE voices = most
    GROUP BY request_id, column HAVING count(*) = 1
)
GROUP BY request_id;
CREATE VIEW openai_batch_results AS
-- A row for each request, for people who write SQL.
SELECT
    requests.id AS request_id,  -- id in openai_batch_requests
    requests.job_id AS job_id,  -- id in openai_batch_jobs
    jobs.name AS job_name,  -- what --name gave
    jobs.source AS source,  -- table or view of the job
    requests.row_key AS row_key,  -- primary key of the row
    requests.status AS status,  -- outcome
    requests.write_status AS write_status,  -- whether the answer was written beside its row
    requests.answer AS answer,  -- text, JSON under a schema, or a BLOB
    reviewed.labels AS reviewed,  -- JSON: what people say, by column; NULL where nobody did
    CASE
        WHEN reviewed.labels IS NULL THEN requests.answer
        WHEN jobs.answer_schema IS NULL THEN json_extract(reviewed.labels, '$.answer')
        ELSE json_patch(
            CASE WHEN requests.status = 'ok' AND json_valid(requests.answer)
            THEN requests.answer ELSE '{}' END,
            reviewed.labels
        )
    END AS final,  -- the answer, with what people say in the place of what the model says
    requests.error_code AS error_code,  -- HTTP status and the provider's code
    CASE WHEN requests.status <> 'ok' THEN requests.error_message END
    AS error_message,  -- NULL where the outcome is ok
    requests.finish_reason AS finish_reason,  -- as the provider said it
    requests.model AS model,  -- model that answered
    requests.prompt_tokens AS prompt_tokens,  -- input tokens
    requests.cached_tokens AS cached_tokens,  -- of those, billed at the lower price
    requests.completion_tokens AS completion_tokens,  -- output tokens
    requests.reasoning_tokens AS reasoning_tokens,  -- of those, spent on reasoning
    (
        SELECT (
            max(requests.prompt_tokens - coalesce(requests.cached_tokens, 0), 0)
                * json_extract(band.value, '$.input')
            + min(requests.prompt_tokens, coalesce(requests.cached_tokens, 0))
                * json_extract(band.value, '$.cached')
            + coalesce(requests.completion_tokens, 0) * json_extract(band.value, '$.output')
        ) / 1e6
        FROM json_each(
            CASE
                -- a retry may have asked another model, whose prices were stored then
                WHEN coalesce(json_extract(parts.overrides, '$.model'), jobs.model) IS jobs.model
                THEN json_extract(jobs.options, '$.prices')
                ELSE (
                    SELECT other.value FROM json_each(jobs.options, '$.model_prices') AS other
                    WHERE other.key = json_extract(parts.overrides, '$.model')
                )
            END,
            '$.bands'
        ) AS band
        WHERE json_extract(band.value, '$.above') < max(requests.prompt_tokens, 1)
        ORDER BY json_extract(band.value, '$.above') DESC LIMIT 1
    ) AS cost_usd  -- by the prices that the job was made with
FROM openai_batch_requests AS requests
JOIN openai_batch_jobs AS jobs ON jobs.id = requests.job_id
LEFT JOIN openai_batch_parts AS parts ON parts.id = requests.part_id
LEFT JOIN openai_batch_reviewed AS reviewed ON reviewed.request_id = requests.id;
"""

#: The names of our tables and of the view, and of what counts migrations.
_MADE = re.compile(r"CREATE (?:TABLE|VIEW) (?:IF NOT EXISTS )?(\w+)")
OWN = frozenset(("_sqlite_migrations", *_MADE.findall(DRAFTS), *_MADE.findall(TABLES)))

# Built after the first job's rows: filling an index row by row costs more than building it.
LARGE_INDEXES = """
CREATE INDEX IF NOT EXISTS openai_batch_requests_part ON openai_batch_requests (part_id);
CREATE INDEX IF NOT EXISTS openai_batch_requests_row ON openai_batch_requests (job_id, row_key);
CREATE INDEX IF NOT EXISTS openai_batch_requests_status
    ON openai_batch_requests (job_id, status, error_code)
    WHERE status NOT IN ('pending', 'ok');
"""
# These tables are as good as empty by then.
SMALL_INDEXES = """
CREATE INDEX IF NOT EXISTS openai_batch_responses_request
    ON openai_batch_responses (request_id);
CREATE INDEX IF NOT EXISTS openai_batch_reviews_request ON openai_batch_reviews (request_id);
CREATE INDEX IF NOT EXISTS openai_batch_reviews_job ON openai_batch_reviews (job_id, coder);
"""
INDEXES = LARGE_INDEXES + SMALL_INDEXES


@migrations()
def m001_tables(db: Database) -> None:
    """All tables and the view of results."""
    for statement in [*TABLES.split(";\n"), DRAFTS]:
        if statement.strip():
            db.execute(statement)


def exists(conn: sqlite3.Connection) -> bool:
    """Whether this database has our tables."""
    row = conn.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'openai_batch_jobs'"
    ).fetchone()
    return row is not None


def check_version(conn: sqlite3.Connection) -> None:
    """Raise DatabaseError where a newer version of this program made the tables.

    Also where something else in the database has the name of one of them.
    """
    check_names(conn)
    if not exists(conn):
        return
    newer = sorted(applied(conn) - known())
    if newer:
        raise DatabaseError(
            f"This database was written by a newer sqlite-utils-openai-batch (it has {newer[0]}). "
            "Upgrade with: pip install -U sqlite-utils-openai-batch"
        )


class Made(NamedTuple):
    """A table, view or index as our migrations make it; `on` is the table of an index."""

    kind: str
    on: str
    columns: frozenset[str]


@cache
def ours() -> dict[str, Made]:
    """Everything that the migrations of this version make, by name."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        migrations.apply(Database(conn, execute_plugins=False))
        build_indexes(conn)
        return {
            name: Made(kind, on, columns_of(conn, name))
            for kind, name, on in conn.execute(NAMED).fetchall()
            if not name.startswith(("sqlite_", "idx_"))
        }


NAMED = "SELECT type, lower(name), lower(tbl_name) FROM sqlite_master WHERE type <> 'trigger'"


def columns_of(conn: sqlite3.Connection, table: str) -> frozenset[str]:
    """The columns of a table or view; none where it is broken."""
    try:
        found = conn.execute("SELECT lower(name) FROM pragma_table_info(?)", [table]).fetchall()
    except sqlite3.OperationalError:
        # A view over what is gone.
        return frozenset()
    return frozenset(name for (name,) in found)


def check_names(conn: sqlite3.Connection) -> None:
    """Raise DatabaseError where a table, view or index of the person's bears a name of ours."""
    quoted = ", ".join(f"'{name}'" for name in ours())
    found = conn.execute(f"{NAMED} AND lower(name) IN ({quoted})").fetchall()
    # sqlite-utils has its own order of columns for its table, and may add some.
    found.sort(key=lambda one: one[1] != "_sqlite_migrations")
    applied_some = False
    for kind, name, on in found:
        made = ours()[name]
        other_name = (
            "Give it another name, or work on a copy without it: jobs are kept under that one."
        )
        if kind != made.kind or on != made.on:
            where = f" on {on}" if kind == "index" else ""
            raise DatabaseError(
                f"This database has {'an' if kind == 'index' else 'a'} {kind} {name}{where} that "
                f"isn't this program's. {other_name}"
            )
        if kind != "table" or (applied_some and name != "_sqlite_migrations"):
            # An older version made it, with the columns that it had then.
            continue
        needed = {"migration_set", "name"} if name == "_sqlite_migrations" else made.columns
        for column in sorted(needed - columns_of(conn, name)):
            raise DatabaseError(
                f"The table {name} lacks the column {column}: it isn't this program's, or another "
                f"program changed it. {other_name}"
            )
        if name == "_sqlite_migrations":
            there = applied(conn)
            applied_some = bool(there) and not known() <= there


def is_outdated(conn: sqlite3.Connection) -> bool:
    """Whether an older version of this program made the tables, and nothing has migrated them."""
    return bool(known() - applied(conn))


def known() -> set[str]:
    """Names of the migrations that this version of the program knows."""
    # sqlite-utils has no public list of a set's migrations without a database.
    return {migration.name for migration in migrations._migrations}


def applied(conn: sqlite3.Connection) -> set[str]:
    """Names of the migrations that made these tables; none where nobody noted them."""
    noted = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlite_migrations'"
    if conn.execute(noted).fetchone() is None:
        return set()
    names = conn.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'openai_batch'")
    return {row[0] for row in names.fetchall()}


def migrate(conn: sqlite3.Connection) -> None:
    """Create or bring up to date the tables. Only commands that write call this."""
    check_version(conn)
    try:
        # Without a switch of this connection: it would let the user's triggers call themselves.
        migrations.apply(Database(conn, execute_plugins=False, recursive_triggers=False))
    except sqlite3.OperationalError as error:
        if "already exists" not in str(error):
            raise
        raise DatabaseError(
            f"This database has tables of this program, and _sqlite_migrations says nothing of "
            f"them ({error}). Put back what a backup of the database has there."
        ) from error


def build_indexes(conn: sqlite3.Connection) -> None:
    """Make the indexes of requests and responses, where they aren't there yet."""
    for statement in LARGE_INDEXES.split(";\n"):
        if statement.strip():
            conn.execute(statement)
    with transaction(conn):
        for statement in SMALL_INDEXES.split(";\n"):
            if statement.strip():
                conn.execute(statement)
