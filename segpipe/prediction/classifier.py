"""Computes the logits of images with an open classification bundle, several images in one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from segpipe.bundle.open_classifier import OpenClassifier
from segpipe.errors import SegpipeError
from segpipe.inference import FlipInferer, PrecisionInferer
from segpipe.inference.precision import in_precision, measured_precision
from segpipe.inference.prediction_table import checked_probabilities

_ON_CARD, _ON_CPU = 32, 4  # images; on a CPU larger batches leave its caches and take longer


class Classifier:
    """Classifies preprocessed images with an open bundle.

    Logits depend on the number of images in a batch in their last digits. So each batch is filled to one size, and
    where they also depend on the place in a batch, a batch holds one image. Then any division of a cohort gives the
    same logits.

    Args:
        bundle: from `open_classifier`.
        precision: see `segpipe.inference.choose_precision`; "auto": the bundle's precision, and if that is auto too,
            the faster one of two on the first batch.
        batch_size: images per batch; None: 32 on a card, 4 on a CPU.
        flips: spatial axes along which images are mirrored, the logits being averaged; None: the bundle's axes.
        report: called with a message when segpipe deviates from the request.

    Attributes:
        precision: the chosen precision; "auto" until the first batch.
        batch_size: images per batch; halved where memory does not suffice; 1 where places in a batch differ.
    """

    def __init__(
        self,
        bundle: OpenClassifier,
        precision: str = "auto",
        batch_size: int | None = None,
        flips: Sequence[int] | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.bundle = bundle
        self.precision = precision
        self.batch_size = batch_size or (_ON_CPU if bundle.device.type == "cpu" else _ON_CARD)
        self.report = report
        inferer = bundle.inferer
        if isinstance(inferer, PrecisionInferer):
            self.precision = inferer.precision if precision == "auto" else precision
            inferer = inferer.inferer
        if flips is not None:
            inferer = FlipInferer(inferer.inferer if isinstance(inferer, FlipInferer) else inferer, flips)
        self._inferer = inferer
        self._is_checked = False
        self._predictor: Callable[[torch.Tensor], torch.Tensor] | None = None

    def read(self, path: str) -> torch.Tensor:
        """Return the network's input `(C, *spatial)` of an image file, float32 without metadata.

        Raises:
            SegpipeError: the file cannot be read, or a transform refuses the image.
        """
        image = self.bundle.read(path)
        plain = image.as_tensor() if isinstance(image, MetaTensor) else torch.as_tensor(image)
        return plain.to(torch.float32)

    def logits(self, images: Sequence[torch.Tensor]) -> NDArray[np.float64]:
        """Return the logits `(N, C)` of images.

        Args:
            images: from `read`, all of one shape; at least one.

        Raises:
            SegpipeError: the network gives something else than one finite number a class and image.
        """
        parts: list[NDArray[np.float64]] = []
        done = 0
        while done < len(images):
            batch = images[done : done + self.batch_size]
            filled = [*batch, *[batch[-1]] * (self.batch_size - len(batch))]
            try:
                logits = self._batch(torch.stack(filled))
                if self._depends_on_place(filled):
                    self.report(
                        f"images are computed one by one: in batches of {self.batch_size}, last digits depend on the "
                        "place of an image"
                    )
                    self.batch_size = 1
                    continue
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size = math.ceil(self.batch_size / 2)
                torch.cuda.empty_cache()
                self.report(f"out of memory: batches of {self.batch_size} from now on")
                continue
            parts.append(logits[: len(batch)])
            done += len(batch)
        return np.concatenate(parts)

    def _depends_on_place(self, filled: Sequence[torch.Tensor]) -> bool:
        """Return whether images of noise get other logits at other places of a batch; looked at once."""
        if self._is_checked or len(filled) == 1:
            return False
        self._is_checked = True
        noise = torch.randn((len(filled), *filled[0].shape), generator=torch.Generator().manual_seed(0))
        moved = self._batch(noise.roll(1, 0))
        return not np.array_equal(moved, np.roll(self._batch(noise), 1, 0), equal_nan=True)

    def _batch(self, images: torch.Tensor) -> NDArray[np.float64]:
        count = self.bundle.categories.num
        with torch.inference_mode():
            batch = images.to(self.bundle.device)
            if self._predictor is None:
                if self.precision == "auto":
                    self.precision = measured_precision(self.bundle.network, batch)
                self._predictor = in_precision(self.bundle.network, self.precision)
            scores = self._inferer(batch, self._predictor)
        if not isinstance(scores, torch.Tensor) or tuple(scores.shape) != (len(images), count):
            names = ", ".join(self.bundle.categories.names)
            raise SegpipeError(
                f"{self.bundle.root}: its network gives {_described(scores)} for {len(images)} images, must be "
                f"{(len(images), count)}: one number for each image and class of {names}"
            )
        return scores.double().cpu().numpy()

    def probabilities(self, name: str, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the calibrated probabilities `(C,)` of an image.

        Args:
            name: of the image, for messages.
            logits: `(C,)`.

        Raises:
            SegpipeError: a number is NaN or infinite.
        """
        count = self.bundle.categories.num
        values = checked_probabilities(name, logits, count)
        calibrated: NDArray[np.float64] = self.bundle.calibration.probabilities(values[None])[0]
        return calibrated


def _described(scores: object) -> str:
    return f"shape {tuple(scores.shape)}" if isinstance(scores, torch.Tensor) else type(scores).__name__
