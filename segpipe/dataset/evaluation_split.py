"""Which cases of a manifest are scored: a fold, a part of a named split, the list of test cases, or what trains."""

from __future__ import annotations

from dataclasses import dataclass

from segpipe.dataset.folds import describe_split, training_split
from segpipe.dataset.manifest import Case, Manifest
from segpipe.errors import SegpipeError

TEST, TRAIN = "test", "train"


@dataclass(frozen=True)
class EvaluationSplit:
    """Cases that are scored.

    Attributes:
        name: such as "fold 0", "test of paper" or "test".
        cases: of the part, those that the manifest lists.
        about: of a named split, whose it is and how many of its cases are here; else empty.
    """

    name: str
    cases: tuple[Case, ...]
    about: str = ""


def evaluation_split_of(manifest: Manifest, split: str, part: str | None = None) -> EvaluationSplit:
    """Return the cases to score.

    Args:
        manifest: they are listed in.
        split: the number of a fold, the name of one of the manifest's splits, `test` for the manifest's list of test
            cases, or `train` for all of its training cases.
        part: of a named split, validation or test; None is test where the split has one.

    Raises:
        SegpipeError: there is no such fold, split or part, it has no case here, or one would be on two sides.
    """
    if split in manifest.splits:
        chosen = part or (TEST if manifest.splits[split].test else "validation")
        _, cases = training_split(manifest, split, chosen)
        name, about = f"{chosen} of {split}", describe_split(manifest, split)
    else:
        if part is not None:
            raise SegpipeError(
                f"--part {part} asked for of {split}, which is no named split of {manifest.name}; leave it out"
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
