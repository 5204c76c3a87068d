"""Decides whether segpipe can replace MONAI's inference chain of a bundle and segment plane by plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    EnsureTyped,
    FillHolesd,
    Invertd,
    KeepLargestConnectedComponentd,
    MapTransform,
    RemoveSmallObjectsd,
)
from monai.utils import ensure_tuple_rep
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.inference import SliceInferer
from segpipe.inference.decisions import Decision, decision_of
from segpipe.inference.even_windows import EvenWindow, EvenWindowInferer
from segpipe.inference.streaming import CannotStreamError, SlidingWindow
from segpipe.label_values import whole_numbers
from segpipe.labels import LabelTable
from segpipe.transforms import RegionsToClassesd, RemoveSmallPiecesd

OF_LABEL_MAPS = (FillHolesd, RemoveSmallPiecesd, RemoveSmallObjectsd, KeepLargestConnectedComponentd)
"""Transforms of a whole label map that may follow the classes in a chain that segpipe streams.

Background round the box of all classes changes none of their results: pieces lie in the box, and what is open at the
box's edge is open in the whole map.
"""


@dataclass(frozen=True)
class StreamPlan:
    """The settings of a bundle's inference chain, for chains that segpipe can stream.

    Attributes:
        window: positions, size and blending of the windows.
        flat: the network takes 2D slices.
        decision: how the scores become probabilities and classes.
        of_label_map: transforms that the whole label map goes through at the end, see `OF_LABEL_MAPS`.
    """

    window: SlidingWindow
    flat: bool
    decision: Decision
    of_label_map: tuple[MapTransform, ...] = ()

    @classmethod
    def of(
        cls,
        inferer: Any,
        postprocessing: Compose,
        labels: LabelTable,
        spatial_dims: int,
        batch_size: int | None,
    ) -> StreamPlan:
        """Return the plan of a bundle's inferer and postprocessing.

        Args:
            inferer: of the bundle, without the wrappers for precision and mirror images.
            postprocessing: of the bundle.
            labels: label table of the bundle.
            spatial_dims: of the scan, 2 or 3.
            batch_size: windows per batch; None: the inferer's number.

        Raises:
            CannotStreamError: segpipe cannot do the same as this inferer or postprocessing.
        """
        steps = [step for step in postprocessing.transforms if not isinstance(step, EnsureTyped)]
        end = len(steps)
        while end and type(steps[end - 1]) in OF_LABEL_MAPS:
            end -= 1
        decision = _decision(steps[:end], labels)
        last = steps[end - 1]
        if any(step.keys != last.keys or len(step.keys) > 1 for step in steps[end:]):
            raise CannotStreamError("a step after the classes works on another key")
        return cls(*_window(inferer, spatial_dims, batch_size), decision, tuple(steps[end:]))

    def finished(self, labels: NDArray[np.integer[Any]], affine: NDArray[Any]) -> NDArray[np.integer[Any]]:
        """Return a label map after the transforms of whole label maps, which get the box of its classes.

        Args:
            labels: class indices `(x, y[, z])`, as the decision leaves them.
            affine: of the scan's grid; volumes of pieces are in its units.
        """
        (box,) = ndimage.find_objects(labels > 0, 1) if self.of_label_map else (None,)
        if box is None:
            return labels
        # a plane of background more: MONAI's RemoveSmallObjects returns a map of one value as it is
        box = tuple(slice(max(span.start - 1, 0), span.stop + 1) for span in box)
        (key,) = self.of_label_map[0].keys
        record = {key: MetaTensor(torch.from_numpy(labels[box][None]).clone(), affine=affine)}
        for step in self.of_label_map:
            record = step(record)
        cleaned = labels.copy()
        cleaned[box] = whole_numbers(record[key].cpu().numpy()[0])
        return cleaned


def _window(inferer: Any, spatial_dims: int, batch_size: int | None) -> tuple[SlidingWindow, bool]:
    """Return the sliding window of an inferer, and whether its network takes slices."""
    flat = spatial_dims == 2 or isinstance(inferer, SliceInferer)
    if isinstance(inferer, SliceInferer):
        inferer = inferer.on_slices
    kind = _WINDOWS.get(type(inferer))
    if kind is None:
        raise CannotStreamError(f"its inferer is a {type(inferer).__name__}")
    if inferer.with_coord:
        raise CannotStreamError("its network takes the position of a window as input")
    dims = 2 if flat else 3
    roi, overlap, sigma = (
        tuple(ensure_tuple_rep(value, dims))
        for value in (inferer.roi_size, inferer.overlap, inferer.sigma_scale)
    )
    if flat:
        roi, overlap, sigma = (*roi, 1), (*overlap, 0.0), (*sigma, sigma[0])
    roi = tuple(0 if length is None else length for length in roi)
    size = inferer.sw_batch_size if batch_size is None else batch_size
    mode, padding = str(inferer.mode.value), str(getattr(inferer.padding_mode, "value", inferer.padding_mode))
    return kind(roi, size, overlap, mode, sigma, padding, inferer.cval), flat


_WINDOWS = {SlidingWindowInferer: SlidingWindow, EvenWindowInferer: EvenWindow}


def _decision(steps: list[Any], labels: LabelTable) -> Decision:
    """Return how the postprocessing decides on classes; refuse steps that cannot be streamed."""
    names = [type(step).__name__ for step in steps]
    places = [place for place, step in enumerate(steps) if isinstance(step, Activationsd)]
    if places == [0] or (places == [1] and labels.regions):
        _require_activation(steps.pop(places[0]), "sigmoid" if labels.regions else "softmax")
        names.pop(places[0])
    last = RegionsToClassesd if labels.regions else AsDiscreted
    if [type(step) for step in steps] != [Invertd, last]:
        raise CannotStreamError(
            f"its postprocessing is {', '.join(names) or 'empty'}, not Invertd, {last.__name__}"
        )
    invert, discrete = steps
    if invert.nearest_interp != (False,) or invert.post_func != (None,):
        raise CannotStreamError("its Invertd sets nearest_interp or post_func")
    if labels.regions and not places:
        raise CannotStreamError("it has no sigmoid of its scores")
    if not labels.regions and (
        discrete.argmax,
        discrete.to_onehot,
        discrete.threshold,
        discrete.rounding,
    ) != ((True,), [None], [None], (None,)):
        raise CannotStreamError("its AsDiscreted does more than the arg max")
    return decision_of(labels, activates_first=places == [0])


def _require_activation(step: Activationsd, wanted: str) -> None:
    """Refuse an activation that is not the softmax of classes, or the sigmoid of regions."""
    others = {"sigmoid", "softmax"} - {wanted}
    if (
        getattr(step, wanted) != (True,)
        or any(any(getattr(step, other)) for other in others)
        or any(step.other)
        or step.converter.kwargs
    ):
        raise CannotStreamError(f"its activation is not the {wanted}")
