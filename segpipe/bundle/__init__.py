"""Objects that a bundle's YAML calls, and opening a bundle.

The names are listed in `__init__.pyi`, and imported when they are asked for.
"""

import lazy_loader

_named, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Import what a bundle's YAML calls; a program that embeds the bundle gets a refusal as the exception's text."""
    named: object = _named(name)
    from segpipe.monai_internals import let_refusals_through

    let_refusals_through()
    return named
