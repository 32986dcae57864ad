"""Who may see what people say of a job's rows, beside seeing the job.

Whoever labels sees only their own until all who have begun are done (results/review/coders).
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.results.review.coders import Progress, may_see, progress
from sqlite_utils_openai_batch.store import reviews

from .. import compat
from .job import Opened
from .permissions import once


async def sees_labels(opened: Opened, actor: Any) -> bool:
    """Whether the actor may see what all coders say of this job's rows."""
    found = await opened.db.execute_fn(lambda conn: progress(conn, opened.job))
    return await _sees(opened.datasette, opened.db, actor, [found])


async def sees_all_labels(datasette: Any, db: Any, actor: Any) -> bool:
    """Whether that holds of each job of a database, so that the tables may be shown."""
    return await once(datasette, db, actor, _sees_all)


async def _sees_all(datasette: Any, db: Any, actor: Any) -> bool:
    return await _sees(datasette, db, actor, await db.execute_fn(_progress_of_all))


def _progress_of_all(conn: sqlite3.Connection) -> list[list[Progress]]:
    found = []
    for job_id in reviews.reviewed_jobs(conn):
        try:
            found.append(progress(conn, store.get_job(conn, job_id)))
        except OpenAIBatchError:
            # The record of the job is gone: so is who was to label its rows.
            continue
    return found


async def _sees(datasette: Any, db: Any, actor: Any, jobs: list[list[Progress]]) -> bool:
    if not any(one.done for found in jobs for one in found):
        return True
    labels = await compat.may_review(datasette, actor, db.name)
    manages = await compat.may_manage(datasette, actor, db.name)
    coder = compat.actor_id(actor)
    return all(may_see(found, coder, labels=labels, manages=manages) for found in jobs)
