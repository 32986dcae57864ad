"""The endpoints that batches are for, and what a request to each of them must hold.

Source: OpenAI's API description, and its batch guide.
"""

from __future__ import annotations

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

STREAMING = {"/v1/chat/completions": "Chat Completions", "/v1/responses": "Responses"}
MODEL_OPTIONAL = ("/v1/moderations", "/v1/videos", "/v1/images/generations", "/v1/images/edits")
