"""`segpipe predict`: segment or classify scans with a bundle."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

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
from segpipe.cli.cohort import Progress, run_cohort
from segpipe.cli.predict_images import refuse_options
from segpipe.cli.predict_parts import (
    given_options,
    merge_parts,
    parsed_part,
    parsed_workers,
    require_scans,
)
from segpipe.cli.printed_predictions import print_estimates, print_summary
from segpipe.errors import SegpipeError
from segpipe.import_time import collecting_nothing
from segpipe.library_warnings import held_library_warnings

Paths = list[Path]


@held_library_warnings()
def predict(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the label maps.")],
    scans: Annotated[
        Paths | None,
        typer.Argument(
            metavar="SCANS...",
            help="Files, DICOM folders, and folders of both; other files in them are ignored. Also tables (.csv) with "
            "a column image, or one for each channel, and manifests.",
        ),
    ] = None,
    bundle: BundleOption = None,  # type: ignore[assignment]  # required but for --merge
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
    part: Annotated[
        str | None,
        typer.Option(
            metavar="K/N|slurm",
            help="Predict part K of N, each on a machine of its own, into one output folder; slurm: the part of this "
            "Slurm array task.",
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="ray",
            help="Let workers segment the scans: on the Ray cluster of RAY_ADDRESS, else on this machine.",
        ),
    ] = None,
    cores_per_worker: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processor cores of each worker. Default: 1.")
    ] = None,
    merge: Annotated[
        bool,
        typer.Option("--merge", help="Merge the finished parts in --output; the last part does so itself."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List each scan with its action, time and memory; write nothing."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print failures only: no progress, no table.")
    ] = False,
) -> None:
    """Segment or classify scans; exit status 1 if some fail. After a crash run it again: finished ones are skipped."""
    if merge:
        merge_parts(output, given_options(context), quiet=quiet)
        return
    scans = require_scans(scans, bundle)
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
            "part": parsed_part(part),
            "workers": parsed_workers(workers, cores_per_worker, dry_run=dry_run),
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

    arguments = dict(arguments)
    if arguments.pop("workers") is not None:
        raise SegpipeError(
            "--workers: only for bundles that segment; give --part to classify on many machines"
        )
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
        del arguments["workers"]
        with collecting_nothing():
            from segpipe.prediction.estimate import estimate

        rows = estimate(**arguments, report=Progress.report)
        print_estimates(rows)
        return
    keep_freed_memory()
    run_cohort(
        partial(predict_scans, **arguments),
        partial(print_summary, output=arguments["output"], part=arguments["part"]),
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


def _axes(mirror: str | None) -> tuple[int, ...] | None:
    if mirror is None or mirror == "none":
        return None if mirror is None else ()
    try:
        return tuple(int(axis) for axis in mirror.split(","))
    except ValueError:
        raise SegpipeError(f"--mirror is {mirror!r}; must be axes such as 0,1,2, or none") from None
