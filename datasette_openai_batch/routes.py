"""Which address leads where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .actions.actions import ACTIONS
from .actions.views import job_action
from .actions.webhook import PATH, webhook
from .files.views import job_csv, job_jsonl, job_report, job_xlsx
from .new_job.views import new_job
from .pages.views import (
    all_jobs_json,
    all_jobs_page,
    answers_page,
    job_attachment,
    job_image,
    job_json,
    job_page,
    jobs_json,
    jobs_page,
    nowhere,
)
from .review.views import review

DATABASE = r"(?P<database>[^/]+)"
JOB = rf"^/{DATABASE}/-/openai-batch/(?P<job>[0-9]{{1,18}})"

ROUTES: list[tuple[str, Callable[..., Any]]] = [
    (r"^/-/openai-batch$", all_jobs_page),
    (r"^/-/openai-batch\.json$", all_jobs_json),
    (rf"^{PATH}$", webhook),
    (rf"^/{DATABASE}/-/openai-batch$", jobs_page),
    (rf"^/{DATABASE}/-/openai-batch\.json$", jobs_json),
    (rf"^/{DATABASE}/-/openai-batch/new$", new_job),
    (rf"{JOB}$", job_page),
    (rf"{JOB}\.json$", job_json),
    (rf"{JOB}\.csv$", job_csv),
    (rf"{JOB}\.xlsx$", job_xlsx),
    (rf"{JOB}\.jsonl$", job_jsonl),
    (rf"{JOB}/report$", job_report),
    (rf"{JOB}/answers$", answers_page),
    (rf"{JOB}/image$", job_image),
    (rf"{JOB}/attachment$", job_attachment),
    (rf"{JOB}/review$", review),
    (rf"{JOB}/(?P<action>{'|'.join(ACTIONS)})$", job_action),
    # an address that ends in a slash is for Datasette, which leads to the one without
    (rf"^/{DATABASE}/-/openai-batch/(?P<rest>.*[^/])$", nowhere),
]
