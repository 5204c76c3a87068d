"""The runs of several folds: each run's weights score the cases that its own training held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from segpipe.dataset import Manifest, evaluation_split_of
from segpipe.errors import SegpipeError, shown
from segpipe.networks import weights_file
from segpipe.networks.weights import Sidecar, read_sidecar, sidecar_path

_OF_A_RUN = ("fold", "seed", "manifest", "checksums", "reference_ranges")  # may differ between folds
_QUOTED_LENGTH = 100  # characters of a value of a configuration


@dataclass(frozen=True)
class FoldRun:
    """The weights of one fold.

    Attributes:
        weights: path of the weights file.
        split: number of the fold, or name of the split.
        part: held-out part of a named split; None for a fold.
        cases: names of the held-out cases in the manifest.
        held_out: case -> content hash of its image, for the cases that the training held out.
        sidecar: the sidecar of the weights.
    """

    weights: Path
    split: str
    part: str | None
    cases: frozenset[str]
    held_out: Mapping[str, str]
    sidecar: Sidecar

    @property
    def name(self) -> str:
        """Name of the held-out cases, such as "fold 0" or "validation of paper"."""
        return f"{self.part} of {self.split}" if self.part else f"fold {self.split}"

    @property
    def folder(self) -> str:
        """Name of the folder of the fold's label maps and scores."""
        return self.name.replace(" ", "_")


def fold_runs(weights: Sequence[str | Path], manifest: Manifest) -> list[FoldRun]:
    """Return the runs of weights files, each with the cases that it scores; no scan is read.

    Args:
        weights: the weights files, one a fold, each with its sidecar.
        manifest: the manifest of the trainings.

    Raises:
        SegpipeError: a file or its sidecar is missing; a training held out no case, used another manifest, or trained
            on a case that it should score; or two runs held out the same fold or the same case, or were trained with
            different configurations.
    """
    runs = [_run(weights_file(Path(path)), manifest) for path in weights]
    for first, second in combinations(runs, 2):
        _require_apart(first, second)
    for other in runs[1:]:
        _require_one_configuration(runs[0], other)
    return runs


def folds_left_out(runs: Sequence[FoldRun], manifest: Manifest) -> list[str]:
    """Return the manifest's folds of which no run is given.

    Args:
        runs: the runs.
        manifest: the manifest of the trainings.
    """
    folds = {str(case.fold) for case in manifest.training if case.fold is not None}
    given = {run.split for run in runs}
    return sorted(folds - given, key=int) if folds & given else []


def require_configuration_of(run: FoldRun, weights: Path) -> None:
    """Refuse weights whose training had another configuration than a run, but for fold and seed.

    Args:
        run: the run.
        weights: the weights, with their sidecar.

    Raises:
        SegpipeError: there is no sidecar, or the configurations differ.
    """
    sidecar = read_sidecar(weights)
    if sidecar is None:
        raise SegpipeError(
            f"{weights}: its sidecar {sidecar_path(weights).name} is missing, so how the weights were made is unknown; "
            "copy the sidecar from the run's folder"
        )
    (what, one, other) = next(_different(run.sidecar, sidecar), ("", None, None))
    if what:
        raise SegpipeError(
            f"{run.weights} and {weights}: were trained with different configurations, first {what}: {_quoted(one)} "
            f"and {_quoted(other)}; give the runs of folds with the configuration of {weights.name}"
        )


def _run(weights: Path, manifest: Manifest) -> FoldRun:
    if not weights.is_file():
        raise SegpipeError(
            f"{weights}: no such file; give the weights of a run, such as best.pt in its folder"
        )
    sidecar = read_sidecar(weights)
    training = {} if sidecar is None else sidecar.training
    fold = training.get("fold")
    if sidecar is None or fold is None or not training.get("cases"):
        missing = "is missing" if sidecar is None else "does not name fold and cases of the training"
        raise SegpipeError(
            f"{weights}: its sidecar {sidecar_path(weights).name} {missing}, so nobody knows which cases the weights "
            "held out; copy the sidecar from the run's folder"
        )
    if fold == "all":
        raise SegpipeError(
            f"{weights}: was trained on all cases, and held none out; give runs that held a fold out each"
        )
    name = training.get("manifest", {}).get("name")
    if name != manifest.name:
        raise SegpipeError(
            f"{weights}: held out fold {fold} of the manifest {name}, and {manifest.name} is given; give --manifest of "
            "the training"
        )
    part = None if isinstance(fold, int) else str(training.get("part", "validation"))
    cases = frozenset(case.case for case in evaluation_split_of(manifest, str(fold), part).cases)
    trained = sorted(cases & set(training["cases"]))
    if trained:
        raise SegpipeError(
            f"{weights}: was trained on {len(trained)} of {len(cases)} cases of fold {fold}, which it should score "
            f"({shown(trained, most=3)}): the folds of {manifest.name} were changed after the training; give the "
            "manifest of the training, or train again"
        )
    return FoldRun(weights, str(fold), part, cases, training.get("validation_cases", {}), sidecar)


def _require_apart(first: FoldRun, second: FoldRun) -> None:
    """Refuse two runs that score the same case."""
    if first.name == second.name:
        raise SegpipeError(
            f"{first.weights} and {second.weights}: both held out {first.name}; give one run of each fold"
        )
    known = set(first.held_out.values())
    same = {case for case, content in second.held_out.items() if content in known}
    shared = sorted((first.cases & second.cases) | same)
    if shared:
        raise SegpipeError(
            f"{first.weights} and {second.weights}: both held out {shown(shared, most=3)}, so a case would count "
            "twice; give runs that held out different cases"
        )


def _require_one_configuration(first: FoldRun, second: FoldRun) -> None:
    """Refuse runs of different networks, transforms, labels or numbers."""
    (what, one, other) = next(_different(first.sidecar, second.sidecar), ("", None, None))
    if what:
        raise SegpipeError(
            f"{first.weights} and {second.weights}: were trained with different configurations, first {what}: "
            f"{_quoted(one)} and {_quoted(other)}; give the runs of one bundle that differ in their fold alone"
        )


def _different(first: Sidecar, second: Sidecar) -> Iterator[tuple[str, Any, Any]]:
    """Yield each part that differs, and both values."""
    then, now = (sidecar.training.get("configuration", {}) for sidecar in (first, second))
    for name in sorted({*then, *now} - set(_OF_A_RUN)):
        if then.get(name) != now.get(name):
            yield name, then.get(name), now.get(name)
    for name in sorted({*first.hashes, *second.hashes}):
        if first.hashes.get(name) != second.hashes.get(name):
            yield f"SHA-256 of {name}", first.hashes.get(name), second.hashes.get(name)


def _quoted(value: object) -> str:
    text = str(value)
    return text if len(text) <= _QUOTED_LENGTH else f"{text[:_QUOTED_LENGTH]}..."
