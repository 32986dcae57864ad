"""Opens the provider of a job: a server elsewhere, or the local batch server in this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import store
from ..base.errors import ConfigurationError
from .accounts import LOCAL, Destination, check_key, destination, fingerprint, stored_key
from .client import Provider

if TYPE_CHECKING:
    from ..local import LocalServer
    from ..store import Job


@dataclass
class Places:
    """The providers and local servers that one command uses; `close` ends them all.

    `key` is what `--key` gave. A local server keeps its files under `local_folder(uid)`, so that
    another process, later, goes on with the same batches.
    """

    key: str | None = None
    providers: dict[str, Provider] = field(default_factory=dict)
    servers: dict[str, LocalServer] = field(default_factory=dict)
    known: dict[str, Destination] = field(default_factory=dict)
    """With which key each provider was opened."""
    accepted: bool = False
    """Whether the person said that the key may go where a job never had it."""

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections, then stop the local servers: their batches stay and go on later."""
        for provider in self.providers.values():
            provider.close()
        for server in self.servers.values():
            server.stop()
        self.providers.clear()
        self.servers.clear()
        self.known.clear()

    def of_job(self, job: Job) -> Provider:
        """The provider that a job's batches are with. Raises ConfigurationError."""
        if self.key is not None and not self.accepted:
            check_key(job, self.key)
        if job.provider == LOCAL:
            return self.local(job.uid, job.base_url, job.settings)
        return self.remote(destination(job.base_url, self.key, job.provider))

    def account_of(self, job: Job) -> str | None:
        """Whose account a job's batches go on with, with the key that there is now."""
        if job.provider != LOCAL:
            return destination(job.base_url, self.key, job.provider).account
        given = self.upstream_key()
        return fingerprint(job.base_url, given) if job.base_url and given else LOCAL

    def remote(self, where: Destination) -> Provider:
        """A client for a server elsewhere."""
        if self.known.get(where.base_url) != where:
            # the first time, or a token was renewed
            if where.base_url in self.providers:
                self.providers.pop(where.base_url).close()
            self.known[where.base_url] = where
            self.providers[where.base_url] = Provider(
                where.base_url, where.key, account=where.account, azure=where.azure
            )
        return self.providers[where.base_url]

    def local(self, uid: str, upstream: str | None, settings: dict[str, Any]) -> Provider:
        """A client for the local batch server of one job, started now unless it runs already."""
        if uid not in self.providers:
            base_url, key = self.start(uid, upstream, settings)
            self.providers[uid] = Provider(base_url, key)
        return self.providers[uid]

    def upstream_key(self) -> str | None:
        """The key for an upstream server: what `--key` gave or named, and no other."""
        return stored_key(self.key) or self.key if self.key else None

    def start(self, uid: str, upstream: str | None, settings: dict[str, Any]) -> tuple[str, str]:
        """Start the local batch server over a job's folder. Returns its base URL and a key."""
        from ..local import LocalServer, ModelAnswerer, StateInUse, UpstreamAnswerer

        folder = local_folder(uid)
        answerer = (
            UpstreamAnswerer(
                upstream, key=self.upstream_key(), concurrency=settings.get("concurrency", 4)
            )
            if upstream
            else ModelAnswerer()
        )
        server = LocalServer(folder, answerer=answerer)
        try:
            server.start()
        except StateInUse as running:
            # Another process of the same job has it: its server serves us too.
            if running.base_url is None or running.key is None:
                raise
            return running.base_url, running.key
        self.servers[uid] = server
        return server.base_url, server.key


def local_folder(uid: str) -> Path:
    """Where a job's local batch server keeps its files until the job has ended: made now."""
    folder = place_of(uid)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The local batch server can't keep its files: {error}") from error
    return folder


def forget_local(uid: str) -> None:
    """Remove what the local batch server kept for a job that has ended, and nothing else."""
    import shutil

    folder = place_of(uid)
    if not folder.is_symlink() and folder.is_dir():
        from ..local.settings import holds_state

        if holds_state(folder):
            shutil.rmtree(folder)


def place_of(uid: str) -> Path:
    """The folder that belongs to a job's local batch server, whether it is there or not.

    Raises ConfigurationError for a uid that this program never made: it names a folder.
    """
    import platformdirs

    if not store.is_uid(uid):
        raise ConfigurationError(f"No folder is named by '{uid}': that is no uid of a job.")
    return platformdirs.user_data_path("sqlite-utils-openai-batch") / "local" / uid
