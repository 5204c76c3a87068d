"""Which cases train and which validate: folds that no patient crosses, and the check that none does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from segpipe.dataset.division import divided, require_distinct
from segpipe.dataset.manifest import Case, Manifest, Split
from segpipe.errors import SegpipeError


def patient_folds(
    cases: Sequence[Case], num_folds: int, seed: int, classes: Sequence[str] | None = None
) -> list[int]:
    """Assign every case to a fold so that all cases of a patient are in the same one.

    A case of an unknown patient counts as a patient of its own. The folds depend on the seed and on which
    cases there are, not on their order. The numbers of cases of two folds differ by at most those of the
    largest patient (by one, where patients have one case each).

    Args:
        cases: the cases to divide, each id once.
        num_folds: at least 2, at most the number of patients.
        seed: of the order in which patients are dealt out.
        classes: one text a case (a class, or what else the folds should have equal shares of), in the order
            of `cases`; a patient counts for its commonest. None to balance numbers of cases alone.

    Returns:
        The fold of each case, 0 to num_folds - 1, in the order of `cases`.

    Raises:
        SegpipeError: a case id twice, fewer than two folds, or more folds than patients.
    """
    require_distinct(cases)
    if classes is not None and len(classes) != len(cases):
        raise SegpipeError(
            f"folds: {len(classes)} classes are given for {len(cases)} cases, must be one a case; give the "
            "missing ones"
        )
    members: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for position, case in enumerate(cases):
        members[case.patient is not None, case.patient or case.case].append(position)
    if not 2 <= num_folds <= len(members):
        raise SegpipeError(
            f"folds: {num_folds} folds asked for {len(members)} patients; needs 2 to {len(members)} folds"
        )
    stratum = {
        patient: _commonest([classes[position] for position in positions]) if classes else ""
        for patient, positions in members.items()
    }
    random = np.random.default_rng(seed)
    patients = sorted(members)
    random.shuffle(patients)
    # the largest first, so that the small ones even out what they leave; one class after the other, so that
    # the emptiest fold comes round to each
    patients.sort(key=lambda patient: (-len(members[patient]), stratum[patient]))
    deal = random.permutation(num_folds)

    fold_of = [0] * len(cases)
    sizes = [0] * num_folds
    shares: Counter[tuple[int, str]] = Counter()
    for patient in patients:
        fold = min(range(num_folds), key=lambda k: (sizes[k], shares[k, stratum[patient]], deal[k]))
        sizes[fold] += len(members[patient])
        shares[fold, stratum[patient]] += len(members[patient])
        for position in members[patient]:
            fold_of[position] = fold
    return fold_of


def with_folds(
    manifest: Manifest,
    num_folds: int,
    seed: int,
    present: Sequence[Collection[str]] | None = None,
    contents: Sequence[str] | None = None,
) -> Manifest:
    """Return the manifest with folds of its training cases, stratified by class for target "class".

    Args:
        manifest: whose training cases are divided.
        num_folds: at least 2.
        seed: the same seed gives the same folds.
        present: the classes in each training case's label map, to be had in every fold; None to balance numbers alone.
        contents: see `divided`.

    Raises:
        SegpipeError: as `patient_folds`.
    """
    if present is not None:
        folds = divided(manifest.training, [1] * num_folds, seed, present, contents)
    else:
        classes = [case.classes[0] for case in manifest.training] if manifest.target == "class" else None
        folds = patient_folds(manifest.training, num_folds, seed, classes)
    cases = tuple(replace(case, fold=fold) for case, fold in zip(manifest.training, folds, strict=True))
    return replace(manifest, training=cases)


def with_split(
    manifest: Manifest,
    name: str,
    shares: Mapping[str, int],
    seed: int,
    present: Sequence[Collection[str]] | None = None,
    contents: Sequence[str] | None = None,
) -> Manifest:
    """Return the manifest with one more named split of its training cases.

    Args:
        manifest: whose training cases are divided.
        name: of the split, in lower case.
        shares: of train, validation and test, such as 84 and 16.
        seed: the same seed gives the same split.
        present: the classes in each training case; None to balance numbers alone.
        contents: see `divided`.

    Raises:
        SegpipeError: no cases to train on or to hold out, or as `divided`.
    """
    wanted = {part: share for part, share in shares.items() if share}
    if "train" not in wanted or len(wanted) < 2:
        raise SegpipeError("split: needs a share to train on, and one to validate with or to test")
    parts = divided(manifest.training, list(wanted.values()), seed, present, contents)
    cases = {
        part: tuple(case.case for case, own in zip(manifest.training, parts, strict=True) if own == number)
        for number, part in enumerate(wanted)
    }
    about = f"patients by lot, {', '.join(f'{share} {part}' for part, share in wanted.items())}, seed {seed}"
    split = Split(cases["train"], cases.get("validation", ()), cases.get("test", ()), about)
    return replace(manifest, splits={**manifest.splits, name: split})


def training_split(
    manifest: Manifest, fold: int | str | None, part: str = "validation"
) -> tuple[list[Case], list[Case]]:
    """Return the cases to train on and those that are held out, to validate on or to test with.

    Args:
        manifest: its training cases carry folds, or it has splits.
        fold: the fold that validates, or the name of one of the manifest's splits, of which the cases that the
            manifest lists are returned; None to train on all cases and validate on none.
        part: the held-out part, validation or, of a split that has one, test.

    Raises:
        SegpipeError: the manifest has no such fold, split or part, or a patient or an image file (by checksum) would
            be on both sides.
    """
    if part not in _HELD_OUT_PARTS or (part == "test" and not isinstance(fold, str)):
        raise SegpipeError(
            f"{manifest.name}: part is {part!r} of fold {fold}; a fold has the part validation, a named split also test"
        )
    if fold is None:
        return list(manifest.training), []
    if isinstance(fold, str):
        train, validation = _named_split(manifest, fold, part)
        _refuse_leak(manifest.name, train, validation, split=fold)
        return train, validation
    folds = sorted({case.fold for case in manifest.training if case.fold is not None})
    if not folds:
        raise SegpipeError(
            f"{manifest.name}: fold {fold} asked for, but the manifest assigns no folds; "
            "write them with `segpipe data split`, or train on all cases with fold all"
        )
    if fold not in folds:
        raise SegpipeError(
            f"{manifest.name}: there is no fold {fold}; the manifest has {', '.join(map(str, folds))}; "
            "or train on all cases with fold all"
        )
    train = [case for case in manifest.training if case.fold != fold]
    validation = [case for case in manifest.training if case.fold == fold]
    if not train:
        raise SegpipeError(f"{manifest.name}: fold {fold} holds every case, none is left to train on")
    _refuse_leak(manifest.name, train, validation)
    return train, validation


_HELD_OUT_PARTS = ("validation", "test")


def _named_split(manifest: Manifest, name: str, part: str) -> tuple[list[Case], list[Case]]:
    if name not in manifest.splits:
        folds = sorted({case.fold for case in manifest.training if case.fold is not None})
        raise SegpipeError(
            f"{manifest.name}: there is no split {name!r}; the manifest has {_listed(list(manifest.splits), 'splits')} "
            f"and {_listed(folds, 'folds')}; give one of them, or all to train on every case"
        )
    cases = {case.case: case for case in manifest.training}
    split = manifest.splits[name]
    held_out = split.test if part == "test" else split.validation
    if part == "test" and not held_out:
        raise SegpipeError(f"{manifest.name}: the split {name} has no part test; score its validation")
    train, others = ([cases[case] for case in names if case in cases] for names in (split.train, held_out))
    return train, others


def _listed(names: Sequence[object], what: str) -> str:
    return f"the {what} {', '.join(map(str, names))}" if names else f"no {what}"


def describe_split(manifest: Manifest, name: str) -> str:
    """Return in one line whose split it is, and how many of its cases the manifest lists."""
    split, known = manifest.splits[name], {case.case for case in manifest.training}
    parts = {"to train on": split.train, "to validate with": split.validation, "to test": split.test}
    counts = (
        f"{len(known.intersection(part))} of {len(part)} {what}" for what, part in parts.items() if part
    )
    return f"split {name} ({split.about}): {', '.join(counts)} are here"


def _refuse_leak(
    name: str, train: Sequence[Case], validation: Sequence[Case], split: str | None = None
) -> None:
    def place(case: Case) -> str:
        return f"{case.case} (fold {case.fold})" if split is None else case.case

    mend = "put both into one fold" if split is None else f"put both on one side of the split {split}"
    patients = {case.patient: case for case in train if case.patient is not None}
    images = {key: case for case in train for key in _image_keys(case)}
    for case in validation:
        if case.patient in patients:
            raise SegpipeError(
                f"{name}: patient {case.patient} would train and validate: {place(patients[case.patient])} and "
                f"{place(case)}; {mend}"
            )
        shared = _image_keys(case) & images.keys()
        if shared:
            key = min(shared)
            raise SegpipeError(
                f"{name}: the same image would train and validate: {place(images[key])} and {place(case)} have "
                f"the same file or SHA-256, {key}; remove one of the two cases"
            )


def check_folds(manifest: Manifest) -> None:
    """Refuse a manifest in which a patient or an image is in two folds; one without folds passes.

    Raises:
        SegpipeError: as `training_split` for any of the folds.
    """
    for fold in sorted({case.fold for case in manifest.training if case.fold is not None}):
        training_split(manifest, fold)


def _image_keys(case: Case) -> set[str]:
    """Return what tells that two cases show the same image: path, and SHA-256 of the voxels where that is known.

    A .mhd header can be the same text for many scans; what counts is its voxel file of the same name.
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


def _commonest(classes: Sequence[str]) -> str:
    counts = Counter(classes)
    return min(counts, key=lambda name: (-counts[name], name))
