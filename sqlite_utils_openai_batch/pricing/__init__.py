"""What requests cost: tokens, prices, an estimate before, a ceiling all the way."""

__all__ = [
    "ceiling",
    "estimate",
    "prices",
    "sampling",
    "tokens",
    "words",
]
