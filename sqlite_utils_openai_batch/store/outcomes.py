"""Every statement about what became of requests, and of their answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..base.outcome import Outcome, Outcomes


# A request as far as an answer to it has to know: id, part_id, status, row_key, source_hash.
Asked = tuple[int, "int | None", str, Any, bytes]

ASKED = "SELECT id, part_id, status, row_key, source_hash FROM openai_batch_requests"


def asked(conn: sqlite3.Connection, job_id: int, ids: Sequence[int]) -> dict[int, Asked]:
    """Those of these requests that are a job's, by id. `ids` ascend."""
    if not ids:
        return {}
    # The + keeps SQLite from walking the whole job by another index.
    if ids[-1] - ids[0] < 4 * len(ids):
        # Close together: one walk is cheaper than as many searches.
        found = conn.execute(
            f"{ASKED} WHERE id BETWEEN ? AND ? AND +job_id = ?", [ids[0], ids[-1], job_id]
        ).fetchall()
    else:
        found = []
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            marks = ",".join("?" * len(some))
            found += conn.execute(
                f"{ASKED} WHERE id IN ({marks}) AND +job_id = ?", [*some, job_id]
            ).fetchall()
    return {row[0]: row for row in found}


def whole_parts(conn: sqlite3.Connection, job_id: int) -> list[tuple[int, int, int]]:
    """The parts of a job that hold all requests between their first and their last one.

    Each is (first request, last request, part), in ascending order.
    """
    return conn.execute(
        "SELECT min(id) AS first, max(id) AS last, part_id FROM openai_batch_requests "
        "WHERE part_id IN (SELECT id FROM openai_batch_parts WHERE job_id = ?) "
        "GROUP BY part_id HAVING count(*) = last - first + 1 ORDER BY first",
        [job_id],
    ).fetchall()


