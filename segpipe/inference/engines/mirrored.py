"""Windows in a queue with their mirror images, and slices for networks of slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from segpipe.inference.engines.engine import WindowQueue
from segpipe.inference.inferers import mirror_dims


class MirroredQueue(WindowQueue):
    """Averages the scores of each window and of its mirror images, in the order of `FlipInferer`.

    Args:
        queue: computes windows and mirror images.
        flips: spatial axes, from 0, to mirror along, in all combinations.
        flat: windows `(1, C, x, y, 1)` are slices for a network of slices.
    """

    def __init__(self, queue: WindowQueue, flips: Sequence[int], *, flat: bool) -> None:
        self.queue, self.flips, self.flat = queue, tuple(flips), flat
        self.at_once = max(queue.at_once >> len(self.flips), 2)

    def start(self, window: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Start a window and its mirror images; see `WindowQueue`."""
        image = window.squeeze(-1) if self.flat else window
        turns = mirror_dims(self.flips, image.ndim)
        plain = self.queue.start(image)
        mirrored = [(dims, self.queue.start(image.flip(dims))) for dims in turns]

        def finish() -> torch.Tensor:
            total = plain()
            for dims, scores in mirrored:
                total = total + scores().flip(dims)
            total = total / 2 ** len(self.flips) if mirrored else total
            return total.unsqueeze(-1) if self.flat else total

        return finish
