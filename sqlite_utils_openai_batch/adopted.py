"""A batch that this database didn't send as it stands: what it asked may not be what rows hold.

After a restored backup, in a copy, or where a part was rendered anew and an older batch turned up,
the rows may have been others when the batch was made. Its requests are compared with what they
would be now; where they differ, the answer is to something else, and isn't written (`stale`).
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from . import store
from .database import transaction
from .errors import NotFound, SourceError, TemplateError
from .jsonl import iter_lines
from .lines import own_id

if TYPE_CHECKING:
    from .api import BatchState, Provider
    from .part_file import RenderedPart
    from .send import Sender

#: The hash of a row that was asked about as it isn't now: that of no values.
OTHERWISE = bytes(16)


def compare(sender: Sender, part: store.Part, state: BatchState) -> None:
    """Bring the hashes of a part's rows up to what a batch asks, before it becomes the part's."""
    sha256 = state.metadata.get("sha256")
    if not sha256 or (part.sha256 and part.sha256.hex() == sha256):
        return
    with tempfile.TemporaryDirectory(prefix="openai-batch-") as folder:
        try:
            here = sender.render(part, Path(folder))
        except (SourceError, TemplateError) as error:
            # Without its rows nothing is written; the answers are taken in all the same.
            store.log(
                sender.conn, "not compared", job_id=part.job_id, part_id=part.id, why=str(error)
            )
            return
        hashes = here.hashes
        if here.sha256.hex() != sha256:
            prefix = f"{sender.job.uid}-"
            asked = asked_by(sender.provider, state, Path(folder) / "asked.jsonl", prefix)
            hashes = differing(here, requests_in(here.path, prefix), asked)
    with transaction(sender.conn):
        store.set_hashes(sender.conn, hashes)
        rows = sum(digest == OTHERWISE for digest, _ in hashes)
        if rows:
            store.log(
                sender.conn, "asked otherwise", job_id=part.job_id, part_id=part.id, rows=rows
            )


def asked_by(
    provider: Provider, state: BatchState, path: Path, prefix: str
) -> dict[int, bytes] | None:
    """What a batch asks, as `requests_in`; None where its file isn't there any more."""
    try:
        provider.download(str(state.input_file_id), path)
        return requests_in(path, prefix)
    except (NotFound, ValueError, KeyError, TypeError):
        # It is gone, or what came is no file of requests.
        return None


def requests_in(path: Path, prefix: str) -> dict[int, bytes]:
    """A hash of the body of each request in a file, however it is written, by request id."""
    found: dict[int, bytes] = {}
    with path.open("rb") as file:
        for _, lines in iter_lines(file):
            for line in lines:
                read = orjson.loads(line)
                request_id = own_id(prefix, read["custom_id"])
                if request_id is not None:
                    body = orjson.dumps(read["body"], option=orjson.OPT_SORT_KEYS)
                    found[request_id] = hashlib.sha256(body).digest()[:16]
    return found


def differing(
    here: RenderedPart, ours: dict[int, bytes], asked: dict[int, bytes] | None
) -> list[tuple[bytes, int]]:
    """The hashes of rows that are to be changed: (hash, request id).

    Where nobody knows what was asked, it may have been anything.
    """
    other = {
        one
        for one in here.requests
        if asked is None or asked.get(one, ours.get(one)) != ours.get(one)
    }
    same = [(digest, one) for digest, one in here.hashes if one not in other]
    return [*same, *((OTHERWISE, one) for one in sorted(other))]
