"""Engines of prediction: programs that compute a network's scores for windows of one shape.

The names are listed in `__init__.pyi`, and imported when they are asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
