"""Quantises the weights of a bundle, if the labels of held-out cases stay as good."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from segpipe import __version__
from segpipe.bundle.open import OpenBundle, open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.bundle.train_overlap import TrainingRecord
from segpipe.bundle_names import require_writable_bundle
from segpipe.dataset import (
    Case,
    EvaluationSplit,
    Manifest,
    dataset_dir_of,
    evaluation_split_of,
    load_manifest,
)
from segpipe.dataset.importing.channel_files import case_files
from segpipe.errors import SegpipeError, counted, shown
from segpipe.files import require_writable, staging_folder, write_json
from segpipe.inference.engines.names import FLOAT32, INT8
from segpipe.inference.engines.quantised import (
    MOST_LOST,
    QuantisedRecord,
    losing,
    mean_of,
    quantised_paths,
    why_not_int8,
)
from segpipe.inference.engines.quantising import quantised_files, quantiser_versions, require_nncf
from segpipe.model_evaluation.evaluate import evaluate
from segpipe.model_evaluation.options import EvaluateOptions, Evaluation
from segpipe.networks.weights import sidecar_path
from segpipe.prediction.calibration_windows import calibration_windows
from segpipe.prediction.options import Prediction
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import Scan, volume_format


@dataclass(frozen=True)
class QuantiseOptions:
    """The cases and windows of a quantisation.

    Attributes:
        split: cases to score, see `evaluation_split_of`; None: those that the weights held out, else the test cases, or
            the first fold.
        windows: number of windows of training cases that the ranges are measured on.
        seed: of the draw of these windows.
        checksums: whether files are compared with the manifest's SHA-256.
        replace: whether an earlier network in int8 is replaced.
    """

    split: str | None = None
    windows: int = 40
    seed: int = 0
    checksums: bool = True
    replace: bool = False


@dataclass(frozen=True)
class Quantisation:
    """The result of a quantisation.

    Attributes:
        record: of the network in int8.
        files: written files; empty if a class loses too much.
        refusal: why nothing was written; else empty.
    """

    record: QuantisedRecord
    files: tuple[Path, ...]
    refusal: str = ""


def quantise(
    bundle: str | Path | BundleSource,
    manifest: str,
    options: QuantiseOptions | None = None,
    dataset_dir: Path | None = None,
    output: Path | None = None,
    *,
    watch: Callable[[Prediction, int, int], None] | None = None,
    report: Callable[[str], None] = lambda _: None,
    predicting: Callable[[], AbstractContextManager[object]] | None = None,
) -> Quantisation:
    """Quantise the weights of a bundle, score held-out cases before and after, and write the network in int8.

    The network lies beside the weights. Nothing is written there if a class loses more than .002 of mean Dice.

    Args:
        bundle: folder, name or source.
        manifest: of the training and held-out cases: name of a shipped manifest, or a path.
        options: see `QuantiseOptions`.
        dataset_dir: folder of the manifest's files; default: the folder that the manifest names.
        output: folder that keeps label maps and scores, in `float32` and `int8`; a later call goes on with them. None:
            nothing is kept.
        watch: see `segpipe.prediction.predict.predict`.
        report: called with each message that the user should read before the end.
        predicting: returns a context that is entered while cases are segmented.

    Raises:
        SegpipeError: a package is missing, or the processor does not compute in int8; there is a network in int8
            already; several weights are given; the network cannot be quantised; no case is left to measure ranges on;
            or see `segpipe.model_evaluation.evaluate.evaluate`.
    """
    how = options or QuantiseOptions()
    job = _prepared(bundle, manifest, how, dataset_dir)
    with _place(output) as place:

        def scores(of: BundleSource, precision: str, tell: Callable[[str], None] | None) -> Evaluation:
            report(f"scoring {job.scored.name} in {precision}")
            wanted = EvaluateOptions(job.split, job.part, precision=precision, checksums=how.checksums)
            context = None if predicting is None else predicting()
            return evaluate(of, manifest, place / precision, wanted, job.folder, watch, tell, context)

        before = scores(job.source, FLOAT32, report)
        files, found = _quantised(job, how, report)
        staged = place / "weights" / job.weights.name
        _copy_weights(job.weights, staged)
        _write(staged, files, found)
        after = scores(replace(job.source, weights=[staged]), INT8, None)
    found = replace(found, **_scored(before, after, job))
    lost = losing(found.float32, found.int8)
    if lost:
        refusal = (
            f"{job.weights}: a class loses more than {MOST_LOST:g} of mean Dice ({lost}), so no network in {INT8} was "
            "written; other windows may do: --seed, --windows"
        )
        return Quantisation(found, (), refusal)
    _write(job.weights, files, found)
    return Quantisation(found, quantised_paths(job.weights))


@dataclass(frozen=True)
class _Job:
    """A bundle to quantise, and the cases of both kinds."""

    source: BundleSource
    opened: OpenBundle
    weights: Path
    manifest: Manifest
    folder: Path
    split: str
    part: str | None
    scored: EvaluationSplit
    drawn_from: Sequence[Scan]


def _prepared(
    bundle: str | Path | BundleSource, manifest: str, how: QuantiseOptions, dataset_dir: Path | None
) -> _Job:
    """Check everything that can be known before a case is read."""
    _require_processor()
    source = replace(BundleSource.of(bundle), device="cpu")
    opened = open_bundle(source, with_ranges=False)
    weights = _only(opened)
    require_writable_bundle(weights.parent, f"a network in {INT8}")
    require_writable(weights.parent)
    existing = [path for path in quantised_paths(weights) if path.exists()]
    if existing and not how.replace:
        raise SegpipeError(f"{existing[0]}: exists already; give --replace to make it again")
    described = load_manifest(manifest)
    folder = dataset_dir_of(manifest, described, dataset_dir)
    record = TrainingRecord.read(weights)
    split, part = _scored_split(how.split, record, described)
    scored = evaluation_split_of(described, split, part)
    cases = _cases_to_draw(described, record, scored.cases)
    scans = []
    for case in cases:
        first, *further = case_files(case, described, folder, opened.takes.channels)
        scans.append(Scan(first, volume_format(first), case.case, tuple(further), case.frame))
    return _Job(source, opened, weights, described, folder, split, part, scored, scans)


def _quantised(
    job: _Job, how: QuantiseOptions, report: Callable[[str], None]
) -> tuple[dict[str, bytes], QuantisedRecord]:
    """Return the files of the network in int8, and its record without scores."""
    windows, names = calibration_windows(Segmenter(job.opened), job.drawn_from, how.windows, how.seed)
    drawn = f"{counted(len(windows), 'window')} of {counted(len(names), 'training case')}"
    report(f"quantising: ranges of {drawn}")
    files = quantised_files(job.opened.network, windows)
    return files, QuantisedRecord(
        weights_sha256=job.opened.weights_sha256[0],
        files={suffix: sha256(content).hexdigest() for suffix, content in files.items()},
        window=list(windows[0].shape),
        calibration={"windows": len(windows), "cases": names, "seed": how.seed},
        versions={"segpipe": __version__, **quantiser_versions()},
    )


def _require_processor() -> None:
    require_nncf()
    reason = why_not_int8()
    if reason:
        raise SegpipeError(
            f"segpipe quantize: {reason}, so its labels cannot be scored here; use another machine"
        )


def _only(opened: OpenBundle) -> Path:
    if len(opened.weights) != 1:
        raise SegpipeError(
            f"{opened.root}: {len(opened.weights)} weights files are an ensemble "
            f"({shown([path.name for path in opened.weights])}), and only one file can be quantised; give one as "
            "--weights"
        )
    return opened.weights[0]


def _scored_split(split: str | None, record: TrainingRecord, manifest: Manifest) -> tuple[str, str | None]:
    """Return the cases to score, as a split and its part."""
    if split is None and record.fold not in (None, "all"):
        split = str(record.fold)
    if split is None and not manifest.test:
        folds = sorted({case.fold for case in manifest.training if case.fold is not None})
        if not folds:
            raise SegpipeError(f"{manifest.name}: has neither test cases nor folds to score; give --split")
        split = str(folds[0])
    return split or "test", "validation" if split in manifest.splits else None


def _cases_to_draw(manifest: Manifest, record: TrainingRecord, scored: Sequence[Case]) -> list[Case]:
    """Return the training cases that are not scored."""
    names = {case.case for case in scored}
    patients = {case.patient for case in scored} - {None}
    cases = [
        case
        for case in manifest.training
        if case.case not in names
        and case.patient not in patients
        and (not record.trained or case.case in record.trained)
    ]
    if not cases:
        raise SegpipeError(
            f"{manifest.name}: no training case is left to measure ranges on beside the {len(names)} scored cases; "
            "give another --split, or the manifest of the training"
        )
    return cases


@contextmanager
def _place(output: Path | None) -> Iterator[Path]:
    """Yield a folder of label maps and scores."""
    if output is not None:
        require_writable(output)
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="segpipe-int8-") as folder:
        yield Path(folder)


def _copy_weights(weights: Path, staged: Path) -> None:
    """Copy weights and their sidecar, beside which the network in int8 is scored before it is published."""
    staged.parent.mkdir(parents=True, exist_ok=True)
    for path, name in ((weights, staged), (sidecar_path(weights), sidecar_path(staged))):
        if path.is_file():
            shutil.copyfile(path, name)


def _write(weights: Path, files: Mapping[str, bytes], record: QuantisedRecord) -> None:
    """Write a network in int8 beside weights, its record last; without a record its files are not used."""
    path, *_ = quantised_paths(weights)
    path.unlink(missing_ok=True)
    with staging_folder(path) as folder:
        for suffix, content in files.items():
            (folder / weights.with_suffix(suffix).name).write_bytes(content)
        write_json(folder / path.name, record.as_plain())


def _scored(before: Evaluation, after: Evaluation, job: _Job) -> dict[str, Any]:
    """Return the part of a record that the scores give.

    Raises:
        SegpipeError: a case has scores in one number format alone, or no class has any.
    """
    cases = {row.case for row in before.scores.rows}
    lacking = sorted(cases ^ {row.case for row in after.scores.rows})
    if lacking:
        reasons = {**before.scores.reasons, **after.scores.reasons}
        reason = reasons.get(lacking[0], "not known")
        raise SegpipeError(f"{shown(lacking, most=3)}: no scores in both {FLOAT32} and {INT8}: {reason}")
    dice = [
        mean_of({name: figures["dice"].interval.mean for name, figures in one.summary.by_class.items()})
        for one in (before, after)
    ]
    if not dice[0] or set(dice[0]) != set(dice[1]):
        raise SegpipeError(
            f"{job.scored.name} of {job.manifest.name}: no class has a Dice, so nothing can be compared"
        )
    return {
        FLOAT32: dice[0],
        INT8: dice[1],
        "cases": {
            "manifest": {"name": job.manifest.name, "sha256": job.manifest.sha256},
            "part": job.scored.name,
            "number": len(cases),
        },
        "warnings": list(before.warnings),
    }
