"""A row becomes a request line: body, template, placeholders, pictures, limits."""

__all__ = [
    "attachments",
    "body",
    "chunks",
    "images",
    "limits",
    "placeholders",
    "template",
    "turns",
    "verbatim",
    "whole_body",
]
