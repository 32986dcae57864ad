"""What a pass takes in: how far batches are, what they answered, and what they left over."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import store
from ...base import clock, waits
from ...base.errors import CutShort, NeedsAttention, NotFound, ProviderError, Unreadable
from ...base.statuses import AT_PROVIDER, ENDED
from ...base.text import counted
from ...provider.errors import is_too_large, waits_for_room
from ...store.connection import transaction
from ...store.costs import lose_cost
from .. import queue
from . import outgoing
from .collect import collect as collect_batch
from .collect import collect_surplus
from .lookup import Rejected, rejected_lines
from .settle import put_back, share, voted

if TYPE_CHECKING:
    from ...provider.batch import BatchState
    from .context import Pass


def poll(pass_: Pass, part: store.Part) -> None:
    """See how far a batch is."""
    state = batch_of(pass_, part)
    if state is None:
        return
    stopped = state.status in ("cancelling", "cancelled")
    if stopped and outgoing.adopt_other(pass_, part):
        return
    seen(pass_, part, state)
    if not state.ended and part.expires_at and part.expires_at < clock.now(-waits.STUCK_SECONDS):
        pass_.say(
            part,
            f"batch {part.batch_id} should have expired at {part.expires_at} and is still "
            f"{state.said}. Ask the provider about it, or cancel the job.",
        )


def batch_of(pass_: Pass, part: store.Part) -> BatchState | None:
    """A part's batch as it is now; None where it is gone and the job is being cancelled.

    Raises Unreadable where it is gone otherwise: a person has to say what that means.
    """
    assert part.batch_id is not None
    try:
        return pass_.provider.retrieve(part.batch_id)
    except NotFound as error:
        if pass_.job.status == "cancelling":
            give_up(pass_, part, part.batch_id, str(error))
            return None
        raise Unreadable(
            f"Batch {part.batch_id} of part {part.number} can't be found with this key "
            f"({error}). Is it another account's? Give the key that sent it with --key. "
            "If it is gone for good, cancel gives its answers up."
        ) from error
    except NeedsAttention as error:
        raise Unreadable(str(error)) from error


def give_up(pass_: Pass, part: store.Part, batch_id: str, why: str) -> None:
    """End a part of a cancelled job whose batch the provider doesn't know any more."""
    now = clock.now()
    # One that was seen to end stays what it ended as.
    status = part.status if part.status in ENDED else "cancelled"
    with transaction(pass_.conn):
        if not store.move_part(
            pass_.conn, part, status, ended_at=part.ended_at or now, collected_at=now
        ):
            return
        store.end_pending(pass_.conn, part.id, "missing", None, "its batch is gone")
        put_back(pass_.conn, part.id)
        store.count_outcomes(pass_.conn, part.id)
        mark_gone(pass_, part, batch_id, why)


def mark_gone(pass_: Pass, part: store.Part, batch_id: str, why: str) -> None:
    """Record that a batch is gone, in the caller's transaction: what it cost stays unknown."""
    store.update_batch(pass_.conn, batch_id, status="gone", ended_at=clock.now())
    lose_cost(pass_.conn, part.id)
    store.log(pass_.conn, "gone", job_id=part.job_id, part_id=part.id, why=why)


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
            expires_at=state.expires_at or part.expires_at,
            errors=errors,
        )
        if moved and ended_at and ran:
            queue.room(pass_.conn, pass_.job)
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
    state = batch_of(pass_, part)
    if state is None or not state.ended:
        # A replica of the service may not have heard of the end yet.
        return
    if state.status == "failed":
        failed(pass_, part, state)
        return
    if not outgoing.due(part):
        again = clock.hour(str(part.next_try_at))
        pass_.say(part, f"its result file came short. Next try {again}.")
        return
    late = may_be_late(part.ended_at)
    if lacks_files(state):
        if late:
            pass_.say(part, "its batch ended, but its result file isn't there yet.")
            return
        if state.completed and pass_.job.status != "cancelling":
            raise hidden(pass_, part, state)
    gone = may_be_gone(pass_, late)
    try:
        collect_batch(pass_.conn, pass_.provider, pass_.job, part, state, pass_.writer, gone)
    except CutShort as error:
        came_short(pass_, part, error)
        return
    except NotFound as error:
        if late:
            what = "isn't there" if state.hides_answers else "can't be read"
            pass_.say(part, f"its batch ended, but its result file {what} yet.")
            return
        if state.hides_answers:
            raise hidden(pass_, part, state) from error
        raise Unreadable(
            f"{pass_.provider.host} has no file {state.output_file_id} any more, with the answers "
            f"of part {part.number}. Look for it there; cancel gives these answers up."
        ) from error
    store.update_batch(
        pass_.conn, state.id, status=state.said, ended_at=state.ended_at or clock.now()
    )
    pass_.report.collected += 1


def hidden(pass_: Pass, part: store.Part, state: BatchState) -> Unreadable:
    """The error of answers that are counted, and that no file holds.

    They were paid for: they aren't bought again unless somebody says so.
    """
    return Unreadable(
        f"{pass_.provider.host} counts {counted(state.completed or 0, 'answer')} in batch "
        f"{state.id} of part {part.number}, and names no file that holds them. Ask the "
        "provider for it; cancel gives these answers up."
    )


