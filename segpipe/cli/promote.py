"""`segpipe promote`: copy a run's weights into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli.bundle_options import Trust
from segpipe.cli.printed import say


def promote(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="best.pt or last.pt of a run.")],
    bundle: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder of the bundle.")],
    half: Annotated[bool, typer.Option(help="Store float16 numbers, half the file size.")] = True,
    replace: Annotated[bool, typer.Option(help="Replace the bundle's weights.")] = False,
    safetensors: Annotated[
        bool, typer.Option("--safetensors", help="Write models/model.safetensors in place of model.pt.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Copy a run's weights into a bundle's models/, after checking that they fit the bundle."""
    from segpipe.bundle.promote import promote as promote_weights
    from segpipe.reference_ranges import ranges_path

    written = promote_weights(
        weights, bundle, half=half, replace=replace, safetensors=safetensors, trust=trust
    )
    say(f"{written} ({written.stat().st_size / 1e6:.1f} MB)")
    if ranges_path([written], []).is_file():
        say(f"{ranges_path([written], [])}: the reference ranges of the run's weights")
        return
    say(
        f"`segpipe reference-ranges {bundle} --manifest ...` measures its training cases, so that predict can warn"
    )
