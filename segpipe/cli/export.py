"""`segpipe export`: the network of a bundle as ONNX, TorchScript or OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli.bundle_options import Bundle, InferenceConfig, Override, Trust, Weights, bundle_source
from segpipe.cli.info import size_of
from segpipe.cli.printed import say
from segpipe.import_time import collecting_nothing


def export(
    bundle: Bundle,
    to: Annotated[str, typer.Option("--to", metavar="onnx|torchscript|openvino", help="Form of the file.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to write: .onnx, .ts, or .xml for OpenVINO."
        ),
    ],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Size of an image that the network takes, such as 96,96,96; default: the bundle's window.",
        ),
    ] = None,
    fixed_size: Annotated[
        bool, typer.Option("--fixed-size", help="Take images of this size alone; the batch stays free.")
    ] = False,
    weights: Weights = None,
    config: InferenceConfig = None,
    override: Override = None,
    trust: Trust = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write the network of a bundle for other programs; it is compared with PyTorch before the file appears.

    The file takes any batch, and any size that the network takes. Labels, channels, window, spacing and transforms
    are in its metadata. It returns scores: the transforms before and the label map after it are the program's work.
    """
    with collecting_nothing():
        from segpipe.export import ExportOptions, export_bundle

    done = export_bundle(
        bundle_source(bundle, weights, config, override, None, trust),
        to,
        output,
        ExportOptions(size=size_of(size), fixed_size=fixed_size, overwrite=overwrite),
    )
    for path in done.files:
        say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    first = " x ".join(map(str, done.compared[0].shape[2:]))
    more = (
        "of this size alone"
        if done.step is None
        else "or of any larger size"
        if done.step == 1
        else f"or longer by a multiple of {done.step} along every axis"
    )
    say(f"takes any batch of images of {first}, {more}; written by {done.way}")
    for result in done.compared:
        say(
            f"images {' x '.join(map(str, result.shape))}: scores differ by up to {result.difference:.2g} from "
            f"PyTorch's, which reach {result.largest:.3g}"
        )
