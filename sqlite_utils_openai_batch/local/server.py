"""The local batch server as an object: start it, use it with any OpenAI client, stop it."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..base.errors import ConfigurationError, JobError
from ..base.scratch import SERVER, Scratch
from .answerers.simulate import SimulatedAnswerer
from .faults.registry import Faults
from .lock import StateLock
from .protocol.answers import Answerer, BlockAnswerer
from .settings import Clock, Folders, ServerLimits

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from .batches.store import Store
    from .batches.webhooks import Webhook
    from .http.thread import Serving


class LocalServer:
    """A server of the Files and Batches API on this machine.

    `state_dir` holds all of its state; None is a temporary directory that `stop` removes, and the
    attribute says which one.
    `answerer` is who answers (`SimulatedAnswerer` by default), `port` 0 a free one. With `key`
    only that key is accepted, else any that isn't empty. `faults` are `NAME` or `NAME:ARG` (see
    `faults`; the attribute `faults` switches them while the server runs). `window` is the
    seconds after which batches expire, None for never. `clock` can be moved forward. A `webhook`
    is called when a batch has ended.

    Raises ConfigurationError when the port is taken, when `host` isn't loopback and no key is
    given, and its subclass StateInUse, with the `base_url` of the running server, when another
    one uses the directory.
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        answerer: Answerer | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        key: str | None = None,
        faults: Sequence[str] = (),
        window: float | None = None,
        limits: ServerLimits | None = None,
        webhook: Webhook | None = None,
    ) -> None:
        if not is_loopback(host) and not key:
            raise ConfigurationError(
                f"{host} can be reached from other machines, so the server needs a key there:"
                " add --key, or leave --host out."
            )
        self.answerer = answerer or SimulatedAnswerer()
        self.clock = Clock()
        self.limits = limits or ServerLimits()
        self.base_url = ""
        self.key = key or ""
        self._key_fixed = bool(key)
        self.state_dir = state_dir
        self._given_dir = state_dir
        self._address = (host, port)
        self.faults = Faults(faults)
        self._webhook = webhook
        self._window = window
        self._temporary: Scratch | None = None
        self._lock: StateLock | None = None
        self._store: Store | None = None
        self._serving: Serving | None = None

    def __enter__(self) -> LocalServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> LocalServer:
        """Start to listen, in a thread of its own; returns when connections are accepted."""
        if self._serving is not None:
            return self
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        from .batches.store import Store
        from .http.app import API
        from .http.gate import OwnNames

        self.state_dir = self._root()
        lock = StateLock(self.state_dir)
        lock.acquire()
        self._lock = lock
        if isinstance(self.answerer, BlockAnswerer):
            self.answerer.connect()
        folders = Folders(self.state_dir, durable=self._temporary is None).create()
        self._store = Store(folders.database, durable=folders.durable)
        self.key = self.key or self._store.secret("key", "local-" + secrets.token_hex(16))
        from .service import Service

        service = Service(
            self._store,
            folders,
            answerer=self.answerer,
            clock=self.clock,
            limits=self.limits,
            window=self._window,
            faults=self.faults,
            webhook=self._webhook,
            key=self.key,
            required_key=self.key if self._key_fixed else None,
        )
        listener = listen(*self._address)
        self.base_url = "http://{}:{}/v1".format(*url_parts(listener))
        from .http.thread import Serving

        app: ASGIApp = API(service).app()
        if is_loopback(self._address[0]):
            app = OwnNames(app)  # elsewhere it has names that nobody here knows, and a fixed key
        self._serving = Serving(app, service, listener)
        self._serving.start()
        lock.publish(self.base_url, self.key)

    def _root(self) -> Path:
        if self._given_dir is None:
            self._temporary = Scratch(SERVER)
            return self._temporary.path
        try:
            self._given_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"The local batch server can't keep its state in {self._given_dir}:"
                f" {error.strerror}."
            ) from error
        return self._given_dir

    def stop(self) -> None:
        """Stop listening; unfinished batches stay in the state directory."""
        if self._serving is not None:
            self._serving.stop()
            self._serving = None
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self._temporary is not None:
            self._temporary.close()
            self._temporary = None

    def join(self) -> None:
        """Wait until the server is stopped by another thread; raises what it failed with."""
        if self._serving is not None:
            self._serving.join()

    def wait_for(self, batch_id: str, timeout: float = 30.0) -> str:
        """Wait until a batch has ended, and return its status.

        Raises JobError for an unknown batch, and when it hasn't ended after `timeout` seconds.
        """
        deadline, pause = time.monotonic() + timeout, 0.002
        while (batch := self._store.batch(batch_id) if self._store else None) is not None:
            if not batch.is_open:
                return batch.status
            if time.monotonic() > deadline:
                raise JobError(f"{batch_id} is {batch.status}, still after {timeout:g} seconds.")
            # each look takes time from those who answer, so a long batch is looked at less often
            time.sleep(pause)
            pause = min(pause * 1.2, 0.01)
        raise JobError(f"This server has no batch {batch_id}.")

    def journal(self) -> list[dict[str, Any]]:
        """Return the requests that arrived, oldest first, while the server runs.

        Each has `id`, `at`, `method`, `path`, `key` (a fingerprint) and `status` (None when the
        reply was withheld), and where they apply `file_id`, `batch_id`, `filename`, `purpose`,
        `bytes`, `input_file_id`, `endpoint`, `metadata` and `requests`.
        """
        if self._store is None:
            return []
        return self._store.journal()


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; ConfigurationError when the address can't be had."""
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    # With the protocol named, asyncio turns off the delay of small packets (40 ms a request).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((name, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"The local batch server can't listen at {host}, port {port}: {error.strerror}."
            " Choose another --port, or 0 for a free one."
        ) from error
    return listener


def url_parts(listener: socket.socket) -> tuple[str, int]:
    """Host and port of a socket as a URL writes them."""
    host, port = listener.getsockname()[:2]
    return (f"[{host}]" if ":" in host else host), port
