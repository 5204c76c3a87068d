"""The channels of a data set that are brought onto the grid of their case's first channel."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from segpipe.dataset.manifest import Manifest
from segpipe.errors import SegpipeError, counted
from segpipe.volumes import read_channel_headers


def resampling_note(manifest: Manifest, dataset_dir: Path, *, strict: bool = True) -> str:
    """Return how many cases have channels on another grid than their first channel, and which channels.

    Only headers are read.

    Args:
        manifest: of the data set.
        dataset_dir: folder of its files.
        strict: False passes over a case whose files cannot be read or resampled.

    Raises:
        SegpipeError: with `strict`, a file cannot be read, or a channel cannot be resampled.
    """
    cases = [*manifest.training, *manifest.test]
    channels: Counter[str] = Counter()
    resampled, least = 0, 1.0
    for case in cases:
        try:
            files = [dataset_dir / image for image in case.images]
            header = read_channel_headers(files, frame=case.frame, resample=True)
        except SegpipeError as error:
            if strict:
                raise SegpipeError(f"{case.case}: {error}") from error
            continue
        resampled += bool(header.resampled)
        channels.update(manifest.modality[one.position] for one in header.resampled)
        least = min([least, *(one.covered for one in header.resampled)])
    if not resampled:
        return "no channel is resampled: the channels of every case lie on one grid"
    which = ", ".join(f"{name} in {number}" for name, number in channels.items())
    return (
        f"{resampled} of {counted(len(cases), 'case')} have channels on another grid than {manifest.modality[0]} "
        f"({which}): these are resampled onto its grid, linear; the least covers {100 * least:.0f} % of it"
    )
