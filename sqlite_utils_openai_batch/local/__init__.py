"""The local batch server: OpenAI's Files and Batches API on this machine.

```python
from sqlite_utils_openai_batch.local import LocalServer

with LocalServer() as server:
    client = openai.OpenAI(base_url=server.base_url, api_key=server.key)
```
"""

from __future__ import annotations

from . import settings
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
    "ensure_weights",
    "settings",
    "upstream_models",
    "weights_path",
]
