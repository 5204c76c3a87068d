"""Classified images with their true classes or findings: what every score is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from segpipe.calibration import Calibration
from segpipe.categories import NO_FINDING, Categories
from segpipe.errors import SegpipeError

Array = NDArray[np.float64]
_LEAST = 1e-300  # a probability that rounding made 0


@dataclass(frozen=True)
class ClassifiedImages:
    """Predictions and truth of N images and C classes or findings.

    Attributes:
        cases: name of each image's case.
        patients: patient of each case; None where no patient is known.
        categories: the classes or findings.
        probabilities: `(N, C)`, 0..1; over classes they sum to 1.
        present: `(N, C)`: 1 true of the image, 0 not true, NaN unknown (findings only).
        decided: `(N, C)`: whether each class or finding is decided to be true, by itself.
        chosen: `(N,)`: index of the class that is the decision; None for findings.
        before: `(N, C)`, probabilities before the temperature; None where not known.
        thresholds: threshold of each name, which made `decided`; None where not known.
        files: path of each image, as text; empty texts where not known.
        warnings: warnings about each image; empty texts where there are none.

    Raises:
        SegpipeError: on construction: there are no images, two cases have one name, or a probability is not within
            0..1.
    """

    cases: tuple[str, ...]
    patients: tuple[str, ...] | None
    categories: Categories
    probabilities: Array
    present: Array
    decided: NDArray[np.bool_]
    chosen: NDArray[np.intp] | None
    before: Array | None = None
    thresholds: tuple[float, ...] | None = None
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.cases:
            raise SegpipeError("scores: there is no image with both a prediction and a known truth")
        seen: set[str] = set()
        for case in self.cases:
            if case in seen:
                raise SegpipeError(f"scores: {case} stands twice; every image is scored once")
            seen.add(case)
        for probabilities in (self.probabilities, self.before):
            if probabilities is None:
                continue
            for row in np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)).tolist():
                name, value = self._first_outside(probabilities[row])
                raise SegpipeError(
                    f"{self.cases[row]}: the probability of {name} is {value:g}, must be 0 to 1; give probabilities, "
                    "not logits"
                )

    def _first_outside(self, row: Array) -> tuple[str, float]:
        place = int(np.flatnonzero(~((row >= 0) & (row <= 1)))[0])
        return self.categories.names[place], float(row[place])

    @classmethod
    def of_logits(
        cls,
        cases: Sequence[str],
        patients: Sequence[str] | None,
        logits: ArrayLike,
        targets: ArrayLike,
        calibration: Calibration,
        files: Sequence[str] = (),
        warnings: Sequence[str] = (),
    ) -> ClassifiedImages:
        """Return the images of a network's outputs.

        Args:
            cases: name of each image's case.
            patients: patient of each case; None where no patient is known.
            logits: `(N, C)`.
            targets: for classes `(N,)` indices; for findings `(N, C)` with 1 present, 0 absent, NaN unknown.
            calibration: calibration of the network's weights, with the names.
            files: path of each image.
            warnings: warnings about each image.

        Raises:
            SegpipeError: a logit is not finite, or see the class.
        """
        scores = np.asarray(logits, np.float64).reshape(len(cases), -1)
        for row in np.flatnonzero(~np.isfinite(scores).all(axis=1)).tolist():
            raise SegpipeError(
                f"{cases[row]}: the network's output is not finite ({scores[row].tolist()!r:.80}); check the image, or "
                "try --precision float32"
            )
        before = Calibration.none(calibration.categories).probabilities(scores)
        probabilities = calibration.probabilities(scores)
        return cls._of(cases, patients, (probabilities, before), targets, calibration, files, warnings)

    @classmethod
    def of_calibrated(
        cls,
        cases: Sequence[str],
        patients: Sequence[str] | None,
        probabilities: ArrayLike,
        targets: ArrayLike,
        calibration: Calibration,
        files: Sequence[str] = (),
        warnings: Sequence[str] = (),
    ) -> ClassifiedImages:
        """Return the images of calibrated probabilities, `(N, C)`; see `of_logits` for the other arguments.

        The calibration is undone for the probabilities before the temperature.
        """
        calibrated = np.asarray(probabilities, np.float64).reshape(len(cases), -1)
        before = uncalibrated(calibrated, calibration)
        return cls._of(cases, patients, (calibrated, before), targets, calibration, files, warnings)

    @classmethod
    def _of(
        cls,
        cases: Sequence[str],
        patients: Sequence[str] | None,
        probabilities: tuple[Array, Array],
        targets: ArrayLike,
        calibration: Calibration,
        files: Sequence[str],
        warnings: Sequence[str],
    ) -> ClassifiedImages:
        categories = calibration.categories
        calibrated, before = probabilities
        return cls(
            tuple(cases),
            None if patients is None else tuple(patients),
            categories,
            calibrated,
            present_of(targets, categories),
            calibration.decided(calibrated),
            calibrated.argmax(axis=1) if categories.exclusive else None,
            before,
            calibration.thresholds,
            tuple(files),
            tuple(warnings),
        )

    @property
    def drawn(self) -> tuple[str, ...]:
        """Units that the bootstrap draws: the patients, or the images where no patient is known."""
        return self.patients or self.cases

    @property
    def targets(self) -> NDArray[np.intp]:
        """True class of each image, `(N,)`; for classes only."""
        targets: NDArray[np.intp] = self.present.argmax(axis=1)
        return targets

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether the truth of each name is known, `(N, C)`."""
        return ~np.isnan(self.present)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image's decision is right: the class, or every known finding."""
        if self.chosen is not None:
            right: NDArray[np.bool_] = self.chosen == self.targets
        else:
            wrong = self.decided != (self.present > 0)
            right = ~(wrong & self.known).any(axis=1)
        return right

    @property
    def confidence(self) -> Array:
        """Probability of each image's decided class, `(N,)`; for classes only."""
        return self._of_chosen(self.probabilities)

    @property
    def confidence_before(self) -> Array | None:
        """The same before the temperature; None where not known."""
        return None if self.before is None else self._of_chosen(self.before)

    def truth_in_words(self, row: int) -> str:
        """Return the true class of an image, or its findings."""
        return self._in_words(self.present[row] > 0)

    def decision_in_words(self, row: int) -> str:
        """Return the class that was decided for an image, or the findings."""
        if self.chosen is not None:
            return self.categories.names[int(self.chosen[row])]
        return self._in_words(self.decided[row])

    def unknown_in_words(self, row: int) -> str:
        """Return the findings of an image of which nobody knows whether they are present."""
        return "|".join(self._names(~self.known[row]))

    def _of_chosen(self, probabilities: Array) -> Array:
        chosen = self.probabilities.argmax(axis=1) if self.chosen is None else self.chosen
        taken: Array = np.take_along_axis(probabilities, chosen[:, None], axis=1)[:, 0]
        return taken

    def _in_words(self, true: NDArray[np.bool_]) -> str:
        return "|".join(self._names(true)) or NO_FINDING

    def _names(self, true: NDArray[np.bool_]) -> list[str]:
        return [name for name, is_true in zip(self.categories.names, true, strict=True) if is_true]


