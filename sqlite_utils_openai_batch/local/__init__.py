"""The local batch server: OpenAI's Files and Batches API on this machine.

```python
from sqlite_utils_openai_batch.local import LocalServer

with LocalServer() as server:
    client = openai.OpenAI(base_url=server.base_url, api_key=server.key)
```
"""

from __future__ import annotations

from .answers import Answer, Answerer, ImmediateAnswerer, NoAnswer
from .faults import FAULTS, Fault
from .lock import StateInUse
from .model import MODEL_NAME, ModelAnswerer
from .server import LocalServer
from .settings import Clock, ServerLimits
from .simulate import SimulatedAnswerer
from .upstream import UpstreamAnswerer, upstream_models
from .webhooks import Webhook
from .weights import ensure_weights, weights_path

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
    "upstream_models",
    "weights_path",
]
