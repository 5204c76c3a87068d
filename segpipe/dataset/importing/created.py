"""A manifest made from a folder, whatever its target: what the user is told beside the manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from segpipe.dataset.manifest import Case, Manifest, Split

OWN_SPLIT = "folder"
"""Name of the split that a folder's own parts make."""

Ask = Callable[[str, str], str]
"""Function that asks the user: takes the question and the default answer, returns the answer."""


@dataclass(frozen=True)
class CreatedManifest:
    """A manifest made from a folder, with remarks on the folder.

    Attributes:
        manifest: without folds, unless a table gives folds.
        layout: name of the folder's layout, for messages.
        notes: remarks for the user.
        warnings: what is probably wrong.
        patients_from: what tells the patients; empty where they are unknown.
    """

    manifest: Manifest
    layout: str
    notes: Sequence[str]
    warnings: Sequence[str] = ()
    patients_from: str = ""


def own_split(train: Sequence[str], validation: Sequence[str]) -> dict[str, Split]:
    """Return a folder's own division as a split; an empty dict where no case is for validation.

    Args:
        train: ids of the cases that are not for validation.
        validation: ids of the other cases.
    """
    if not validation:
        return {}
    return {OWN_SPLIT: Split(tuple(train), tuple(validation), about="as the folder has it")}


def own_split_note(manifest: Manifest) -> list[str]:
    """Return a note on the folder's own division, if the manifest has one."""
    split = manifest.splits.get(OWN_SPLIT)
    if split is None:
        return []
    return [
        f"the folder has {len(split.train)} cases to train on and {len(split.validation)} to validate with: "
        f"train with --fold {OWN_SPLIT} to keep to that"
    ]


def shared_patients(manifest: Manifest) -> list[str]:
    """Return the patients with cases both to train on and to test, sorted."""

    def patients(cases: Sequence[Case]) -> set[str]:
        return {case.patient for case in cases if case.patient is not None}

    return sorted(patients(manifest.training) & patients(manifest.test))