def came_short(pass_: Pass, part: store.Part, error: CutShort) -> None:
    """Wait for a result file of which only some came: what is missing was paid for.

    Nothing is bought again for it, however long it takes.
    """
    with transaction(pass_.conn):
        store.log(
            pass_.conn, "file short", job_id=part.job_id, part_id=part.id,
            came=error.came, of=error.whole, unit=error.unit,
        )  # fmt: skip
        wait = waits.growing(store.times_logged(pass_.conn, part.id, "file short"))
        until = clock.now(wait)
        store.update_part(pass_.conn, part.id, next_try_at=until)
    pass_.say(part, f"{error} Next try {clock.hour(until)}.")


def failed(pass_: Pass, part: store.Part, state: BatchState) -> None:
    """A batch that failed its validation ran nothing. Bad lines cost their rows only."""
    store.update_batch(pass_.conn, state.id, ended_at=state.ended_at or clock.now())
    words = "; ".join(str(error.get("message")) for error in state.errors[:3])
    if any(is_about(waits_for_room, error) for error in state.errors):
        outgoing.queue_full(pass_, part, words)
    elif any(is_about(is_too_large, error) for error in state.errors):
        outgoing.too_large(pass_, part, words)
    elif (found := rejected_lines(pass_.conn, part, state)) or found is None:
        reject(pass_, part, found)
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


def is_about(subject: Callable[[str | None, str], bool], error: dict[str, Any]) -> bool:
    """Whether an error of a whole batch, not of one of its lines, is about this."""
    code = error.get("code")
    return error.get("line") is None and subject(code and str(code), str(error.get("message")))


def reject(pass_: Pass, part: store.Part, found: Rejected | None) -> None:
    """Give rejected rows their outcome, and put what is left back to be sent as it was.

    None where the provider named lines of a file that isn't known here.
    """
    event = "lines unknown" if found is None else "rejected"
    with transaction(pass_.conn):
        # With nothing left `send` completes it.
        if store.move_part(pass_.conn, part, "prepared"):
            store.set_outcome(pass_.conn, (found or {}).values())
            store.count_outcomes(pass_.conn, part.id)
            store.log(
                pass_.conn, event, job_id=pass_.job.id, part_id=part.id, lines=len(found or {})
            )


def take_strays(pass_: Pass) -> None:
    """Collect batches that exist beside the one that their part goes by."""
    for stray in store.strays(pass_.conn, pass_.job.id):
        with store.leased(pass_.conn, store.get_part(pass_.conn, stray["part_id"])) as mine:
            if mine:
                take_stray(
                    pass_, store.get_part(pass_.conn, stray["part_id"]), str(stray["batch_id"])
                )


def take_stray(pass_: Pass, part: store.Part, batch_id: str) -> None:
    """Collect one such batch where it has ended; stop it where the part has one of its own."""
    try:
        state = pass_.provider.retrieve(batch_id)
    except NotFound as error:
        with transaction(pass_.conn):
            mark_gone(pass_, part, batch_id, str(error))
        return
    if not state.ended:
        if part.batch_id is not None and state.status != "cancelling":
            pass_.provider.cancel(batch_id)
        return
    if state.status != "failed" and not take_surplus(pass_, part, state):
        return
    store.update_batch(
        pass_.conn, state.id, status=state.said, ended_at=state.ended_at or clock.now()
    )


def take_surplus(pass_: Pass, part: store.Part, state: BatchState) -> bool:
    """Collect an ended batch beside its part's own; False where its files are still to come."""
    late = may_be_late(state.ended_at)
    if late and lacks_files(state):
        return False
    gone = () if late else ("output", "error")
    try:
        collect_surplus(pass_.conn, pass_.provider, pass_.job, part, state, pass_.writer, gone)
    except (NotFound, CutShort):
        return False
    return True


def write(pass_: Pass) -> None:
    """Write the answers of collected parts to their columns."""
    share(pass_.conn, pass_.job)
    if not voted(pass_.conn, pass_.job):
        return
    for part in store.list_parts(pass_.conn, pass_.job.id):
        if part.collected_at and not part.written_at:
            with store.leased(pass_.conn, part) as mine:
                if mine:
                    pass_.writer.write_part(part)
    if pass_.job.settings.get("times"):
        store.ballots.end(pass_.conn, pass_.job.id)
    pass_.report.written[pass_.job.id] = pass_.writer.written


def may_be_late(ended_at: str | None) -> bool:
    """Whether a batch ended so lately that its files may still turn up."""
    return (ended_at or "") > clock.now(-waits.LATE_FILES_SECONDS)


def may_be_gone(pass_: Pass, late: bool) -> tuple[str, ...]:
    """The kinds of files that an ended batch is collected without, where they aren't there.

    Answers were paid for: they aren't bought again unless somebody gives them up.
    """
    if late:
        return ()
    return ("output", "error") if pass_.job.status == "cancelling" else ("error",)


def lacks_files(state: BatchState) -> bool:
    """Whether there are lines, or may be some, and their file isn't named."""
    counted = state.completed or state.failed
    return bool(counted and not state.error_file_id and not state.output_file_id)
