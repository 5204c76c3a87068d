"""`segpipe predict`: segment or classify scans with a bundle."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segpipe.cli.bundle_options import (
    BundleOption,
    Device,
    InferenceConfig,
    Override,
    Trust,
    Weights,
    bundle_source,
)
from segpipe.cli.cohort import Progress, end_estimates, run_cohort
from segpipe.cli.predict_images import refuse_options
from segpipe.cli.printed import print_table, say
from segpipe.cli.printed_expected import print_expected
from segpipe.errors import SegpipeError, counted
from segpipe.import_time import collecting_nothing
from segpipe.library_warnings import held_library_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segpipe.prediction.estimate import Estimate
    from segpipe.prediction.options import Prediction

Paths = list[Path]
_MOST_WARNED, _MOST_LINES = 40, 3


@held_library_warnings()
def predict(
    scans: Annotated[
        Paths,
        typer.Argument(
            metavar="SCANS...",
            help="Files, DICOM folders, and folders of both; other files in them are ignored. Also tables (.csv) with "
            "a column image, or one for each channel, and manifests.",
        ),
    ],
    bundle: BundleOption,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the label maps.")],
    weights: Weights = None,
    config: InferenceConfig = None,
    override: Override = None,
    trust: Trust = False,
    device: Device = None,
    precision: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, float16, int8 (made by `segpipe quantize`), or auto: the fastest, timed at the "
            "start."
        ),
    ] = "auto",
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="torch, torch-compile, openvino, onnxruntime, tensorrt, or auto: the faster one of PyTorch and "
            "OpenVINO, timed at the start. Default: auto.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Windows or images in one batch; default: the bundle's."),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(metavar="AXES", help="Average mirror images: 0,1,2 or none; default: the bundle's."),
    ] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="fast: windows overlap by a quarter; standard: by half; best: by half, with mirror images. Default: "
            "the bundle's.",
        ),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Overlap of windows, 0 to below 1; default: the bundle's."),
    ] = None,
    skip_empty: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Leave out windows that stay below this share of the scan's intensities."
        ),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="SUFFIX",
            help="Format of the label maps: nii.gz, nrrd, mha, ...; seg.nrrd for segments in 3D Slicer. Default: "
            "the scan's format.",
        ),
    ] = None,
    series_uid: Annotated[
        str | None, typer.Option(help="Series to read in a DICOM folder that holds several.")
    ] = None,
    overlays: Annotated[bool, typer.Option(help="Draw each scan with its label map.")] = True,
    entropy: Annotated[
        bool, typer.Option("--entropy", help="Write the entropy of each voxel: 0 is certain, 1 is uniform.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the probabilities of all classes, as .npy.")
    ] = False,
    regions: Annotated[
        bool, typer.Option("--regions", help="Also write a mask of each region; for bundles with regions.")
    ] = False,
    dicom_seg: Annotated[
        bool,
        typer.Option(
            "--dicom-seg",
            help="Also write each label map as a DICOM Segmentation; for DICOM series, and bundles whose classes "
            "have codes.",
        ),
    ] = False,
    rtstruct: Annotated[
        bool,
        typer.Option(
            "--rtstruct",
            help="Also write the contours of each class as a DICOM structure set; for DICOM series.",
        ),
    ] = False,
    segment_codes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Codes for --dicom-seg: CSV or YAML with class, category and type; default: the bundle's.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace files that segpipe did not write, or that somebody changed."
        ),
    ] = False,
    resample_channels: Annotated[
        bool,
        typer.Option(
            "--resample-channels",
            help="Bring channels of a case on other grids onto the first channel's grid, by linear interpolation.",
        ),
    ] = False,
    heatmaps: Annotated[
        str | None,
        typer.Option(
            metavar="[KIND]",
            help="Draw where a network that classifies looked: gradcam (default), or occlusion, which is slow.",
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="all|ed|N",
            help="Time frames of 4D NIfTI scans: all, into a 4D label map; ed, end-diastole by Info.cfg; or a number "
            "from 1.",
        ),
    ] = None,
    no_locate: Annotated[
        bool,
        typer.Option("--no-locate", help="Segment whole scans, also if the bundle has a locator."),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse files that are no scans; default: list and ignore them."),
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of scans to read and prepare ahead.")
    ] = 1,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List each scan with its action, time and memory; write nothing."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print failures only: no progress, no table.")
    ] = False,
) -> None:
    """Segment or classify scans; exit status 1 if some fail. After a crash run it again: finished ones are skipped."""
    with collecting_nothing():
        from segpipe.bundle.task import task_of

    shared: dict[str, Any] = {
        "precision": precision,
        "batch_size": batch_size,
        "flips": _axes(mirror),
        "overwrite": overwrite,
        "jobs": jobs,
        "strict": strict,
    }
    of_volumes: dict[str, Any] = {
        "accuracy": accuracy,
        "overlap": overlap,
        "skip_empty": skip_empty,
        "format": suffix,
        "series_uid": series_uid,
        "overlays": overlays,
        "entropy": entropy,
        "probabilities": probabilities,
        "regions": regions,
        "resample_channels": resample_channels,
        "frames": frames,
        "dicom_seg": dicom_seg,
        "rtstruct": rtstruct,
        "segment_codes": segment_codes,
        "engine": engine,
        "no_locate": no_locate,
    }
    # a folder without metadata is refused when it is opened
    known = (bundle / "configs" / "metadata.json").is_file()
    _BY_TASK[task_of(bundle) if known else "segmentation"](
        {
            "bundle": bundle_source(bundle, weights, config, override, device, trust),
            "output": output,
        },
        scans,
        shared,
        of_volumes,
        heatmaps,
        dry_run=dry_run,
        quiet=quiet,
    )


def _classify(
    arguments: dict[str, Any],
    scans: Paths,
    shared: dict[str, Any],
    of_volumes: dict[str, Any],
    heatmaps: str | None,
    *,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Classify images with a bundle of that task."""
    with collecting_nothing():
        from segpipe.cli.predict_images import predict_images
        from segpipe.prediction.image_options import ClassifyOptions

    given = {_OPTIONS[name]: value not in (None, False) for name, value in of_volumes.items()}
    given["--no-overlays"] = given.pop("--overlays") is False
    refuse_options(given, arguments["bundle"].root, "classifies images", "segment")
    options = ClassifyOptions(**shared, heatmaps=heatmaps)  # type: ignore[arg-type]  # checked by classify
    predict_images({**arguments, "images": scans, "options": options}, dry_run=dry_run, quiet=quiet)


