"""Where a job is to run, and who answers there: a server elsewhere, or one in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import store
from ..base.errors import ConfigurationError, Transient, Unreachable, UsageError
from ..base.text import listed, meant, nearest_first
from .accounts import (
    LOCAL,
    Destination,
    check_key,
    destination,
    fingerprint,
    refuse_password,
    stored_key,
)
from .azure import is_azure
from .client import OPENAI_URL, Provider, why_unreachable
from .errors import host_of

if TYPE_CHECKING:
    from ..local import Answerer, LocalServer
    from ..store import Job


#: Hears of a download: bytes that are here, and all bytes where that is known.
Told = Callable[[int, "int | None"], None]


@dataclass
class Places:
    """The providers and local servers that one command uses; `close` ends them all.

    `key` is what `--key` gave. A local server keeps its files under `local_folder(uid)`, so that
    another process, later, goes on with the same batches.
    """

    key: str | None = field(default=None, repr=False)
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
            return self.local(job.uid, job.base_url, job.settings, typed=False)
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

    def local(
        self, uid: str, upstream: str | None, settings: dict[str, Any], *, typed: bool = True
    ) -> Provider:
        """A client for the local batch server of one job, started now unless it runs already.

        `typed` tells whether a person has just said where it is to run, or its job says so.
        """
        if uid not in self.providers:
            base_url, key = self.start(uid, upstream, settings, typed=typed)
            self.providers[uid] = Provider(base_url, key)
        return self.providers[uid]

    def upstream_key(self) -> str | None:
        """The key for an upstream server: what `--key` gave or named, and no other."""
        return stored_key(self.key) or self.key if self.key else None

    def start(
        self, uid: str, upstream: str | None, settings: dict[str, Any], *, typed: bool
    ) -> tuple[str, str]:
        """Start the local batch server over a job's folder. Returns its base URL and a key."""
        from ..local import LocalServer, StateInUse

        folder = local_folder(uid)
        check_same(folder, settings, typed=typed)
        server = LocalServer(folder, answerer=self.answerer(upstream, settings))
        try:
            server.start()
        except StateInUse as running:
            # Another process of the same job has it: its server serves us too.
            if running.base_url is None or running.key is None:
                raise
            return running.base_url, running.key
        self.servers[uid] = server
        return server.base_url, server.key

    def answerer(self, upstream: str | None, settings: dict[str, Any]) -> Answerer:
        """Who answers on a local batch server."""
        from ..local import ModelAnswerer, UpstreamAnswerer, cluster

        urls = [upstream, *settings.get("upstreams", ())] if upstream else []
        key, most = self.upstream_key(), settings.get("concurrency", 4)
        if address := settings.get("ray"):
            return cluster.answerer(
                address,
                urls=urls,
                key=key,
                concurrency=most,
                engine=settings.get("engine"),
                model=settings.get("engine_model"),
                workers=settings.get("ray_workers"),
                tensor_parallel=settings.get("tensor_parallel", 1),
            )
        return UpstreamAnswerer(urls, key=key, concurrency=most) if urls else ModelAnswerer()


#: What is remembered on the machine where a person typed it: a database may be somebody else's,
#: and must not decide which cluster this program trusts, or who else is sent a key.
OF_THE_MACHINE = (
    "upstreams", "ray", "ray_workers", "engine", "engine_model", "tensor_parallel",
)  # fmt: skip
SAID_HERE = "place.json"


def check_same(folder: Path, settings: dict[str, Any], *, typed: bool) -> None:
    """Keep where a job is to run beside its files, and later see that it still says the same.

    Raises ConfigurationError where a job names servers or a cluster that nobody typed here.
    """
    wanted = {name: settings[name] for name in OF_THE_MACHINE if settings.get(name)}
    if not wanted:
        return
    file = folder / SAID_HERE
    said = json.dumps(wanted, sort_keys=True)
    if typed:
        file.write_text(said)
    elif not file.exists() or file.read_text() != said:
        where = f"the Ray cluster at {wanted['ray']}" if "ray" in wanted else "several servers"
        raise ConfigurationError(
            f"This job is to run on {where}, as its database says, and nobody typed that on this "
            "machine. Nothing was sent. Go on where it was begun, or ask anew here with 'run'."
        )


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
        raise ConfigurationError(f"No folder is named by '{uid}': that is not a uid of a job.")
    return platformdirs.user_data_path("sqlite-utils-openai-batch") / "local" / uid


