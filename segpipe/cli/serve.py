"""`segpipe serve`: answer scans over HTTP with a bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli.bundle_options import (
    Bundle,
    Device,
    InferenceConfig,
    Override,
    Trust,
    Weights,
    bundle_source,
)
from segpipe.cli.printed import say
from segpipe.errors import SegpipeError
from segpipe.import_time import collecting_nothing


def serve(
    bundle: Bundle,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any other than this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the token that clients send. Default: the variable SEGPIPE_SERVE_TOKEN, if it is set.",
        ),
    ] = None,
    queue: Annotated[int, typer.Option(metavar="N", help="Most scans received, waiting or computed.")] = 8,
    results: Annotated[int, typer.Option(metavar="N", help="Most results that wait to be fetched.")] = 32,
    max_megabytes: Annotated[int, typer.Option(metavar="MIB", help="Largest upload.")] = 2048,
    max_unpacked_megabytes: Annotated[
        int, typer.Option(metavar="MIB", help="Largest content of a zip.")
    ] = 8192,
    max_files: Annotated[int, typer.Option(metavar="N", help="Most files in a zip.")] = 20_000,
    max_voxels: Annotated[
        int, typer.Option(metavar="N", help="Most voxels of a scan, over all channels.")
    ] = 10**9,
    max_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longest time of a scan, from unpacking to label map.")
    ] = 600.0,
    upload_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longest time of an upload.")
    ] = 300.0,
    keep_seconds: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="A result that nobody fetched is deleted after this time."),
    ] = 600.0,
    scratch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for uploads and results. Default: the system's temporary one."
        ),
    ] = None,
    weights: Weights = None,
    config: InferenceConfig = None,
    override: Override = None,
    device: Device = None,
    trust: Trust = False,
) -> None:
    """Answer scans over HTTP: POST a scan, GET label map, DICOM SEG, volumes and warnings. Needs the extra `serve`."""
    with collecting_nothing():
        from segpipe.serving.options import ServeLimits, ServeOptions
        from segpipe.serving.run import log_to_stderr
        from segpipe.serving.run import serve as serve_bundle

    options = ServeOptions(
        host=host,
        port=port,
        token=_token(token_file),
        limits=ServeLimits(max_megabytes, max_unpacked_megabytes, max_files, max_voxels, max_seconds),
        queue=queue,
        results=results,
        upload_seconds=upload_seconds,
        keep_seconds=keep_seconds,
        scratch=scratch,
    )
    source = bundle_source(bundle, weights, config, override, device, trust)
    log_to_stderr()
    try:
        serve_bundle(source, options, lambda address: say(f"segpipe: {address}; Ctrl-C ends it", err=True))
    except KeyboardInterrupt:
        say("segpipe: ended", err=True)


def _token(file: Path | None) -> str | None:
    """Return the token of a file, or of the variable; None without either.

    Raises:
        SegpipeError: the file cannot be read, or is no text.
    """
    if file is None:
        return os.environ.pop("SEGPIPE_SERVE_TOKEN", None)  # the process with the network needs none
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SegpipeError(f"{file}: the token cannot be read ({reason}); check --token-file") from error
