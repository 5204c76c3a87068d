"""Modalities in the names of files and channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from segpipe.dataset.importing.found_cases import words_of
from segpipe.errors import SegpipeError, shown

_RAYS = ("CBCT", "CECT", "CR", "CT", "CTA", "CTP", "DX", "HRCT", "LDCT", "MG", "NCCT", "XRAY")
_RESONANCE = (
    "ADC",
    "BOLD",
    "DCE",
    "DIXON",
    "DTI",
    "DWI",
    "FLAIR",
    "MR",
    "MRA",
    "MRI",
    "PD",
    "PDW",
    "STIR",
    "SWI",
)
_RELAXATION = ("T1", "T1C", "T1CE", "T1GD", "T1N", "T1W", "T2", "T2F", "T2STAR", "T2W")
_FAMILIES = {
    **dict.fromkeys(("CT", "CTA", "CBCT", "CECT", "HRCT", "LDCT", "NCCT"), "CT"),
    **dict.fromkeys(
        ("MR", "MRI", "MRA", "FLAIR", "T1", "T1W", "T1C", "T1CE", "T2", "T2W", "DWI", "ADC"), "MRI"
    ),
    **dict.fromkeys(("PET", "FDG", "SUV"), "PET"),
}
_OTHERS = ("FDG", "NM", "OCT", "PET", "PT", "SPECT", "SUV", "US")
_SHORT = frozenset(("CR", "DX", "MG", "NM", "OCT", "PD", "PT", "US"))  # often something else
MODALITY_WORDS = frozenset((*_RAYS, *_RESONANCE, *_RELAXATION, *_OTHERS))
"""Words in capitals that name a modality or a sequence of MRI."""
_CLEAR = MODALITY_WORDS - _SHORT


def is_modality(name: str) -> bool:
    """Return whether every word of a channel's name names a modality, such as `CT` or `MR_T1`."""
    words = words_of(name)
    return bool(words) and all(word.upper() in MODALITY_WORDS for word in words)


def modality_warnings(images: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return a warning if the names of all images say another modality than the user.

    Args:
        images: paths below the data set's folder.
        given: the texts of `--modality`.
    """
    named = {_families(words_of(image)) for image in images}
    said = _families(word for text in given for word in words_of(text))
    if len(named) != 1 or not said:
        return []
    (families,) = named
    if len(families) != 1 or families & said:
        return []
    return [
        f"the names of the images say {', '.join(families)}, such as {images[0]}, but --modality is "
        f"{', '.join(given)}; correct one"
    ]


def _families(words: Iterable[str]) -> frozenset[str]:
    return frozenset(_FAMILIES[word.upper()] for word in words if word.upper() in _FAMILIES)


def says_modality(path: str, modality: str) -> bool:
    """Return whether a path has all words of a modality; upper and lower case count as equal."""
    return set(_upper(modality)) <= set(_upper(path))


def of_modalities(names: Sequence[str], wanted: Sequence[str], where: str) -> list[bool]:
    """Return for each name whether it may belong to a wanted modality: it has the words of one, or of no modality.

    Args:
        names: of scans, with their folders.
        wanted: names of channels; if one of them is no modality, nothing is left out.
        where: the folder, for messages.

    Raises:
        SegpipeError: no name has a wanted modality.
    """
    if not all(map(is_modality, wanted)):
        return [True] * len(names)
    absent = [modality for modality in wanted if not any(says_modality(name, modality) for name in names)]
    if absent:
        present = dict.fromkeys(
            "_".join(word for word in _upper(name) if word in MODALITY_WORDS) for name in names
        )
        raise SegpipeError(
            f"{where}: --channel {absent[0]}: the folder has no such modality, it has "
            f"{shown(filter(None, present)) or 'none in its names'}; correct the name"
        )
    return [
        any(says_modality(name, modality) for modality in wanted) or not _CLEAR.intersection(_upper(name))
        for name in names
    ]


def _upper(text: str) -> list[str]:
    return [word.upper() for word in words_of(text)]