def answers_of(conn: sqlite3.Connection, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """What requests were settled with, from the status to the tokens, by id."""
    found: dict[int, tuple[Any, ...]] = {}
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        rows = conn.execute(
            "SELECT id, status, answer, error_code, error_message, finish_reason, model, "
            "prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens "
            "FROM openai_batch_requests "
            f"WHERE id IN ({','.join('?' * len(some))})",
            some,
        ).fetchall()
        found |= {row[0]: row[1:] for row in rows}
    return found


def answer_columns(outcome: Outcome) -> tuple[Any, ...]:
    """What a request holds of an outcome, from the status to the tokens: as `answers_of`."""
    return (
        outcome.status,
        outcome.answer,
        outcome.error_code,
        outcome.error_message if outcome.note is None else outcome.note,
        outcome.finish_reason,
        outcome.model,
        outcome.prompt_tokens,
        outcome.cached_tokens,
        outcome.completion_tokens,
        outcome.reasoning_tokens,
    )


def came_elsewhere(conn: sqlite3.Connection, request_id: int, file_id: str, number: int) -> bool:
    """Whether a kept line of a request is kept from another file too, byte for byte."""
    found = conn.execute(
        "SELECT 1 FROM openai_batch_responses AS own JOIN openai_batch_responses AS other "
        "ON other.request_id = ? AND other.file_id <> own.file_id AND other.line = own.line "
        "WHERE own.file_id = ? AND own.line_number = ? LIMIT 1",
        [request_id, file_id, number],
    ).fetchone()
    return found is not None


def disown_responses(conn: sqlite3.Connection, file_id: str, numbers: Iterable[int]) -> None:
    """Let kept lines of a file belong to no request: what they name isn't there."""
    conn.executemany(
        "UPDATE openai_batch_responses SET request_id = NULL WHERE file_id = ? AND line_number = ?",
        [(file_id, number) for number in numbers],
    )


def _counting(sql: str, tried: int | None) -> str:
    """An UPDATE that counts an attempt too, for what waits in the part `tried`, run by hand."""
    if tried is None:
        return sql
    counted = f"attempts = attempts + (status = 'pending' AND part_id IS {tried:d})"
    return sql.replace(" SET ", f" SET {counted}, ", 1)


def set_failed(
    conn: sqlite3.Connection, found: Mapping[int, Outcome], tried: int | None = None
) -> None:
    """Give requests, by id, the outcomes that their lines say: anything but `ok`."""
    sql = (
        "UPDATE openai_batch_requests SET status = ?, answer = ?, error_code = ?, "
        "error_message = ?, finish_reason = ?, model = ?, prompt_tokens = ?, cached_tokens = ?, "
        "completion_tokens = ?, reasoning_tokens = ?, write_status = NULL, previous = NULL "
        "WHERE id = ?"
    )
    conn.executemany(
        _counting(sql, tried),
        [(*answer_columns(outcome), request_id) for request_id, outcome in found.items()],
    )


_SET_ANSWERED = (
    "UPDATE openai_batch_requests SET status = 'ok', answer = ?, error_code = NULL, "
    "error_message = NULL, finish_reason = ?, model = ?, prompt_tokens = ?, "
    "cached_tokens = ?, completion_tokens = ?, reasoning_tokens = ?, write_status = ?, "
    "previous = ? WHERE id = ?"
)


def set_usual(
    conn: sqlite3.Connection,
    ids: Sequence[int],
    outcomes: Outcomes,
    fates: Sequence[tuple[str | None, str | None]],
    tried: int | None = None,
) -> None:
    """Give requests answers that are plain, and for each its write status and `previous`."""
    if ids:
        statuses, memories = zip(*fates, strict=True)
        # Columns, not a tuple made here for each: `zip` gives the same one again and again.
        rows = zip(*outcomes.columns, statuses, memories, ids, strict=True)
        conn.executemany(_counting(_SET_ANSWERED, tried), rows)


def set_answered(
    conn: sqlite3.Connection,
    found: Mapping[int, Outcome],
    fates: Sequence[tuple[str | None, str | None]],
    tried: int | None = None,
) -> None:
    """Give requests, by id, their answers, and for each its write status and `previous`.

    What was forgiven in an answer stands in `error_message`: its status tells it from an error.
    """
    conn.executemany(
        _counting(_SET_ANSWERED, tried),
        [
            (
                said.answer,
                said.finish_reason,
                said.model,
                said.prompt_tokens,
                said.cached_tokens,
                said.completion_tokens,
                said.reasoning_tokens,
                *fate,
                request_id,
            )
            for (request_id, said), fate in zip(found.items(), fates, strict=True)
        ],
    )
    # So few have a note that binding one for each would cost more.
    conn.executemany(
        "UPDATE openai_batch_requests SET error_message = ? WHERE id = ?",
        [(said.note, request_id) for request_id, said in found.items() if said.note is not None],
    )


def unwritten_page(
    conn: sqlite3.Connection, part_id: int, after: int, size: int
) -> list[tuple[int, Any, bytes, Any]]:
    """The next answers of a part that aren't written: (id, row_key, source_hash, answer)."""
    return conn.execute(
        "SELECT id, row_key, source_hash, answer FROM openai_batch_requests "
        "WHERE part_id = ? AND id > ? AND status = 'ok' AND write_status IS NULL "
        "ORDER BY id LIMIT ?",
        [part_id, after, size],
    ).fetchall()


def set_written(
    conn: sqlite3.Connection, found: Iterable[tuple[str | None, str | None, int]]
) -> None:
    """Record what became of answers: (write status, previous, request id)."""
    conn.executemany(
        "UPDATE openai_batch_requests SET write_status = ?, previous = ? WHERE id = ?", found
    )


def set_keys(conn: sqlite3.Connection, found: Iterable[tuple[Any, int]]) -> None:
    """Record the keys that rows have got since they were asked about: (row key, request id)."""
    conn.executemany("UPDATE openai_batch_requests SET row_key = ? WHERE id = ?", found)


def written_page(
    conn: sqlite3.Connection, part_id: int, after: int, size: int
) -> list[tuple[int, Any, bytes, Any, str | None]]:
    """The next answers of a part that are in their columns.

    Each is (id, row_key, source_hash, answer, previous).
    """
    return conn.execute(
        "SELECT id, row_key, source_hash, answer, previous FROM openai_batch_requests "
        "WHERE part_id = ? AND id > ? AND write_status = 'written' ORDER BY id LIMIT ?",
        [part_id, after, size],
    ).fetchall()


def answered_page(
    conn: sqlite3.Connection, part_id: int, after: int, size: int
) -> list[tuple[int, Any, bytes, str, Any, str | None]]:
    """The next requests of a part that have an answer, whatever its outcome.

    Each is (id, row_key, source_hash, status, answer, write_status).
    """
    return conn.execute(
        "SELECT id, row_key, source_hash, status, answer, write_status "
        "FROM openai_batch_requests WHERE part_id = ? AND id > ? AND answer IS NOT NULL "
        "AND status IN ('ok', 'invalid_json', 'schema_violation') ORDER BY id LIMIT ?",
        [part_id, after, size],
    ).fetchall()


def forget_writes(conn: sqlite3.Connection, part_id: int, size: int) -> int:
    """Let answers of a part count as not written, so many at most. Returns how many did."""
    cursor = conn.execute(
        "UPDATE openai_batch_requests SET write_status = NULL, previous = NULL WHERE id IN "
        "(SELECT id FROM openai_batch_requests WHERE part_id = ? AND write_status IS NOT NULL "
        "LIMIT ?)",
        [part_id, size],
    )
    return cursor.rowcount


def set_checked(conn: sqlite3.Connection, found: Iterable[tuple[str, str | None, int]]) -> None:
    """Give answered requests another outcome: (status, message, request id)."""
    conn.executemany(
        "UPDATE openai_batch_requests SET status = ?, error_message = ? WHERE id = ?", found
    )


def shift_outcomes(conn: sqlite3.Connection, part_id: int, change: Mapping[str, int]) -> None:
    """Add to a part's counts of outcomes, in the transaction that changes its requests."""
    (text,) = conn.execute(
        "SELECT outcomes FROM openai_batch_parts WHERE id = ?", [part_id]
    ).fetchone()
    counts: dict[str, int] = json.loads(text)
    for status, count in change.items():
        counts[status] = counts.get(status, 0) + count
    conn.execute(
        "UPDATE openai_batch_parts SET outcomes = ? WHERE id = ?",
        [json.dumps({status: count for status, count in counts.items() if count}), part_id],
    )


def id_range(conn: sqlite3.Connection, job_id: int) -> tuple[int, int]:
    """The first and the last id of a job's requests; (1, 0) where it has none.

    Of several about a row the first holds the answer that counts: the others aren't among these.
    """
    # Two look-ups a part: the index over jobs would be read from end to end.
    first, last = conn.execute(
        "SELECT min((SELECT min(id) FROM openai_batch_requests WHERE part_id = parts.id)), "
        "max((SELECT max(id) FROM openai_batch_requests WHERE part_id = parts.id)) "
        "FROM openai_batch_parts AS parts "
        "WHERE job_id = ? AND instr(ifnull(overrides, ''), '\"$voice\"') = 0",
        [job_id],
    ).fetchone()
    return (1, 0) if first is None else (first, last)


def row_keys(conn: sqlite3.Connection, job_id: int, most: int) -> list[Any]:
    """The keys of the first rows that a job asked about."""
    first, last = id_range(conn, job_id)
    found = conn.execute(
        "SELECT row_key FROM openai_batch_requests WHERE id BETWEEN ? AND ? AND +job_id = ? "
        "ORDER BY id LIMIT ?",
        [first, last, job_id, most],
    ).fetchall()
    return [key for (key,) in found]


def results_page(
    conn: sqlite3.Connection,
    job_id: int,
    after: int,
    last: int,
    statuses: Sequence[str],
    size: int,
) -> list[tuple[Any, ...]]:
    """The next requests of a job up to an id, with one of some outcomes (none given: any).

    Each is (id, row_key, status, answer, error).
    """
    # The + keeps SQLite on its walk along the ids: another index would mean a sort for each page.
    chosen = f" AND +status IN ({', '.join('?' * len(statuses))})" if statuses else ""
    return conn.execute(
        "SELECT id, row_key, status, answer, "
        "CASE WHEN status <> 'ok' THEN coalesce(error_message, error_code) END "
        "FROM openai_batch_requests "
        f"WHERE id > ? AND id <= ? AND +job_id = ?{chosen} ORDER BY id LIMIT ?",
        [after, last, job_id, *statuses, size],
    ).fetchall()


def models(conn: sqlite3.Connection, job_id: int) -> list[tuple[str, int]]:
    """The models that answered a job, as the provider names them, and how many requests each."""
    return conn.execute(
        "SELECT model, count(*) FROM openai_batch_requests WHERE job_id = ? "
        "AND model IS NOT NULL GROUP BY model ORDER BY count(*) DESC, model",
        [job_id],
    ).fetchall()


def failures(
    conn: sqlite3.Connection, job_id: int, most: int = 20
) -> list[tuple[str, str | None, int]]:
    """The commonest reasons why requests failed: (outcome, message, requests)."""
    return conn.execute(
        "SELECT status, coalesce(error_message, error_code), count(*) "
        "FROM openai_batch_requests WHERE job_id = ? AND status NOT IN ('pending', 'ok') "
        "GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?",
        [job_id, most],
    ).fetchall()


def notes(conn: sqlite3.Connection, job_id: int) -> list[tuple[str, int]]:
    """What was forgiven in answers that are ok, and in how many."""
    return conn.execute(
        "SELECT error_message, count(*) FROM openai_batch_requests WHERE job_id = ? "
        "AND status = 'ok' AND error_message IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1",
        [job_id],
    ).fetchall()


def write_statuses(conn: sqlite3.Connection, job_id: int) -> dict[str, int]:
    """What became of the answers of a job when they were written, by write status.

    `refused` are those of `kept_existing` that the table itself kept out.
    """
    return dict(
        conn.execute(
            "SELECT CASE WHEN write_status = 'kept_existing' AND previous IS NOT NULL "
            "THEN 'refused' ELSE write_status END AS fate, count(*) "
            "FROM openai_batch_requests WHERE job_id = ? "
            "AND write_status IS NOT NULL GROUP BY fate",
            [job_id],
        ).fetchall()
    )


# The statements that set the answers of jobs side by side.


def beside(
    conn: sqlite3.Connection,
    jobs: Sequence[int],
    cells: Sequence[str],
    params: Sequence[Any],
    size: int,
    after: int | None = None,
) -> Iterator[list[tuple[Any, ...]]]:
    """Pages of the requests of the first of some jobs, and those of the others about the same rows.

    Each is (id in each job, then the cells); NULL where a job didn't ask about the row. `cells` are
    SQL, in which the requests are called r0, r1, and so on. They come in the order of their ids,
    those behind `after`. No cursor is open between pages.
    """
    spans = [id_range(conn, job) for job in jobs]
    others = range(1, len(jobs))
    # Jobs about the same rows asked in the same order, as a rule: then their ids are always as far
    # apart, and the next row of the table is at hand. A look into the index takes far longer.
    apart: dict[int, int] = {}
    first, last = spans[0]
    after = first - 1 if after is None else max(after, first - 1)

    def page_of(apart: Mapping[int, int]) -> list[tuple[Any, ...]]:
        joins = " ".join(
            f"LEFT JOIN openai_batch_requests AS r{n} ON r{n}.job_id = {jobs[n]:d} AND "
            + (
                f"r{n}.id = r0.id + {apart[n]:d} AND +r{n}.row_key = r0.row_key "
                if n in apart
                else f"r{n}.row_key = r0.row_key "
            )
            + f"AND +r{n}.id BETWEEN {spans[n][0]:d} AND {spans[n][1]:d}"
            for n in others
        )
        ids = [f"r{n}.id" for n in range(len(jobs))]
        # The + keeps SQLite on its walk along the ids: another index would mean a sort for each
        # page.
        return conn.execute(
            f"SELECT {', '.join([*ids, *cells])} FROM openai_batch_requests AS r0 {joins} "
            f"WHERE r0.id > ? AND r0.id <= ? AND +r0.job_id = {jobs[0]:d} ORDER BY r0.id LIMIT ?",
            [*params, after, last, size],
        ).fetchall()

    while page := page_of(apart):
        if any(None in [row[n] for row in page] for n in apart):
            page, apart = page_of({}), {}
        if not apart:
            for n in others:
                steps = {None if row[n] is None else row[n] - row[0] for row in page}
                step = steps.pop()
                if step is not None and not steps:
                    apart[n] = step
        yield page
        after = page[-1][0]


def beside_alike(
    conn: sqlite3.Connection, jobs: tuple[int, int], cells: Sequence[str], size: int
) -> Iterator[tuple[int, bytes, list[tuple[Any, ...]]]]:
    """As `beside`, for two jobs of which most answers are the same.

    Of requests that are ok in both jobs and have one answer, only the answers come: their number,
    and the answers, one to a line. All others are rows as in `beside`.
    """
    after: int | None = None
    few = 1
    while True:
        page: list[tuple[Any, ...]] = []
        for page in islice(beside(conn, jobs, cells, (), size, after), few):
            yield 0, b"", page
        if not page:
            return
        after = int(page[-1][0])
        steps = {None if row[1] is None else row[1] - row[0] for row in page}
        step = steps.pop()
        few = 16
        if step is None or steps:
            continue
        for number, lines, page in _alike(conn, jobs, cells, step, after, size):
            yield number, lines, page
            after += size
            few = 1
            if len(page) > number:
                few = 16
                break


def _alike(
    conn: sqlite3.Connection,
    jobs: tuple[int, int],
    cells: Sequence[str],
    step: int,
    after: int,
    size: int,
) -> Iterator[tuple[int, bytes, list[tuple[Any, ...]]]]:
    """Pages of `beside_alike`, of so many ids, as long as the ids of both jobs are so far apart."""
    (_, last), (first, end) = (id_range(conn, job) for job in jobs)
    both = (
        f"FROM openai_batch_requests AS r0 LEFT JOIN openai_batch_requests AS r1 ON "
        f"r1.job_id = {jobs[1]:d} AND r1.id = r0.id + {step:d} AND +r1.row_key = r0.row_key "
        f"AND +r1.id BETWEEN {first:d} AND {end:d} "
    )
    same = "r0.answer = r1.answer AND r0.status = 'ok' AND r1.status = 'ok'"
    while after < last:
        total, paired, rest, lines = conn.execute(
            f"SELECT count(*), count(r1.id), json_group_array(r0.id) FILTER (WHERE ({same}) IS NOT "
            f"1), CAST(group_concat(r0.answer, char(10)) FILTER (WHERE {same}) AS BLOB) {both}"
            f"WHERE r0.id > ? AND r0.id <= ? AND +r0.job_id = {jobs[0]:d}",
            [after, min(after + size, last)],
        ).fetchone()
        number = total - len(json.loads(rest))
        # Ids that are another job's, a row whose other is elsewhere, an answer of several lines:
        # these are for `beside`, whose pages are of so many rows, too.
        full = total == size or after + size >= last
        if not (total and full) or paired < total or (number and lines.count(b"\n") != number - 1):
            return
        page = conn.execute(
            f"SELECT r0.id, r1.id, {', '.join(cells)} {both}"
            "WHERE r0.id IN (SELECT value FROM json_each(?)) ORDER BY r0.id",
            [rest],
        ).fetchall()
        yield number, lines or b"", page
        after += size
