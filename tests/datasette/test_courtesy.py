"""Work beside the pages gives way to them, and goes on all the same."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from datasette_openai_batch.access import courtesy
from datasette_openai_batch.hooks import asgi_wrapper


def serve(during: object) -> None:
    """Serve a request, and do something while its page is made."""

    async def app(scope: object, receive: object, send: object) -> None:
        during()  # type: ignore[operator]

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(asgi_wrapper()(app)(scope, None, None))


def waited() -> bool:
    began = time.monotonic()
    courtesy.give_way()
    return time.monotonic() - began >= courtesy.MOST


def test_work_waits_while_a_page_is_made_and_then_has_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where somebody always reads, work goes on."""
    monkeypatch.setattr(courtesy, "MOST", 0.05)
    monkeypatch.setattr(courtesy, "_turn_ends", 0.0)
    assert not courtesy._pages
    found: list[bool] = []

    def during() -> None:
        monkeypatch.setattr(courtesy, "TURN", 60)
        found.extend([waited(), waited(), waited()])
        monkeypatch.setattr(courtesy, "_turn_ends", 0.0)
        found.append(waited())

    serve(during)
    assert found == [True, False, False, True]
    assert courtesy._quiet.is_set() and not courtesy._pages
    assert not waited()


def test_a_page_that_waits_for_work_is_not_waited_for() -> None:
    def page() -> None:
        assert not courtesy._quiet.is_set()
        with courtesy.waiting():
            assert courtesy._quiet.is_set()
        assert not courtesy._quiet.is_set()

    serve(page)


def test_a_page_that_breaks_is_over_too() -> None:
    def page() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        serve(page)
    assert courtesy._quiet.is_set()


def test_threads_take_turns_as_before_when_work_has_ended() -> None:
    before = sys.getswitchinterval()
    with courtesy.working(), courtesy.working():
        assert sys.getswitchinterval() <= before
    assert sys.getswitchinterval() == before
