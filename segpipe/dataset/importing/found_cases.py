"""Cases read from a folder's names or description, before they become a manifest, and checks for all of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from segpipe.errors import SegpipeError, counted, shown
from segpipe.regions import NamedRegion
from segpipe.volumes import Scan, find_scans
from segpipe.volumes.formats import suffix_format

DatasetPart = Literal["", "train", "validation", "test"]

_PARTS: dict[str, DatasetPart] = {
    **dict.fromkeys(("tr", "trn", "train", "training"), "train"),
    **dict.fromkeys(("va", "val", "valid", "validate", "validation"), "validation"),
    **dict.fromkeys(("ts", "tst", "test", "testing"), "test"),
}
_PART_WORD = re.compile(
    f"({'|'.join(part for part in _PARTS if len(part) > len('tr'))})(?:set|data|images?|labels?|masks?)?|"
    "(?:images|labels)(tr|va|ts|train|val|test)"
)
_CHANNEL_NUMBER = re.compile(r"_[0-9]{4}$")


@dataclass(frozen=True)
class FoundCase:
    """One case read from a folder.

    Attributes:
        case: id, usable as a file name.
        images: paths below the folder, one a channel.
        channels: names of the channels, from the differences between the images' names; empty texts where unknown.
        label: path of the label map; None where the case has none.
        patient: id of the patient; None where unknown.
        part: part of the data set's division; empty where unknown.
        frame: number of the time frame of 4D files, from 1; None for other files.
    """

    case: str
    images: tuple[str, ...]
    channels: tuple[str, ...]
    label: str | None = None
    patient: str | None = None
    part: DatasetPart = ""
    frame: int | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the images, then of the label map."""
        return self.images if self.label is None else (*self.images, self.label)


@dataclass(frozen=True)
class Layout:
    """The contents of a data set's folder.

    Attributes:
        what: name of the layout, for messages.
        cases: in the order of the folder.
        labels: stored value -> class name; None where unknown.
        patients_from: what tells the patients, for messages; empty where unknown.
        classes_may_be_absent: True if `labels` are those of a public data set: every label map is read, and classes
            that no label map stores are left out.
        modality: one text a channel; None where unknown.
        name: of the data set; empty where unknown.
        texts: further entries of a manifest, such as its licence.
        notes: remarks on the folder for the user.
        regions: unions of classes, in the order in which they are written.
    """

    what: str
    cases: Sequence[FoundCase]
    labels: Mapping[int, str] | None = None
    modality: tuple[str, ...] | None = None
    name: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    regions: Sequence[NamedRegion] = ()
    patients_from: str = ""
    classes_may_be_absent: bool = False


def words_of(text: str) -> list[str]:
    """Return the words of a name: letters and digits of any alphabet."""
    return [word for word in re.split(r"[\W_]+", unicodedata.normalize("NFC", text)) if word]


def part_named(text: str) -> DatasetPart:
    """Return the part that a word names, such as "val", "imagesTs" or "01training"; empty for any other word."""
    match = _PART_WORD.fullmatch(text.lower().lstrip("0123456789"))
    return _PARTS[match.group(1) or match.group(2)] if match else ""


def part_of(folders: Iterable[str]) -> DatasetPart:
    """Return the part that the outermost folder with exactly one part in its name gives; empty where none does."""
    for folder in folders:
        parts = {part for part in map(part_named, words_of(folder)) if part}
        if len(parts) == 1:
            return parts.pop()
    return ""


def with_parts(cases: Sequence[FoundCase], where: str) -> tuple[list[FoundCase], list[str]]:
    """Return the cases with parts from their folders' names, or else from the names of all files, and notes.

    Cases keep a part that they already have. If all labelled cases have one part from their folders, it is dropped.

    Args:
        cases: in any order.
        where: the folder, for messages.

    Raises:
        SegpipeError: all cases with label maps are for validation or test, so that no case is left to train on.
    """
    parts = [case.part for case in cases]
    if any("retest" in map(str.lower, words_of(case.images[0])) for case in cases):
        return list(cases), []  # here test and retest are visits, not parts
    if not any(parts):
        parts = [part_of(PurePosixPath(case.images[0]).parts[:-1]) for case in cases]
    if not any(parts):
        by_name = [part_of([PurePosixPath(case.images[0]).name]) for case in cases]
        parts = by_name if all(by_name) and "train" in by_name else parts
    labelled = {part for part, case in zip(parts, cases, strict=True) if case.label is not None}
    if len(labelled) == 1 and not any(case.part for case in cases):
        (shared,) = labelled
        note = f"the folder puts every case with a label map into the part {shared}; all are used to train on"
        cases_of_one_part = [
            replace(case, part="" if case.label is not None else part)
            for case, part in zip(cases, parts, strict=True)
        ]
        return cases_of_one_part, [note] if shared in ("validation", "test") else []
    if labelled and labelled <= {"validation", "test"}:
        raise SegpipeError(
            f"{where}: every case with a label map is for {' or '.join(sorted(labelled))}, none to train on; give a "
            "folder or table that also holds training cases, or name their files with --image and --label"
        )
    return [replace(case, part=part) for part, case in zip(parts, cases, strict=True)], []


