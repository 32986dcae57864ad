"""What happens under each fault of the provider: the table that the tests run and docs show."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One fault over 10 rows in parts of 4, synced until the job has ended.

    `outcomes` is what the requests end as; `ran` how many requests the provider ran in all (what
    would be paid for); `says` is what the reader of the docs wants to know.
    """

    fault: str
    happens: str
    does: str
    outcomes: dict[str, int] = field(default_factory=lambda: {"ok": 10})
    ran: int = 10
    code: int = 0


ALL = {"ok": 10}

CASES = (
    Case("lost-upload-reply", "The upload arrives, its reply doesn't",
         "finds the file by its name and goes on with it"),
    Case("lost-create-reply", "The batch is made, the reply doesn't come",
         "finds the batch by its token and goes on with it"),
    Case("upload-error:503", "The upload is refused with 503", "uploads again"),
    Case("create-error:502", "The creation is answered with 502",
         "looks for the batch, finds none, creates it"),
    Case("server-error:500", "A call is answered with 500", "repeats reads, looks before POSTs"),
    Case("rate-limit:1", "A call is answered with 429", "waits as told, then repeats it"),
    Case("file-not-found", "`Cannot find file`, though it was uploaded",
         "creates again a moment later"),
    Case("reset-upload", "The connection is cut during an upload", "uploads again"),
    Case("reset-download", "The connection is cut during a download",
         "downloads again from the start"),
    Case("token-limit-create:2000000", "The queue is full (told at creation)",
         "waits at no cost, keeps the limit"),
    Case("token-limit:2000000", "The queue is full (told by a failed batch)",
         "waits at no cost, keeps the limit"),
    Case("late-ids:1", "A batch is completed before its files are named", "asks for them again"),
    Case("absent-ids", "Ids of files that don't exist are left out", "takes that for none"),
    Case("empty-ids", "Ids of files that don't exist are empty texts", "takes that for none"),
    Case("empty-error-file", "There is an error file of no bytes", "reads it, finds nothing"),
    Case("error-only:400", "Every request fails, there is no output file",
         "reads the error file",
         {"http_error": 10}, 10, 3),
    Case("crash-lines:2*1", "Some requests of a batch fail with 500",
         "asks those again", ALL, 12),
    Case("throttle-lines:2*1", "Some requests of a batch fail with 429",
         "asks those again", ALL, 12),
    Case("fail-lines:2*1", "Some requests of a batch fail with 400",
         "keeps the provider's words; `retry` asks them again", {"ok": 8, "http_error": 2}, 10, 3),
    Case("error-lines:2*1", "Some requests have a server's error and no response",
         "asks those again", ALL, 12),
    Case("expire:2*1", "A batch expires half-way",
         "keeps its answers, asks the rest again", ALL, 12),
    Case("missing-lines:1*1", "A line never comes, and the counts don't tell",
         "notices by its id, asks it again", ALL, 11),
    Case("duplicate-lines:1*1", "A line comes twice", "takes the first, keeps both"),
    Case("foreign-lines:1*1", "A line has an id that nobody sent", "keeps it, gives it to no row"),
    Case("nameless-lines:1*1", "A line has no id", "asks its request again", ALL, 11),
    Case("garbage-lines:1*1", "A line is not JSON", "keeps it, goes on"),
    Case("no-final-newline", "The last line has no line end", "reads it all the same"),
    Case("crlf", "Lines end with CR LF", "reads them"),
    Case("blank-lines", "There are blank lines", "passes over them"),
    Case("bom", "Files begin with a byte order mark", "reads them"),
    Case("u2028", "Answers hold U+2028, U+2029, U+0085", "splits at line feeds only"),
    Case("body-as-string", "The body is JSON in a string", "reads it"),
    Case("no-error-key", "Lines lack the key `error`", "reads them"),
    Case("no-has-more", "Lists ignore `after` and never say that they end",
         "stops at what it has seen"),
    Case("pending-file:2", "A new file isn't `processed` at once", "goes on"),
    Case("stale-list:60", "Lists leave out what is younger than a minute",
         "waits a minute before anything that was cut is sent again"),
    Case("slow:0.01", "Every reply takes its time", "waits for it"),
    Case("slow-list:0.01", "Lists take their time", "waits for them"),
    Case("error-type", "Errors of a line have `type` where `code` should be", "reads either"),
    Case("slow-download:0.01", "Downloads take their time",
         "waits, and keeps the part for itself meanwhile"),
    Case("large-answers:100000", "Answers are large", "reads files line by line"),
    Case("zero-lines:2*1", "Some requests have the status code 0 and no body",
         "asks those again", ALL, 12),
    Case("refuse:2*1", "Some answers are refusals", "keeps the model's words",
         {"ok": 8, "refused": 2}, 10, 3),
    Case("cut:2*1", "Some answers are cut at their limit of tokens",
         "says so; `retry --set max_tokens=…` asks them again", {"ok": 8, "truncated": 2}, 10, 3),
    Case("filter:2*1", "Some answers are held back by a content filter", "says so",
         {"ok": 8, "content_filter": 2}, 10, 3),
    Case("empty-answers:2*1", "Some answers are empty", "says so",
         {"ok": 8, "empty": 2}, 10, 3),
    Case("unknown-status:WORD", "A batch shows a status that nobody documented", "polls on"),
)  # fmt: skip
