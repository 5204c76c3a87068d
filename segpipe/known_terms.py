"""Coded terms that follow from a class's name: DICOM's own lists of terms, with common other names of these terms.

Only exact names count, in any case and with `_` or `-` for a space. A name without a certain term gets none: an
abbreviation such as LV, or a word with two meanings such as ventricle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from segpipe.coded_terms import CodedTerm, SegmentCodes
from segpipe.labels import LabelTable

_CATEGORIES = codes.cid7150
_TYPES = (  # context groups of DICOM PS3.16 for the types of a category; the earlier one wins
    (codes.cid7192, _CATEGORIES.AnatomicalStructure),
    (codes.cid7159, _CATEGORIES.MorphologicallyAbnormalStructure),
    (codes.cid7166, _CATEGORIES.Tissue),
    (codes.cid7197, _CATEGORIES.BodySubstance),
)
_UNCERTAIN = {  # terms of these groups whose name alone says too little
    *(
        "atrium",
        "ventricle",
        "hip",
        "pelvis",
        "media",
        "back",
        "baffle",
        "hiatus",
        "trunk",
        "rib",
        "vertebra",
    ),
    *(
        "background",
        "normal",
        "organ",
        "tissue",
        "nerve",
        "artery",
        "vein",
        "joint",
        "extremity",
        "interface",
    ),
}
_OTHER_NAMES = {  # name of a term in these groups -> other names
    "adrenal gland": ("adrenal", "suprarenal gland"),
    "bladder": ("urinary bladder",),
    "brain stem": ("brainstem",),
    "caudate nucleus": ("caudate",),
    "cerebrospinal fluid": ("csf",),
    "clavicle": ("clavicula",),
    "edema": ("oedema",),
    "esophagus": ("oesophagus",),
    "fat": ("adipose tissue",),
    "gallbladder": ("gall bladder",),
    "globus pallidus": ("pallidum",),
    "gray matter": ("grey matter",),
    "hemorrhage": ("haemorrhage", "bleeding"),
    "inferior vena cava": ("postcava", "vena cava inferior"),
    "large intestine": ("large bowel",),
    "left atrium": ("heart atrium left", "left heart atrium"),
    "left ventricle": ("heart ventricle left", "left heart ventricle"),
    "lower lobe of lung": ("lower lung lobe", "lung lower lobe"),
    "middle lobe of right lung": (
        *("right middle lung lobe", "middle lung lobe right", "lung middle lobe right"),
        "right lung middle lobe",
    ),
    "neoplasm": ("tumor", "tumour", "whole tumor", "whole tumour", "neoplasia"),
    "neoplasm, primary": ("primary tumor", "primary tumour"),
    "neoplasm, secondary": ("metastasis", "metastases"),
    "right atrium": ("heart atrium right", "right heart atrium"),
    "right ventricle": ("heart ventricle right", "right heart ventricle"),
    "small intestine": ("small bowel",),
    "thyroid": ("thyroid gland",),
    "upper lobe of lung": ("upper lung lobe", "lung upper lobe"),
    "enhancing lesion": ("enhancing tumor", "enhancing tumour"),
    **{
        f"{level} vertebra": (f"vertebra {level}", f"vertebrae {level}")
        for level in (
            *(f"c{number}" for number in range(1, 8)),
            *(f"t{number}" for number in range(1, 13)),
            *(f"l{number}" for number in range(1, 6)),
        )
    },
}
_FURTHER = {  # anatomical structures of DICOM's dictionary outside these groups
    "myocardium of left ventricle": codes.SCT.LeftVentricleMyocardium,
    "left ventricle myocardium": codes.SCT.LeftVentricleMyocardium,
    "left ventricular myocardium": codes.SCT.LeftVentricleMyocardium,
    "optic nerve": codes.SCT.OpticNerve,
    "optic nerve head": codes.SCT.OpticNerveHead,
    "optic disc": codes.SCT.OpticNerveHead,
    "femoral head": codes.SCT.FemoralHead,
    "head of femur": codes.SCT.FemoralHead,
    "seminal vesicle": codes.SCT.SeminalVesicle,
    **dict.fromkeys(
        (
            *(
                "peripheral zone",
                "peripheral zone of prostate",
                "prostate peripheral zone",
                "prostatic peripheral zone",
            ),
        ),
        codes.SCT.PeripheralZoneOfTheProstate,
    ),
    **dict.fromkeys(
        (
            *(
                "transition zone",
                "transitional zone",
                "transition zone of prostate",
                "prostate transition zone",
            ),
        ),
        codes.SCT.TransitionZoneOfTheProstate,
    ),
}
_MODIFIERS = {
    "left": codes.SCT.Left,
    "right": codes.SCT.Right,
    "anterior": codes.SCT.Anterior,
    "posterior": codes.SCT.Posterior,
}
_PAIRS = {"kidneys": "kidney", "lungs": "lung", "adrenal glands": "adrenal gland", "eyes": "eye"}
_FINDING = re.compile(r"(?P<organ>.+) (?P<finding>tumou?r|lesion|nodule|cyst|abscess|mass|metastas[ie]s)")


def known_codes(name: str) -> SegmentCodes | None:
    """Return the codes that follow from the name of a class or region; None where no term is certain.

    Known are the names of DICOM PS3.16 (CID 7192 anatomy, 7159 lesions, 7166 tissues, 7197 body substances), their
    common other names, and these names with left, right, anterior or posterior before or behind. A finding in a known
    organ, such as `liver tumour`, gets the term of the finding: DICOM's type of a segment has no place for the organ.
    """
    words = _words(name)
    found = _terms().get(words)
    if found is not None:
        return found
    if words in _PAIRS:
        return replace(_terms()[_PAIRS[words]], modifier=_term(codes.SCT.Bilateral))
    side, rest = _side(words)
    found = _terms().get(rest) if side else None
    if found is not None:
        return replace(found, modifier=_term(_MODIFIERS[side]))
    finding = _FINDING.fullmatch(words)
    if finding is not None and known_codes(finding["organ"]) is not None:
        return _terms().get(finding["finding"])
    return None


def with_known_codes(labels: LabelTable) -> LabelTable:
    """Return a label table whose classes and regions have the codes that follow from their names.

    Codes that stand in the table are kept. The background has none.
    """
    rows = tuple(
        row if row.codes or not row.index else replace(row, codes=known_codes(row.name))
        for row in labels.labels
    )
    regions = tuple(one if one.codes else replace(one, codes=known_codes(one.name)) for one in labels.regions)
    return replace(labels, labels=rows, regions=regions)


def listed_term(text: str, column: str) -> CodedTerm | None:
    """Return a term of DICOM's dictionary.

    Args:
        text: a code of SNOMED CT, such as 78961009; SCHEME:CODE; or a term as DICOM PS3.16 has it, such as Spleen, of
            CID 7150 for a category, CID 7151 for a type, and left, right, anterior or posterior for a modifier.
        column: category, type or modifier.

    Returns:
        The term; None where the dictionary has none.
    """
    named = _by_name()[column].get(_words(text))
    if named is not None:
        return named
    scheme, colon, code = text.partition(":")
    meaning = _meanings().get((scheme, code) if colon else ("SCT", text))
    return (
        None if meaning is None else CodedTerm(code if colon else text, scheme if colon else "SCT", meaning)
    )


def _side(words: str) -> tuple[str, str]:
    """Return left, right, anterior or posterior before or behind a name, and the name without it; "" for none."""
    first, _, after = words.partition(" ")
    before, _, last = words.rpartition(" ")
    if first in _MODIFIERS and after:
        return first, after
    return (last, before) if last in _MODIFIERS and before else ("", words)


def _words(name: str) -> str:
    """Return a name in small letters with single spaces."""
    return " ".join(re.sub(r"[_-]+", " ", name).casefold().split())


def _term(code: Code) -> CodedTerm:
    return CodedTerm(code.value, code.scheme_designator, code.meaning[:1].upper() + code.meaning[1:])


@cache
def _terms() -> Mapping[str, SegmentCodes]:
    """Return name -> codes, of the groups, the other names and the further structures."""
    terms: dict[str, SegmentCodes] = {}
    for group, category in _TYPES:
        for code in group.concepts.values():
            words = _words(code.meaning)
            if words not in _UNCERTAIN:
                terms.setdefault(words, SegmentCodes(_term(category), _term(code)))
    for term, names in _OTHER_NAMES.items():
        terms |= {name: terms[_words(term)] for name in names}
    anatomical = _term(_CATEGORIES.AnatomicalStructure)
    return terms | {name: SegmentCodes(anatomical, _term(code)) for name, code in _FURTHER.items()}


@cache
def _by_name() -> Mapping[str, Mapping[str, CodedTerm]]:
    """Return column -> name -> term, of the terms that a user may give by name."""
    modifiers = {**_MODIFIERS, "bilateral": codes.SCT.Bilateral}
    return {
        "category": {_words(code.meaning): _term(code) for code in _CATEGORIES.concepts.values()},
        "type": {_words(code.meaning): _term(code) for code in codes.cid7151.concepts.values()},
        "modifier": {name: _term(code) for name, code in modifiers.items()},
    }


@cache
def _meanings() -> Mapping[tuple[str, str], str]:
    """Return (scheme, code) -> meaning, of all terms that pydicom lists; DICOM's groups of segments come first."""
    meanings: dict[tuple[str, str], str] = {}
    groups = (_CATEGORIES, codes.cid7151, codes.cid244)
    named = [code for group in groups for code in group.concepts.values()]
    every = [getattr(scheme, name) for scheme in (codes.SCT, codes.DCM) for name in scheme.dir()]
    for code in (*named, *every):
        meanings.setdefault((code.scheme_designator, code.value), _term(code).meaning)
    return meanings
