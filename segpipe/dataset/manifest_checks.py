"""What no schema can say of a manifest: that its entries fit each other."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from segpipe.errors import SegpipeError
from segpipe.labels import same_name

if TYPE_CHECKING:
    from segpipe.dataset.manifest import Case, Manifest


def check_consistency(manifest: Manifest, where: str) -> None:
    """Refuse a manifest whose entries contradict each other.

    Args:
        manifest: as its JSON content says.
        where: the file's name, for messages.

    Raises:
        SegpipeError: see `segpipe.dataset.manifest.parse_manifest`.
    """
    _check_labels(manifest, where)
    _check_cases(manifest, where)
    _check_splits(manifest, where)


def _check_labels(manifest: Manifest, where: str) -> None:
    names = [same_name(name) for name in manifest.labels.values()]
    for name in names:
        if names.count(name) > 1:
            raise SegpipeError(
                f"{where}: $.labels: {name!r} stands under two values; every class needs a name of its own"
            )


def _check_cases(manifest: Manifest, where: str) -> None:
    seen: set[str] = set()
    for key, cases in (("training", manifest.training), ("test", manifest.test)):
        for position, case in enumerate(cases):
            place = f"{where}: $.{key}[{position}]: {case.case}"
            # case-insensitively, since the case id becomes a file name
            if case.case.casefold() in seen:
                raise SegpipeError(f"{place}: this case id stands twice; every case needs an id of its own")
            seen.add(case.case.casefold())
            _check_paths(case, place)
            _check_target(case, manifest, place, labelled=key == "training")
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
    strangers = sorted(
        path
        for path in set(case.sha256) - set(case.files)
        if not any(may_hold_voxels(path, f) for f in case.files)
    )
    if strangers:
        raise SegpipeError(
            f"{place}: sha256 names {', '.join(strangers)}, which is no file of this case "
            f"({', '.join(case.files)}); correct the path"
        )


def may_hold_voxels(path: str, header: str) -> bool:
    """Return whether a path can be the voxel file of a .mhd header: in or below its folder, and no header itself."""
    if not header.lower().endswith(".mhd") or path.lower().endswith(".mhd"):
        return False
    return PurePosixPath(path).is_relative_to(PurePosixPath(header).parent)


def _check_target(case: Case, manifest: Manifest, place: str, *, labelled: bool) -> None:
    if len(case.images) not in (1, manifest.num_channels):
        raise SegpipeError(
            f"{place}: lists {len(case.images)} image files, but modality names "
            f"{manifest.num_channels} channel(s); list one file a channel, or one file with all of them"
        )
    known = {same_name(name) for name in manifest.labels.values()}
    unknown = [name for name in case.classes if same_name(name) not in known]
    if unknown:
        raise SegpipeError(
            f"{place}: classes {', '.join(unknown)} are not among the labels "
            f"({', '.join(manifest.labels.values())}); correct one or the other"
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
        twice = sorted({case for case in named if named.count(case) > 1})
        if twice:
            raise SegpipeError(
                f"{where}: $.splits.{name}: {', '.join(twice)} in more than one of train, validation and "
                "test; a case belongs to one"
            )
        known = {case.case for case in manifest.training}
        if not known.intersection(split.train):
            raise SegpipeError(
                f"{where}: $.splits.{name}: none of its {len(split.train)} training cases is in the manifest; "
                "write case ids as in $.training"
            )
