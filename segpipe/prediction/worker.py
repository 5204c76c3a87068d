"""A worker on another machine: gets a recipe, opens the bundle itself, and segments one scan after the other.

Nothing of this module knows what starts the workers; `segpipe.prediction.ray_pool` does so with Ray.
"""

from __future__ import annotations

import json
import logging
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.prediction.ledger import Entry, Ledger, State
from segpipe.prediction.options import PredictOptions
from segpipe.prediction.output_folder import OutputFolder
from segpipe.prediction.request import computing_versions
from segpipe.prediction.scan_files import scan_file_sizes
from segpipe.volumes import Scan, VolumeFormat

Message = dict[str, Any]
"""What crosses between driver and worker: plain values alone."""


@dataclass(frozen=True)
class WorkRecipe:
    """What a worker needs to compute as the driver does, in plain values.

    Attributes:
        bundle: fields of a `BundleSource`, with absolute paths.
        options: fields of `PredictOptions`.
        recipe: hash that the worker's own bundle must give.
        way: engine, precision, threads and batches, which the driver settled.
        cores: processor threads of a worker.
        has_gpu: whether a worker gets a GPU of its own.
        versions: of the driver, see `computing_versions`.
        staging: the driver's staging folder.
        mark: name of a file there; a worker that sees the file shares the disk.
    """

    bundle: Mapping[str, Any]
    options: Mapping[str, Any]
    recipe: str
    way: Mapping[str, Any]
    cores: int
    has_gpu: bool
    versions: Mapping[str, str]
    staging: str
    mark: str

    def message(self) -> Message:
        """Return the recipe as a message.

        Raises:
            SegpipeError: an override is a live object, which cannot cross.
        """
        try:
            return dict(json.loads(json.dumps(asdict(self))))
        except TypeError as error:
            raise SegpipeError(
                f"an override or option cannot be sent to workers ({error}); give plain values"
            ) from error


def source_message(source: BundleSource) -> Message:
    """Return the fields of a bundle source, with absolute paths."""

    def absolute(path: str | Path) -> str:
        return str(Path(path).absolute()) if Path(path).exists() else str(path)

    return {
        "root": str(Path(source.root).absolute()),
        "weights": [absolute(path) for path in source.weights],
        "configs": [absolute(path) for path in source.configs],
        "overrides": dict(source.overrides or {}),
        "device": source.device and str(source.device).partition(":")[0],  # a worker sees its own GPU alone
        "trust": source.trust,
    }


def options_message(options: PredictOptions) -> Message:
    """Return the fields of the options in plain values."""
    codes = options.segment_codes
    return {
        **asdict(options),
        "format": options.format and options.format.value,
        "segment_codes": codes and str(codes.absolute()),
    }


def options_of(message: Mapping[str, Any]) -> PredictOptions:
    """Return the options that a message holds."""
    codes, flips = message["segment_codes"], message["flips"]
    typed = {
        "format": None if message["format"] is None else VolumeFormat(message["format"]),
        "segment_codes": None if codes is None else Path(codes),
        "flips": None if flips is None else tuple(flips),
    }
    return PredictOptions(**{**message, **typed})


def scan_message(scan: Scan) -> Message:
    """Return a scan as a message: paths and sizes of its files, not their bytes."""
    return {
        "path": str(scan.path.absolute()),
        "further": [str(path.absolute()) for path in scan.further],
        "format": scan.format.value,
        "name": scan.name,
        "frame": scan.frame,
        "is_series": scan.is_series,
        "sizes": scan_file_sizes(scan),
    }


def scan_of(message: Mapping[str, Any]) -> Scan:
    """Return the scan that a message names."""
    return Scan(
        Path(message["path"]),
        VolumeFormat(message["format"]),
        message["name"],
        tuple(map(Path, message["further"])),
        message["frame"],
        message["is_series"],
    )