@dataclass(frozen=True)
class Place:
    """Where somebody wants a job to run."""

    provider: str
    base_url: str | None
    account: str
    host: str
    key_from: str
    default_model: str
    settings: dict[str, Any]
    lacks: str = ""
    """What is missing before anything can be sent there: a sentence."""


def read_place(options: dict[str, Any]) -> Place:
    """Take the options under 'Where it runs' out of `options`. Raises OpenAIBatchError."""
    base_url, upstream = options.pop("base_url"), options.pop("upstream")
    provider = options.pop("provider")
    local, concurrency = options.pop("local"), options.pop("concurrency")
    cluster = read_cluster(options)
    key = options.get("key")
    if base_url and (local or upstream or cluster):
        raise UsageError(
            "--base-url is a server with batches, --local, --upstream and --ray make one: "
            "give only one of them."
        )
    if local or upstream or cluster:
        if provider != "openai":
            raise UsageError(f"--provider {provider} and a server on this machine: give only one.")
        urls = upstream.split() if upstream else []
        for url in urls:
            refuse_password(url, "--upstream")
        if urls and not options.get("model"):
            raise UsageError(f"Which model of {upstream} is to answer? Name it with -m.")
        settings = {**cluster, **({"concurrency": concurrency} if concurrency else {})}
        if cluster.get("engine"):
            if urls:
                raise UsageError("--engine and --upstream: give only one.")
            settings["engine_model"] = options.get("model")
        if urls[1:]:
            settings["upstreams"] = urls[1:]
        host = place_words(urls, cluster)
        model = "" if urls or cluster.get("engine") else "SmolLM2-135M-Instruct"
        first = urls[0] if urls else None
        account = fingerprint(first, stored_key(key) or key) if first and key else "local"
        return Place(LOCAL, first, account, host, "no key", model, settings)
    if concurrency:
        raise UsageError("--concurrency is for --upstream only.")
    check_provider(provider, base_url)
    where = destination(base_url, key, provider)
    return Place(provider, where.base_url, where.account, where.host, where.key_from, "", {})


