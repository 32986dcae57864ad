"""What people do with a job that was sent: retry, pause, cancel, delete."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import store
from ..base import clock
from ..base.errors import JobError, NoList, NotFound, UsageError
from ..base.json import kept_json
from ..base.statuses import CUT, FAILED
from ..base.text import meant
from ..pricing.ceiling import again_most, parse_ceiling
from ..pricing.prices import job_is_own, known_models, part_prices, stored_prices, usd
from ..provider.client import Provider
from ..provider.errors import host_of
from ..provider.places import Places, models_without
from ..requests.body import adapt, check_change, elsewhere
from ..requests.images import remember_folder
from ..requests.limits import limits_for
from ..requests.turns import check_turns
from ..store.connection import transaction
from ..store.costs import committed
from ..store.earlier import REPAIRABLE, RETRY
from ..store.leases import job_leased, renew_job
from ..tables.columns import output_keys
from ..tables.output import Output
from ..tables.source import open_source
from . import first_part
from .revert import busy
from .sync.engine import approve, open_batches
from .sync.lookup import look, since
from .sync.settle import new_part, repair_most, repair_part

#: Why a job is paused that somebody paused: whoever reads it may be somebody else.
BY_HAND = "paused by hand"


@dataclass(frozen=True)
class Retry:
    """Which requests of a job would be asked again, by the part that they are in now."""

    by_part: dict[int, list[int]]
    kinds: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """How many have each outcome and error code."""
    repair: bool = False
    """Whether their answers go back to the model, with what was wrong with them."""

    @property
    def statuses(self) -> tuple[str, ...]:
        """The outcomes that they have."""
        return tuple({status for status, _ in self.kinds})

    @property
    def requests(self) -> int:
        """How many there are."""
        return sum(len(ids) for ids in self.by_part.values())


def plan_retry(
    conn: sqlite3.Connection,
    job: store.Job,
    statuses: Sequence[str],
    *,
    repair: bool = False,
    where: str | None = None,
    params: Mapping[str, str] | None = None,
) -> Retry:
    """Find the failed requests with one of these outcomes (none given: all). Raises JobError.

    With `where` those of rows for which that holds, answered ones too: for a better answer. With
    `repair` only those whose answers can go back to the model.
    """
    if job.status == "prepared":
        raise JobError(f"Job {job.id} was never sent: submit it instead.")
    if "vote" in job.settings:
        raise JobError(
            f"Job {job.id} is a vote, so it asked nobody. Retry its jobs, then vote again."
        )
    if job.status == "cancelling":
        raise JobError(f"Job {job.id} is being cancelled: wait for that with watch, then retry.")
    if repair:
        check_turns(job.endpoint)
        unrepairable = [one for one in statuses if one not in REPAIRABLE]
        if unrepairable and set(statuses) != set(FAILED):
            raise UsageError(
                f"--repair sends an answer back that was wrong: {', '.join(REPAIRABLE)}. "
                f"Requests that are {unrepairable[0]} have none. Leave out --repair for them."
            )
        statuses = [one for one in statuses if one in REPAIRABLE] or REPAIRABLE
    keys = None if where is None else keys_where(conn, job, where, params or {})
    return failed_requests(conn, job, statuses, repair=repair, keys=keys)


def keys_where(
    conn: sqlite3.Connection, job: store.Job, where: str, params: Mapping[str, str]
) -> set[Any]:
    """The keys of rows for which a condition holds, in the table that holds the answers.

    Raises SourceError where it can't be read.
    """
    output = Output.of(job)
    if output.write and output.table is not None:
        rows = open_source(conn, output.table, pk=output_keys(job.keys), where=where, params=params)
    elif job.source_sql is not None:
        rows = open_source(
            conn, None, sql=job.source_sql, pk=job.keys, where=where,
            params={**job.params, **params},
        )  # fmt: skip
    else:
        rows = open_source(
            conn, job.source, pk=job.keys, where=where, params={**job.params, **params}
        )
    with rows:
        return {key for page in rows.pages(()) for key, _ in page}


def failed_requests(
    conn: sqlite3.Connection,
    job: store.Job,
    statuses: Sequence[str],
    *,
    repair: bool = False,
    keys: Container[Any] | None = None,
) -> Retry:
    """The failed requests with one of these outcomes (none given: all) of parts that ended.

    With `keys` those of these rows, answered ones too.
    """
    wanted = list(statuses) or [*FAILED, *(["ok"] if keys is not None else [])]
    marks = ", ".join("?" for _ in wanted)
    failed = "" if keys is not None else "AND requests.status NOT IN ('pending', 'ok') "
    answered = "AND requests.answer IS NOT NULL " if repair else ""
    found = store.rows(
        conn,
        "SELECT requests.id, requests.part_id, requests.status, requests.error_code, "
        "requests.row_key FROM openai_batch_requests AS requests "
        "JOIN openai_batch_parts AS parts ON parts.id = requests.part_id "
        f"WHERE requests.job_id = ? AND requests.status IN ({marks}) "
        f"{failed}{answered}AND parts.collected_at IS NOT NULL ORDER BY requests.id",
        [job.id, *wanted],
    )
    by_part: dict[int, list[int]] = {}
    kinds: Counter[tuple[str, str | None]] = Counter()
    for row in found:
        if keys is not None and row["row_key"] not in keys:
            continue
        by_part.setdefault(row["part_id"], []).append(row["id"])
        kinds[row["status"], row["error_code"]] += 1
    return Retry(by_part, kinds, repair)


def retry(
    conn: sqlite3.Connection, job: store.Job, plan: Retry, changes: Mapping[str, Any]
) -> store.Job:
    """Approve a job anew, with failed requests in new parts. Sends nothing. Returns the job.

    `changes` are top-level parameters of the body; what the model calls otherwise is renamed.
    Raises TemplateError for a parameter that the model refuses, and JobError where another
    process works on the job.
    """
    with job_leased(conn, job.id) as mine:
        if not mine:
            raise busy(job)
        return retry_held(conn, job, plan, changes)


def retry_held(
    conn: sqlite3.Connection, job: store.Job, plan: Retry, changes: Mapping[str, Any]
) -> store.Job:
    """`retry` for a caller that holds the job's lease.

    The job is approved first: a kill leaves a job that goes on with what was put into parts, and
    the rest as it was, to be asked again by another `retry`.
    """
    changes = dict(changes)
    model = str(changes.get("model", job.model or ""))
    body = changed_body(job, model, changes)
    stopped = first_part.is_bad(conn, job)
    before = {part.id for part in store.list_parts(conn, job.id)}
    job = approve(conn, job)
    if model != job.model:
        keep_prices(conn, job, model)
    if stopped and body:
        change_unsent(conn, job, body)
    into_new_parts(conn, job, plan, body)
    made = [part for part in store.list_parts(conn, job.id) if part.id not in before]
    if made:
        first_part.plan_first(conn, job, among=made)
    return store.get_job(conn, job.id)


def change_unsent(conn: sqlite3.Connection, job: store.Job, body: Mapping[str, Any]) -> None:
    """What repairs the first answers of a job holds for those that weren't asked yet."""
    with transaction(conn):
        for part in first_part.unsent(conn, job):
            overrides = {**part.changes, **body, **part.marks}
            upper = again_most(job, part, part.requests, overrides)
            store.update_part(
                conn, part.id, overrides=json.dumps(overrides), upper_cost_nanousd=upper
            )


