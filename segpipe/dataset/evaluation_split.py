"""The cases of a manifest to score: a fold, a part of a named split, the test cases, or the training cases."""

from __future__ import annotations

from dataclasses import dataclass

from segpipe.dataset.folds import describe_split, training_split
from segpipe.dataset.manifest import Case, Manifest
from segpipe.errors import SegpipeError

TEST, TRAIN = "test", "train"


@dataclass(frozen=True)
class EvaluationSplit:
    """The cases to score.

    Attributes:
        name: such as "fold 0", "test of paper" or "test".
        cases: the cases of the part that the manifest lists.
        about: author of a named split and number of its cases in the manifest; else empty.
    """

    name: str
    cases: tuple[Case, ...]
    about: str = ""


def evaluation_split_of(manifest: Manifest, split: str, part: str | None = None) -> EvaluationSplit:
    """Return the cases to score.

    Args:
        manifest: the list of cases.
        split: the number of a fold, the name of one of the manifest's splits, `test` for the manifest's test cases, or
            `train` for all its training cases.
        part: validation or test of a named split; None means test, or validation if the split has no test.

    Raises:
        SegpipeError: the manifest has no such fold, split or part, the part has no case in the manifest, or a patient
            or image is on two sides.
    """
    if split in manifest.splits:
        chosen = part or (TEST if manifest.splits[split].test else "validation")
        _, cases = training_split(manifest, split, chosen)
        name, about = f"{chosen} of {split}", describe_split(manifest, split)
    else:
        if part is not None:
            raise SegpipeError(
                f"--part {part} is given, but {split} is no named split of {manifest.name}; leave --part out"
            )
        name, about = split, ""
        if split == TEST:
            cases = list(manifest.test)
        elif split == TRAIN:
            cases = list(manifest.training)
        else:
            _, cases = training_split(manifest, int(split) if split.isdecimal() else split)
            name = f"fold {split}"
    if not cases:
        raise SegpipeError(
            f"{manifest.name}: no case of {name} is listed{f' ({about})' if about else ''}; the manifest has "
            f"{_offered(manifest)}: give one of them as split"
        )
    return EvaluationSplit(name, tuple(cases), about)


def _offered(manifest: Manifest) -> str:
    folds = sorted({case.fold for case in manifest.training if case.fold is not None})
    offered = [f"the folds {', '.join(map(str, folds))}"] if folds else []
    offered += [f"the splits {', '.join(manifest.splits)}"] if manifest.splits else []
    offered += [f"{len(manifest.test)} test cases (test)"] if manifest.test else []
    return ", ".join([*offered, f"{len(manifest.training)} training cases (train)"])
