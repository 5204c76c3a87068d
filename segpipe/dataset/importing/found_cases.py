"""Cases as a folder's names or descriptions tell them, before they are a manifest's, and what all of them must keep."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from segpipe.errors import SegpipeError, shown
from segpipe.volumes import Scan, find_scans
from segpipe.volumes.formats import suffix_format

DatasetPart = Literal["", "train", "validation", "test"]

_PARTS: dict[str, DatasetPart] = {
    **dict.fromkeys(("tr", "trn", "train", "training"), "train"),
    **dict.fromkeys(("va", "val", "valid", "validation"), "validation"),
    **dict.fromkeys(("ts", "tst", "test", "testing"), "test"),
}
_PART_WORD = re.compile(
    f"({'|'.join(part for part in _PARTS if len(part) > len('tr'))})(?:set|data|images?|labels?|masks?)?|"
    "(?:images|labels)(tr|va|ts|train|val|test)"
)
_CHANNEL_NUMBER = re.compile(r"_[0-9]{4}$")


@dataclass(frozen=True)
class FoundCase:
    """One case as a folder tells it.

    Attributes:
        case: id, usable as a file name.
        images: paths below the folder, one a channel.
        channels: what tells the images' names apart, one a channel; empty texts where nothing does.
        label: path of the label map; None where there is none.
        patient: None where the folder does not say.
        part: of the data set's own division; empty where the folder does not say.
    """

    case: str
    images: tuple[str, ...]
    channels: tuple[str, ...]
    label: str | None = None
    patient: str | None = None
    part: DatasetPart = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the images, then of the label map."""
        return self.images if self.label is None else (*self.images, self.label)


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
        what: the layout, for people.
        cases: in the order of the folder.
        labels: stored value -> class name; None where the folder does not say.
        no_labels: why a manifest cannot have the classes that the folder names; empty where the manifest can.
        modality: one text a channel; None where the folder does not say.
        name: of the data set; empty where the folder does not say.
        texts: further entries of a manifest, such as its licence.
        notes: what a person should know of it.
    """

    what: str
    cases: Sequence[FoundCase]
    labels: Mapping[int, str] | None = None
    modality: tuple[str, ...] | None = None
    name: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    no_labels: str = ""


def words_of(text: str) -> list[str]:
    """Return the words of a name: letters and digits of any alphabet."""
    return [word for word in re.split(r"[\W_]+", unicodedata.normalize("NFC", text)) if word]


def part_named(text: str) -> DatasetPart:
    """Return the part that a word means, such as "val" or "imagesTs"; empty for any other."""
    match = _PART_WORD.fullmatch(text.lower())
    return _PARTS[match.group(1) or match.group(2)] if match else ""


def part_of(folders: Iterable[str]) -> DatasetPart:
    """Return the part that the names of folders say, the outermost that says just one."""
    for folder in folders:
        found = {part for part in map(part_named, words_of(folder)) if part}
        if len(found) == 1:
            return found.pop()
    return ""


def with_parts(cases: Sequence[FoundCase], where: str) -> tuple[list[FoundCase], list[str]]:
    """Return the cases with the parts that their folders' names say, or else the names of all their files, and notes.

    Cases keep the parts that they have. One part that all folders share divides nothing and is dropped.

    Args:
        cases: in any order.
        where: the folder, for messages.

    Raises:
        SegpipeError: all cases with label maps are to be held out, by their own parts or by different ones.
    """
    parts = [case.part for case in cases]
    if any("retest" in map(str.lower, words_of(case.images[0])) for case in cases):
        return list(cases), []  # test and retest are visits
    if not any(parts):
        parts = [part_of(PurePosixPath(case.images[0]).parts[:-1]) for case in cases]
    if not any(parts):
        by_name = [part_of([PurePosixPath(case.images[0]).name]) for case in cases]
        parts = by_name if all(by_name) and "train" in by_name else parts
    labelled = {part for part, case in zip(parts, cases, strict=True) if case.label is not None}
    if len(labelled) == 1 and not any(case.part for case in cases):
        (shared,) = labelled
        note = f"every case with a label map is of the part {shared} by its folder; all are taken to train on"
        found = [
            replace(case, part="" if case.label is not None else part)
            for case, part in zip(cases, parts, strict=True)
        ]
        return found, [note] if shared in ("validation", "test") else []
    if labelled and labelled <= {"validation", "test"}:
        raise SegpipeError(
            f"{where}: every case with a label map is for {' or '.join(sorted(labelled))}, none to train on; give the "
            "folder or the table that holds those, too, or say with --image and --label which they are"
        )
    return [replace(case, part=part) for part, case in zip(parts, cases, strict=True)], []


def listed_scans(folder: Path, *, strict: bool) -> list[tuple[Scan, str]]:
    """Return the scans below a folder, each with its path there, with forward slashes.

    Raises:
        SegpipeError: as `find_scans`, or a name is no UTF-8 text, so that no manifest can hold it.
    """
    scans = [(scan, scan.path.relative_to(folder).as_posix()) for scan in find_scans(folder, strict=strict)]
    require_text(path for _, path in scans)
    return scans


def require_text(names: Iterable[str]) -> None:
    """Refuse names of files that are no UTF-8 text."""
    for name in names:
        readable = name.encode("utf-8", "backslashreplace").decode()
        if readable != name:
            raise SegpipeError(
                f"{readable}: the name is not UTF-8 text; rename it, a manifest cannot hold it"
            )


def path_below(folder: Path, text: str, where: str) -> str:
    """Return a path as a manifest has it: below the folder, with forward slashes.

    Args:
        folder: of the data set.
        text: a relative path, or an absolute one that lies below the folder.
        where: it stands, for messages.

    Raises:
        SegpipeError: it leaves the folder.
    """
    plain = text.replace("\\", "/")
    for top in (folder.absolute(), folder.resolve()):
        if PurePosixPath(plain).is_relative_to(top.as_posix()):
            plain = PurePosixPath(plain).relative_to(top.as_posix()).as_posix()
            break
    parts: list[str] = []
    for part in PurePosixPath(plain).parts:
        if part != ".." or not parts:
            parts.append(part)
        else:
            parts.pop()
    windows = PureWindowsPath(plain)
    if windows.drive or windows.root or ".." in parts or "\0" in plain or not parts:
        raise SegpipeError(
            f"{where}: the path {text!r} does not lie below {folder}; write paths that begin in that folder"
        )
    return "/".join(parts)


def name_of(path: str) -> str:
    """Return the name of a scan without its folder and the suffix of its format."""
    name = PurePosixPath(path).name
    found = suffix_format(Path(name))
    return name.removesuffix(found[1]) if found else name


def is_there(path: Path) -> bool:
    """Return whether a path can be reached; one that is too long or behind a closed folder cannot."""
    try:
        return path.exists()
    except OSError:
        return False


def require_present(files: Iterable[str], folder: Path, where: Path) -> None:
    """Refuse a table or description that names files that are not there."""
    missing = [file for file in files if not is_there(folder / file)]
    if missing:
        raise SegpipeError(
            f"{where}: {len(missing)} of the files that it names are not there: {shown(missing)}; its paths must begin "
            f"in {folder}: fetch them, or remove their cases from it"
        )


def require_own_files(cases: Sequence[FoundCase], where: str) -> None:
    """Refuse a file that stands twice: in two cases, as two channels, or as image and label map."""
    owners: dict[str, tuple[str, str]] = {}
    for case in cases:
        whats = [*("image" for _ in case.images), "label map"]
        for path, what in zip(case.files, whats, strict=False):
            if path in owners:
                other, whose = owners[path]
                raise SegpipeError(
                    f"{where}: {path} is the {other} of {whose} and the {what} of {case.case}; every case needs files "
                    "of its own: correct one"
                )
            owners[path] = (what, case.case)


def with_own_ids(cases: Sequence[FoundCase], where: str) -> list[FoundCase]:
    """Return the cases with test_ in front of the ids of a test set that counts from 1 again.

    Raises:
        SegpipeError: two cases have one id without regard to case, since it names files.
    """
    taken = {case.case.casefold() for case in cases if case.part != "test"}
    found = [
        replace(case, case=f"test_{case.case}")
        if case.part == "test" and case.case.casefold() in taken
        else case
        for case in cases
    ]
    of_id: dict[str, FoundCase] = {}
    for case in found:
        other = of_id.setdefault(case.case.casefold(), case)
        if other is not case:
            raise SegpipeError(
                f"{where}: {other.images[0]} and {case.images[0]} would both be the case {case.case}; rename one, or "
                "give them ids in a table (--csv, column case)"
            )
    return found


def crossed_names(cases: Sequence[FoundCase]) -> list[str]:
    """Say which cases have a label map that is named like another case's image."""
    owners = {(_bare_name(image), case.case) for case in cases for image in case.images}
    of_name = dict(owners)
    if len(of_name) < len(owners):
        return []  # image.nii.gz in every case's folder
    crossed = [
        f"{case.label} for {case.images[0]}"
        for case in cases
        if case.label is not None and of_name.get(_bare_name(case.label), case.case) != case.case
    ]
    if not crossed:
        return []
    return [
        f"{len(crossed)} label maps are named like another case's image: {shown(crossed, '; ')}; check them"
    ]


def _bare_name(path: str) -> str:
    return _CHANNEL_NUMBER.sub("", name_of(path))


def unlisted(folder: Path, cases: Iterable[FoundCase], parts: Sequence[str], description: str) -> list[str]:
    """Say which scans in some folders of a data set a description or table passes over.

    Args:
        folder: of the data set.
        cases: that are listed.
        parts: folders below it to look in; an empty text is the whole.
        description: which lists the cases, for people.
    """
    listed = {file for case in cases for file in case.files}
    extra = [path for path in _scans_in(folder, parts) if path not in listed]
    return [f"{len(extra)} scans are not listed in {description}: {shown(extra)}"] if extra else []


def _scans_in(folder: Path, parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if (folder / part).is_dir():
            yield from (
                PurePosixPath(part, path).as_posix() for _, path in listed_scans(folder / part, strict=False)
            )