def changed_body(job: store.Job, model: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of a retry as parameters of its body. Raises TemplateError."""
    if not changes:
        return {}
    body = adapt(job.endpoint, model, changes)
    asked = kept_json(job.template, dict, "openai_batch_jobs.template")
    check_change(job.endpoint, asked, body, elsewhere=elsewhere(job.provider, job.base_url))
    return body


def into_new_parts(
    conn: sqlite3.Connection, job: store.Job, plan: Retry, body: Mapping[str, Any]
) -> None:
    """Put failed requests into new parts, for a caller that holds the job's lease."""
    most = limits_for(
        job.provider, job.endpoint, requests=job.settings.get("part_requests")
    ).requests
    for part_id, ids in plan.by_part.items():
        old = store.get_part(conn, part_id)
        overrides = {**old.changes, **body}
        for start in range(0, len(ids), most):
            with transaction(conn):
                some = store.still_settled(conn, part_id, ids[start : start + most], plan.statuses)
                if some and plan.repair:
                    repair_part(conn, job, old, some, overrides)
                elif some:
                    kept = {**overrides, **old.marks}
                    changed = json.dumps(kept) if kept else None
                    made = new_part(conn, job, old, some, changed, RETRY)
                    upper = again_most(job, old, len(some), overrides)
                    store.update_part(conn, made, upper_cost_nanousd=upper)
                renew_job(conn, job.id)


def keep_prices(conn: sqlite3.Connection, job: store.Job, model: str) -> None:
    """Store what another model costs that some requests of a job are asked again of."""
    prices = part_prices(job.model, job.base_url, job.settings, json.dumps({"model": model}))
    known = {**job.settings.get("model_prices", {}), model: prices and prices.to_data()}
    with transaction(conn):
        options = json.dumps({**job.settings, "model_prices": known})
        store.update_job(conn, job.id, options=options)


def retry_most(
    conn: sqlite3.Connection, job: store.Job, plan: Retry, changes: Mapping[str, Any]
) -> int | None:
    """What a retry may cost at most, in nano-dollars; None where that isn't known."""
    model = str(changes.get("model", job.model or ""))
    body = changed_body(job, model, changes)
    total = 0
    for part_id, ids in plan.by_part.items():
        old = store.get_part(conn, part_id)
        overrides = {**old.changes, **body}
        if plan.repair:
            most = repair_most(conn, job, old, ids, overrides)
        else:
            most = again_most(job, old, len(ids), overrides)
        if most is None:
            return None
        total += most
    return total


def check_priced(
    job: store.Job, changes: Mapping[str, Any], most: int | None, ceiling: int | None
) -> None:
    """Raise UsageError where nobody knows what another model costs, and there is a ceiling."""
    held = ceiling if ceiling is not None else job.max_cost_nanousd
    own = job_is_own(job.provider, job.base_url, job.settings)
    if held is not None and most is None and "model" in changes and not own:
        model = str(changes["model"])
        raise UsageError(
            f"No bound of what {model} may cost is known, so the ceiling can't hold. "
            f"{meant(model, known_models())}Name another model, or cap the answers with "
            "--set max_tokens=N."
        )


def check_known(job: store.Job, changes: Mapping[str, Any], places: Places) -> None:
    """Raise UsageError for another model that OpenAI doesn't have, where a job is there."""
    model = changes.get("model", job.model)
    if model == job.model or job.provider != "openai" or job.base_url is None:
        return
    provider = places.of_job(job)
    if provider.is_openai:
        models_without(provider, host_of(job.base_url), str(model), "--model")


def doubtful(conn: sqlite3.Connection, provider: Provider, job: store.Job) -> list[store.Part]:
    """Parts of which nobody can say whether the provider has made their batch.

    Their creation was never answered, and the provider has no list of batches.
    """
    cut = [part for part in store.list_parts(conn, job.id) if part.status == "creating"]
    if cut:
        with suppress(NoList):
            look(conn, provider, job)
            return []
    return cut


def send_again(conn: sqlite3.Connection, parts: Sequence[store.Part]) -> None:
    """Put such parts back to be sent, once a person has said so."""
    for part in parts:
        with store.leased(conn, part) as mine, transaction(conn):
            if mine and store.move_part(conn, part, "prepared"):
                store.log(conn, "again, unseen", job_id=part.job_id, part_id=part.id)


def pause_job(conn: sqlite3.Connection, job: store.Job) -> None:
    """No new sends of a job until `submit`. Raises JobError."""
    with transaction(conn):
        status = store.get_job(conn, job.id).status
        if status not in ("running", "prepared"):
            raise JobError(f"Job {job.id} is {status}: only a running job can be paused.")
        store.update_job(conn, job.id, status="paused", message=BY_HAND)
        store.log(conn, "paused", job_id=job.id, why="by hand")


def cancel_job(conn: sqlite3.Connection, job: store.Job) -> None:
    """Have a job's open batches cancelled by the next pass; nothing more is sent.

    Raises JobError where it has ended.
    """
    with transaction(conn):
        job = store.get_job(conn, job.id)
        if not job.unfinished:
            raise JobError(f"Job {job.id} is {job.status} already: there is nothing to cancel.")
        store.update_job(
            conn,
            job.id,
            status="cancelling",
            message=None,
            approved_at=job.approved_at or clock.now(),
        )
        store.log(conn, "cancel asked", job_id=job.id)


def check_deletable(conn: sqlite3.Connection, job: store.Job) -> None:
    """Raise JobError while batches of a job may still bring answers that were paid for."""
    cut = sum(1 for part in store.list_parts(conn, job.id) if part.status in CUT)
    going = open_batches(conn, job.id) + cut + len(store.strays(conn, job.id))
    uncollected = sum(
        1
        for part in store.list_parts(conn, job.id)
        if part.batch_id and not part.collected_at and part.status != "prepared"
    )
    if going or uncollected:
        raise JobError(
            f"Job {job.id} has batches that aren't collected yet: their answers would be lost. "
            "Wait for them with watch, or stop them with cancel."
        )


def delete_responses(conn: sqlite3.Connection, job: store.Job) -> int:
    """Delete the raw response lines of a job; answers stay. Returns how many were deleted."""
    with transaction(conn):
        cursor = conn.execute(
            "DELETE FROM openai_batch_responses WHERE part_id IN "
            "(SELECT id FROM openai_batch_parts WHERE job_id = ?)",
            [job.id],
        )
        store.log(conn, "responses deleted", job_id=job.id, lines=cursor.rowcount)
    return cursor.rowcount


def delete_remote(conn: sqlite3.Connection, provider: Provider, job: store.Job) -> int:
    """Delete a job's files at the provider. Returns how many were there."""
    check_deletable(conn, job)
    deleted = 0
    for file_id in sorted({*remote_files(conn, job), *orphans(provider, job)}):
        try:
            provider.delete_file(file_id)
            deleted += 1
        except NotFound:
            # Gone already: expired, or deleted by an earlier call that was cut.
            continue
    with transaction(conn):
        store.log(conn, "files deleted", job_id=job.id, files=deleted)
    return deleted


def remote_files(conn: sqlite3.Connection, job: store.Job) -> list[str]:
    """Ids of all files that a job's sends left at the provider."""
    found = store.rows(
        conn,
        "SELECT batches.input_file_id AS sent, parts.input_file_id, parts.output_file_id, "
        "parts.error_file_id FROM openai_batch_parts AS parts "
        "LEFT JOIN openai_batch_batches AS batches ON batches.part_id = parts.id "
        "WHERE parts.job_id = ?",
        [job.id],
    )
    ids = {file_id for row in found for file_id in row if file_id}
    for file_id in ids:
        store.check_id(file_id, "openai_batch_parts.input_file_id", job.id)
    return sorted(ids)


def orphans(provider: Provider, job: store.Job) -> list[str]:
    """Ids of files with a token of this job in their name, which no open batch uses.

    Uploads that were cut leave such files; nobody recorded their ids.
    """
    named = provider.files_named(f"{job.uid}-", since(job))
    try:
        listed = list(provider.list_since(since(job))) if named else []
    except NoList:
        # A copy of this database may have an open batch over one of them: leave them.
        return []
    used = {state.input_file_id for state in listed if not state.ended}
    return [file.id for file in named if file.id not in used]


def delete_job(conn: sqlite3.Connection, job: store.Job) -> None:
    """Delete the record of a job; the columns that it wrote stay. Raises JobError."""
    with job_leased(conn, job.id) as mine, transaction(conn):
        if not mine:
            raise busy(job)
        check_deletable(conn, job)
        store.drop_job(conn, job.id)


def job_ceiling(conn: sqlite3.Connection, job: store.Job, text: str) -> int:
    """A new ceiling in nano-dollars for a job that waits. Raises UsageError where it can't hold."""
    ceiling = parse_ceiling(text)
    if job_is_own(job.provider, job.base_url, job.settings):
        return ceiling
    if stored_prices(job.settings) is None:
        raise UsageError(
            f"Job {job.id} was prepared without prices, so --max-cost can't hold. "
            "Prepare it again with --price-as, or with --price-input and --price-output."
        )
    taken = committed(conn, job.id)
    if taken.total > ceiling:
        raise UsageError(
            f"--max-cost {text}: {usd(taken.spent)} is spent already, and up to "
            f"{usd(taken.open, up=True)} may still come of what was sent."
        )
    most = job.upper_cost_nanousd
    if job.status == "prepared" and (most is None or most > ceiling):
        may = "nothing bounds its cost" if most is None else f"may cost up to {usd(most, up=True)}"
        raise UsageError(
            f"The ceiling of {usd(ceiling)} can't hold: job {job.id} {may}. "
            "Raise it, or prepare the job anew with a lower -o max_tokens."
        )
    return ceiling


def raise_ceiling(conn: sqlite3.Connection, job: store.Job, nanousd: int) -> store.Job:
    """Store a ceiling that `job_ceiling` found good."""
    with transaction(conn):
        store.update_job(conn, job.id, max_cost_nanousd=nanousd)
        store.log(conn, "ceiling", job_id=job.id, nanousd=nanousd)
    return store.get_job(conn, job.id)


def rows_to_send(parts: Sequence[store.Part]) -> int:
    """How many rows wait to be sent: those that were answered by hand don't."""
    return sum(part.counts.get("pending", 0) for part in parts if part.status in ("prepared", *CUT))


def name_folder(conn: sqlite3.Connection, job: store.Job, folder: str) -> store.Job:
    """Say on this machine which folder a job reads. Raises UsageError where it reads none."""
    if "image_dir" not in job.settings:
        raise UsageError(f"Job {job.id} reads no files. Leave out --image-dir.")
    place = str(Path(folder).resolve())
    remember_folder(job.uid, place)
    store.update_job(conn, job.id, options=json.dumps({**job.settings, "image_dir": place}))
    return store.get_job(conn, job.id)


def job_to_submit(
    conn: sqlite3.Connection, db: str, job: str | None, anyhow: bool = False
) -> store.Job:
    """The job that `submit` means: `anyhow` also one that runs, to say how. Raises JobError."""
    if job is not None:
        found = store.find_job(conn, job, db)
        if anyhow and found.requests is not None:
            return found
        if found.status not in ("prepared", "paused") or found.requests is None:
            raise JobError(
                f"Job {found.id} is {found.status}: only a prepared or paused job can be "
                "submitted. Look at it with: "
                f"sqlite-utils openai-batch show {shlex.quote(db)} {found.id}"
            )
        return found
    waiting = [
        found
        for found in store.list_jobs(conn)
        if found.status == "prepared" and found.requests is not None
    ]
    if len(waiting) == 1:
        return waiting[0]
    if not waiting:
        raise JobError(
            f"No job in '{db}' waits to be submitted. "
            f"Prepare one with: sqlite-utils openai-batch prepare {shlex.quote(db)} TABLE …"
        )
    names = ", ".join(str(found.id) for found in waiting)
    raise JobError(f"Several jobs wait to be submitted: {names}. Name one of them.")
