"""How long is waited for what, in seconds. Tests shorten these."""

from __future__ import annotations

#: How long after an intent a batch may still turn up in the provider's lists.
GRACE_SECONDS = 60
#: Until the next try of what the provider refused for the moment.
RETRY_SECONDS = 5.0
#: The longest of the waits that grow with each refusal in a row.
LONGEST_SECONDS = 1800.0
#: A file that the provider can't find for this long after its upload is uploaded anew.
FILE_SECONDS = 600.0
#: The ids of the result files may come later than the status `completed`.
LATE_FILES_SECONDS = 3600.0
#: A batch is stuck where it hasn't ended this long after it should have expired.
STUCK_SECONDS = 3600.0


def growing(times: int) -> float:
    """Seconds to wait after that many refusals in a row: 5, 20, 80 … up to half an hour."""
    return min(RETRY_SECONDS * 4.0 ** min(max(times - 1, 0), 10), LONGEST_SECONDS)
