"""Patients from folders: the folder that stands for a patient where no patient is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from segpipe.dataset.importing.found_cases import name_of, part_of
from segpipe.dataset.importing.modality_names import is_modality
from segpipe.dataset.importing.name_words import is_role_word, name_words


def folder_patients(images: Mapping[str, str]) -> dict[str, str]:
    """Return case -> the name of the folder that stands for its patient; empty if no folder does.

    Folders that all cases share, and levels that only have folders of parts (train, test), roles (images) or
    modalities (CT), do not divide patients. Of the other levels, the outermost one counts below whose folders the same
    names repeat, as in `p1/visit1/ct` and `p2/visit1/ct`; where no names repeat, the innermost level. A folder's own
    name in a name below it does not distinguish names: `p1/p1_ct` and `p2/p2_ct` repeat.

    Args:
        images: case -> path of its first image below the data set's folder, with forward slashes.
    """
    parts_of = {case: _parts(path) for case, path in images.items()}
    depth = min((len(parts) - 1 for parts in parts_of.values()), default=0)
    levels = [level for level in range(depth) if _divides([parts[level] for parts in parts_of.values()])]
    if not levels:
        return {}
    chosen = next((level for level in levels if _repeats(list(parts_of.values()), level)), levels[-1])
    names = {case: _name(parts[: chosen + 1]) for case, parts in parts_of.items()}
    whole: dict[str, set[str]] = defaultdict(set)
    for case, name in names.items():
        whole[parts_of[case][chosen]].add(name)
    return {
        case: name if len(whole[parts_of[case][chosen]]) > 1 else parts_of[case][chosen]
        for case, name in names.items()
    }


def _name(folders: Sequence[str]) -> str:
    """Return the name of a patient from its folder and those above; p1 is one patient in CT/p1 and PET/p1."""
    *above, last = folders
    kept = [folder for folder in above if not _is_no_patient(folder) or part_of([folder])]
    return "_".join([*kept, last])


def _parts(path: str) -> tuple[str, ...]:
    """Return the folders of an image and its name without suffix; a DICOM series is the last folder."""
    pure = PurePosixPath(path)
    return (*pure.parts[:-1], name_of(path))


def _divides(names: Sequence[str]) -> bool:
    """Return whether the folders of one level can stand for patients."""
    return len(set(names)) > 1 and not all(map(_is_no_patient, set(names)))


def _is_no_patient(name: str) -> bool:
    words = [word for word in name_words(name) if not is_role_word(word)]
    return not words or is_modality("_".join(words)) or bool(part_of([name]))


def _repeats(parts_of: Sequence[tuple[str, ...]], level: int) -> bool:
    """Return whether two folders of a level have the same path below them."""
    folder_of: dict[tuple[str, ...], tuple[str, ...]] = {}
    for parts in parts_of:
        folder = parts[: level + 1]
        below = tuple(part.replace(parts[level], "") for part in parts[level + 1 :])
        if folder_of.setdefault(below, folder) != folder:
            return True
    return False
