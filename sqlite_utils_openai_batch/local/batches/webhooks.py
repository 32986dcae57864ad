"""Webhooks: a signed POST when a batch has ended, as the service sends it.

Signatures follow the Standard Webhooks scheme, which the openai client checks.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass, field

import orjson

from ..faults.registry import Faults
from ..settings import Clock
from .store import BatchRecord

logger = logging.getLogger(__name__)

WAITS = (0.5, 2.0, 8.0)
"""Seconds before each further try, when nobody took the webhook."""

HOUR = 3600


@dataclass(frozen=True)
class Webhook:
    """Where webhooks go, and the secret that signs them (`whsec_` and base64)."""

    url: str
    secret: str = field(repr=False)


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature` of a webhook."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class Webhooks:
    """Sends a webhook for each batch that ends; does nothing without a `webhook`."""

    def __init__(self, webhook: Webhook | None, clock: Clock, faults: Faults) -> None:
        self._webhook = webhook
        self._clock = clock
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    def ended(self, batch: BatchRecord) -> None:
        """Send the webhook of a batch that has ended."""
        if self._webhook is None:
            return
        task = asyncio.get_running_loop().create_task(self._send(self._webhook, batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Give up what wasn't sent yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, webhook: Webhook, batch: BatchRecord) -> None:
        if late := self._faults.strike("webhook-late"):
            await asyncio.sleep(late.argument)
        timestamp = self._clock.now() - (HOUR if self._faults.strike("webhook-old") else 0)
        forged = self._faults.strike("webhook-forged")
        secret = base64.b64encode(b"not the secret").decode() if forged else webhook.secret
        webhook_id = "evt_" + secrets.token_hex(16)
        event = {
            "id": webhook_id,
            "object": "event",
            "created_at": timestamp,
            "type": f"batch.{batch.status}",
            "data": {"id": batch.id},
        }
        body = orjson.dumps(event)
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret, webhook_id, timestamp, body),
        }
        for _ in range(2 if self._faults.strike("webhook-twice") else 1):
            await self._deliver(webhook.url, body, headers)

    async def _deliver(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        import httpx2  # what the openai client itself speaks HTTP with

        async with httpx2.AsyncClient(timeout=10) as client:
            for wait in (*WAITS, None):
                try:
                    reply = await client.post(url, content=body, headers=headers)
                    if reply.is_success:
                        return
                    problem = f"status {reply.status_code}"
                except httpx2.HTTPError as error:
                    problem = repr(error)
                if wait is not None:
                    await asyncio.sleep(wait)
        logger.warning("Nobody took the webhook at %s: %s", url, problem)
