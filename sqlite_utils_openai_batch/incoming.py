"""What a pass takes in: how far batches are, what they answered, and what they left over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from . import clock, outgoing, store, waits
from .collect import collect as collect_batch
from .collect import collect_surplus
from .database import transaction
from .errors import NotFound, ProviderError
from .reuse import share
from .settle import ask_again, reject_lines
from .states import AT_PROVIDER

if TYPE_CHECKING:
    from .api import BatchState
    from .passes import Pass


def poll(pass_: Pass, part: store.Part) -> None:
    """See how far a batch is."""
    assert part.batch_id is not None
    try:
        state = pass_.provider.retrieve(part.batch_id)
    except NotFound as error:
        raise ProviderError(
            f"Batch {part.batch_id} of part {part.number} can't be found with this key "
            f"({error}). Is it another account's? Give the key that sent it with --key."
        ) from error
    seen(pass_, part, state)
    if not state.ended and part.expires_at and part.expires_at < clock.now(-waits.STUCK_SECONDS):
        pass_.say(
            part,
            f"batch {part.batch_id} should have expired at {part.expires_at} and is still "
            f"{state.said}. Ask the provider about it, or cancel the job.",
        )


def seen(pass_: Pass, part: store.Part, state: BatchState) -> None:
    """Record what the provider says of a part's batch."""
    errors = json.dumps(state.errors) if state.errors else None
    ended_at = (state.ended_at or clock.now()) if state.ended else None
    ran = state.status in AT_PROVIDER and state.status not in ("validating", "failed")
    with transaction(pass_.conn):
        moved = store.move_part(
            pass_.conn,
            part,
            # A word that isn't known says nothing of how far it is.
            state.status if state.status in AT_PROVIDER else part.status,
            completed=state.completed,
            failed=state.failed,
            in_progress_at=part.in_progress_at
            or state.in_progress_at
            or (clock.now() if ran else None),
            finalizing_at=state.finalizing_at,
            ended_at=ended_at,
            expires_at=state.expires_at,
            errors=errors,
        )
        if moved and ran and part.in_progress_at is None:
            store.begin_attempt(pass_.conn, part.id)
        store.update_batch(pass_.conn, state.id, status=state.said, errors=errors)


def cancel(pass_: Pass, part: store.Part) -> None:
    """Ask the provider to stop a batch; what it has answered is still collected."""
    assert part.batch_id is not None
    if part.status == "cancelling":
        return
    state = pass_.provider.cancel(part.batch_id)
    if state is not None:
        store.log(pass_.conn, "cancelling", job_id=pass_.job.id, part_id=part.id)
        seen(pass_, part, state)


def collect(pass_: Pass, part: store.Part) -> None:
    """Take in an ended batch, and sort out what it didn't answer."""
    assert part.batch_id is not None
    state = pass_.provider.retrieve(part.batch_id)
    if state.status == "failed":
        failed(pass_, part, state)
        return
    if files_are_late(part, state):
        pass_.say(part, "its batch ended, but its result file isn't there yet.")
        return
    collect_batch(pass_.conn, pass_.provider, pass_.job, part, state, pass_.writer)
    store.update_batch(
        pass_.conn, state.id, status=state.said, ended_at=state.ended_at or clock.now()
    )
    pass_.report.collected += 1
    if pass_.job.status == "running":
        ask_again(pass_.conn, pass_.job, store.get_part(pass_.conn, part.id))


def failed(pass_: Pass, part: store.Part, state: BatchState) -> None:
    """A batch that failed its validation ran nothing. Bad lines cost their rows only."""
    store.update_batch(pass_.conn, state.id, ended_at=state.ended_at or clock.now())
    words = "; ".join(str(error.get("message")) for error in state.errors[:3])
    if any(error.get("code") == "token_limit_exceeded" for error in state.errors):
        outgoing.queue_full(pass_, part, words)
    elif (rejected := reject_lines(pass_.conn, part, state)) > 0:
        with transaction(pass_.conn):
            store.count_outcomes(pass_.conn, part.id)
            # What is left goes out again as it was; with nothing left `send` completes it.
            store.move_part(pass_.conn, part, "prepared")
            store.log(pass_.conn, "rejected", job_id=pass_.job.id, part_id=part.id, lines=rejected)
        if pass_.job.status == "running":
            outgoing.send(pass_, store.get_part(pass_.conn, part.id))
    elif "annot find file" in words and part.sends < 5:
        # The file was there: it was uploaded a moment ago. The service gets over it.
        store.move_part(pass_.conn, part, "prepared", next_try_at=clock.now(waits.RETRY_SECONDS))
    else:
        store.move_part(pass_.conn, part, "prepared")
        raise ProviderError(
            f"{pass_.provider.host} refused part {part.number}: {words or 'no reason was given'}"
        )


def take_strays(pass_: Pass) -> None:
    """Collect batches that exist beside the one that their part goes by."""
    for stray in store.strays(pass_.conn, pass_.job.id):
        part = store.get_part(pass_.conn, stray["part_id"])
        with store.leased(pass_.conn, part) as mine:
            if not mine:
                continue
            state = pass_.provider.retrieve(stray["batch_id"])
            if not state.ended:
                continue
            if state.status != "failed":
                collect_surplus(pass_.conn, pass_.provider, pass_.job, part, state, pass_.writer)
            store.update_batch(
                pass_.conn, state.id, status=state.said, ended_at=state.ended_at or clock.now()
            )


def write(pass_: Pass) -> None:
    """Write the answers of collected parts to their columns."""
    share(pass_.conn, pass_.job)
    for part in store.list_parts(pass_.conn, pass_.job.id):
        if part.collected_at and not part.written_at:
            with store.leased(pass_.conn, part) as mine:
                if mine:
                    pass_.writer.write_part(part)
    pass_.report.written[pass_.job.id] = pass_.writer.written


def files_are_late(part: store.Part, state: BatchState) -> bool:
    """Whether lines were counted and their file isn't named yet."""
    late = (state.completed and not state.output_file_id) or (
        state.failed and not state.error_file_id and not state.output_file_id
    )
    return bool(late) and (part.ended_at or "") > clock.now(-waits.LATE_FILES_SECONDS)
