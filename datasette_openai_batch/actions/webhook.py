"""The provider's word that a batch has ended: its job is looked after at once.

Only what is signed with the secret in OPENAI_WEBHOOK_SECRET counts, so an actor is none needed. A
webhook may come twice, late, or of a batch of somebody else's: a pass does once what there is to
do, and looks for itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from typing import Any

from datasette import NotFound, Response

from sqlite_utils_openai_batch.base.errors import OpenAIBatchError

from ..access.settings import settings_of
from ..data import queries
from . import background
from .follow import SECRET

logger = logging.getLogger(__name__)

PATH = "/-/openai-batch/webhook"


async def webhook(datasette: Any, request: Any) -> Response:
    """Take in a webhook: a pass over each job that has the batch begins, and goes on by itself."""
    if not os.environ.get(SECRET):
        raise NotFound(f"Set {SECRET} to have webhooks taken in.")
    if request.method != "POST":
        return Response.text("Webhooks come by POST.", status=405)
    body, loop = await request.post_body(), asyncio.get_running_loop()
    batch_id = await loop.run_in_executor(None, ended_batch, body, request.headers)
    if batch_id is None:
        return Response.text("That is not a webhook signed with this secret.", status=400)
    for db in list(datasette.databases.values()):
        jobs = await jobs_of(db, batch_id) if db.is_mutable and db.path else []
        try:
            settings = await settings_of(datasette, db.name) if jobs else None
        except OpenAIBatchError as error:
            # The provider brings it again later, and a setting may be mended by then.
            logger.warning("A webhook's batch of %s waits: %s", db.name, error)
            return Response.text("A setting is wrong here: the log says which.", status=503)
        for job_id in jobs:
            assert settings is not None
            background.again(db.path, job_id, settings.key_for)
    return Response.text("")


async def jobs_of(db: Any, batch_id: str) -> list[int]:
    """The jobs of a database that have a batch; one that can't be read keeps no other waiting."""
    try:
        found: list[int] = await db.execute_fn(queries.jobs_with_batch(batch_id))
    except sqlite3.Error as error:
        logger.warning("A webhook's batch can't be looked for in %s: %s", db.name, error)
        return []
    return found


def ended_batch(body: bytes, headers: Any) -> str | None:
    """The batch that a webhook is about, empty where it is about something else.

    None where its signature is wrong or older than five minutes. The secret is no variable here:
    Datasette writes those to its log where something goes wrong.
    """
    import openai

    client = openai.OpenAI(api_key="none")
    try:
        event: Any = client.webhooks.unwrap(body, headers, secret=os.environ.get(SECRET))
    except (openai.InvalidWebhookSignatureError, ValueError) as error:
        logger.warning("A webhook was refused: %s", error)
        return None
    finally:
        client.close()
    is_batch = str(getattr(event, "type", "")).startswith("batch.")
    return str(getattr(event.data, "id", "")) if is_batch else ""