def _segment(
    arguments: dict[str, Any],
    scans: Paths,
    shared: dict[str, Any],
    of_volumes: dict[str, Any],
    heatmaps: str | None,
    *,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Segment scans with a bundle of that task."""
    with collecting_nothing():
        from segpipe.inference.heap import keep_freed_memory
        from segpipe.prediction.options import PredictOptions
        from segpipe.prediction.predict import predict as predict_scans
        from segpipe.volumes.formats import format_of_suffix

    refuse_options(
        {"--heatmaps": heatmaps is not None}, arguments["bundle"].root, "segments scans", "classify"
    )
    suffix = of_volumes["format"]
    format_ = None if suffix is None else format_of_suffix(suffix)
    of_volumes = {**of_volumes, "format": format_, "engine": of_volumes["engine"] or "auto"}
    of_volumes["locate"] = not of_volumes.pop("no_locate")
    options = PredictOptions(**shared, **of_volumes)
    arguments = {**arguments, "scans": scans, "options": options}
    if dry_run:
        with collecting_nothing():
            from segpipe.prediction.estimate import estimate

        rows = estimate(**arguments, report=Progress.report)
        _print_estimates(rows)
        return
    keep_freed_memory()
    run_cohort(
        partial(predict_scans, **arguments),
        partial(_print_summary, output=arguments["output"]),
        doing="Segmenting",
        cases="scans",
        quiet=quiet,
    )


_BY_TASK = {"segmentation": _segment, "classification": _classify}
_OPTIONS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        *("skip_empty", "format", "series_uid", "overlays", "entropy", "probabilities", "regions"),
        *("resample_channels", "frames", "dicom_seg", "rtstruct", "segment_codes", "engine", "no_locate"),
        *("accuracy", "overlap"),
    )
}


def _print_summary(predictions: Sequence[Prediction], output: Path) -> None:
    counts = Counter(prediction.outcome.value for prediction in predictions)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    say(f"{counted(len(predictions), 'scan')}: {outcomes}")
    for prediction in predictions:
        if prediction.outcome == "kept":
            say(f"{prediction.case}: {prediction.reason}")
    resampled = [one for one in predictions if one.resampled]
    if resampled:
        first = resampled[0]
        say(
            f"{counted(len(resampled), 'scan')} with channels resampled onto the first channel's grid, such as "
            f"{first.case} ({'; '.join(first.resampled)}); see volumes.csv"
        )
    print_expected(predictions)
    _print_warnings(predictions)
    unknown = sum(prediction.warnings is None for prediction in predictions if prediction.outcome == "done")
    if unknown:
        say(
            f"{unknown} not compared with the training cases; `segpipe reference-ranges` measures these cases"
        )
    _print_files(output, has_maps=any(one.outcome != "failed" for one in predictions))


def _print_files(output: Path, *, has_maps: bool) -> None:
    """Print what lies in the output folder, and how viewers open the names of the labels."""
    from segpipe.prediction.options import OVERLAYS
    from segpipe.volumes.label_files import ITK_SNAP_FILE, SLICER_FILE

    overlays = f"{OVERLAYS}/, " if (output / OVERLAYS).is_dir() else ""
    maps = f"label maps, {overlays}volumes.csv, " if has_maps else ""
    say(f"{output}: {maps}predictions.jsonl, predict.log")
    viewers = {
        ITK_SNAP_FILE: "ITK-SNAP: Segmentation, Import Label Descriptions",
        SLICER_FILE: "3D Slicer: Add Data",
    }
    for name, opened in viewers.items():
        if has_maps and (output / name).is_file():
            say(f"{output / name}: names and colours of the labels ({opened})")


def _print_warnings(predictions: Sequence[Prediction]) -> None:
    from rich.table import Column

    warned = [(prediction.case, prediction.warnings) for prediction in predictions if prediction.warnings]
    if not warned:
        return
    rows: list[tuple[str, list[str]]] = []
    for case, warnings in warned[:_MOST_WARNED]:
        lines = list(warnings[:_MOST_LINES])
        if len(warnings) > len(lines):
            lines.append(f"and {len(warnings) - len(lines)} more")
        rows.append((case, lines))
    print_table(
        [
            Column("case", overflow="fold"),
            Column("values outside the range of the training cases, the farthest first", overflow="fold"),
        ],
        rows,
        title=f"{counted(len(warned), 'scan')} with warnings: look at these label maps before you use them",
        err=True,
        show_lines=True,
    )
    if len(warned) > _MOST_WARNED:
        say(f"and {len(warned) - _MOST_WARNED} more scans, in volumes.csv", err=True)


def _print_estimates(rows: Sequence[Estimate]) -> None:
    from rich.table import Column

    cells: list[list[str]] = []
    for row in rows:
        size = " x ".join(map(str, row.size))
        seconds = "?" if math.isnan(row.seconds) else f"{row.seconds:.1f}"
        costs = [seconds, f"{row.peak_bytes / 1e9:.1f}"] if row.size else ["", ""]
        cells.append([row.case, row.action, size, *costs])
    print_table(
        [Column("case", overflow="fold"), "what", Column("size", no_wrap=True), "seconds", "peak GB"], cells
    )
    end_estimates(rows, "segment", "scans")


def _axes(mirror: str | None) -> tuple[int, ...] | None:
    if mirror is None or mirror == "none":
        return None if mirror is None else ()
    try:
        return tuple(int(axis) for axis in mirror.split(","))
    except ValueError:
        raise SegpipeError(f"--mirror is {mirror!r}; must be axes such as 0,1,2, or none") from None
