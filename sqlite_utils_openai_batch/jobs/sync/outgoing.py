"""What a pass sends: sort out what was cut, look, send what fits, wait where the queue is full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import xxhash

from ... import store
from ...answers.jsonl import iter_lines
from ...answers.reader import own_id
from ...base import clock, waits
from ...base.errors import (
    DatabaseError,
    NeedsAttention,
    NoList,
    NotFound,
    ProviderError,
    QueueFull,
    SourceError,
    TemplateError,
    TooLarge,
    Transient,
    Unreachable,
)
from ...base.json import kept_json
from ...base.scratch import scratch
from ...base.statuses import ENDED
from ...base.text import counted, listed
from ...store.connection import transaction
from .. import first_part, queue
from .lookup import look

if TYPE_CHECKING:
    from ...provider.batch import BatchState
    from ...provider.client import Provider
    from .context import Pass
    from .send import RenderedPart, Sender


# A batch that this database didn't send as it stands: what it asked may not be what rows hold.
#
# After a restored backup, in a copy, or where a part was rendered anew and an older batch turned
# up, the rows may have been others when the batch was made. Its requests are compared with what
# they would be now; where they differ, the answer is to something else, and isn't written
# (`stale`).

#: The hash of a row that was asked about as it isn't now: that of no values.
OTHERWISE = bytes(16)


def compare(sender: Sender, part: store.Part, state: BatchState) -> None:
    """Bring the hashes of a part's rows up to what a batch asks, before it becomes the part's."""
    fingerprint = state.metadata.get("fingerprint")
    if not fingerprint or (part.fingerprint and part.fingerprint.hex() == fingerprint):
        return
    with scratch() as folder:
        try:
            here = sender.render(part, folder)
        except (SourceError, TemplateError) as error:
            # Without its rows nothing is written; the answers are taken in all the same.
            store.log(
                sender.conn, "not compared", job_id=part.job_id, part_id=part.id, why=str(error)
            )
            return
        hashes = here.hashes
        if here.fingerprint.hex() != fingerprint:
            prefix = f"{sender.job.uid}-"
            asked = asked_by(sender.provider, state, folder / "asked.jsonl", prefix)
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
        # It is gone, or what came is not a file of requests.
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
                    found[request_id] = xxhash.xxh3_128_digest(body)
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


#: A part that takes less of the queue than this is refused because of others.
NEAR = 0.25


def known(pass_: Pass, part: store.Part) -> list[BatchState]:
    """Batches that the provider has for a part: listed once, before the first send."""
    # Taken out: what a batch was when it was listed says nothing later in the pass.
    states = listing(pass_).pop(part.number, [])
    # It may have ended since: one that failed its validation ran nothing, and runs nothing now.
    ended = store.ended_batches(pass_.conn, pass_.job.id) if states else set()
    return [state for state in states if state.id not in ended]


def listing(pass_: Pass) -> dict[int, list[BatchState]]:
    """Batches that the provider lists for this job, by part number."""
    if pass_.found is None:
        try:
            pass_.found = look(pass_.conn, pass_.provider, pass_.job)
        except NoList:
            pass_.found, pass_.blind = {}, True
    return pass_.found


def adopt_known(pass_: Pass, part: store.Part) -> bool:
    """Take on a batch that the provider has for this part; of two the older.

    The younger is cancelled, and what it answers all the same is collected too.
    """
    states = known(pass_, part)
    if not states:
        return False
    adopt(pass_, part, states[0], "found")
    for surplus in states[1:]:
        stop_surplus(pass_, store.get_part(pass_.conn, part.id), surplus)
    return True


def adopt(pass_: Pass, part: store.Part, state: BatchState, event: str) -> None:
    """Have a part go by a batch that was found, whoever made it."""
    compare(pass_.sender, part, state)
    pass_.sender.adopt(part, state, event)


def stop_surplus(pass_: Pass, part: store.Part, surplus: BatchState) -> None:
    """Record a batch beside its part's own, to be collected, and have it cancelled."""
    with transaction(pass_.conn):
        pass_.sender.record(part, surplus)
        store.log(pass_.conn, "surplus", job_id=pass_.job.id, part_id=part.id, batch=surplus.id)
    if not surplus.ended:
        pass_.provider.cancel(surplus.id)


def find_surplus(pass_: Pass) -> None:
    """Keep one of two batches that were made for one part, and stop the other.

    One came to be listed only after its part had been sent again, or a copy of this database sent
    the same at the same time: so the list is asked for once more after something was sent.
    """
    if pass_.sent:
        pass_.found = None
    elif pass_.found is None and not store.sent_again(pass_.conn, pass_.job.id):
        return
    left = listing(pass_)
    for part in store.list_parts(pass_.conn, pass_.job.id):
        for state in left.get(part.number, []) if part.batch_id else ():
            if store.is_recorded(pass_.conn, state.id):
                # Nearly always: a lease that isn't needed is written to the disk twice.
                continue
            with store.leased(pass_.conn, part) as mine:
                if mine and not store.is_recorded(pass_.conn, state.id):
                    keep_one(pass_, store.get_part(pass_.conn, part.id), state)