def read_cluster(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of a cluster out of `options`. Raises UsageError."""
    ray, engine = options.pop("ray", None), options.pop("engine", None)
    workers, gpus = options.pop("ray_workers", None), options.pop("tensor_parallel", None)
    if not ray and (engine or workers):
        raise UsageError(f"--{'engine' if engine else 'ray-workers'} is for --ray only.")
    if gpus and not engine:
        raise UsageError("--tensor-parallel is for --engine only.")
    if engine and not options.get("model"):
        raise UsageError(f"Which model is {engine} to load? Name it with -m.")
    given = {"ray": ray, "engine": engine, "ray_workers": workers, "tensor_parallel": gpus}
    return {name: value for name, value in given.items() if value}


def place_words(urls: list[str], cluster: dict[str, Any]) -> str:
    """Where rows go, in words: `http://gpu:8000/v1, through the Ray cluster at auto`."""
    ray = cluster.get("ray")
    where = "this machine"
    if ray:
        where = "a Ray on this machine" if ray == "local" else f"the Ray cluster at {ray}"
    return f"{', '.join(urls)}, through {where}" if urls else where


def check_provider(provider: str, base_url: str | None) -> None:
    """Raise UsageError where the address is another provider's than the one that is named."""
    given, option = base_url or os.environ.get("OPENAI_BASE_URL") or "", "--base-url"
    if not base_url:
        option = "OPENAI_BASE_URL"
    if not given:
        return
    refuse_password(given, option)
    if provider == "openai" and is_azure(given):
        raise UsageError(
            f"{option} {given} is an address of Azure's, whose keys and limits differ from "
            "OpenAI's. Type the same with --provider azure."
        )
    if provider == "azure" and base_url and host_of(base_url) == "api.openai.com":
        raise UsageError(
            f"--base-url {base_url} is OpenAI's address, and --provider azure isn't OpenAI. Leave "
            "one of them out."
        )


def look_at_place(
    place: Place, places: Places, uid: str, told: Told | None = None
) -> tuple[bool, list[str]]:
    """`check_place` for what sends nothing: where nobody answers, that is to be warned of.

    Returns whether somebody does, and what to warn of.
    """
    if not place.account or (place.provider == LOCAL and place.base_url is None):
        # A key and the weights of the small model are wanted when there is something to send.
        return False, []
    try:
        return True, check_place(place, places, uid, told)
    except (Unreachable, Transient) as error:
        return False, [f"{error} Nothing was sent, so it may be right by the time you send."]


def check_place(place: Place, places: Places, uid: str, told: Told | None = None) -> list[str]:
    """See that somebody answers there, before anything is written. Raises OpenAIBatchError.

    Returns what to warn of. `told` hears how much of the small model's weights is here, where they
    must be fetched first.
    """
    if place.provider == LOCAL:
        from ..local import ensure_weights, upstream_models, weights_path

        if place.settings.get("engine"):
            pass  # its machines have the model
        elif place.base_url is None:
            if told and not weights_path().exists():
                told(0, None)
            ensure_weights(told)
        else:
            urls = [place.base_url, *place.settings.get("upstreams", ())]
            upstream_models(urls, places.upstream_key())
        places.local(uid, place.base_url, place.settings).check()
        return []
    provider = places.remote(destination(place.base_url, places.key, place.provider))
    provider.check()
    if provider.lists:
        return []
    return [
        f"{place.host} has no list of batches. Where the reply to a batch is lost, sending stops "
        "and asks you whether to risk that batch twice; and nobody notices if a copy of this "
        "database sends the job too."
    ]


def place_without_key(options: dict[str, Any]) -> Place:
    """The place, also where no key is known yet: `preview` needs none."""
    asked = dict(options)
    try:
        return read_place(options)
    except ConfigurationError as error:
        options.pop("key", None)
        provider = asked["provider"]
        host = "Azure" if provider == "azure" else "api.openai.com"
        lacks = str(error) if provider == "azure" else ""
        return Place(provider, asked.get("base_url"), "", host, "no key yet", "", {}, lacks)


def unreachable(place: Place) -> list[str]:
    """What to warn of where nobody can be reached at the place, or it isn't known where that is."""
    if place.lacks:
        return [place.lacks]
    if not place.account or (place.provider == "local" and place.base_url is None):
        return []
    why = why_unreachable(place.base_url or OPENAI_URL)
    return [] if why is None else [why]


def open_place(place: Place, places: Places, uid: str) -> Provider:
    """The provider that `check_place` found in order."""
    if place.provider == LOCAL:
        return places.local(uid, place.base_url, place.settings)
    return places.remote(destination(place.base_url, places.key, place.provider))


def check_model(place: Place, places: Places, model: str) -> list[str]:
    """See whether the server knows the model, where it has a list (`GET /v1/models`).

    Raises UsageError where OpenAI itself doesn't: nothing could be answered. Elsewhere a list need
    not be whole, so that is a warning, which is returned.
    """
    if place.provider != "openai" or "{{" in model:
        return []
    provider = places.remote(destination(place.base_url, places.key, place.provider))
    return models_without(provider, place.host, model, "-m")


def models_without(provider: Provider, host: str, model: str, option: str) -> list[str]:
    """A warning where a server doesn't list a model, which was named by an option.

    Raises UsageError where the server is OpenAI's.
    """
    known = provider.models()
    if not known or model in known:
        return []
    if provider.is_openai:
        said = f"{host} has no model '{model}'. {meant(model, known)}"
        raise UsageError(f"{said}Name one with {option}.")
    near = listed(nearest_first(model, known)[:5])
    return [f"{host} doesn't list a model '{model}'. It lists: {near}."]
