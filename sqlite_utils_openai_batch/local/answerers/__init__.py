"""Who answers: the small model, other servers, a cluster, a simulation."""

__all__ = [
    "cluster",
    "model",
    "simulate",
    "upstream",
    "weights",
]