def keep_one(pass_: Pass, part: store.Part, other: BatchState) -> None:
    """Stop the younger of two batches: whoever else has the part comes to the same."""
    own = part.batch_id
    if own is None or part.status in ENDED or not is_older(other, part):
        stop_surplus(pass_, part, other)
        return
    adopt(pass_, part, other, "older found")
    if store.get_part(pass_.conn, part.id).batch_id == other.id:
        pass_.provider.cancel(own)


def adopt_other(pass_: Pass, part: store.Part) -> bool:
    """Go by another batch of a part where its own was stopped by somebody else.

    A copy of this database stops the younger of two batches, and this one may have made it.
    """
    if pass_.job.status == "cancelling":
        return False
    for state in listing(pass_).get(part.number, []):
        stopped = state.status in ("cancelling", "cancelled")
        if not stopped and not store.is_recorded(pass_.conn, state.id):
            adopt(pass_, part, state, "found")
            return True
    return False


def is_older(other: BatchState, part: store.Part) -> bool:
    """Whether a batch was made before the one that its part goes by; ids decide a tie."""
    own = (part.submitted_at or "", str(part.batch_id))
    return (clock.from_unix(other.created_at) or own[0], other.id) < own


def adopt_restored(pass_: Pass, part: store.Part) -> None:
    """Where a part looks unsent, or half sent, its batch may be there, and be paid for."""
    adopt_known(pass_, part)


def reconcile(pass_: Pass, part: store.Part) -> None:
    """A send was cut: find out how far it got before anything goes out again."""
    if not due(part) or adopt_known(pass_, part):
        return
    if part.status == "creating" and pass_.blind and pass_.job.status == "running":
        raise NeedsAttention(in_doubt(pass_.provider.host, [part]))
    intended = part.intent_at or ""
    if part.status == "creating" and intended > clock.now(-waits.GRACE_SECONDS):
        pass_.say(
            part,
            f"its sending was cut; looking for its batch for {waits.GRACE_SECONDS} s "
            "before it is sent again.",
        )
    elif (
        part.status == "uploaded"
        and intended > clock.now(-waits.FILE_SECONDS)
        and pass_.job.status == "running"
    ):
        with refusals(pass_, part):
            count_sent(pass_, pass_.sender.create(part))
    elif store.move_part(pass_.conn, part, "prepared") and pass_.job.status == "running":
        send(pass_, store.get_part(pass_.conn, part.id))


def send(pass_: Pass, part: store.Part) -> None:
    """Send a prepared part, unless the provider has it already or its queue is full."""
    if adopt_known(pass_, part):
        return
    if not due(part):
        if part.errors:
            again = clock.hour(str(part.next_try_at))
            pass_.say(part, f"{words_of(part)} Next try {again}.")
        return
    job = store.get_job(pass_.conn, part.job_id)
    reason = first_part.reason_to_wait(pass_.conn, job, part) or queue.reason_to_wait(
        pass_.conn, job, part
    )
    if reason is not None:
        pass_.say(part, reason)
        return
    with refusals(pass_, part):
        count_sent(pass_, pass_.sender.send(part, lambda: following(pass_, part)))


def following(pass_: Pass, part: store.Part) -> store.Part | None:
    """The part whose turn comes after this one, if it would be sent as things are."""
    later = (
        one
        for one in store.list_parts(pass_.conn, part.job_id)
        if (one.number, one.id) > (part.number, part.id)
        and one.status == "prepared"
        and not one.collected_at
        and due(one)
    )
    found = next(later, None)
    if found is None or not store.may_take(found.lease_owner, found.lease_until):
        return None
    job = store.get_job(pass_.conn, part.job_id)
    if job.status != "running" or (pass_.found or {}).get(found.number):
        return None
    waits = first_part.reason_to_wait(pass_.conn, job, found) or queue.reason_to_wait(
        pass_.conn, job, found
    )
    return None if waits else found


def count_sent(pass_: Pass, made: BatchState | None) -> None:
    """Count a batch, where one was made."""
    if made is not None:
        pass_.sent += 1
        pass_.report.sent += 1


@contextmanager
def refusals(pass_: Pass, part: store.Part) -> Iterator[None]:
    """Put a part back where its next try begins, if the provider surely took nothing.

    Where it may have (no answer came, or a 5xx), the part stays as it is: `reconcile` looks.
    """
    try:
        yield
    except QueueFull as error:
        queue_full(pass_, store.get_part(pass_.conn, part.id), str(error))
    except TooLarge as error:
        too_large(pass_, store.get_part(pass_.conn, part.id), str(error))
    except Unreachable:
        raise
    except Transient as error:
        if error.refused:
            put_off(pass_, store.get_part(pass_.conn, part.id), str(error))
        raise
    except ProviderError:
        store.move_part(pass_.conn, store.get_part(pass_.conn, part.id), "prepared")
        raise


