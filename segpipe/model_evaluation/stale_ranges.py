"""The reference ranges that new steps of the label maps make stale."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from segpipe.bundle.next_commands import short
from segpipe.files import file_sha256
from segpipe.reference_ranges import RANGES_SUFFIX, ranges_path


def commands_to_measure_again(
    root: Path, weights: Sequence[Sequence[Path]], manifest: str, dataset_dir: Path | None = None
) -> list[str]:
    """Return the command for each file of reference ranges that was measured with other steps of the label maps.

    Ranges are of label maps, too: volumes and numbers of pieces of each class.

    Args:
        root: the bundle's folder.
        weights: the weights that ranges may lie beside; several of them are an ensemble. The bundle's own weights in
            `models/` are always looked at.
        manifest: manifest of the training.
        dataset_dir: folder of the manifest's files, where the user gave one.

    Returns:
        Lines for a shell in the working directory, one for each file that exists.
    """
    command = ["segpipe", "reference-ranges", short(root), "--manifest", short(manifest)]
    if dataset_dir is not None:
        command += ["--dataset-dir", short(dataset_dir)]
    own = {path.resolve() for path in (root / "models").glob(f"*{RANGES_SUFFIX}")}
    commands = [shlex.join(command)] if own else []
    for paths in weights:
        ranges = ranges_path(paths, [file_sha256(path) for path in paths])
        if ranges.is_file() and ranges.resolve() not in own:
            named = [part for path in paths for part in ("--weights", short(path))]
            commands.append(shlex.join([*command, *named]))
    return commands
