"""A form whose token isn't the browser's any more: shown again as it was filled in, not lost.

Datasette 0.65 gives a browser one token, in a cookie and in each form. Two first pages that are
asked for at the same moment, or another Datasette on the same machine, give it another one, and a
form that is open then is refused with one line of text. Such a form changes nothing; it is asked
for anew, as by a GET, with what was typed beside it. 1.0 goes by headers that browsers set: there
is no token that could wear out.
"""

from __future__ import annotations

from typing import Any

from .request import Typed, read_fields

#: What Datasette 0.65 answers then, and where the fields stand for whoever shows the form again.
REFUSED = b"form-urlencoded POST field did not match cookie"
FIELDS = "openai_batch_refused"
AGAIN = (
    "Nothing was done: since this page was opened, this browser was given a new security token, "
    "by another tab or by another Datasette on this machine. "
)
PRESS = f"{AGAIN}What you typed is still here. Check it, and press the button once more."
RELOAD = f"{AGAIN}Open the page again, and press the button there."


def refused(request: Any) -> Typed | None:
    """The fields of a form that was refused, and is to be shown again; None for anything else."""
    body = request.scope.get(FIELDS)
    try:
        return None if body is None else read_fields(body)
    except ValueError:
        # More fields than any form of ours has: nobody typed them.
        return None


async def shown_again(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Answer a request; a form that is refused for its token is asked for anew, as by a GET."""
    pieces: list[bytes] = []
    held: list[Any] = []
    is_refused = False

    async def read() -> Any:
        message = await receive()
        pieces.append(message.get("body", b""))
        return message

    async def answer(message: Any) -> None:
        nonlocal is_refused
        if message["type"] == "http.response.start" and message["status"] == 403:
            held.append(message)
            return
        is_refused = is_refused or bool(held and message.get("body") == REFUSED)
        if not is_refused:
            for start in held:
                await send(start)
            held.clear()
            await send(message)

    async def as_refused(message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            message = message | {"status": 403}
        await send(message)

    await app(scope, read, answer)
    if is_refused:
        await app(scope | {"method": "GET", FIELDS: b"".join(pieces)}, receive, as_refused)
