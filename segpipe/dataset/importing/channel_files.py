"""The channels of a bundle's scans: their names in order, and which file of a case holds which channel."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from segpipe.dataset.importing.found_cases import name_of, words_of
from segpipe.dataset.importing.tables import has_image_column, images_in_table
from segpipe.dataset.importing.templates import template_pattern
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.manifest_files import load_manifest
from segpipe.errors import SegpipeError, shown
from segpipe.files import read_json
from segpipe.volumes import FoundScans, RefusedScan, Scan, look_for_scans, volume_format
from segpipe.volumes.formats import suffix_format

_TABLES = (".csv", ".tsv")
_MANIFESTS = (".json",)
_LONGEST, _MOST_STARS = 200, 2  # of a template: with many stars, a long name takes a very long time to match


@dataclass(frozen=True)
class ScanChannel:
    """One channel of the scans that a network takes.

    Attributes:
        name: such as FLAIR.
        files: how its files are named: the end of their path without suffix, with `{case}` in place of the name of the
            case, such as `{case}_0001` or `{case}/flair`; `*` stands for any text without a slash. None: no name tells
            the channel, or one file holds all channels.
    """

    name: str
    files: str | None = None

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The template as a regular expression with the group `case`."""
        return template_pattern(self.files or "")

    @property
    def num_folders(self) -> int:
        """Number of folders in the template."""
        return (self.files or "").count("/")

    @property
    def literal_length(self) -> int:
        """Number of characters in the template that a path must have as they are."""
        return len((self.files or "").replace("{case}", "").replace("*", ""))


def scan_channels(rows: Iterable[Mapping[str, Any]] | None) -> tuple[ScanChannel, ...]:
    """Return the channels of a configuration.

    Args:
        rows: one mapping a channel, in the network's order, with `name` and, if names tell the files, `files`.

    Raises:
        SegpipeError: a row is no such mapping, two channels have one name or one template, a template is missing
            beside others, or has no `{case}`.
    """
    channels = []
    for number, row in enumerate(rows or ()):
        known = isinstance(row, Mapping) and isinstance(row.get("name"), str) and row["name"].strip()
        files = row.get("files") if isinstance(row, Mapping) else None
        if not known or not isinstance(files, str | None) or set(row) - {"name", "files"}:
            raise SegpipeError(
                f"channels: number {number} is {dict(row) if isinstance(row, Mapping) else row!r}; write a name, and "
                "in files how its files are named, such as {name: FLAIR, files: '{case}_0000'}"
            )
        channels.append(ScanChannel(row["name"].strip(), files))
    for what, texts in (
        ("name", [channel.name.casefold() for channel in channels]),
        ("files", [channel.files for channel in channels if channel.files is not None]),
    ):
        twice = next((text for text in texts if texts.count(text) > 1), None)
        if twice is not None:
            raise SegpipeError(f"channels: two have the {what} {twice!r}; each needs its own")
    without = [channel.name for channel in channels if channel.files is None]
    if without and len(without) < len(channels):
        raise SegpipeError(f"channels: {shown(without)} has no files, but others have; give all or none")
    for channel in channels:
        if len(channel.files or "") > _LONGEST or (channel.files or "").count("*") > _MOST_STARS:
            raise SegpipeError(
                f"channels: files of {channel.name} may have {_LONGEST} characters and {_MOST_STARS} stars (*) at most"
            )
        if channel.files is not None and set(channel.pattern.groupindex) != {"case"}:
            raise SegpipeError(f"channels: files {channel.files!r} must have {{case}} and no other braces")
    return tuple(channels)


def order_of(channels: Sequence[ScanChannel], given: Sequence[str] | None) -> tuple[int, ...] | None:
    """Return the position of each channel in a file that holds all channels; None where no order is given.

    Args:
        channels: of the network.
        given: names of the channels in the order of the file.

    Raises:
        SegpipeError: the names are not those of the channels, each once.
    """
    if given is None:
        return None
    names = [channel.name.casefold() for channel in channels]
    order = [str(name).casefold() for name in given] if isinstance(given, list | tuple) else []
    if not channels or sorted(order) != sorted(names):
        raise SegpipeError(
            f"channel_order is {given!r}; must name each of the bundle's channels once, such as "
            f"[{', '.join(channel.name for channel in channels)}]"
        )
    return tuple(order.index(name) for name in names)


