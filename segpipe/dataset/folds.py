"""Training and validation cases: make folds and splits that divide no patient, and check existing ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from segpipe.dataset.case_balance import balanced_parts
from segpipe.dataset.leaks import Side, refuse_leaks, side_of_test_list, sides_of_split
from segpipe.dataset.manifest import Case, Manifest, Split
from segpipe.dataset.stratification import divided, groups_of_cases, require_distinct
from segpipe.errors import SegpipeError


def patient_folds(
    cases: Sequence[Case], num_folds: int, seed: int, classes: Sequence[str] | None = None
) -> list[int]:
    """Assign every case to a fold so that all cases of a patient, or of an image file, are in one fold.

    A case of an unknown patient counts as a separate patient. The folds depend on the seed and on the set of cases, not
    on their order. The sizes of two folds differ by at most the number of cases of the largest patient (by one, where
    patients have one case each).

    Args:
        cases: the cases to divide, each id once.
        num_folds: at least 2, at most the number of patients.
        seed: of the random order of the patients.
        classes: one text a case, in the order of `cases`: the class, or another property that the folds should have
            equal shares of. A patient counts for its commonest class. None to balance numbers of cases alone.

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
    owners = [(case.patient is not None, case.patient or case.case) for case in cases]
    members = {min(owners[position] for position in group): group for group in groups_of_cases(cases)}
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
    # large patients first, so that small ones even out the sizes; class by class, so that each class is spread over
    # all folds
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
    """Return the manifest with folds of its training cases, stratified by class or by every finding.

    Args:
        manifest: its training cases are divided.
        num_folds: at least 2.
        seed: the same seed gives the same division.
        present: the classes in each training case, which every part should have. None for those of the manifest or, for
            target "mask", to balance numbers alone.
        contents: see `divided`.

    Raises:
        SegpipeError: as `patient_folds`.
    """
    if manifest.target != "mask":
        folds = _balanced(manifest, [1] * num_folds, seed, present, contents)
    elif present is not None:
        folds = divided(manifest.training, [1] * num_folds, seed, present, contents)
    else:
        folds = patient_folds(manifest.training, num_folds, seed)
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
        manifest: see `with_folds`.
        name: of the split, in lower case.
        shares: of train, validation and test, such as 84 and 16.
        seed: see `with_folds`.
        present: see `with_folds`.
        contents: see `with_folds`.

    Raises:
        SegpipeError: no share for train or none for a held-out part, or as `divided`.
    """
    wanted = {part: share for part, share in shares.items() if share}
    if "train" not in wanted or len(wanted) < 2:
        raise SegpipeError("split: needs a share to train on, and one to validate with or to test")
    if manifest.target != "mask":
        parts = _balanced(manifest, list(wanted.values()), seed, present, contents)
    else:
        parts = divided(manifest.training, list(wanted.values()), seed, present, contents)
    cases = {
        part: tuple(
            case.case for case, assigned in zip(manifest.training, parts, strict=True) if assigned == number
        )
        for number, part in enumerate(wanted)
    }
    about = f"patients by lot, {', '.join(f'{share} {part}' for part, share in wanted.items())}, seed {seed}"
    split = Split(cases["train"], cases.get("validation", ()), cases.get("test", ()), about)
    return replace(manifest, splits={**manifest.splits, name: split})


def _balanced(
    manifest: Manifest,
    shares: Sequence[int],
    seed: int,
    present: Sequence[Collection[str]] | None,
    contents: Sequence[str] | None,
) -> list[int]:
    """Return the part of each training case of a manifest of classes or findings, by the manifest's classes."""
    if present is None:
        present = [case.classes for case in manifest.training]
    return balanced_parts(manifest.training, shares, seed, present, contents)


def training_split(
    manifest: Manifest, fold: int | str | None, part: str = "validation"
) -> tuple[list[Case], list[Case]]:
    """Return the training cases and the held-out cases, for validation or test.

    Args:
        manifest: with folds of its training cases, or with splits.
        fold: number of the fold for validation, or name of one of the manifest's splits; cases of a split that the
            manifest does not list are left out, and cases of its list `test` may be held out. None to train on all
            cases and validate on none.
        part: the held-out part: validation, or test of a split that has one.

    Raises:
        SegpipeError: the manifest has no such fold, split or part; or a patient or an image file (by path or checksum)
            is on two sides: in two folds, in two parts of the split, or in the training cases and the manifest's test
            cases.
    """
    if part not in _PARTS[1:] or (part == "test" and not isinstance(fold, str)):
        raise SegpipeError(
            f"{manifest.name}: part is {part!r} of fold {fold}; a fold has the part validation, a named split also test"
        )
    sides = _sides(manifest, fold, part)
    train, held_out = (list(side.cases) for side in (sides[0], sides[_PARTS.index(part)]))
    refuse_leaks(manifest.name, sides)
    tests = {case.case for case in manifest.test}
    validated = [case for case in held_out if case.case not in tests] if part == "validation" else []
    trained = [*train, *validated]
    refuse_leaks(manifest.name, [Side("training", "train", trained), side_of_test_list(manifest)])
    return train, held_out


_PARTS = ("train", "validation", "test")


def _sides(manifest: Manifest, fold: int | str | None, part: str) -> list[Side]:
    """Return the sides of a division: train, validation and, where the division has one, test."""
    if fold is None:
        return [Side("training", "train", manifest.training), Side("validation", "validate", ())]
    return _of_split(manifest, fold, part) if isinstance(fold, str) else _of_fold(manifest, fold)


def _of_fold(manifest: Manifest, fold: int) -> list[Side]:
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
    return [Side("the other folds", "train", train), Side(f"fold {fold}", "validate", validation)]


def _of_split(manifest: Manifest, name: str, part: str) -> list[Side]:
    if name not in manifest.splits:
        folds = sorted({case.fold for case in manifest.training if case.fold is not None})
        raise SegpipeError(
            f"{manifest.name}: there is no split {name!r}; the manifest has {_listed(list(manifest.splits), 'splits')} "
            f"and {_listed(folds, 'folds')}; give one of them, or all to train on every case"
        )
    if part == "test" and not manifest.splits[name].test:
        raise SegpipeError(f"{manifest.name}: the split {name} has no part test; score its validation")
    return sides_of_split(manifest, name)


def _listed(names: Sequence[object], what: str) -> str:
    return f"the {what} {', '.join(map(str, names))}" if names else f"no {what}"


def describe_split(manifest: Manifest, name: str, absent: Collection[str] = ()) -> str:
    """Return one line with the author of a split and the number of its cases that are here.

    Args:
        manifest: with the split.
        name: of the split.
        absent: listed cases whose files are elsewhere.
    """
    listed = {case.case for case in (*manifest.training, *manifest.test)}
    split, known = manifest.splits[name], listed - set(absent)
    parts = {"to train on": split.train, "to validate with": split.validation, "to test": split.test}
    counts = (
        f"{len(known.intersection(part))} of {len(part)} {what}" for what, part in parts.items() if part
    )
    return f"split {name} ({split.about}): {', '.join(counts)} are here"


def _commonest(classes: Sequence[str]) -> str:
    counts = Counter(classes)
    return min(counts, key=lambda name: (-counts[name], name))
