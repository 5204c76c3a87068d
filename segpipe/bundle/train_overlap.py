"""What weights have seen of the cases that they are scored on, by what their sidecars keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.dataset import Case, Manifest
from segpipe.errors import shown
from segpipe.networks.weights import Sidecar


def trained_hashes(training: Mapping[str, Any]) -> set[str]:
    """Return what the images that weights were trained on show, as `segpipe.dataset.reports.content_sha256`."""
    return set(training.get("cases", {}).values())


def validation_hashes(training: Mapping[str, Any]) -> set[str]:
    """Return the same of the images by which the epoch of the weights was chosen."""
    return set(training.get("validation_cases", {}).values()) if "validation" in training else set()


@dataclass(frozen=True)
class TrainOverlap:
    """What weights have seen of cases.

    Attributes:
        total: how many cases there are.
        trained: cases whose picture was trained on.
        patients: other cases of patients that were trained on, as far as the manifest tells.
        chosen: cases by which the epoch was chosen.
        unknown: weights of which it is not known what they were trained on.
    """

    total: int
    trained: tuple[str, ...]
    patients: tuple[str, ...]
    chosen: tuple[str, ...]
    unknown: tuple[str, ...]

    @classmethod
    def by(
        cls,
        sidecars: Mapping[Path, Sidecar | None],
        manifest: Manifest,
        cases: Sequence[Case],
        pictures: Mapping[str, str],
    ) -> TrainOverlap:
        """Find it out.

        Args:
            sidecars: of the weights, by their files.
            manifest: that lists the cases.
            cases: that are scored.
            pictures: case -> what its image shows.
        """
        trainings = {path: {} if own is None else own.training for path, own in sidecars.items()}
        trained = _cases_in(pictures, trainings.values(), trained_hashes)
        whose = {
            case.patient
            for case in (*manifest.training, *manifest.test)
            for training in trainings.values()
            if training.get("manifest", {}).get("name") == manifest.name
            and case.case in training.get("cases", {})
        } - {None}
        return cls(
            total=len(cases),
            trained=trained,
            patients=tuple(case.case for case in cases if case.patient in whose and case.case not in trained),
            chosen=_cases_in(pictures, trainings.values(), validation_hashes),
            unknown=tuple(path.name for path, training in trainings.items() if not trained_hashes(training)),
        )

    @property
    def leaks(self) -> str:
        """Why scores on these cases say nothing of others, in words; empty where nothing is known against them."""
        if self.trained:
            return (
                f"the weights were trained on {len(self.trained)} of these {self.total} cases "
                f"({shown(self.trained, most=3)})"
            )
        if self.patients:
            return (
                f"the weights were trained on other cases of the patients that {len(self.patients)} of these "
                f"{self.total} cases are of ({shown(self.patients, most=3)})"
            )
        return ""

    def warnings(self) -> list[str]:
        """Return what makes the scores mean less than they seem to."""
        found = []
        if self.leaks:
            found.append(
                f"NOT HELD OUT: {self.leaks}. The figures say how well it has learnt them by heart, "
                "not how good it is with others."
            )
        if self.unknown:
            found.append(
                f"Which cases {shown(self.unknown)} was trained on is not known: it may have seen those that it is "
                "scored on."
            )
        if self.chosen:
            found.append(
                f"The epoch of the weights was chosen by {len(self.chosen)} of these {self.total} cases: the figures "
                "flatter a little."
            )
        return found


def _cases_in(
    pictures: Mapping[str, str],
    trainings: Iterable[Mapping[str, Any]],
    seen_in: Callable[[Mapping[str, Any]], set[str]],
) -> tuple[str, ...]:
    """Return the cases whose picture one of several trainings has seen."""
    seen = {picture for training in trainings for picture in seen_in(training)}
    return tuple(sorted(case for case, picture in pictures.items() if picture in seen))
