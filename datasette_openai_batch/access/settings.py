"""The plugin's settings: what whoever runs this Datasette allows its pages.

plugins:
  sqlite-utils-openai-batch:
    max_cost: 5.00            # USD; a form can only lower it
    models: [gpt-4o-mini]     # others can't be asked
    base_url: https://…       # where rows go, else OpenAI
    key: {$env: OPENAI_KEY}   # else OPENAI_API_KEY, as at the command line
    local: true               # whether the small model on this machine is offered
    sync_every: 60            # seconds between passes in the background; off without it
"""

from __future__ import annotations

import importlib.util
import logging
import os
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils_openai_batch.base.errors import OpenAIBatchError, UsageError
from sqlite_utils_openai_batch.pricing.ceiling import parse_ceiling
from sqlite_utils_openai_batch.provider.accounts import destination
from sqlite_utils_openai_batch.provider.client import OPENAI_URL
from sqlite_utils_openai_batch.provider.errors import host_of

logger = logging.getLogger(__name__)

#: As `datasette plugins` lists it, and as this package is called.
NAMES = ("sqlite-utils-openai-batch", "datasette-openai-batch")
SECRET = "OPENAI_API_KEY"

#: What each setting means, in Markdown; the docs print it.
SETTINGS = {
    "max_cost": "USD that a job from a page may cost at most; a form can only lower it",
    "models": "the only models that may be asked",
    "base_url": "where rows go: a server with OpenAI's Files and Batches API, else OpenAI",
    "key": "the key for that server, and no other; else `OPENAI_API_KEY`, or the secret of that "
    "name that [datasette-secrets](https://github.com/datasette/datasette-secrets) keeps",
    "local": "`false`: the small model on this machine is not offered; "
    '`"first"`: it is offered first',
    "sync_every": "seconds between two looks at all jobs, which then go on by themselves; "
    "`true`: once a minute; off if not set",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings for one database."""

    max_cost: int | None = None
    """Nano-dollars that a job of a form may cost at most."""
    models: tuple[str, ...] = ()
    base_url: str | None = None
    key: str | None = field(default=None, repr=False)
    """Not in a traceback: Datasette writes those to its log with the variables of each frame."""
    local: bool = True
    local_first: bool = False
    """Whether the model on this machine is what a form offers first."""
    sync_every: float | None = None

    @property
    def goes_to(self) -> str:
        """Whom the rows of a new job go to, for a sentence."""
        host = host_of(self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        return "OpenAI" if host == "api.openai.com" else host

    @property
    def no_key(self) -> str | None:
        """Why nothing can be sent to that server; None where it can."""
        try:
            destination(self.base_url, self.key)
        except OpenAIBatchError:
            return (
                "This Datasette has no key for OpenAI. Whoever runs it can set OPENAI_API_KEY, or "
                'the plugin setting "key".'
            )
        return None

    def key_for(self, base_url: str | None) -> str | None:
        """The key for a job's server: only where that is the server which it was given for."""
        here = (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")
        return self.key if (base_url or OPENAI_URL).rstrip("/") == here else None


class Hidden:
    """A secret that isn't shown with the variables of a frame."""

    __slots__ = ("text",)

    def __init__(self, text: str | None) -> None:
        self.text = text


def given(datasette: Any, database: str | None) -> dict[str, Any]:
    """The settings as they were written: a database's own win over those of all."""
    found: dict[str, Any] = {}
    for name in NAMES:
        found |= datasette.plugin_config(name) or {}
    for name in NAMES if database is not None else ():
        found |= datasette.plugin_config(name, database=database, fallback=False) or {}
    return found | {"key": Hidden(found.get("key") or None)}


def read_settings(datasette: Any, database: str | None = None) -> Settings:
    """The settings for a database. Raises UsageError for one that can't be what was meant."""
    found = given(datasette, database)
    most = found.get("max_cost")
    models = found.get("models") or ()
    if isinstance(models, str) or not all(isinstance(one, str) for one in models):
        raise UsageError('The plugin setting "models" is a list of names.')
    return Settings(
        max_cost=None if most is None else ceiling(most),
        models=tuple(models),
        base_url=found.get("base_url") or None,
        key=found["key"].text,
        local=bool(found.get("local", True)),
        local_first=found.get("local") == "first",
        sync_every=seconds(found.get("sync_every")),
    )


def ceiling(value: Any) -> int:
    """The setting `max_cost` in nano-dollars. Raises UsageError."""
    try:
        return parse_ceiling(str(value))
    except UsageError as error:
        raise UsageError(f'The plugin setting "max_cost": {error}') from error


def seconds(value: Any) -> float | None:
    """The setting `sync_every`; `true` means once a minute. Raises UsageError."""
    if value is None or value is False:
        return None
    if value is True:
        return 60.0
    if isinstance(value, (int, float)) and value > 0:
        return float(value)
    raise UsageError(f'The plugin setting "sync_every" is a number of seconds, not {value!r}.')


async def settings_of(datasette: Any, database: str) -> Settings:
    """The settings for a database, with the key that datasette-secrets keeps if that is there."""
    settings = read_settings(datasette, database)
    if settings.key or importlib.util.find_spec("datasette_secrets") is None:
        return settings
    from dataclasses import replace

    from datasette_secrets import get_secret  # type: ignore[import-not-found]

    try:
        return replace(settings, key=await get_secret(datasette, SECRET) or None)
    except Exception:
        # What goes wrong in another plugin is that plugin's to say; without its key, pages tell
        # that there is none.
        logger.exception("The key that datasette-secrets keeps can't be read.")
        return settings
