"""Images that are almost the same: one picture that was saved again, resized, or made brighter.

Equal pixels are found by their hash, see `segpipe.dataset.leaks`; a picture that was saved again as JPEG has others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from segpipe.dataset.manifest import Case
from segpipe.dataset.outliers import together
from segpipe.dataset.reports import Finding, ImageFacts
from segpipe.volumes import Picture

_SIDE = 32  # pixels of a thumbnail
_COARSE, _FINE = (
    0.99,
    0.985,
)  # least correlation at 16 x 16 and at 32 x 32 pixels; of two patients at most .987 and .971
_BLOCK = 1024  # images that are compared with all others at once
_ADVICE = "look at both, and remove one; or give two images of one patient the same patient"


def thumbnail(picture: Picture) -> NDArray[np.float16]:
    """Return an image at 32 x 32 pixels without its brightness and contrast, for comparisons.

    Args:
        picture: any size; colours are averaged.

    Returns:
        shape (1024,), mean 0, standard deviation 1; all 0 for a blank image.
    """
    grey = torch.from_numpy(picture.pixels.mean(axis=0, dtype=np.float32))
    small = functional.adaptive_avg_pool2d(grey[None, None], (_SIDE, _SIDE)).flatten().numpy()
    normal: NDArray[np.float16] = _normalised(small[None])[0].astype(np.float16)
    return normal


def near_copies(pairs: Sequence[tuple[Case, ImageFacts]]) -> list[Finding]:
    """Warn of images that are almost the same, which a hash of the pixels does not show.

    Images of one patient with equal labels are not compared: a patient's images may look alike.

    Args:
        pairs: cases, and the facts of their images; facts without a thumbnail are not compared.

    Returns:
        one warning for each image that looks like an earlier one; few for many.
    """
    images = len(pairs)
    pairs = [(case, facts) for case, facts in pairs if facts.thumbnail.size]
    found: dict[int, tuple[int, float]] = {}
    for earlier, later, likeness in _alike([facts.thumbnail for _, facts in pairs]):
        (first, of_first), (second, of_second) = pairs[earlier], pairs[later]
        same_patient = first.patient is not None and first.patient == second.patient
        if of_first.content_sha256 == of_second.content_sha256 or (
            same_patient and _labels_equal(first, second)
        ):
            continue
        if likeness > found.get(later, (0, 0.0))[1]:
            found[later] = earlier, likeness
    texts = [
        (pairs[later][0], _message(pairs[earlier][0], pairs[later][0], likeness))
        for later, (earlier, likeness) in sorted(found.items())
    ]
    return together(texts, images, _ADVICE)


def _alike(thumbnails: Sequence[NDArray[np.float16]]) -> Iterator[tuple[int, int, float]]:
    """Yield the positions of two images that look alike, the earlier first, and their correlation."""
    if len(thumbnails) < 2:
        return
    fine = np.stack(thumbnails).astype(np.float32)
    blocks = fine.reshape(-1, _SIDE // 2, 2, _SIDE // 2, 2).mean(axis=(2, 4))
    coarse = _normalised(blocks.reshape(len(fine), -1))
    for start in range(0, len(fine), _BLOCK):
        likeness = coarse[start : start + _BLOCK] @ coarse[: start + _BLOCK].T / coarse.shape[1]
        for row, earlier in np.argwhere(likeness >= _COARSE):
            later = start + int(row)
            if earlier >= later:
                continue
            exact = float(fine[later] @ fine[earlier]) / fine.shape[1]
            if exact >= _FINE:
                yield int(earlier), later, exact


def _normalised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows with mean 0 and standard deviation 1; rows of one value become 0."""
    centred = values - values.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    result: NDArray[np.float32] = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-6)
    return result


def _labels_equal(first: Case, second: Case) -> bool:
    return set(first.classes) == set(second.classes)


def _message(first: Case, second: Case, likeness: float) -> str:
    labels: Mapping[str, str] = {
        case.case: " | ".join(case.classes) or "no label" for case in (first, second)
    }
    differ = "" if _labels_equal(first, second) else f" with another label ({' and '.join(labels.values())})"
    return (
        f"looks almost like {first.case}{differ}: their correlation is {likeness:.3f} of 1, as of one picture that "
        "was saved again"
    )
