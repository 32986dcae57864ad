"""Which key goes where, and whose account that is. A key itself is never stored."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .. import store
from ..base.errors import ConfigurationError, NotFound, Unreadable, UsageError
from .azure import AZURE, ENDPOINT, TOKEN, Azure, azure_address, azure_key, azure_version
from .client import OPENAI_URL, Provider
from .errors import host_of

#: The provider of jobs that run on this machine.
LOCAL = "local"
# For servers that want no key: the client insists on sending one.
NO_KEY = "none"


@dataclass(frozen=True)
class Destination:
    """Where requests go and with which key; `key_from` says where the key was found."""

    base_url: str
    key: str = field(repr=False)
    key_from: str
    azure: Azure | None = None

    @property
    def host(self) -> str:
        """Host, and port where one is given."""
        return host_of(self.base_url)

    @property
    def account(self) -> str:
        """Whose key it is there: `fingerprint`."""
        return fingerprint(self.base_url, self.key)


def fingerprint(base_url: str, key: str) -> str:
    """Host, and a hash of the key and the origin that it was given for.

    It tells accounts apart and gives nothing away; and who has it for one host can't make it for
    another, where the key is to go next.
    """
    given = "\n".join((*origin(base_url), key)).encode()
    digest = hmac.new(b"sqlite-utils-openai-batch", given, hashlib.sha256)
    return f"{host_of(base_url)}:{digest.hexdigest()[:10]}"


def destination(base_url: str | None, key: str | None, provider: str = "openai") -> Destination:
    """Settle the server and its key. They are read afresh each time: a token may be renewed.

    `OPENAI_API_KEY` goes to api.openai.com, or to the `OPENAI_BASE_URL` that is set with it,
    and to no other host. Raises ConfigurationError where OpenAI would get no key.
    """
    if provider == AZURE:
        return azure_destination(base_url, key)
    own_url = own_address()
    url = (base_url or own_url).rstrip("/")
    refuse_password(url, "--base-url" if base_url else "OPENAI_BASE_URL")
    if key:
        stored = stored_key(key)
        return Destination(url, stored or key, f"llm's key '{key}'" if stored else "--key")
    environment = os.environ.get("OPENAI_API_KEY")
    if environment and origin(url) == origin(own_url):
        return Destination(url, environment, "OPENAI_API_KEY")
    if host_of(url) == host_of(OPENAI_URL):
        raise ConfigurationError(
            "No key for OpenAI. Give one with --key, set OPENAI_API_KEY, "
            "or ask the small model on this machine with --local."
        )
    return Destination(url, NO_KEY, "no key")


def azure_destination(base_url: str | None, key: str | None) -> Destination:
    """Settle an Azure resource and its key. Raises ConfigurationError."""
    url = azure_address(base_url)
    refuse_password(url, "--base-url" if base_url else ENDPOINT)
    version = azure_version(url)
    if key:
        stored = stored_key(key)
        key_from = f"llm's key '{key}'" if stored else "--key"
        return Destination(url, stored or key, key_from, Azure(version, token=False))
    found, name = azure_key(url)
    return Destination(url, found, name, Azure(version, token=name == TOKEN))


def origin(url: str) -> tuple[str, str]:
    """Scheme and host of an address: a key for one isn't sent in the clear to the other."""
    return urlsplit(url).scheme, host_of(url)


def refuse_password(url: str, option: str) -> None:
    """Raise UsageError for what is no address of a server, or holds a secret: addresses are kept.

    They stay with their jobs, in a file that is handed on.
    """
    check_address(url, option)
    if "@" in urlsplit(url).netloc:
        raise UsageError(
            f"{option} can't hold a user name or password: it is kept with the job. "
            "Give a key with --key."
        )


