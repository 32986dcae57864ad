"""The tables, as one migration of the set `openai_batch`.

Everything that later versions may need is here from the start, so that a database written by
one version is read by the next without being rebuilt. Money is in nano-dollars and NULL where
it is unknown; hashes are the first 16 bytes of SHA-256.
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

from ..base.errors import DatabaseError

migrations = Migrations("openai_batch")

TABLES = """
CREATE TABLE openai_batch_jobs (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    name TEXT,
    status TEXT NOT NULL,
    source TEXT,
    source_sql TEXT,
    source_params TEXT,
    key_columns TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT,
    template TEXT NOT NULL,
    template_hash BLOB NOT NULL,
    answer_schema TEXT,
    output TEXT NOT NULL,
    created_columns TEXT,
    provider TEXT NOT NULL,
    base_url TEXT,
    account TEXT,
    options TEXT NOT NULL DEFAULT '{}',
    requests INTEGER,
    skipped INTEGER,
    estimated_input_tokens INTEGER,
    estimated_cost_nanousd INTEGER,
    upper_cost_nanousd INTEGER,
    max_cost_nanousd INTEGER,
    cost_nanousd INTEGER,
    created_at TEXT NOT NULL,
    approved_at TEXT,
    submitted_at TEXT,
    checked_at TEXT,
    finished_at TEXT,
    message TEXT,
    lease_owner TEXT,
    lease_until TEXT,
    versions TEXT
);
CREATE TABLE openai_batch_parts (
    id INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    status TEXT NOT NULL,
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    estimated_tokens INTEGER,
    upper_cost_nanousd INTEGER,
    cost_nanousd INTEGER,
    sends INTEGER NOT NULL DEFAULT 0,
    overrides TEXT,
    sha256 BLOB,
    token TEXT,
    intent_at TEXT,
    next_try_at TEXT,
    input_file_id TEXT,
    batch_id TEXT,
    output_file_id TEXT,
    error_file_id TEXT,
    completed INTEGER,
    failed INTEGER,
    outcomes TEXT NOT NULL DEFAULT '{}',
    prompt_tokens INTEGER,
    cached_tokens INTEGER,
    completion_tokens INTEGER,
    reasoning_tokens INTEGER,
    errors TEXT,
    created_at TEXT NOT NULL,
    submitted_at TEXT,
    in_progress_at TEXT,
    finalizing_at TEXT,
    ended_at TEXT,
    expires_at TEXT,
    collected_at TEXT,
    written_at TEXT,
    lease_owner TEXT,
    lease_until TEXT,
    UNIQUE (job_id, number)
);
CREATE TABLE openai_batch_batches (
    id INTEGER PRIMARY KEY,
    part_id INTEGER NOT NULL,
    send INTEGER NOT NULL,
    token TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    input_file_id TEXT,
    batch_id TEXT UNIQUE,
    status TEXT,
    errors TEXT,
    created_at TEXT NOT NULL,
    ended_at TEXT
);
CREATE INDEX openai_batch_batches_part ON openai_batch_batches (part_id);
CREATE TABLE openai_batch_requests (
    id INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL,
    part_id INTEGER,
    row_key,
    source_hash BLOB,
    status TEXT NOT NULL DEFAULT 'pending',
    attempts INTEGER NOT NULL DEFAULT 0,
    same_as INTEGER,
    answer,
    error_code TEXT,
    error_message TEXT,
    finish_reason TEXT,
    model TEXT,
    prompt_tokens INTEGER,
    cached_tokens INTEGER,
    completion_tokens INTEGER,
    reasoning_tokens INTEGER,
    write_status TEXT,
    previous TEXT
);
CREATE TABLE openai_batch_responses (
    id INTEGER PRIMARY KEY,
    request_id INTEGER,
    part_id INTEGER,
    kind TEXT NOT NULL,
    file_id TEXT NOT NULL,
    line_number INTEGER NOT NULL,
    line,
    received_at TEXT NOT NULL,
    UNIQUE (file_id, line_number)
);
CREATE TABLE openai_batch_limits (
    account TEXT NOT NULL,
    model TEXT NOT NULL,
    kind TEXT NOT NULL,
    value INTEGER NOT NULL,
    seen_at TEXT NOT NULL,
    source TEXT,
    PRIMARY KEY (account, model, kind)
);
CREATE TABLE openai_batch_log (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    job_id INTEGER,
    part_id INTEGER,
    event TEXT NOT NULL,
    detail TEXT
);
CREATE VIEW openai_batch_results AS
SELECT
    requests.id AS request_id,
    requests.job_id AS job_id,
    jobs.name AS job_name,
    jobs.source AS source,
    requests.row_key AS row_key,
    requests.status AS status,
    requests.write_status AS write_status,
    requests.answer AS answer,
    requests.error_code AS error_code,
    CASE WHEN requests.status <> 'ok' THEN requests.error_message END AS error_message,
    requests.finish_reason AS finish_reason,
    requests.model AS model,
    requests.prompt_tokens AS prompt_tokens,
    requests.cached_tokens AS cached_tokens,
    requests.completion_tokens AS completion_tokens,
    requests.reasoning_tokens AS reasoning_tokens,
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
    ) AS cost_usd
FROM openai_batch_requests AS requests
JOIN openai_batch_jobs AS jobs ON jobs.id = requests.job_id
LEFT JOIN openai_batch_parts AS parts ON parts.id = requests.part_id;
"""

# Built after the first job's rows: filling an index row by row costs more than building it.
INDEXES = """
CREATE INDEX IF NOT EXISTS openai_batch_requests_part ON openai_batch_requests (part_id);
CREATE INDEX IF NOT EXISTS openai_batch_requests_row ON openai_batch_requests (job_id, row_key);
CREATE INDEX IF NOT EXISTS openai_batch_requests_status
    ON openai_batch_requests (job_id, status, error_code)
    WHERE status NOT IN ('pending', 'ok');
CREATE INDEX IF NOT EXISTS openai_batch_responses_request
    ON openai_batch_responses (request_id);
"""


@migrations()
def m001_tables(db: Database) -> None:
    """All tables and the view of results."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            db.execute(statement)


def exists(conn: sqlite3.Connection) -> bool:
    """Whether this database has our tables."""
    row = conn.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'openai_batch_jobs'"
    ).fetchone()
    return row is not None


def check_version(conn: sqlite3.Connection) -> None:
    """Raise DatabaseError where a newer version of this program made the tables."""
    if not exists(conn):
        return
    newer = sorted(applied(conn) - known())
    if newer:
        raise DatabaseError(
            f"This database was written by a newer sqlite-utils-openai-batch (it has {newer[0]}). "
            "Upgrade with: pip install -U sqlite-utils-openai-batch"
        )


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
    migrations.apply(Database(conn, execute_plugins=False))


def build_indexes(conn: sqlite3.Connection) -> None:
    """Make the indexes of requests and responses, where they aren't there yet."""
    for statement in INDEXES.split(";\n"):
        if statement.strip():
            conn.execute(statement)
