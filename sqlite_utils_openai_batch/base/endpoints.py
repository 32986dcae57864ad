"""The endpoints that batches are for, and what a request to each of them must hold.

Source: OpenAI's API description, and its batch guide.
"""

from __future__ import annotations

#: The largest batch file. The guide says "200 MB"; servers were seen to count in units of 1,024,
#: which is a little more, so this holds wherever it is tried.
BATCH_FILE_BYTES = 200_000_000
#: The most requests in a batch, and the most inputs of its embedding requests together.
BATCH_REQUESTS = 50_000
BATCH_EMBEDDING_INPUTS = 50_000

REQUIRED = {
    "/v1/chat/completions": ("messages",),
    "/v1/responses": ("input", "prompt", "conversation", "previous_response_id"),
    "/v1/embeddings": ("input",),
    "/v1/completions": ("prompt",),
    "/v1/moderations": ("input",),
    "/v1/images/generations": ("prompt",),
    "/v1/images/edits": ("prompt",),
    "/v1/videos": ("prompt",),
}
"""What a body must hold besides its model; one of several where several are named."""

ASKED = {endpoint: names[0] for endpoint, names in REQUIRED.items()}
"""What differs from row to row in most files: all else in their bodies is the same."""

STREAMING = {"/v1/chat/completions": "Chat Completions", "/v1/responses": "Responses"}
MODEL_OPTIONAL = ("/v1/moderations", "/v1/videos", "/v1/images/generations", "/v1/images/edits")
