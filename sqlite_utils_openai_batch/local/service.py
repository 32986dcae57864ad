"""All parts of one server, put together; HTTP is in `http/app`, the socket in `server`."""

from __future__ import annotations

from .batches.batches import Batches
from .batches.files import Files
from .batches.runner import Runner
from .batches.store import Store
from .batches.webhooks import Webhook, Webhooks
from .faults.connections import Connections
from .faults.registry import Faults
from .protocol.answers import Answerer
from .settings import Clock, Folders, ServerLimits


class Service:
    """The state of one server and what works on it.

    `key` is the server's own key. `required_key` is the only one accepted, None for any.
    """

    def __init__(
        self,
        store: Store,
        folders: Folders,
        *,
        answerer: Answerer,
        clock: Clock,
        limits: ServerLimits,
        window: float | None,
        faults: Faults,
        webhook: Webhook | None,
        key: str,
        required_key: str | None,
    ) -> None:
        self.store = store
        self.folders = folders
        self.answerer = answerer
        self.clock = clock
        self.limits = limits
        self.faults = faults
        self.key = key
        self.required_key = required_key
        self.connections = Connections()
        self.webhooks = Webhooks(webhook, clock, faults)
        self.files = Files(store, folders, clock, limits)
        self.batches = Batches(store, clock, limits, window)
        self.runner = Runner(store, folders, clock, limits, answerer, faults, self.webhooks.ended)

    async def start(self) -> None:
        """Go on with what the last server left; call it on the server's event loop."""
        self.runner.resume()

    async def stop(self) -> None:
        """Stop where things are and give everything back."""
        await self.runner.stop()
        await self.webhooks.stop()
        await self.answerer.close()