def planned_channels(manifest: Manifest) -> tuple[ScanChannel, ...]:
    """Return the channels of a data set, with the names of their files where all cases follow one pattern.

    Returns:
        One a channel. Empty for one channel whose files have the name of their case: nothing has to be known.
    """
    cases = _of_files([*manifest.training, *manifest.test])
    for num_folders in range(3):
        templates = [_template(cases, position, num_folders) for position in range(len(cases[0].images))]
        channels = tuple(
            ScanChannel(name, template) for name, template in zip(manifest.modality, templates, strict=False)
        )
        if (
            len(channels) == manifest.num_channels
            and all(templates)
            and len(set(templates)) == len(templates)
            and _tells_all_cases(cases, channels)
        ):
            return () if [channel.files for channel in channels] == ["{case}"] else channels
    return tuple(map(ScanChannel, manifest.modality)) if manifest.num_channels > 1 else ()


def look_for_cases(path: str | Path, channels: Sequence[ScanChannel], *, strict: bool = False) -> FoundScans:
    """Return the scans of a folder, a file, a table or a manifest; files of one case are one scan with its channels.

    Args:
        path: a folder or file, see `segpipe.volumes.look_for_scans`; a CSV with the columns image (or image_t1,
            image_flair and so on, one a channel) and, if known, case; or a segpipe manifest (.json).
            Other tables and JSON files hold no scans: such files lie beside scans in many data sets.
        channels: of the network. Without `files` only tables and manifests bring files of one case together.
        strict: see `segpipe.volumes.look_for_scans`.

    Raises:
        SegpipeError: the path does not exist or cannot be read; a table or manifest lists no images; `strict` refuses
            a file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in _TABLES and path.is_file():
        if not has_image_column(path):
            return FoundScans(
                why_none="; a table needs a column image, or one for each channel, such as image_t1"
            )
        return _of_table(path, channels)
    if suffix in _MANIFESTS and path.is_file():
        reason = _why_no_manifest(path)
        if reason:
            return FoundScans(why_none=f"; it is not a manifest of segpipe ({reason})")
        return _of_manifest(path, channels)
    return with_channels(look_for_scans(path, strict=strict).without_segmentations(), channels)


def may_list_cases(path: Path) -> bool:
    """Return whether a file may be a table or a manifest, by its suffix."""
    return path.suffix.lower() in (*_TABLES, *_MANIFESTS) and path.is_file()


def with_channels(listing: FoundScans, channels: Sequence[ScanChannel]) -> FoundScans:
    """Return a listing in which the files of one case are one scan; a case without a channel, or with two, is refused.

    Args:
        listing: of files with any number of channels; scans of several files stay as they are.
        channels: of the network; without `files` nothing changes.
    """
    if not channels or channels[0].files is None:
        return listing
    single = [scan for scan in listing.scans if not scan.further]
    scans, refused = _grouped(single, channels)
    several = tuple(scan for scan in listing.scans if scan.further)
    return replace(listing, scans=(*several, *scans), refused=(*listing.refused, *refused))


def _of_files(cases: Sequence[Case]) -> list[Case]:
    """Return the cases, with one case for all time frames of an image, named without its frame."""
    of_images = {
        case.images: case
        if case.frame is None
        else replace(case, case=case.case.removesuffix(f"_frame{case.frame:02d}"))
        for case in cases
    }
    return list(of_images.values())


def _template(cases: Sequence[Case], position: int, num_folders: int) -> str | None:
    """Return the one template of a channel's files in all cases; None if there is none."""
    choices: list[set[str]] = []
    for case in cases:
        if position >= len(case.images):
            return None
        *folders, _ = case.images[position].split("/")
        text = "/".join([*folders[max(len(folders) - num_folders, 0) :], name_of(case.images[position])])
        places = [match.start() for match in re.finditer(re.escape(case.case), text)]
        if not places or set(text) & set("{}*#") or "::" in text:  # MONAI turns # into :: in every text
            return None
        end = len(case.case)
        choices.append(
            {text.replace(case.case, "{case}")}
            | {f"{text[:place]}{{case}}{text[place + end :]}" for place in places}
        )
    common = set.intersection(*choices)
    usable = sorted(text for text in common if "}{" not in text)
    return min(usable, key=lambda text: text.count("{case}"), default=None)


