"""A row becomes a request line: body, template, placeholders, pictures, limits."""

__all__ = [
    "body",
    "chunks",
    "images",
    "limits",
    "placeholders",
    "template",
    "verbatim",
    "whole_body",
]
