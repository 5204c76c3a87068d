"""Data sets to train on: manifests, folds, checks of every file, downloads, import of folders.

Import `segpipe.dataset.loading` (cases into batches) directly: it alone needs torch. The names are listed in
`__init__.pyi`, and imported when they are asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
