"""`segpipe check`: check a bundle's configuration before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli.bundle_options import Bundle
from segpipe.cli.overrides import parse_overrides
from segpipe.cli.printed import say
from segpipe.import_time import collecting_nothing

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID=VALUE]...", help="Overrides of the configuration; values are YAML."),
]
Configs = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE", help="File of configs/; later files override earlier ones. Default: train.yaml."
    ),
]
FOUND = 2
TRAIN, INFERENCE = (
    tuple(f"{name}.{suffix}" for suffix in ("yaml", "yml", "json")) for name in ("train", "inference")
)


def check(bundle: Bundle, override: Overrides = None, config: Configs = None) -> None:
    """List a bundle's mistakes before a run: exit status 2 and a line for each mistake, or 0 and one line.

    Without --config, inference.yaml is looked at, too, but not whether its files are there. A note is a line for
    what a run needs from you, such as the folder of your scans, and changes no exit status. Nothing of the bundle's is
    run: no network is made, no scan read, no module imported.
    """
    with collecting_nothing():
        from segpipe.bundle_check.check_bundle import check_bundle
        from segpipe.configuration.reading import configuration_files, shown_path

    overrides = parse_overrides(override or ())
    files = configuration_files(bundle, config or (), (*TRAIN, *INFERENCE))
    findings = check_bundle(bundle, files, overrides, is_inference=files[0].stem.startswith("inference"))
    inference = [] if config else [bundle / "configs" / name for name in INFERENCE]
    for file in [file for file in inference if file.is_file() and file not in files][:1]:
        findings += check_bundle(bundle, [file], {}, look_for_files=False, is_inference=True)
        files.append(file)
    for finding in dict.fromkeys(map(str, findings)):
        say(finding)
    if any(not finding.is_note for finding in findings):
        raise typer.Exit(FOUND)
    say(f"{bundle}: no mistake found in {', '.join(shown_path(file, bundle) for file in files)}")
