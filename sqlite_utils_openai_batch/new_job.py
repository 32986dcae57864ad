"""The record of a job that is about to be stored: the columns of openai_batch_jobs."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from . import clock, store
from .plan import Plan

# A prepare that is killed leaves a job without `requests`; after this long it is swept away.
ABANDONED_SECONDS = 15 * 60


def job_values(
    plan: Plan,
    uid: str,
    provider: str,
    base_url: str | None,
    account: str | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The columns of a new job."""
    ask = plan.ask
    chosen = {
        "where": ask.where,
        "order": ask.order,
        "limit": ask.limit,
        "sample": ask.sample,
        "seed": ask.seed,
        "missing": ask.missing or None,
        "changed": ask.changed or None,
        "blanks": ask.blanks,
        "part_requests": ask.part_requests,
        "part_bytes": ask.part_bytes,
        "part_tokens": ask.part_tokens,
        "attempts": ask.attempts,
        **ask.image_settings,
        "reuse": ask.reuse or None,
        "reads": [plan.renderer.columns[index] for index in plan.hashed],
        "prices": ask.money.prices.to_data() if ask.money.prices else None,
        "context_window": ask.money.window,
        **settings,
    }
    return {
        "uid": uid,
        "name": ask.name,
        "status": "prepared",
        "source": plan.source.name,
        "source_sql": plan.source.sql,
        "source_params": json.dumps(dict(ask.params)) if ask.params else None,
        "key_columns": json.dumps(list(plan.source.key_columns)),
        "endpoint": plan.template.endpoint,
        "model": plan.model,
        "template": plan.template.to_json(),
        "template_hash": plan.template.hash,
        "answer_schema": plan.schema.to_json() if plan.schema else None,
        "output": plan.output.to_json(),
        "provider": provider,
        "base_url": base_url,
        "account": account,
        "max_cost_nanousd": ask.money.max_cost,
        "options": json.dumps({key: value for key, value in chosen.items() if value is not None}),
        "created_at": clock.now(),
        "lease_owner": store.me(),
        "lease_until": clock.now(ABANDONED_SECONDS),
        "versions": json.dumps(versions()),
    }


def versions() -> dict[str, str]:
    """Versions of what made this job, for reports."""
    from importlib.metadata import version

    names = ("sqlite-utils-openai-batch", "sqlite-utils", "openai", "jinja2")
    return {**{name: version(name) for name in names}, "sqlite": sqlite3.sqlite_version}
