"""A trained model of nnU-Net 2 as a bundle: its plans, labels, checkpoints and the bundle's files."""

from __future__ import annotations

from segpipe.nnunet.bundle import ImportedBundle, import_nnunet

__all__ = ["ImportedBundle", "import_nnunet"]
