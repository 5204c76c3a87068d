"""The best Dice of a pair of thresholds: phantoms must be harder than that."""

import numpy as np

_BINS = 128


def best_dice_of_two_thresholds(images, wanted):
    """Return the best Dice over all pairs of 128 quantiles of "what lies between them is the answer".

    `images` are arrays of intensities, `wanted` the answer for all of them in one flat array.
    """
    intensities = np.concatenate([np.ravel(image) for image in images]).astype(float)
    edges = np.quantile(intensities, np.linspace(0, 1, _BINS + 1))
    bins = np.searchsorted(edges[1:-1], intensities, side="right")
    answered = np.concatenate([[0], np.cumsum(np.bincount(bins, minlength=_BINS))])
    hits = np.concatenate([[0], np.cumsum(np.bincount(bins[wanted], minlength=_BINS))])
    low, high = np.triu_indices(_BINS + 1, k=1)
    return (2 * (hits[high] - hits[low]) / np.maximum(answered[high] - answered[low] + wanted.sum(), 1)).max()
