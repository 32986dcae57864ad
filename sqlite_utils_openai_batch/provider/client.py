"""The provider: upload, create, find, poll, cancel, stream down.

Wraps the `openai` client for OpenAI and every server of the same API. The client repeats reads
by itself, with backoff, honouring Retry-After; both POSTs are never repeated by it, because it
sends no idempotency key and a repeated POST /batches is a second, paid batch.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ..base import clock
from ..base.errors import (
    CutShort,
    Garbled,
    NeedsAttention,
    NoBatchAPI,
    NoList,
    NotFound,
    ProviderError,
    SentOn,
    Transient,
    Unreachable,
)
from ..store.records import is_id
from .azure import Azure
from .batch import (
    BatchState,
    StoredFile,
    UploadedFile,
    normalised,
    read_batch,
    read_file,
    whole_number,
)
from .errors import SENT_ON, explained, has_no_such_call, host_of, no_batch_api, unreachable

if TYPE_CHECKING:
    import ssl

    import httpx2
    import openai


# The `openai` client for one server: how long it waits, and what it sends along.

#: Seconds for a connection to be made, and for a file of 200 MB to be taken in: no word comes
#: before that. Where the network has gone silent, a pass ends by these.
CONNECT_SECONDS, UPLOAD_SECONDS = 10.0, 600.0


def make_client(
    base_url: str,
    key: str,
    is_openai: bool,
    azure: Azure | None,
    *,
    max_retries: int,
    timeout: float,
) -> openai.OpenAI:
    """A client; it reads nothing of the environment for a server that isn't OpenAI."""
    import openai

    options: dict[str, Any] = {
        "base_url": base_url,
        "max_retries": max_retries,
        "timeout": patience(timeout),
        "default_headers": None if is_openai else own_headers(key),
        "http_client": openai.DefaultHttpxClient(
            verify=authorities(), timeout=patience(timeout), event_hooks={"response": [stay]}
        ),
    }
    if azure is not None and azure.version is not None:
        credential = {"azure_ad_token": key} if azure.token else {"api_key": key}
        options |= {"api_version": azure.version, **credential}
        return openai.AzureOpenAI(**options)
    return openai.OpenAI(api_key=key, **options)


@cache
def authorities() -> ssl.SSLContext:
    """The authorities whose certificates are trusted: read once, for it takes 50 ms a client."""
    import httpx2

    return httpx2.create_ssl_context()


def stay(response: httpx2.Response) -> None:
    """Have a redirect to another origin be no redirect: rows and keys go where a person said.

    What a file holds may lie with a storage of its own, which is asked without the key.
    """
    import httpx2

    if not response.has_redirect_location:
        return
    request = response.request
    try:
        to = request.url.join(response.headers["location"])
    except httpx2.InvalidURL:
        to = httpx2.URL("")
    if origin_of(to) == origin_of(request.url):
        return
    if request.method == "GET" and request.url.path.endswith("/content"):
        request.headers.pop("api-key", None)
        return
    del response.headers["location"]
    response.extensions[SENT_ON] = str(to.copy_with(query=None, userinfo=b"")) or "nowhere"


