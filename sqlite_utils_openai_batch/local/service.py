"""All parts of one server, put together; HTTP is in `app`, the socket in `server`."""

from __future__ import annotations

from .answers import Answerer
from .batches import Batches
from .files import Files
from .runner import Runner
from .settings import Clock, Folders, ServerLimits
from .store import Store


class Service:
    """The state of one server and what works on it."""

    def __init__(
        self,
        store: Store,
        folders: Folders,
        *,
        answerer: Answerer,
        clock: Clock,
        limits: ServerLimits,
        window: float | None,
        key: str,
        key_fixed: bool,
    ) -> None:
        self.store = store
        self.folders = folders
        self.answerer = answerer
        self.clock = clock
        self.limits = limits
        self.key = key
        self.key_fixed = key_fixed
        self.files = Files(store, folders, clock, limits)
        self.batches = Batches(store, clock, limits, window)
        self.runner = Runner(store, folders, clock, limits, answerer)

    async def start(self) -> None:
        """Go on with what the last server left; call it on the server's event loop."""
        self.runner.resume()

    async def stop(self) -> None:
        """Stop where things are and give everything back."""
        await self.runner.stop()
        await self.answerer.close()