def present_of(targets: ArrayLike, categories: Categories) -> Array:
    """Return for each image and name 1 if it is true, 0 if not, NaN if unknown, `(N, C)`.

    Args:
        targets: for classes `(N,)` indices; for findings `(N, C)` with 1 present, 0 absent, NaN unknown.
        categories: the names.

    Raises:
        SegpipeError: an index is no class.
    """
    truth = np.asarray(targets)
    present: Array
    if not categories.exclusive:
        present = truth.astype(np.float64).reshape(len(truth), categories.num)
        return present
    if not np.isin(truth, np.arange(categories.num)).all():
        raise SegpipeError(
            f"scores: the true classes are {truth.min()} to {truth.max()}, must be 0 to {categories.num - 1}"
        )
    present = (np.arange(categories.num) == truth.reshape(-1, 1)).astype(np.float64)
    return present


def uncalibrated(probabilities: Array, calibration: Calibration) -> Array:
    """Return the probabilities before the temperature and the shift, `(N, C)`.

    Args:
        probabilities: `(N, C)`, calibrated.
        calibration: the calibration that made them.
    """
    none = Calibration.none(calibration.categories)
    if calibration.categories.exclusive:
        logits = np.log(np.maximum(probabilities, _LEAST))
    else:
        logits = logit(np.clip(probabilities, _LEAST, 1 - np.finfo(float).epsneg)) - np.asarray(
            calibration.shift
        )
    return none.probabilities(logits * np.asarray(calibration.temperature))