def origin_of(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address."""
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.host, port


def patience(seconds: float) -> Any:
    """How long the client waits: for each piece that goes out or comes in, and to connect."""
    import httpx2

    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def own_headers(key: str) -> dict[str, Any]:
    """Headers for a server that isn't OpenAI: they keep out what the client takes from the
    environment, which is meant for OpenAI (organisation, project, OPENAI_CUSTOM_HEADERS).
    """
    import openai

    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    names = [line.partition(":")[0].strip() for line in lines if ":" in line]
    kept_out = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project", *names), openai.Omit())
    asked_for = {name: f"Bearer {key}" for name in names if name.lower() == "authorization"}
    return kept_out | asked_for


# Lists of a server, a page at a time, whatever it makes of paging.


def pages(base_url: str, call: Callable[..., Any], **options: Any) -> Iterator[list[Any]]:
    """The pages of a list, none of them empty.

    Stops by itself where a server ignores `after` and sends the same page for ever.
    """
    seen: set[str] = set()
    while True:
        with explained(base_url):
            page = call(**options)
            fresh = [one for one in page.data or [] if one.id not in seen]
        if fresh:
            yield fresh
        seen.update(one.id for one in fresh)
        if not fresh or page.has_more is False:
            return
        options["after"] = fresh[-1].id


def ends_before(unix: float, times: Sequence[float]) -> bool:
    """Whether a page of a list is newest first and ends before that time; 0 is a time not told."""
    in_order = all(one >= other for one, other in pairwise(times))
    return in_order and 0 < times[-1] < unix


# Files on their way: those that go out tell that they do, and those that come where they end.

Alive = Callable[[], None]
#: Hears of a download that was cut: how many bytes came, and of how many where that is known.
Cut = Callable[[int, "int | None"], None]


def idle() -> None:
    """Do nothing."""


def unheard(came: int, whole: int | None) -> None:
    """Pass over a download that was cut."""


def ends_well(path: Path) -> bool:
    """Whether a file of JSON lines ends with a line end, or with a whole line."""
    with path.open("rb") as file:
        tail = b""
        while chunk := file.read(1 << 20):
            _, end, rest = chunk.rpartition(b"\n")
            tail = rest if end else tail + chunk
    try:
        return not tail.strip() or bool(orjson.loads(tail))
    except ValueError:
        return False


def whole_lines(path: Path) -> int:
    """How many whole lines a file of JSON lines has."""
    with path.open("rb") as file:
        ends, last = 0, b"\n"
        while chunk := file.read(1 << 20):
            ends, last = ends + chunk.count(b"\n"), chunk[-1:]
    return ends + (last != b"\n" and ends_well(path))


class Watched(io.FileIO):
    """A file that tells whenever it is read from."""

    def __init__(self, path: Path, alive: Alive) -> None:
        super().__init__(path)
        self.alive = alive

    def read(self, size: int | None = -1, /) -> bytes:
        """Read the next bytes: more of them than the client asks for, which is 64 KB."""
        self.alive()
        if size is not None and size >= 0:
            size = max(size, PIECE)
        return super().read(size) or b""


__all__ = ["OPENAI_URL", "BatchState", "Provider", "UploadedFile", "host_of", "normalised"]

OPENAI_URL = "https://api.openai.com/v1"
DOWNLOAD_TRIES = 4
CHUNK = 1 << 18
#: Bytes of a file that go out at once.
PIECE = 1 << 20
#: States of a file that no batch can be made over yet; OpenAI has none of them.
NOT_YET = ("pending", "running")
#: Seconds until such a file is looked at again, and given up for this pass.
LOOK_AGAIN, USABLE_AFTER = 0.5, 600.0
#: Seconds that a server has to answer where it is only to be seen whether it is there.
LOOK_SECONDS = 3.0


def why_unreachable(base_url: str) -> str | None:
    """Why no server can be reached at an address; None where one answers, whatever it says."""
    import httpx2

    try:
        httpx2.head(base_url, timeout=LOOK_SECONDS, verify=authorities())
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return unreachable(base_url, error)
    return None


class Provider:
    """Where batches go. One client, closed by `close` or at the end of a `with`."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        account: str | None = None,
        azure: Azure | None = None,
        max_retries: int = 3,
        timeout: float = 120,
    ):
        """`base_url` ends where `/files` and `/batches` begin; `timeout` in seconds.

        `account` tells whose key it is, without giving it away; `azure` what Azure needs beside.
        """
        self.account = account
        self.lists = True
        self.base_url = base_url.rstrip("/")
        self._client = make_client(
            self.base_url, key, self.is_openai, azure, max_retries=max_retries, timeout=timeout
        )
        self._once = self._client.with_options(max_retries=0)

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI itself."""
        return self.host == "api.openai.com"

    @property
    def host(self) -> str:
        """Host, and port where one is given."""
        return host_of(self.base_url)

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def check(self) -> None:
        """One cheap read of the Batches API, before anything is written or sent.

        Raises Unreachable, NoBatchAPI or NeedsAttention. `lists` is False afterwards where the
        server has batches and no list of them.
        """
        try:
            with explained(self.base_url):
                page = self._client.with_options(max_retries=1, timeout=30).batches.list(limit=1)
        except ProviderError as error:
            if has_no_such_call(error) and self._makes_batches():
                self.lists = False
                return
            if has_no_such_call(error) or isinstance(error, Garbled):
                raise NoBatchAPI(no_batch_api(self.base_url)) from error
            raise
        if not isinstance(page.data, list):
            raise NoBatchAPI(no_batch_api(self.base_url))

    def _makes_batches(self) -> bool:
        """Whether a server refuses a batch of nothing, rather than to have heard of batches."""
        try:
            with explained(self.base_url):
                self._once.post("/batches", body={}, cast_to=object)
        except NeedsAttention:
            raise
        except ProviderError as error:
            return getattr(error.__cause__, "status_code", None) in (400, 422)
        return False

    def models(self) -> list[str]:
        """Names of the models that the server lists; none where it lists none."""
        try:
            with explained(self.base_url):
                page = self._client.with_options(max_retries=1, timeout=30).models.list()
                return [model.id for model in page.data or []]
        except ProviderError:
            # A server of this API need not have a list: then nothing can be told by it.
            return []

    def ask(self, endpoint: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """One request now, without a batch: the HTTP status and the body, as they came.

        `endpoint` begins with `/v1`, as in a batch. Raises Unreachable, or NeedsAttention where
        the next request would fare no better.
        """
        import httpx2
        import openai

        try:
            with explained(self.base_url):
                reply = self._client.post(
                    endpoint.removeprefix("/v1"), body=body, cast_to=httpx2.Response
                )
        except (NeedsAttention, SentOn):
            raise
        except ProviderError as error:
            refused = error.__cause__
            if not isinstance(refused, openai.APIStatusError):
                raise
            return refused.status_code, refused.response.content
        return reply.status_code, reply.content

    def upload(self, path: Path, name: str, alive: Alive = idle) -> str:
        """Upload a part's file under `name`. Returns the file id. Never repeated.

        `alive` is called with each piece that goes out.
        """
        try:
            with explained(self.base_url), Watched(path, alive) as file:
                made = self._once.files.create(
                    file=(name, file, "application/jsonl"),
                    purpose="batch",
                    timeout=patience(UPLOAD_SECONDS),
                )
                if not made.id or not is_id(str(made.id)):
                    raise ValueError("a file without an id")
            self._wait_for(made, alive)
            return made.id
        except NotFound as error:
            raise NoBatchAPI(no_batch_api(self.base_url)) from error

    def _wait_for(self, made: Any, alive: Alive) -> None:
        """Wait until an uploaded file can be used: Azure's older versions look it through first.

        Raises Transient where that takes too long.
        """
        began = time.monotonic()
        while made.status in NOT_YET:
            if time.monotonic() - began > USABLE_AFTER:
                raise Transient(f"{self.host} is still looking through the file {made.id}.")
            alive()
            time.sleep(LOOK_AGAIN)
            with explained(self.base_url):
                made = self._client.files.retrieve(made.id)

    def create(self, file_id: str, endpoint: str, metadata: dict[str, str]) -> BatchState:
        """Create a batch over an uploaded file. Never repeated."""
        with explained(self.base_url):
            made = self._once.batches.create(
                input_file_id=file_id,
                endpoint=endpoint,  # type: ignore[arg-type]
                completion_window="24h",
                metadata=metadata,
            )
            return read_batch(made)

    def retrieve(self, batch_id: str) -> BatchState:
        """A batch as it is now. Raises NotFound."""
        with explained(self.base_url):
            return read_batch(self._client.batches.retrieve(batch_id))

    def list_since(self, unix: float) -> Iterator[BatchState]:
        """Batches made since then (seconds since 1970), and those that don't say. Raises NoList.

        They come as the server lists them: OpenAI's newest first, not every other's.
        """
        try:
            for page in pages(self.base_url, self._client.batches.list, limit=100):
                with explained(self.base_url):
                    states = [read_batch(batch) for batch in page]
                yield from (state for state in states if not 0 < state.created_at < unix)
                if ends_before(unix, [state.created_at for state in states]):
                    return
        except ProviderError as error:
            if has_no_such_call(error):
                raise NoList(f"{self.host} has no list of batches") from error
            raise

    def file_size(self, file_id: str) -> int | None:
        """Bytes of an uploaded file; None where it isn't there, or can't be looked at."""
        try:
            with explained(self.base_url):
                return whole_number(self._client.files.retrieve(file_id).bytes)
        except ProviderError as error:
            if has_no_such_call(error):
                return None
            raise

    def files_named(self, prefix: str, unix: float) -> list[UploadedFile]:
        """Files whose names begin so, back to then (seconds since 1970), as the server lists them.

        None where the server has no list of files.
        """
        found = []
        try:
            for page in pages(self.base_url, self._client.files.list, purpose="batch"):
                found += [
                    UploadedFile(file.id, str(file.filename), file.bytes)
                    for file in page
                    if str(file.filename).startswith(prefix)
                ]
                if ends_before(unix, [clock.unix_of(file.created_at) or 0 for file in page]):
                    break
        except ProviderError as error:
            if not has_no_such_call(error):
                raise
        return found

    def files(self) -> Iterator[StoredFile]:
        """The files that batches were made of, and those that they made, as the server lists them.

        Raises NoList where it has no list of files.
        """
        try:
            for purpose in ("batch", "batch_output"):
                for page in pages(self.base_url, self._client.files.list, purpose=purpose):
                    with explained(self.base_url):
                        found = [read_file(file) for file in page]
                    # Not every server minds the purpose that it was asked for.
                    yield from (file for file in found if file.purpose in ("", purpose))
        except ProviderError as error:
            if has_no_such_call(error):
                raise NoList(f"{self.host} has no list of files") from error
            raise

    def cancel(self, batch_id: str) -> BatchState | None:
        """Ask the provider to stop a batch. None where it had ended already."""
        import openai

        try:
            with explained(self.base_url):
                return read_batch(self._once.batches.cancel(batch_id))
        except ProviderError as error:
            if isinstance(error.__cause__, openai.ConflictError):
                return None
            raise

    def download(
        self, file_id: str, path: Path, alive: Alive = idle, lines: int = 0, cut: Cut = unheard
    ) -> bool:
        """Stream a file to `path`, again from the start where only some of it came.

        What came is compared with the file's own size: its transport may have ended early, and say
        that this is the whole. `alive` is called with each piece that comes, `cut` whenever the
        file came short. A server that tells a wrong size is believed no more than the file: `lines`
        is how many it has at least. Returns whether the provider knows its size. Raises NotFound,
        or CutShort where it was cut every time.
        """
        import httpx2
        import openai

        size = None
        for attempt in range(1, DOWNLOAD_TRIES + 1):
            path.unlink(missing_ok=True)
            try:
                with (
                    explained(self.base_url),
                    self._client.files.with_streaming_response.content(file_id) as response,
                    path.open("wb") as file,
                ):
                    for chunk in response.iter_bytes(CHUNK):
                        file.write(chunk)
                        alive()
                size = self._told_size(file_id)
                if not size or path.stat().st_size >= size:
                    return bool(size)
                if lines and whole_lines(path) >= lines and ends_well(path):
                    return True
                raise Unreachable(f"{self.host} sent only some of {file_id}.")
            # The client lets a cut stream through as its transport's own error.
            except (httpx2.HTTPError, Unreachable, openai.APIConnectionError) as error:
                came = path.stat().st_size if path.exists() else 0
                cut(came, size)
                if attempt == DOWNLOAD_TRIES:
                    some = f" ({came:,} of {size:,} bytes came)" if size else ""
                    raise CutShort(
                        f"The download of {file_id} from {self.host} was cut {attempt} times"
                        f"{some}. Nothing is lost: sync again later.",
                        came,
                        size,
                    ) from error
        raise AssertionError("the last try returns or raises")

    def _told_size(self, file_id: str) -> int | None:
        """Bytes of a file at the provider; None where it doesn't tell."""
        try:
            return self.file_size(file_id)
        except (Transient, Unreachable):
            raise
        except ProviderError:
            # Not every server lets its result files be looked at: then nothing is known.
            return None

    def delete_file(self, file_id: str) -> None:
        """Delete a file at the provider."""
        with explained(self.base_url):
            self._client.files.delete(file_id)
