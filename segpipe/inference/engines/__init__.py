"""Engines of prediction: programs that compute a network's scores for windows of one shape."""

from segpipe.inference.engines.choice import EngineChoice
from segpipe.inference.engines.engine import (
    ENGINES,
    TORCH,
    Way,
    require_engine,
    require_processor,
    require_same_engine,
)

__all__ = [
    "ENGINES",
    "TORCH",
    "EngineChoice",
    "Way",
    "require_engine",
    "require_processor",
    "require_same_engine",
]
