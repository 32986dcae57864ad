"""The local batch server: OpenAI's Files and Batches API on this machine.

```python
from sqlite_utils_openai_batch.local import LocalServer

with LocalServer() as server:
    client = openai.OpenAI(base_url=server.base_url, api_key=server.key)
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import settings
    from .answerers import cluster
    from .answerers.model import MODEL_NAME, ModelAnswerer
    from .answerers.simulate import SimulatedAnswerer
    from .answerers.upstream import UpstreamAnswerer, upstream_models
    from .answerers.weights import ensure_weights, weights_path
    from .batches.webhooks import Webhook
    from .faults.registry import FAULTS, Fault
    from .lock import StateInUse
    from .protocol.answers import Answer, Answerer, ImmediateAnswerer, NoAnswer
    from .server import LocalServer
    from .settings import Clock, ServerLimits

__all__ = [
    "FAULTS",
    "MODEL_NAME",
    "Answer",
    "Answerer",
    "Clock",
    "Fault",
    "ImmediateAnswerer",
    "LocalServer",
    "ModelAnswerer",
    "NoAnswer",
    "ServerLimits",
    "SimulatedAnswerer",
    "StateInUse",
    "UpstreamAnswerer",
    "Webhook",
    "cluster",
    "ensure_weights",
    "settings",
    "upstream_models",
    "weights_path",
]

_HOMES = {
    "Answer": ".protocol.answers",
    "Answerer": ".protocol.answers",
    "Clock": ".settings",
    "FAULTS": ".faults.registry",
    "Fault": ".faults.registry",
    "ImmediateAnswerer": ".protocol.answers",
    "LocalServer": ".server",
    "MODEL_NAME": ".answerers.model",
    "ModelAnswerer": ".answerers.model",
    "NoAnswer": ".protocol.answers",
    "ServerLimits": ".settings",
    "SimulatedAnswerer": ".answerers.simulate",
    "StateInUse": ".lock",
    "UpstreamAnswerer": ".answerers.upstream",
    "Webhook": ".batches.webhooks",
    "ensure_weights": ".answerers.weights",
    "upstream_models": ".answerers.upstream",
    "weights_path": ".answerers.weights",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for, so that pytest, which imports this in any project, loads nothing."""
    if name == "settings":
        return import_module(".settings", __name__)
    if name == "cluster":
        return import_module(".answerers.cluster", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
