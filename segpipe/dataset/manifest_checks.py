"""Checks that a manifest's entries fit each other, which a JSON schema cannot express."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath, PureWindowsPath

from segpipe.dataset.manifest import Case, Manifest
from segpipe.errors import SegpipeError, shown
from segpipe.labels import same_name


def check_consistency(manifest: Manifest, where: str) -> None:
    """Refuse a manifest whose entries contradict each other.

    Args:
        manifest: built from its JSON content.
        where: the file's name, for messages.

    Raises:
        SegpipeError: see `segpipe.dataset.manifest_files.parse_manifest`.
    """
    _check_labels(manifest, where)
    _check_channels(manifest, where)
    _check_cases(manifest, where)
    _check_splits(manifest, where)


def _check_labels(manifest: Manifest, where: str) -> None:
    counts = Counter(same_name(name) for name in manifest.labels.values())
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise SegpipeError(
            f"{where}: $.labels: {name!r} stands under two values; every class needs a name of its own"
        )
    if manifest.target == "mask":
        try:
            manifest.label_table()
        except SegpipeError as error:
            raise SegpipeError(f"{where}: {error}") from error
        return
    try:
        manifest.categories()
    except SegpipeError as error:
        raise SegpipeError(f"{where}: $.labels: {error}") from error
    if manifest.regions:
        raise SegpipeError(
            f"{where}: $.regions: only label maps have regions, the target is {manifest.target}"
        )


def _check_channels(manifest: Manifest, where: str) -> None:
    counts = Counter(name.casefold() for name in manifest.modality)
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise SegpipeError(
            f"{where}: $.modality: {count} channels are named {name!r}; every channel needs a name of its own (segpipe "
            "data create: one --modality for each)"
        )


def _check_cases(manifest: Manifest, where: str) -> None:
    ids: set[str] = set()
    known = {same_name(name) for name in manifest.labels.values()}
    for key, cases in (("training", manifest.training), ("test", manifest.test)):
        for position, case in enumerate(cases):
            place = f"{where}: $.{key}[{position}]: {case.case}"
            # case-insensitively, since the case id becomes a file name
            if case.case.casefold() in ids:
                raise SegpipeError(f"{place}: this case id stands twice; every case needs an id of its own")
            ids.add(case.case.casefold())
            _check_paths(case, place)
            _check_target(case, manifest, known, place, labelled=key == "training")
    with_fold = sum(case.fold is not None for case in manifest.training)
    if with_fold not in (0, len(manifest.training)):
        raise SegpipeError(
            f"{where}: {with_fold} of {len(manifest.training)} training cases have a fold; "
            "give all of them one, or none"
        )


def _check_paths(case: Case, place: str) -> None:
    for path in case.files:
        windows = PureWindowsPath(path)
        if windows.root or windows.drive or ".." in windows.parts or "\\" in path:
            raise SegpipeError(
                f"{place}: the path {path} must lie inside the data set's folder: relative, "
                "with forward slashes, without '..'"
            )
    if case.label in case.images:
        raise SegpipeError(f"{place}: {case.label} is given as image and as label map; correct one path")
    folders = _headers_folders(case)
    others = set(case.sha256) - set(case.files)
    strangers = sorted(path for path in others if not _may_hold_voxels(path, folders))
    if strangers:
        raise SegpipeError(
            f"{place}: sha256 names {shown(strangers)}, which is no file of this case "
            f"({shown(case.files)}); correct the path"
        )


def _headers_folders(case: Case) -> set[PurePosixPath]:
    return {PurePosixPath(file).parent for file in case.files if _is_mhd(file)}


def _may_hold_voxels(path: str, folders: set[PurePosixPath]) -> bool:
    """Return whether a path can be the voxel file of a .mhd header: in or below a header's folder, and no header."""
    return not _is_mhd(path) and not folders.isdisjoint(PurePosixPath(path).parents)


def _is_mhd(path: str) -> bool:
    return path.lower().endswith(".mhd")


def _check_target(case: Case, manifest: Manifest, known: set[str], place: str, *, labelled: bool) -> None:
    if len(case.images) not in (1, manifest.num_channels):
        raise SegpipeError(
            f"{place}: lists {len(case.images)} image files, but modality names "
            f"{manifest.num_channels} channel(s); list one file a channel, or one file with all of them"
        )
    unknown = [name for name in (*case.classes, *case.unknown) if same_name(name) not in known]
    if unknown:
        raise SegpipeError(
            f"{place}: classes {shown(unknown)} are not among the labels "
            f"({shown(manifest.labels.values())}); correct one or the other"
        )
    both = set(map(same_name, case.classes)) & set(map(same_name, case.unknown))
    if both or (case.unknown and manifest.target != "findings"):
        raise SegpipeError(
            f"{place}: {shown(sorted(both or case.unknown))} is unknown, "
            f"{'and present as well' if both else f'but the target is {manifest.target}'}; only findings can be "
            "unknown, and those are not in classes"
        )
    if case.weight is not None and not (labelled and manifest.target == "mask"):
        where = f"the target is {manifest.target}" if labelled else "no training reads test cases"
        raise SegpipeError(
            f"{place}: has the weight {case.weight:g}, but {where}; only training cases of target mask have one: "
            "remove it"
        )
    if not labelled:
        return
    if manifest.target == "mask" and case.label is None:
        raise SegpipeError(
            f"{place}: has no label; a training case of target mask needs the path of its label map"
        )
    if manifest.target == "class" and len(case.classes) != 1:
        raise SegpipeError(
            f"{place}: has {len(case.classes)} classes; a training case of target class needs one"
        )


def _check_splits(manifest: Manifest, where: str) -> None:
    for name, split in manifest.splits.items():
        named = [*split.train, *split.validation, *split.test]
        twice = sorted(case for case, count in Counter(named).items() if count > 1)
        if twice:
            raise SegpipeError(
                f"{where}: $.splits.{name}: {shown(twice)} in more than one of train, validation and "
                "test; a case belongs to one"
            )
        tests = sorted({case.case for case in manifest.test}.intersection(split.train))
        if tests:
            raise SegpipeError(
                f"{where}: $.splits.{name}: {shown(tests)} would train, but the manifest lists them under test; take "
                "them out of one"
            )
        known = {case.case for case in manifest.training}
        if not known.intersection(split.train):
            raise SegpipeError(
                f"{where}: $.splits.{name}: none of its {len(split.train)} training cases is in the manifest; "
                "write case ids as in $.training"
            )