def listed_scans(folder: Path, *, strict: bool) -> list[tuple[Scan, str]]:
    """Return the scans below a folder, each with its relative path with forward slashes.

    Raises:
        SegpipeError: as `find_scans`, or a name is not UTF-8 text, so that a manifest cannot contain it.
    """
    scans = [(scan, scan.path.relative_to(folder).as_posix()) for scan in find_scans(folder, strict=strict)]
    require_text(path for _, path in scans)
    return scans


def require_text(names: Iterable[str]) -> None:
    """Refuse file names that are not UTF-8 text."""
    for name in names:
        readable = name.encode("utf-8", "backslashreplace").decode()
        if readable != name:
            raise SegpipeError(
                f"{readable}: the name is not UTF-8 text; rename it, a manifest cannot hold it"
            )


def path_below(folder: Path, text: str, where: str) -> str:
    """Return a path in the manifest's form: relative to the folder, with forward slashes.

    Args:
        folder: of the data set.
        text: a relative path, or an absolute path below the folder.
        where: the source of the path, for messages.

    Raises:
        SegpipeError: the path leads out of the folder.
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
    suffix = suffix_format(Path(name))
    return name.removesuffix(suffix[1]) if suffix else name


def is_there(path: Path) -> bool:
    """Return whether a path exists; False for a path that is too long or in a folder without permission."""
    try:
        return path.exists()
    except OSError:
        return False


def require_present(files: Iterable[str], folder: Path, where: Path) -> None:
    """Refuse a table or description that names missing files."""
    missing = [file for file in files if not is_there(folder / file)]
    if missing:
        raise SegpipeError(
            f"{where}: {len(missing)} of the files that it names are not there: {shown(missing)}; its paths must begin "
            f"in {folder}: fetch them, or remove their cases from it"
        )


def require_own_files(cases: Sequence[FoundCase], where: str) -> None:
    """Refuse a file that is used twice: in two cases, as two channels, or as image and label map."""
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
    """Return the cases with distinct ids: a test case with the id of another case gets test_ in front.

    Raises:
        SegpipeError: two cases have one id, ignoring upper and lower case, since ids become file names.
    """
    taken = {case.case.casefold() for case in cases if case.part != "test"}
    renamed = [
        replace(case, case=f"test_{case.case}")
        if case.part == "test" and case.case.casefold() in taken
        else case
        for case in cases
    ]
    of_id: dict[str, FoundCase] = {}
    for case in renamed:
        other = of_id.setdefault(case.case.casefold(), case)
        if other is not case:
            raise SegpipeError(
                f"{where}: {other.images[0]} and {case.images[0]} would both be the case {case.case}; rename one, or "
                "give them ids in a table (--csv, column case)"
            )
    return renamed


def crossed_names(cases: Sequence[FoundCase]) -> list[str]:
    """Return a note on the label maps that have the name of another case's image."""
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
    """Return a note on the scans in some folders that a description or table does not list.

    Args:
        folder: of the data set.
        cases: the listed cases.
        parts: folders below `folder` to search; an empty text means `folder` itself.
        description: name of the file that lists the cases, for messages.
    """
    listed = {file for case in cases for file in case.files}
    extra = [path for path in _scans_in(folder, parts) if path not in listed]
    if not extra:
        return []
    are = "is" if len(extra) == 1 else "are"
    return [f"{counted(len(extra), 'scan')} {are} not listed in {description}: {shown(extra)}"]


def _scans_in(folder: Path, parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if (folder / part).is_dir():
            yield from (
                PurePosixPath(part, path).as_posix() for _, path in listed_scans(folder / part, strict=False)
            )