def _tells_all_cases(cases: Sequence[Case], channels: Sequence[ScanChannel]) -> bool:
    """Return whether the templates find every case of the data set again, with the right files."""
    scans = [
        Scan(Path(image), volume_format(image), str(Path(image).with_name(name_of(image))))
        for case in cases
        for image in case.images
        if suffix_format(Path(image)) is not None
    ]
    grouped, refused = _grouped(scans, channels)
    files = {tuple(path.as_posix() for path in scan.files) for scan in grouped}
    return not refused and files == {case.images for case in cases}


def _grouped(
    scans: Sequence[Scan], channels: Sequence[ScanChannel]
) -> tuple[tuple[Scan, ...], list[RefusedScan]]:
    """Return one scan a case from files with one channel each, and the cases that lack a file or have two."""
    by_length = sorted(channels, key=lambda channel: -channel.literal_length)
    files: dict[str, dict[str, list[Scan]]] = defaultdict(lambda: defaultdict(list))
    whole, refused = [], []
    for scan in scans:
        matches = ((channel, _case_of(scan, channel)) for channel in by_length)
        channel, case = next(((channel, case) for channel, case in matches if case), (None, ""))
        if channel is None:
            whole.append(scan)
        else:
            files[case][channel.name].append(scan)
    for case, of_case in files.items():
        first = next(iter(of_case.values()))[0]
        twice = next((found for found in of_case.values() if len(found) > 1), None)
        missing = [channel for channel in channels if channel.name not in of_case]
        if twice is not None:
            name = next(name for name, found in of_case.items() if found is twice)
            paths = " and ".join(str(scan.path) for scan in twice[:2])
            refused.append(
                RefusedScan(
                    first.path, case, f"{case}: {paths} are both its channel {name}; keep one of them"
                )
            )
        elif missing:
            wanted = ", ".join(f"{channel.name} ({channel.files})" for channel in missing)
            refused.append(
                RefusedScan(
                    first.path,
                    case,
                    f"{case}: has no file of the channel {wanted}; add it beside {first.path}",
                )
            )
        else:
            found = [of_case[channel.name][0] for channel in channels]
            further = tuple(scan.path for scan in found[1:])
            whole.append(Scan(found[0].path, found[0].format, case, further))
    return tuple(sorted(whole, key=lambda scan: (scan.name, str(scan.path)))), refused


def _case_of(scan: Scan, channel: ScanChannel) -> str:
    """Return the case of a scan that is a channel's file; empty if it is not."""
    *above, name = scan.name.split("/")
    folders = scan.path.absolute().parent.parts
    depth = channel.num_folders
    match = channel.pattern.fullmatch("/".join([*folders[len(folders) - depth :], name]))
    if match is None:
        return ""
    return "/".join([*above[: max(len(above) - depth, 0)], match["case"]])


def _why_no_manifest(path: Path) -> str:
    """Return why a JSON file lists no cases; empty for a manifest."""
    try:
        content = read_json(path)
    except SegpipeError as error:
        return str(error).removeprefix(f"{path}: ")
    lists_cases = isinstance(content, dict) and {"training", "modality"} <= set(content)
    return "" if lists_cases else "it has no modality and training"


