"""See the jobs of sqlite-utils-openai-batch in Datasette, take their results away, mend them.

Datasette imports this module for each of its commands, so it publishes the hooks and nothing else.
"""

from __future__ import annotations

from .hooks import HOOKS

# Datasette finds hooks by name in this module.
globals().update(HOOKS)
