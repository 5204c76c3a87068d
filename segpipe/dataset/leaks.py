"""Leaks: cases of one patient, one image file or one image content on two sides of a division."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.reports import Finding
from segpipe.errors import SegpipeError, shown

Kind = Literal["patient", "image", "picture"]

_LEAKS_SHOWN = 5
_KINDS = ("patient", "image", "picture")  # the first kind is reported, where cases share several
_TEXTS: dict[Kind, tuple[str, str]] = {
    "patient": ("patient {}", "put all cases of a patient on one side"),
    "image": ("the same image (path or SHA-256 {})", "remove all but one of these cases"),
    "picture": ("the same image content", "remove all but one of these cases"),
}


class Side(NamedTuple):
    """The cases of a data set's division that have one use.

    Attributes:
        name: such as "fold 0" or "test of paper".
        use: train, validate or test; a fold trains and validates in turn.
        cases: of the side.
    """

    name: str
    use: str
    cases: Sequence[Case]


@dataclass(frozen=True)
class Leak:
    """A patient, an image file or an image content whose cases are on two or more sides of a division.

    Attributes:
        kind: patient, image (a file), or picture (an image content).
        key: the patient's id; path or SHA-256 of the image file; hash of the image content.
        places: side and case of every case that shares the key.
    """

    kind: Kind
    key: str
    places: Sequence[tuple[Side, Case]]

    def __str__(self) -> str:
        """The shared thing, the cases that share it, and the remedy."""
        shared, remedy = _TEXTS[self.kind]
        uses = " and ".join(dict.fromkeys(side.use for side, _ in self.places))
        sides: dict[str, list[str]] = defaultdict(list)
        for side, case in self.places:
            sides[side.name].append(case.case)
        places = " and ".join(f"{shown(cases, most=3)} ({name})" for name, cases in sides.items())
        return f"{shared.format(self.key)} would {uses}: {places}; {remedy}"


def sides_of_folds(manifest: Manifest) -> list[Side]:
    """Return the folds as sides; an empty list where the manifest has no folds."""
    folds: dict[int, list[Case]] = defaultdict(list)
    for case in manifest.training:
        if case.fold is not None:
            folds[case.fold].append(case)
    return [Side(f"fold {fold}", "train and validate", folds[fold]) for fold in sorted(folds)]


def sides_of_split(manifest: Manifest, name: str) -> list[Side]:
    """Return the parts of a named split as sides, with the cases that the manifest lists.

    Cases of the list `test` may stand in the parts validation and test.
    """
    cases = {case.case: case for case in (*manifest.test, *manifest.training)}
    split = manifest.splits[name]
    parts = (("train", "train"), ("validation", "validate"), ("test", "test"))
    return [
        Side(
            f"{part} of {name}",
            use,
            [cases[case] for case in getattr(split, part) if case in cases],
        )
        for part, use in parts
    ]


def side_of_test_list(manifest: Manifest) -> Side:
    """Return the cases that the manifest lists under test."""
    return Side("listed under test", "test", manifest.test)


def leaks(sides: Iterable[Side], contents: Mapping[str, str] | None = None) -> list[Leak]:
    """Find the leaks of a division; cases that share several keys are reported once.

    Args:
        sides: of one division.
        contents: case -> hash of its image content, for the cases whose hash is known.
    """
    sharing: dict[tuple[Kind, str], list[tuple[Side, Case]]] = defaultdict(list)
    for side in sides:
        for case in side.cases:
            for shared in _shared(case, contents or {}):
                sharing[shared].append((side, case))
    findings: list[Leak] = []
    reported: dict[str, set[int]] = defaultdict(set)
    for (kind, key), places in sorted(sharing.items(), key=lambda item: _KINDS.index(item[0][0])):
        if len({side.name for side, _ in places}) < 2:
            continue
        if set.intersection(*(reported[case.case] for _, case in places)):
            continue
        for _, case in places:
            reported[case.case].add(len(findings))
        findings.append(Leak(kind, key, places))
    return findings


def refuse_leaks(where: str, sides: Sequence[Side], contents: Mapping[str, str] | None = None) -> None:
    """Refuse a division with a leak; see `leaks`.

    Raises:
        SegpipeError: with the first five leaks.
    """
    findings = leaks(sides, contents)
    if findings:
        raise SegpipeError(f"{where}: {shown(map(str, findings), between='; ', most=_LEAKS_SHOWN)}")


def shared_findings(manifest: Manifest, contents: Mapping[str, str]) -> list[Finding]:
    """Find the leaks of a manifest's divisions, and cases with equal image content.

    Args:
        manifest: its folds, its splits, and its training against its test cases are checked.
        contents: case -> hash of its image content, for the cases whose hash is known.

    Returns:
        an error for each leak and for each image content of two patients; a warning for each other case whose image
        content an earlier case has.
    """
    divisions = [
        sides_of_folds(manifest),
        *(sides_of_split(manifest, name) for name in manifest.splits),
        [Side("training", "train", manifest.training), side_of_test_list(manifest)],
    ]
    findings = []
    for sides in divisions:
        for leak in leaks(sides, contents):
            first, _ = leak.places[0]
            case = next(case for side, case in leak.places if side.name != first.name)
            findings.append(Finding("error", case.case, case.images[0], str(leak)))
    return [*findings, *_same_content([*manifest.training, *manifest.test], contents, divisions)]


def _same_content(
    cases: Sequence[Case], contents: Mapping[str, str], divisions: Sequence[Sequence[Side]]
) -> Iterator[Finding]:
    """Yield the findings on cases of equal image content that are no leaks."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.case in contents:
            groups[contents[case.case]].append(case)
    side_of = [{case.case: side.name for side in sides for case in side.cases} for sides in divisions]
    for group in groups.values():
        owners = {case.patient: case for case in reversed(group) if case.patient is not None}
        if len(owners) > 1:
            owned = sorted(owners.values(), key=group.index)
            named = shown(f"{case.case} of {case.patient}" for case in owned)
            message = (
                f"one image content belongs to {len(owned)} patients: {named}; correct the patients, or "
                "remove cases"
            )
            yield Finding("error", owned[1].case, owned[1].images[0], message)
        elif all(len({sides.get(case.case) for case in group} - {None}) < 2 for sides in side_of):
            for case in group[1:]:
                message = f"shows the same image content as {group[0].case}; remove one of the two"
                yield Finding("warning", case.case, case.images[0], message)


def _shared(case: Case, contents: Mapping[str, str]) -> Iterator[tuple[Kind, str]]:
    """Yield the keys of a case; cases with a common key must be on one side."""
    if case.patient is not None:
        yield "patient", case.patient
    for key in sorted(image_keys(case)):
        yield "image", key
    if case.case in contents:
        yield "picture", contents[case.case]


def image_keys(case: Case) -> set[str]:
    """Return the keys of a case's images: the path, and the SHA-256 of the voxels where the manifest has one.

    Many scans can have the same text as .mhd header, so the checksum of the voxel file of the same name counts.
    """
    keys = set(case.images)
    for image in case.images:
        is_header = image.lower().endswith(".mhd")
        bare = PurePosixPath(image).with_suffix("")
        for path, digest in case.sha256.items():
            voxels = path != image and PurePosixPath(path).with_suffix("") == bare
            if voxels if is_header else path == image:
                keys.add(digest)
    return keys
