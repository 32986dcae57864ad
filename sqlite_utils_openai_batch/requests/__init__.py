"""A row becomes a request line: body, template, placeholders, pictures, limits."""

__all__ = [
    "attachments",
    "body",
    "chunks",
    "images",
    "limits",
    "lines",
    "placeholders",
    "template",
    "turns",
    "values",
    "verbatim",
    "whole_body",
]