def queue_full(pass_: Pass, part: store.Part, why: str) -> None:
    """Waiting is not failing: back to `prepared`, at no cost, and cut only where it can't fit.

    Somebody else's batches may fill the queue: a part that fits by itself stays whole.
    """
    with transaction(pass_.conn):
        queue.refuse(pass_.conn, pass_.job, part, why)
    named = queue.limits_in(why)
    taken = queue.fullest(part, named)
    waiting = queue.enqueued(pass_.conn, pass_.job)
    if not waiting and part.requests == 1 and taken > 1:
        limits = " and ".join(f"{n:,} {kind.partition('_')[2]}" for kind, n in named.items())
        raise NeedsAttention(
            f"Part {part.number} is one request of about {queue.tokens_of(part):,} tokens, "
            f"and the queue of {pass_.job.model} takes {limits}: it can't fit. "
            "Ask your provider for a larger limit, or shorten the row."
        )
    cut = set(queue.recut(pass_.conn, pass_.job)) if named else set()
    if not cut and not waiting and taken > NEAR:
        # The estimate said that it fits, the service says it doesn't: believe the service.
        with transaction(pass_.conn):
            queue.split(pass_.conn, pass_.job, store.get_part(pass_.conn, part.id), 2)
        cut.add(part.id)
    if part.id in cut and not waiting:
        try_soon(pass_, part)
    until = store.get_part(pass_.conn, part.id).next_try_at
    pass_.say(part, f"{why} Next try {clock.hour(until)}." if until else why)


def try_soon(pass_: Pass, part: store.Part) -> None:
    """Have the pieces of a part that was cut tried soon: of their size they weren't refused."""
    for piece in store.list_parts(pass_.conn, pass_.job.id):
        if piece.status == "prepared":
            soon = clock.now(waits.RETRY_SECONDS)
            errors = None if piece.id == part.id else piece.errors
            store.update_part(pass_.conn, piece.id, next_try_at=soon, errors=errors)


def too_large(pass_: Pass, part: store.Part, why: str) -> None:
    """The provider takes no file of that size: cut the part, and its like; send what is left.

    A request that is too large alone costs its row only.
    """
    conn = pass_.conn
    with transaction(conn):
        store.move_part(conn, part, "prepared")
        store.log(conn, "too large", job_id=part.job_id, part_id=part.id, bytes=part.bytes, why=why)
        ids = store.pending_ids(conn, part.id)
        if len(ids) == 1:
            message = f"one line of {part.bytes:,} bytes; {why}"
            store.set_outcome(conn, [("too_large", None, message, ids[0])])
            store.count_outcomes(conn, part.id)
    if len(ids) > 1:
        queue.cut_by_bytes(conn, pass_.job, part.bytes)
        pass_.say(part, f"{why} It is cut; --part-bytes makes parts smaller from the beginning.")
    if pass_.job.status == "running":
        send(pass_, store.get_part(conn, part.id))


def put_off(pass_: Pass, part: store.Part, why: str) -> None:
    """The provider said no for the moment: try again soon, with the file if it has one."""
    to = "uploaded" if part.input_file_id else "prepared"
    if "annot find file" in why:
        # In case it never turns up: then it is uploaded anew, under another name.
        store.update_send(pass_.conn, part.id, part.sends, status="no file")
    store.log(pass_.conn, "put off", job_id=pass_.job.id, part_id=part.id, why=why)
    wait = waits.growing(store.times_logged(pass_.conn, part.id, "put off"))
    store.move_part(pass_.conn, part, to, next_try_at=clock.now(wait))


def in_doubt(host: str, parts: Sequence[store.Part]) -> str:
    """Why parts aren't sent again without being told: nobody can look what became of them."""
    one = len(parts) == 1
    names = listed(str(part.number) for part in parts)
    rows = counted(sum(part.requests for part in parts), "row")
    return (
        f"No reply came to the batch of {'part' if one else 'parts'} {names} ({rows}), and {host} "
        f"has no list to look for {'it' if one else 'them'}. "
        "If it was made, sending it again has it run, and billed, twice."
    )


def due(part: store.Part) -> bool:
    """Whether a part's waiting time is over."""
    return part.next_try_at is None or part.next_try_at <= clock.now()


def words_of(part: store.Part) -> str:
    """What the provider last said against a part."""
    try:
        errors = kept_json(part.errors or "[]", list, "openai_batch_parts.errors")
    except DatabaseError as error:
        return str(error)
    return "; ".join(str(one.get("message")) for one in errors if isinstance(one, dict))
