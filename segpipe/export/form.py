"""What the forms of exported networks share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.errors import SegpipeError

INPUT, OUTPUT = "image", "pred"
"""Names of the input and output, those in MONAI's metadata."""

Scores = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Returns the scores `(B, classes, ...)` of images `(B, C, *spatial)`."""


@dataclass(frozen=True)
class Exportable:
    """A network with what its file says of it.

    Attributes:
        network: on the CPU, in evaluation mode.
        example: images `(2, C, *spatial)` of the size that the file takes at least.
        any_size: whether the file takes images of other sizes, too.
        facts: key -> text for the file's metadata.
    """

    network: torch.nn.Module
    example: torch.Tensor
    any_size: bool
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Form:
    """A form of exported networks.

    Attributes:
        name: as in `--to`.
        suffixes: that a file may have; the first is the usual one.
        packages: that it needs, as they are imported.
        ways: ways to write the file, in the order in which they are tried.
        opened: reads a file for its scores.
        facts_of: reads the facts in a file.
        beside: suffixes of files that are written beside the file.
    """

    name: str
    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    ways: Mapping[str, Callable[[Exportable, Path], None]]
    opened: Callable[[Path], Scores]
    facts_of: Callable[[Path], dict[str, str]]
    beside: tuple[str, ...] = ()

    def require_installed(self) -> None:
        """Refuse to begin without the packages.

        Raises:
            SegpipeError: a package is missing; the message has the command that installs it.
        """
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            are = "is" if len(missing) == 1 else "are"
            raise SegpipeError(
                f"--to {self.name}: {', '.join(missing)} {are} not installed; run: pip install 'segpipe[export]'"
            )
