"""What changes a job from the browser, and the passes that run beside the pages."""

__all__ = [
    "actions",
    "background",
    "follow",
    "views",
    "webhook",
]