def _of_table(path: Path, channels: Sequence[ScanChannel]) -> FoundScans:
    """Return the scans that a table lists; paths begin in the table's folder."""
    rows = images_in_table(path)
    names = [name for name, _ in rows[0][1]]
    order = [0] if len(names) == 1 else channel_positions(names, channels, f"{path}: the columns")
    return _listed(
        [(case, [path.parent / images[position][1] for position in order]) for case, images in rows]
    )


def _of_manifest(path: Path, channels: Sequence[ScanChannel]) -> FoundScans:
    """Return all scans of a manifest, test cases too."""
    manifest = load_manifest(path)
    folder = Path(manifest.dataset_dir or path.parent)
    cases = [*manifest.training, *manifest.test]
    return _listed(
        [(case.case, case_files(case, manifest, folder, channels)) for case in cases],
        [case.frame for case in cases],
    )


def case_files(case: Case, manifest: Manifest, folder: Path, channels: Sequence[ScanChannel]) -> list[Path]:
    """Return the image files of a manifest's case in the order of a bundle's channels.

    Args:
        case: of the manifest.
        manifest: its `modality` names the channels.
        folder: of the manifest's files.
        channels: of the bundle; empty: the manifest's order is kept.

    Raises:
        SegpipeError: the manifest does not name each channel of the bundle once; or one file holds all channels, and
            the manifest has them in another order.
    """
    files = [folder / image for image in case.images]
    if not channels:
        return files
    order = channel_positions(manifest.modality, channels, f"{manifest.name}: modality")
    if len(files) == 1 and order != sorted(order):
        raise SegpipeError(
            f"{manifest.name}: its files hold the channels {', '.join(manifest.modality)}, the bundle takes "
            f"{', '.join(channel.name for channel in channels)}; give the order in the files as channel_order "
            f"(--set channel_order=[...]), with the files in place of the manifest"
        )
    return [files[at] for at in order] if len(files) > 1 else files


def _listed(
    cases: Sequence[tuple[str, Sequence[Path]]], frames: Sequence[int | None] | None = None
) -> FoundScans:
    """Return listed cases as scans; a missing file, or a file of an unknown format, refuses its case."""
    scans, refused = [], []
    for (case, paths), frame in zip(cases, frames or [None] * len(cases), strict=True):
        try:
            absent = [path for path in paths if not path.exists()]
            if absent:
                raise SegpipeError(f"{absent[0]}: no such file or folder; correct the path in the list")
            formats = [volume_format(path) for path in paths]
            scans.append(Scan(paths[0], formats[0], case, tuple(paths[1:]), frame))
        except SegpipeError as error:
            refused.append(RefusedScan(paths[0], case, str(error)))
    return FoundScans(tuple(sorted(scans, key=lambda scan: scan.name)), tuple(refused))


def channel_positions(names: Sequence[str], channels: Sequence[ScanChannel], where: str) -> list[int]:
    """Return the position of each channel among names; a name may leave out words that no other channel has.

    Args:
        names: of a table's columns, or of a manifest's modalities.
        channels: of the network; with one channel or none, the order of the names is kept.
        where: source of the names, for the message.

    Raises:
        SegpipeError: the names do not name each channel once.
    """
    if len(channels) <= 1 or list(names) == [channel.name for channel in channels]:
        return list(range(len(names)))
    words = [set(_lower_words(name)) for name in names]
    positions = []
    for channel in channels:
        wanted = set(_lower_words(channel.name))
        equal = [at for at, given in enumerate(words) if given == wanted]
        positions.append(equal or [at for at, given in enumerate(words) if given and given <= wanted])
    chosen = [at for places in positions for at in places]
    if (
        any(len(places) != 1 for places in positions)
        or len(set(chosen)) != len(chosen)
        or len(chosen) != len(names)
    ):
        listed = ", ".join(channel.name for channel in channels)
        raise SegpipeError(
            f"{where} {', '.join(names)} must name each channel of the bundle once: {listed}; correct the names"
        )
    return chosen


def _lower_words(name: str) -> list[str]:
    return [word.casefold() for word in words_of(name)]
