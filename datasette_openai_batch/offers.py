"""What a job's page offers to do with the job, to whoever may change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import compat, urls
from .actions import Action, offered
from .jobs import Opened


@dataclass(frozen=True, slots=True)
class Offer:
    """An action as a job's page offers it."""

    label: str
    href: str
    asks: bool


async def may_act(opened: Opened, actor: Any) -> bool:
    """Whether an actor may change a job, and its database can be written."""
    if not opened.db.is_mutable or not opened.db.path:
        return False
    return await compat.may_manage(opened.datasette, actor, opened.db.name)


async def offers(opened: Opened, actor: Any) -> list[Offer]:
    """What the page of a job offers to an actor: nothing to most."""
    if not await may_act(opened, actor):
        return []
    return [
        Offer(action.label, address(opened, action), action.question is not None)
        for action in offered(opened.job, opened.failures)
    ]


def address(opened: Opened, action: Action) -> str:
    """Where an action is."""
    return urls.job(opened.datasette, opened.db, opened.job.id, f"/{action.name}")
