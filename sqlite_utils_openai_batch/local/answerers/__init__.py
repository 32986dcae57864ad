"""Who answers on this machine: the small model, another server, a simulation."""

__all__ = [
    "model",
    "simulate",
    "upstream",
    "weights",
]