def check_address(url: str, option: str) -> None:
    """Raise UsageError for what is no address of a server: nobody would ever answer there."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_address &= parts.port is None or parts.port > 0
    except ValueError:
        # a port that is not a number, a broken IPv6 address
        is_address = False
    if not is_address:
        raise UsageError(
            f"{option} '{url}' is not an address of a server. Write it like https://HOST/v1."
        )


def check_key(
    job: store.Job, key: str, to: str | None = None, way_out: str = "submit --accept-account"
) -> None:
    """Raise ConfigurationError where the key of --key would go where the job never had it.

    The address comes from the file, which somebody else may have made or changed. A key goes to
    the host that it was given for with the job, and to those that are named in the environment.
    `to` is another address than the job's own; `way_out` is how a person says that it may go there.
    """
    url = key_address(job) if to is None else to
    if url is None or origin(url) in own_origins():
        return
    if job.account == fingerprint(url, stored_key(key) or key):
        return
    before = (job.account or "").rpartition(":")[0]
    elsewhere = before and before != host_of(url)
    began = f"it ran at {before}" if elsewhere else "it began with another one, or with none"
    raise ConfigurationError(
        f"The key of --key would go to {host_of(url)}, and job {job.id} never had it there: "
        f"{began}. Nothing was sent. Where you trust {host_of(url)} with this key, say so "
        f"with {way_out}."
    )


def key_address(job: store.Job) -> str | None:
    """Where the key of a job goes; None where none is wanted."""
    if job.provider == LOCAL:
        return job.base_url
    if job.provider == AZURE:
        return azure_address(job.base_url)
    return job.base_url or own_address()


def check_one_host(jobs: Sequence[store.Job]) -> None:
    """Raise ConfigurationError where one key would go to several hosts."""
    hosts: dict[str, int] = {}
    for job in jobs:
        url = key_address(job)
        if url is not None:
            hosts.setdefault(host_of(url), job.id)
    if len(hosts) > 1:
        named = " and ".join(f"{host} (job {job})" for host, job in hosts.items())
        raise ConfigurationError(
            f"The key of --key would go to {named}. Nothing was sent. A key is for one host: "
            "name the job that it is for."
        )


def own_address() -> str:
    """Where OpenAI's own client would go: the address of the environment, or OpenAI."""
    return (os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")


def own_origins() -> set[tuple[str, str]]:
    """Whom the person named, not a file: OpenAI, and the addresses of the environment."""
    return {origin(OPENAI_URL), origin(own_address()), origin(os.environ.get(ENDPOINT) or "")}


def stored_key(name: str) -> str | None:
    """The key of that name kept by `llm keys set`, or None."""
    import click

    folder = os.environ.get("LLM_USER_PATH") or click.get_app_dir("io.datasette.llm")
    file = Path(folder) / "keys.json"
    if not file.is_file():
        return None
    try:
        keys = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"llm's file of keys can't be read: {error}") from error
    found = keys.get(name) if isinstance(keys, dict) else None
    return str(found) if found else None


def check_account(conn: sqlite3.Connection, provider: Provider, job: store.Job) -> None:
    """See that a job goes on with the account that it began with.

    A key may be rotated: where it isn't the one that the job began with, one read of the job's
    newest batch decides. Readable: the same account, recorded. Else, or where there is no batch
    yet: raises Unreadable.
    """
    if job.account is None or provider.account in (None, job.account):
        return
    newest = max(
        (part for part in store.list_parts(conn, job.id) if part.batch_id),
        key=lambda part: part.submitted_at or "",
        default=None,
    )
    if newest is not None and newest.batch_id is not None:
        try:
            provider.retrieve(newest.batch_id)
        except NotFound:
            pass
        else:
            store.update_job(conn, job.id, account=provider.account)
            store.log(conn, "key changed", job_id=job.id, account=provider.account)
            return
    batches = "and its batches can't be read with this one" if newest else "not with this one"
    raise Unreadable(
        f"This job began with another key for {provider.host}, {batches}. Give that key with "
        "--key, or send the rest from this key's account with submit --accept-account."
    )
