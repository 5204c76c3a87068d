"""Weights that MONAI's run scores on held-out cases, and the record of the evaluation in its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from segpipe.bundle.cases import TrainingCases
from segpipe.bundle.image_cases import ImageCases
from segpipe.bundle.image_labels import calibration_of
from segpipe.bundle.running import running_parser
from segpipe.bundle.train_overlap import TrainingRecord, TrainOverlap
from segpipe.bundle.weights import listed_weights, load_checked, warn
from segpipe.calibration import Calibration
from segpipe.dataset import Case
from segpipe.errors import SegpipeError
from segpipe.evaluation.score_table import ReferencedCase
from segpipe.inference.precision import choose_precision
from segpipe.monai_run import refusal_ends_run
from segpipe.networks import Identity
from segpipe.report import program
from segpipe.training import RunFolder


@dataclass(frozen=True)
class EvaluationRecord:
    """The description of an evaluation, `about` in `summary.json`.

    Attributes:
        bundle: name of the bundle's folder.
        bundle_version: version in the bundle's metadata; None without a version.
        manifest: `name` and `sha256` of the manifest.
        part: scored part of the manifest, such as "fold 0" or "test of paper".
        weights: `TrainingRecord.as_plain` of each file.
        overlap: `TrainOverlap.as_plain` of the cases.
        precision: names of the number formats in which the networks computed.
        device: device of the networks.
        warnings: limits of the scores' validity.
        scan_warnings: case -> its differences from the training cases; None where nothing was compared.
    """

    bundle: str
    bundle_version: str | None
    manifest: Mapping[str, str]
    part: str
    weights: Sequence[Mapping[str, Any]]
    overlap: Mapping[str, Sequence[str]]
    precision: Sequence[str]
    device: str
    warnings: Sequence[str]
    scan_warnings: Mapping[str, Sequence[str]] | None

    def as_plain(self, made_by: Mapping[str, str]) -> dict[str, Any]:
        """Return the record in plain types.

        Args:
            made_by: see `segpipe.report.program`.
        """
        return {**asdict(self), **made_by}


@dataclass(frozen=True)
class ScoredWeights:
    """Weights that are scored on held-out cases.

    Attributes:
        folder: folder of the scores: a new folder in the run, or beside all runs if only weights were named.
        about: `EvaluationRecord.as_plain`.
        cases: cases that are scored.
    """

    folder: Path
    about: Mapping[str, Any]
    cases: tuple[ReferencedCase, ...]


@dataclass(frozen=True)
class ScoredImageWeights:
    """A classifier's weights that are scored on held-out images.

    Attributes:
        folder: folder of the scores: a new folder in the run, or beside all runs if only weights were named.
        about: `EvaluationRecord.as_plain`.
        cases: held-out cases, in the manifest's form, with whole paths.
        calibration: of the weights.
    """

    folder: Path
    about: Mapping[str, Any]
    cases: tuple[Case, ...]
    calibration: Calibration


@refusal_ends_run()
def weights_to_score(
    network: torch.nn.Module,
    weights: Sequence[str | Path] | None,
    identity: Identity,
    run_folder: RunFolder,
    cases: TrainingCases,
) -> ScoredWeights:
    """Load weights to score on held-out cases; refuse weights that were trained on these cases or their patients.

    Args:
        network: network that takes the weights.
        weights: list of one file; None takes the best weights of `run_folder`.
        identity: of the bundle.
        run_folder: folder of the run whose weights are the default.
        cases: held-out cases to score.

    Raises:
        SegpipeError: see `with_weights`; or nothing is held out, or the weights were trained on a held-out case or on
            its patient, see `segpipe.bundle.train_overlap`.
    """
    scored = _scored(network, weights, identity, run_folder, cases)
    return ScoredWeights(
        folder=scored.folder,
        about=scored.about,
        cases=tuple(
            ReferencedCase(
                case.case,
                case.patient,
                cases.dataset_dir / case.images[0],
                cases.dataset_dir / str(case.label),
            )
            for case in cases.held_out_cases
        ),
    )


@refusal_ends_run()
def image_weights_to_score(
    network: torch.nn.Module,
    weights: Sequence[str | Path] | None,
    identity: Identity,
    run_folder: RunFolder,
    cases: ImageCases,
) -> ScoredImageWeights:
    """Load a classifier's weights to score on held-out images; see `weights_to_score`.

    Raises:
        SegpipeError: see `weights_to_score` and `segpipe.bundle.calibration`.
    """
    scored = _scored(network, weights, identity, run_folder, cases)
    held_out = [
        replace(case, images=tuple(str(cases.dataset_dir / image) for image in case.images))
        for case in cases.held_out_cases
    ]
    return ScoredImageWeights(
        scored.folder, scored.about, tuple(held_out), calibration_of([scored.path], cases.labels)
    )


@dataclass(frozen=True)
class _Scored:
    path: Path
    folder: Path
    about: Mapping[str, Any]


def _scored(
    network: torch.nn.Module,
    weights: Sequence[str | Path] | None,
    identity: Identity,
    run_folder: RunFolder,
    cases: TrainingCases | ImageCases,
) -> _Scored:
    fold, part = cases.provenance["fold"], cases.provenance["part"]
    if not cases.held_out:
        why = (
            "every case trains"
            if fold == "all"
            else f"the data have no case of its part {part} ({cases.about})"
        )
        raise SegpipeError(f"fold is {fold}: {why} and none is held out to score; give --fold N")
    path = _best(run_folder) if weights is None else _only(weights)
    parser = running_parser()
    record = TrainingRecord.of(path, load_checked(network, path, identity, parser))
    overlap = TrainOverlap.of([record], cases.manifest, cases.held_out_cases, cases.held_out)
    overlap.require_held_out(str(path), "give the --fold that its run held out")
    for warning in overlap.warnings():
        warn(f"{path}: {warning}")
    parent = run_folder.path if run_folder.named else run_folder.output_dir
    evaluation = EvaluationRecord(
        bundle=_bundle_name(parser),
        bundle_version=(parser.get(parser.meta_key) or {}).get("version"),
        manifest=cases.provenance["manifest"],
        part=f"{part} of {fold}" if isinstance(fold, str) else f"fold {fold}",
        weights=[record.as_plain()],
        overlap=overlap.as_plain(),
        precision=_precision(parser),
        device=str(parser.get_parsed_content("device")),
        warnings=overlap.warnings(),
        scan_warnings=None,
    )
    return _Scored(
        path=path,
        folder=parent / "evaluation" / f"{path.stem}-{_held_out_name(fold, part)}",
        about=evaluation.as_plain(program()),
    )


def _best(run_folder: RunFolder) -> Path:
    """Return the run's best weights.

    Raises:
        SegpipeError: its validation chose none, but there are weights of the last epoch.
    """
    if not run_folder.best.is_file() and run_folder.last.is_file():
        raise SegpipeError(
            f"{run_folder.path}: no validation chose weights there, so it has no {run_folder.best.name}; score the "
            f"last epoch: --weights \"['{run_folder.last}']\""
        )
    return run_folder.best


def _bundle_name(parser: ConfigParser) -> str:
    return Path(parser.get_parsed_content("bundle_root")).resolve().name


def _precision(parser: ConfigParser) -> list[str]:
    device = torch.device(parser.get_parsed_content("device"))
    dtype = choose_precision(parser.get_parsed_content("precision"), device)
    return [str(dtype).removeprefix("torch.")]


def _held_out_name(fold: int | str, part: str) -> str:
    name = f"fold{fold}"
    if "/" in name or "\\" in name:
        raise SegpipeError(f"fold is {fold!r}, and a folder gets this name; rename the split")
    return name if part == "validation" else f"{name}-{part}"


def _only(weights: Sequence[str | Path]) -> Path:
    paths = listed_weights(weights)
    if len(paths) != 1:
        raise SegpipeError(
            f"weights lists {len(paths)} files; an evaluation on held-out cases scores one weights file: give one"
        )
    return paths[0]
