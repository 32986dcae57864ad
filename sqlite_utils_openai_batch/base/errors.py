"""Everything that this package raises on purpose.

A message is a sentence (or two) for the person at the keyboard: it names the table, column,
row or line, and says what to do next. The command line prints it without a traceback and
exits with the class's `exit_code`.

    OpenAIBatchError (1)
    ├── UsageError (2)            options that contradict each other
    │   ├── CeilingError          --max-cost can't hold: a cap of the answers may mend it
    │   └── NothingToAsk          no row that could be asked: no mistake, where a command says it
    ├── DatabaseError             no such file, not a database, locked, read-only, newer tables
    ├── SourceError               no such table, column or key; a NULL or duplicate key
    ├── TemplateError             a body or prompt that can't be used
    │   └── UnrenderableRow       one row that the template can't render: costs that row only
    ├── SchemaError               an answer schema that can't be used
    ├── OutputError               output columns that hold values, or can't be written
    ├── FileError                 a file of requests or answers that can't be used
    ├── JobError                  no such job, or a job in the wrong state
    ├── ConfigurationError        no key, a missing extra, weights that can't be had
    └── ProviderError             the provider answered, and not as hoped
        ├── Unreachable           nobody answered
        ├── NoBatchAPI            a server that has no Files or Batches API
        ├── NoList                a server that can't list its batches
        ├── QueueFull             no room for the moment: wait, then go on
        ├── TooLarge              a file that the provider takes only in pieces
        ├── Transient             try the same again later
        │   ├── Garbled           a reply that is none of the API
        │   └── CutShort          a file of which only some came
        ├── NotFound              no such batch or file
        ├── SentOn                it wants the request to go to another host
        └── NeedsAttention (4)    quota, billing, key, permission: the job pauses
            └── Unreadable        and its batches, or what they answered, can't be read
"""

from __future__ import annotations


class OpenAIBatchError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class UsageError(OpenAIBatchError):
    """Options that contradict each other or are missing."""

    exit_code = 2


class CeilingError(UsageError):
    """A ceiling can't hold; `cap` is the length of an answer, in tokens, with which it would."""

    def __init__(self, message: str, cap: int | None = None):
        super().__init__(message)
        self.cap = cap


class NothingToAsk(UsageError):
    """There is no row to ask about; to a command that is no mistake."""


class DatabaseError(OpenAIBatchError):
    """The database file can't be used."""


class SourceError(OpenAIBatchError):
    """The table, view or query can't be asked about."""


class TemplateError(OpenAIBatchError):
    """The request body or prompt can't be used."""


class UnrenderableRow(TemplateError):
    """One row that the template can't render; it becomes `unrenderable`, the others go on."""


class SchemaError(OpenAIBatchError):
    """The answer schema can't be used."""


class OutputError(OpenAIBatchError):
    """The answers can't be written where they were asked to go."""


class FileError(OpenAIBatchError):
    """A file of requests or answers can't be used: missing, empty, or of another kind."""


class JobError(OpenAIBatchError):
    """No such job, or a job in the wrong state for what was asked."""


class ConfigurationError(OpenAIBatchError):
    """Something on this machine is missing: a key, an extra, the model's weights."""


class ProviderError(OpenAIBatchError):
    """The provider answered, and not as hoped."""


class Unreachable(ProviderError):
    """Nobody answered at the provider's address."""


class NoBatchAPI(ProviderError):
    """The server answers, but has no Files or Batches API."""


class NoList(ProviderError):
    """The server has batches, but no list of them: it can't be seen what it has already."""


class QueueFull(ProviderError):
    """The provider has no room for the moment: its queue is full, in whatever words it says so."""


class TooLarge(ProviderError):
    """The provider takes no file of that size: in pieces it may."""


class Transient(ProviderError):
    """A failure of the moment: the same call may succeed later.

    `refused` tells that the provider surely did nothing: no need to look before trying again.
    """

    def __init__(self, message: str, *, refused: bool = False):
        super().__init__(message)
        self.refused = refused


class Garbled(Transient):
    """A reply that isn't one of the API: a proxy's page, or an object without its id."""


class CutShort(Transient):
    """Only some of a file came, however often it was asked for.

    `came` and `whole` are its bytes, or its lines; `whole` is None where it isn't known.
    """

    def __init__(self, message: str, came: int, whole: int | None, unit: str = "bytes"):
        super().__init__(message)
        self.came = came
        self.whole = whole
        self.unit = unit


class NotFound(ProviderError):
    """The provider knows no such batch or file."""


class SentOn(ProviderError):
    """The server answers with a redirect to another origin, which isn't followed."""


class NeedsAttention(ProviderError):
    """Quota, billing, key or permission: only a person can mend it, so the job pauses."""

    exit_code = 4


class Unreadable(NeedsAttention):
    """A job's batches, or what they answered, can't be read: polling them again brings nothing."""