class ScanWorker:
    """Segments scans for a driver, which alone writes the ledger.

    Args:
        message: a `WorkRecipe` in plain values.
    """

    def __init__(self, message: Message) -> None:
        self._recipe = WorkRecipe(**message)
        self._messages: list[str] = []
        self._folder = Path()
        self._run: Any = None

    def start(self) -> Message:
        """Open the bundle; return the name of this machine, its versions and the reason why it cannot work."""
        here = {"host": platform.node(), "versions": computing_versions(), "problem": ""}
        if here["versions"] != dict(self._recipe.versions):
            return here
        try:
            self._open()
        except SegpipeError as error:
            return {**here, "problem": str(error)}
        return here

    def _open(self) -> None:
        import torch

        from segpipe.bundle.open import open_bundle
        from segpipe.bundle.open_locator import with_locator
        from segpipe.prediction.cohort import CohortRun

        torch.set_num_threads(self._recipe.cores)
        options = options_of(self._recipe.options)
        source = BundleSource(**self._recipe.bundle)
        opened = open_bundle(
            source, series_uid=options.series_uid, resample_channels=options.resample_channels
        )
        if options.locate:
            opened = with_locator(opened, source, self._messages.append)
        if options.recipe(opened) != self._recipe.recipe:
            raise SegpipeError(
                f"{source.root}: holds another bundle or other weights than on the driver's machine; give a path that "
                "is the same bundle everywhere"
            )
        shared = Path(self._recipe.staging)
        self._folder = Path(tempfile.mkdtemp(dir=shared if (shared / self._recipe.mark).is_file() else None))
        ledger = Ledger(self._folder)
        if self._recipe.way:
            ledger.agreed = Entry("", State.DONE, "", recipe=self._recipe.recipe, **self._recipe.way)
        staging = self._folder / ".staging"
        staging.mkdir()
        log = logging.getLogger(f"segpipe.worker.{self._folder}")
        log.propagate = False
        log.addHandler(logging.NullHandler())  # the driver logs what became of a scan
        place = OutputFolder(self._folder, staging, ledger, log, self._messages.append)
        self._run = CohortRun(opened, options, place)

    def segment(self, message: Message, content: Sequence[Mapping[str, bytes]] | None = None) -> Message:
        """Segment a scan.

        Args:
            message: from `scan_message`.
            content: file name -> bytes, of each path of the scan, for a worker that does not see the files; None: they
                are read from the disk.

        Returns:
            `unseen`, if the worker does not see the files of the scan; else `entry`, the row of a ledger, `messages`
            for the user, `host`, the name of this machine, and either `staged`, a folder of the driver's disk with the
            files, or `files`, their bytes.
        """
        scan = scan_of(message)
        if content is None and not _sees(scan, message["sizes"]):
            return {"unseen": True}
        with tempfile.TemporaryDirectory() as sent:
            if content is not None:
                scan = _written_scan(scan, content, Path(sent))
            for _ in self._run.go([scan]):
                pass
            entry = self._run.ledger.entries[scan.name]
            reason = entry.reason.replace(str(scan.path), message["path"])  # not that of a file that was sent
        entry = replace(entry, reason=reason)
        told, self._messages[:] = list(self._messages), []
        answer = {
            "host": platform.node(),
            "entry": entry.as_row(),
            "messages": told,
            "left_out": list(self._run.left_out),
            "staged": str(self._folder),
        }
        self._run.left_out.clear()
        if self._folder.parent == Path(self._recipe.staging):
            return answer
        files = {name: (self._folder / name).read_bytes() for name in entry.files}
        for name in files:
            (self._folder / name).unlink()
        return {**answer, "staged": "", "files": files}

    def close(self) -> None:
        """Remove the worker's folder."""
        if self._run is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _sees(scan: Scan, sizes: Sequence[Sequence[Any]]) -> bool:
    """Return whether this machine has the files of a scan, with the sizes that the driver sees."""
    try:
        return [list(pair) for pair in scan_file_sizes(scan)] == [list(pair) for pair in sizes]
    except SegpipeError:
        return False


def _written_scan(scan: Scan, content: Sequence[Mapping[str, bytes]], folder: Path) -> Scan:
    """Write the files of a scan, which the driver sent, and return the scan of these files."""
    places = []
    for number, (path, files) in enumerate(zip(scan.files, content, strict=True)):
        place = folder / str(number) / path.name
        inside = place if scan.format is VolumeFormat.DICOM else place.parent
        inside.mkdir(parents=True)
        for name, sent in files.items():
            (inside / name).write_bytes(sent)
        places.append(place)
    return Scan(places[0], scan.format, scan.name, tuple(places[1:]), scan.frame, scan.is_series)
